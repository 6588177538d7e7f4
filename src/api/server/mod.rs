//! The server of the API: accepts connections and bounds what each of them, each address and all together may hold.
//!
//! Invariants: every connection has a place in the [`registry`], and there are fewer places than descriptors; a connection that does nothing
//! holds no buffers and ends after a while; neither half a head, nor a body that dribbles, nor an answer that nobody takes, or hardly, holds
//! anything for long; what answers hold of the memory is bounded; who is at the cap loses what is idle, not what is new. TLS is not spoken here: that is a reverse proxy's.

mod answer_room;
pub mod bodies;
mod connection;
mod limits;
mod meter;
pub mod peer;
mod registry;
mod wire;

pub use limits::Limits;

use answer_room::AnswerRoom;
use axum::Router;
use limits::raise_descriptor_limit;
use meter::Order;
use peer::{ForwardedHeader, Networks};
use registry::{Full, Registry};
use std::{
    io,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinHandle,
    time::{MissedTickBehavior, interval, sleep, timeout},
};

/// How long a shutdown waits for requests that are under way.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(10);
/// Connections that are taken at the end because the kernel has them already: as many as its queue may have.
const REST_MAX: usize = 4_096;
/// How often it is looked for connections that should end.
const SWEEP_EVERY: Duration = Duration::from_secs(1);
/// After an error while accepting, such as no descriptors; twice as long after each further one.
const BACK_OFF: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(1));
/// How often at most the log says that connections were refused.
const WARN_EVERY: Duration = Duration::from_secs(60);

/// What an operator may set of the server.
#[derive(Clone, Debug, Default)]
pub struct ServerSettings {
    pub limits: Limits,
    /// The operator's own proxies: no cap by address holds them, and what they say of their clients is believed.
    pub trusted_proxies: Networks,
    pub forwarded_header: ForwardedHeader,
}

/// What all connections have in common.
struct Serving {
    router: Router,
    limits: Limits,
    trusted: Networks,
    forwarded: ForwardedHeader,
    room: Arc<AnswerRoom>,
}

/// Accepts and answers until `shutdown`, then lets requests end that are under way, for ten seconds at most.
///
/// # Errors
/// None yet: errors of the listener are waited out.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    settings: ServerSettings,
    shutdown: impl Future<Output = ()>,
) -> io::Result<()> {
    let limits = settings.limits.within(raise_descriptor_limit());
    let registry = Registry::new(limits, settings.trusted_proxies.clone());
    let serving = Arc::new(Serving {
        router,
        limits,
        trusted: settings.trusted_proxies,
        forwarded: settings.forwarded_header,
        room: AnswerRoom::new(),
    });
    let sweeping = sweep(registry.clone());
    tokio::select! {
        () = accept(&listener, &registry, &serving) => {}
        () = shutdown => {}
    }
    accept_the_rest(listener, &registry, &serving);
    registry.tell_all(Order::Finish);
    let all_ended = async {
        while registry.len() > 0 {
            sleep(Duration::from_millis(20)).await;
            // What was just being taken has not heard it.
            registry.tell_all(Order::Finish);
        }
    };
    if timeout(SHUTDOWN_GRACE, all_ended).await.is_err() {
        tracing::warn!(
            connections = registry.len(),
            "requests under way are given up"
        );
        registry.tell_all(Order::End);
    }
    sweeping.abort();
    Ok(())
}

async fn accept(listener: &TcpListener, registry: &Arc<Registry>, serving: &Arc<Serving>) {
    let (mut pause, mut warned) = (BACK_OFF.0, None);
    loop {
        match listener.accept().await {
            Ok((stream, address)) => {
                pause = BACK_OFF.0;
                if let Err(full) = take(stream, address, registry, serving) {
                    warn(&mut warned, full, address);
                }
            }
            // The client's own doing.
            Err(error) if is_of_connection(&error) => {}
            Err(error) => {
                tracing::warn!(%error, "cannot accept connections");
                registry.make_room();
                sleep(pause).await;
                pause = (pause * 2).min(BACK_OFF.1);
            }
        }
    }
}

/// Closes the listener. Whom the kernel has connected already may have sent a request, and would see it reset: they are taken before.
fn accept_the_rest(listener: TcpListener, registry: &Arc<Registry>, serving: &Arc<Serving>) {
    // The listener of the runtime knows of new connections only when it has been told.
    let Ok(listener) = listener.into_std() else {
        return;
    };
    for _ in 0..REST_MAX {
        match listener.accept() {
            Ok((stream, address)) => {
                let stream = stream
                    .set_nonblocking(true)
                    .and_then(|()| TcpStream::from_std(stream));
                if let Ok(stream) = stream {
                    let _ = take(stream, address, registry, serving);
                }
            }
            Err(error) if is_of_connection(&error) => {}
            Err(_) => return,
        }
    }
}

fn is_of_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionRefused
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
    )
}

fn take(
    stream: TcpStream,
    address: SocketAddr,
    registry: &Arc<Registry>,
    serving: &Arc<Serving>,
) -> Result<(), Full> {
    let place = registry.admit(address.ip())?;
    // Small answers must not wait for the acknowledgement of the one before.
    let _ = stream.set_nodelay(true);
    tokio::spawn(connection::serve(
        stream,
        address.ip(),
        place,
        serving.clone(),
    ));
    Ok(())
}

fn warn(warned: &mut Option<Instant>, full: Full, address: SocketAddr) {
    if warned.is_none_or(|at: Instant| at.elapsed() >= WARN_EVERY) {
        *warned = Some(Instant::now());
        let peer = peer::Peer::from(address.ip());
        tracing::warn!(%peer, reason = %full, "connections are refused; a reverse proxy belongs into `trusted_proxies`");
    }
}

fn sweep(registry: Arc<Registry>) -> JoinHandle<()> {
    tokio::spawn(async move {
        let mut ticks = interval(SWEEP_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            registry.sweep();
        }
    })
}

#[cfg(test)]
mod tests;
