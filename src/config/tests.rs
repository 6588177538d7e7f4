//! What is read, and what is refused by name.

use super::*;
use tenure_cluster::ownership::LeaseTerms;

fn load(toml: &str) -> Result<Config, String> {
    let keys = Figment::from(Serialized::defaults(DEFAULTS))
        .merge(Toml::string(toml))
        .extract()
        .map_err(|error| ConfigError::Invalid(Box::new(error)));
    keys.and_then(Config::from_keys)
        .map_err(|error| error.to_string())
}

#[test]
fn the_defaults_and_what_is_set() {
    let config = load("listen = '0.0.0.0:80'\nidle_after = '2m'\nrequest_timeout = 5").unwrap();
    assert_eq!(config.http.listen.port(), 80);
    assert_eq!(config.engine.idle_after, Duration::from_secs(120));
    assert_eq!(config.engine.request_timeout, Duration::from_secs(5));
    assert_eq!(config.log.filter, "info");
    let config = load("public_url = 'https://tenure.example/'").unwrap();
    let url = config.http.public_url.as_deref();
    assert_eq!(url, Some("https://tenure.example"));
}

#[test]
fn what_is_wrong_is_named() {
    for (toml, named) in [
        ("databse_url = 'x'", "databse_url"),
        ("listen = 'localhost'", "listen"),
        ("idle_after = 'soon'", "idle_after"),
        ("idle_after = 0", "idle_after"),
        ("log_format = 'xml'", "log_format"),
        ("master_key = 'a'\nmaster_key_file = 'b'", "not both"),
        ("public_url = 'tenure.example'", "public_url"),
        ("answer_limit = '1 MB'", "answer_limit"),
        ("answer_limit = 0", "answer_limit must"),
        ("answer_limit = 99999999999999", "answer_limit must"),
        ("database_connections = 0", "database_connections must"),
        ("engine_connections = 0", "engine_connections must"),
        ("node_name = ' '", "node_name must"),
        ("connections = 0", "connections must"),
        ("connections_per_address = -1", "connections_per_address"),
        ("keep_alive_timeout = 0", "keep_alive_timeout"),
        ("forwarded_header = 'x-real-ip'", "forwarded_header"),
        ("legacy_keys = 'no'", "legacy_keys"),
    ] {
        let error = load(toml).unwrap_err();
        assert!(error.contains(named), "{toml}: {error}");
    }
}

#[test]
fn secrets_do_not_show() {
    let config = load("database_url = 'postgres://u:hunter2@h/d'\nmaster_key = 'hunter2'");
    assert!(!format!("{config:?}").contains("hunter2"));
}

#[test]
fn durations() {
    for (text, millis) in [
        ("250ms", 250),
        ("30", 30_000),
        ("5m", 300_000),
        ("1d", 86_400_000),
    ] {
        assert_eq!(parse_duration(text), Ok(Duration::from_millis(millis)));
    }
    for text in ["", "m", "-1s", "1 week", "0s", "99999999999999999999d"] {
        assert!(parse_duration(text).is_err(), "{text}");
    }
}

/// All that a cluster's node must say.
const CLUSTER: &str = "node_name = 'a'\n[cluster]\nlisten = '10.0.0.5:7118'\nca_file = 'ca.pem'\ncert_file = 'node.pem'\nkey_file = 'node.key'\n";

#[test]
fn a_node_is_alone_unless_it_says_otherwise() {
    assert!(load("").unwrap().cluster.is_none());
    let config = load(CLUSTER).unwrap();
    assert_eq!(config.engine.node_name, "a");
    let cluster = config.cluster.unwrap();
    assert_eq!(cluster.name.as_str(), "tenure");
    assert_eq!(cluster.roles.len(), 3);
    assert_eq!((cluster.weight, &*cluster.zone), (100, ""));
    assert_eq!(cluster.terms, LeaseTerms::default());
    assert_eq!(cluster.drain_grace, Duration::from_secs(10));
    let said = format!(
        "{CLUSTER}roles = ['worker', 'api']\nzone = 'b'\nweight = 50\nlease = '5s'\nrenew_every = 1\nlease_margin = '500ms'\n\
         drain_grace = '3s'\nadvertise = 'a.tenure:7118'\nurl = 'http://a.tenure:7117/'\nname = 'prod'"
    );
    let cluster = load(&said).unwrap().cluster.unwrap();
    assert_eq!(cluster.roles, [NodeRole::Worker, NodeRole::Api]);
    assert_eq!(cluster.terms.renew_every, Duration::from_secs(1));
    assert_eq!(cluster.advertise.as_deref(), Some("a.tenure:7118"));
    assert_eq!(cluster.url.as_deref(), Some("http://a.tenure:7117"));
}

#[test]
fn what_is_wrong_with_a_cluster_is_named() {
    let without_key = |key: &str| {
        let lines = CLUSTER.lines().filter(|line| !line.starts_with(key));
        lines.map(|line| format!("{line}\n")).collect::<String>()
    };
    for key in ["node_name", "listen", "ca_file", "cert_file", "key_file"] {
        let error = load(&without_key(key)).unwrap_err();
        assert!(
            error.contains(key) && error.contains("missing"),
            "{key}: {error}"
        );
    }
    let anywhere = format!("{}listen = '0.0.0.0:7118'", without_key("listen"));
    let error = load(&anywhere).unwrap_err();
    assert!(error.contains("cluster.advertise"), "{error}");
    for (line, named) in [
        ("lisen = 'x'", "lisen"),
        ("advertise = '0.0.0.0:7118'", "cluster.advertise"),
        ("advertise = '[::]:7118'", "cluster.advertise"),
        ("advertise = '::1:7118'", "brackets"),
        ("advertise = 'host'", "cluster.advertise"),
        ("advertise = 'host:0'", "cluster.advertise"),
        ("advertise = ':7118'", "cluster.advertise"),
        ("url = 'a:7117'", "cluster.url"),
        ("name = 'Prod'", "cluster.name"),
        ("roles = []", "cluster.roles"),
        ("roles = ['boss']", "boss"),
        ("weight = 0", "cluster.weight"),
        ("weight = 10001", "cluster.weight"),
        ("lease = '5s'", "renew_every"),
        ("lease = 'long'", "lease"),
        ("drain_grace = 0", "drain_grace"),
    ] {
        let error = load(&format!("{CLUSTER}{line}")).unwrap_err();
        assert!(error.contains(named), "{line}: {error}");
    }
}

#[test]
fn variables_name_the_same_keys() {
    // Variables of a process cannot be set beside other tests: the real binary is tried with them in `tests/it/cli/cluster.rs`.
    for (variable, key) in [
        ("DATABASE_URL", "database_url"),
        ("CLUSTER_LISTEN", "cluster.listen"),
        ("cluster_renew_every", "cluster.renew_every"),
    ] {
        assert_eq!(key_of(variable), key);
    }
    let config = load(&format!(
        "{CLUSTER}roles = 'api, worker'\nzone = 1\nlease = 6"
    ))
    .unwrap();
    let cluster = config.cluster.unwrap();
    assert_eq!(cluster.roles, [NodeRole::Api, NodeRole::Worker]);
    assert_eq!(cluster.zone, "1");
    assert_eq!(load("node_name = 7").unwrap().engine.node_name, "7");
    assert_eq!(cluster.terms.ttl, Duration::from_secs(6));
}

#[test]
fn a_master_key_of_digits_is_a_text() {
    let digits = "0000000000000000000000000000000000000000000000000000000000000001";
    let variable = |name: &str| (name == "TENURE_MASTER_KEY").then(|| digits.to_owned());
    assert_eq!(texts(variable), [("master_key", digits.to_owned())]);
}
