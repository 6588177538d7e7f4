//! GitHub's REST API: the issues of two repositories and their comments.

mod issues;

use super::{
    call::{Answer, Call},
    oauth::Refusal,
    urlencoded,
};
use crate::domain::Timestamp;
use issues::Issue;
use serde_json::{Value, json};
use std::collections::BTreeMap;

pub(super) const OWNER: &str = "demo";
const REPOSITORIES: [&str; 2] = ["website", "api"];
const LOGIN: &str = "tenure-demo";
const LONGEST_PAGE: usize = 100;

#[derive(Debug)]
pub(super) struct GitHub {
    /// By the repository's name; the issue at n has the number n + 1.
    issues: BTreeMap<&'static str, Vec<Issue>>,
    /// Ids are counted over everything.
    last_id: u64,
}

/// What an answer needs besides the body.
type Reply = Result<Answer, Answer>;

impl GitHub {
    pub fn new() -> Self {
        let issues = REPOSITORIES.map(|name| (name, Vec::new()));
        Self {
            issues: issues.into_iter().collect(),
            last_id: 0,
        }
    }

    pub fn answer(&mut self, call: &Call) -> Answer {
        let parts: Vec<_> = call
            .path
            .split('/')
            .skip(1)
            .map(urlencoded::decode)
            .collect();
        let parts: Vec<_> = parts.iter().map(String::as_str).collect();
        let reply = match (call.method.as_str(), parts.as_slice()) {
            ("GET", ["user"]) => Ok(Answer::ok(user())),
            ("GET", ["user", "repos"]) => self.repositories(call),
            ("GET", ["search", "issues"]) => self.search(call),
            ("GET", ["repos", owner, name]) => {
                find(owner, name).map(|name| Answer::ok(repository(name)))
            }
            (method, ["repos", owner, name, "issues", rest @ ..]) => {
                find(owner, name).and_then(|name| self.issue(method, name, rest, call))
            }
            _ => Err(not_found()),
        };
        reply.unwrap_or_else(|answer| answer)
    }

    fn issue(&mut self, method: &str, name: &'static str, rest: &[&str], call: &Call) -> Reply {
        match (method, rest) {
            ("GET", []) => self.list(name, call),
            ("POST", []) => self.create(name, &call.body, call.at),
            ("GET", [number]) => {
                let issue = self.find(name, number)?;
                Ok(Answer::ok(issue.to_json(name)))
            }
            ("PATCH", [number]) => self.update(name, number, &call.body, call.at),
            ("GET", [number, "comments"]) => {
                let all = &self.find(name, number)?.comments;
                paged(
                    call,
                    all.iter().map(|comment| comment.json.clone()).collect(),
                )
            }
            ("POST", [number, "comments"]) => self.comment(name, number, &call.body, call.at),
            _ => Err(not_found()),
        }
    }

    fn repositories(&self, call: &Call) -> Reply {
        paged(
            call,
            REPOSITORIES.iter().map(|name| repository(name)).collect(),
        )
    }
}

/// A page of a list: `per_page` (30 if absent), `page`, and a `Link` header to the next.
fn paged(call: &Call, all: Vec<Value>) -> Reply {
    let (start, end) = bounds(call, all.len())?;
    let answer = Answer::ok(json!(all[start..end]));
    if end >= all.len() {
        return Ok(answer);
    }
    let mut pairs = urlencoded::pairs(&call.query);
    pairs.retain(|(name, _)| name != "page");
    let size = (end - start).max(1);
    pairs.push(("page".into(), (end / size + 1).to_string()));
    let pairs: Vec<_> = pairs
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    let next = format!(
        "<https://api.github.com{}?{}>; rel=\"next\"",
        call.path,
        urlencoded::encode(&pairs)
    );
    Ok(answer.with_header("link", next))
}

fn bounds(call: &Call, length: usize) -> Result<(usize, usize), Answer> {
    let number = |name: &str, default: usize| match given(call, name) {
        None => Ok(default),
        Some(text) => text
            .parse::<usize>()
            .ok()
            .filter(|number| *number > 0)
            .ok_or_else(|| invalid("Query", name, "invalid")),
    };
    let size = number("per_page", 30)?.min(LONGEST_PAGE);
    let page = number("page", 1)?;
    let start = (page - 1).saturating_mul(size).min(length);
    Ok((start, start.saturating_add(size).min(length)))
}

fn given(call: &Call, name: &str) -> Option<String> {
    let pairs = urlencoded::pairs(&call.query);
    pairs
        .into_iter()
        .find(|(known, _)| known == name)
        .map(|(_, value)| value)
}

fn find(owner: &str, name: &str) -> Result<&'static str, Answer> {
    let is_ours = owner.eq_ignore_ascii_case(OWNER);
    let known = REPOSITORIES
        .into_iter()
        .find(|known| is_ours && known.eq_ignore_ascii_case(name));
    known.ok_or_else(not_found)
}

fn user() -> Value {
    json!({"login": LOGIN, "id": 1, "type": "User", "name": "Tenure demo"})
}

pub(super) fn repository(name: &str) -> Value {
    json!({
        "id": REPOSITORIES.iter().position(|known| *known == name).unwrap_or(0) + 1, "name": name,
        "full_name": format!("{OWNER}/{name}"), "private": true, "owner": {"login": OWNER, "id": 2, "type": "Organization"},
        "default_branch": "main", "html_url": format!("https://github.com/{OWNER}/{name}"),
    })
}

fn time(at: Timestamp) -> String {
    at.to_chrono().format("%Y-%m-%dT%H:%M:%SZ").to_string()
}

fn not_found() -> Answer {
    plain(404, "Not Found")
}

fn invalid(resource: &str, field: &str, code: &str) -> Answer {
    let error = json!({"resource": resource, "field": field, "code": code});
    Answer::new(
        422,
        json!({
            "message": "Validation Failed", "errors": [error], "status": "422",
            "documentation_url": "https://docs.github.com/rest/issues/issues",
        }),
    )
}

fn plain(status: u16, message: &str) -> Answer {
    Answer::new(
        status,
        json!({
            "message": message, "documentation_url": "https://docs.github.com/rest", "status": status.to_string(),
        }),
    )
}

/// GitHub says the same of tokens that it does not know, that have expired and that were revoked.
pub(super) fn unauthorised(refusal: Refusal) -> Answer {
    match refusal {
        Refusal::Missing => plain(401, "Requires authentication"),
        _ => plain(401, "Bad credentials"),
    }
}

pub(super) fn too_many() -> Answer {
    plain(429, "API rate limit exceeded for user ID 1.")
}
