//! Starts nodes and tells them what to do.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Stdio,
    time::{Duration, SystemTime},
};
use tenure_cluster::{
    NodeIdentity,
    tls::{Authority, ClusterName, Issued, TlsFiles, write_private},
};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines},
    process::{Child, ChildStdin, ChildStdout, Command},
    time::timeout,
};
use uuid::Uuid;

pub const NODE: &str = "TENURE_TEST_NODE";
const DAY: Duration = Duration::from_secs(86_400);

/// What a child is told at its start.
pub struct Setup {
    pub identity: NodeIdentity,
    pub certificates: PathBuf,
    pub protocol: (u16, u16),
    pub port: u16,
}

impl Setup {
    fn print(&self) -> String {
        let NodeIdentity {
            node_id,
            incarnation,
        } = self.identity;
        let (min, max) = self.protocol;
        let certificates = self.certificates.display();
        format!(
            "{node_id}|{incarnation}|{min}|{max}|{}|{certificates}",
            self.port
        )
    }

    pub fn parse(text: &str) -> Self {
        let parts: Vec<&str> = text.splitn(6, '|').collect();
        Self {
            identity: NodeIdentity {
                node_id: parts[0].parse().unwrap(),
                incarnation: parts[1].parse().unwrap(),
            },
            protocol: (parts[2].parse().unwrap(), parts[3].parse().unwrap()),
            port: parts[4].parse().unwrap(),
            certificates: parts[5].into(),
        }
    }
}

/// An authority and the directory of its certificates.
pub struct Cluster {
    dir: tempfile::TempDir,
    authority: Authority,
}

impl Cluster {
    pub fn new() -> Self {
        Self {
            dir: tempfile::tempdir().unwrap(),
            authority: Authority::generate(ClusterName::new("test").unwrap()).unwrap(),
        }
    }

    pub fn certificates(&self, node_id: Uuid) -> PathBuf {
        let dir = self.dir.path().join(node_id.to_string());
        if !dir.exists() {
            fs::create_dir(&dir).unwrap();
            write_certificates(&self.authority, &dir, node_id);
        }
        dir
    }

    pub async fn node(&self, number: u128) -> Node {
        self.start(number, 1, (1, 1), 0).await
    }

    pub async fn start(
        &self,
        number: u128,
        incarnation: u64,
        protocol: (u16, u16),
        port: u16,
    ) -> Node {
        let node_id = Uuid::from_u128(number);
        Node::start(&Setup {
            identity: NodeIdentity {
                node_id,
                incarnation,
            },
            certificates: self.certificates(node_id),
            protocol,
            port,
        })
        .await
    }

    /// Two nodes with a link.
    pub async fn pair(&self) -> (Node, Node) {
        let (mut one, mut two) = (self.node(1).await, self.node(2).await);
        one.joins(&two).await;
        two.says("wait 1", "ok").await;
        (one, two)
    }
}

fn write_certificates(authority: &Authority, dir: &Path, node_id: Uuid) {
    let now = SystemTime::now();
    let files = TlsFiles::in_dir(dir);
    let ca = authority.certify(now, DAY).unwrap();
    let Issued { certificate, key } = authority.issue(node_id, now, DAY).unwrap();
    fs::write(files.ca, ca.certificate).unwrap();
    fs::write(files.cert, certificate).unwrap();
    write_private(&files.key, &key).unwrap();
}

/// A child process. Killed when dropped.
pub struct Node {
    pub id: Uuid,
    pub address: SocketAddr,
    child: Child,
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
}

impl Node {
    async fn start(setup: &Setup) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "child::child", "--ignored", "--nocapture"])
            .env(NODE, setup.print())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let input = child.stdin.take().unwrap();
        let mut output = BufReader::new(child.stdout.take().unwrap()).lines();
        let address = answer(&mut output).await.parse().unwrap();
        Self {
            id: setup.identity.node_id,
            address,
            child,
            input,
            output,
        }
    }

    pub async fn order(&mut self, command: &str) {
        let line = format!("{command}\n");
        self.input.write_all(line.as_bytes()).await.unwrap();
    }
    pub async fn answer(&mut self) -> String {
        answer(&mut self.output).await
    }
    pub async fn tell(&mut self, command: &str) -> String {
        self.order(command).await;
        self.answer().await
    }
    pub async fn says(&mut self, command: &str, expected: &str) {
        let said = self.tell(command).await;
        assert_eq!(said, expected, "{command}");
    }

    pub async fn joins(&mut self, other: &Node) {
        let dial = format!("dial {} {} 1", other.address, other.id);
        self.says(&dial, "ok").await;
        self.says("wait 1", "ok").await;
    }

    pub async fn ask(&mut self, node: Uuid, kind: &str, size: usize) -> String {
        self.tell(&format!("ask {node} {kind} {size} 20000")).await
    }

    pub async fn memory_kib(&mut self) -> usize {
        self.tell("memory").await.parse().unwrap()
    }

    /// `kill -9`.
    pub async fn kill(&mut self) {
        self.child.kill().await.unwrap();
    }

    /// `STOP` or `CONT`.
    pub async fn signal(&self, signal: &str) {
        let pid = self.child.id().unwrap().to_string();
        let mut kill = Command::new("kill");
        kill.args([&format!("-{signal}"), &pid]);
        assert!(kill.status().await.unwrap().success());
    }
}

async fn answer(output: &mut Lines<BufReader<ChildStdout>>) -> String {
    let read = async {
        loop {
            let line = output.next_line().await.unwrap();
            let line = line.expect("the node lives");
            if let Some(answer) = line.strip_prefix("= ") {
                return answer.to_owned();
            }
        }
    };
    timeout(Duration::from_secs(60), read)
        .await
        .expect("the node answers")
}
