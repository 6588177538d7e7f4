//! A node that does what it is told.

use crate::{
    files::{Files, TERMS},
    parent::{NODE, Setup},
};
use async_trait::async_trait;
use bytes::Bytes;
use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use tenure_cluster::{
    ClusterConfig, ClusterNode, NodeIdentity,
    gateway::Handler,
    membership::{Membership, View},
    protocol::{Envelope, HandlerError, ProtocolRange},
    tls::{ClusterName, TlsFiles, TlsReloader},
};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    net::TcpListener,
    time::{sleep, timeout},
};
use uuid::Uuid;

#[derive(Default)]
struct Example {
    handled: AtomicUsize,
}

#[async_trait]
impl Handler for Example {
    async fn handle(&self, from: NodeIdentity, envelope: Envelope) -> Result<Bytes, HandlerError> {
        let handled = self.handled.fetch_add(1, Ordering::SeqCst) + 1;
        match envelope.kind.as_str() {
            "echo" => Ok(envelope.body),
            "from" => Ok(format!("{}/{}", from.node_id, from.incarnation).into()),
            "handled" => Ok(handled.to_string().into()),
            "trace" => Ok(envelope.traceparent.unwrap_or_default().into()),
            "sleep" => {
                sleep(Duration::from_secs(600)).await;
                Ok(Bytes::new())
            }
            "panic" => panic!("on purpose"),
            _ => Err(HandlerError::UnknownKind),
        }
    }
}

#[tokio::test]
#[ignore = "a child process of the other tests"]
async fn child() {
    let Ok(setup) = std::env::var(NODE) else {
        return;
    };
    let setup = Setup::parse(&setup);
    let cluster = ClusterName::new("test").unwrap();
    let files = TlsFiles::in_dir(&setup.certificates);
    let tls = TlsReloader::load(files, cluster.clone(), setup.identity.node_id).unwrap();
    let listener = TcpListener::bind(("127.0.0.1", setup.port)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let config = ClusterConfig {
        protocol: ProtocolRange {
            min: setup.protocol.0,
            max: setup.protocol.1,
        },
        silence: Duration::from_secs(6),
        ..ClusterConfig::new(setup.identity, cluster, listener, Arc::new(tls))
    };
    let node = ClusterNode::start(config, Arc::new(Example::default()))
        .await
        .unwrap();
    println!("\n= {address}");
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    let mut membership = None;
    while let Ok(Some(line)) = lines.next_line().await {
        let words: Vec<&str> = line.split(' ').collect();
        let answer = match (&words[..], &membership) {
            (["join", directory], _) => {
                let directory = Files::new(directory);
                directory.register(setup.identity, address);
                membership = Some(Membership::start(
                    setup.identity,
                    TERMS,
                    Arc::new(directory),
                    node.dialer(),
                    node.gateway().links().clone(),
                ));
                "ok".into()
            }
            (["sees", rest @ ..], Some(membership)) => sees(membership, &rest.join(" ")).await,
            (["leave"], Some(_)) => match membership.take() {
                Some(membership) => format!("{:?}", membership.leave().await),
                None => String::new(),
            },
            _ => obey(&node, &words).await,
        };
        println!("\n= {answer}");
    }
}

/// Waits until the view begins as expected: the standing, then each member's number, incarnation and state.
async fn sees(membership: &Membership, expected: &str) -> String {
    let mut view = membership.view();
    let wait = view.wait_for(|view| describe(view).starts_with(expected));
    if timeout(Duration::from_secs(20), wait).await.is_ok() {
        return "ok".into();
    }
    describe(&membership.view().borrow())
}

fn describe(view: &View) -> String {
    let mut members: Vec<String> = view
        .members
        .iter()
        .map(|member| {
            let NodeIdentity {
                node_id,
                incarnation,
            } = member.identity;
            format!("{}/{incarnation}/{:?}", node_id.as_u128(), member.state)
        })
        .collect();
    members.sort();
    format!("{:?} {}", view.standing, members.join(" "))
}

async fn obey(node: &ClusterNode, words: &[&str]) -> String {
    let gateway = node.gateway();
    match words {
        ["dial", address, id, times] => {
            let dials = (0..number(times)).map(|_| {
                let (dialer, address, id) = (node.dialer(), (*address).to_owned(), uuid(id));
                tokio::spawn(async move { dialer.dial(&address, id).await })
            });
            let mut answers = Vec::new();
            for dial in dials.collect::<Vec<_>>() {
                answers.push(match dial.await.unwrap() {
                    Ok(()) => "ok".to_owned(),
                    Err(error) => error.to_string(),
                });
            }
            answers.dedup();
            answers.join(", ")
        }
        ["links"] => {
            let links = gateway.links().list().into_iter();
            let name = |id: NodeIdentity| format!("{}/{}", id.node_id, id.incarnation);
            let mut names: Vec<_> = links.map(|link| name(link.identity)).collect();
            names.sort();
            names.join(" ")
        }
        ["in_flight"] => {
            let link = gateway.links().list().pop().unwrap();
            format!("{} {}", link.messages_in_flight, link.bytes_in_flight)
        }
        ["wait", links] => {
            let wait = async {
                while gateway.links().list().len() != number(links) {
                    sleep(Duration::from_millis(5)).await;
                }
            };
            match timeout(Duration::from_secs(20), wait).await {
                Ok(()) => "ok".into(),
                Err(_) => format!("{} links", gateway.links().list().len()),
            }
        }
        ["ask", id, kind, size, millis] => {
            let millis = Duration::from_millis(number(millis) as u64);
            let mut envelope = Envelope::new(*kind, millis, vec![b'x'; number(size)]);
            envelope.traceparent = Some("00-trace".into());
            envelope.answer_limit = number(size).max(1_000);
            match gateway.ask(uuid(id), envelope).await {
                Ok(body) if body.len() > 100 => format!("{} bytes", body.len()),
                Ok(body) => String::from_utf8_lossy(&body).into_owned(),
                Err(error) => error.to_string(),
            }
        }
        ["flood", id, kind, size, count] => {
            let body = Bytes::from(vec![b'x'; number(size)]);
            let (mut sent, mut refused) = (0, 0);
            for turn in 0..number(count) {
                let envelope = Envelope::new(*kind, Duration::from_secs(60), body.clone());
                match gateway.tell(uuid(id), envelope) {
                    Ok(()) => sent += 1,
                    Err(_) => refused += 1,
                }
                if turn % 64 == 0 {
                    tokio::task::yield_now().await;
                }
            }
            format!("{sent} {refused}")
        }
        // What other nodes could reach in this process.
        ["remotable"] => ractor::registry::get_all_pids()
            .iter()
            .filter(|actor| actor.supports_remoting())
            .count()
            .to_string(),
        ["memory"] => resident_kib().to_string(),
        other => panic!("no such command: {other:?}"),
    }
}

fn number(word: &str) -> usize {
    word.parse().unwrap()
}
fn uuid(word: &str) -> Uuid {
    word.parse().unwrap()
}

fn resident_kib() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    line.and_then(|line| line.split_whitespace().nth(1))
        .map_or(0, number)
}
