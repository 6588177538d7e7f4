//! What is in `deploy/` is what the program understands: settings, verbs, ports, paths. The settings of each node are given to the real
//! binary, which refuses what it does not know; it gets as far as the database, which is not there.

mod settings;

use crate::cli::dev::{Said, tenure};
use serde_json::Value;
use settings::Certified;
use std::{collections::BTreeMap, fs, path::PathBuf};
use tenure::api::{Access, routes};

const HTTP: u64 = 7117;
const DOOR: u64 = 7118;

fn file(name: &str) -> String {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("deploy")
        .join(name);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// All documents of a YAML file, with its merge keys carried out.
fn yaml(name: &str) -> Vec<Value> {
    let text = file(name);
    serde_saphyr::from_multiple(&text).expect("YAML")
}

/// It is understood up to the database, which nobody answers for.
fn assert_understood(said: &Said, what: &str) {
    assert!(
        said.err.contains("the database could not be opened"),
        "{what}: {said:?}"
    );
}

/// A line of arguments that the program would take. Help is printed only if everything before it is right.
fn assert_verb(arguments: &Value, what: &str) {
    let words = arguments.as_array().expect("a list").iter();
    let mut words: Vec<&str> = words.map(|word| word.as_str().expect("a word")).collect();
    words.push("--help");
    let said = tenure(&words);
    assert_eq!(said.code, 0, "{what}: {said:?}");
}

#[test]
fn the_nodes_of_compose_are_understood() {
    let compose = &yaml("compose.yaml")[0];
    let services = compose["services"].as_object().expect("services");
    let mut nodes = 0;
    for (name, service) in services {
        if service["image"] != "tenure" {
            continue;
        }
        if service["command"].is_array() {
            assert_verb(&service["command"], name);
        }
        let Some(node) = service["environment"]["TENURE_NODE_NAME"].as_str() else {
            continue;
        };
        assert_eq!(name, node);
        let variables = settings::of_map(&service["environment"]);
        assert_eq!(settings::port(&variables["TENURE_CLUSTER_LISTEN"]), DOOR);
        assert_eq!(
            variables["TENURE_CLUSTER_ADVERTISE"],
            format!("{node}:{DOOR}")
        );
        let published = service["ports"][0].as_str().expect("a port");
        assert!(published.ends_with(&format!(":{HTTP}")), "{published}");
        let url = variables["TENURE_CLUSTER_URL"].trim_start_matches("http://");
        assert!(published.starts_with(url), "{url} {published}");
        let certified = Certified::new(node);
        assert_understood(&certified.serve(variables), name);
        nodes += 1;
    }
    assert_eq!(nodes, 3);
}

#[test]
fn the_pods_are_understood() {
    let set = &yaml("kubernetes/statefulset.yaml")[0];
    let pod = &set["spec"]["template"]["spec"];
    // Its service variables would be refused as unknown keys.
    assert_eq!(pod["enableServiceLinks"], false);
    let container = &pod["containers"][0];
    assert_verb(&container["args"], "the container");
    let variables = settings::of_pod(&container["env"], "tenure-0", "tenure");
    assert_eq!(settings::port(&variables["TENURE_LISTEN"]), HTTP);
    assert_eq!(settings::port(&variables["TENURE_CLUSTER_LISTEN"]), DOOR);
    assert_eq!(settings::port(&variables["TENURE_CLUSTER_URL"]), HTTP);
    let domain = set["spec"]["serviceName"].as_str().expect("a name");
    assert_eq!(
        variables["TENURE_CLUSTER_ADVERTISE"],
        format!("tenure-0.{domain}.tenure.svc:{DOOR}")
    );
    for file in ["CA_FILE", "CERT_FILE", "KEY_FILE"] {
        let path = &variables[&format!("TENURE_CLUSTER_{file}")];
        let mount = container["volumeMounts"][0]["mountPath"]
            .as_str()
            .expect("a path");
        assert!(path.starts_with(mount), "{path}");
    }
    for probe in ["startupProbe", "livenessProbe", "readinessProbe"] {
        let get = &container[probe]["httpGet"];
        assert_eq!(get["port"], "http");
        assert!(is_public(get["path"].as_str().expect("a path")), "{get}");
    }
    // Longer than everything that a stop waits for: see `DRAIN_SLACK` and `SHUTDOWN_GRACE`.
    let before = container["lifecycle"]["preStop"]["sleep"]["seconds"].as_u64();
    let all = pod["terminationGracePeriodSeconds"]
        .as_u64()
        .expect("seconds");
    assert!(all >= before.expect("seconds") + 10 + 20 + 15);
    let certified = Certified::new("tenure-0");
    assert_understood(&certified.serve(variables), "the pod");
    let migrate = &yaml("kubernetes/migrate.yaml")[0];
    assert_verb(
        &migrate["spec"]["template"]["spec"]["containers"][0]["args"],
        "migrate",
    );
}

fn is_public(path: &str) -> bool {
    routes()
        .iter()
        .any(|route| route.path == path && route.access == Access::Public)
}

#[test]
fn services_policies_and_budget_are_for_the_pods_and_their_ports() {
    let set = &yaml("kubernetes/statefulset.yaml")[0];
    let labels = &set["spec"]["template"]["metadata"]["labels"];
    assert_eq!(&set["spec"]["selector"]["matchLabels"], labels);
    let ports = set["spec"]["template"]["spec"]["containers"][0]["ports"].as_array();
    let ports: BTreeMap<&str, u64> = ports
        .expect("ports")
        .iter()
        .map(|port| {
            (
                port["name"].as_str().expect("a name"),
                port["containerPort"].as_u64().expect("a port"),
            )
        })
        .collect();
    assert_eq!(ports, BTreeMap::from([("http", HTTP), ("door", DOOR)]));
    let services = yaml("kubernetes/services.yaml");
    for service in &services {
        assert_eq!(&service["spec"]["selector"], labels);
    }
    let headless = services
        .iter()
        .find(|service| service["spec"]["clusterIP"] == "None");
    let headless = headless.expect("a headless service");
    assert_eq!(headless["metadata"]["name"], set["spec"]["serviceName"]);
    assert_eq!(headless["spec"]["publishNotReadyAddresses"], true);
    for port in headless["spec"]["ports"].as_array().expect("ports") {
        assert_eq!(
            port["port"].as_u64(),
            ports.get(port["name"].as_str().expect("a name")).copied()
        );
    }
    let budget = &yaml("kubernetes/disruption.yaml")[0];
    assert_eq!(&budget["spec"]["selector"]["matchLabels"], labels);
    let policy = &yaml("kubernetes/network.yaml")[0];
    assert_eq!(&policy["spec"]["podSelector"]["matchLabels"], labels);
    let listed = &yaml("kubernetes/kustomization.yaml")[0]["resources"];
    for resource in listed.as_array().expect("a list") {
        file(&format!(
            "kubernetes/{}",
            resource.as_str().expect("a name")
        ));
    }
}

#[test]
fn the_unit_and_its_configuration_are_understood() {
    let unit = file("systemd/tenure.service");
    let started = unit
        .lines()
        .find_map(|line| line.strip_prefix("ExecStart=/usr/bin/tenure "));
    let words: Vec<Value> = started
        .expect("what is started")
        .split(' ')
        .map(Value::from)
        .collect();
    assert_verb(&Value::from(words), "the unit");
    assert!(unit.contains("Environment=TENURE_MASTER_KEY_FILE="));
    assert!(unit.contains("Restart=always") && unit.contains("KillSignal=SIGTERM"));
    let certified = Certified::new("node-1");
    let said = certified.serve_file(&file("systemd/tenure.toml"), "/etc/tenure/certificates");
    assert_understood(&said, "tenure.toml");
}

#[test]
fn the_image_listens_where_it_says() {
    let image = file("Dockerfile");
    assert!(image.contains(&format!("EXPOSE {HTTP} {DOOR}\n")));
    assert!(image.contains(&format!("TENURE_LISTEN=0.0.0.0:{HTTP} ")));
    // The health check's command is the first, the container's own the last.
    let commands: Vec<Value> = image
        .lines()
        .filter_map(|line| line.trim().strip_prefix("CMD "))
        .map(|list| serde_json::from_str(list).expect("a list of words"))
        .collect();
    let [check, own] = &commands[..] else {
        panic!("{commands:?}");
    };
    let mut check = check.as_array().expect("words").clone();
    assert_eq!(check.remove(0), "/usr/bin/tenure");
    assert_verb(&check.into(), "the health check");
    assert_verb(own, "the container");
}
