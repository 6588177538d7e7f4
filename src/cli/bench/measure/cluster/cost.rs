//! Workload W1 on one node that is alone, on one node of a cluster of one, and on three: what the cluster costs in CPU.

use super::{super::Ask, NAMES, STAY, site::Site};
use crate::cli::bench::{
    bulk::hire_all,
    graphs::{self, Durability},
    http::Connection,
    load::Load,
    processes::{cpu_of, cpu_used},
    report::{Aim, Measurement},
    w1::W1,
};
use anyhow::Result;
use std::time::Duration;

/// Employees that take turns: enough that each node has about its share of them.
const EMPLOYEES: usize = 48;
/// In flight while caches, pools and pages come to their usual size.
const WARM_UP_IN_FLIGHT: usize = 64;
/// CPU that three nodes may use for a run beyond what one uses, per cent.
const COST: f64 = 15.0;

const COUNTED: &str =
    "user and system time apart from the load generator's; the rest of it is PostgreSQL's";
const COST_NOTE: &str = "CPU per run on three nodes over that on one node with [cluster], both in the same round; 48 employees take turns and \
     requests go to the three nodes by turns, so that two of three arrive where the employee does not live";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Setup {
    /// One node without `[cluster]`.
    Alone,
    /// One node with it.
    One,
    Three,
}

impl Setup {
    const ALL: [Setup; 3] = [Setup::Alone, Setup::One, Setup::Three];

    fn name(self) -> &'static str {
        match self {
            Setup::Alone => "alone",
            Setup::One => "one node",
            Setup::Three => "three nodes",
        }
    }

    async fn start(self, site: &mut Site) -> Result<()> {
        match self {
            Setup::Alone => site.start_alone(NAMES[0]).await,
            Setup::One => site.start(&NAMES[..1]).await,
            Setup::Three => site.start(&NAMES).await,
        }
    }
}

/// One load in one setup.
struct Sample {
    setup: Setup,
    in_flight: usize,
    load: Load,
    /// CPU time of the nodes.
    nodes: Duration,
    postgres: Duration,
}

impl Sample {
    fn each_ms(&self, time: Duration) -> f64 {
        time.as_secs_f64() * 1e3 / self.load.count().max(1) as f64
    }

    fn of_nodes(&self) -> f64 {
        self.each_ms(self.nodes)
    }

    fn of_all(&self) -> f64 {
        self.each_ms(self.nodes + self.postgres)
    }
}

/// # Errors
/// If a node does not start or a run does not end as it should.
pub async fn measure(ask: &mut Ask<'_>) -> Result<()> {
    let mut samples = Vec::new();
    for round in 0..ask.sizes.repeat {
        // Each of them is the first one as often as the others: the machine is not the same over an hour.
        let mut setups = Setup::ALL;
        setups.rotate_left(round % Setup::ALL.len());
        for setup in setups {
            samples.extend(in_setup(ask, setup).await?);
        }
    }
    for in_flight in levels(ask) {
        tell(ask, in_flight, &samples);
    }
    Ok(())
}

/// Where there is only one request at a time, there is nothing to share.
fn levels(ask: &Ask<'_>) -> Vec<usize> {
    let all = ask.sizes.in_flight.iter().copied();
    all.filter(|in_flight| *in_flight > 1).collect()
}

async fn in_setup(ask: &mut Ask<'_>, setup: Setup) -> Result<Vec<Sample>> {
    let mut site = Site::open(ask, &[STAY]).await?;
    setup.start(&mut site).await?;
    let hire = |name: &str| graphs::w1(name, Durability::Default);
    let employees = hire_all(&site.nodes[0].client, EMPLOYEES, hire).await?;
    let w1 = W1::of_all(&site.nodes[0].client, employees.iter().map(String::as_str));
    let (addresses, pids) = (site.addresses(), site.pids());
    // Everybody is woken before anything is counted, however short the warm-up.
    for address in &addresses {
        let mut connection = Connection::open(*address).await?;
        for _ in &employees {
            w1.once(&mut connection).await?;
        }
    }
    let reader = &mut site.nodes[0].client;
    let (in_flight, time) = (WARM_UP_IN_FLIGHT, ask.sizes.warm_up);
    w1.run_over(&addresses, reader, in_flight, time).await?;
    let mut samples = Vec::new();
    for in_flight in levels(ask) {
        ask.progress(&format!("W1, {}, {in_flight} in flight", setup.name()));
        let (before, nodes) = (cpu_used()?, cpu_of(&pids)?);
        let time = ask.sizes.time;
        let load = w1.run_over(&addresses, reader, in_flight, time).await?;
        let nodes = cpu_of(&pids)?.saturating_sub(nodes);
        let used = cpu_used()?.since(before);
        samples.push(Sample {
            setup,
            in_flight,
            load,
            nodes,
            postgres: used.all.saturating_sub(used.own + nodes),
        });
    }
    site.close(ask).await?;
    Ok(samples)
}

fn tell(ask: &mut Ask<'_>, in_flight: usize, samples: &[Sample]) {
    let of = |setup| {
        let all = samples.iter();
        all.filter(move |one| one.setup == setup && one.in_flight == in_flight)
    };
    for setup in Setup::ALL {
        let name = format!("cluster/w1/{}/{in_flight}", setup.name());
        let all = |value: &dyn Fn(&Sample) -> f64| of(setup).map(value).collect::<Vec<_>>();
        ask.answers.extend([
            Measurement::new(&name, "runs", "runs/s", all(&|one| one.load.per_second())),
            Measurement::new(&name, "p50", "ms", all(&|one| one.load.quantile_ms(0.5))),
            Measurement::new(&name, "p99", "ms", all(&|one| one.load.quantile_ms(0.99))),
            Measurement::new(&name, "CPU per run", "ms", all(&Sample::of_all)).note(COUNTED),
            Measurement::new(&name, "of it nodes", "ms", all(&Sample::of_nodes)),
        ]);
    }
    let name = format!("cluster/cost/{in_flight}");
    let over = |setup, base, value: fn(&Sample) -> f64| -> Vec<f64> {
        let pairs = of(setup).zip(of(base));
        pairs
            .map(|(more, less)| (value(more) / value(less) - 1.0) * 100.0)
            .collect()
    };
    let nodes = over(Setup::Three, Setup::One, Sample::of_nodes);
    let all = over(Setup::Three, Setup::One, Sample::of_all);
    let door = over(Setup::One, Setup::Alone, Sample::of_nodes);
    ask.answers.extend([
        Measurement::new(&name, "three nodes over one, nodes", "%", nodes)
            .aim(ask.aim(Aim::AtMost(COST)))
            .note(COST_NOTE),
        Measurement::new(&name, "the same with PostgreSQL", "%", all),
        Measurement::new(&name, "one node over one alone, nodes", "%", door),
    ]);
}
