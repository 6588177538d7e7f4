//! The door of the service, from outside: raw sockets against the real binary.

mod bodies;
mod idle;
mod slow;
mod stop;

use serde_json::Value;
use std::{
    net::{IpAddr, SocketAddr},
    process::Stdio,
    time::Duration,
};
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{TcpSocket, TcpStream},
    process::{Child, Command},
    time::timeout,
};

/// Within which something happens that has to happen, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);
const MASTER_KEY: &str = "a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1";

/// A running `tenure serve` on SQLite, and an admin's key.
pub struct Service {
    child: Child,
    pub address: SocketAddr,
    pub key: String,
    _dir: TempDir,
}

fn tenure() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tenure"));
    command.stdin(Stdio::null()).kill_on_drop(true);
    command
}

impl Service {
    /// Started with these variables, in capitals and without their prefix.
    pub async fn start(settings: &[(&str, &str)]) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let url = format!("sqlite:{}", dir.path().join("tenure.db").display());
        let mut key = String::new();
        for words in [
            &["migrate"][..],
            &["org", "create", "acme"],
            &["key", "create", "--org", "acme", "--role", "admin", "-q"],
        ] {
            let said = tenure()
                .args(words)
                .args(["--database-url", &url])
                .output()
                .await
                .expect("runs");
            assert!(said.status.success(), "{words:?}: {said:?}");
            key = String::from_utf8_lossy(&said.stdout).trim().to_owned();
        }
        let mut command = tenure();
        command
            .args(["serve", "--json", "--listen", "127.0.0.1:0"])
            .env("TENURE_DATABASE_URL", &url)
            .env("TENURE_MASTER_KEY", MASTER_KEY)
            .stdout(Stdio::piped());
        for (name, value) in settings {
            command.env(format!("TENURE_{name}"), value);
        }
        let mut child = command.spawn().expect("the binary starts");
        let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        let line = timeout(PATIENCE, lines.next_line()).await.expect("in time");
        let line = line.expect("readable").expect("the line with the address");
        let ready: Value = serde_json::from_str(&line).expect("JSON");
        let url = ready["url"].as_str().expect("an address");
        Self {
            child,
            address: url
                .trim_start_matches("http://")
                .parse()
                .expect("an address"),
            key,
            _dir: dir,
        }
    }

    pub fn pid(&self) -> u32 {
        self.child.id().expect("it runs")
    }

    /// Bytes that the process has in memory.
    pub fn memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid()));
        let status = status.expect("readable");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kilobytes = line.expect("its size").trim().trim_end_matches(" kB");
        kilobytes.parse::<u64>().expect("a number") * 1024
    }

    /// SIGTERM; returns when it has ended, with success.
    pub async fn stop(&mut self) {
        let pid = self.pid().to_string();
        let told = Command::new("kill").args(["-TERM", &pid]).status().await;
        assert!(told.expect("kill").success());
        let ended = timeout(PATIENCE, self.child.wait()).await;
        let status = ended.expect("it ends").expect("its status");
        assert!(status.success(), "{status}");
    }

    pub async fn connect(&self) -> Socket {
        self.connect_from(IpAddr::from([127, 0, 0, 1])).await
    }

    /// Every address of the loopback network is this machine's own.
    pub async fn connect_from(&self, from: IpAddr) -> Socket {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.bind((from, 0).into()).expect("its address");
        let connecting = timeout(PATIENCE, socket.connect(self.address)).await;
        Socket(connecting.expect("in time").expect("connects"))
    }

    /// A request with the admin's key, of which the head ends here.
    pub fn request(&self, method: &str, path: &str, more: &str) -> String {
        let key = &self.key;
        format!(
            "{method} {path} HTTP/1.1\r\nhost: a.example\r\nauthorization: Bearer {key}\r\n{more}\r\n"
        )
    }

    /// Somebody else, who wants to be answered.
    pub async fn others_are_answered(&self) {
        let mut socket = self.connect_from([127, 0, 99, 99].into()).await;
        let status = socket.ask(&self.request("GET", "/v1/org", "")).await;
        assert_eq!(status, Some(200));
    }
}

/// A connection, spoken byte by byte.
pub struct Socket(pub TcpStream);

impl Socket {
    pub async fn send(&mut self, text: &str) {
        let sent = timeout(PATIENCE, self.0.write_all(text.as_bytes())).await;
        sent.expect("in time").expect("sent");
    }

    /// Sends a request and reads its whole answer; its status, or `None` if the connection has ended.
    pub async fn ask(&mut self, request: &str) -> Option<u16> {
        let sent = timeout(PATIENCE, self.0.write_all(request.as_bytes())).await;
        sent.expect("in time").ok()?;
        self.answer().await
    }

    pub async fn answer(&mut self) -> Option<u16> {
        timeout(PATIENCE, self.read_answer())
            .await
            .expect("an answer or an end in time")
    }

    async fn read_answer(&mut self) -> Option<u16> {
        let (mut head, mut byte) = (Vec::new(), [0]);
        while !head.ends_with(b"\r\n\r\n") {
            if self.0.read(&mut byte).await.ok()? == 0 {
                return None;
            }
            head.push(byte[0]);
        }
        let head = String::from_utf8_lossy(&head).to_ascii_lowercase();
        let length = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length:"));
        let length = length.map_or(0, |length| length.trim().parse().expect("a length"));
        let mut body = vec![0; length];
        self.0.read_exact(&mut body).await.ok()?;
        head.split(' ').nth(1)?.parse().ok()
    }

    /// Reads until the end, however it comes; gives what came.
    pub async fn until_the_end(&mut self) -> String {
        let mut text = Vec::new();
        let mut part = [0; 4096];
        let reading = async {
            while let Ok(read @ 1..) = self.0.read(&mut part).await {
                text.extend_from_slice(&part[..read]);
            }
        };
        timeout(PATIENCE, reading).await.expect("it ends");
        String::from_utf8_lossy(&text).into_owned()
    }
}
