//! SIGTERM to a node on which everybody lives: how long until it has given all away, and what callers notice.

use super::{super::Ask, NAMES, STAY, UNFINISHED, site::Site};
use crate::cli::output::note;
use crate::{
    cli::bench::{
        bulk::{all_completed, hire_all, trigger_all},
        graphs::{self, Durability},
        http::{Answer, Connection},
        load::{self, Load},
        report::{Aim, Measurement},
        w1::W1,
    },
    persistence::{Db, Fence, placement_count},
};
use anyhow::{Result, ensure};
use std::{
    cell::{Cell, RefCell},
    net::SocketAddr,
    time::{Duration, Instant},
};
use tokio::time::sleep;

/// Employees that are asked for runs all the time, at the other two nodes.
const CALLED: usize = 16;
const IN_FLIGHT: usize = 8;
/// Of the six steps of the employees with work at hand: long enough that nobody is done before the drain.
const STEP: Duration = Duration::from_millis(1_500);
const DEADLINE: Duration = Duration::from_secs(120);
const LOOK_EVERY: Duration = Duration::from_millis(2);
/// Calls go on for so long before the drain and after it.
const AROUND: Duration = Duration::from_millis(500);
/// Until a node of 1,000 employees owns nothing, seconds.
const AIM: f64 = 1.0;

struct Drained {
    empty: Duration,
    ended: Duration,
    calls: Load,
    refused: usize,
    awake: usize,
}

/// # Errors
/// If a run is lost or the node does not end.
pub async fn measure(ask: &mut Ask<'_>) -> Result<()> {
    let mut all = Vec::new();
    for _ in 0..ask.sizes.repeat {
        let count = ask.sizes.drained;
        ask.progress(&format!("drain of {count} employees with work at hand"));
        all.push(drain(ask, count).await?);
    }
    tell(ask, &all);
    Ok(())
}

async fn drain(ask: &mut Ask<'_>, count: usize) -> Result<Drained> {
    let mut site = Site::open(ask, &[STAY]).await?;
    // Alone at first, so that everybody lives there.
    site.start(&NAMES[..1]).await?;
    let client = &site.nodes[0].client;
    let step = STEP.as_millis() as u64;
    let busy = |name: &str| graphs::slow_steps(&format!("{name}, busy"), step);
    let busy = hire_all(client, count, busy).await?;
    let called = |name: &str| graphs::w1(name, Durability::Default);
    let called = hire_all(client, CALLED, called).await?;
    let w1 = W1::of_all(client, called.iter().map(String::as_str));
    let mut connection = Connection::open(client.address).await?;
    for _ in &called {
        w1.once(&mut connection).await?;
    }
    // A round before, so that everybody lives here when there is somewhere else to live.
    trigger_all(client, &busy).await?;
    site.start(&NAMES[1..]).await?;
    let other = &mut site.nodes[1].client;
    other.wait_until_empty(&UNFINISHED, DEADLINE).await?;
    let (_, accepted) = trigger_all(&site.nodes[0].client, &busy).await?;
    let awake = site.awake().await?.get(NAMES[0]).copied().unwrap_or(0);
    ensure!(
        awake >= count,
        "{awake} employees are awake where {count} have work at hand"
    );

    let life = site.life_of(&site.nodes[0]).await?;
    let drained = site.nodes.remove(0);
    let others = site.addresses();
    let stop = Cell::new(false);
    let drain = async {
        sleep(AROUND).await;
        let begin = Instant::now();
        let mut process = drained.process;
        process.terminate().await?;
        let empty = async {
            until_empty(&site.house.db, life).await?;
            anyhow::Ok(begin.elapsed())
        };
        let ended = async {
            process.ended().await?;
            Ok(begin.elapsed())
        };
        let times = tokio::try_join!(empty, ended)?;
        sleep(AROUND).await;
        stop.set(true);
        anyhow::Ok(times)
    };
    let ((empty, ended), (calls, refused)) = tokio::try_join!(drain, calls(&others, &w1, &stop))?;
    let other = &mut site.nodes[0].client;
    other.wait_until_empty(&UNFINISHED, DEADLINE).await?;
    all_completed(other, &accepted).await?;
    site.close(ask).await?;
    Ok(Drained {
        empty,
        ended,
        calls,
        refused,
        awake,
    })
}

/// Waits until a node owns nothing.
async fn until_empty(db: &Db, life: Fence) -> Result<()> {
    let give_up = Instant::now() + DEADLINE;
    loop {
        let mut tx = db.begin_system_read("what a node still owns").await?;
        let owned = placement_count(&mut tx, life).await?;
        drop(tx);
        if owned == 0 {
            return Ok(());
        }
        ensure!(
            Instant::now() < give_up,
            "the node still owns {owned} entities after {DEADLINE:?}"
        );
        sleep(LOOK_EVERY).await;
    }
}

/// Asks for runs until it is to stop; gives how many were not answered by a finished run.
async fn calls(others: &[SocketAddr], w1: &W1, stop: &Cell<bool>) -> Result<(Load, usize)> {
    let refused = RefCell::new(Vec::new());
    // The first ones were asked for before.
    let number_of = |number: u64| number + CALLED as u64;
    let write = |number: u64, out: &mut Vec<u8>| {
        w1.write(number_of(number), out);
        !stop.get()
    };
    let accept = |number: u64, answer: Answer<'_>| {
        if let Err(error) = w1.accept(number_of(number), answer) {
            refused.borrow_mut().push(error);
        }
        Ok(())
    };
    let load = load::run_over(others, IN_FLIGHT, DEADLINE, write, accept).await?;
    let refused = refused.into_inner();
    if let Some(error) = refused.first() {
        note!("bench: refused during the drain: {error:#}");
    }
    Ok((load, refused.len()))
}

fn tell(ask: &mut Ask<'_>, drains: &[Drained]) {
    let of = "cluster/drain";
    let all = |value: fn(&Drained) -> f64| drains.iter().map(value).collect::<Vec<_>>();
    let note = format!(
        "from SIGTERM on; each of the employees had a run at work with steps of {:.1} s, and all runs completed elsewhere afterwards",
        STEP.as_secs_f64()
    );
    ask.answers.extend([
        Measurement::new(of, "employees awake", "employees", all(|one| one.awake as f64)),
        Measurement::new(of, "until it owns nothing", "s", all(|one| one.empty.as_secs_f64()))
            .aim(ask.aim(Aim::AtMost(AIM)))
            .note(&note),
        Measurement::new(of, "until its process has ended", "s", all(|one| one.ended.as_secs_f64()))
            .note(&note),
        Measurement::new(of, "requests refused", "requests", all(|one| one.refused as f64))
            .aim(ask.aim(Aim::AtMost(0.0)))
            .note(format!(
                "runs of {CALLED} employees that lived there too, asked for at the other two nodes, {IN_FLIGHT} in flight, from 0.5 s before \
                 SIGTERM to 0.5 s after the end of the process"
            )),
        Measurement::new(of, "of requests", "requests", all(|one| one.calls.count() as f64)),
        Measurement::new(of, "slowest of them", "ms", all(|one| one.calls.quantile_ms(1.0))),
    ]);
}
