//! One connection, from its first byte to its end. While nothing is under way it holds its socket and nothing else: parsers and buffers are
//! made when something comes, and given back when nothing has come for a moment.

use super::{
    super::error::{ApiError, Problem},
    Serving,
    answer_room::NoRoom,
    bodies::{Paced, UnderWay, Watched},
    meter::{Meter, Order},
    peer::{Client, Peer, client},
    registry::Place,
    wire::{Version, Wire},
};
use axum::{Router, body::Body, response::IntoResponse};
use hyper::{
    Request, Response,
    body::Incoming,
    server::conn::{http1, http2},
    service::Service,
};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use std::{convert::Infallible, net::IpAddr, pin::Pin, sync::Arc, time::Duration};
use tokio::{net::TcpStream, time::timeout};
use tower::ServiceExt;

/// The longest head of a request, and the most that a connection buffers of what it reads or writes. Bytes.
const BUFFER_MAX: usize = 64 * 1024;
const HEADERS_MAX: usize = 64;
/// The time for a head begins with the wait for it; by then a connection without one has given back its parser, and with it its clock.
const HEAD_MIN: Duration = Duration::from_secs(3);
/// Requests that one connection of HTTP/2 may have under way.
const STREAMS_MAX: u32 = 100;
/// Bytes of an answer that HTTP/2 keeps for each of them until they are taken.
const SEND_BUFFER: usize = 32 * 1024;
/// Requests of HTTP/2 that were given up before anybody looked at them; a client that makes more is sent away.
const RESETS_MAX: usize = 20;
/// A silent connection of HTTP/2 is asked this often whether anybody is there …
const PING_EVERY: Duration = Duration::from_secs(20);
/// … and has this long to answer.
const PING_TIME: Duration = Duration::from_secs(10);

/// When the server ends, a connection that has asked for nothing yet may still do so for this long: its client may have sent it already.
const FIRST_WORD: Duration = Duration::from_millis(500);

/// Serves one connection to its end.
pub async fn serve(stream: TcpStream, peer: IpAddr, place: Place, serving: Arc<Serving>) {
    let meter = place.meter.clone();
    let mut wire = Wire::new(stream, meter.clone());
    let answering = Answering {
        meter: meter.clone(),
        peer,
        serving: serving.clone(),
    };
    let Some(()) = bytes_come(&wire, &meter, FIRST_WORD).await else {
        return;
    };
    match version(&mut wire, &meter, serving.limits.head).await {
        Some(Version::Http1) => http1(wire, answering).await,
        Some(Version::Http2) => http2(wire, answering).await,
        None => {}
    }
}

/// Waits for something to read; `None`: the connection ends. When it is told to finish, what is there already is read, and what comes
/// within `grace`.
async fn bytes_come(wire: &Wire, meter: &Meter, grace: Duration) -> Option<()> {
    until_told(wire.readable(), meter, grace).await?.ok()
}

/// What the client speaks; `None`: it did not say so in time, or the connection ends.
async fn version(wire: &mut Wire, meter: &Meter, within: Duration) -> Option<Version> {
    let version = timeout(within, wire.version());
    until_told(version, meter, FIRST_WORD).await?.ok()?.ok()
}

/// `None`: the connection was told to end, or to finish and `grace` is over.
async fn until_told<T>(
    waited_for: impl Future<Output = T>,
    meter: &Meter,
    grace: Duration,
) -> Option<T> {
    tokio::pin!(waited_for);
    loop {
        tokio::select! {
            biased;
            came = &mut waited_for => return Some(came),
            () = meter.told() => match meter.order() {
                Order::End => return None,
                Order::Finish => return timeout(grace, waited_for).await.ok(),
                Order::Rest | Order::GoOn => {}
            },
        }
    }
}

async fn http1(mut wire: Wire, answering: Answering) {
    let meter = answering.meter.clone();
    loop {
        meter.set_awake(true);
        let Some(rested) = http1_awake(wire, answering.clone()).await else {
            return;
        };
        wire = rested;
        if bytes_come(&wire, &meter, Duration::ZERO).await.is_none() {
            return;
        }
    }
}

/// Serves requests until there are none any more for a moment; gives the socket back then. `None`: the connection has ended.
async fn http1_awake(wire: Wire, answering: Answering) -> Option<Wire> {
    let meter = answering.meter.clone();
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(answering.serving.limits.head.max(HEAD_MIN))
        .max_headers(HEADERS_MAX)
        .max_buf_size(BUFFER_MAX);
    let mut connection = Box::new(builder.serve_connection(TokioIo::new(wire), answering));
    loop {
        tokio::select! {
            biased;
            ended = &mut *connection => {
                if let Err(error) = ended {
                    tracing::trace!(%error, "connection ended");
                }
                return None;
            }
            () = meter.told() => match meter.order() {
                Order::End => return None,
                Order::Finish => Pin::new(&mut *connection).graceful_shutdown(),
                Order::Rest if meter.needs_no_buffers() => {
                    // Polled a moment ago, it had nothing to read and nothing left to write: nothing is lost with it.
                    let parts = connection.into_parts();
                    let mut wire = parts.io.into_inner();
                    meter.set_awake(false);
                    if !parts.read_buf.is_empty() {
                        // Half a request came with the one before; the time for its head runs from now on.
                        wire.read_again(&parts.read_buf);
                    }
                    return Some(wire);
                }
                Order::Rest | Order::GoOn => {}
            },
        }
    }
}

async fn http2(wire: Wire, answering: Answering) {
    let meter = answering.meter.clone();
    meter.follow_answers();
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS_MAX)
        .max_send_buf_size(SEND_BUFFER)
        .max_pending_accept_reset_streams(RESETS_MAX)
        .keep_alive_interval(PING_EVERY)
        .keep_alive_timeout(PING_TIME)
        .enable_connect_protocol();
    let mut connection = Box::pin(builder.serve_connection(TokioIo::new(wire), answering));
    loop {
        tokio::select! {
            biased;
            ended = &mut connection => {
                if let Err(error) = ended {
                    tracing::trace!(%error, "connection ended");
                }
                return;
            }
            () = meter.told() => match meter.order() {
                Order::End => return,
                Order::Finish => connection.as_mut().graceful_shutdown(),
                Order::Rest | Order::GoOn => {}
            },
        }
    }
}

/// Answers the requests of one connection.
#[derive(Clone)]
struct Answering {
    meter: Arc<Meter>,
    peer: IpAddr,
    serving: Arc<Serving>,
}

impl Service<Request<Incoming>> for Answering {
    type Response = Response<Watched>;
    type Error = Infallible;
    /// In a box, so that a connection holds no place for it while there is no request.
    type Future = Pin<Box<dyn Future<Output = Result<Response<Watched>, Infallible>> + Send>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let Serving {
            router,
            trusted,
            forwarded,
            room,
            ..
        } = &*self.serving;
        let from = client(self.peer, request.headers(), trusted, *forwarded);
        let address = (!trusted.has(from)).then(|| Peer::from(from));
        let room = match room.admit(address) {
            Ok(room) => room,
            Err(full) => {
                let answer = ApiError::from(full).into_response();
                let under_way = UnderWay::new(&self.meter, None);
                return Box::pin(async move { Ok(Watched::new(answer, under_way)) });
            }
        };
        let under_way = UnderWay::new(&self.meter, Some(room));
        let mut request = request.map(|body| Body::new(Paced::new(body)));
        request.extensions_mut().insert(Client(from));
        let router: Router = router.clone();
        Box::pin(async move {
            let answer = router.oneshot(request).await?;
            Ok(Watched::new(answer, under_way))
        })
    }
}

impl From<NoRoom> for ApiError {
    fn from(error: NoRoom) -> Self {
        ApiError::new(Problem::Unavailable, error.to_string())
            .retry_after(1)
            .nothing_done()
    }
}
