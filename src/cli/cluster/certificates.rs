//! `tenure cluster ca` and `tenure cluster cert`: who is who between nodes.
//!
//! ```text
//! CA/ca.pem     its certificate, for every node
//! CA/ca.key     signs; 0600, for no node
//! CA/cluster    the cluster's name
//! NODE/ca.pem   node.pem   node.key (0600)
//! ```

use super::setup::node_id;
use crate::{
    actors::Clock,
    cli::{exit::Failure, output::Output, shell},
};
use anyhow::Context;
use serde_json::json;
use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};
use tenure_cluster::tls::{Authority, ClusterName, Issued, TlsFiles, write_private};

const DAY: Duration = Duration::from_secs(86_400);
const NODE_NAME_MAX: usize = 100;

#[derive(Debug, clap::Args)]
pub struct CaArgs {
    /// Directory of the authority; made if it is not there
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Name of the cluster: 1 to 40 of a-z, 0-9 and -; `cluster.name` of every node
    #[arg(long, default_value = "tenure", value_parser = cluster_name)]
    name: ClusterName,
    /// How long its certificate is good for
    #[arg(long, default_value_t = 3_650, value_parser = clap::value_parser!(u32).range(1..=36_500))]
    days: u32,
    #[command(flatten)]
    there: IfThere,
}

#[derive(Debug, clap::Args)]
pub struct CertArgs {
    /// Directory of the authority, as `tenure cluster ca` made it
    #[arg(long, value_name = "DIR")]
    ca: PathBuf,
    /// The node's name: its `node_name`, for which alone the certificate is good
    #[arg(long, value_name = "NAME", value_parser = node_name)]
    node: String,
    /// Host names and addresses of the node, for other programs that look at its certificate; nodes look at the node's name
    #[arg(long, value_name = "HOST", num_args = 1..)]
    host: Vec<String>,
    /// Directory for the node's files; made if it is not there
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// How long the certificate is good for
    #[arg(long, default_value_t = 365, value_parser = clap::value_parser!(u32).range(1..=36_500))]
    days: u32,
    #[command(flatten)]
    there: IfThere,
}

/// What to do with files that are there already.
#[derive(Clone, Copy, Debug, clap::Args)]
struct IfThere {
    /// Replace files that are there: a node takes up a new certificate by itself, but no node accepts those of an authority that is gone
    #[arg(long)]
    force: bool,
    /// Leave everything as it is if the files are there, and succeed: for what runs at every start
    #[arg(long, conflicts_with = "force")]
    if_missing: bool,
}

fn cluster_name(text: &str) -> Result<ClusterName, String> {
    ClusterName::new(text).map_err(|error| error.to_string())
}

/// What can stand in a configuration and in a line of text.
fn node_name(text: &str) -> Result<String, String> {
    let fits = (1..=NODE_NAME_MAX).contains(&text.chars().count())
        && !text.chars().any(|c| c.is_control() || c.is_whitespace());
    match fits {
        true => Ok(text.to_owned()),
        false => Err(format!(
            "node name {text:?} is not 1 to {NODE_NAME_MAX} characters without spaces"
        )),
    }
}

/// Files of an authority.
struct AuthorityDir {
    certificate: PathBuf,
    key: PathBuf,
    cluster: PathBuf,
}

impl AuthorityDir {
    fn at(dir: &Path) -> Self {
        Self {
            certificate: dir.join("ca.pem"),
            key: dir.join("ca.key"),
            cluster: dir.join("cluster"),
        }
    }
}

/// # Errors
/// An authority is there already, or the directory cannot be written.
pub fn ca(args: &CaArgs, out: Output) -> anyhow::Result<()> {
    let files = AuthorityDir::at(&args.out);
    if !may_write(&[&files.certificate, &files.key], args.there)? {
        return Ok(());
    }
    make(&args.out)?;
    let authority = Authority::generate(args.name.clone())?;
    let issued = authority.certify(now(), DAY * args.days)?;
    write_key(&files.key, &issued.key)?;
    write(&files.certificate, &issued.certificate)?;
    write(&files.cluster, &format!("{}\n", args.name))?;
    let (dir, cluster) = (args.out.display(), &args.name);
    let next = shell::command(&format!(
        "cluster cert --ca {dir} --node NAME --host HOST --out NAME"
    ));
    let text = format!(
        "authority of the cluster {cluster} made in {dir}, good for {} days\n\
         Keep {} where certificates are made; no node needs it. For each node:\n  {next}",
        args.days,
        files.key.display()
    );
    let made = json!({"cluster": cluster.as_str(), "ca_file": files.certificate, "ca_key_file": files.key});
    Ok(out.thing(&made, "ca_file", text)?)
}

/// # Errors
/// There is no authority, the files are there already, or the directory cannot be written.
pub fn cert(args: &CertArgs, out: Output) -> anyhow::Result<()> {
    let files = TlsFiles::in_dir(&args.out);
    if !may_write(&[&files.cert, &files.key], args.there)? {
        return Ok(());
    }
    let from = AuthorityDir::at(&args.ca);
    let (authority, cluster) = authority(&from)?;
    let id = node_id(&args.node);
    let Issued { certificate, key } =
        authority.issue_for_hosts(id, &args.host, now(), DAY * args.days)?;
    make(&args.out)?;
    write_key(&files.key, &key)?;
    write(&files.cert, &certificate)?;
    write(&files.ca, &read(&from.certificate)?)?;
    let text = format!(
        "certificate for the node {} ({id}) of the cluster {cluster}, good for {} days\n\
         In this node's configuration, with these files where it runs:\n{}",
        args.node,
        args.days,
        configuration(&args.node, &cluster, &files)
    );
    let made = json!({
        "node": args.node, "node_id": id, "cluster": cluster.as_str(),
        "ca_file": files.ca, "cert_file": files.cert, "key_file": files.key,
    });
    Ok(out.thing(&made, "cert_file", text)?)
}

/// What the operator has to write next.
fn configuration(node: &str, cluster: &ClusterName, files: &TlsFiles) -> String {
    let quoted = |path: &Path| format!("{:?}", path.display().to_string());
    format!(
        "  node_name = {node:?}\n  [cluster]\n  name = {:?}\n  listen = \"0.0.0.0:7118\"\n  advertise = \"HOST:7118\"\n  \
         ca_file = {}\n  cert_file = {}\n  key_file = {}",
        cluster.as_str(),
        quoted(&files.ca),
        quoted(&files.cert),
        quoted(&files.key)
    )
}

fn authority(files: &AuthorityDir) -> anyhow::Result<(Authority, ClusterName)> {
    if !files.key.is_file() || !files.cluster.is_file() {
        return Err(Failure::not_found(format!(
            "{} is no authority's; `tenure cluster ca --out DIR` makes one",
            files.key.parent().unwrap_or(Path::new(".")).display()
        )));
    }
    let name = ClusterName::new(read(&files.cluster)?.trim())?;
    let authority = Authority::from_key(name.clone(), &read(&files.key)?)
        .with_context(|| format!("{} is no key", files.key.display()))?;
    Ok((authority, name))
}

/// Nothing is written unless all of it may be. `false`: it is all there, and that is well.
///
/// # Errors
/// Something is there that may not be replaced.
fn may_write(files: &[&PathBuf], there: IfThere) -> anyhow::Result<bool> {
    if there.if_missing && files.iter().all(|path| path.exists()) {
        return Ok(false);
    }
    match files.iter().find(|path| path.exists()) {
        Some(path) if !there.force => Err(Failure::failed(format!(
            "{} is there already; --force replaces it",
            path.display()
        ))),
        _ => Ok(true),
    }
}

fn now() -> SystemTime {
    Clock::system().now().to_chrono().into()
}

fn make(dir: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))
}

fn read(path: &Path) -> anyhow::Result<String> {
    fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}

fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

fn write_key(path: &Path, text: &str) -> anyhow::Result<()> {
    write_private(path, text).with_context(|| format!("cannot write {}", path.display()))
}
