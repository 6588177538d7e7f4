//! Certificates as an operator makes them, and a node that is told something else than they say.

use super::dev::{Said, run, tenure};
use std::{fs, path::Path};
use tempfile::TempDir;

fn text(path: &Path) -> &str {
    path.to_str().expect("text")
}

/// An authority in `ca`, and the certificate of `node` in `node`.
fn certificates(home: &TempDir) -> [String; 2] {
    let (ca, node) = (home.path().join("ca"), home.path().join("node"));
    let made = tenure(&["cluster", "ca", "--out", text(&ca)]);
    assert_eq!(made.code, 0, "{made:?}");
    assert!(made.out.contains("cluster cert --ca"), "{made:?}");
    let made = cert(&ca, &node, &[]);
    assert_eq!(made.code, 0, "{made:?}");
    assert!(made.out.contains("node_name = \"a\""), "{made:?}");
    [text(&ca).to_owned(), text(&node).to_owned()]
}

fn cert(ca: &Path, node: &Path, more: &[&str]) -> Said {
    let fixed = ["cluster", "cert", "--node", "a"];
    let host = ["--host", "10.0.0.5", "a.example"];
    let places = ["--ca", text(ca), "--out", text(node)];
    tenure(&[&fixed[..], &host, &places, more].concat())
}

#[cfg(unix)]
#[test]
fn keys_are_for_their_owner_and_nothing_is_replaced_by_mistake() {
    use std::os::unix::fs::PermissionsExt;
    let home = TempDir::new().expect("a directory");
    let [ca, node] = certificates(&home);
    for key in [format!("{ca}/ca.key"), format!("{node}/node.key")] {
        let mode = fs::metadata(&key)
            .expect("it is there")
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600, "{key}");
    }
    let files = ["ca.pem", "node.pem", "node.key"];
    let read = || files.map(|name| fs::read(format!("{node}/{name}")).expect("it is there"));
    let before = read();
    let again = cert(ca.as_ref(), node.as_ref(), &[]);
    assert_eq!(again.code, 1);
    assert!(
        again.err.contains("node.pem") && again.err.contains("--force"),
        "{again:?}"
    );
    let authority = tenure(&["cluster", "ca", "--out", &ca]);
    assert!(authority.err.contains("--force"), "{authority:?}");
    let kept = cert(ca.as_ref(), node.as_ref(), &["--if-missing"]);
    assert_eq!(kept.code, 0, "{kept:?}");
    assert_eq!(read(), before);
    let forced = cert(ca.as_ref(), node.as_ref(), &["--force", "--json"]);
    assert_eq!(forced.code, 0, "{forced:?}");
    assert!(
        forced
            .out
            .contains("\"node_id\":\"3bf29a3b-60d2-5953-8260-b94a8afb47ac\""),
        "{forced:?}"
    );
    assert_ne!(read(), before);
}

#[test]
fn names_that_do_not_fit_are_refused_by_name() {
    let home = TempDir::new().expect("a directory");
    let out = text(home.path());
    let said = tenure(&["cluster", "ca", "--out", out, "--name", "Prod"]);
    assert!(said.code == 2 && said.err.contains("\"Prod\""), "{said:?}");
    let said = tenure(&[
        "cluster", "cert", "--ca", out, "--node", "a b", "--out", out,
    ]);
    assert!(said.code == 2 && said.err.contains("\"a b\""), "{said:?}");
    let said = tenure(&["cluster", "cert", "--ca", out, "--node", "a", "--out", out]);
    assert!(said.code == 3 && said.err.contains(out), "{said:?}");
}

/// A node named `name` with the certificates of the node `a`; everything by variables.
fn serve(node: &str, name: &str, more: &[(&str, &str)]) -> Said {
    let file = |name: &str| format!("{node}/{name}");
    let (ca, cert, key) = (file("ca.pem"), file("node.pem"), file("node.key"));
    let mut variables = vec![
        ("TENURE_DATABASE_URL", "postgres://nobody@127.0.0.1:1/none"),
        (
            "TENURE_MASTER_KEY",
            "a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1",
        ),
        ("TENURE_LISTEN", "127.0.0.1:0"),
        ("TENURE_NODE_NAME", name),
        ("TENURE_CLUSTER_LISTEN", "127.0.0.1:0"),
        ("TENURE_CLUSTER_CA_FILE", &ca),
        ("TENURE_CLUSTER_CERT_FILE", &cert),
        ("TENURE_CLUSTER_KEY_FILE", &key),
    ];
    variables.extend(more);
    run(&["serve"], &variables)
}

#[test]
fn a_node_says_what_keeps_it_from_joining() {
    let home = TempDir::new().expect("a directory");
    let [_, node] = certificates(&home);
    let other = serve(&node, "b", &[]);
    assert!(
        other.code == 1 && other.err.contains("not for the node named b"),
        "{other:?}"
    );
    let other = serve(&node, "a", &[("TENURE_CLUSTER_NAME", "prod")]);
    assert!(other.err.contains("of the cluster prod"), "{other:?}");
    let typo = serve(&node, "a", &[("TENURE_CLUSTER_LISEN", "x")]);
    assert!(typo.code == 2 && typo.err.contains("lisen"), "{typo:?}");
    let embedded = serve(&node, "a", &[("TENURE_DATABASE_URL", "sqlite:x.db")]);
    assert!(
        embedded.code == 2 && embedded.err.contains("PostgreSQL"),
        "{embedded:?}"
    );
    // All of it is right but the database, which is not there.
    let right = serve(&node, "a", &[("TENURE_CLUSTER_ROLES", "api,worker")]);
    assert!(
        right.err.contains("database could not be opened"),
        "{right:?}"
    );
}
