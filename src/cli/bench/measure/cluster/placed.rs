//! Many employees that live somewhere, of whom few are awake: what they cost in memory, and what three nodes ask of the database when
//! nobody works.

use super::{super::Ask, NAMES, site::Site};
use crate::{
    cli::bench::{
        bulk::{hire_all, trigger_all},
        graphs,
        processes::{cpu_of, cpu_used, resident_bytes},
        report::Measurement,
    },
    persistence::committed,
};
use anyhow::{Context, Result, ensure};
use std::time::{Duration, Instant};
use tokio::time::sleep;

const DEADLINE: Duration = Duration::from_secs(600);
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Memory of all nodes, bytes.
#[derive(Clone, Copy)]
struct Memory {
    resident: u64,
    heap: f64,
}

/// What goes on when nobody works, each second.
struct Rest {
    transactions: f64,
    nodes_ms: f64,
    postgres_ms: f64,
}

/// # Errors
/// If employees cannot be hired or do not fall asleep.
pub async fn measure(ask: &mut Ask<'_>) -> Result<()> {
    let sizes = ask.sizes;
    let mut site = Site::open(ask, &[("TENURE_IDLE_AFTER", sizes.placed_idle)]).await?;
    site.start(&NAMES).await?;
    ask.progress(&format!("hire {} employees", sizes.placed));
    let employees = hire_all(&site.nodes[0].client, sizes.placed, graphs::one_step).await?;
    ask.progress("nodes at rest, nobody is placed");
    let before = rest(ask, &site).await?;

    // The first ones pay for connections and caches.
    let (first, others) = employees.split_at(sizes.placed_at_once.min(sizes.placed / 2));
    place(ask, &mut site, first).await?;
    let few = memory(ask, &mut site).await?;
    for some in others.chunks(sizes.placed_at_once) {
        place(ask, &mut site, some).await?;
    }
    let many = memory(ask, &mut site).await?;
    ensure!(
        site.homes().await?.len() == employees.len(),
        "not every employee lives somewhere"
    );
    ask.progress("nodes at rest, all are placed");
    let asleep = rest(ask, &site).await?;

    ask.progress(&format!("nodes at rest, {} are awake", sizes.awake));
    let some = &employees[..sizes.awake.min(employees.len())];
    trigger_all(&site.nodes[0].client, some).await?;
    sleep(sizes.settle).await;
    let awake = rest(ask, &site).await?;
    let still: usize = site.awake().await?.into_values().sum();
    ensure!(
        still >= some.len(),
        "{still} of {} employees are still awake",
        some.len()
    );

    tell_memory(ask, others.len(), few, many);
    tell_rest(ask, "nobody placed", &before);
    tell_rest(ask, "all placed, nobody awake", &asleep);
    tell_rest(ask, "all placed, some awake", &awake);
    site.close(ask).await
}

/// Gives each a run, at the three nodes by turns, and waits until all of them sleep. They still live where they ran.
async fn place(ask: &Ask<'_>, site: &mut Site, employees: &[String]) -> Result<()> {
    ask.progress(&format!("place {} employees", employees.len()));
    for (number, some) in employees
        .chunks(employees.len().div_ceil(NAMES.len()))
        .enumerate()
    {
        trigger_all(&site.nodes[number].client, some).await?;
    }
    let give_up = Instant::now() + DEADLINE;
    while site.awake().await?.values().any(|awake| *awake > 0) {
        ensure!(
            Instant::now() < give_up,
            "there are still employees awake after {DEADLINE:?}"
        );
        sleep(LOOK_EVERY).await;
    }
    Ok(())
}

async fn memory(ask: &Ask<'_>, site: &mut Site) -> Result<Memory> {
    // What an allocator gives back is not back at once.
    sleep(ask.sizes.settle).await;
    let mut memory = Memory {
        resident: 0,
        heap: 0.0,
    };
    for node in &mut site.nodes {
        memory.resident += resident_bytes(node.process.pid)?;
        memory.heap += node.client.heap_bytes().await?;
    }
    Ok(memory)
}

async fn rest(ask: &Ask<'_>, site: &Site) -> Result<Rest> {
    // Sessions of PostgreSQL report what they did when they do something again, or have done nothing for some seconds.
    let url = &site.house.database_url;
    let pids = site.pids();
    let (cpu, nodes) = (cpu_used()?, cpu_of(&pids)?);
    let (begin, before) = (Instant::now(), committed(url).await?);
    sleep(ask.sizes.rest).await;
    let transactions = committed(url).await?.checked_sub(before);
    let took = begin.elapsed().as_secs_f64();
    let nodes = cpu_of(&pids)?.saturating_sub(nodes);
    let cpu = cpu_used()?.since(cpu);
    let postgres = cpu.all.saturating_sub(cpu.own + nodes);
    let transactions = transactions.context("statistics of the database were reset")?;
    Ok(Rest {
        transactions: transactions as f64 / took,
        nodes_ms: nodes.as_secs_f64() * 1e3 / took,
        postgres_ms: postgres.as_secs_f64() * 1e3 / took,
    })
}

fn tell_memory(ask: &mut Ask<'_>, placed: usize, few: Memory, many: Memory) {
    let of = "cluster/placed";
    let each = |many: f64, few: f64| (many - few) / placed.max(1) as f64;
    let heap = each(many.heap, few.heap);
    let resident = each(many.resident as f64, few.resident as f64);
    let note = format!(
        "over {placed} employees that had one run each and sleep, against the same nodes before them; on the node where it lives and in what \
         the others remember of it"
    );
    ask.answers.extend([
        Measurement::once(of, "heap per placed employee", "B", heap).note(&note),
        Measurement::once(of, "resident per placed employee", "B", resident)
            .note("with what the allocator has not given back of the runs"),
        Measurement::once(
            of,
            "resident, three nodes",
            "MB",
            many.resident as f64 / 1e6,
        ),
    ]);
}

fn tell_rest(ask: &mut Ask<'_>, when: &str, rest: &Rest) {
    let of = format!("cluster/placed/{when}");
    let sizes = ask.sizes;
    let note = format!(
        "{} employees placed on three nodes, {} of them awake, no request; over {:?}, in which renewals and sweeps fall",
        sizes.placed, sizes.awake, sizes.rest
    );
    ask.answers.extend([
        Measurement::once(&of, "transactions", "1/s", rest.transactions).note(note),
        Measurement::once(&of, "CPU of three nodes", "ms/s", rest.nodes_ms),
        Measurement::once(&of, "CPU of PostgreSQL", "ms/s", rest.postgres_ms),
    ]);
}
