//! Reading request bodies: their size, their type, and what is wrong with them, by field.

use super::{
    body_room::{Hold, NoRoom},
    error::{ApiError, ApiResult, Problem},
    json_path::{offset_of, path_at},
    server::bodies::TooSlow,
};
use crate::{domain::strict_json, graph::yaml_to_value};
use axum::{
    body::{Body, Bytes},
    extract::{FromRequest, Request},
    http::{HeaderMap, header},
};
use bytes::BytesMut;
use http_body_util::BodyExt;
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::time::Duration;

/// The largest body of a request, in bytes.
pub const BODY_MAX: usize = 1024 * 1024;
/// How much of a body that is too large is read before the connection is given up.
const DRAIN_MAX: usize = 16 * 1024 * 1024;
/// However fast it comes (the server has a floor for that), a body takes no longer than this.
const BODY_TIME: Duration = Duration::from_secs(300);

/// A JSON body of a known shape.
pub struct Json<T>(pub T);

/// The same, or YAML with `content-type: application/yaml`.
pub struct JsonOrYaml<T>(pub T);

/// A body as it came.
pub struct Raw(pub Bytes);

impl<S: Sync, T: DeserializeOwned> FromRequest<S> for Json<T> {
    type Rejection = ApiError;
    async fn from_request(request: Request, _: &S) -> ApiResult<Self> {
        let kind = media_type(request.headers());
        if !is_json(kind) {
            return Err(unsupported(kind, "application/json"));
        }
        plain(request.headers())?;
        let bytes = read(request).await?;
        from_json(&bytes).map(Json)
    }
}

impl<S: Sync, T: DeserializeOwned> FromRequest<S> for JsonOrYaml<T> {
    type Rejection = ApiError;
    async fn from_request(request: Request, _: &S) -> ApiResult<Self> {
        let kind = media_type(request.headers());
        let yaml = matches!(
            kind,
            "application/yaml" | "application/x-yaml" | "text/yaml"
        );
        if !yaml && !is_json(kind) {
            return Err(unsupported(kind, "application/json or application/yaml"));
        }
        plain(request.headers())?;
        let bytes = read(request).await?;
        match yaml {
            true => from_yaml(&bytes).map(JsonOrYaml),
            false => from_json(&bytes).map(JsonOrYaml),
        }
    }
}

impl<S: Sync> FromRequest<S> for Raw {
    type Rejection = ApiError;
    async fn from_request(request: Request, _: &S) -> ApiResult<Self> {
        read(request).await.map(Raw)
    }
}

/// The body, or the default if there is none: for requests that say all in their path.
pub struct OptionalJson<T>(pub T);

impl<S: Sync, T: DeserializeOwned + Default> FromRequest<S> for OptionalJson<T> {
    type Rejection = ApiError;
    async fn from_request(request: Request, _: &S) -> ApiResult<Self> {
        let kind = media_type(request.headers()).to_owned();
        plain(request.headers())?;
        let bytes = read(request).await?;
        if bytes.is_empty() {
            return Ok(Self(T::default()));
        }
        if !is_json(&kind) {
            return Err(unsupported(&kind, "application/json"));
        }
        from_json(&bytes).map(Self)
    }
}

fn media_type(headers: &HeaderMap) -> &str {
    let value = headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    value.split(';').next().unwrap_or_default().trim()
}

fn is_json(kind: &str) -> bool {
    kind.eq_ignore_ascii_case("application/json")
        || (kind.starts_with("application/") && kind.ends_with("+json"))
}

fn unsupported(kind: &str, wanted: &str) -> ApiError {
    let found = if kind.is_empty() { "none" } else { kind };
    ApiError::new(
        Problem::UnsupportedMediaType,
        format!("the content-type is {found}; it must be {wanted}"),
    )
}

/// # Errors
/// `unsupported_media_type` for a body that is packed: it is asked for as it is.
fn plain(headers: &HeaderMap) -> ApiResult<()> {
    let codings = headers.get_all(header::CONTENT_ENCODING).iter();
    let mut codings = codings.map(|line| line.to_str().unwrap_or("?").trim());
    match codings.find(|coding| !coding.is_empty() && !coding.eq_ignore_ascii_case("identity")) {
        None => Ok(()),
        Some(coding) => {
            let detail =
                format!("the content-encoding is {coding}; bodies are taken without one here");
            Err(ApiError::new(Problem::UnsupportedMediaType, detail).accept_encoding("identity"))
        }
    }
}

/// The body of a request. What is read of it is counted with whoever sends it ([`super::body_room`]).
///
/// # Errors
/// `payload_too_large`, `body_timeout`; `unavailable` where there is no room for it now.
pub async fn read(request: Request) -> ApiResult<Bytes> {
    let hold = request.extensions().get::<Hold>().cloned();
    let gathering = gather(request.into_body(), hold.as_ref());
    match tokio::time::timeout(BODY_TIME, gathering).await {
        Ok(Ok(body)) => Ok(body),
        Ok(Err(Cut::TooLarge)) => Err(ApiError::new(
            Problem::PayloadTooLarge,
            format!("the body has more than {BODY_MAX} bytes"),
        )
        .with("limit_bytes", BODY_MAX)),
        Ok(Err(Cut::NoRoom(why))) => Err(why.into()),
        Ok(Err(Cut::Slow(why))) => Err(ApiError::new(Problem::BodyTimeout, why.to_string())),
        Ok(Err(Cut::Broken)) => Err(ApiError::new(Problem::BodyTimeout, "the body was cut off")),
        Err(_) => Err(ApiError::new(
            Problem::BodyTimeout,
            format!("the body did not come within {}s", BODY_TIME.as_secs()),
        )),
    }
}

/// Why there is no body.
enum Cut {
    TooLarge,
    NoRoom(NoRoom),
    Slow(TooSlow),
    Broken,
}

/// All of a body. One that is not taken is read on and thrown away: a server that answers and closes while its client still sends resets
/// the connection, and the client never sees why.
async fn gather(mut body: Body, hold: Option<&Hold>) -> Result<Bytes, Cut> {
    let mut seen = 0;
    let mut first = Bytes::new();
    let mut all = BytesMut::new();
    let mut refused = None;
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(cut)?.into_data() else {
            continue;
        };
        seen += data.len();
        if seen > BODY_MAX {
            refused = Some(Cut::TooLarge);
        } else if refused.is_none() {
            let taken = hold.map_or(Ok(()), |hold| hold.take(data.len()));
            refused = taken.err().map(Cut::NoRoom);
        }
        if seen > DRAIN_MAX {
            break;
        } else if refused.is_some() {
            (first, all) = (Bytes::new(), BytesMut::new());
            hold.inspect(|hold| hold.give_back());
        } else if seen == data.len() {
            // Most bodies come in one piece, which needs no copy.
            first = data;
        } else {
            if all.is_empty() {
                all.extend_from_slice(&first);
            }
            all.extend_from_slice(&data);
        }
    }
    match (refused, all.is_empty()) {
        (Some(refused), _) => Err(refused),
        (None, true) => Ok(first),
        (None, false) => Ok(all.freeze()),
    }
}

/// How deep a body may nest: what is deeper could not be read again from where it is kept, with what is put around it there.
const DEPTH_MAX: usize = 100;
/// What a body may become in memory: each value one, each object with something in it sixteen more.
const COST_MAX: usize = 1_200_000;

/// # Errors
/// `malformed_json`, if it nests too deep or would become too many values. Looks at the brackets alone, before anything is built.
fn check_cost(bytes: &[u8]) -> ApiResult<()> {
    let (mut depth, mut cost) = (0usize, 1usize);
    let (mut in_text, mut escaped) = (false, false);
    for byte in bytes {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_text => escaped = true,
            b'"' => in_text = !in_text,
            _ if in_text => {}
            b'[' | b'{' => {
                depth += 1;
                cost += if *byte == b'{' { 17 } else { 1 };
                if depth > DEPTH_MAX {
                    let text = format!("the body nests deeper than {DEPTH_MAX} levels");
                    return Err(ApiError::new(Problem::MalformedJson, text));
                }
            }
            b']' | b'}' => depth = depth.saturating_sub(1),
            b',' => cost += 1,
            _ => {}
        }
    }
    if cost > COST_MAX {
        return Err(ApiError::new(
            Problem::PayloadTooLarge,
            "the body has too many values: at most some 1,000,000, or 70,000 objects",
        ));
    }
    Ok(())
}

fn cut(error: axum::Error) -> Cut {
    match error.into_inner().downcast_ref::<TooSlow>() {
        Some(why) => Cut::Slow(*why),
        None => Cut::Broken,
    }
}

/// # Errors
/// `malformed_json` with line and column, or `invalid_field` with the field.
pub fn from_json<T: DeserializeOwned>(bytes: &[u8]) -> ApiResult<T> {
    check_cost(bytes)?;
    let read = strict_json::from_slice(bytes).map_err(|error| {
        let (line, column) = (error.line(), error.column());
        if error.is_data() {
            let path = path_at(bytes, offset_of(bytes, line, column));
            return wrong_field(&error.to_string(), &path);
        }
        ApiError::new(Problem::MalformedJson, error.to_string())
            .with("line", line)
            .with("column", column)
    })?;
    match zero_character(bytes) {
        Some(field) => Err(ApiError::field(
            &field,
            format!("`{field}` must not contain the character U+0000"),
        )),
        None => Ok(read),
    }
}

/// Fields that hold whatever JSON somebody works with; it is stored as JSON, which has an escape for every character.
const FREE: [&str; 3] = ["payload", "value", "input"];
/// Fields whose own checks say more of what is wrong.
const CHECKED: [&str; 1] = ["subscriptions"];

/// Where a body has a text with U+0000, which no text column of PostgreSQL takes.
fn zero_character(bytes: &[u8]) -> Option<String> {
    // Nearly no body has the escape at all.
    let escape = b"\\u0000";
    bytes.windows(escape.len()).find(|part| part == escape)?;
    let Ok(Value::Object(fields)) = serde_json::from_slice(bytes) else {
        return None;
    };
    let mut fields = fields
        .iter()
        .filter(|(name, _)| !FREE.contains(&name.as_str()) && !CHECKED.contains(&name.as_str()));
    fields.find_map(|(name, value)| zero_below(name.replace('\0', "\u{fffd}"), name, value))
}

/// The path of the first text at or below `path` that has one.
fn zero_below(path: String, name: &str, value: &Value) -> Option<String> {
    if name.contains('\0') {
        return Some(path);
    }
    match value {
        Value::String(text) => text.contains('\0').then_some(path),
        Value::Array(items) => {
            let mut items = items.iter().enumerate();
            items.find_map(|(place, item)| zero_below(format!("{path}[{place}]"), "", item))
        }
        Value::Object(fields) => fields.iter().find_map(|(name, value)| {
            let shown = name.replace('\0', "\u{fffd}");
            zero_below(format!("{path}.{shown}"), name, value)
        }),
        _ => None,
    }
}

fn from_yaml<T: DeserializeOwned>(bytes: &[u8]) -> ApiResult<T> {
    let malformed = |text: String| ApiError::new(Problem::MalformedYaml, text);
    let text = std::str::from_utf8(bytes).map_err(|_| malformed("the body is not UTF-8".into()))?;
    let value = yaml_to_value(text).map_err(malformed)?;
    // Once more through text, so that a wrong field has a place.
    from_json(&serde_json::to_vec(&value).map_err(|error| malformed(error.to_string()))?)
}

/// `message` is serde's, `path` that of the value at which it gave up.
fn wrong_field(message: &str, path: &str) -> ApiError {
    let message = match message.rfind(" at line ") {
        Some(end) => &message[..end],
        None => message,
    };
    let field = match named_field(message) {
        // Both are told at the object that has or lacks the field; an unknown one is the last that was read.
        Some(name) if path == name || path.ends_with(&format!(".{name}")) => path.to_owned(),
        Some(name) if path.is_empty() => name.to_owned(),
        Some(name) => format!("{path}.{name}"),
        None => path.to_owned(),
    };
    match field.is_empty() {
        true => ApiError::new(Problem::InvalidField, message),
        false => ApiError::field(&field, format!("field `{field}`: {message}")),
    }
}

/// The field of "unknown field `x`, …" and "missing field `x`".
pub fn named_field(message: &str) -> Option<&str> {
    let rest = message
        .strip_prefix("unknown field `")
        .or_else(|| message.strip_prefix("missing field `"))?;
    rest.split('`').next()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only its shape matters")]
    struct Outer {
        name: String,
        #[serde(default)]
        inner: Vec<Inner>,
    }
    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only its shape matters")]
    struct Inner {
        count: u32,
    }

    #[test]
    fn a_body_that_nests_deep_or_has_many_values_is_refused_before_it_is_built() {
        let nested = |open: &str, close: &str, count: usize| {
            format!("{}1{}", open.repeat(count), close.repeat(count))
        };
        for (text, expected) in [
            (nested("[", "]", 100), None),
            (nested("[", "]", 101), Some(Problem::MalformedJson)),
            (nested("{\"a\":", "}", 120), Some(Problem::MalformedJson)),
            (
                format!("[{}]", "{\"a\":1},".repeat(100_000)),
                Some(Problem::PayloadTooLarge),
            ),
            (format!("[\"{}\"]", "[{,\\\"".repeat(100_000)), None),
            (format!("[{}1]", "1,".repeat(500_000)), None),
        ] {
            let read = from_json::<serde_json::Value>(text.as_bytes());
            let found = read.err().map(|error| error.problem());
            assert_eq!(found, expected, "{}", &text[..20]);
        }
    }

    #[test]
    fn errors_name_the_field() {
        let cases = [
            (r#"{"name":5}"#, "name"),
            (r#"{"nam":"x"}"#, "nam"),
            (r#"{}"#, "name"),
            (
                r#"{"name":"x","inner":[{"count":1},{"count":-1}]}"#,
                "inner[1].count",
            ),
            (r#"{"name":"x","inner":[{"size":1}]}"#, "inner[0].size"),
            (r#"{"name":"x","inner":[{}]}"#, "inner[0].count"),
        ];
        for (text, field) in cases {
            let error = from_json::<Outer>(text.as_bytes()).expect_err(text);
            assert!(
                format!("{error:?}").contains(&format!("field: Some(\"{field}\")")),
                "{text}: {error:?}"
            );
        }
        for (text, field) in [
            (r#"{"name":"a\u0000"}"#, "name"),
            (r#"{"a":[{"b":"\u0000"}]}"#, "a[0].b"),
            (r#"{"a":{"b\u0000":1}}"#, "a.b\u{fffd}"),
        ] {
            let error = from_json::<Value>(text.as_bytes()).expect_err(text);
            assert!(
                format!("{error:?}").contains(&format!("field: Some({field:?})")),
                "{text}: {error:?}"
            );
        }
        for text in [
            r#"{"payload":{"a":"\u0000"},"value":"\u0000","input":["\u0000"]}"#,
            r#"{"name":"a\\u0000"}"#,
        ] {
            assert!(from_json::<Value>(text.as_bytes()).is_ok(), "{text}");
        }
        let error = from_json::<Outer>(b"{\"name\": }").expect_err("no value");
        assert_eq!(error.problem(), Problem::MalformedJson);
    }
}
