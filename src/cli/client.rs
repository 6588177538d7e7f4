//! The service over HTTP, as the verbs use it. Nothing else in this room opens a connection.

use super::{exit::Exit, sse};
use futures::{Stream, StreamExt};
use reqwest::{Method, RequestBuilder, Response, StatusCode, Url, header};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::Value;
use std::time::Duration;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Longer than any single answer takes; streams have no end to wait for.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);
/// A list that is asked for whole is read in pages of this many.
const PAGE: &str = "200";

#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    #[error("the service at {base} is not reachable: {reason}")]
    Unreachable { base: String, reason: String },
    #[error("{0}")]
    Problem(Box<Problem>),
    #[error("the service at {base} answered something else than JSON: {reason}")]
    NotOurs { base: String, reason: String },
    #[error("`{0}` is not the address of a service: expected http://HOST:PORT")]
    BadAddress(String),
}

impl ClientError {
    pub fn exit(&self) -> Exit {
        match self {
            Self::Unreachable { .. } => Exit::Unreachable,
            Self::Problem(problem) => problem.exit(),
            Self::NotOurs { .. } => Exit::Failed,
            Self::BadAddress(_) => Exit::Usage,
        }
    }
}

/// An answer of the service that says no: RFC 9457 with our `code`.
#[derive(Clone, Debug, Deserialize)]
pub struct Problem {
    #[serde(default)]
    pub status: u16,
    #[serde(default)]
    pub title: String,
    #[serde(default)]
    pub detail: Option<String>,
    #[serde(default)]
    pub code: String,
    #[serde(default)]
    pub field: Option<String>,
    /// Several things that are wrong, each with a `message` and where it is.
    #[serde(default)]
    pub errors: Vec<Value>,
    /// Of a job description: sentences and why they were not understood.
    #[serde(default)]
    pub not_understood: Vec<Value>,
}

impl Problem {
    fn exit(&self) -> Exit {
        match self.status {
            404 => Exit::NotFound,
            401 | 403 | 409 => Exit::Refused,
            // The service is there; the provider behind it is not, or says no.
            502 | 504 if matches!(&*self.code, "PROVIDER_ERROR" | "TIMEOUT") => Exit::Failed,
            502..=504 => Exit::Unreachable,
            _ => Exit::Failed,
        }
    }

    /// What is wrong in particular, a line each.
    pub fn particulars(&self) -> Vec<String> {
        let text = |value: &Value, name: &str| value[name].as_str().map(str::to_owned);
        let detail = self.detail.as_deref().unwrap_or_default();
        let is_told = |error: &&Value| {
            let message = error["message"].as_str();
            message.is_some_and(|message| detail.contains(message))
        };
        let untold = self.errors.iter().filter(|error| !is_told(error));
        let wrong = untold.map(|error| {
            let place: Vec<String> = ["graph", "node", "field"]
                .iter()
                .filter_map(|name| text(error, name))
                .filter(|text| !text.is_empty())
                .collect();
            let message = text(error, "message").unwrap_or_else(|| error.to_string());
            format!("{}: {message}", place.join("."))
        });
        let unclear = self.not_understood.iter().filter_map(|clause| {
            let (sentence, reason) = (text(clause, "sentence")?, text(clause, "reason")?);
            Some(format!("\"{sentence}\": {reason}"))
        });
        wrong.chain(unclear).collect()
    }

    /// For an answer that carries no problem document: a proxy's, for example.
    fn bare(status: StatusCode) -> Self {
        Self {
            status: status.as_u16(),
            title: status.to_string(),
            detail: None,
            code: format!("http_{}", status.as_u16()),
            field: None,
            errors: Vec::new(),
            not_understood: Vec::new(),
        }
    }
}

/// `detail (code) [field]`
impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let detail = self.detail.as_deref().unwrap_or(&self.title);
        write!(f, "{detail} ({})", self.code)?;
        self.field
            .as_ref()
            .map_or(Ok(()), |field| write!(f, " [{field}]"))
    }
}

/// A service and the key to it.
#[derive(Clone, Debug)]
pub struct Client {
    http: reqwest::Client,
    base: String,
    key: Option<SecretString>,
}

impl Client {
    /// # Errors
    /// `BadAddress`; or the TLS library does not start.
    pub fn new(base: &str, key: Option<SecretString>) -> Result<Self, ClientError> {
        let base = base.trim_end_matches('/').to_owned();
        let is_http = Url::parse(&base).is_ok_and(|url| {
            matches!(url.scheme(), "http" | "https") && url.has_host() && url.query().is_none()
        });
        if !is_http {
            return Err(ClientError::BadAddress(base));
        }
        let http = reqwest::Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .user_agent(concat!("tenure/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| unreachable(&base, &error))?;
        Ok(Self { http, base, key })
    }

    pub fn base(&self) -> &str {
        &self.base
    }

    /// # Errors
    /// The service cannot be reached or says no.
    pub async fn get(&self, path: &str, query: &[(&str, &str)]) -> Result<Value, ClientError> {
        let response = self.send(self.request(Method::GET, path, query)?).await?;
        self.json(response).await
    }

    /// # Errors
    /// As [`Client::get`].
    pub async fn post(
        &self,
        path: &str,
        query: &[(&str, &str)],
        body: &Value,
    ) -> Result<Value, ClientError> {
        let request = self.request(Method::POST, path, query)?.json(body);
        let response = self.send(request).await?;
        self.json(response).await
    }

    /// The same with the answer's bytes as they come.
    ///
    /// # Errors
    /// As [`Client::get`]; the stream gives an error once when it breaks off, and ends.
    pub async fn stream(
        &self,
        path: &str,
        body: &Value,
    ) -> Result<impl Stream<Item = Result<Vec<u8>, ClientError>> + use<>, ClientError> {
        let request = self.request(Method::POST, path, &[])?.json(body);
        let response = self.send(request.timeout(Duration::MAX)).await?;
        let base = self.base.clone();
        let pieces = response.bytes_stream();
        Ok(pieces.map(move |piece| match piece {
            Ok(bytes) => Ok(bytes.to_vec()),
            Err(error) => Err(unreachable(&base, &error)),
        }))
    }

    /// # Errors
    /// As [`Client::get`].
    pub async fn put(&self, path: &str, body: &Value) -> Result<Value, ClientError> {
        let request = self.request(Method::PUT, path, &[])?.json(body);
        let response = self.send(request).await?;
        self.json(response).await
    }

    /// # Errors
    /// As [`Client::get`].
    pub async fn delete(&self, path: &str) -> Result<(), ClientError> {
        self.send(self.request(Method::DELETE, path, &[])?).await?;
        Ok(())
    }

    /// An answer that is text, not JSON.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub async fn text(&self, path: &str) -> Result<String, ClientError> {
        let response = self.send(self.request(Method::GET, path, &[])?).await?;
        response
            .text()
            .await
            .map_err(|error| unreachable(&self.base, &error))
    }

    /// All items of a list, page after page.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub async fn all(&self, path: &str, query: &[(&str, &str)]) -> Result<Vec<Value>, ClientError> {
        let mut items = Vec::new();
        let mut after: Option<String> = None;
        loop {
            let mut query = query.to_vec();
            query.push(("limit", PAGE));
            if let Some(after) = &after {
                query.push(("after", after));
            }
            let mut page = self.get(path, &query).await?;
            if let Some(Value::Array(more)) = page.get_mut("items").map(Value::take) {
                items.extend(more);
            }
            match page.get("next").and_then(Value::as_str) {
                Some(next) => after = Some(next.to_owned()),
                None => return Ok(items),
            }
        }
    }

    /// The server-sent events at `path`, from after the event `last` on.
    ///
    /// # Errors
    /// As [`Client::get`]; the stream gives an error once when the connection breaks, and ends.
    pub async fn events(
        &self,
        path: &str,
        last: Option<&str>,
    ) -> Result<impl Stream<Item = Result<sse::Event, ClientError>> + use<>, ClientError> {
        let mut request = self
            .request(Method::GET, path, &[])?
            .timeout(Duration::MAX)
            .header(header::ACCEPT, "text/event-stream");
        if let Some(last) = last {
            request = request.header("Last-Event-ID", last);
        }
        let response = self.send(request).await?;
        let base = self.base.clone();
        let mut decoder = sse::Decoder::default();
        Ok(response.bytes_stream().flat_map(move |chunk| {
            futures::stream::iter(match chunk {
                Ok(bytes) => decoder.push(&bytes).into_iter().map(Ok).collect(),
                Err(error) => vec![Err(unreachable(&base, &error))],
            })
        }))
    }

    fn request(
        &self,
        method: Method,
        path: &str,
        query: &[(&str, &str)],
    ) -> Result<RequestBuilder, ClientError> {
        let mut url = Url::parse(&format!("{}{path}", self.base))
            .map_err(|_| ClientError::BadAddress(self.base.clone()))?;
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        let request = self.http.request(method, url).timeout(ANSWER_TIMEOUT);
        Ok(match &self.key {
            Some(key) => request.bearer_auth(key.expose_secret()),
            None => request,
        })
    }

    async fn send(&self, request: RequestBuilder) -> Result<Response, ClientError> {
        let response = request
            .send()
            .await
            .map_err(|error| unreachable(&self.base, &error))?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let body = response.bytes().await.unwrap_or_default();
        let mut problem: Problem =
            serde_json::from_slice(&body).unwrap_or_else(|_| Problem::bare(status));
        problem.status = status.as_u16();
        Err(ClientError::Problem(problem.into()))
    }

    async fn json(&self, response: Response) -> Result<Value, ClientError> {
        let body = response
            .bytes()
            .await
            .map_err(|error| unreachable(&self.base, &error))?;
        serde_json::from_slice(&body).map_err(|error| ClientError::NotOurs {
            base: self.base.clone(),
            reason: error.to_string(),
        })
    }
}

/// The innermost cause says what happened ("connection refused"); what is around it only says that something did.
fn unreachable(base: &str, error: &reqwest::Error) -> ClientError {
    let mut cause: &dyn std::error::Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    ClientError::Unreachable {
        base: base.into(),
        reason: if error.is_timeout() {
            "no answer in time".into()
        } else {
            cause.to_string()
        },
    }
}

/// One segment of a path, so that what a person typed cannot become another path.
pub fn segment(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                char::from(byte).to_string()
            }
            other => format!("%{other:02X}"),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_reads_as_detail_code_and_field() {
        let problem: Problem = serde_json::from_str(
            r#"{"type":"about:blank","status":422,"title":"t","detail":"no such node","code":"graph_invalid","field":"nodes[0]"}"#,
        )
        .unwrap();
        assert_eq!(
            problem.to_string(),
            "no such node (graph_invalid) [nodes[0]]"
        );
        let bare = Problem::bare(StatusCode::BAD_GATEWAY);
        assert_eq!(bare.to_string(), "502 Bad Gateway (http_502)");
    }

    #[test]
    fn addresses() {
        for good in ["http://127.0.0.1:7117", "https://tenure.example/base/"] {
            assert!(Client::new(good, None).is_ok(), "{good}");
        }
        for bad in ["", "localhost:7117", "ftp://x", "http://"] {
            assert!(Client::new(bad, None).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_segment_stays_one() {
        assert_eq!(segment("employee:x/y z"), "employee%3Ax%2Fy%20z");
    }
}
