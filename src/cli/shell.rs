//! Commands that we print for people to copy.

use std::path::Path;

/// How this program is called here: its plain name if the shell would find it, else as it was called just now.
pub fn program() -> String {
    let called = std::env::args().next().unwrap_or_else(|| "tenure".into());
    let path = std::env::var_os("PATH").unwrap_or_default();
    let is_found = std::env::current_exe().is_ok_and(|exe| {
        std::env::split_paths(&path).any(|dir| is_same(&dir.join("tenure"), &exe))
    });
    if is_found {
        "tenure".into()
    } else {
        quote(&called)
    }
}

fn is_same(found: &Path, exe: &Path) -> bool {
    found
        .canonicalize()
        .is_ok_and(|found| exe.canonicalize().is_ok_and(|exe| found == exe))
}

/// As the shell needs it written to be one word.
pub fn quote(text: &str) -> String {
    let is_plain = !text.is_empty()
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-_./:=@%+,".contains(&byte));
    if is_plain {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quoting() {
        for (text, quoted) in [
            ("target/release/tenure", "target/release/tenure"),
            ("a b", "'a b'"),
            ("it's", r"'it'\''s'"),
            ("", "''"),
        ] {
            assert_eq!(quote(text), quoted);
        }
    }
}
