//! Who operates the service: the orgs' keys, and what is of no org.
//!
//! An API key always belongs to an org, so the configuration says which org's keys are the operator's (`operator_org`); where it says
//! nothing, those of an only org are. Metrics have a token of their own besides (`metrics_token`), for a scraper that should be able to do
//! nothing else.

use super::{
    ApiState,
    auth::{Caller, bearer},
    error::{ApiError, ApiResult, Problem},
};
use crate::persistence::{PageRequest, org_get, org_list};
use axum::http::HeaderMap;
use secrecy::ExposeSecret;
use sha2::{Digest, Sha256};

/// `whose` begins the refusal, for example "the nodes are the operator's".
///
/// # Errors
/// `forbidden` unless the caller's org is the operator's.
pub async fn require(api: &ApiState, caller: &Caller, whose: &str) -> ApiResult<()> {
    let is_operator = match api.operator_org() {
        Some(operators) => {
            let mut tx = api.db().begin_read(caller.org).await?;
            let org = org_get(&mut tx).await?;
            org.is_some_and(|org| org.name == operators || org.id.to_string() == operators)
        }
        None => {
            let mut tx = api.db().begin_system_read("is there one org alone").await?;
            let orgs = org_list(&mut tx, &PageRequest::new(Some(2), None)?).await?;
            orgs.items.len() == 1
        }
    };
    if is_operator {
        return Ok(());
    }
    let detail = format!(
        "{whose}: this needs an API key of the org that `operator_org` of the service's configuration names (an only org need not be named)"
    );
    Err(ApiError::new(Problem::Forbidden, detail).with("org", "operator"))
}

/// Whether the request brings the `metrics_token` of the configuration.
pub fn has_metrics_token(api: &ApiState, headers: &HeaderMap) -> bool {
    let (Some(token), Some(given)) = (api.metrics_token(), bearer(headers)) else {
        return false;
    };
    // Hashes are compared, so that the time tells nothing of where they differ.
    Sha256::digest(given) == Sha256::digest(token.expose_secret())
}
