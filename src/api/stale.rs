//! Answers that may be a little old, and say so: `Tenure-Read: replica; lag_ms=120`.

use crate::persistence::ReplicaLag;
use axum::{
    http::{HeaderName, HeaderValue},
    response::{IntoResponse, Response},
};

static TENURE_READ: HeaderName = HeaderName::from_static("tenure-read");

/// An answer, and how late the replica was from which it was read; `None`: it is from the primary.
pub struct Stale<T>(pub Option<ReplicaLag>, pub T);

impl<T: IntoResponse> IntoResponse for Stale<T> {
    fn into_response(self) -> Response {
        let Self(replica, answer) = self;
        let mut response = answer.into_response();
        if let Some(lag) = replica {
            response
                .headers_mut()
                .insert(TENURE_READ.clone(), read_from(lag));
        }
        response
    }
}

fn read_from(ReplicaLag(lag_ms): ReplicaLag) -> HeaderValue {
    let text = lag_ms.map(|lag_ms| format!("replica; lag_ms={lag_ms}"));
    { text }
        .and_then(|text| text.parse().ok())
        .unwrap_or(HeaderValue::from_static("replica"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_says_where_it_was_read() {
        let header = |replica| {
            let response = Stale(replica, "x").into_response();
            let value = response.headers().get("tenure-read");
            value.map(|value| value.to_str().unwrap().to_owned())
        };
        assert_eq!(header(None), None);
        let late = header(Some(ReplicaLag(Some(120))));
        assert_eq!(late.as_deref(), Some("replica; lag_ms=120"));
        let unknown = header(Some(ReplicaLag(None)));
        assert_eq!(unknown.as_deref(), Some("replica"));
    }
}
