//! The one reader of YAML, with bounds on what a text may become, and the one writer.
//!
//! YAML 1.2: `yes`, `no` and `on` are texts, `0755` and `1_000` too. Keys that stand twice are refused. Aliases are expanded up to a bound, so
//! that a small text cannot stand for millions of values; merge keys (`<<`) mean nothing.

use serde::{Serialize, de::DeserializeOwned};
use serde_saphyr::{DuplicateKeyPolicy, MergeKeyPolicy, Options};

/// How deep lists and objects may nest. Each level is a large stack frame of the reader.
const MAX_DEPTH: usize = 40;
/// Values of one text, those that aliases stand for not counted.
const MAX_VALUES: usize = 200_000;
/// Values and ends of lists that all aliases of a text stand for together.
const MAX_ALIASED: usize = 20_000;

/// # Errors
/// One sentence with the line and column, also where the text stands for more than is read.
pub fn from_str<T: DeserializeOwned>(text: &str) -> Result<T, String> {
    serde_saphyr::from_str_with_options(text, options()).map_err(|error| {
        let told = error.without_snippet().to_string();
        told.split_whitespace().collect::<Vec<_>>().join(" ")
    })
}

fn options() -> Options {
    let budget = serde_saphyr::budget! {
        max_depth: MAX_DEPTH,
        flow_nesting_limit: MAX_DEPTH,
        max_nodes: MAX_VALUES,
        max_events: 3 * MAX_VALUES,
        max_documents: 1,
        max_recorded_anchor_events: 4 * MAX_ALIASED,
        enforce_alias_anchor_ratio: false,
    };
    serde_saphyr::options! {
        budget: budget,
        duplicate_keys: DuplicateKeyPolicy::Error,
        merge_keys: MergeKeyPolicy::AsOrdinary,
        alias_limits: serde_saphyr::alias_limits! {
            max_total_replayed_events: MAX_ALIASED,
            max_replay_stack_depth: 16,
            max_alias_expansions_per_anchor: MAX_ALIASED,
        },
        leading_zero_numbers_as_strings: true,
        underscored_numbers_as_strings: true,
        strict_booleans: true,
        null_as_string: true,
    }
}

/// As people read it.
///
/// # Errors
/// What no YAML can say.
pub fn to_string<T: Serialize>(value: &T) -> Result<String, String> {
    serde_saphyr::to_string(value).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn read(text: &str) -> Result<Value, String> {
        from_str(text)
    }

    #[test]
    fn words_numbers_and_keys_are_those_of_yaml_1_2() {
        for (text, expected) in [
            ("on: push\nno: yes", json!({"on": "push", "no": "yes"})),
            ("a: true\nb: False", json!({"a": true, "b": false})),
            (
                "a: ~\nb: null\nc:",
                json!({"a": null, "b": null, "c": null}),
            ),
            (
                "[0755, 1_000, 0x10, 1e3, -2, .5]",
                json!(["0755", "1_000", 16, 1000.0, -2, 0.5]),
            ),
            (
                "a: 12:30\nb: 2025-06-09",
                json!({"a": "12:30", "b": "2025-06-09"}),
            ),
            (
                "a: |\n  x\n  y\nb: >-\n  x\n  y",
                json!({"a": "x\ny\n", "b": "x y"}),
            ),
            (
                "{\"a\": [1, {\"b\": \"c\"}]}",
                json!({"a": [1, {"b": "c"}]}),
            ),
            ("a: &x [1, 2]\nb: *x", json!({"a": [1, 2], "b": [1, 2]})),
            ("a: 18446744073709551615", json!({"a": u64::MAX})),
        ] {
            assert_eq!(read(text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn what_is_no_yaml_is_told_with_its_line() {
        for text in [
            "a: 1\nb: [1",
            "a: 1\na: 2",
            "a: 1\n b: 2",
            "a: 1\nb: *nobody",
        ] {
            let error = read(text).expect_err(text);
            assert!(error.contains("line 2"), "{text}: {error}");
        }
    }

    #[test]
    fn a_small_text_cannot_stand_for_many_values() {
        let list = |what: &str, count: usize| vec![what; count].join(",");
        let laughs = (1..12).fold("l0: &l0 [x, x]\n".to_owned(), |text, level| {
            let before = level - 1;
            format!(
                "{text}l{level}: &l{level} [{}]\n",
                list(&format!("*l{before}"), 9)
            )
        });
        for text in [
            format!("x: &a [{}]\nz: [{}]", list("y", 4_000), list("*a", 4_000)),
            format!("x: &a {{{}}}\nz: [{}]", "k: 1", list("*a", 30_000)),
            format!("x: &a {}\nz: [{}]", "y".repeat(10), list("*a", 30_000)),
            laughs,
            format!("{}{}", "[".repeat(500), "]".repeat(500)),
            (0..300).fold(String::new(), |text, level| {
                format!("{text}{}a:\n", " ".repeat(level))
            }),
            format!("[{}]", list("1", 300_000)),
            "--- 1\n--- 2\n".to_owned(),
        ] {
            let start: String = text.chars().take(40).collect();
            assert!(read(&text).is_err(), "{start}");
        }
    }

    #[test]
    fn what_is_written_is_read_again() {
        for value in [
            json!({"a": "yes", "b": "null", "c": "12", "d": "x: y", "e": "two\nlines", "f": [], "g": {}}),
            json!([1, 1.5, true, null, "", " x ", "# no comment", "- no list"]),
        ] {
            let text = to_string(&value).expect("writes");
            assert_eq!(read(&text), Ok(value), "{text}");
        }
    }
}
