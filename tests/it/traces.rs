//! Looks for secrets in what a service leaves behind: as they are, in hexadecimal, in base64 of either alphabet wherever they begin in it, and
//! with percent signs.

use base64::{
    Engine,
    engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD},
};
use regex::bytes::{Regex, RegexBuilder};
use std::collections::BTreeMap;

/// Shorter ones are found by chance.
const LEAST: usize = 12;

/// What must be nowhere, by the name under which a test tells of it.
#[derive(Default)]
pub struct Secrets(BTreeMap<String, String>);

impl Secrets {
    pub fn add(&mut self, name: impl Into<String>, secret: &str) {
        if secret.len() >= LEAST {
            self.0.insert(secret.to_owned(), name.into());
        }
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn search(&self) -> Search {
        let mut forms = BTreeMap::new();
        for (secret, name) in &self.0 {
            for (how, form) in forms_of(secret) {
                forms.insert(form, format!("{name} {how}"));
            }
        }
        let words: Vec<String> = forms.keys().map(|form| regex::escape(form)).collect();
        let pattern = RegexBuilder::new(&words.join("|"))
            .unicode(false)
            .size_limit(1 << 28)
            .build();
        Search {
            pattern: pattern.expect("a pattern"),
            forms,
        }
    }
}

/// All of them at once.
pub struct Search {
    pattern: Regex,
    forms: BTreeMap<String, String>,
}

impl Search {
    /// Names of what was found, with the surroundings of the first of each.
    pub fn find(&self, bytes: &[u8]) -> BTreeMap<String, String> {
        let mut found = BTreeMap::new();
        for hit in self.pattern.find_iter(bytes) {
            let text = String::from_utf8_lossy(hit.as_bytes());
            let name = self.forms.get(text.as_ref()).cloned().unwrap_or_default();
            found.entry(name).or_insert_with(|| {
                let around = hit.start().saturating_sub(120)..(hit.end() + 20).min(bytes.len());
                String::from_utf8_lossy(&bytes[around]).into_owned()
            });
        }
        found
    }
}

fn forms_of(secret: &str) -> Vec<(&'static str, String)> {
    let hex = |upper: bool| -> String {
        let bytes = secret.bytes();
        match upper {
            true => bytes.map(|byte| format!("{byte:02X}")).collect(),
            false => bytes.map(|byte| format!("{byte:02x}")).collect(),
        }
    };
    let percent: String = secret
        .bytes()
        .map(|byte| match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                (byte as char).to_string()
            }
            byte => format!("%{byte:02X}"),
        })
        .collect();
    let mut forms = vec![
        ("as it is", secret.to_owned()),
        ("in hexadecimal", hex(false)),
        ("in hexadecimal", hex(true)),
        ("with percent signs", percent),
    ];
    for before in 0..3 {
        let mut bytes = vec![0; before];
        bytes.extend_from_slice(secret.as_bytes());
        // The first and last characters hold bits of what stands beside it.
        let whole = bytes.len() / 3 * 4;
        let from = if before == 0 { 0 } else { 4 };
        for text in [
            STANDARD_NO_PAD.encode(&bytes),
            URL_SAFE_NO_PAD.encode(&bytes),
        ] {
            forms.push(("in base64", text[from..whole].to_owned()));
        }
    }
    forms
}

#[test]
fn planted_secrets_are_found_in_every_form() {
    let secret = "xoxe-1-0123/456+789?abc";
    let mut secrets = Secrets::default();
    secrets.add("planted", secret);
    let search = secrets.search();
    assert!(
        search
            .find(b"nothing of it is here: xoxe-1-0123/456+789?ab")
            .is_empty()
    );
    for (_, form) in forms_of(secret) {
        let around = format!("before {form} after");
        assert_eq!(search.find(around.as_bytes()).len(), 1, "{form}");
    }
    for before in ["", "a", "ab", "abc", "abcd"] {
        for engine in [&STANDARD_NO_PAD, &URL_SAFE_NO_PAD] {
            let planted = engine.encode(format!("{before}{secret}and so on"));
            assert_eq!(search.find(planted.as_bytes()).len(), 1, "{planted}");
        }
    }
}
