//! The real binary as a child process, and a small HTTP client for it.

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use std::{
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    net::TcpStream,
    process::{Child, Command},
};

/// How long a start may take on a loaded machine.
const START: Duration = Duration::from_secs(60);
/// For one request.
const REQUEST: Duration = Duration::from_secs(60);

/// A running `tenure dev`.
pub struct Server {
    child: Child,
    pub url: String,
    pub key: String,
    pub sandbox_url: String,
}

/// How to start it, again and again on the same data.
#[derive(Clone)]
pub struct Launch {
    pub data: PathBuf,
    pub database_url: Option<String>,
    pub idle_after: Option<u32>,
    /// Ranges that calls may go to beside the sandbox of its own.
    pub allow_private: Option<String>,
    /// Everything that it logs goes here, as much of it as there is.
    pub trace_to: Option<PathBuf>,
}

impl Launch {
    pub fn new(data: &Path) -> Self {
        Self {
            data: data.to_path_buf(),
            database_url: None,
            idle_after: None,
            allow_private: None,
            trace_to: None,
        }
    }

    /// Starts the binary and waits for its line.
    pub async fn start(&self) -> Server {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tenure"));
        command
            .args([
                "dev",
                "--json",
                "--no-demo",
                "--listen",
                "127.0.0.1:0",
                "--data",
            ])
            .arg(&self.data)
            // Other providers of a test than the server's own sandbox are on this machine as well.
            .env("TENURE_ALLOW_PRIVATE", "127.0.0.0/8");
        if let Some(url) = &self.database_url {
            command.args(["--database-url", url]);
        }
        if let Some(seconds) = self.idle_after {
            command.args(["--idle-after", &seconds.to_string()]);
        }
        if let Some(ranges) = &self.allow_private {
            command.env("TENURE_ALLOW_PRIVATE", ranges);
        }
        if let Some(path) = &self.trace_to {
            let log = std::fs::OpenOptions::new()
                .create(true)
                .append(true)
                .open(path);
            command.env("RUST_LOG", "trace").stderr(log.expect("a log"));
        }
        let mut child = command
            .stdout(Stdio::piped())
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("the binary starts");
        let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        let line = tokio::time::timeout(START, lines.next_line())
            .await
            .expect("ready in time")
            .expect("readable");
        let line = line.expect("the line with the address; the process has ended instead");
        let ready: Value =
            serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"));
        let text = |field: &str| {
            ready[field]
                .as_str()
                .unwrap_or_else(|| panic!("no {field} in {line}"))
                .to_string()
        };
        Server {
            child,
            url: text("url"),
            key: text("api_key"),
            sandbox_url: text("sandbox_url"),
        }
    }
}

impl Server {
    /// SIGKILL, and waits until it is gone.
    pub async fn kill(mut self) {
        self.child.kill().await.expect("killed");
    }

    pub fn client(&self) -> Client {
        Client {
            base: self.url.clone(),
            key: Some(self.key.clone()),
        }
    }
    pub fn sandbox(&self) -> Client {
        Client {
            base: self.sandbox_url.clone(),
            key: None,
        }
    }
}

/// One connection a request: simple, and indifferent to a server that dies.
#[derive(Clone)]
pub struct Client {
    pub base: String,
    pub key: Option<String>,
}

/// An answer with its JSON body (`null` if it has none).
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    /// In seconds.
    pub retry_after: Option<u32>,
    pub body: Value,
}

impl Client {
    /// # Errors
    /// If the server is not there or dies before it has answered.
    pub async fn try_send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<&Value>,
    ) -> Result<Answer, String> {
        let exchange = async {
            let address = self.base.trim_start_matches("http://").to_string();
            let stream = TcpStream::connect(&address)
                .await
                .map_err(|error| error.to_string())?;
            let (mut sender, connection) =
                hyper::client::conn::http1::handshake(TokioIo::new(stream))
                    .await
                    .map_err(|error| error.to_string())?;
            let connection = tokio::spawn(connection);
            let mut request = hyper::Request::builder()
                .method(method)
                .uri(path)
                .header("host", address);
            if let Some(key) = &self.key {
                request = request.header("authorization", format!("Bearer {key}"));
            }
            for (name, value) in headers {
                request = request.header(*name, *value);
            }
            let body = match body {
                Some(body) => {
                    request = request.header("content-type", "application/json");
                    Full::new(Bytes::from(body.to_string()))
                }
                None => Full::default(),
            };
            let request = request.body(body).map_err(|error| error.to_string())?;
            let answer = sender
                .send_request(request)
                .await
                .map_err(|error| error.to_string())?;
            let status = answer.status().as_u16();
            let retry_after = answer.headers().get("retry-after");
            let retry_after = retry_after.and_then(|value| value.to_str().ok()?.parse().ok());
            let bytes = answer
                .into_body()
                .collect()
                .await
                .map_err(|error| error.to_string())?
                .to_bytes();
            connection.abort();
            Ok(Answer {
                status,
                retry_after,
                body: serde_json::from_slice(&bytes).unwrap_or(Value::Null),
            })
        };
        tokio::time::timeout(REQUEST, exchange)
            .await
            .unwrap_or_else(|_| Err("no answer in time".into()))
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.try_send("GET", path, &[], None)
            .await
            .unwrap_or_else(|error| panic!("GET {path}: {error}"))
    }

    pub async fn post(&self, path: &str, body: &Value) -> Answer {
        self.try_send("POST", path, &[], Some(body))
            .await
            .unwrap_or_else(|error| panic!("POST {path}: {error}"))
    }

    /// All items of a list, over its pages.
    ///
    /// # Errors
    /// If the server dies meanwhile.
    pub async fn try_list(&self, path: &str) -> Result<Vec<Value>, String> {
        let (mut items, mut after) = (Vec::new(), None::<String>);
        loop {
            let separator = if path.contains('?') { '&' } else { '?' };
            let page = match &after {
                Some(after) => format!("{path}{separator}limit=200&after={after}"),
                None => format!("{path}{separator}limit=200"),
            };
            let answer = self.try_send("GET", &page, &[], None).await?;
            if answer.status != 200 {
                return Err(format!("{page}: {answer:?}"));
            }
            items.extend(answer.body["items"].as_array().cloned().unwrap_or_default());
            match answer.body["next"].as_str() {
                Some(next) => after = Some(next.to_string()),
                None => return Ok(items),
            }
        }
    }
}
