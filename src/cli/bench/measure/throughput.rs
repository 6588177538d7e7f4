//! Workload W1: runs a second, latency, CPU and disk of a run, in both modes of durability.

use super::Ask;
use crate::cli::bench::{
    bulk::hire_all,
    graphs::{self, Durability},
    load::Load,
    processes::{Cpu, cpu_used},
    report::{Aim, Measurement},
    server::Server,
    w1::W1,
};
use crate::persistence::stored_bytes;
use anyhow::Result;
use std::time::Duration;

/// Nobody falls asleep during a measurement.
const IDLE: Duration = Duration::from_secs(600);
/// In flight while caches, pools and pages come to their usual size.
const WARM_UP_IN_FLIGHT: usize = 64;
/// At this number in flight the aims for throughput and CPU hold.
const FULL_LOAD: usize = 256;

const STORED: &str = "growth over all these runs of all tables with their indexes and dead rows, after a checkpoint and without a vacuum of \
     ours; SQLite: growth of the file with its log written back";

/// # Errors
/// If a server does not start or a run does not end as it should.
pub async fn measure(ask: &mut Ask<'_>) -> Result<()> {
    for durability in [Durability::Default, Durability::Step] {
        mode(ask, durability).await?;
    }
    Ok(())
}

async fn mode(ask: &mut Ask<'_>, durability: Durability) -> Result<()> {
    let of = format!("w1/{}/{}", ask.database, durability.name());
    let place = ask.places.make(ask.database).await?;
    let mut server = Server::start(&place, IDLE).await?;
    let employees = hire_all(&server, 1, |name| graphs::w1(name, durability)).await?;
    let w1 = W1::new(&server, &employees[0]);
    w1.run(&mut server, WARM_UP_IN_FLIGHT, ask.sizes.warm_up)
        .await?;
    let url = place.owner_url();
    let before = stored_bytes(&url).await?;
    let mut runs = 0;
    for in_flight in ask.sizes.in_flight.clone() {
        let mut loads = Vec::new();
        for _ in 0..ask.sizes.repeat {
            ask.progress(&format!(
                "W1, durability {}, {in_flight} in flight",
                durability.name()
            ));
            let cpu = cpu_used()?;
            let load = w1.run(&mut server, in_flight, ask.sizes.time).await?;
            let cpu = cpu_used()?.since(cpu);
            runs += load.count();
            loads.push((load, cpu));
        }
        tell(
            ask,
            &format!("{of}/{in_flight}"),
            durability,
            in_flight,
            &loads,
        );
    }
    let bytes = stored_bytes(&url).await? as f64 - before as f64;
    ask.answers.extend([
        Measurement::once(&of, "runs in all", "runs", runs as f64),
        Measurement::once(&of, "stored per run", "B", bytes / runs.max(1) as f64)
            .aim(ask.aim(Aim::AtMost(3_000.0)))
            .note(STORED),
    ]);
    server.kill().await?;
    ask.places.remove(place).await
}

fn tell(
    ask: &mut Ask<'_>,
    of: &str,
    durability: Durability,
    in_flight: usize,
    loads: &[(Load, Cpu)],
) {
    let (runs, p50) = match durability {
        Durability::Default => (6_000.0, 1.5),
        Durability::Step => (4_000.0, 5.0),
    };
    let at = |level: usize, aim: Aim| ask.aim(aim).filter(|_| in_flight == level);
    let all = |value: fn(&(Load, Cpu)) -> f64| loads.iter().map(value).collect::<Vec<_>>();
    let measurements = [
        Measurement::new(of, "runs", "runs/s", all(|(load, _)| load.per_second()))
            .aim(at(FULL_LOAD, Aim::AtLeast(runs))),
        Measurement::new(of, "p50", "ms", all(|(load, _)| load.quantile_ms(0.5)))
            .aim(at(1, Aim::AtMost(p50))),
        Measurement::new(of, "p99", "ms", all(|(load, _)| load.quantile_ms(0.99))),
        Measurement::new(of, "CPU per run", "ms", all(|(load, cpu)| each_ms(cpu.all, load)))
            .aim(at(FULL_LOAD, Aim::AtMost(0.3)))
            .note("user and system time of all processes: server, every process of PostgreSQL, and this load generator"),
        Measurement::new(of, "of it load generator", "ms", all(|(load, cpu)| each_ms(cpu.own, load))),
    ];
    ask.answers.extend(measurements);
}

fn each_ms(time: Duration, load: &Load) -> f64 {
    time.as_secs_f64() * 1e3 / load.count().max(1) as f64
}
