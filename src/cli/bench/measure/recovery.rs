//! Runs of timed steps, kill -9 half-way, and how long after the restart the last of them is finished.

use super::Ask;
use crate::cli::bench::{
    bulk::{all_completed, hire_all, trigger_all},
    graphs::{self, STEPS},
    report::{Aim, Measurement},
    server::Server,
};
use anyhow::{Result, ensure};
use serde_json::Value;
use std::time::{Duration, Instant};
use tokio::time::sleep;

const EMPLOYEES: usize = 10;
const STEP: Duration = Duration::from_millis(100);
const DEADLINE: Duration = Duration::from_secs(120);
const IDLE: Duration = Duration::from_secs(600);
const UNFINISHED: [&str; 3] = [
    "/v1/runs?status=accepted",
    "/v1/runs?status=running",
    "/v1/runs?status=waiting",
];

/// # Errors
/// If a run is lost or doubled, or not finished in two minutes.
pub async fn measure(ask: &mut Ask<'_>) -> Result<()> {
    let of = format!("recovery/{}", ask.database);
    let runs = ask.sizes.killed;
    let place = ask.places.make(ask.database).await?;
    let mut server = Server::start(&place, IDLE).await?;
    let employees = hire_all(&server, EMPLOYEES.min(runs), |name| {
        graphs::slow_steps(name, STEP.as_millis() as u64)
    })
    .await?;
    // A round before: what is measured is not the first use of everything.
    trigger_all(&server, &employees).await?;
    server.wait_until_empty(&UNFINISHED, DEADLINE).await?;

    ask.progress(&format!(
        "{runs} runs of {STEPS} steps of {STEP:?}, killed half-way"
    ));
    let begin = Instant::now();
    let (burst, accepted) = trigger_all(&server, employees.iter().cycle().take(runs)).await?;
    sleep((STEP * STEPS as u32 / 2).saturating_sub(begin.elapsed())).await;
    let finished_before = finished(&mut server).await? - employees.len() as u64;
    server.kill().await?;

    let restart = Instant::now();
    let mut server = Server::start(&place, IDLE).await?;
    let ready = restart.elapsed();
    server.wait_until_empty(&UNFINISHED, DEADLINE).await?;
    let all_finished = restart.elapsed();

    all_completed(&mut server, &accepted).await?;
    let listed: Vec<Value> = server.list("/v1/runs?status=completed").await?;
    ensure!(
        listed.len() == runs + employees.len(),
        "{} runs are listed as completed where {} were accepted",
        listed.len(),
        runs + employees.len()
    );
    server.kill().await?;

    let note = format!(
        "{runs} triggers accepted in {:.0} ms, {STEPS} `wait` steps of {} ms each, kill -9 at {:.0} ms or once all are accepted; \
         counted from the start of the new process until no run is unfinished any more, asked every 5 ms over HTTP",
        burst.took.as_secs_f64() * 1e3,
        STEP.as_millis(),
        (STEP * STEPS as u32 / 2).as_secs_f64() * 1e3,
    );
    let in_flight = runs as f64 - finished_before as f64;
    ask.answers.extend([
        Measurement::once(&of, "in flight at kill -9", "runs", in_flight),
        Measurement::once(&of, "ready after restart", "s", ready.as_secs_f64()),
        Measurement::once(
            &of,
            "all finished after restart",
            "s",
            all_finished.as_secs_f64(),
        )
        .aim(ask.aim(Aim::AtMost(2.0)))
        .note(note),
    ]);
    ask.places.remove(place).await
}

/// How many runs this process of the server has finished.
async fn finished(server: &mut Server) -> Result<u64> {
    Ok(server
        .metric("tenure_runs_finished_total{status=\"completed\"}")
        .await?
        .unwrap_or_default() as u64)
}
