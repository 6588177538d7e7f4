//! From the text of an integration file to an [`Integration`], with the place of every mistake and what would be right.

mod account;
mod auth;
mod capability;
mod paths;

use super::{
    CatalogError, INTEGRATION_SCHEMA, Integration, Verify,
    file::{IntegrationFile, VerifyFile},
};
use crate::connect::answer::AnswerSpec;
use paths::Paths;
use serde_json::Value;
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

/// Reads one file.
///
/// # Errors
/// All its mistakes, in the order of the file as far as there is one; never an empty list.
pub(super) fn read(name: &str, text: &str) -> Result<Integration, Vec<CatalogError>> {
    let mut report = Report {
        file: name,
        mistakes: Vec::new(),
    };
    let integration = written(&mut report, text).and_then(|file| build(&mut report, file));
    match integration {
        Some(integration) if report.mistakes.is_empty() => Ok(integration),
        _ => Err(report.mistakes),
    }
}

/// The file as the published schema allows it.
fn written(report: &mut Report, text: &str) -> Option<IntegrationFile> {
    let parsed = serde_yaml_ng::from_str(text).map_err(|error| error.to_string());
    let value: Value = report.take("/", parsed)?;
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

/// What the schema says. Of an alternative that nothing fits it says only that; the branch that was meant tells more.
fn explain(error: &jsonschema::ValidationError) -> String {
    error.to_string()
}

fn build(report: &mut Report, file: IntegrationFile) -> Option<Integration> {
    account::check(report, &file.account);
    let (quota, limits) = file.quota.split();
    let mut integration = Integration {
        id: file.id,
        name: file.name,
        base_url: file.base_url,
        auth: file.auth,
        verify: None,
        account: file.account,
        quota,
        limits,
        capabilities: Vec::new(),
    };
    auth::check(report, &integration);
    let no_input = Value::Null;
    let paths = Paths {
        input: &no_input,
        account: &integration.account,
    };
    if let Some(described) = file.verify {
        integration.verify = report.take("/verify", verify(described, &file.answers, &paths));
    }
    let mut ids = BTreeSet::new();
    for described in file.capabilities {
        let id = described.id.clone();
        if !ids.insert(id.clone()) {
            report.add(&id, "stands twice in the file");
        }
        let built = capability::build(&integration, &file.answers, described);
        if let Some(capability) = report.take(&id, built) {
            integration.capabilities.push(Arc::new(capability));
        }
    }
    Some(integration)
}

fn verify(file: VerifyFile, answers: &super::AnswerRules, paths: &Paths) -> Result<Verify, String> {
    Ok(Verify {
        request: paths.request(&file.request)?,
        account_name: file.account_name,
        account_id: file.account_id,
        ok_status: file.ok_status,
        answer: Arc::new(AnswerSpec {
            rules: answers.clone(),
            write: false,
            output: None,
        }),
    })
}
