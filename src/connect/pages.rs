//! From one page of a result to the next. Pure.
//!
//! Whoever reads a list to its end walks it with a [`PageWalk`]: a provider whose pages lead in a circle must not be asked for ever, and what
//! was read of such a list must not be taken for the whole of it.

use super::catalog::{Capability, Pagination};
use crate::domain::ContentHash;
use serde_json::{Map, Value};
use std::collections::HashSet;

/// Why a list cannot be read to its end.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PagesError {
    /// The way on is one that was taken before.
    #[error(
        "the pages lead in a circle: after page {page}, `{argument}` is one that was asked before"
    )]
    Circle { argument: String, page: usize },
    /// Another page was asked for, and one came that was there before.
    #[error(
        "the pages do not go on: page {page} holds what an earlier one held, whatever `{argument}` says"
    )]
    Repeated { argument: String, page: usize },
    /// There is said to be more, and nothing to ask for it with.
    #[error("page {page} says that there are more, and not where")]
    NoWayOn { page: usize },
    #[error("there are more than {most} pages")]
    TooMany { most: usize },
}

/// The way through one list. It keeps a hash of each page and of each way on, 64 bytes a page.
#[derive(Debug)]
pub struct PageWalk {
    most: usize,
    pages: usize,
    asked: HashSet<[u8; 32]>,
    seen: HashSet<[u8; 32]>,
}

impl PageWalk {
    /// Reads no more than `most` pages.
    pub fn new(most: usize) -> Self {
        Self {
            most,
            pages: 0,
            asked: HashSet::new(),
            seen: HashSet::new(),
        }
    }

    /// The arguments of the page after the one that `arguments` gave as `output`; `None` if that was the last, or the capability has no pages.
    ///
    /// # Errors
    /// If the provider leads in a circle, or the list does not end within the bound.
    pub fn next(
        &mut self,
        capability: &Capability,
        arguments: &Value,
        output: &Value,
    ) -> Result<Option<Value>, PagesError> {
        let Some(pagination) = &capability.pagination else {
            return Ok(None);
        };
        self.pages += 1;
        let (page, argument) = (self.pages, || pagination.argument().to_owned());
        self.asked.insert(hash_of(arguments));
        let items = output.get(pagination.items()).and_then(Value::as_array);
        // An empty page before a full one is no circle: filters leave nothing of some pages.
        if let Some(items) = items.filter(|items| !items.is_empty()) {
            let content = ContentHash::of_json(&Value::Array(items.clone()));
            if !self.seen.insert(*content.bytes()) {
                let argument = argument();
                return Err(PagesError::Repeated { argument, page });
            }
        }
        let Some(next) = next_page(capability, arguments, output) else {
            return match says_more(pagination, output) {
                true => Err(PagesError::NoWayOn { page }),
                false => Ok(None),
            };
        };
        if self.asked.contains(&hash_of(&next)) {
            let argument = argument();
            return Err(PagesError::Circle { argument, page });
        }
        match page < self.most {
            true => Ok(Some(next)),
            false => Err(PagesError::TooMany { most: self.most }),
        }
    }
}

fn hash_of(value: &Value) -> [u8; 32] {
    *ContentHash::of_json(value).bytes()
}

/// Whether a page says itself that it is not the last.
fn says_more(pagination: &Pagination, output: &Value) -> bool {
    match pagination {
        Pagination::Last { more, .. }
        | Pagination::Cursor {
            more: Some(more), ..
        } => output.get(more) == Some(&Value::Bool(true)),
        _ => false,
    }
}

/// The arguments of the next page, if the capability has pages and this was not the last.
pub fn next_page(capability: &Capability, arguments: &Value, output: &Value) -> Option<Value> {
    let pagination = capability.pagination.as_ref()?;
    let items = output.get(pagination.items())?.as_array()?;
    let next = match pagination {
        Pagination::Cursor {
            more: Some(more), ..
        } if output.get(more) == Some(&Value::Bool(false)) => return None,
        Pagination::Cursor { cursor, .. } => match output.get(cursor)? {
            Value::Null | Value::Bool(false) => return None,
            Value::String(text) if text.is_empty() => return None,
            cursor => cursor.clone(),
        },
        Pagination::Offset {
            argument,
            first,
            size,
            ..
        } => {
            is_full(capability, arguments, items, size).then_some(())?;
            (number(arguments, argument).unwrap_or(*first) + items.len() as u64).into()
        }
        Pagination::Page {
            argument,
            first,
            size,
            ..
        } => {
            is_full(capability, arguments, items, size).then_some(())?;
            (number(arguments, argument).unwrap_or(*first) + 1).into()
        }
        Pagination::Last { last, more, .. } => {
            (output.get(more)? == &Value::Bool(true)).then_some(())?;
            items.last()?.pointer(last)?.clone()
        }
    };
    let mut arguments = match arguments {
        Value::Object(arguments) => arguments.clone(),
        _ => Map::new(),
    };
    arguments.insert(pagination.argument().into(), next);
    Some(Value::Object(arguments))
}

fn number(arguments: &Value, name: &str) -> Option<u64> {
    arguments.get(name)?.as_u64()
}

fn is_full(capability: &Capability, arguments: &Value, items: &[Value], size: &str) -> bool {
    let default = || capability.input["properties"][size]["default"].as_u64();
    let wanted = number(arguments, size).or_else(default);
    !items.is_empty() && wanted.is_some_and(|wanted| items.len() as u64 >= wanted)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connect::Catalog;
    use serde_json::json;

    /// Walks a provider that answers with `page(arguments)`; gives how many pages were read and how it ended.
    fn walk(
        capability: &str,
        first: Value,
        page: impl Fn(&Value) -> Value,
    ) -> (usize, Option<PagesError>) {
        let catalog = Catalog::embedded().expect("the catalog");
        let capability = catalog.capability(capability).expect("a capability");
        let (mut walk, mut arguments, mut read) = (PageWalk::new(50), first, 0);
        loop {
            read += 1;
            assert!(read < 100, "it does not end");
            match walk.next(capability, &arguments, &page(&arguments)) {
                Ok(Some(next)) => arguments = next,
                Ok(None) => return (read, None),
                Err(error) => return (read, Some(error)),
            }
        }
    }

    /// Mails whose cursors lead along `ways`; each page has another mail.
    fn by_cursor(ways: &[(&str, Value)]) -> (usize, Option<PagesError>) {
        walk("gmail.search", json!({"query": "x"}), |arguments| {
            let at = arguments["page_token"].as_str().unwrap_or_default();
            let next = ways.iter().find(|(from, _)| *from == at);
            let next = next.map_or(Value::Null, |(_, next)| next.clone());
            json!({"messages": [{"id": format!("m{at}")}], "next_page_token": next})
        })
    }

    #[test]
    fn lists_that_end_are_read_to_their_end() {
        let ways = [("", json!("a")), ("a", json!("b")), ("b", json!(""))];
        assert_eq!(by_cursor(&ways), (3, None));
        assert_eq!(by_cursor(&[("", json!(false))]), (1, None));
        let numbered = walk("github.repos.list", json!({"per_page": 2}), |arguments| {
            let page = arguments["page"].as_u64().unwrap_or(1);
            let count = if page < 4 { 2 } else { 1 };
            json!({"repos": (0..count).map(|n| json!({"id": page * 10 + n})).collect::<Vec<_>>()})
        });
        assert_eq!(numbered, (4, None));
        // What filters leave empty is no circle.
        let sparse = walk("gmail.search", json!({}), |arguments| {
            let at = arguments["page_token"].as_str().unwrap_or("0");
            let at: u64 = at.parse().expect("a number");
            json!({"messages": [], "next_page_token": if at < 5 { json!((at + 1).to_string()) } else { Value::Null }})
        });
        assert_eq!(sparse, (6, None));
    }

    #[test]
    fn pages_in_a_circle_end_with_an_error() {
        let circle = |page| {
            let argument = "page_token".into();
            Some(PagesError::Circle { argument, page })
        };
        for (ways, read) in [
            (vec![("", json!("a")), ("a", json!("a"))], 2),
            (
                vec![("", json!("a")), ("a", json!("b")), ("b", json!("a"))],
                3,
            ),
            (
                vec![
                    ("", json!("a")),
                    ("a", json!("b")),
                    ("b", json!("c")),
                    ("c", json!("d")),
                    ("d", json!("b")),
                ],
                5,
            ),
            (
                vec![
                    ("", json!("1")),
                    ("1", json!("2")),
                    ("2", json!("3")),
                    ("3", json!("1")),
                ],
                4,
            ),
            (vec![("", json!("ü%2F=")), ("ü%2F=", json!("ü%2F="))], 2),
        ] {
            assert_eq!(by_cursor(&ways), (read, circle(read)), "{ways:?}");
        }
    }

    #[test]
    fn pages_that_do_not_go_on_end_with_an_error() {
        let rows = |from: u64, key: &str| json!({key: (from..from + 2).map(|n| json!({"id": n, "Id": n.to_string()})).collect::<Vec<_>>()});
        let is_repeated = |found: (usize, Option<PagesError>), read| {
            let (pages, error) = found;
            assert_eq!(pages, read);
            assert!(
                matches!(error, Some(PagesError::Repeated { page, .. }) if page == read),
                "{error:?}"
            );
        };
        // The page number is not looked at.
        is_repeated(
            walk("github.repos.list", json!({"per_page": 2}), |_| {
                rows(1, "repos")
            }),
            2,
        );
        // Nor is the offset.
        is_repeated(
            walk(
                "quickbooks.invoice.query",
                json!({"max_results": 2}),
                |_| rows(7, "invoices"),
            ),
            2,
        );
        // The numbers go round after three pages.
        let round =
            |arguments: &Value| rows(arguments["page"].as_u64().unwrap_or(1) % 3 * 2, "repos");
        is_repeated(walk("github.repos.list", json!({"per_page": 2}), round), 4);
        // Another cursor each time, and always one page.
        let restless = |arguments: &Value| {
            let at = arguments["page_token"].as_str().unwrap_or_default();
            json!({"messages": [{"id": "m1"}], "next_page_token": format!("{at}x")})
        };
        is_repeated(walk("gmail.search", json!({}), restless), 2);
    }

    /// What providers have sent as the end of a list, and what was taken for it.
    #[test]
    fn the_end_of_a_list_is_where_no_way_on_is_told() {
        for (last, read) in [
            (json!(null), 2),
            (json!(""), 2),
            (json!(false), 2),
            // A number, and a text that looks like none, lead on.
            (json!(0), 3),
            (json!("null"), 3),
            (json!("0"), 3),
        ] {
            let found = walk(
                "gmail.search",
                json!({"query": "x"}),
                |arguments| match &arguments["page_token"] {
                    Value::Null => json!({"messages": [{"id": "1"}], "next_page_token": "a"}),
                    Value::String(at) if at == "a" => {
                        json!({"messages": [{"id": "2"}], "next_page_token": last})
                    }
                    _ => json!({"messages": [{"id": "3"}]}),
                },
            );
            assert_eq!(found, (read, None), "{last}");
        }
        // A cursor behind the last page leads nowhere, where the provider says so.
        for (has_more, next, read) in [
            (json!(false), json!("a"), 2),
            (json!(false), json!("stale"), 2),
            (json!(false), Value::Null, 2),
            (Value::Null, Value::Null, 2),
        ] {
            for capability in ["notion.search", "linear.issues.search"] {
                let found = walk(capability, json!({}), |arguments| {
                    let at = &arguments[if capability == "notion.search" {
                        "cursor"
                    } else {
                        "after"
                    }];
                    let page = |n: u64, next: &Value, more: &Value| {
                        let items = json!([{"id": n}]);
                        json!({"results": items, "issues": items, "next_cursor": next, "next": next, "has_more": more})
                    };
                    match at.as_str() {
                        None => page(1, &json!("a"), &json!(true)),
                        _ => page(2, &next, &has_more),
                    }
                });
                assert_eq!(found, (read, None), "{capability} {has_more} {next}");
            }
        }
        let lost = walk(
            "notion.search",
            json!({}),
            |_| json!({"results": [{"id": 1}], "next_cursor": null, "has_more": true}),
        );
        assert_eq!(lost, (1, Some(PagesError::NoWayOn { page: 1 })));
        // The first and the second page are empty, and the list goes on.
        let late = walk(
            "gmail.search",
            json!({}),
            |arguments| match arguments["page_token"].as_str() {
                None => json!({"messages": [], "next_page_token": "a"}),
                Some("a") => json!({"messages": [], "next_page_token": "b"}),
                _ => json!({"messages": [{"id": "1"}]}),
            },
        );
        assert_eq!(late, (3, None));
    }

    #[test]
    fn a_list_without_end_is_read_up_to_the_bound() {
        let endless = |arguments: &Value| {
            let page = arguments["page"].as_u64().unwrap_or(1);
            json!({"repos": [{"id": page}]})
        };
        let (read, error) = walk("github.repos.list", json!({"per_page": 1}), endless);
        assert_eq!((read, error), (50, Some(PagesError::TooMany { most: 50 })));
    }

    #[test]
    fn a_page_that_says_more_and_not_where_is_no_last_page() {
        let catalog = Catalog::embedded().expect("the catalog");
        let last = catalog
            .capabilities()
            .find(|one| matches!(one.pagination, Some(Pagination::Last { .. })));
        let last = last.expect("one with a last item");
        let Some(Pagination::Last { items, more, .. }) = &last.pagination else {
            unreachable!("it was looked for");
        };
        for empty in [json!([]), json!([{}]), json!([{"other": 1}])] {
            let output = json!({items: empty, more: true});
            let found = PageWalk::new(9).next(last, &json!({}), &output);
            assert_eq!(found, Err(PagesError::NoWayOn { page: 1 }), "{output}");
        }
        let output = json!({items: [], more: false});
        assert_eq!(PageWalk::new(9).next(last, &json!({}), &output), Ok(None));
    }
}
