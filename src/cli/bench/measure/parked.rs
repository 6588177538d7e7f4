//! Many employees with a run each that waits for a person: what they cost in memory, and how fast they all go on.

use super::Ask;
use crate::cli::bench::{
    bulk::{hire_all, post_all, trigger_all},
    graphs,
    report::{Aim, Measurement},
    server::Server,
};
use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;
use serde_json::{Value, json};
use std::time::{Duration, Instant};
use tokio::time::sleep;

const DEADLINE: Duration = Duration::from_secs(300);
/// After this long without work employees sleep. Long enough that the first one is awake when the last one waits.
const IDLE: Duration = Duration::from_secs(20);
/// In the quick version.
const IDLE_FEW: Duration = Duration::from_secs(1);
const FEW: usize = 1_000;
/// What is left of a parked run must be less than this to count as nothing: the noise of an allocator over 10,000 runs is about 1 MB.
const NOTHING: f64 = 256.0;

#[derive(Deserialize)]
struct Approval {
    id: String,
    arguments_hash: String,
}

/// Memory of the server at one moment, bytes.
#[derive(Clone, Copy)]
struct Memory {
    /// What the system gave it.
    resident: u64,
    /// What the program holds.
    heap: u64,
}

struct Moments {
    idle: Memory,
    awake: Memory,
    asleep: Memory,
    done: Memory,
}

async fn memory(server: &mut Server) -> Result<Memory> {
    let heap = server.metric("tenure_heap_allocated_bytes").await?;
    Ok(Memory {
        resident: server.resident_bytes()?,
        heap: heap.context("the server tells no heap")? as u64,
    })
}

/// # Errors
/// If a run does not come to its approval, does not go on after it, or an employee does not sleep.
pub async fn measure(ask: &mut Ask<'_>) -> Result<()> {
    let count = ask.sizes.parked;
    let idle_after = if count > FEW { IDLE } else { IDLE_FEW };
    let place = ask.places.make(ask.database).await?;
    let mut server = Server::start(&place, idle_after).await?;
    ask.progress(&format!("hire {count} employees"));
    let employees = hire_all(&server, count, graphs::asks_approval).await?;
    server.wait_until_asleep(DEADLINE).await?;
    let idle = memory(&mut server).await?;

    ask.progress(&format!("{count} runs come to their approval"));
    trigger_all(&server, &employees).await?;
    let approvals = pending(&mut server, count).await?;
    let awake = memory(&mut server).await?;
    let awake_count = server.awake().await?;
    ask.progress("employees fall asleep");
    server.wait_until_asleep(DEADLINE).await?;
    sleep(ask.sizes.settle).await;
    let asleep = memory(&mut server).await?;

    ask.progress(&format!("{count} approvals are decided"));
    let resumed = decide_all(&mut server, approvals).await?;
    let completed: Vec<Value> = server.list("/v1/runs?status=completed").await?;
    ensure!(
        completed.len() == count,
        "{} of {count} runs are completed",
        completed.len()
    );
    server.wait_until_asleep(DEADLINE).await?;
    sleep(ask.sizes.settle).await;
    let done = memory(&mut server).await?;
    server.kill().await?;
    let moments = Moments {
        idle,
        awake,
        asleep,
        done,
    };
    tell(ask, &moments, awake_count, resumed);
    ask.places.remove(place).await
}

/// All approvals, once there are so many.
async fn pending(server: &mut Server, count: usize) -> Result<Vec<Approval>> {
    let begin = Instant::now();
    // Counting is cheap only for the server's own counters, so the list is read when the runs cannot be working any more.
    server
        .wait_until_empty(
            &["/v1/runs?status=accepted", "/v1/runs?status=running"],
            DEADLINE,
        )
        .await?;
    loop {
        let approvals: Vec<Approval> = server.list("/v1/approvals?status=pending").await?;
        if approvals.len() == count {
            return Ok(approvals);
        }
        if begin.elapsed() > DEADLINE {
            bail!("{} of {count} runs wait for approval", approvals.len());
        }
        sleep(Duration::from_millis(100)).await;
    }
}

/// Approves all and waits until every run has ended; gives the time from the first decision on.
async fn decide_all(server: &mut Server, approvals: Vec<Approval>) -> Result<Duration> {
    let decisions = approvals.into_iter().map(|approval| {
        (
            format!("/v1/approvals/{}/decision", approval.id),
            json!({"decision": "approve", "arguments_hash": approval.arguments_hash}),
        )
    });
    let decisions: Vec<_> = decisions.collect();
    let begin = Instant::now();
    post_all::<Value>(server, decisions, 200).await?;
    server
        .wait_until_empty(
            &["/v1/runs?status=waiting", "/v1/runs?status=running"],
            DEADLINE,
        )
        .await?;
    Ok(begin.elapsed())
}

fn tell(ask: &mut Ask<'_>, memory: &Moments, awake_count: usize, resumed: Duration) {
    let count = ask.sizes.parked;
    let of = format!("parked/{}", ask.database);
    let megabytes = |bytes: u64| bytes as f64 / 1e6;
    let each = |with: u64, without: u64| (with as f64 - without as f64) / count as f64;
    let (idle, awake, asleep, done) = (memory.idle, memory.awake, memory.asleep, memory.done);
    let of_awake = (awake.resident as f64 - idle.resident as f64) / awake_count.max(1) as f64;
    let resident = |name: &'static str, at: Memory| {
        Measurement::once(&of, name, "MB", megabytes(at.resident))
            .note(format!("{:.1} MB of it in use", megabytes(at.heap)))
    };
    ask.answers.extend([
        resident("resident, all hired, nobody awake", idle),
        resident("resident, runs wait, employees awake", awake),
        resident("resident, runs wait, employees asleep", asleep),
        resident("resident, runs done, employees asleep", done),
        Measurement::once(&of, "per run parked, employee awake", "B", of_awake)
            .note(format!("{awake_count} of {count} employees were awake; an employee with one skill, two micro-agents started and its run")),
        Measurement::once(&of, "per run parked, employee asleep", "B", each(asleep.heap, done.heap))
            .aim(ask.aim(Aim::AtMost(NOTHING)))
            .note("heap in use against the same server after all the runs had ended and everybody slept again: what a parked run holds; below 256 B counts as none"),
        Measurement::once(&of, "resident, per run parked, asleep", "B", each(asleep.resident, idle.resident))
            .note("against the same server before the runs: with caches, statistics and what the allocator has not given back"),
        Measurement::once(&of, "all resumed and completed", "s", resumed.as_secs_f64())
            .aim(ask.aim(Aim::AtMost(4.0)))
            .note(format!("{count} decisions over HTTP, 64 in flight, employees asleep at first, until no run is unfinished")),
    ]);
}
