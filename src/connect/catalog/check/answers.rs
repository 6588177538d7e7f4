//! What a file says of answers: places are pointers, and what must be there is not made up.

use super::Report;
use crate::connect::{
    answer::is_pointer,
    catalog::{AnswerRules, CatalogError, Integration, file::ErrorAt},
};

pub(super) fn check(report: &mut Report, answers: &AnswerRules) {
    let errors: Vec<ErrorAt> = answers.errors().cloned().collect();
    if let Err(message) = check_places(&errors, &[]) {
        report.add("/answers/error", message);
    }
    let lists = [
        ("code", &answers.code),
        ("message", &answers.message),
        ("partial", &answers.partial),
        ("retry_after", &answers.retry_after),
    ];
    for (name, places) in lists {
        for place in places.iter().filter(|place| !is_pointer(place)) {
            report.add(format!("/answers/{name}"), not_a_pointer(place));
        }
    }
}

pub(super) fn check_places(errors: &[ErrorAt], requires: &[String]) -> Result<(), String> {
    for error in errors {
        if !error.at.starts_with('/') {
            return Err(not_a_pointer(&error.at));
        }
        if error.is.is_some() && error.not.is_some() {
            return Err(format!("`{}` wants `is` or `not`, not both", error.at));
        }
    }
    match requires.iter().find(|place| !place.starts_with('/')) {
        Some(place) => Err(not_a_pointer(place)),
        None => Ok(()),
    }
}

fn not_a_pointer(place: &str) -> String {
    format!("`{place}` is no JSON pointer; one is `/errors` or `/results/*/error`")
}

/// What makes a file take errors for results. Not a mistake that keeps it from working, so that files of before are still read.
pub(in crate::connect::catalog) fn gaps(
    file: &str,
    integration: &Integration,
) -> Vec<CatalogError> {
    let mut gaps = Vec::new();
    let mut add = |place: &str, message: String| {
        gaps.push(CatalogError {
            file: file.into(),
            place: place.into(),
            message,
        });
    };
    let rules = &integration.answers;
    if rules.error.is_none() && rules.ok_flag.is_none() {
        let message = "does not say where an answer with status 2xx tells of an error; give the places, or `error: []` if the status alone tells";
        add("/answers/error", message.into());
    }
    for capability in &integration.capabilities {
        let answer = &capability.answer;
        let required = capability.output["required"]
            .as_array()
            .into_iter()
            .flatten();
        let made_up = required.filter_map(serde_json::Value::as_str).find(|name| {
            answer
                .output
                .as_ref()
                .is_some_and(|output| output.makes_up(name))
        });
        if let Some(name) = made_up.filter(|_| answer.requires.is_none()) {
            add(
                &capability.id,
                format!(
                    "`{name}` is required and made up where the answer lacks it; give `requires`, the places that every good answer has (`[]` if there is none), or no default"
                ),
            );
        }
    }
    gaps
}
