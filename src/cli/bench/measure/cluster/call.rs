//! A run that is asked for where its employee lives, and of another node: what the way between them costs.

use super::{super::Ask, NAMES, STAY, site::Site};
use crate::cli::bench::{
    bulk::hire_all,
    graphs::{self, Durability},
    http::Connection,
    report::Measurement,
    w1::W1,
};
use anyhow::{Context, Result};
use futures::future::try_join_all;

/// So that neither a pair of nodes nor an employee is all that is measured.
const EMPLOYEES: usize = 30;
/// Before it is measured, each is asked so often at each node.
const WARM_UP: usize = 3;

const NOTE: &str = "one request at a time, by turns at the employee's node and at one of the two others; a run of W1, answered when it is \
     finished, so that trigger and result both go the way";

/// # Errors
/// If a node does not start or a run does not end as it should.
pub async fn measure(ask: &mut Ask<'_>) -> Result<()> {
    let mut site = Site::open(ask, &[STAY]).await?;
    site.start(&NAMES).await?;
    let hire = |name: &str| graphs::w1(name, Durability::Default);
    let client = &site.nodes[0].client;
    let employees = hire_all(client, EMPLOYEES, hire).await?;
    // The same key opens every node, so the requests are the same.
    let w1: Vec<W1> = employees.iter().map(|id| W1::new(client, id)).collect();
    let addresses = site.addresses();
    let mut nodes = try_join_all(addresses.iter().map(|to| Connection::open(*to))).await?;
    for _ in 0..WARM_UP {
        for one in &w1 {
            for node in &mut nodes {
                one.once(node).await?;
            }
        }
    }
    let homes = site.homes().await?;
    let home = |id| homes.get(id).copied().context("an employee lives nowhere");
    let homes: Vec<usize> = employees.iter().map(home).collect::<Result<_>>()?;
    let mut rounds = Vec::new();
    for _ in 0..ask.sizes.repeat {
        ask.progress(&format!("{} pairs of calls", ask.sizes.calls));
        rounds.push(pairs(ask.sizes.calls, &w1, &homes, &mut nodes).await?);
    }
    tell(ask, &rounds);
    site.close(ask).await
}

/// Milliseconds of each, sorted.
struct Round {
    same: Vec<f64>,
    other: Vec<f64>,
}

async fn pairs(
    count: usize,
    w1: &[W1],
    homes: &[usize],
    nodes: &mut [Connection],
) -> Result<Round> {
    let (mut same, mut other) = (Vec::new(), Vec::new());
    for number in 0..count {
        let employee = number % w1.len();
        let home = homes[employee];
        // Each of the others as often.
        let away = (home + 1 + number / w1.len() % (nodes.len() - 1)) % nodes.len();
        // What the second one finds warm, the other one finds the next time.
        let turns = match number % 2 {
            0 => [home, away],
            _ => [away, home],
        };
        for at in turns {
            let took = w1[employee].once(&mut nodes[at]).await?;
            let to = if at == home { &mut same } else { &mut other };
            to.push(took.as_secs_f64() * 1e3);
        }
    }
    same.sort_by(f64::total_cmp);
    other.sort_by(f64::total_cmp);
    Ok(Round { same, other })
}

fn quantile(sorted: &[f64], share: f64) -> f64 {
    let last = sorted.len().saturating_sub(1);
    let place = (share * last as f64).round() as usize;
    sorted.get(place).copied().unwrap_or(f64::NAN)
}

fn tell(ask: &mut Ask<'_>, rounds: &[Round]) {
    let of = "cluster/call";
    for (share, same, other, more) in [
        (
            0.5,
            "same node, p50",
            "other node, p50",
            "difference of the p50",
        ),
        (
            0.99,
            "same node, p99",
            "other node, p99",
            "difference of the p99",
        ),
    ] {
        let all = |value: &dyn Fn(&Round) -> f64| rounds.iter().map(value).collect::<Vec<_>>();
        let at_home = |round: &Round| quantile(&round.same, share);
        let away = |round: &Round| quantile(&round.other, share);
        ask.answers.extend([
            Measurement::new(of, same, "ms", all(&at_home)).note(NOTE),
            Measurement::new(of, other, "ms", all(&away)).note(NOTE),
            Measurement::new(of, more, "ms", all(&|round| away(round) - at_home(round))),
        ]);
    }
}
