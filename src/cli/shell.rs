//! Commands that we print for people to copy.

use super::remote::DEFAULT_DATA;
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

/// A verb as it has to be typed to reach the service that this command reached: with the same flags for where it is. A key is not
/// repeated: it would stay in the terminal.
pub fn command(verb: &str) -> String {
    let flags = place_flags(std::env::args().skip(1));
    format!("{} {verb}{flags}", program())
}

fn place_flags(arguments: impl Iterator<Item = String>) -> String {
    let mut arguments = arguments;
    let mut flags = String::new();
    while let Some(argument) = arguments.next() {
        for flag in ["--url", "--data"] {
            let value = match argument.strip_prefix(flag) {
                Some("") => arguments.next(),
                Some(rest) => rest.strip_prefix('=').map(str::to_owned),
                None => None,
            };
            // The default need not be said; `make run` says it all the same.
            if let Some(value) = value.filter(|value| value != DEFAULT_DATA) {
                flags.push_str(&format!(" {flag} {}", quote(&value)));
                break;
            }
        }
    }
    flags
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
    fn where_the_service_is_goes_with_the_command() {
        for (line, flags) in [
            ("tell clerk x", ""),
            ("tell clerk --data /tmp/x hello", " --data /tmp/x"),
            ("runs --url=http://h --key k", " --url http://h"),
            ("dev --data .tenure", ""),
            ("runs --database-url x --data", ""),
        ] {
            let words = line.split(' ').map(str::to_owned);
            assert_eq!(place_flags(words), flags, "{line}");
        }
    }

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
