//! The probe of a capability.

use super::{answers, paths::Paths};
use crate::connect::{
    catalog::file::{LookupFile, MatchFile, ProbeFile},
    resolve::{Listing, Lookup, Match, Probe},
};
use std::time::Duration;

/// What a probe's first read may name, and what its second one may.
const FIRST: [&str; 6] = ["input", "account", "effect_key", "since", "cursor", "item"];
const SECOND: [&str; 7] = [
    "input",
    "account",
    "effect_key",
    "since",
    "cursor",
    "item",
    "lookup",
];

pub(super) fn build(file: &ProbeFile, paths: &Paths) -> Result<Probe, String> {
    in_probe(file, paths).map_err(|message| format!("probe: {message}"))
}

fn in_probe(file: &ProbeFile, paths: &Paths) -> Result<Probe, String> {
    let lookup = file
        .lookup
        .as_ref()
        .map(|described| lookup(described, &paths.with_roots(&FIRST)))
        .transpose()?;
    let roots: &[&str] = if lookup.is_some() { &SECOND } else { &FIRST };
    let paths = paths.with_roots(roots);
    Ok(Probe {
        settle: Duration::from_secs(file.settle_seconds),
        margin: Duration::from_secs(file.margin_seconds),
        lookup,
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
            requires: required(file.requires.as_ref(), &file.items)?,
            matches: file
                .matches
                .as_ref()
                .map(|described| matching(described, &paths))
                .transpose()?,
            take: paths.template(&file.take)?,
            cursor: file.cursor.clone(),
        },
    })
}

/// What an answer must have: what the file says, or the list itself.
fn required(said: Option<&Vec<String>>, items: &str) -> Result<Vec<String>, String> {
    let itself = || Some(items.to_owned()).filter(|items| !items.is_empty());
    let places = match said {
        Some(places) => places.clone(),
        None => itself().into_iter().collect(),
    };
    answers::check_places(&[], &places)?;
    Ok(places)
}

fn matching(file: &MatchFile, paths: &Paths) -> Result<Match, String> {
    let (text, part) = match (&file.equals, &file.contains) {
        (Some(text), None) => (text, false),
        (None, Some(text)) => (text, true),
        _ => return Err("`match` wants `equals` or `contains`".into()),
    };
    Ok(Match {
        at: file.at.clone(),
        prefix: file.prefix.clone(),
        text: paths.text(text)?,
        part,
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
            requires: required(None, &file.items)?,
            matches: Some(matching(&file.matches, paths)?),
            take: paths.template(&file.take)?,
            cursor: file.cursor.clone(),
        },
    })
}
