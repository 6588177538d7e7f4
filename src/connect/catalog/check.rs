//! From the text of an integration file to an [`Integration`], with the place of every mistake and what would be right.

mod account;
pub(super) mod answers;
mod auth;
mod capability;
mod pages;
mod paths;
mod probe;

use super::{
    CatalogError, INTEGRATION_SCHEMA, Integration, Verify,
    file::{IntegrationFile, VerifyFile},
};
use crate::connect::answer::AnswerSpec;
use capability::Common;
use paths::Paths;
use serde_json::{Map, Value};
use std::{
    collections::BTreeSet,
    sync::{Arc, LazyLock},
};

static SCHEMA: LazyLock<Result<jsonschema::Validator, String>> = LazyLock::new(|| {
    let schema: Value =
        serde_json::from_str(INTEGRATION_SCHEMA).map_err(|error| error.to_string())?;
    jsonschema::validator_for(&schema).map_err(|error| error.to_string())
});

/// Collects the mistakes of one file.
struct Report<'a> {
    file: &'a str,
    mistakes: Vec<CatalogError>,
}

impl Report<'_> {
    fn add(&mut self, place: impl Into<String>, message: impl Into<String>) {
        self.mistakes.push(CatalogError {
            file: self.file.into(),
            place: place.into(),
            message: message.into(),
        });
    }

    /// The value, or a mistake at `place`.
    fn take<Found>(&mut self, place: &str, found: Result<Found, String>) -> Option<Found> {
        found.map_err(|message| self.add(place, message)).ok()
    }
}

/// Reads one file, YAML or JSON.
///
/// # Errors
/// All its mistakes, in the order of the file as far as there is one; never an empty list.
pub(super) fn read(name: &str, text: &str) -> Result<Integration, Vec<CatalogError>> {
    let parsed = crate::domain::yaml::from_str(text);
    read_parsed(name, parsed)
}

/// Reads what is parsed already, or says why it is not.
///
/// # Errors
/// As [`read`].
pub(super) fn read_parsed(
    name: &str,
    parsed: Result<Value, String>,
) -> Result<Integration, Vec<CatalogError>> {
    let mut report = Report {
        file: name,
        mistakes: Vec::new(),
    };
    let integration = written(&mut report, parsed).and_then(|file| build(&mut report, file));
    match integration {
        Some(integration) if report.mistakes.is_empty() => Ok(integration),
        _ => Err(report.mistakes),
    }
}

/// The file as the published schema allows it.
fn written(report: &mut Report, parsed: Result<Value, String>) -> Option<IntegrationFile> {
    let value = report.take("/", parsed)?;
    let schema = report.take("schema", SCHEMA.as_ref().map_err(Clone::clone))?;
    for error in schema.iter_errors(&value) {
        report.add(error.instance_path().as_str(), explain(&error));
    }
    if !report.mistakes.is_empty() {
        return None;
    }
    report.take(
        "/",
        serde_json::from_value(value).map_err(|error| error.to_string()),
    )
}

/// What the schema says, without a long value that it quotes.
fn explain(error: &jsonschema::ValidationError) -> String {
    const LONGEST: usize = 300;
    let text = error.to_string();
    if text.chars().count() <= LONGEST {
        text
    } else {
        error.masked_with("what stands here").to_string()
    }
}

fn build(report: &mut Report, file: IntegrationFile) -> Option<Integration> {
    account::check(report, &file.account);
    let (quota, limits) = file.quota.split();
    let mut integration = Integration {
        id: file.id,
        name: file.name,
        docs: file.docs,
        base_url: file.base_url,
        auth: file.auth,
        verify: None,
        account: file.account,
        quota,
        limits,
        answers: file.answers,
        capabilities: Vec::new(),
    };
    auth::check(report, &integration);
    answers::check(report, &integration.answers);
    if let Some(described) = file.verify {
        let verify = verify(described, &integration, &file.headers);
        integration.verify = report.take("/verify", verify);
    }
    let mut ids = BTreeSet::new();
    let mut built = Vec::with_capacity(file.capabilities.len());
    let common = Common {
        integration: &integration,
        headers: &file.headers,
        retry: &file.retry,
    };
    for described in file.capabilities {
        let id = described.id.clone();
        if !ids.insert(id.clone()) {
            report.add(&id, "stands twice in the file");
        }
        let capability = capability::build(&common, described);
        built.extend(report.take(&id, capability).map(Arc::new));
    }
    integration.capabilities = built;
    Some(integration)
}

fn verify(
    file: VerifyFile,
    integration: &Integration,
    headers: &Map<String, Value>,
) -> Result<Verify, String> {
    let paths = Paths {
        input: &Value::Null,
        account: &integration.account,
        roots: &["account"],
        steps: &[],
        headers,
        base_url: &integration.base_url,
    };
    Ok(Verify {
        request: paths.request(&file.request)?,
        account_name: file.account_name,
        account_id: file.account_id,
        ok_status: file.ok_status,
        answer: Arc::new(AnswerSpec {
            quota: integration.limits.learn.clone().map(Arc::new),
            ..AnswerSpec::of(integration.answers.clone())
        }),
    })
}
