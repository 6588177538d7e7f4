//! One capability of a file.

use super::{answers, pages, paths::Paths, probe};
use crate::connect::{
    answer::AnswerSpec,
    catalog::{
        AnswerRules, Capability, Idempotency, Integration, RetryRule,
        file::{CapabilityFile, StepFile},
    },
    request::{RequestTemplate, Step},
};
use serde_json::{Map, Value};
use std::sync::Arc;

/// What the file says for all of its capabilities.
pub(super) struct Common<'a> {
    pub integration: &'a Integration,
    pub headers: &'a Map<String, Value>,
    pub retry: &'a RetryRule,
}

pub(super) fn build(common: &Common, file: CapabilityFile) -> Result<Capability, String> {
    let owner = common.integration;
    check_frame(owner, &file)?;
    let input_validator =
        jsonschema::validator_for(&file.input).map_err(|error| format!("input: {error}"))?;
    jsonschema::validator_for(&file.output).map_err(|error| format!("output: {error}"))?;
    check_examples(&file.input, &input_validator)?;
    answers::check_places(&file.error, file.requires.as_deref().unwrap_or_default())?;
    check_markup(&file)?;
    if let Some(pagination) = &file.pagination {
        pages::check(pagination, &file.input, &file.output)?;
    }
    let retry = file.retry.unwrap_or_else(|| common.retry.clone());
    let own = (!file.error.is_empty()).then_some(&file.error);
    let rules = AnswerRules {
        error: match (&owner.answers.error, own) {
            (None, None) => None,
            (known, own) => Some(known.iter().chain(own).flatten().cloned().collect()),
        },
        ..owner.answers.clone()
    };
    let spec = |write| AnswerSpec {
        write,
        busy: retry.codes.clone(),
        quota: owner.limits.learn.clone().map(Arc::new),
        ..AnswerSpec::of(rules.clone())
    };
    let names: Vec<String> = file.steps.iter().map(|step| step.name.clone()).collect();
    let paths = Paths {
        input: &file.input,
        account: &owner.account,
        roots: roots(file.write),
        steps: &names,
        headers: common.headers,
        base_url: &owner.base_url,
    };
    let request = paths.request(&file.request)?;
    if let Idempotency::NativeField(name) = &file.idempotency.kind
        && !names_key(&request)
    {
        return Err(format!(
            "the request nowhere has `{{effect_key}}`, which the provider is to know as `{name}`"
        ));
    }
    let response = file.response.as_ref();
    let response = response.map(|source| paths.with_roots(&["body"]).template(source));
    Ok(Capability {
        integration: owner.id.clone(),
        input_validator,
        steps: steps(&file.steps, &paths, || spec(false))?.into(),
        request: Arc::new(request),
        probe: file
            .probe
            .as_ref()
            .map(|described| probe::build(described, &paths))
            .transpose()?
            .map(Arc::new),
        answer: Arc::new(AnswerSpec {
            output: response.transpose()?,
            text: file.text_answer,
            already: file.already,
            requires: file.requires,
            result: Some(Arc::new(file.output.clone())),
            ..spec(file.write)
        }),
        raw: false,
        send: owner.pasted_placement(),
        account_fields: owner.account.as_slice().into(),
        id: file.id,
        title: file.title,
        description: file.description,
        permission: file.permission,
        permission_aliases: file.permission_aliases,
        risk: file.risk,
        write: file.write,
        cost: file.cost,
        output: file.output,
        idempotency: file.idempotency.kind,
        key_valid_for: file.idempotency.key_valid_for,
        pagination: file.pagination,
        retry,
        quota: file.quota,
        scopes: file.scopes,
        input: file.input,
        markup: file.markup,
    })
}

fn check_frame(owner: &Integration, file: &CapabilityFile) -> Result<(), String> {
    if !file
        .id
        .strip_prefix(&owner.id)
        .is_some_and(|rest| rest.starts_with('.'))
    {
        return Err(format!("the id does not start with `{}.`", owner.id));
    }
    // Besides, a probe is for keys that the provider has forgotten.
    let kind = &file.idempotency.kind;
    let may_probe = matches!(kind, Idempotency::Native(_) | Idempotency::NativeField(_));
    if (*kind == Idempotency::ByProbe) != file.probe.is_some() && !may_probe {
        return Err("`idempotency: by_probe` and `probe` go together".into());
    }
    if !file.write && *kind != Idempotency::None {
        return Err("a read needs no `idempotency`".into());
    }
    if file.write && file.request.method == "GET" {
        return Err("a write does not go by GET".into());
    }
    if file.cost > owner.quota.burst {
        return Err(format!(
            "costs {} and the quota lets only {} through at once",
            file.cost, owner.quota.burst
        ));
    }
    Ok(())
}

fn check_markup(file: &CapabilityFile) -> Result<(), String> {
    let unknown = file
        .markup
        .keys()
        .find(|name| file.input["properties"].get(name.as_str()).is_none());
    match unknown {
        Some(name) => Err(format!("`markup` names `{name}`, which is no argument")),
        None => Ok(()),
    }
}

fn check_examples(input: &Value, validator: &jsonschema::Validator) -> Result<(), String> {
    let examples = input["examples"].as_array().into_iter().flatten();
    for (place, example) in examples.enumerate() {
        validator
            .validate(example)
            .map_err(|error| format!("input: example {place} does not fit: {error}"))?;
    }
    Ok(())
}

/// Reads have no effect key.
fn roots(write: bool) -> &'static [&'static str] {
    if write {
        &["input", "account", "step", "effect_key"]
    } else {
        &["input", "account", "step"]
    }
}

fn names_key(request: &RequestTemplate) -> bool {
    request
        .templates()
        .into_iter()
        .flat_map(|template| template.references())
        .any(|reference| reference.root == "effect_key")
}

/// Each step may name those before it.
fn steps(
    files: &[StepFile],
    paths: &Paths,
    spec: impl Fn() -> AnswerSpec,
) -> Result<Vec<Step>, String> {
    let mut built = Vec::with_capacity(files.len());
    for (place, file) in files.iter().enumerate() {
        let before = Paths {
            steps: &paths.steps[..place],
            ..*paths
        };
        let take = file.take.as_ref();
        let take = take.map(|source| paths.with_roots(&["body"]).template(source));
        built.push(Step {
            name: file.name.clone(),
            request: before
                .request(&file.request)
                .map_err(|message| format!("step {}: {message}", file.name))?,
            answer: Arc::new(AnswerSpec {
                // Nobody looks at it then.
                text: file.take.is_none(),
                output: take.transpose()?,
                ..spec()
            }),
        });
    }
    Ok(built)
}
