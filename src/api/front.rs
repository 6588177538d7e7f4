//! What every request meets before its route: a name of its own, the check of its host, and what browsers and packers want of answers.

use super::error::{ApiError, Problem};
use axum::{
    body::HttpBody,
    extract::Request,
    http::{
        HeaderMap, HeaderName, HeaderValue, Method, Response as HttpResponse, Uri, Version, header,
        uri::Authority,
    },
    middleware::Next,
    response::{IntoResponse, Response},
};
use std::{sync::Arc, time::Duration};
use tower_http::{
    CompressionLevel,
    compression::{CompressionLayer, Predicate},
    cors::{AllowOrigin, CorsLayer},
};
use tracing::Instrument;

static X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// The longest name of a request that is taken from outside.
const ID_MAX: usize = 128;
/// Smaller answers fit into a packet or two.
const PACKED_MIN: u64 = 1_024;
/// How long a browser remembers what it may ask of us.
const PREFLIGHT_KEPT: Duration = Duration::from_secs(3_600);

tokio::task_local! {
    static REQUEST: Arc<About>;
}

/// What is known of the request that a task answers.
struct About {
    id: String,
    uri: Uri,
}

/// The name of the request that is being answered here.
pub fn request_id() -> Option<String> {
    REQUEST.try_with(|about| about.id.clone()).ok()
}

/// What tells the list that is asked for from others: its path and its filters, in whatever order, without the place in it. `None`: no request
/// is being answered.
pub fn list_name() -> Option<String> {
    let about = REQUEST.try_with(Arc::clone).ok()?;
    let query = about.uri.query().unwrap_or_default().split('&');
    let mut filters: Vec<&str> = query
        .filter(|pair| !pair.is_empty())
        .filter(|pair| !["after", "limit"].contains(&pair.split('=').next().unwrap_or_default()))
        .collect();
    filters.sort_unstable();
    Some(format!("{}?{}", about.uri.path(), filters.join("&")))
}

/// Answers with the name under which the log knows the request.
pub async fn front(request: Request, next: Next) -> Response {
    let id = given_id(request.headers()).unwrap_or_else(new_id);
    let span = tracing::error_span!("request", request_id = id);
    let name = HeaderValue::from_str(&id).ok();
    let about = Arc::new(About {
        id,
        uri: request.uri().clone(),
    });
    let answering = async {
        match check_host(&request) {
            Ok(()) => next.run(request).await,
            Err(error) => error.into_response(),
        }
    };
    let mut response = REQUEST.scope(about, answering).instrument(span).await;
    if let Some(name) = name {
        response.headers_mut().insert(X_REQUEST_ID.clone(), name);
    }
    response
}

/// A name that the client or a proxy gave: letters, digits and a few signs, so that it can stand in any log.
fn given_id(headers: &HeaderMap) -> Option<String> {
    let given = headers.get(&X_REQUEST_ID)?.to_str().ok()?;
    let is_fine = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:=+/@".contains(&byte);
    let fits = (1..=ID_MAX).contains(&given.len()) && given.bytes().all(is_fine);
    fits.then(|| given.to_owned())
}

fn new_id() -> String {
    format!("{:032x}", rand::random::<u128>())
}

/// HTTP/1.1 wants one `Host`; HTTP/2 has `:authority`, and what both say must be the same.
fn check_host(request: &Request) -> Result<(), ApiError> {
    let refuse = |detail: &str| Err(ApiError::new(Problem::InvalidHost, detail));
    let mut hosts = request.headers().get_all(header::HOST).iter();
    let (host, more) = (hosts.next(), hosts.next());
    if more.is_some() {
        return refuse("the request has more than one header `Host`; it must have one");
    }
    let authority = request
        .uri()
        .authority()
        .map(|authority| authority.as_str());
    let host = match host.map(|host| host.to_str()) {
        None => None,
        Some(Ok(host)) if is_host(host) => Some(host),
        Some(_) => return refuse("the header `Host` is no host"),
    };
    match (host, authority) {
        (Some(host), Some(authority)) if !host.eq_ignore_ascii_case(authority) => {
            refuse("the header `Host` and the address of the request name two hosts")
        }
        (None, None) if request.version() >= Version::HTTP_11 => {
            refuse("the request has no header `Host`")
        }
        _ => Ok(()),
    }
}

/// A host with or without a port (RFC 9110, section 7.2): no user before it, and no port that is none.
fn is_host(text: &str) -> bool {
    let Ok(authority) = text.parse::<Authority>() else {
        return false;
    };
    let has_port = authority.port_u16().is_some();
    let has_none = authority.host().len() == text.trim_end_matches(':').len();
    !authority.host().is_empty() && !text.contains('@') && (has_port || has_none)
}

/// Packs what is text, whole and not small. What is streamed is passed on as it comes.
pub fn compression() -> CompressionLayer<PackedAnswers> {
    CompressionLayer::new()
        .gzip(true)
        .quality(CompressionLevel::Fastest)
        .compress_when(PackedAnswers)
}

#[derive(Clone, Copy)]
pub struct PackedAnswers;

impl Predicate for PackedAnswers {
    fn should_compress<B: HttpBody>(&self, response: &HttpResponse<B>) -> bool {
        let kind = response.headers().get(header::CONTENT_TYPE);
        let kind = kind.and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        let is_text = kind.starts_with("application/json")
            || kind.starts_with("application/problem+json")
            || kind.starts_with("text/html")
            || kind.starts_with("text/plain");
        let length = response.body().size_hint().exact();
        is_text && length.is_some_and(|length| length >= PACKED_MIN)
    }
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is no origin such as https://app.example.com; several are parted by commas, and * stands alone"
)]
pub struct BadOrigin(String);

/// Origins as browsers send them, parted by commas: scheme, host and port, nothing behind.
///
/// # Errors
/// Which is none.
pub fn origins(text: &str) -> Result<Vec<HeaderValue>, BadOrigin> {
    if text.trim() == "*" {
        return Ok(vec![HeaderValue::from_static("*")]);
    }
    let parts = text.split(',').map(str::trim);
    let parts = parts.filter(|part| !part.is_empty());
    parts
        .map(|part| {
            let bad = || BadOrigin(part.to_owned());
            let uri: Uri = part.parse().map_err(|_| bad())?;
            let is_web = matches!(uri.scheme_str(), Some("http" | "https"));
            let is_bare = uri.path() == "/" && uri.query().is_none() && !part.ends_with('/');
            let is_plain = !part.contains(['@', '*']) && part == part.to_lowercase();
            let is_origin = is_web && is_bare && is_plain;
            let value = HeaderValue::from_str(part).map_err(|_| bad())?;
            is_origin.then_some(value).ok_or_else(bad)
        })
        .collect()
}

/// What pages of these origins may ask and read. Keys are in a header, never in a cookie, so nothing is sent that the page does not have.
pub fn cors(origins: &[HeaderValue]) -> CorsLayer {
    let origin = match origins {
        [any] if any == "*" => AllowOrigin::any(),
        origins => AllowOrigin::list(origins.iter().cloned()),
    };
    let methods = [
        Method::GET,
        Method::HEAD,
        Method::POST,
        Method::PUT,
        Method::PATCH,
        Method::DELETE,
    ];
    let asked = [
        "accept",
        "authorization",
        "content-type",
        "idempotency-key",
        "if-match",
        "last-event-id",
        "prefer",
        "traceparent",
        "x-request-id",
    ];
    let read = [
        "allow",
        "etag",
        "location",
        "preference-applied",
        "retry-after",
        "tenure-read",
        "x-request-id",
    ];
    CorsLayer::new()
        .allow_origin(origin)
        .allow_methods(methods)
        .allow_headers(asked.map(HeaderName::from_static))
        .expose_headers(read.map(HeaderName::from_static))
        .max_age(PREFLIGHT_KEPT)
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::Body;

    fn request(version: Version, uri: &str, hosts: &[&str]) -> Request {
        let mut request = Request::new(Body::empty());
        *request.version_mut() = version;
        *request.uri_mut() = uri.parse().expect("an address");
        for host in hosts {
            let host = host.parse().expect("a value");
            request.headers_mut().append(header::HOST, host);
        }
        request
    }

    #[test]
    fn exactly_one_host_is_taken() {
        let (one, two) = (Version::HTTP_11, Version::HTTP_2);
        for (version, uri, hosts, fits) in [
            (one, "/", &["a.example"][..], true),
            (one, "/", &["a.example:7117"], true),
            (one, "/", &["[::1]:7117"], true),
            (one, "http://a.example/", &["A.example"], true),
            (one, "/", &[], false),
            (one, "/", &[""], false),
            (one, "/", &["a.example", "a.example"], false),
            (one, "/", &["a b"], false),
            (one, "/", &["a.example/x"], false),
            (one, "/", &["a.example:"], true),
            (one, "/", &["ann@a.example"], false),
            (one, "/", &["ann:secret@a.example:80"], false),
            (one, "/", &["a.example:99999"], false),
            (one, "/", &["a.example:x"], false),
            (one, "/", &[":80"], false),
            (one, "http://b.example/", &["a.example"], false),
            (Version::HTTP_10, "/", &[], true),
            (Version::HTTP_10, "/", &["a", "b"], false),
            (two, "http://a.example/", &[], true),
            (two, "http://a.example/", &["a.example"], true),
            (two, "http://a.example/", &["b.example"], false),
            (two, "/", &[], false),
        ] {
            let checked = check_host(&request(version, uri, hosts));
            assert_eq!(checked.is_ok(), fits, "{version:?} {uri} {hosts:?}");
        }
    }

    #[test]
    fn only_harmless_names_of_requests_are_taken() {
        let given = |value: &[u8]| {
            let mut headers = HeaderMap::new();
            let value = HeaderValue::from_bytes(value).expect("a value");
            headers.insert(X_REQUEST_ID.clone(), value);
            given_id(&headers)
        };
        assert_eq!(given(b"abc-1.2:3/4"), Some("abc-1.2:3/4".into()));
        let long = [b'a'; ID_MAX + 1];
        for wrong in [&b""[..], b"a b", b"a\tb", b"\"x\"", b"\xff", b"{}", &long] {
            assert_eq!(given(wrong), None, "{wrong:?}");
        }
        assert_eq!(given_id(&HeaderMap::new()), None);
        assert_ne!(new_id(), new_id());
    }

    #[test]
    fn origins_are_written_as_browsers_send_them() {
        let read = origins("https://a.example, http://localhost:3000").expect("origins");
        assert_eq!(read, ["https://a.example", "http://localhost:3000"]);
        assert_eq!(origins("*").expect("all"), ["*"]);
        assert!(origins("").expect("none").is_empty());
        for wrong in [
            "a.example",
            "https://a.example/",
            "https://a.example/app",
            "https://A.example",
            "https://a.example, *",
            "https://*.example",
            "ftp://a.example",
            "https://u@a.example",
        ] {
            assert!(origins(wrong).is_err(), "{wrong}");
        }
    }

    #[tokio::test]
    async fn lists_are_told_apart_by_path_and_filters() {
        let name = |uri: &str| {
            let about = About {
                id: String::new(),
                uri: uri.parse().expect("an address"),
            };
            REQUEST.sync_scope(Arc::new(about), list_name)
        };
        let list = name("/v1/runs?status=done&limit=5&after=x&source=a");
        assert_eq!(list, name("/v1/runs?source=a&status=done"));
        for other in [
            "/v1/runs",
            "/v1/effects?source=a&status=done",
            "/v1/runs?status=done",
        ] {
            assert_ne!(list, name(other), "{other}");
        }
        assert_eq!(list_name(), None);
    }
}
