//! `tenure bench`: what this machine reaches, measured from another process over HTTP, and held against what is wanted.
//!
//! This process is the load generator. It starts `tenure dev` of the same binary as a child, on an embedded database and on a PostgreSQL
//! cluster of its own, asks it, kills it, and reads from `/proc` what all of them used. Everything that is printed was measured.

mod bulk;
mod client;
mod graphs;
mod http;
mod load;
mod machine;
mod measure;
mod place;
mod processes;
mod report;
mod sandbox;
mod server;
mod w1;

use super::output::{Format, Output};
use crate::cli::output::note;
use anyhow::{Context, Result, bail, ensure};
use machine::Machine;
use measure::{Ask, Sizes};
use place::{Database, Places};
use report::{Failure, Report};
use std::{fmt, path::PathBuf};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::oneshot,
};

#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
Example:
  tenure bench
  tenure bench --quick
  tenure bench --only throughput --database postgres --repeat 5 --json
  tenure bench --only cluster")]
pub struct BenchArgs {
    /// Measure everything once and small: shows that it works, the numbers say little
    #[arg(long)]
    pub quick: bool,
    /// Answer this question alone; may be given several times
    #[arg(long, value_name = "NAME")]
    pub only: Vec<Question>,
    /// Measure on this database alone
    #[arg(long)]
    pub database: Option<Database>,
    /// How often each throughput is measured; median and spread are printed
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=100))]
    pub repeat: u8,
    /// Where the databases are put while it runs, on the disk that is to be measured [default: the system's temporary directory]
    #[arg(long, value_name = "DIR")]
    pub directory: Option<PathBuf>,
    /// Say how to see where the time goes, and measure nothing
    #[arg(long)]
    pub profile: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Question {
    /// Runs a second, latency, CPU and disk of workload W1
    Throughput,
    /// Runs that wait for approval: memory, and time until all are resumed
    Parked,
    /// Employees awake: memory, and time to reactivate one
    Awake,
    /// Time to finish what was in flight at a kill -9
    Recovery,
    /// Events a second that are durable at the Slack endpoint
    Events,
    /// Calls by proxy: what they cost over a direct call, how many a second, and memory of connections that nobody uses
    Proxy,
    /// Refusals after learning a provider's quota, and how equally employees share it
    Quota,
    /// All of the following, which need PostgreSQL: three nodes on this machine
    Cluster,
    /// CPU of a run of W1 on three nodes over that on one
    ClusterCost,
    /// A run asked for at another node than the employee's, against one at its own
    ClusterCall,
    /// Claims a second
    ClusterClaims,
    /// Time from a kill -9 of a node until its employees work elsewhere
    ClusterTakeover,
    /// Time from SIGTERM until a node with 1,000 employees at work owns nothing, and what callers notice
    ClusterDrain,
    /// 100,000 employees of whom 1,000 are awake: memory, and load of the database at rest
    ClusterPlaced,
}

impl Question {
    /// Those that are answered by themselves.
    const ALL: [Question; 13] = [
        Question::Throughput,
        Question::Parked,
        Question::Awake,
        Question::Recovery,
        Question::Events,
        Question::Proxy,
        Question::Quota,
        Question::ClusterCost,
        Question::ClusterCall,
        Question::ClusterClaims,
        Question::ClusterTakeover,
        Question::ClusterDrain,
        Question::ClusterPlaced,
    ];

    /// Whether it is part of [`Question::Cluster`].
    fn is_of_cluster(self) -> bool {
        matches!(
            self,
            Question::ClusterCost
                | Question::ClusterCall
                | Question::ClusterClaims
                | Question::ClusterTakeover
                | Question::ClusterDrain
                | Question::ClusterPlaced
        )
    }

    fn is_asked(self, only: &[Question]) -> bool {
        only.is_empty()
            || only.contains(&self)
            || (self.is_of_cluster() && only.contains(&Question::Cluster))
    }

    fn can_be_asked_on(self, database: Database) -> bool {
        database == Database::Postgres || !self.is_of_cluster()
    }
}

impl fmt::Display for Question {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Question::Throughput => "throughput",
            Question::Parked => "parked",
            Question::Awake => "awake",
            Question::Recovery => "recovery",
            Question::Events => "events",
            Question::Proxy => "proxy",
            Question::Quota => "quota",
            Question::Cluster => "cluster",
            Question::ClusterCost => "cluster-cost",
            Question::ClusterCall => "cluster-call",
            Question::ClusterClaims => "cluster-claims",
            Question::ClusterTakeover => "cluster-takeover",
            Question::ClusterDrain => "cluster-drain",
            Question::ClusterPlaced => "cluster-placed",
        })
    }
}

/// Measures and prints to stdout; says on stderr what it is doing.
///
/// # Errors
/// If something could not be measured. What could be measured is printed all the same. An aim that is not reached is no error.
pub async fn run(args: BenchArgs, out: Output) -> Result<()> {
    if args.profile {
        return Ok(out.line(PROFILE)?);
    }
    let report = in_a_thread(args).await?;
    match out.format {
        Format::Json => out.json(&report.json())?,
        _ => out.line(report.text())?,
    }
    match report.failures.len() {
        0 => Ok(()),
        failed => bail!("{failed} of the questions could not be answered"),
    }
}

/// The load generator has a thread and a runtime of its own: tasks that move between threads would cost CPU that is counted.
async fn in_a_thread(args: BenchArgs) -> Result<Report> {
    let (done, report) = oneshot::channel();
    std::thread::Builder::new()
        .name("load".into())
        .spawn(move || {
            let report = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .context("start the load generator")
                .and_then(|runtime| runtime.block_on(answer(&args)));
            let _ = done.send(report);
        })?;
    report.await.context("the load generator broke down")?
}

async fn answer(args: &BenchArgs) -> Result<Report> {
    let directory = args.directory.clone().unwrap_or_else(std::env::temp_dir);
    let directory = directory
        .canonicalize()
        .with_context(|| format!("find the directory {}", directory.display()))?;
    let machine = Machine::look(&directory)?;
    ensure!(
        !machine.syncs_nothing(),
        "{} is kept in memory, where nothing is durable: name a directory on a disk with --directory",
        directory.display()
    );
    let sizes = if args.quick {
        Sizes::quick()
    } else {
        Sizes::full(args.repeat.into())
    };
    ensure!(
        questions(args).next().is_some(),
        "nodes of a cluster share PostgreSQL: ask without --database, or with --database postgres"
    );
    let mut places = Places::below(directory);
    let mut measurements = Vec::new();
    let mut failures = Vec::new();
    for (question, database) in questions(args) {
        let mut ask = Ask {
            database,
            places: &mut places,
            sizes: &sizes,
            answers: &mut measurements,
        };
        let answered = tokio::select! {
            answered = measure::measure(question, &mut ask) => answered,
            // Dropped on the way out: servers are killed, places deleted.
            () = interrupted() => bail!("interrupted"),
        };
        if let Err(error) = answered {
            let (of, error) = (format!("{question}/{database}"), format!("{error:#}"));
            note!("bench: {of}: {error}");
            failures.push(Failure { of, error });
        }
    }
    Ok(Report {
        machine,
        measurements,
        failures,
        not_judged: not_judged(args),
    })
}

/// Ctrl-C, or a polite kill.
async fn interrupted() {
    let terminated = async {
        match signal(SignalKind::terminate()) {
            Ok(mut signals) => signals.recv().await,
            Err(_) => std::future::pending().await,
        }
    };
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        _ = terminated => {}
    }
}

fn questions(args: &BenchArgs) -> impl Iterator<Item = (Question, Database)> {
    let databases = match args.database {
        Some(database) => vec![database],
        None => vec![Database::Postgres, Database::Sqlite],
    };
    let asked = Question::ALL
        .into_iter()
        .filter(|question| question.is_asked(&args.only));
    asked.flat_map(move |question| {
        let databases = databases.clone().into_iter();
        databases
            .filter(move |on| question.can_be_asked_on(*on))
            .map(move |on| (question, on))
    })
}

fn not_judged(args: &BenchArgs) -> Option<&'static str> {
    match (args.quick, machine::build()) {
        (true, _) => Some("it was a quick one"),
        (false, "release") => None,
        (false, _) => Some("it is not a release build; `make bench` makes one"),
    }
}

const PROFILE: &str = "\
To see where the time of the server goes, let it work in one terminal:

  cargo build --release
  target/release/tenure bench --only throughput --database postgres --repeat 20

and record it from another (Linux, `perf` from the package linux-perf; as root, or with kernel.perf_event_paranoid at 1 or less):

  perf record -F 499 -g --call-graph dwarf,16384 -p \"$(pgrep -n -f 'tenure dev')\" -- sleep 5
  perf report --no-children

For PostgreSQL beside it, all processes of the machine:

  perf record -F 499 -g -a -- sleep 5
  perf report --sort comm,dso,symbol

The release build keeps line tables, so functions and lines have their names.";
