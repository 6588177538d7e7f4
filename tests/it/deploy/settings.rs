//! Settings as manifests have them, and a node that is started with them where this test may: other files, other ports, no database.

use crate::cli::dev::{Said, run, tenure};
use serde_json::Value;
use std::{collections::BTreeMap, fs};
use tempfile::TempDir;

const NO_DATABASE: &str = "postgres://nobody@127.0.0.1:1/none";
const MASTER_KEY: &str = "a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1";

/// Variables by name.
pub type Variables = BTreeMap<String, String>;

/// What compose makes of `${NAME:-default}` where nothing is set; as it is written where there is no default.
fn with_default(text: &str) -> String {
    let parts = text.split_once("${").and_then(|(before, rest)| {
        let (inside, after) = rest.split_once('}')?;
        Some((before, inside.split_once(":-")?.1, after))
    });
    match parts {
        Some((before, default, after)) => format!("{before}{default}{after}"),
        None => text.to_owned(),
    }
}

/// Those of a service of compose.
pub fn of_map(environment: &Value) -> Variables {
    let pairs = environment.as_object().expect("a map").iter();
    pairs
        .map(|(name, value)| (name.clone(), with_default(value.as_str().expect("a text"))))
        .collect()
}

/// Those of a pod of this name, as the kubelet would fill them in; empty where a secret is meant.
pub fn of_pod(environment: &Value, pod: &str, namespace: &str) -> Variables {
    let mut variables = Variables::new();
    for variable in environment.as_array().expect("a list") {
        let name = variable["name"].as_str().expect("a name");
        let field = variable["valueFrom"]["fieldRef"]["fieldPath"].as_str();
        let text = match (variable["value"].as_str(), field) {
            (Some(text), _) => text
                .replace("$(POD_NAME)", pod)
                .replace("$(POD_NAMESPACE)", namespace),
            (None, Some("metadata.name")) => pod.into(),
            (None, Some("metadata.namespace")) => namespace.into(),
            (None, _) => {
                assert!(variable["valueFrom"]["secretKeyRef"].is_object(), "{name}");
                String::new()
            }
        };
        assert!(!text.contains("$("), "{name}: {text}");
        variables.insert(name.into(), text);
    }
    variables
}

/// The port at the end of an address.
pub fn port(address: &str) -> u64 {
    let port = address.rsplit(':').next().expect("a port");
    port.parse().expect("a number")
}

/// The files of a node of this name.
pub struct Certified(TempDir);

impl Certified {
    pub fn new(node: &str) -> Self {
        let home = TempDir::new().expect("a directory");
        let path = home.path().to_str().expect("text");
        for arguments in [
            vec!["cluster", "ca", "--out", path],
            vec![
                "cluster", "cert", "--ca", path, "--node", node, "--out", path, "--force",
            ],
        ] {
            let said = tenure(&arguments);
            assert_eq!(said.code, 0, "{said:?}");
        }
        Self(home)
    }

    fn path(&self, name: &str) -> String {
        let path = self.0.path().join(name);
        path.to_str().expect("text").to_owned()
    }

    /// Starts a node with these variables, but for what is particular to another machine.
    pub fn serve(&self, mut variables: Variables) -> Said {
        let files = [("CA", "ca.pem"), ("CERT", "node.pem"), ("KEY", "node.key")];
        for (name, file) in files {
            let known = variables.insert(format!("TENURE_CLUSTER_{name}_FILE"), self.path(file));
            assert!(known.is_some(), "no {name} file");
        }
        for (name, value) in [
            ("TENURE_DATABASE_URL", NO_DATABASE),
            ("TENURE_MASTER_KEY", MASTER_KEY),
            ("TENURE_CLUSTER_LISTEN", "127.0.0.1:0"),
        ] {
            let known = variables.insert(name.into(), value.into());
            assert!(known.is_some(), "no {name}");
        }
        variables.insert("TENURE_LISTEN".into(), "127.0.0.1:0".into());
        let pairs: Vec<(&str, &str)> = variables
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        run(&["serve"], &pairs)
    }

    /// The same from a configuration file whose certificates are in `certificates`.
    pub fn serve_file(&self, toml: &str, certificates: &str) -> Said {
        let directory = self.0.path().to_str().expect("text");
        assert!(toml.contains(certificates));
        let file = self.path("tenure.toml");
        fs::write(&file, toml.replace(certificates, directory)).expect("writable");
        let variables = [
            ("TENURE_DATABASE_URL", NO_DATABASE),
            ("TENURE_MASTER_KEY", MASTER_KEY),
            ("TENURE_LISTEN", "127.0.0.1:0"),
            ("TENURE_CLUSTER_LISTEN", "127.0.0.1:0"),
        ];
        run(&["serve", "--config", &file], &variables)
    }
}
