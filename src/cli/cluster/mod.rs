//! `tenure cluster`: what several nodes need before they can be one service.

mod certificates;
pub(in crate::cli) mod demo;
pub mod setup;

use super::output::Output;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  tenure cluster ca --out ca
  tenure cluster cert --ca ca --node a --host 10.0.0.5 --out a

The directory of the authority stays where certificates are made; its key goes to no node. `tenure serve --help` says where a node's files go.")]
pub struct ClusterArgs {
    #[command(subcommand)]
    verb: ClusterVerb,
}

#[derive(Debug, clap::Subcommand)]
enum ClusterVerb {
    /// Make a certificate authority for one cluster: ca.pem, ca.key and the cluster's name
    Ca(certificates::CaArgs),
    /// Make a node's certificate and key, signed by the authority: ca.pem, node.pem and node.key
    Cert(certificates::CertArgs),
    /// Start a whole cluster on this machine, to try it: PostgreSQL, the sandbox, nodes, and employees at work
    Demo(demo::DemoArgs),
}

/// # Errors
/// Files are there already or cannot be written; a part of the demo does not start.
pub async fn run(args: ClusterArgs, out: Output) -> anyhow::Result<()> {
    match args.verb {
        ClusterVerb::Ca(args) => certificates::ca(&args, out),
        ClusterVerb::Cert(args) => certificates::cert(&args, out),
        ClusterVerb::Demo(args) => demo::run(&args, out).await,
    }
}
