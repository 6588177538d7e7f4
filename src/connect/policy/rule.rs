//! One rule as an org writes it, and what can be wrong with it.

use super::pattern::{fits, is_well_formed};
use crate::{connect::Risk, graph::CallExpr};
use serde::{Deserialize, Serialize};

const NAME_MAX: usize = 100;
const REASON_MAX: usize = 300;
/// Entries of each list at most.
const ENTRIES_MAX: usize = 100;
const ENTRY_MAX: usize = 200;
/// An approval may be open for a year at most.
const EXPIRES_MAX_MS: u64 = 366 * 24 * 3_600_000;
/// Who calls where it is no employee: the role of the API key.
const ROLES: [&str; 4] = ["employee", "operator", "manager", "admin"];

/// What a rule says of the calls that fit it.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum RuleEffect {
    Allow,
    /// A person has to agree to exactly this call first.
    RequireApproval,
    Deny,
}

impl RuleEffect {
    pub fn name(self) -> &'static str {
        match self {
            RuleEffect::Allow => "allow",
            RuleEffect::RequireApproval => "require_approval",
            RuleEffect::Deny => "deny",
        }
    }
}

/// A rule. Lists that are empty fit everything; the others fit if one of their entries does.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RuleSpec {
    /// Unique in the org; what a refusal names.
    pub name: String,
    pub effect: RuleEffect,
    /// Capabilities: `gmail.send`, `slack.*`, `*`. The raw proxy of an integration is `slack.raw`.
    pub capabilities: Vec<String>,
    /// Risks of capabilities: `low`, `medium`, `high`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(with = "Vec<String>")]
    pub risks: Vec<Risk>,
    /// Connections, by id or name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub connections: Vec<String>,
    /// Employees, by id or name. Calls of clients fit no such list.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub employees: Vec<String>,
    /// Who calls: `employee`, or the role of the API key: `operator`, `manager`, `admin`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub roles: Vec<String>,
    /// CEL over `input`, `capability`, `employee` (`id`, `name`; null for a client) and `connection` (`id`, `name`, `integration`). One that
    /// cannot be evaluated denies: `has(input.amount) && input.amount > 500` where `amount` may be absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub when: Option<String>,
    /// How long an approval that it asks for is open; absent: a week.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_ms: Option<u64>,
    /// A sentence for whoever meets it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// What is wrong with a rule, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{field}` {message}")]
pub struct RuleError {
    /// For example `capabilities[0]`.
    pub field: String,
    pub message: String,
}

/// What the org has, so that a rule that could never fit is refused when it is written.
pub trait Vocabulary {
    /// Whether there is a capability that the pattern means.
    fn has_capability(&self, pattern: &str) -> bool;
    fn has_connection(&self, id_or_name: &str) -> bool;
    fn has_employee(&self, id_or_name: &str) -> bool;
    /// What somebody who wrote `pattern` may have meant.
    fn nearest(&self, pattern: &str) -> Option<String>;
}

fn wrong(field: impl Into<String>, message: impl Into<String>) -> RuleError {
    RuleError {
        field: field.into(),
        message: message.into(),
    }
}

/// The first thing that is wrong with a rule.
///
/// # Errors
/// It, with its field.
pub fn check(rule: &RuleSpec, org: &dyn Vocabulary) -> Result<(), RuleError> {
    check_text("name", &rule.name, NAME_MAX)?;
    if let Some(reason) = &rule.reason {
        check_text("reason", reason, REASON_MAX)?;
    }
    if rule.capabilities.is_empty() {
        return Err(wrong(
            "capabilities",
            "must name at least one; `*` stands for all",
        ));
    }
    check_list("capabilities", &rule.capabilities, |entry| {
        if !is_well_formed(entry) {
            return Err("must be a capability, or one with `*` behind a dot at its end".into());
        }
        match org.has_capability(entry) {
            true => Ok(()),
            false => Err(match org.nearest(entry) {
                Some(near) => format!("names no capability of the catalog; do you mean `{near}`"),
                None => "names no capability of the catalog".into(),
            }),
        }
    })?;
    check_list("connections", &rule.connections, |entry| {
        match org.has_connection(entry) {
            true => Ok(()),
            false => Err("names no connection of this org".into()),
        }
    })?;
    check_list("employees", &rule.employees, |entry| {
        match org.has_employee(entry) {
            true => Ok(()),
            false => Err("names no employee of this org".into()),
        }
    })?;
    check_list("roles", &rule.roles, |entry| match ROLES.contains(&entry) {
        true => Ok(()),
        false => Err(format!("must be one of {}", ROLES.join(", "))),
    })?;
    if let Some(when) = &rule.when {
        CallExpr::compile(when).map_err(|message| wrong("when", message))?;
    }
    match rule.expires_ms {
        Some(_) if rule.effect != RuleEffect::RequireApproval => Err(wrong(
            "expires_ms",
            "goes only with `effect: require_approval`",
        )),
        Some(millis) if !(1..=EXPIRES_MAX_MS).contains(&millis) => Err(wrong(
            "expires_ms",
            format!("must be 1 to {EXPIRES_MAX_MS}"),
        )),
        _ => Ok(()),
    }
}

fn check_text(field: &str, text: &str, max: usize) -> Result<(), RuleError> {
    let fits = !text.trim().is_empty()
        && text.chars().count() <= max
        && !text.chars().any(char::is_control);
    match fits {
        true => Ok(()),
        false => Err(wrong(
            field,
            format!("must have 1 to {max} characters and no control characters"),
        )),
    }
}

fn check_list(
    field: &str,
    entries: &[String],
    entry_is_right: impl Fn(&str) -> Result<(), String>,
) -> Result<(), RuleError> {
    if entries.len() > ENTRIES_MAX {
        return Err(wrong(
            field,
            format!("must have {ENTRIES_MAX} entries at most"),
        ));
    }
    for (place, entry) in entries.iter().enumerate() {
        let at = format!("{field}[{place}]");
        check_text(&at, entry, ENTRY_MAX)?;
        entry_is_right(entry).map_err(|message| wrong(at, message))?;
    }
    Ok(())
}

impl RuleSpec {
    /// Whether everything but the expression fits.
    pub(super) fn is_about(&self, asked: &super::Asked<'_>) -> bool {
        let named = |entries: &[String], id: &str, name: &str| {
            entries.is_empty() || entries.iter().any(|entry| entry == id || entry == name)
        };
        self.capabilities
            .iter()
            .any(|pattern| fits(pattern, asked.capability))
            && (self.risks.is_empty() || self.risks.contains(&asked.risk))
            && match asked.connection {
                Some(connection) => named(&self.connections, connection.id, connection.name),
                None => self.connections.is_empty(),
            }
            && match asked.employee {
                Some(employee) => named(&self.employees, employee.id, employee.name),
                None => self.employees.is_empty(),
            }
            && (self.roles.is_empty() || self.roles.iter().any(|role| role == asked.role))
    }
}
