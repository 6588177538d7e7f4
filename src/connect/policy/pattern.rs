//! Names of capabilities with a `*` at the end.

/// Whether a pattern means this capability: its id exactly, `slack.*` for all that begins with `slack.`, `*` for all.
pub fn fits(pattern: &str, capability: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some("") => true,
        Some(start) => start.ends_with('.') && capability.starts_with(start),
        None => pattern == capability,
    }
}

/// Whether a text can be a pattern at all: a `*` stands only at the end, alone or behind a dot.
pub(super) fn is_well_formed(pattern: &str) -> bool {
    match pattern.split_once('*') {
        None => !pattern.is_empty(),
        Some((start, "")) => start.is_empty() || start.len() > 1 && start.ends_with('.'),
        Some(_) => false,
    }
}
