//! Links by which somebody connects an account are secrets, and are not written into the ledger.

use crate::actors::core::Core;

/// `text` with a mark in the place of what such a link says.
pub(super) fn without_links(text: &str, core: &Core) -> String {
    mask(text, &format!("{}/connect/", core.settings.public_url))
}

/// `text` with what follows each `start`, as far as it may be a link's token, masked.
fn mask(text: &str, start: &str) -> String {
    let mut parts = text.split(start);
    let mut masked = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let is_token = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
        masked += start;
        masked += "[link]";
        masked += part.trim_start_matches(is_token);
    }
    masked
}

#[cfg(test)]
mod tests {
    use super::mask;

    #[test]
    fn connect_links_are_masked() {
        let start = "http://here/connect/";
        for (text, masked) in [
            ("nothing", "nothing"),
            (
                r#"{"text":"open http://here/connect/aB-_9 or http://here/connect/x."}"#,
                r#"{"text":"open http://here/connect/[link] or http://here/connect/[link]."}"#,
            ),
            ("http://there/connect/a", "http://there/connect/a"),
        ] {
            assert_eq!(mask(text, start), masked);
        }
    }
}
