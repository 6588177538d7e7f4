//! The planner as a whole: the flagship, many ways to say the same, and texts that want to be misread.

mod clerk;
mod paraphrases;
mod properties;
mod refusals;
mod runs;

use super::{CatalogView, HireError, HirePlan, JobDescription, TemplatePlanner};

/// The three integrations that templates know.
struct Catalog;

impl CatalogView for Catalog {
    fn integration_of(&self, capability: &str) -> Option<String> {
        let integration = capability.split('.').next()?;
        self.has_integration(integration)
            .then(|| integration.to_owned())
    }
    fn has_integration(&self, id: &str) -> bool {
        ["slack", "quickbooks", "gmail"].contains(&id)
    }
}

fn plan(text: &str) -> Result<HirePlan, HireError> {
    let request = JobDescription {
        text: text.to_owned(),
        ..JobDescription::default()
    };
    planner().plan_now(&request, &Catalog, &[])
}

fn planner() -> &'static TemplatePlanner {
    static PLANNER: std::sync::LazyLock<TemplatePlanner> =
        std::sync::LazyLock::new(|| TemplatePlanner::new().unwrap());
    &PLANNER
}

/// Ids of the skill nodes that clauses became, in order; empty if nothing was understood.
fn skills(text: &str) -> Vec<String> {
    let Ok(plan) = plan(text) else {
        return Vec::new();
    };
    let nodes = plan.graph["nodes"].as_array().unwrap();
    nodes
        .iter()
        .map(|node| node["id"].as_str().unwrap().to_owned())
        .filter(|id| !["skill_route", "skill_idle"].contains(&id.as_str()))
        .collect()
}

/// All reasons why clauses were not understood.
fn reasons(text: &str) -> String {
    let not_understood = match plan(text) {
        Ok(plan) => plan.not_understood,
        Err(HireError::NothingUnderstood { not_understood }) => not_understood,
        Err(error) => return error.to_string(),
    };
    not_understood
        .iter()
        .map(|each| format!("{}: {}\n", each.sentence, each.reason))
        .collect()
}

/// Fails with all rows that are wrong, each with what happened instead.
fn all_right<R>(rows: &[R], wrong: impl Fn(&R) -> Option<String>) {
    let wrong: Vec<String> = rows.iter().filter_map(wrong).collect();
    assert!(
        wrong.is_empty(),
        "{} of {} rows are wrong:\n{}",
        wrong.len(),
        rows.len(),
        wrong.join("\n")
    );
}

/// Compares the skills of a text, and looks for a piece of the reasons.
fn compared(text: &str, expected: &[&str], reason: &str) -> Option<String> {
    let (skills, reasons) = (skills(text), reasons(text));
    (skills != expected || !reasons.contains(reason)).then(|| {
        format!("{text}\n    wanted {expected:?} {reason:?}\n    {skills:?}\n    {reasons}")
    })
}
