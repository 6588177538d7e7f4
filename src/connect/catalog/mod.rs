//! The catalog: which integrations there are and what each of them can do. Its files are checked when it is loaded, so that a
//! mistake in one is found at start (and in the tests), never in the middle of a run.

pub mod auth;
mod check;
mod example;
mod file;
mod raw;
mod shelf;
mod urls;
mod verify;

pub use auth::{AuthWay, PlacedSecret, Placement};
pub use file::{
    AccountField, AnswerRules, ErrorAt, Idempotency, Limits, Pagination, Quota, QuotaHeaders,
    QuotaPer, ResetUnit, RetryRule, Risk,
};
pub use shelf::Catalog;
pub use verify::{Verdict, VerifiedAccount, Verify};

use crate::{
    connect::{
        answer::AnswerSpec,
        request::{RequestTemplate, Step},
        resolve::Probe,
    },
    graph::Markup,
};
use jsonschema::Validator;
use serde::Serialize;
use serde_json::Value;
use std::{collections::BTreeMap, sync::Arc, time::Duration};

/// The published JSON Schema of an integration file.
pub const INTEGRATION_SCHEMA: &str =
    include_str!("../../../catalog/schema/integration.schema.json");

/// A mistake in a catalog file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, thiserror::Error)]
#[error("integration file {file}: {place}: {message}")]
pub struct CatalogError {
    pub file: String,
    /// A JSON pointer, or a capability's id.
    pub place: String,
    pub message: String,
}

/// An outside system.
#[derive(Debug)]
pub struct Integration {
    pub id: String,
    pub name: String,
    /// Where people find the provider's own words.
    pub docs: Option<String>,
    /// Where it is, unless an account says otherwise; may name fields of the account, see [`Integration::base_url_for`].
    /// No slash at the end.
    pub base_url: String,
    /// The ways in which an account can be authorised; at least one, the first is the default.
    pub auth: Vec<AuthWay>,
    /// The call that tells whether a credential works.
    pub verify: Option<Verify>,
    /// What a connection must know beside its token.
    pub account: Vec<AccountField>,
    pub quota: Quota,
    pub limits: Limits,
    /// How its errors are read.
    pub answers: AnswerRules,
    pub capabilities: Vec<Arc<Capability>>,
}

/// One thing that an integration can do.
#[derive(Debug)]
pub struct Capability {
    pub id: String,
    /// The id of its integration.
    pub integration: String,
    pub title: String,
    pub description: String,
    /// The permission that covers it; see [`Capability::is_covered_by`].
    pub permission: String,
    pub permission_aliases: Vec<String>,
    pub risk: Risk,
    /// Whether a call changes something outside, and so is an effect.
    pub write: bool,
    /// What a call takes from the integration's quota.
    pub cost: u32,
    /// JSON Schema of the arguments.
    pub input: Value,
    /// By argument: what its provider makes of the characters in it. Data in the arguments of an employee's step is escaped for it.
    pub markup: BTreeMap<String, Markup>,
    /// JSON Schema of the result.
    pub output: Value,
    pub idempotency: Idempotency,
    /// How long after the first sending the provider surely knows the key again, where it knows keys at all.
    pub key_valid_for: Option<Duration>,
    pub pagination: Option<Pagination>,
    /// How a call that surely had no effect is tried again.
    pub retry: RetryRule,
    /// A limit of its own, which then counts instead of the integration's.
    pub quota: Option<Quota>,
    /// What a consent must have granted for it; empty: nothing in particular.
    pub scopes: Vec<String>,
    /// Whether its arguments are a whole request; see [`Integration::raw`].
    pub(crate) raw: bool,
    pub(crate) account_fields: Arc<[AccountField]>,
    /// Where a token that was given as such travels.
    pub(crate) send: Placement,
    pub(crate) input_validator: Validator,
    pub(crate) steps: Arc<[Step]>,
    pub(crate) request: Arc<RequestTemplate>,
    pub(crate) answer: Arc<AnswerSpec>,
    pub(crate) probe: Option<Arc<Probe>>,
}

impl Integration {
    /// The way with this id, or the default one.
    pub fn way(&self, id: Option<&str>) -> Option<&AuthWay> {
        match id {
            None => self.auth.first(),
            Some(id) => self.auth.iter().find(|way| way.id() == id),
        }
    }

    /// The way of a token that somebody gave as such: the first that takes one, or else the default.
    pub fn pasted_way(&self) -> Option<&AuthWay> {
        let bearer = |way: &&AuthWay| matches!(way, AuthWay::Bearer(_));
        let ways = || self.auth.iter();
        ways()
            .find(bearer)
            .or_else(|| ways().find(|way| way.is_static()))
            .or(self.auth.first())
    }

    /// Where such a token travels.
    pub(crate) fn pasted_placement(&self) -> Placement {
        self.pasted_way()
            .and_then(|way| way.send().first())
            .cloned()
            .unwrap_or_else(|| Placement::authorization("Bearer "))
    }
}

impl Capability {
    /// Whether its answer may be something else than JSON, such as a file.
    pub fn is_download(&self) -> bool {
        self.answer.text && !self.write
    }

    /// Whether a skill that was given the permission `granted` may use this: it is the capability's permission, one of
    /// its other names, or the capability's own id.
    pub fn is_covered_by(&self, granted: &str) -> bool {
        granted == self.permission
            || granted == self.id
            || self.permission_aliases.iter().any(|alias| alias == granted)
    }

    /// All permissions that cover it, the proper one first.
    pub fn permissions(&self) -> impl Iterator<Item = &str> {
        [self.permission.as_str()]
            .into_iter()
            .chain(self.permission_aliases.iter().map(String::as_str))
            .chain([self.id.as_str()])
    }

    /// How long after a write was sent its probe can be relied on; zero if it has none.
    pub fn settle(&self) -> Duration {
        self.probe
            .as_ref()
            .map_or(Duration::ZERO, |probe| probe.settle)
    }

    pub fn facts(&self) -> CapabilityFacts<'_> {
        CapabilityFacts {
            id: &self.id,
            integration: &self.integration,
            permission: &self.permission,
            permission_aliases: &self.permission_aliases,
            write: self.write,
            risk: self.risk,
        }
    }
}

/// What the graph compiler and the planner must know of a capability.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CapabilityFacts<'a> {
    pub id: &'a str,
    pub integration: &'a str,
    pub permission: &'a str,
    pub permission_aliases: &'a [String],
    pub write: bool,
    pub risk: Risk,
}

/// Reads one integration file without putting it into a catalog.
///
/// # Errors
/// All mistakes of the file.
pub fn read_integration(file: &str, text: &str) -> Result<Integration, Vec<CatalogError>> {
    check::read(file, text)
}

/// What is wrong with requests that are shaped from the input schemas' own examples. A schema with patterns has examples, because
/// nobody can guess what fits.
pub fn example_mistakes(file: &str, integration: &Integration) -> Vec<CatalogError> {
    let account = example::account(&integration.account);
    let mut mistakes = Vec::new();
    for capability in &integration.capabilities {
        let key = capability.write.then_some("tnr_0123456789");
        for arguments in example::arguments(&capability.input) {
            if let Err(error) = crate::connect::shape(capability, &arguments, &account, key) {
                mistakes.push(CatalogError {
                    file: file.into(),
                    place: capability.id.clone(),
                    message: format!(
                        "no request can be shaped from {arguments}: {error}; give `examples` in `input`"
                    ),
                });
            }
        }
    }
    mistakes
}

/// Where a file may take errors for results: what is not said of the provider's answers, and what would be right. Such a file works.
pub fn answer_gaps(file: &str, integration: &Integration) -> Vec<CatalogError> {
    check::answers::gaps(file, integration)
}

/// As [`read_integration`], from JSON text.
///
/// # Errors
/// As [`read_integration`].
pub fn integration_from(file: &str, json: &str) -> Result<Integration, Vec<CatalogError>> {
    check::read_parsed(
        file,
        serde_json::from_str(json).map_err(|error| error.to_string()),
    )
}

/// The candidate with the smallest edit distance, if it is at most a third of the word, upper and lower case alike.
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // The work is quadratic, and nothing that long is a misspelling.
    if word.len() > 100 {
        return None;
    }
    let word = word.to_lowercase();
    let limit = word.chars().count().div_ceil(3);
    candidates
        .into_iter()
        .map(|candidate| (edit_distance(&word, &candidate.to_lowercase()), candidate))
        .filter(|(distance, _)| *distance <= limit)
        .min()
        .map(|(_, candidate)| candidate)
}

/// Levenshtein's distance, with one row of memory.
fn edit_distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (line, a) in left.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], line + 1);
        for (column, b) in right.iter().enumerate() {
            let replaced = diagonal + usize::from(a != *b);
            diagonal = row[column + 1];
            row[column + 1] = replaced.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[right.len()]
}

#[cfg(test)]
mod tests;
