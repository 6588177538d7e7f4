//! The command `tenure`, one verb a file.
//!
//! Verbs for people talk HTTP to a service like any other client ([`client`]); `dev` and `serve` are a service ([`node`]); `migrate`,
//! `org` and `key` work on the database, because without them there is no service to talk to. stdout is what was asked for, in one
//! format ([`output`]); stderr is everything else. Exit codes are in [`exit`].

mod approve;
mod backup;
mod bench;
mod bootstrap;
mod call;
mod cancel;
mod catalog;
mod child;
mod client;
mod cluster;
mod connect;
mod connections;
mod database;
mod dev;
mod doctor;
mod drain;
mod employees;
mod env;
pub mod exit;
mod follow;
mod hire;
mod inbox;
mod key;
mod migrate;
mod names;
mod node;
mod nodes;
mod org;
mod output;
mod policies;
mod progress;
mod rebalance;
mod remote;
mod replay;
mod runs;
mod sandbox;
mod schedules;
mod secrets;
mod serve;
mod shell;
mod show;
mod sse;
mod tell;
mod top;

#[cfg(test)]
mod tests;

use crate::cli::output::note;
use clap::{CommandFactory, FromArgMatches, Parser};
use client::ClientError;
use exit::{Exit, code_of, is_broken_pipe};
use output::{Output, OutputArgs};
use std::process::ExitCode;

#[derive(Debug, Parser)]
#[command(
    name = "tenure",
    version,
    about = "The runtime that employs digital employees",
    after_help = "\
Start:    tenure dev
Then:     tenure tell clerk \"chase the late invoices\"

Verbs talk to the service at --url (TENURE_URL) with --key (TENURE_KEY), or else to the `tenure dev` of this directory.
Exit codes: 0 ok, 1 failed, 2 wrong usage, 3 not found, 4 refused (key, role, conflict), 5 service unreachable.",
    subcommand_required = true,
    arg_required_else_help = true
)]
struct Cli {
    #[command(flatten)]
    output: OutputArgs,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Start everything in one process: engine, API, sandbox providers, and a demo org with an employee at work
    Dev(dev::DevArgs),
    /// Start the service
    Serve(serve::ServeArgs),
    /// Bring the database to what this version needs
    Migrate(migrate::MigrateArgs),
    /// Copy the whole database into a directory, while the service is at work
    Backup(backup::BackupArgs),
    /// Make a new database from a backup
    Restore(backup::RestoreArgs),
    /// Make, list and delete orgs, in the database
    Org(org::OrgArgs),
    /// Make, list and revoke API keys, rotate the keys that seal secrets, in the database
    Key(key::KeyArgs),
    /// Make certificates for nodes that work together
    Cluster(cluster::ClusterArgs),
    /// Start the sandbox providers alone: Slack, QuickBooks, Gmail, GitHub and Stripe over HTTP
    Sandbox(sandbox::SandboxArgs),
    /// List what employees can use, or check an integration file
    Catalog(catalog::CatalogArgs),
    /// Call a capability through the org's connection
    Call(call::CallArgs),
    /// Hire an employee from a job description or from graphs
    Hire(hire::HireArgs),
    /// Tell an employee to work, and see what happens
    Tell(tell::TellArgs),
    /// List the employees
    Employees(employees::EmployeesArgs),
    /// List runs, the newest first
    Runs(runs::RunsArgs),
    /// List the schedules, each with its next five times
    Schedules(schedules::SchedulesArgs),
    /// Show an employee, a run, an approval, an effect, a schedule or an actor
    Show(show::ShowArgs),
    /// List what waits for approval, and decide
    Approve(approve::ApproveArgs),
    /// Stop a run
    Cancel(cancel::CancelArgs),
    /// List what came from outside, and what became of it
    Inbox(inbox::InboxArgs),
    /// Give an event of the inbox once more
    Replay(replay::ReplayArgs),
    /// Connect an account at an outside system: makes a link, opens it, waits
    Connect(connect::ConnectArgs),
    /// List, show and remove the connected accounts
    Connections(connections::ConnectionsArgs),
    /// List what may be called, make and remove rules, try one out
    Policies(policies::PoliciesArgs),
    /// Watch the live actors
    Top(top::TopArgs),
    /// Print where the service is as variables of a shell: eval "$(tenure env)"
    Env(env::EnvArgs),
    /// List the nodes of the service, and what each of them has
    Nodes(nodes::NodesArgs),
    /// Let a node give its employees to the others
    Drain(drain::DrainArgs),
    /// Let every node give away what should live elsewhere
    Rebalance(rebalance::RebalanceArgs),
    /// Find out what is wrong with a service
    Doctor(doctor::DoctorArgs),
    /// Measure this build on this machine, and hold it against what is wanted
    Bench(bench::BenchArgs),
}

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    let cli = match parse(std::env::args_os()) {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are no errors, and go to stdout; clap knows.
            let _ = error.print();
            let exit = if error.use_stderr() {
                Exit::Usage
            } else {
                Exit::Ok
            };
            return ExitCode::from(exit as u8);
        }
    };
    let out = Output::new(cli.output);
    // As many workers as cores: the default, said because the benchmarks stand on it.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(std::thread::available_parallelism().map_or(1, usize::from))
        .enable_all()
        .build();
    let ended = match runtime {
        Ok(runtime) => runtime.block_on(run(cli.command, out)),
        Err(error) => Err(error.into()),
    };
    let exit = match ended {
        Ok(()) => Exit::Ok,
        Err(error) => report(&error),
    };
    crate::telemetry::log::flush();
    ExitCode::from(exit as u8)
}

/// One parser for the process and the tests. Every verb is told its verbs' examples by its own file.
fn parse(
    arguments: impl IntoIterator<Item = impl Into<std::ffi::OsString> + Clone>,
) -> Result<Cli, clap::Error> {
    let mut command = Cli::command();
    let matches = command.try_get_matches_from_mut(arguments)?;
    Cli::from_arg_matches(&matches).map_err(|error| error.format(&mut command))
}

async fn run(command: Command, out: Output) -> anyhow::Result<()> {
    match command {
        Command::Dev(args) => dev::run(args, out).await,
        Command::Serve(args) => serve::run(args, out).await,
        Command::Migrate(args) => migrate::run(args, out).await,
        Command::Backup(args) => backup::run(args, out).await,
        Command::Restore(args) => backup::restore(args, out).await,
        Command::Org(args) => org::run(args, out).await,
        Command::Key(args) => key::run(args, out).await,
        Command::Cluster(args) => cluster::run(args, out).await,
        Command::Sandbox(args) => sandbox::run(args, out).await,
        Command::Catalog(args) => catalog::run(args, out).await,
        Command::Call(args) => call::run(args, out).await,
        Command::Hire(args) => hire::run(args, out).await,
        Command::Tell(args) => tell::run(args, out).await,
        Command::Employees(args) => employees::run(args, out).await,
        Command::Runs(args) => runs::run(args, out).await,
        Command::Schedules(args) => schedules::run(args, out).await,
        Command::Show(args) => show::run(args, out).await,
        Command::Approve(args) => approve::run(args, out).await,
        Command::Cancel(args) => cancel::run(args, out).await,
        Command::Inbox(args) => inbox::run(args, out).await,
        Command::Replay(args) => replay::run(args, out).await,
        Command::Connect(args) => connect::run(args, out).await,
        Command::Connections(args) => connections::run(args, out).await,
        Command::Policies(args) => policies::run(args, out).await,
        Command::Top(args) => top::run(args, out).await,
        Command::Env(args) => env::run(&args, out),
        Command::Nodes(args) => nodes::run(args, out).await,
        Command::Drain(args) => drain::run(args, out).await,
        Command::Rebalance(args) => rebalance::run(args, out).await,
        Command::Doctor(args) => doctor::run(args, out).await,
        Command::Bench(args) => bench::run(args, out).await,
    }
}

/// Says on stderr what went wrong and gives the exit code.
fn report(error: &anyhow::Error) -> Exit {
    if error.chain().any(is_broken_pipe) {
        return Exit::Ok;
    }
    note!("error: {}", in_one_line(error));
    let client: Option<&ClientError> = error.chain().find_map(|cause| cause.downcast_ref());
    if let Some(ClientError::Problem(problem)) = client {
        for line in problem.particulars() {
            note!("  {line}");
        }
    }
    if let Some(hint) = client.and_then(remote::hint) {
        note!("hint: {hint}");
    }
    code_of(error)
}

/// The error and its causes; a cause that its effect has quoted already is left out.
fn in_one_line(error: &anyhow::Error) -> String {
    let mut line = String::new();
    for cause in error.chain() {
        let text = cause.to_string();
        if line.is_empty() {
            line = text;
        } else if !line.contains(&text) {
            line.push_str(": ");
            line.push_str(&text);
        }
    }
    line
}
