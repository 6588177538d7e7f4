//! What an org lets its employees and clients call: rules over capability, connection, who calls, and the arguments. Pure.
//!
//! Every rule that fits a call has a say. `deny` wins over `require_approval`, and that over `allow`. Where no rule fits, a capability of
//! risk `high` needs an approval and everything else is allowed; so an explicit `allow` lifts the approval that risk asks for. A rule whose
//! expression cannot be evaluated over a call denies it: a policy that was written wrong must not let through what it was to hold back.
//!
//! Rules only narrow. What the grant of a connection and the permissions of a skill do not give, no rule gives.

mod pattern;
mod rule;
mod set;
#[cfg(test)]
mod tests;

pub use pattern::fits;
pub use rule::{RuleEffect, RuleError, RuleSpec, Vocabulary, check};
pub use set::{Asked, Decider, Party, PolicySet, Verdict};
