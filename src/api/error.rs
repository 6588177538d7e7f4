//! Every error that the edge can answer, in one table: its code, its HTTP status, its public title; and how the errors of the rooms
//! below become one of them. The answers are problem details (RFC 9457).

use super::front;
use crate::{
    actors::{
        JournalError,
        employee::EmployeeError,
        hub::{HubError, credentials::CredentialError, keys::KeysError},
        ingest::DoorError,
        inspect::InspectError,
        router::RouteError,
        staff::StaffError,
    },
    connect::{SealError, VaultError},
    persistence::DbError,
};
use axum::{
    body::Body,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use serde_json::{Map, Value, json};

macro_rules! problems {
    ($($variant:ident $status:literal $code:literal $title:literal,)*) => {
        /// What can go wrong, as clients know it. Codes are a contract: add, never change.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Problem { $($variant),* }
        impl Problem {
            pub const ALL: &'static [Problem] = &[$(Problem::$variant),*];
            pub fn status(self) -> StatusCode {
                let number = match self { $(Problem::$variant => $status),* };
                StatusCode::from_u16(number).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
            }
            pub fn code(self) -> &'static str {
                match self { $(Problem::$variant => $code),* }
            }
            pub fn title(self) -> &'static str {
                match self { $(Problem::$variant => $title),* }
            }
        }
    };
}

problems! {
    MalformedJson        400 "malformed_json"        "The body is not JSON",
    MalformedYaml        400 "malformed_yaml"        "The body is not YAML",
    InvalidParameter     400 "invalid_parameter"     "A query parameter is wrong",
    InvalidHost          400 "invalid_host"          "The request does not say which host it is for",
    InvalidState         400 "invalid_state"         "The consent cannot be ended",
    BadWebhook           400 "bad_webhook"           "The webhook's headers are missing or wrong",
    Unauthorized         401 "unauthorized"          "A valid API key is needed",
    KeyExpired           401 "key_expired"           "The API key has expired",
    InvalidSignature     401 "invalid_signature"     "The webhook's signature does not fit",
    Forbidden            403 "forbidden"             "The API key's role may not do this",
    NotFound             404 "not_found"             "There is no such thing in this organisation",
    UnknownRoute         404 "unknown_route"         "There is no such route",
    MethodNotAllowed     405 "method_not_allowed"    "The route does not know this method",
    BodyTimeout          408 "body_timeout"          "The body did not come in time",
    NameTaken            409 "name_taken"            "The name is taken",
    AlreadyExists        409 "already_exists"        "It exists already",
    VersionConflict      409 "version_conflict"      "Somebody else changed it first",
    EmployeeDismissed    409 "employee_dismissed"    "The employee has been dismissed",
    ConversationBusy     409 "conversation_busy"     "The conversation has an unfinished run",
    NotClustered         409 "not_clustered"         "The service is one node alone",
    NodeGone             409 "node_gone"             "The node is not in the cluster any more",
    LastNode             409 "last_node"             "No other node could take its place",
    RunNotOpen           409 "run_not_open"          "The run is not open",
    ArgumentsChanged     409 "arguments_changed"     "The decision is about other arguments",
    ApprovalNotPending   409 "approval_not_pending"  "The approval has been decided or withdrawn",
    ApprovalExpired      409 "approval_expired"      "The approval has expired",
    NotConfigured        409 "not_configured"        "Something has to be set up first",
    OtherAccount         409 "other_account"         "It is another account than before",
    NotReplayable        409 "not_replayable"        "The event cannot be given again",
    IdempotencyConflict  409 "idempotency_conflict"  "The idempotency key was used for something else",
    Ambiguous            409 "AMBIGUOUS"             "Nobody can tell whether the write happened",
    PolicyDenied         403 "POLICY_DENIED"         "The org's rules forbid the call",
    ApprovalDenied       403 "APPROVAL_DENIED"       "A person has denied the call",
    BadParams            422 "BAD_PARAMS"            "The input does not fit the capability",
    AuthError            424 "AUTH_ERROR"            "The account is missing or not accepted",
    RateLimit            429 "RATE_LIMIT"            "The provider or the queue before it has no room now",
    ProviderError        502 "PROVIDER_ERROR"        "The provider failed or refused",
    Timeout              504 "TIMEOUT"               "The call was not over in time",
    InUse                409 "in_use"                "Something else still needs it",
    EffectNotAmbiguous   409 "effect_not_ambiguous"  "The effect needs no reconciliation",
    PayloadTooLarge      413 "payload_too_large"     "The body is too large",
    UnsupportedMediaType 415 "unsupported_media_type" "The body's type is not understood",
    InvalidField         422 "invalid_field"         "A field of the body is wrong",
    InvalidGraph         422 "invalid_graph"         "The graph does not compile",
    InvalidSchedule      422 "invalid_schedule"      "A schedule is wrong",
    InvalidSubscription  422 "invalid_subscription"  "A subscription is wrong",
    NothingUnderstood    422 "nothing_understood"    "Nothing in the job description was understood",
    ProviderRefused      422 "provider_refused"      "The provider does not accept it",
    UnknownSkill         422 "unknown_skill"         "The employee has no such skill",
    QueueFull            429 "queue_full"            "Too many runs wait for this employee",
    RateLimited          429 "rate_limited"          "Too many attempts",
    TooManyStreams       429 "too_many_streams"      "Too many event streams are open",
    Internal             500 "internal"              "Something went wrong here",
    Unavailable          503 "unavailable"           "The service cannot do this at the moment",
}

/// The member of a problem that says what is known of the request: [`NOT_DONE`], or [`UNKNOWN`].
pub const OUTCOME: &str = "outcome";
pub const NOT_DONE: &str = "not_done";
pub const UNKNOWN: &str = "unknown";

/// What the answer says, for those who have to add to it.
#[derive(Clone)]
pub struct ProblemBody(pub Value);

/// An answer that is an error.
#[derive(Debug)]
pub struct ApiError(Box<Inner>);

#[derive(Debug)]
struct Inner {
    problem: Problem,
    detail: String,
    field: Option<String>,
    errors: Vec<Value>,
    more: Map<String, Value>,
    retry_after_s: Option<u32>,
    accept_encoding: Option<&'static str>,
}

pub type ApiResult<T> = Result<T, ApiError>;

impl ApiError {
    /// `detail` is read by people: a sentence on this very case.
    pub fn new(problem: Problem, detail: impl Into<String>) -> Self {
        Self(Box::new(Inner {
            problem,
            detail: detail.into(),
            field: None,
            errors: Vec::new(),
            more: Map::new(),
            retry_after_s: None,
            accept_encoding: None,
        }))
    }

    pub fn not_found(what: &str, id: &str) -> Self {
        Self::new(Problem::NotFound, format!("{what} `{id}` not found"))
    }

    /// A field of the body; `field` as a path such as `schedules[0].cron`.
    pub fn field(field: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::new(Problem::InvalidField, detail).at(field)
    }

    pub fn parameter(name: &str, detail: impl Into<String>) -> Self {
        Self::new(Problem::InvalidParameter, detail).at(name)
    }

    /// Something that is nobody's fault outside: told to the log, not to the client.
    pub fn internal(error: impl std::fmt::Display) -> Self {
        tracing::error!(%error, "request failed");
        Self::new(Problem::Internal, "the error has been logged")
    }

    pub fn at(mut self, field: impl Into<String>) -> Self {
        self.0.field = Some(field.into());
        self
    }

    pub fn with_errors<T: Serialize>(mut self, errors: impl IntoIterator<Item = T>) -> Self {
        self.0.errors = errors
            .into_iter()
            .filter_map(|error| serde_json::to_value(error).ok())
            .collect();
        self
    }

    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.0.more.insert(name.into(), value.into());
        self
    }

    pub fn retry_after(mut self, seconds: u32) -> Self {
        self.0.retry_after_s = Some(seconds);
        self
    }

    /// Which content codings would be taken (RFC 9110, section 12.5.3).
    pub fn accept_encoding(mut self, codings: &'static str) -> Self {
        self.0.accept_encoding = Some(codings);
        self
    }

    /// Whatever was asked for, nothing came of it.
    #[must_use]
    pub fn nothing_done(self) -> Self {
        self.with(OUTCOME, NOT_DONE)
    }

    pub fn problem(&self) -> Problem {
        self.0.problem
    }

    pub fn detail(&self) -> &str {
        &self.0.detail
    }

    /// The same error twice: as an answer, and as a page.
    pub fn from_hub(error: &HubError) -> Self {
        let text = error.to_string();
        match error {
            HubError::Db(error) if error.is_transient() => Self::unavailable(error),
            HubError::Db(DbError::Stale(what)) => Self::from(DbError::Stale(what)),
            HubError::Db(DbError::Fenced) => Self::unavailable(error),
            HubError::Vault(error) if error.is_transient() => Self::unavailable(error),
            HubError::Credential(error) if error.is_transient() => Self::unavailable(error),
            HubError::Db(_)
            | HubError::Vault(_)
            | HubError::Credential(_)
            | HubError::NoRandomness(_) => Self::internal(text),
            HubError::NoIntegration(_) => Self::field("integration", text),
            HubError::NoWay { .. } => Self::field("way", text),
            HubError::BadParams(bad) => Self::field(bad.field.clone(), text),
            HubError::Misconfigured(_) => Self::new(Problem::NotConfigured, text),
            HubError::RedirectUri(_) => Self::field("redirect_uri", text),
            HubError::Refused(_) => Self::new(Problem::ProviderRefused, text),
            HubError::OtherAccount { .. } => Self::new(Problem::OtherAccount, text),
            HubError::Unavailable(_) => Self::new(Problem::Unavailable, text).retry_after(5),
            HubError::Gone(_) => Self::new(Problem::NotFound, text),
        }
    }

    /// As a line of a stream that it ends: `{"problem": …}`.
    pub fn in_line(&self) -> String {
        format!("{}\n", json!({"problem": self.body()}))
    }

    fn unavailable(error: &dyn std::fmt::Display) -> Self {
        tracing::warn!(%error, "unavailable");
        Self::new(
            Problem::Unavailable,
            "the service cannot do this at the moment",
        )
        .retry_after(1)
    }

    /// Sent to a node that is here for other work.
    pub fn not_for_this_node() -> Self {
        let detail =
            "this node takes no requests (it has no role `api`); another node of the cluster does";
        Self::new(Problem::Unavailable, detail)
            .retry_after(1)
            .nothing_done()
    }

    pub fn database_away() -> Self {
        Self::new(Problem::Unavailable, "the database cannot be reached").retry_after(1)
    }

    fn body(&self) -> Value {
        let inner = &self.0;
        let mut body = json!({
            "type": format!("urn:tenure:problem:{}", inner.problem.code()),
            "title": inner.problem.title(),
            "status": inner.problem.status().as_u16(),
            "code": inner.problem.code(),
            "detail": inner.detail,
        });
        if let Some(field) = &inner.field {
            body["field"] = json!(field);
        }
        if !inner.errors.is_empty() {
            body["errors"] = json!(inner.errors);
        }
        for (name, value) in &inner.more {
            body[name] = value.clone();
        }
        if let Some(id) = front::request_id() {
            body["request_id"] = json!(id);
        }
        body
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let body = self.body();
        let mut response = Response::new(Body::from(body.to_string()));
        *response.status_mut() = self.0.problem.status();
        if response.status().is_server_error() {
            // The guard knows whether anything may have come of the request.
            response.extensions_mut().insert(ProblemBody(body));
        }
        let headers = response.headers_mut();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/problem+json"),
        );
        if matches!(self.0.problem, Problem::Unauthorized | Problem::KeyExpired) {
            headers.insert(
                header::WWW_AUTHENTICATE,
                HeaderValue::from_static("Bearer realm=\"tenure\""),
            );
        }
        if let Some(codings) = self.0.accept_encoding {
            headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static(codings));
        }
        if let Some(seconds) = self.0.retry_after_s {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

impl From<DbError> for ApiError {
    fn from(error: DbError) -> Self {
        match error {
            DbError::NotFound(what) => Self::new(Problem::NotFound, format!("{what} not found")),
            DbError::Duplicate(_) => Self::new(Problem::AlreadyExists, "it exists already"),
            DbError::Stale(what) => Self::new(
                Problem::VersionConflict,
                format!("the {what} was changed by somebody else; read it again"),
            ),
            DbError::Cursor => Self::parameter(
                "after",
                "`after` must be the `next` that a page of this list gave",
            ),
            error if error.is_transient() => {
                tracing::warn!(%error, "database unavailable");
                Self::database_away()
            }
            // The text is the database's, and names no field.
            DbError::Unstorable(why) => {
                tracing::warn!(why, "a value cannot be stored");
                Self::new(
                    Problem::InvalidField,
                    "a value cannot be stored: a text holds the character U+0000 or is too long, or a number is out of range",
                )
            }
            // Another node does it.
            error @ DbError::Fenced => Self::unavailable(&error),
            error => Self::internal(error),
        }
    }
}

impl From<RouteError> for ApiError {
    fn from(error: RouteError) -> Self {
        match error {
            RouteError::Db(error) => error.into(),
            RouteError::OtherPayload(run) => EmployeeError::OtherPayload(run).into(),
        }
    }
}

impl From<InspectError> for ApiError {
    fn from(error: InspectError) -> Self {
        match error {
            InspectError::Db(error) => error.into(),
            error @ InspectError::Broken { .. } => Self::internal(error),
        }
    }
}

impl From<JournalError> for ApiError {
    fn from(error: JournalError) -> Self {
        match error {
            JournalError::Rejected(_) => Self::internal(error),
            _ => Self::new(Problem::Unavailable, error.to_string()).retry_after(1),
        }
    }
}

impl From<DoorError> for ApiError {
    fn from(error: DoorError) -> Self {
        match error {
            DoorError::Db(error) => error.into(),
            other => Self::internal(other),
        }
    }
}

impl From<SealError> for ApiError {
    fn from(error: SealError) -> Self {
        Self::internal(error)
    }
}

impl From<VaultError> for ApiError {
    fn from(error: VaultError) -> Self {
        if error.is_transient() {
            tracing::warn!(%error, "the vault is unavailable");
            return Self::new(Problem::Unavailable, "the vault cannot be reached").retry_after(1);
        }
        Self::internal(error)
    }
}

impl From<CredentialError> for ApiError {
    fn from(error: CredentialError) -> Self {
        match error {
            CredentialError::Vault { source, .. } => source.into(),
            other => Self::internal(other),
        }
    }
}

impl From<HubError> for ApiError {
    fn from(error: HubError) -> Self {
        Self::from_hub(&error)
    }
}

impl From<KeysError> for ApiError {
    fn from(error: KeysError) -> Self {
        match error {
            KeysError::Db(error) => error.into(),
            KeysError::Vault(error) => error.into(),
            KeysError::Credential(error) => Self::internal(error),
        }
    }
}

impl From<EmployeeError> for ApiError {
    fn from(error: EmployeeError) -> Self {
        let problem = match &error {
            EmployeeError::Journal(inner) => return inner.clone().into(),
            EmployeeError::NotFound => Problem::NotFound,
            EmployeeError::OtherPayload(_) => Problem::IdempotencyConflict,
            EmployeeError::Dismissed => Problem::EmployeeDismissed,
            EmployeeError::RunNotOpen(_) => Problem::RunNotOpen,
            EmployeeError::ConversationBusy => Problem::ConversationBusy,
            EmployeeError::QueueFull => Problem::QueueFull,
            EmployeeError::UnknownSkill(_) => Problem::UnknownSkill,
            EmployeeError::NotPending => Problem::ApprovalNotPending,
            EmployeeError::Expired => Problem::ApprovalExpired,
            EmployeeError::OtherArguments => Problem::ArgumentsChanged,
            EmployeeError::TooLarge { .. } => Problem::PayloadTooLarge,
            EmployeeError::Overloaded
            | EmployeeError::Stopped
            | EmployeeError::NotWoken(_)
            | EmployeeError::NotHere
            | EmployeeError::Unreachable
            | EmployeeError::Suspended => Problem::Unavailable,
        };
        let api = match &error {
            // Its text is the database's.
            EmployeeError::NotWoken(why) => {
                tracing::warn!(%why, "employee could not be woken");
                Self::new(problem, "the employee could not be woken")
            }
            error => Self::new(problem, error.to_string()),
        };
        match problem {
            Problem::Unavailable
                if matches!(
                    error,
                    EmployeeError::Overloaded | EmployeeError::NotWoken(_)
                ) =>
            {
                api.retry_after(1).nothing_done()
            }
            Problem::Unavailable | Problem::QueueFull => api.retry_after(1),
            Problem::IdempotencyConflict => api.at("idempotency_key"),
            Problem::UnknownSkill => api.at("skill"),
            _ => api,
        }
    }
}

impl From<StaffError> for ApiError {
    fn from(error: StaffError) -> Self {
        let text = error.to_string();
        match error {
            StaffError::Graph(errors) => {
                Self::new(Problem::InvalidGraph, text).with_errors(errors.0)
            }
            StaffError::Plan(error) => {
                let api = match &error {
                    crate::hire::HireError::NothingUnderstood { not_understood } => {
                        Self::new(Problem::NothingUnderstood, text)
                            .with("not_understood", json!(not_understood))
                    }
                    _ => Self::new(Problem::InvalidField, text),
                };
                api.at(error.field())
            }
            StaffError::Field { field, .. } => Self::field(field, text),
            StaffError::Schedule { field, .. } => {
                Self::new(Problem::InvalidSchedule, text).at(field)
            }
            StaffError::Subscription { field, .. } => {
                Self::new(Problem::InvalidSubscription, text).at(field)
            }
            StaffError::NameTaken(_) => Self::new(Problem::NameTaken, text).at("name"),
            StaffError::NotFound => Self::new(Problem::NotFound, text),
            StaffError::Dismissed => Self::new(Problem::EmployeeDismissed, text),
            StaffError::Stale { .. } => Self::new(Problem::VersionConflict, text),
            StaffError::Version(error) => Self::internal(error),
            StaffError::Db(error) => error.into(),
        }
    }
}

/// What a request gets whose handler panicked.
pub fn panicked(what: Box<dyn std::any::Any + Send>) -> Response {
    let text = what
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| what.downcast_ref::<&str>().copied())
        .unwrap_or("no text");
    ApiError::internal(format_args!("a handler panicked: {text}")).into_response()
}

pub async fn unknown_route(uri: axum::http::Uri) -> ApiError {
    ApiError::new(
        Problem::UnknownRoute,
        format!(
            "there is no route `{}`; /openapi.json lists them",
            uri.path()
        ),
    )
}

/// The router adds `Allow`; whoever asks for it with OPTIONS gets nothing else.
pub async fn method_not_allowed(method: axum::http::Method, uri: axum::http::Uri) -> Response {
    if method == axum::http::Method::OPTIONS {
        return StatusCode::NO_CONTENT.into_response();
    }
    ApiError::new(
        Problem::MethodNotAllowed,
        format!("`{}` does not take {method}", uri.path()),
    )
    .into_response()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn codes_are_told_apart_and_agree_with_their_status() {
        let codes: BTreeSet<_> = Problem::ALL.iter().map(|problem| problem.code()).collect();
        assert_eq!(codes.len(), Problem::ALL.len());
        assert!(
            Problem::ALL
                .iter()
                .all(|problem| problem.status().as_u16() >= 400)
        );
    }

    #[test]
    fn a_problem_says_what_and_where() {
        let error = ApiError::field("name", "too long").with("limit", 100);
        let body = error.body();
        assert_eq!(body["code"], "invalid_field");
        assert_eq!(body["status"], 422);
        assert_eq!(body["field"], "name");
        assert_eq!(body["limit"], 100);
        assert!(body.get("errors").is_none());
    }
}
