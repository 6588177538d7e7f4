//! `tenure serve` with a configuration of its own, and the databases that it is started on.

use crate::{
    cli::dev::{Said, run, tenure},
    process::Client,
};
use serde_json::Value;
use std::{
    fs::File,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};
use tempfile::TempDir;
use tenure::persistence::private_postgres::PrivatePostgres;

pub const ORG: &str = "acme";
pub const MASTER_KEY: &str = "5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a";

/// A directory and a database in it, migrated.
pub struct Place {
    pub home: TempDir,
    pub url: String,
    postgres: Option<PrivatePostgres>,
}

impl Place {
    pub fn sqlite() -> Self {
        let home = tempfile::tempdir().expect("a directory");
        let url = format!("sqlite:{}", home.path().join("tenure.db").display());
        Self::migrated(home, url, None)
    }

    pub fn postgres() -> Self {
        let home = tempfile::tempdir().expect("a directory");
        let server = PrivatePostgres::start(&std::env::temp_dir()).expect("PostgreSQL starts");
        let url = server.url("postgres");
        Self::migrated(home, url, Some(server))
    }

    fn migrated(home: TempDir, url: String, postgres: Option<PrivatePostgres>) -> Self {
        let said = tenure(&["migrate", "--database-url", &url]);
        assert_eq!(said.code, 0, "{said:?}");
        Self {
            home,
            url,
            postgres,
        }
    }

    /// Of the same kind and empty.
    pub fn empty_url(&self, name: &str) -> String {
        match &self.postgres {
            None => format!("sqlite:{}", self.home.path().join(name).display()),
            Some(server) => {
                self.sql(&format!("CREATE DATABASE {name}"));
                server.url(name)
            }
        }
    }

    /// As a role that owns the database and is bound by row-level security, as the one of a managed database is.
    pub fn as_bound_owner(&self) -> Option<String> {
        let server = self.postgres.as_ref()?;
        self.sql("CREATE ROLE bound LOGIN PASSWORD 'p@ss' NOSUPERUSER NOBYPASSRLS IN ROLE owner, tenure_app, tenure_engine");
        let url = server.url("postgres");
        Some(url.replace("owner@", "bound:p%40ss@"))
    }

    fn sql(&self, statement: &str) {
        sql(&self.url, statement);
    }

    /// A verb on this database that must end well; gives what it printed.
    pub fn ok(&self, arguments: &[&str]) -> String {
        let mut all = arguments.to_vec();
        all.extend(["--database-url", &self.url]);
        let said = tenure(&all);
        assert_eq!(said.code, 0, "{arguments:?}: {said:?}");
        said.out.trim().to_owned()
    }

    /// The key of a new org.
    pub fn org_with_key(&self, org: &str, role: &str) -> String {
        self.ok(&["org", "create", org]);
        self.ok(&["key", "create", "--org", org, "--role", role, "-q"])
    }
}

/// What PostgreSQL answers at this address, one value a line.
pub fn sql(url: &str, statement: &str) -> String {
    let done = psql(url, statement).output().expect("psql is installed");
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{statement}: {said}");
    String::from_utf8_lossy(&done.stdout).trim().to_owned()
}

pub fn psql(url: &str, statement: &str) -> Command {
    let mut psql = Command::new("psql");
    psql.args(["--no-psqlrc", "--quiet", "--no-align", "--tuples-only"]);
    psql.args(["--dbname", url, "--command", statement]);
    psql
}

/// How a service is started.
#[derive(Clone)]
pub struct Setup {
    pub database: String,
    pub master_key: String,
    pub node_name: String,
    /// More lines of the configuration.
    pub more: String,
}

impl Setup {
    pub fn on(database: &str) -> Self {
        Self {
            database: database.into(),
            master_key: MASTER_KEY.into(),
            node_name: "tenure".into(),
            more: String::new(),
        }
    }

    fn written(&self, home: &Path) -> PathBuf {
        let file = home.join(format!("{}.toml", self.node_name));
        let text = format!(
            "database_url = '{}'\nlisten = '127.0.0.1:0'\nmaster_key = '{}'\nnode_name = '{}'\n{}\n",
            self.database, self.master_key, self.node_name, self.more
        );
        std::fs::write(&file, text).expect("a file");
        file
    }

    /// A start that must be refused.
    pub fn refused(&self, home: &Path) -> Said {
        let file = self.written(home);
        let said = run(
            &["serve", "--json", "--config", &file.to_string_lossy()],
            &[],
        );
        assert_ne!(said.code, 0, "{said:?}");
        assert_eq!(said.out, "", "it never said that it was ready");
        said
    }

    pub fn start(&self, home: &Path) -> Service {
        let log = home.join(format!("{}.log", self.node_name));
        self.start_logging_to(home, File::create(&log).expect("a log"))
    }

    pub fn start_logging_to(&self, home: &Path, log: File) -> Service {
        let file = self.written(home);
        let mut child = Command::new(env!("CARGO_BIN_EXE_tenure"))
            .args(["serve", "--json", "--config"])
            .arg(file)
            .env("TENURE_ALLOW_PRIVATE", "127.0.0.0/8")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .expect("the binary starts");
        let mut line = String::new();
        let stdout = child.stdout.take().expect("a pipe");
        BufReader::new(stdout)
            .read_line(&mut line)
            .expect("readable");
        let ready: Value = serde_json::from_str(&line).unwrap_or_else(|error| {
            panic!("it ended before it was ready: {error}: {line:?}; its log is beside its configuration")
        });
        Service {
            child,
            url: ready["url"].as_str().expect("a url").to_owned(),
        }
    }
}

/// A service at work.
pub struct Service {
    child: Child,
    pub url: String,
}

impl Service {
    pub fn client(&self, key: &str) -> Client {
        Client {
            base: self.url.clone(),
            key: Some(key.to_owned()),
        }
    }

    /// SIGTERM, and waits for the end.
    pub fn stop(mut self) {
        let pid = self.child.id().to_string();
        let sent = Command::new("kill").args(["-s", "TERM", &pid]).status();
        assert!(sent.expect("kill is there").success());
        let ended = self.child.wait().expect("it ends");
        assert!(ended.success(), "{ended:?}");
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
