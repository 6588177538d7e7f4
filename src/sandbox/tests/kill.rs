//! A real process, killed.

use super::*;
use std::{
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
};
use tokio::sync::Semaphore;

/// Kills the child when a test ends early.
pub(super) struct Killed(Child);
impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Messages that are answered before the process is killed.
const ENOUGH: u32 = 100;
const FOLDER: &str = "TENURE_TEST_SANDBOX_FOLDER";

/// Not a test: the process that the next test kills.
#[tokio::test]
#[ignore = "started by another test"]
async fn serve_until_killed() {
    let Ok(folder) = std::env::var(FOLDER) else {
        return;
    };
    let handle = Sandbox::start(([127, 0, 0, 1], 0).into(), folder.into(), today())
        .await
        .unwrap();
    println!("url={}", handle.url());
    std::future::pending::<()>().await;
}

pub(super) fn start_process(folder: &Path) -> (Killed, String) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args([
            "sandbox::tests::kill::serve_until_killed",
            "--exact",
            "--ignored",
            "--nocapture",
        ])
        .env(FOLDER, folder)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let url = lines
        .find_map(|line| {
            line.unwrap()
                .split_once("url=")
                .map(|(_, url)| url.to_owned())
        })
        .unwrap();
    // The rest of its output goes nowhere, but the pipe has to stay open.
    std::thread::spawn(move || lines.for_each(drop));
    (Killed(child), url)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_answered_survives_kill_9() {
    let folder = tempfile::tempdir().unwrap();
    let mut answered: Vec<String> = Vec::new();
    for round in 0..3 {
        let (child, url) = start_process(folder.path());
        let bench = Arc::new(Bench::at(url));
        let posted = Arc::new(Semaphore::new(0));
        let writers: Vec<_> = (0..8)
            .map(|writer| {
                let (bench, posted) = (bench.clone(), posted.clone());
                tokio::spawn(async move {
                    let mut done = Vec::new();
                    for number in 0.. {
                        let key = format!("tnr_{round}_{writer}_{number}");
                        match bench
                            .call_within("slack.chat.post", &message(), &key, DEADLINE)
                            .await
                        {
                            CallOutcome::Ok { .. } => {
                                done.push(key);
                                posted.add_permits(1);
                            }
                            _ => break,
                        }
                    }
                    done
                })
            })
            .collect();
        // Killed in the middle of the work, when enough was answered.
        let enough = tokio::time::timeout(6 * DEADLINE, posted.acquire_many(ENOUGH)).await;
        enough.expect("the sandbox answers").unwrap().forget();
        drop(child);
        for writer in writers {
            answered.extend(writer.await.unwrap());
        }
    }
    assert!(answered.len() >= 3 * ENOUGH as usize);
    let (_handle, bench) = Bench::start(folder.path()).await;
    let record = bench.record("integration=slack&limit=100000").await;
    let recorded: std::collections::HashSet<_> = record["items"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|item| item["idempotency_key"].as_str())
        .collect();
    let lost: Vec<_> = answered
        .iter()
        .filter(|key| !recorded.contains(key.as_str()))
        .collect();
    assert!(lost.is_empty(), "lost {lost:?}");
    let last = answered.last().unwrap();
    assert!(
        bench
            .happened("slack.chat.post", &message(), last)
            .await
            .is_some()
    );
}
