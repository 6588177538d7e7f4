//! The catalog: which integrations there are and what each of them can do. Its files are checked when it is loaded, so that a
//! mistake in one is found at start (and in the tests), never in the middle of a run.

pub mod auth;
mod check;
mod file;
mod urls;
mod verify;

pub use auth::{AuthWay, PlacedSecret, Placement};
pub use file::{
    AccountField, AnswerRules, Idempotency, Limits, Pagination, Quota, QuotaHeaders, QuotaPer,
    ResetUnit, RetryRule, Risk,
};
pub use verify::Verify;

use crate::connect::{
    answer::AnswerSpec,
    request::{RequestTemplate, Step},
    resolve::Probe,
};
use jsonschema::Validator;
use serde_json::Value;
use std::{collections::BTreeMap, sync::Arc, time::Duration};

#[derive(rust_embed::RustEmbed)]
#[folder = "catalog/integrations"]
struct Files;

/// The published JSON Schema of an integration file.
pub const INTEGRATION_SCHEMA: &str =
    include_str!("../../../catalog/schema/integration.schema.json");

/// A mistake in a catalog file.
#[derive(Debug, thiserror::Error)]
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
    /// JSON Schema of the result.
    pub output: Value,
    pub idempotency: Idempotency,
    pub pagination: Option<Pagination>,
    /// How a call that surely had no effect is tried again.
    pub retry: RetryRule,
    /// A limit of its own, besides the integration's.
    pub quota: Option<Quota>,
    /// What a consent must have granted for it; empty: nothing in particular.
    pub scopes: Vec<String>,
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

/// All integrations.
#[derive(Debug)]
pub struct Catalog {
    integrations: Vec<Integration>,
    by_id: BTreeMap<String, Arc<Capability>>,
}

impl Catalog {
    /// The catalog that the binary was built with.
    ///
    /// # Errors
    /// The first mistake in one of its files; a test makes sure that there is none.
    pub fn embedded() -> Result<Self, CatalogError> {
        let mut names: Vec<_> = Files::iter()
            .filter(|name| name.ends_with(".yaml"))
            .collect();
        names.sort();
        let files: Vec<_> = names
            .iter()
            .filter_map(|name| Some((name.to_string(), Files::get(name)?)))
            .collect();
        let texts = files
            .iter()
            .map(|(name, file)| (name.as_str(), String::from_utf8_lossy(&file.data)));
        Self::from_yaml(texts)
    }

    /// A catalog from (file name, YAML) pairs.
    ///
    /// # Errors
    /// The first mistake: wrong YAML, against the published schema, an id that is taken, a template that cannot work.
    pub fn from_yaml<'a, Text: AsRef<str>>(
        files: impl IntoIterator<Item = (&'a str, Text)>,
    ) -> Result<Self, CatalogError> {
        let mut catalog = Self {
            integrations: Vec::new(),
            by_id: BTreeMap::new(),
        };
        for (name, text) in files {
            let integration = check::read(name, text.as_ref()).map_err(first)?;
            catalog.add(name, integration)?;
        }
        Ok(catalog)
    }

    fn add(&mut self, file: &str, integration: Integration) -> Result<(), CatalogError> {
        let taken = |place: &str| CatalogError {
            file: file.into(),
            place: place.into(),
            message: "the id is taken".into(),
        };
        if self.integration(&integration.id).is_some() {
            return Err(taken(&integration.id));
        }
        for capability in &integration.capabilities {
            if self
                .by_id
                .insert(capability.id.clone(), capability.clone())
                .is_some()
            {
                return Err(taken(&capability.id));
            }
        }
        self.integrations.push(integration);
        Ok(())
    }

    pub fn integrations(&self) -> &[Integration] {
        &self.integrations
    }
    pub fn integration(&self, id: &str) -> Option<&Integration> {
        self.integrations
            .iter()
            .find(|integration| integration.id == id)
    }
    pub fn capability(&self, id: &str) -> Option<&Arc<Capability>> {
        self.by_id.get(id)
    }
    /// In the order of their ids.
    pub fn capabilities(&self) -> impl Iterator<Item = &Arc<Capability>> {
        self.by_id.values()
    }
    pub fn facts(&self, id: &str) -> Option<CapabilityFacts<'_>> {
        self.by_id.get(id).map(|capability| capability.facts())
    }

    /// The known capability whose id is nearest to `id`, if one is near enough to be meant.
    pub fn nearest(&self, id: &str) -> Option<&str> {
        nearest(id, self.by_id.keys().map(String::as_str))
    }
}

fn first(mistakes: Vec<CatalogError>) -> CatalogError {
    let mut mistakes = mistakes.into_iter();
    mistakes
        .next()
        .expect("a file is refused for at least one mistake")
}

/// Reads one integration file without putting it into a catalog.
///
/// # Errors
/// All mistakes of the file.
pub fn read_integration(file: &str, text: &str) -> Result<Integration, Vec<CatalogError>> {
    check::read(file, text)
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
