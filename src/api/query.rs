//! Query parameters: unknown and wrong ones are refused by name, so that a misspelt filter never shows everything.

use super::{
    body::named_field,
    error::{ApiError, ApiResult},
    front::list_name,
};
use crate::persistence::{self, ListMark, PageRequest};
use axum::{
    extract::{FromRequestParts, Query as AxumQuery},
    http::request::Parts,
};
use schemars::JsonSchema;
use serde::{Deserialize, de::DeserializeOwned};

/// The parameters of a request. `T` must refuse unknown fields.
pub struct Query<T>(pub T);

impl<S: Sync, T: DeserializeOwned> FromRequestParts<S> for Query<T> {
    type Rejection = ApiError;
    async fn from_request_parts(parts: &mut Parts, _: &S) -> ApiResult<Self> {
        AxumQuery::try_from_uri(&parts.uri)
            .map(|AxumQuery(value)| Self(value))
            .map_err(|error| refuse(&error.body_text()))
    }
}

fn refuse(text: &str) -> ApiError {
    let text = text
        .strip_prefix("Failed to deserialize query string: ")
        .unwrap_or(text);
    // "limit: invalid digit found in string", "unknown field `x`, expected …", "x: unknown field `x`, …".
    let (path, message) = match text.split_once(": ") {
        Some((path, message)) if !path.contains(' ') => (path, message),
        _ => ("", text),
    };
    let name = named_field(message).unwrap_or(path);
    let message = message
        .replace("unknown field", "unknown parameter")
        .replace("missing field", "missing parameter");
    ApiError::parameter(name, format!("parameter `{name}`: {message}"))
}

/// No parameters at all.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NoQuery {}

/// Part of a list.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PageQuery {
    /// Items a page, from 1; more than 200 are never given. Default 50.
    pub limit: Option<u32>,
    /// The `next` of the page before.
    pub after: Option<String>,
}

/// # Errors
/// `invalid_parameter`.
pub fn page(limit: Option<u32>, after: Option<&str>) -> ApiResult<PageRequest> {
    if limit == Some(0) {
        return Err(ApiError::parameter("limit", "`limit` must be at least 1"));
    }
    Ok(PageRequest::of_list(this_list(), limit, after)?)
}

/// What stands in the cursors of the list that is being answered.
fn this_list() -> Option<ListMark> {
    list_name().map(|name| ListMark::new(&name))
}

/// The cursor of a place in the list that is being answered, for lists that are not read page by page from the database.
pub fn cursor(key: &[u8]) -> String {
    persistence::cursor(this_list(), key)
}

/// The place that a cursor says.
///
/// # Errors
/// `invalid_parameter` for what is no cursor of this list.
pub fn cursor_key(cursor: &str) -> ApiResult<Vec<u8>> {
    Ok(persistence::cursor_key(this_list(), cursor)?)
}

impl PageQuery {
    /// # Errors
    /// `invalid_parameter`.
    pub fn request(&self) -> ApiResult<PageRequest> {
        page(self.limit, self.after.as_deref())
    }
}

/// A filter whose value is one of some words.
///
/// # Errors
/// `invalid_parameter` with the words.
pub fn word<T>(
    name: &str,
    value: Option<&str>,
    parse: impl Fn(&str) -> Option<T>,
    words: &[&str],
) -> ApiResult<Option<T>> {
    value
        .map(|text| {
            parse(text).ok_or_else(|| {
                ApiError::parameter(
                    name,
                    format!(
                        "`{name}` is `{text}`; it must be one of {}",
                        words.join(", ")
                    ),
                )
            })
        })
        .transpose()
}

/// A filter whose value is an id.
///
/// # Errors
/// `invalid_parameter`.
pub fn id<T: std::str::FromStr<Err = crate::domain::ids::IdError>>(
    name: &str,
    value: Option<&str>,
) -> ApiResult<Option<T>> {
    value
        .map(|text| {
            text.parse().map_err(|error| {
                ApiError::parameter(name, format!("`{name}` is `{text}`: {error}"))
            })
        })
        .transpose()
}
