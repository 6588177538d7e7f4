//! Reads by proxy that are given on as they come: a list item by item over all its pages, one JSON text a line
//! (`application/x-ndjson`), or the bytes of a file with the provider's own type.
//!
//! What fails before the first byte is a problem like any other. What fails later is the last line, `{"problem": …}`, and the connection
//! is cut, so that nobody takes a part for the whole.

use super::{
    ApiState,
    error::{ApiError, ApiResult},
    proxy::{told, unfinished},
};
use crate::{
    actors::proxy::{Pages, ProxyError, ProxyRequest, call_into, stream},
    connect::passing::{Passed, Sink},
};
use axum::{
    body::Body,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::Response,
};
use bytes::Bytes;
use futures::{Stream, stream::unfold};
use serde_json::Value;
use std::{io, sync::Arc};

const NDJSON: &str = "application/x-ndjson";
/// Bytes of the longest answer that is given on.
pub(super) const PASSED_MAX: u64 = 1 << 30;

/// Whether the client names our lines as what it takes.
pub fn is_asked_for(headers: &HeaderMap) -> bool {
    let accept = headers.get_all(header::ACCEPT).iter();
    accept
        .filter_map(|value| value.to_str().ok())
        .flat_map(|text| text.split(','))
        .any(|kind| kind.split(';').next().unwrap_or_default().trim() == NDJSON)
}

/// # Errors
/// As the call itself, as long as nothing has been given on.
pub async fn forward(api: &ApiState, request: ProxyRequest) -> ApiResult<Response> {
    let name = request.capability.clone();
    let found = api.core().catalogs.capability(request.org, &name).await?;
    let Some(capability) = found else {
        return Err(told(
            api,
            &name,
            ProxyError::UnknownCapability(name.clone()),
        ));
    };
    if capability.write {
        let detail = "only reads are streamed; a write's answer is kept in the ledger";
        return Err(ApiError::parameter("stream", detail));
    }
    if capability.is_download() {
        return pass(api, request, false).await;
    }
    let pages = stream(api.core(), capability, request).await;
    let pages = match pages {
        Ok(pages) => pages,
        Err(error) => return unfinished(api, &name, error),
    };
    let body = Body::from_stream(lines(api.clone(), name, pages));
    let mut response = Response::new(body);
    let kind = HeaderValue::from_static(NDJSON);
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    Ok(response)
}

/// Where a list that is given on stands.
enum Given {
    Pages(Pages),
    /// Its last line has said why it ends.
    BrokenOff,
}

/// A page a piece, an item a line.
fn lines(
    api: ApiState,
    capability: String,
    pages: Pages,
) -> impl Stream<Item = Result<Bytes, io::Error>> {
    unfold(Some(Given::Pages(pages)), move |given| {
        let (api, capability) = (api.clone(), capability.clone());
        async move {
            let mut pages = match given? {
                Given::Pages(pages) => pages,
                Given::BrokenOff => {
                    // The server writes out what it has when it has to wait; an error would throw the last line away.
                    tokio::task::yield_now().await;
                    return Some((Err(io::Error::other("the list broke off")), None));
                }
            };
            Some(match pages.recv().await? {
                Ok(items) => (Ok(in_lines(&items)), Some(Given::Pages(pages))),
                Err(error) => {
                    let problem = told(&api, &capability, error).in_line();
                    (Ok(problem.into()), Some(Given::BrokenOff))
                }
            })
        }
    })
}

fn in_lines(items: &[Value]) -> Bytes {
    let mut text = Vec::new();
    for item in items {
        // What was read from JSON can be written as such.
        if serde_json::to_writer(&mut text, item).is_ok() {
            text.push(b'\n');
        }
    }
    text.into()
}

/// Calls and gives the answer on as it comes. `refusals`: also one that says no, which is else a problem of ours.
///
/// # Errors
/// As the call itself, as long as nothing has been given on.
pub(super) async fn pass(
    api: &ApiState,
    request: ProxyRequest,
    refusals: bool,
) -> ApiResult<Response> {
    let capability = request.capability.clone();
    let (sink, passed) = Sink::new(refusals, PASSED_MAX);
    let core = api.core().clone();
    // It lives as long as the answer is on its way; when nobody reads any more it ends by itself.
    let calling =
        tokio::spawn(async move { call_into(&core, request, Some(Arc::new(sink))).await });
    match passed.await {
        Ok(passed) => Ok(given_on(passed)),
        Err(_) => match calling.await.map_err(ApiError::internal)? {
            Err(error) => unfinished(api, &capability, error),
            // A call in several steps is read here, and its answer is ours.
            Ok(answer) => Ok(plain(StatusCode::OK, answer.output.to_string().into())),
        },
    }
}

fn given_on(passed: Passed) -> Response {
    let pieces = unfold(passed.body, |mut body| async move {
        body.recv().await.map(|piece| (piece, body))
    });
    let status = StatusCode::from_u16(passed.status).unwrap_or(StatusCode::BAD_GATEWAY);
    harmless(status, passed.headers, Body::from_stream(pieces))
}

fn plain(status: StatusCode, body: Body) -> Response {
    let mut headers = HeaderMap::new();
    let kind = HeaderValue::from_static("application/json");
    headers.insert(header::CONTENT_TYPE, kind);
    harmless(status, headers, body)
}

/// A provider's answer under our address: whatever it is, no browser runs it as ours.
pub(super) fn harmless(status: StatusCode, headers: HeaderMap, body: Body) -> Response {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    let own = response.headers_mut();
    let policy = HeaderValue::from_static("sandbox; default-src 'none'");
    own.insert(header::CONTENT_SECURITY_POLICY, policy);
    let no_sniffing = HeaderValue::from_static("nosniff");
    own.insert(header::X_CONTENT_TYPE_OPTIONS, no_sniffing);
    response
}
