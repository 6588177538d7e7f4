//! Texts and ids that come from outside.

use super::{
    ApiState,
    error::{ApiError, ApiResult, Problem},
};
use crate::{
    domain::{EmployeeId, OrgId},
    persistence::{EmployeeRow, Tx, employee_find, employee_get},
};
use axum::{
    extract::{FromRequestParts, Path as AxumPath},
    http::request::Parts,
};
use serde::de::DeserializeOwned;
use std::str::FromStr;

/// Parameters of the path.
pub struct Path<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned + Send> FromRequestParts<S> for Path<T> {
    type Rejection = ApiError;
    async fn from_request_parts(parts: &mut Parts, state: &S) -> ApiResult<Self> {
        AxumPath::from_request_parts(parts, state)
            .await
            .map(|AxumPath(value)| Self(value))
            .map_err(|error| ApiError::new(Problem::UnknownRoute, error.body_text()))
    }
}

/// An id of the path. One that cannot be is as unknown as one that is not there.
///
/// # Errors
/// `not_found`.
pub fn id<T: FromStr>(what: &str, text: &str) -> ApiResult<T> {
    text.parse().map_err(|_| ApiError::not_found(what, text))
}

/// A text that becomes part of a key or a name: not empty, without control characters.
///
/// # Errors
/// `invalid_field`.
pub fn short(field: &str, text: &str, max_chars: usize) -> ApiResult<()> {
    let fits = !text.trim().is_empty()
        && text.chars().count() <= max_chars
        && !text.chars().any(char::is_control);
    if fits {
        return Ok(());
    }
    Err(ApiError::field(
        field,
        format!("`{field}` must have 1 to {max_chars} characters and no control characters"),
    ))
}

/// The same for one that may be left out.
///
/// # Errors
/// `invalid_field`.
pub fn short_if(field: &str, text: Option<&str>, max_chars: usize) -> ApiResult<()> {
    text.map_or(Ok(()), |text| short(field, text, max_chars))
}

/// The employee that `text` names, by id or by name.
///
/// # Errors
/// `not_found`.
pub async fn employee(tx: &mut Tx, text: &str) -> ApiResult<EmployeeRow> {
    let found = match text.parse() {
        Ok(id) => employee_get(tx, id).await?,
        Err(_) => employee_find(tx, text).await?,
    };
    found.ok_or_else(|| ApiError::not_found("employee", text))
}

/// Its id; nothing is read if the text is one, so that the way of a trigger is short.
///
/// # Errors
/// `not_found` for a name that nobody has.
pub async fn employee_id(api: &ApiState, org: OrgId, text: &str) -> ApiResult<EmployeeId> {
    if let Ok(id) = text.parse() {
        return Ok(id);
    }
    let mut tx = api.db().begin_read(org).await?;
    Ok(employee(&mut tx, text).await?.id)
}

/// The employee of a filter; `None` in the answer: the list is empty, since there is no such employee.
///
/// # Errors
/// If the database cannot be read.
pub async fn employee_filter(
    tx: &mut Tx,
    text: Option<&str>,
) -> ApiResult<Option<Option<EmployeeId>>> {
    let Some(text) = text else {
        return Ok(Some(None));
    };
    if let Ok(id) = text.parse() {
        return Ok(Some(Some(id)));
    }
    Ok(employee_find(tx, text).await?.map(|row| Some(row.id)))
}

/// A stored JSON text as JSON; `null` for one that is none.
pub fn json(text: Option<&str>) -> serde_json::Value {
    text.and_then(|text| serde_json::from_str(text).ok())
        .unwrap_or_default()
}
