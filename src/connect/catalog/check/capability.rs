//! One capability of a file.

use super::paths::Paths;
use crate::connect::{
    answer::AnswerSpec,
    catalog::{
        AnswerRules, Capability, Idempotency, Integration,
        file::{CapabilityFile, LookupFile, MatchFile, ProbeFile},
    },
    resolve::{Listing, Lookup, Match, Probe},
    template::Template,
};
use std::{sync::Arc, time::Duration};

pub(super) fn build(
    owner: &Integration,
    answers: &AnswerRules,
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
    let paths = Paths {
        input: &file.input,
        account: &owner.account,
    };
    Ok(Capability {
        integration: owner.id.clone(),
        input_validator: jsonschema::validator_for(&file.input)
            .map_err(|error| format!("input: {error}"))?,
        request: paths.request(&file.request)?,
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
        idempotency: file.idempotency,
        pagination: file.pagination,
        input: file.input,
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
                    paths.request(&instead.request)?,
                ))
            })
            .transpose()?,
        listing: Listing {
            request: paths.request(&file.request)?,
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
            request: paths.request(&file.request)?,
            items: file.items.clone(),
            matches: Some(matching(&file.matches, paths)?),
            take: paths.template(&file.take)?,
            cursor: file.cursor.clone(),
        },
    })
}
