//! What the holder of an API key may do in its org.

use serde::{Deserialize, Serialize};

/// Ordered: each role may do all that the ones before it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Reads everything of its org.
    Viewer,
    /// Tells employees to work, cancels runs.
    Operator,
    /// Hires, changes graphs, decides approvals, reconciles effects.
    Manager,
    /// Keys, connections, webhook secrets, quarantine.
    Admin,
}

impl Role {
    pub fn name(self) -> &'static str {
        match self {
            Role::Viewer => "viewer",
            Role::Operator => "operator",
            Role::Manager => "manager",
            Role::Admin => "admin",
        }
    }
    pub fn parse(text: &str) -> Option<Role> {
        [Role::Viewer, Role::Operator, Role::Manager, Role::Admin]
            .into_iter()
            .find(|role| role.name() == text)
    }
}
