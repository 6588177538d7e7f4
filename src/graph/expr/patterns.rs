//! Regular expressions of `matches`: what they cost to compile and to match, and those that were computed within an evaluation.

use super::EvalError;
use crate::graph::budget::Budget;
use regex::Regex;
use regex_syntax::hir::{Hir, HirKind};

/// Size limit of a compiled pattern that stands in the graph, in bytes.
const MAX_PATTERN: usize = 256 * 1024;
/// The same of a pattern that is computed, which is compiled again in every evaluation.
const MAX_COMPUTED: usize = 128 * 1024;
/// Units of compiling a computed pattern: for each, and for each byte of it (a class of Unicode is two bytes, and thousands of ranges).
const COMPILE_UNITS: u64 = 20_000;
const COMPILE_UNITS_A_BYTE: u64 = 400;
/// Computed patterns that one evaluation remembers.
const REMEMBERED: usize = 16;
/// In the worst case every byte of a text is held against every position of a pattern; that many such steps are a unit.
const STEPS_A_UNIT: u64 = 16;

/// A compiled pattern.
#[derive(Debug)]
pub(crate) struct Pattern {
    regex: Regex,
    /// Characters and classes that it consists of, repetitions counted: `[a-z]{3}x` has four.
    positions: u64,
}

impl Pattern {
    /// A literal of the graph.
    ///
    /// # Errors
    /// A sentence with the pattern.
    pub fn compile(pattern: &str) -> Result<Pattern, String> {
        Pattern::within(pattern, MAX_PATTERN)
    }

    fn within(pattern: &str, size: usize) -> Result<Pattern, String> {
        let message = |error: String| {
            let shown: String = pattern.chars().take(100).collect();
            let why = error.lines().last().unwrap_or_default();
            format!("`{shown}` is no regular expression: {why}")
        };
        let parsed = regex_syntax::parse(pattern).map_err(|error| message(error.to_string()))?;
        let regex = regex::RegexBuilder::new(pattern)
            .size_limit(size)
            .build()
            .map_err(|error| message(error.to_string()))?;
        Ok(Pattern {
            regex,
            positions: positions(&parsed),
        })
    }

    /// # Errors
    /// If the budget has not what it may cost.
    pub fn matches(&self, text: &str, budget: &Budget) -> Result<bool, EvalError> {
        let steps = (text.len() as u64).saturating_mul(self.positions.max(1));
        budget.charge(1 + steps / STEPS_A_UNIT)?;
        Ok(self.regex.is_match(text))
    }
}

fn positions(hir: &Hir) -> u64 {
    match hir.kind() {
        // They take no character, but are tried at each of them.
        HirKind::Empty | HirKind::Look(_) => 1,
        HirKind::Literal(literal) => literal.0.len() as u64,
        HirKind::Class(_) => 1,
        HirKind::Repetition(repetition) => {
            let times = repetition.max.unwrap_or(repetition.min + 1).max(1);
            positions(&repetition.sub).saturating_mul(u64::from(times))
        }
        HirKind::Capture(capture) => positions(&capture.sub),
        HirKind::Concat(parts) | HirKind::Alternation(parts) => {
            parts.iter().map(positions).fold(0, u64::saturating_add)
        }
    }
}

/// The patterns that an evaluation has computed, so that a loop compiles each of them once.
#[derive(Default)]
pub(crate) struct Patterns(Vec<(String, Pattern)>);

impl Patterns {
    /// # Errors
    /// No pattern, or the budget has not what compiling it costs.
    pub fn get(&mut self, pattern: &str, budget: &Budget) -> Result<&Pattern, EvalError> {
        // Compared with those that are known.
        budget.charge_text(pattern.len().saturating_mul(1 + self.0.len()))?;
        let place = match self.0.iter().position(|(known, _)| known == pattern) {
            Some(place) => place,
            None => {
                let length = pattern.len() as u64;
                budget.charge(COMPILE_UNITS + length.saturating_mul(COMPILE_UNITS_A_BYTE))?;
                let compiled = Pattern::within(pattern, MAX_COMPUTED).map_err(EvalError::wrong)?;
                if self.0.len() == REMEMBERED {
                    self.0.remove(0);
                }
                self.0.push((pattern.to_owned(), compiled));
                self.0.len() - 1
            }
        };
        Ok(&self.0[place].1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_count_repetitions() {
        for (pattern, expected) in [
            ("abc", 3),
            ("[a-z]{3}x", 4),
            (r"\w+@\w+", 5),
            ("(a|bc)*", 3),
            ("(?:a?){100}a{100}", 200),
            ("((x{10}){10}){10}", 1_000),
            (r"(?:\b|\b|\B){50}x", 4),
        ] {
            let found = Pattern::compile(pattern).expect(pattern).positions;
            assert_eq!(found, expected, "{pattern}");
        }
    }

    #[test]
    fn a_pattern_is_compiled_once_in_an_evaluation() {
        let budget = Budget::new(1_000_000);
        let mut patterns = Patterns::default();
        patterns.get("a+", &budget).expect("a pattern");
        let once = budget.left();
        patterns.get("a+", &budget).expect("a pattern");
        assert!(once - budget.left() < COMPILE_UNITS, "found again");
    }
}
