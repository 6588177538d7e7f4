//! From the text of an integration file to an [`Integration`], with every mistake named.

use super::{
    Capability, CatalogError, INTEGRATION_SCHEMA, Idempotency, Integration,
    file::{CapabilityFile, IntegrationFile, LookupFile, MatchFile, ProbeFile, RequestFile},
};
use crate::connect::{
    answer::AnswerSpec,
    request::{BodyTemplate, RequestTemplate},
    resolve::{Listing, Lookup, Match, Probe},
    template::Template,
};
use reqwest::Method;
use serde_json::{Map, Value};
use std::{
    sync::{Arc, LazyLock},
    time::Duration,
};

static SCHEMA: LazyLock<Result<jsonschema::Validator, String>> = LazyLock::new(|| {
    let schema: Value =
        serde_json::from_str(INTEGRATION_SCHEMA).map_err(|error| error.to_string())?;
    jsonschema::validator_for(&schema).map_err(|error| error.to_string())
});

/// Reads one file.
pub(super) fn read(name: &str, text: &str) -> Result<Integration, CatalogError> {
    let wrong = |place: &str, message: String| CatalogError {
        file: name.into(),
        place: place.into(),
        message,
    };
    let value: Value =
        serde_yaml_ng::from_str(text).map_err(|error| wrong("/", error.to_string()))?;
    let schema = SCHEMA
        .as_ref()
        .map_err(|message| wrong("schema", message.clone()))?;
    if let Err(error) = schema.validate(&value) {
        return Err(wrong(error.instance_path().as_str(), error.to_string()));
    }
    let file: IntegrationFile =
        serde_json::from_value(value).map_err(|error| wrong("/", error.to_string()))?;
    let mut integration = Integration {
        id: file.id,
        name: file.name,
        base_url: file.base_url,
        auth: file.auth,
        account: file.account,
        quota: file.quota,
        capabilities: Vec::new(),
    };
    for described in file.capabilities {
        let id = described.id.clone();
        let capability = capability(&integration, &file.answers, described)
            .map_err(|message| wrong(&id, message))?;
        integration.capabilities.push(Arc::new(capability));
    }
    Ok(integration)
}

fn capability(
    owner: &Integration,
    answers: &super::AnswerRules,
    file: CapabilityFile,
) -> Result<Capability, String> {
    if !file
        .id
        .strip_prefix(&owner.id)
        .is_some_and(|rest| rest.starts_with('.'))
    {
        return Err(format!("the id does not start with `{}.`", owner.id));
    }
    if (file.idempotency == Idempotency::ByProbe) != file.probe.is_some() {
        return Err("`idempotency: by_probe` and `probe` go together".into());
    }
    if file.cost > owner.quota.burst {
        return Err(format!(
            "costs {} and the quota lets only {} through at once",
            file.cost, owner.quota.burst
        ));
    }
    let response = file.response.as_ref().map(Template::parse).transpose()?;
    let account_fields: Vec<_> = owner
        .account
        .iter()
        .map(|field| field.name.clone())
        .collect();
    let paths = Paths {
        input: &file.input,
        account: &account_fields,
    };
    Ok(Capability {
        integration: owner.id.clone(),
        input_validator: jsonschema::validator_for(&file.input)
            .map_err(|error| format!("input: {error}"))?,
        request: request(&file.request, &paths)?,
        probe: file
            .probe
            .as_ref()
            .map(|described| probe(described, &paths))
            .transpose()?
            .map(Arc::new),
        answer: Arc::new(AnswerSpec {
            rules: answers.clone(),
            write: file.write,
            output: response,
        }),
        auth: owner.auth.clone(),
        id: file.id,
        title: file.title,
        description: file.description,
        permission: file.permission,
        permission_aliases: file.permission_aliases,
        risk: file.risk,
        write: file.write,
        cost: file.cost,
        output: file.output,
        idempotency: file.idempotency,
        pagination: file.pagination,
        input: file.input,
        account_fields,
    })
}

/// What the paths of a capability's templates may name.
struct Paths<'a> {
    input: &'a Value,
    account: &'a [String],
}

impl Paths<'_> {
    fn template(&self, source: &Value) -> Result<Template, String> {
        let template = Template::parse(source)?;
        for reference in template.references() {
            let Some(field) = reference.keys.first() else {
                continue;
            };
            let known = match reference.root.as_str() {
                "input" => self.input["properties"].get(field).is_some(),
                "account" => self.account.contains(field),
                _ => true,
            };
            if !known {
                return Err(format!("`{{{}.{field}}}` names no field", reference.root));
            }
        }
        Ok(template)
    }
    fn text(&self, source: &str) -> Result<Template, String> {
        self.template(&Value::String(source.into()))
    }
    fn fields(&self, source: &Map<String, Value>) -> Result<Vec<(String, Template)>, String> {
        source
            .iter()
            .map(|(name, value)| Ok((name.clone(), self.template(value)?)))
            .collect()
    }
}

fn request(file: &RequestFile, paths: &Paths) -> Result<RequestTemplate, String> {
    let body = match (&file.json, &file.form) {
        (Some(json), _) => Some(BodyTemplate::Json(paths.template(json)?)),
        (None, Some(form)) => Some(BodyTemplate::Form(
            paths.fields(form.as_object().ok_or("`form` is not an object")?)?,
        )),
        (None, None) => None,
    };
    Ok(RequestTemplate {
        method: file
            .method
            .parse::<Method>()
            .map_err(|_| format!("`{}` is no method", file.method))?,
        path: file
            .path
            .split('/')
            .skip(1)
            .map(|segment| paths.text(segment))
            .collect::<Result<_, _>>()?,
        query: paths.fields(&file.query)?,
        headers: paths.fields(&file.headers)?,
        body,
    })
}

fn matching(file: &MatchFile, paths: &Paths) -> Result<Match, String> {
    Ok(Match {
        at: file.at.clone(),
        prefix: file.prefix.clone(),
        equals: paths.text(&file.equals)?,
    })
}

fn probe(file: &ProbeFile, paths: &Paths) -> Result<Probe, String> {
    Ok(Probe {
        settle: Duration::from_secs(file.settle_seconds),
        margin: Duration::from_secs(file.margin_seconds),
        lookup: file
            .lookup
            .as_ref()
            .map(|described| lookup(described, paths))
            .transpose()?,
        instead: file
            .instead
            .as_ref()
            .map(|instead| {
                Ok::<_, String>((
                    paths.text(&instead.given)?,
                    request(&instead.request, paths)?,
                ))
            })
            .transpose()?,
        listing: Listing {
            request: request(&file.request, paths)?,
            items: file.items.clone(),
            matches: file
                .matches
                .as_ref()
                .map(|described| matching(described, paths))
                .transpose()?,
            take: paths.template(&file.take)?,
            cursor: file.cursor.clone(),
        },
    })
}

fn lookup(file: &LookupFile, paths: &Paths) -> Result<Lookup, String> {
    Ok(Lookup {
        value: paths.text(&file.when.value)?,
        starts_with: file.when.starts_with.clone(),
        otherwise: paths.template(&file.otherwise)?,
        listing: Listing {
            request: request(&file.request, paths)?,
            items: file.items.clone(),
            matches: Some(matching(&file.matches, paths)?),
            take: paths.template(&file.take)?,
            cursor: file.cursor.clone(),
        },
    })
}
