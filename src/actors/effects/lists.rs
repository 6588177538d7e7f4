//! Lists that are read to their end: page by page, each a call of its own that waits for its turn like any other.
//!
//! So many items are kept; the others are counted only, so that whoever gets the list knows that it was cut, and of how many. Nothing is made durable between
//! two pages: after a crash the list is read anew from its beginning.

use super::{Behalf, Prepared, read};
use crate::{
    actors::{core::Core, employee::StepResult},
    connect::{PageWalk, PagesError},
    graph::StepError,
};
use serde_json::{Value, json};
use std::sync::Arc;

/// Pages of one list. At a thousand items a page that is more than a step could be told of.
const MOST_PAGES: usize = 200;

/// Reads all pages. The output is that of the first page with all items that are kept in the place of its own, and with
/// `listing: {"kept": 1000, "total": 4310, "complete": true}`: how many items there are as far as was read, and whether that was to the end.
pub(super) async fn read_all(core: &Core, job: &Behalf, call: &Prepared, most: u64) -> StepResult {
    let Some(place) = call
        .capability
        .pagination
        .as_ref()
        .map(|pages| pages.items().to_owned())
    else {
        let id = &call.capability.id;
        let message =
            format!("max_items: {id} has no pages, so there is no list to read to its end");
        return StepResult::Failed(StepError::new("bad_params", message));
    };
    let mut walk = PageWalk::new(MOST_PAGES);
    let mut arguments = call.outgoing().clone();
    let mut list: Option<List> = None;
    loop {
        let output = match read(core, job, call, &arguments).await {
            StepResult::Completed { output, .. } => Arc::unwrap_or_clone(output),
            other => return other,
        };
        let next = walk.next(&call.capability, &arguments, &output);
        match &mut list {
            None => list = Some(List::begin(output, &place, most)),
            Some(list) => list.add(output, &place),
        }
        let complete = match next {
            Ok(Some(next)) => {
                arguments = next;
                continue;
            }
            Ok(None) => true,
            Err(PagesError::TooMany { .. }) => false,
            Err(error) => {
                return StepResult::Failed(StepError::new("provider_error", error.to_string()));
            }
        };
        let output = list
            .map(|list| list.end(&place, complete))
            .unwrap_or_default();
        return super::words::completed(output);
    }
}

/// What was read so far.
struct List {
    first: Value,
    kept: Vec<Value>,
    total: u64,
    most: u64,
}

impl List {
    fn begin(mut first: Value, place: &str, most: u64) -> Self {
        let items = taken(&mut first, place);
        let mut list = Self {
            first,
            kept: Vec::new(),
            total: 0,
            most,
        };
        list.keep(items);
        list
    }

    fn add(&mut self, mut page: Value, place: &str) {
        self.keep(taken(&mut page, place));
    }

    fn keep(&mut self, items: Vec<Value>) {
        self.total += items.len() as u64;
        let room = self.most.saturating_sub(self.kept.len() as u64);
        let room = usize::try_from(room).unwrap_or(usize::MAX);
        self.kept.extend(items.into_iter().take(room));
    }

    fn end(self, place: &str, complete: bool) -> Value {
        let Self {
            mut first,
            kept,
            total,
            ..
        } = self;
        let listing = json!({"kept": kept.len(), "total": total, "complete": complete});
        if let Some(fields) = first.as_object_mut() {
            fields.insert(place.to_owned(), Value::Array(kept));
            fields.insert("listing".into(), listing);
        }
        first
    }
}

fn taken(page: &mut Value, place: &str) -> Vec<Value> {
    match page.get_mut(place).map(Value::take) {
        Some(Value::Array(items)) => items,
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(from: u64, to: u64) -> Value {
        json!({"things": (from..to).collect::<Vec<_>>(), "count": to - from, "next": to})
    }

    #[test]
    fn list_that_is_cut_says_of_how_many() {
        for (most, pages, kept, total) in [
            (1000, vec![(0, 3)], 3, 3),
            (1000, vec![(0, 1000), (1000, 1202)], 1000, 1202),
            (5, vec![(0, 3), (3, 6), (6, 7)], 5, 7),
            (3, vec![(0, 3), (3, 6)], 3, 6),
            (1, vec![(0, 0), (0, 2)], 1, 2),
            (10, vec![(0, 0)], 0, 0),
        ] {
            let mut pages = pages.into_iter().map(|(from, to)| page(from, to));
            let mut list = List::begin(pages.next().expect("one"), "things", most);
            pages.for_each(|page| list.add(page, "things"));
            let output = list.end("things", true);
            let things = output["things"].as_array().expect("a list");
            let expected: Vec<Value> = (0..kept).map(Value::from).collect();
            assert_eq!(*things, expected);
            assert_eq!(
                output["listing"],
                json!({"kept": kept, "total": total, "complete": true})
            );
        }
    }
}
