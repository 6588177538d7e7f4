//! Answers that are given on as they are, not read: in pieces, as they come, so that a long one needs no more memory than a short one.

use bytes::Bytes;
use reqwest::{
    Response,
    header::{HeaderMap, HeaderName},
};
use std::{
    io,
    sync::{Mutex, PoisonError},
    time::Duration,
};
use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, timeout},
};

/// Pieces under way between provider and reader; each has some 16 KiB at most.
const PIECES: usize = 16;
/// How long the provider may be silent, and the reader busy.
const STALL: Duration = Duration::from_secs(30);
/// For the whole answer; it holds one of its connection's open calls.
const WHOLE: Duration = Duration::from_secs(15 * 60);

/// An answer whose body is on its way. If the body breaks off its last piece is an error.
#[derive(Debug)]
pub struct Passed {
    pub status: u16,
    /// Those that say something of the body, not of the connection or the provider's own site.
    pub headers: HeaderMap,
    pub body: mpsc::Receiver<Result<Bytes, io::Error>>,
}

/// Where a call's answer goes instead of being read.
#[derive(Debug)]
pub struct Sink {
    reader: Mutex<Option<oneshot::Sender<Passed>>>,
    /// An answer that was read although it is given on: a write's, which the ledger keeps.
    kept: Mutex<Option<Kept>>,
    refusals: bool,
    limit: u64,
}

/// A whole answer, as it came.
#[derive(Clone, Debug)]
pub struct Kept {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Sink {
    /// `refusals`: the reader wants refusals as well, and not only what went well. `limit`: bytes of the longest body.
    pub fn new(refusals: bool, limit: u64) -> (Self, oneshot::Receiver<Passed>) {
        let (reader, passed) = oneshot::channel();
        let sink = Self {
            reader: Mutex::new(Some(reader)),
            kept: Mutex::default(),
            refusals,
            limit,
        };
        (sink, passed)
    }

    /// Whether an answer with this status is the reader's. What the connector can mend (a token, a limit, a failure) is not.
    pub(super) fn takes(&self, status: u16) -> bool {
        let mends = matches!(status, 401 | 408 | 429) || status >= 500;
        !mends && (self.refusals || (200..300).contains(&status))
    }

    pub(super) fn keep(&self, answer: Kept) {
        *self.kept.lock().unwrap_or_else(PoisonError::into_inner) = Some(answer);
    }

    /// The last answer that was kept.
    pub fn kept(&self) -> Option<Kept> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.take()
    }

    fn take_reader(&self) -> Option<oneshot::Sender<Passed>> {
        let mut reader = self.reader.lock().unwrap_or_else(PoisonError::into_inner);
        reader.take()
    }

    /// Gives the answer on until it ends, breaks off, is too long, or nobody reads any more.
    pub(super) async fn give_on(&self, mut response: Response) {
        let Some(reader) = self.take_reader() else {
            return;
        };
        let (pieces, body) = mpsc::channel(PIECES);
        let passed = Passed {
            status: response.status().as_u16(),
            headers: given_on(response.headers()),
            body,
        };
        if reader.send(passed).is_err() {
            return;
        }
        let (mut left, end) = (self.limit, Instant::now() + WHOLE);
        loop {
            let stall = STALL.min(end.saturating_duration_since(Instant::now()));
            let piece = match timeout(stall, response.chunk()).await {
                Ok(Ok(None)) => return,
                Ok(Ok(Some(piece))) if piece.len() as u64 <= left => {
                    left -= piece.len() as u64;
                    Ok(piece)
                }
                Ok(Ok(Some(_))) => Err(io::Error::other(format!(
                    "the answer is longer than {} bytes",
                    self.limit
                ))),
                Ok(Err(_)) => Err(io::Error::other("the provider broke off")),
                Err(_) => Err(io::Error::other("the provider stalled")),
            };
            let is_over = piece.is_err();
            match timeout(STALL, pieces.send(piece)).await {
                Ok(Ok(())) if !is_over => {}
                _ => return,
            }
        }
    }
}

/// Headers of an answer that are about its connection, or that would set something for the site that gives it on.
const OWN: [&str; 22] = [
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "set-cookie",
    "set-cookie2",
    "www-authenticate",
    "authentication-info",
    "alt-svc",
    "strict-transport-security",
    "clear-site-data",
    "service-worker-allowed",
    "public-key-pins",
    "refresh",
    "server",
    "date",
    "via",
];
const OWN_FAMILIES: [&str; 6] = [
    "access-control-",
    "content-security-policy",
    "cross-origin-",
    "report",
    "nel",
    "x-accel-",
];

/// What of an answer's headers is given on.
pub(super) fn given_on(headers: &HeaderMap) -> HeaderMap {
    let named: Vec<String> = headers
        .get_all("connection")
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|text| text.split(','))
        .map(|name| name.trim().to_ascii_lowercase())
        .collect();
    let is_own = |name: &HeaderName| {
        let name = name.as_str();
        OWN.contains(&name)
            || OWN_FAMILIES.iter().any(|family| name.starts_with(family))
            || named.iter().any(|known| known == name)
    };
    let mut kept = HeaderMap::with_capacity(headers.len());
    for (name, value) in headers.iter().filter(|(name, _)| !is_own(name)) {
        kept.append(name.clone(), value.clone());
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_the_connections_or_the_sites_own_is_not_given_on() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("content-type", "text/csv"),
            ("etag", "\"1\""),
            ("x-ratelimit-remaining", "7"),
            ("link", "<x>; rel=next"),
            ("set-cookie", "session=1"),
            ("transfer-encoding", "chunked"),
            ("connection", "close, X-Private"),
            ("x-private", "1"),
            ("access-control-allow-origin", "*"),
            ("strict-transport-security", "max-age=1"),
        ] {
            headers.append(name, value.parse().unwrap());
        }
        let kept = given_on(&headers);
        let mut names: Vec<&str> = kept.keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        assert_eq!(
            names,
            ["content-type", "etag", "link", "x-ratelimit-remaining"]
        );
    }

    #[test]
    fn what_the_connector_can_mend_is_not_the_readers() {
        let (all, _reader) = Sink::new(true, 1);
        let (good, _reader) = Sink::new(false, 1);
        for (status, raw, download) in [
            (200, true, true),
            (206, true, true),
            (302, true, false),
            (404, true, false),
            (401, false, false),
            (429, false, false),
            (503, false, false),
        ] {
            assert_eq!(
                (all.takes(status), good.takes(status)),
                (raw, download),
                "{status}"
            );
        }
    }
}
