//! kill -9 of a node, again and again: how long until its employees work elsewhere.

use super::{super::Ask, NAMES, STAY, UNFINISHED, site::Site};
use crate::cli::bench::{
    bulk::{all_completed, hire_all, trigger_all},
    client::Client,
    graphs::{self, Durability},
    http::Connection,
    report::{Aim, Measurement},
    w1::W1,
};
use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};
use tenure_cluster::ownership::LeaseTerms;
use tokio::time::{sleep, timeout};

/// Idle when their node is killed; asked for a run right after it.
const IDLE: usize = 12;
/// With a run at work when their node is killed. A third of them lives there.
const BUSY: usize = 60;
const STEP: Duration = Duration::from_millis(200);
/// Between the triggers and the kill: all are at their first steps.
const AT_WORK: Duration = Duration::from_millis(300);
const DEADLINE: Duration = Duration::from_secs(60);
const REQUEST_TIME: Duration = Duration::from_secs(40);
const AGAIN: Duration = Duration::from_millis(20);
/// How often it is tried to give the killed node employees again.
const REBALANCES: usize = 20;

/// What was measured of one kill.
struct Takeover {
    /// From the kill to the end of a run that was asked for at once.
    served: Duration,
    /// From the kill until another node has claimed each employee with a run at work.
    claimed: Duration,
    /// From the kill until no run is unfinished.
    finished: Duration,
    /// Requests of the first that were refused before.
    refused: usize,
    /// Employees with a run at work.
    busy: usize,
}

/// # Errors
/// If an employee is not taken over in a minute, or a run is lost.
pub async fn measure(ask: &mut Ask<'_>) -> Result<()> {
    let mut site = Site::open(ask, &[STAY]).await?;
    site.start(&NAMES).await?;
    let client = &site.nodes[0].client;
    let idle = |name: &str| graphs::w1(name, Durability::Default);
    let idle = hire_all(client, IDLE, idle).await?;
    let step = STEP.as_millis() as u64;
    let busy = |name: &str| graphs::slow_steps(&format!("{name}, busy"), step);
    let busy = hire_all(client, BUSY, busy).await?;
    // A round before: everybody has somewhere to live, and everything has been used once.
    trigger_all(client, idle.iter().chain(&busy)).await?;
    let first = &mut site.nodes[0].client;
    first.wait_until_empty(&UNFINISHED, DEADLINE).await?;
    let mut kills = Vec::new();
    for number in 0..ask.sizes.kills {
        ask.progress(&format!("kill {} of {}", number + 1, ask.sizes.kills));
        let victim = number % NAMES.len();
        kills.push(kill(&mut site, victim, &idle, &busy).await?);
    }
    tell(ask, &kills);
    site.close(ask).await
}

/// Kills the node, measures, and starts it again.
async fn kill(
    site: &mut Site,
    victim: usize,
    idle: &[String],
    busy: &[String],
) -> Result<Takeover> {
    let (idle, busy) = living_at(site, victim, idle, busy).await?;
    // The lease was renewed at no moment in particular before the kill.
    let renewed_every = LeaseTerms::default().renew_every;
    sleep(renewed_every.mul_f64(rand::random())).await;
    let (_, accepted) = trigger_all(&site.nodes[victim].client, &busy).await?;
    sleep(AT_WORK).await;

    let begin = Instant::now();
    let killed = site.nodes.remove(victim);
    let name = killed.process.name.clone();
    killed.process.kill().await;
    let address = site.nodes[victim % site.nodes.len()].client.address;
    let mut other = Client::new(address, site.house.key().into());
    let w1 = W1::new(&other, &idle);
    let ((served, refused), claimed, finished) = tokio::try_join!(
        until_served(address, &w1, begin),
        until_claimed(site, &busy, begin),
        until_finished(&mut other, begin)
    )?;

    all_completed(&mut other, &accepted).await?;
    site.start_again(victim, &name).await?;
    Ok(Takeover {
        served,
        claimed,
        finished,
        refused,
        busy: busy.len(),
    })
}

/// One of the idle and all of the busy employees that live at this node. A node that was killed has none until the others give it some.
async fn living_at(
    site: &mut Site,
    node: usize,
    idle: &[String],
    busy: &[String],
) -> Result<(String, Vec<String>)> {
    for _ in 0..REBALANCES {
        let homes = site.homes().await?;
        let is_there = |id: &&String| homes.get(*id) == Some(&node);
        let its_idle = idle.iter().find(is_there).cloned();
        let its_busy: Vec<String> = busy.iter().filter(is_there).cloned().collect();
        if let (Some(idle), false) = (its_idle, its_busy.is_empty()) {
            return Ok((idle, its_busy));
        }
        let _: Value = site.nodes[node]
            .client
            .post("/v1/rebalance", &json!({}))
            .await?;
        // What was given away lives nowhere until it is asked for.
        let everybody = idle.iter().chain(busy);
        trigger_all(&site.nodes[node].client, everybody).await?;
        let client = &mut site.nodes[node].client;
        client.wait_until_empty(&UNFINISHED, DEADLINE).await?;
    }
    bail!("no employees live at {}", NAMES[node])
}

/// Asks until a run is finished, as a client would that asks again; gives how long after `begin`, and how many were refused.
async fn until_served(address: SocketAddr, w1: &W1, begin: Instant) -> Result<(Duration, usize)> {
    let mut refused = 0;
    loop {
        let asked = timeout(REQUEST_TIME, async {
            let mut connection = Connection::open(address).await?;
            w1.once(&mut connection).await
        });
        match asked.await.context("no answer").flatten() {
            Ok(_) => return Ok((begin.elapsed(), refused)),
            Err(error) if begin.elapsed() > DEADLINE => {
                return Err(error.context("an employee was not taken over"));
            }
            Err(_) => refused += 1,
        }
        sleep(AGAIN).await;
    }
}

/// Waits until each of them lives at a node that runs.
async fn until_claimed(site: &Site, employees: &[String], begin: Instant) -> Result<Duration> {
    loop {
        let homes = site.homes().await?;
        if employees.iter().all(|id| homes.contains_key(id)) {
            return Ok(begin.elapsed());
        }
        ensure!(
            begin.elapsed() < DEADLINE,
            "employees with work at hand were not claimed in {DEADLINE:?}"
        );
        sleep(AGAIN).await;
    }
}

async fn until_finished(client: &mut Client, begin: Instant) -> Result<Duration> {
    client.wait_until_empty(&UNFINISHED, DEADLINE).await?;
    Ok(begin.elapsed())
}

fn tell(ask: &mut Ask<'_>, kills: &[Takeover]) {
    let of = "cluster/takeover";
    let terms = LeaseTerms::default();
    let within = terms.ttl.as_secs_f64() + 1.0;
    let note = format!(
        "{} kills at random moments, lease {:?}, renewed every {:?}; from the kill on, which includes the end of the process",
        kills.len(),
        terms.ttl,
        terms.renew_every
    );
    let all = |value: fn(&Takeover) -> f64| kills.iter().map(value).collect::<Vec<_>>();
    let most = |samples: &[f64]| samples.iter().copied().fold(0.0, f64::max);
    let served = all(|one| one.served.as_secs_f64());
    let finished = all(|one| one.finished.as_secs_f64());
    let claimed = all(|one| one.claimed.as_secs_f64());
    let (last_served, last_claimed) = (most(&served), most(&claimed));
    let last_finished = most(&finished);
    ask.answers.extend([
        Measurement::new(of, "an idle employee's run finished, p50", "s", served).note(format!(
            "{note}; asked for at once at another node, and again if it is refused"
        )),
        Measurement::once(of, "the same, max", "s", last_served).aim(ask.aim(Aim::AtMost(within))),
        Measurement::new(of, "all with a run at work claimed, p50", "s", claimed)
            .note("by a node that runs; looked for in the database every 20 ms"),
        Measurement::once(of, "the same, max", "s", last_claimed).aim(ask.aim(Aim::AtMost(within))),
        Measurement::new(of, "no run unfinished any more, p50", "s", finished).note(format!(
            "asked every 5 ms over HTTP; up to {:.1} s of it are what the runs had still to do",
            STEP.as_secs_f64() * graphs::STEPS as f64
        )),
        Measurement::once(of, "the same, max", "s", last_finished),
        Measurement::new(
            of,
            "employees with a run at work",
            "employees",
            all(|one| one.busy as f64),
        ),
        Measurement::new(
            of,
            "requests refused before",
            "requests",
            all(|one| one.refused as f64),
        ),
    ]);
}
