//! Hours between which something happens: `between 9 and 17`, `from 9am to 5pm`.

use super::time_of_day::{self, TimeOfDay, Written};
use crate::hire::text::Token;
use std::ops::Range;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    pub first: TimeOfDay,
    /// Included.
    pub last: TimeOfDay,
}

/// The first window of a clause that is not part of something else.
pub fn read(tokens: &[Token], covered: &[bool]) -> Option<(Window, Range<usize>)> {
    (0..tokens.len()).find_map(|place| {
        let (window, end) = at(tokens, place)?;
        let free = covered[place..end].iter().all(|covered| !covered);
        free.then_some((window, place..end))
    })
}

fn at(tokens: &[Token], place: usize) -> Option<(Window, usize)> {
    let joins: &[&str] = if tokens[place].is_word("between") {
        &["and"]
    } else if tokens[place].is_word("from") {
        &["to", "until", "till", "through"]
    } else {
        return None;
    };
    let (mut first, end) = time_of_day::bare(tokens, place + 1)?;
    let open = time_of_day::how_written(&tokens[place + 1..end], first) == Written::Open;
    tokens.get(end).filter(|token| token.is_any(joins))?;
    let from = end + 1;
    let (mut last, end) = time_of_day::bare(tokens, from)?;
    // "between 5 and 9 pm" is in the evening.
    if open && time_of_day::how_written(&tokens[from..end], last) == Written::Half {
        first = first.no_later_than(last);
    }
    // "from 9 to 5": nobody works backwards.
    let said = tokens[end - 1].text.to_lowercase();
    if last.hour < 12 && last.minutes() <= first.minutes() && !said.contains("am") {
        last.hour += 12;
    }
    (first.minutes() < last.minutes()).then_some((Window { first, last }, end))
}
