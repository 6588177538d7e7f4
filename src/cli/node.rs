//! One node: database, engine and API in this process. What `dev` and `serve` have in common.

use super::exit::Failure;
use crate::{
    actors::{
        Clock, Engine, EngineConfig, Faults, Settings,
        cluster::{ClusterSetup, LifeEnd},
        hub,
    },
    api::{self, ApiParts, ApiSettings, ApiState},
    connect::{Catalog, Sealer},
    hire::TemplatePlanner,
    persistence::Db,
    telemetry,
};
use anyhow::Context;
use metrics_exporter_prometheus::PrometheusHandle;
use secrecy::SecretString;
use std::{net::SocketAddr, process::Command, sync::Arc, time::Duration};
use tokio::{net::TcpListener, signal, task::JoinHandle, time::timeout};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// How much longer than steps may take to end a drain is waited for: to tell the others, and to release what is left.
const DRAIN_SLACK: Duration = Duration::from_secs(20);

/// What a node is started with.
pub struct NodeParts {
    pub db: Db,
    pub node_id: Uuid,
    pub clock: Clock,
    pub sealer: Arc<Sealer>,
    /// The public address in it is this node's own, unless `public_url` says another.
    pub settings: Settings,
    /// Where browsers reach the service.
    pub public_url: Option<String>,
    pub listener: TcpListener,
    /// Shown to the org's people; only `dev` has one.
    pub sandbox_url: Option<String>,
    /// Name or id of the org whose admins run the service.
    pub operator_org: Option<String>,
    /// Opens `/metrics` and nothing else.
    pub metrics_token: Option<SecretString>,
    pub api: ApiSettings,
    /// Absent: this node is alone.
    pub cluster: Option<ClusterSetup>,
}

/// A node at work.
pub struct Node {
    pub address: SocketAddr,
    db: Db,
    engine: Engine,
    stop: CancellationToken,
    serving: JoinHandle<std::io::Result<()>>,
    drain_limit: Duration,
    /// Ends when the process is told to; listens from the start, so that nobody is too early.
    told: JoinHandle<()>,
}

impl Node {
    /// Takes up every unfinished run and then requests.
    ///
    /// # Errors
    /// A part does not start; none is left running then.
    pub async fn start(parts: NodeParts) -> anyhow::Result<Self> {
        let told = tokio::spawn(told_to_stop());
        let address = parts.listener.local_addr()?;
        let drain_grace = parts.cluster.as_ref().map(|cluster| cluster.drain_grace);
        // Before the engine, so that what recovery counts is counted.
        let metrics = telemetry::prometheus::install().context("the metrics recorder")?;
        let settings = Settings {
            public_url: parts.public_url.unwrap_or_else(|| url_of(address)),
            ..parts.settings
        };
        let vault = hub::keys::vault(&parts.db, &parts.clock, &parts.sealer);
        hub::keys::check_master_keys(&parts.db, &vault)
            .await
            .context("this database's secrets cannot be opened with the configured master key (master_key, master_key_file)")?;
        let catalog = Arc::new(Catalog::embedded().context("the integration catalog")?);
        let planner = Arc::new(TemplatePlanner::new().context("the skill templates")?);
        let engine = Engine::start(EngineConfig {
            db: parts.db.clone(),
            node_id: parts.node_id,
            address: address.to_string(),
            catalog,
            sealer: parts.sealer,
            clock: parts.clock,
            settings,
            faults: Faults::default(),
            cluster: parts.cluster,
        })
        .await
        .context("the engine")?;
        let state = ApiState::new(ApiParts {
            engine: engine.clone(),
            planner,
            metrics: Some(metrics.clone()),
            sandbox_url: parts.sandbox_url,
            operator_org: parts.operator_org,
            metrics_token: parts.metrics_token,
            settings: parts.api,
        });
        let stop = CancellationToken::new();
        tokio::spawn(stop.clone().run_until_cancelled_owned(upkeep(metrics)));
        let stopped = stop.clone().cancelled_owned();
        let serving = tokio::spawn(api::serve(parts.listener, state, stopped));
        Ok(Self {
            address,
            db: parts.db,
            engine,
            stop,
            serving,
            drain_limit: drain_grace.unwrap_or_default() + DRAIN_SLACK,
            told,
        })
    }

    pub fn url(&self) -> String {
        url_of(self.address)
    }

    /// Serves until the process is told to end, then gives away what lives here, lets requests under way finish and stops the actors.
    /// A node whose life was ended by others begins a new one, as this process started anew: then it does not return.
    ///
    /// # Errors
    /// The server breaks down, or a later life of this node is at work.
    pub async fn run_until_told(self) -> anyhow::Result<()> {
        let Self {
            db,
            engine,
            stop,
            mut serving,
            drain_limit,
            mut told,
            ..
        } = self;
        let mut life_end = None;
        let served = tokio::select! {
            served = &mut serving => served,
            end = engine.ended() => {
                life_end = Some(end);
                stop.cancel();
                (&mut serving).await
            }
            _ = &mut told => {
                tracing::info!("stopping");
                // A second time: whoever asks wants it at once. Nothing that was acknowledged is lost by that.
                tokio::spawn(async { told_to_stop().await; telemetry::log::flush(); std::process::exit(130) });
                // Requests are answered meanwhile, if need be by asking other nodes.
                if timeout(drain_limit, engine.drain()).await.is_err() {
                    tracing::warn!("not all was given away in time: the others take it when the lease is over");
                }
                stop.cancel();
                (&mut serving).await
            }
        };
        engine.stop().await;
        db.close().await;
        tracing::info!("stopped");
        match life_end {
            Some(LifeEnd::Rejoin) => Err(start_anew()),
            Some(LifeEnd::Replaced) => Err(Failure::failed(
                "another process has started as this node and is at work: this one ends",
            )),
            None => served
                .context("the server broke down")?
                .context("the server"),
        }
    }
}

/// Sorts what was recorded into its buckets: until then every value is held as it came, whether anybody reads the metrics or not.
async fn upkeep(metrics: PrometheusHandle) {
    let mut ticks = tokio::time::interval(telemetry::prometheus::UPKEEP_EVERY);
    loop {
        ticks.tick().await;
        metrics.run_upkeep();
    }
}

/// Becomes this program with the same arguments, from its beginning; gives why it could not. Nothing of the life that is over is left
/// then, which no clean-up could promise.
fn start_anew() -> anyhow::Error {
    tracing::warn!("this life of the node is over: the process starts anew");
    telemetry::log::flush();
    let mut arguments = std::env::args_os();
    let called = arguments.next().unwrap_or_else(|| "tenure".into());
    // A release may have been put in the place of the file that we run.
    let program = std::env::current_exe().ok().filter(|path| path.exists());
    let mut command = Command::new(program.unwrap_or_else(|| called.into()));
    command.args(arguments);
    #[cfg(unix)]
    {
        use std::os::unix::process::CommandExt;
        anyhow::Error::new(command.exec()).context("the process could not start anew")
    }
    #[cfg(not(unix))]
    {
        Failure::failed("this life of the node is over; start it again")
    }
}

/// Ctrl-C or SIGTERM.
pub async fn told_to_stop() {
    let interrupted = async { signal::ctrl_c().await.is_ok() };
    #[cfg(unix)]
    let terminated = async {
        match signal::unix::signal(signal::unix::SignalKind::terminate()) {
            Ok(mut signals) => signals.recv().await.is_some(),
            Err(_) => std::future::pending().await,
        }
    };
    #[cfg(not(unix))]
    let terminated = std::future::pending::<bool>();
    tokio::select! { _ = interrupted => {} _ = terminated => {} }
}

/// Takes the address, or says who to blame and what to do.
///
/// # Errors
/// The address is taken or is none of this machine's.
pub async fn listen(address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| {
        format!("cannot listen on {address} (another process may; --listen takes another address)")
    })
}

/// The address of a service that listens here.
pub fn url_of(address: SocketAddr) -> String {
    format!("http://{}", reachable(address))
}

/// An address that a client on this machine can connect to: nobody can connect to "all interfaces".
fn reachable(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        address.set_ip(match address {
            SocketAddr::V4(_) => std::net::Ipv4Addr::LOCALHOST.into(),
            SocketAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
        });
    }
    address
}
