//! A `tenure dev` for a test, and verbs that talk to it.

use serde_json::Value;
use std::{
    io::{BufRead, BufReader},
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};
use tempfile::TempDir;

/// Longer than anything takes on a busy machine; what is waited for longer is broken.
const PATIENCE: Duration = Duration::from_secs(60);
const BETWEEN_LOOKS: Duration = Duration::from_millis(50);

/// What a verb said and how it ended.
#[derive(Debug)]
pub struct Said {
    pub code: i32,
    pub out: String,
    pub err: String,
}

/// Runs a verb to its end, without anything from this process's environment that it would listen to.
pub fn tenure(arguments: &[&str]) -> Said {
    run(arguments, &[])
}

pub fn run(arguments: &[&str], environment: &[(&str, &str)]) -> Said {
    let output = command(arguments)
        .envs(environment.iter().copied())
        .stdin(Stdio::null())
        .output()
        .expect("the binary starts");
    Said {
        code: output.status.code().unwrap_or(-1),
        out: String::from_utf8_lossy(&output.stdout).into_owned(),
        err: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tenure"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("TENURE_") {
            command.env_remove(name);
        }
    }
    command.args(arguments);
    command
}

/// Asks again and again until it is so.
pub fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(
            Instant::now() < deadline,
            "in {PATIENCE:?} it did not come that {what}"
        );
        thread::sleep(BETWEEN_LOOKS);
    }
}

/// A running service and its data; both end with it.
pub struct Dev {
    home: TempDir,
    child: Child,
    arguments: Vec<String>,
    /// The line that it printed when it was ready.
    pub line: Value,
}

impl Dev {
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    pub fn start_with(more: &[&str]) -> Self {
        let home = tempfile::tempdir().expect("a directory");
        let data = home.path().join("data");
        let mut arguments: Vec<String> = ["dev", "--json", "--listen", "127.0.0.1:0", "--data"]
            .map(str::to_owned)
            .to_vec();
        arguments.push(data.to_string_lossy().into_owned());
        arguments.extend(more.iter().map(|text| (*text).to_owned()));
        Self::spawn(home, arguments)
    }

    /// `tenure serve` on a database that is migrated.
    pub fn serve(database: &str) -> Self {
        let home = tempfile::tempdir().expect("a directory");
        let config = home.path().join("tenure.toml");
        let key = "5a".repeat(32);
        let text = format!(
            "database_url = '{database}'\nlisten = '127.0.0.1:0'\nmaster_key = '{key}'\nlog = 'warn'\n"
        );
        std::fs::write(&config, text).expect("a file");
        let arguments = vec![
            "serve".into(),
            "--json".into(),
            "--config".into(),
            config.to_string_lossy().into_owned(),
        ];
        Self::spawn(home, arguments)
    }

    fn spawn(home: TempDir, arguments: Vec<String>) -> Self {
        let (child, line) = spawn(&arguments);
        Self {
            home,
            child,
            arguments,
            line,
        }
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        self.child.kill().expect("it lives");
        self.child.wait().expect("it ends");
    }

    pub fn start_again(&mut self) {
        (self.child, self.line) = spawn(&self.arguments);
    }

    /// Sends a signal and gives the exit code.
    #[cfg(unix)]
    pub fn signal(&mut self, name: &str) -> Option<i32> {
        let pid = self.child.id().to_string();
        let sent = Command::new("kill").args(["-s", name, &pid]).status();
        assert!(sent.expect("kill is there").success());
        let mut ended = None;
        eventually("the process ends", || {
            ended = self.child.try_wait().expect("it can be waited for");
            ended.is_some()
        });
        ended.and_then(|status| status.code())
    }

    pub fn path(&self) -> PathBuf {
        self.home.path().join("data")
    }
    pub fn data(&self) -> &str {
        self.arguments[5].as_str()
    }
    pub fn url(&self) -> &str {
        self.line["url"].as_str().expect("a url")
    }

    /// A file with this text; gives its path.
    pub fn file(&self, name: &str, text: &str) -> String {
        let path = self.home.path().join(name);
        std::fs::write(&path, text).expect("a file");
        path.to_string_lossy().into_owned()
    }

    pub fn verb(&self, arguments: &[&str]) -> Said {
        let data = self.path();
        let mut all = arguments.to_vec();
        let data = data.to_string_lossy();
        let on_database = matches!(arguments.first(), Some(&"org" | &"key"));
        if !on_database {
            all.extend(["--data", &data]);
        }
        tenure(&all)
    }

    /// What a verb printed that must end well.
    pub fn ok(&self, arguments: &[&str]) -> String {
        let said = self.verb(arguments);
        assert_eq!(said.code, 0, "{arguments:?}: {said:?}");
        said.out
    }

    pub fn json(&self, arguments: &[&str]) -> Value {
        let mut all = arguments.to_vec();
        all.push("--json");
        let text = self.ok(&all);
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{arguments:?}: {error}: {text}"))
    }

    /// What the sandbox was told to write.
    pub fn record(&self, integration: &str) -> Vec<Value> {
        let sandbox = self.line["sandbox_url"].as_str().expect("a sandbox");
        let url = format!("{sandbox}/record?integration={integration}");
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        let record = runtime.expect("a runtime").block_on(async {
            let answer = reqwest::get(&url).await.expect("the sandbox answers");
            answer.json::<Value>().await.expect("JSON")
        });
        let items = record["items"].as_array().expect("a list").clone();
        items
            .into_iter()
            .filter(|item| item["method"] == "POST")
            .collect()
    }
}

impl Drop for Dev {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Starts the service and waits for its line.
fn spawn(arguments: &[String]) -> (Child, Value) {
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let mut child = command(&arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the binary starts");
    let stdout = child.stdout.take().expect("a pipe");
    let (sender, lines) = mpsc::channel();
    thread::spawn(move || {
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            let _ = sender.send(line);
        }
    });
    let line = lines.recv_timeout(PATIENCE).unwrap_or_else(|_| {
        let _ = child.kill();
        panic!(
            "`tenure {}` was not ready in {PATIENCE:?}",
            arguments.join(" ")
        )
    });
    let line = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"));
    (child, line)
}
