//! Issues and their comments.

use super::{
    GitHub, LOGIN, OWNER, Reply, bounds, given, invalid, not_found, paged, plain, time, user,
};
use crate::{
    domain::Timestamp,
    sandbox::call::{Answer, Call},
};
use serde_json::{Value, json};

const TITLE_LIMIT: usize = 256;
const BODY_LIMIT: usize = 65_536;

#[derive(Debug)]
pub(super) struct Issue {
    json: Value,
    pub comments: Vec<Comment>,
}

#[derive(Debug)]
pub(super) struct Comment {
    pub json: Value,
}

impl Issue {
    pub fn to_json(&self, repository: &str) -> Value {
        let mut shown = self.json.clone();
        let url = format!("https://api.github.com/repos/{OWNER}/{repository}");
        shown["repository_url"] = json!(url);
        shown["comments"] = json!(self.comments.len());
        shown
    }
    fn text(&self, name: &str) -> &str {
        self.json[name].as_str().unwrap_or_default()
    }
    fn has_label(&self, name: &str) -> bool {
        let mut labels = self.json["labels"].as_array().into_iter().flatten();
        labels.any(|label| label["name"].as_str() == Some(name))
    }
}

impl GitHub {
    pub(super) fn find(&self, name: &str, number: &str) -> Result<&Issue, Answer> {
        let place = place(number).ok_or_else(not_found)?;
        let all = self.issues.get(name);
        all.and_then(|all| all.get(place)).ok_or_else(not_found)
    }

    fn find_mut(&mut self, name: &str, number: &str) -> Result<&mut Issue, Answer> {
        let place = place(number).ok_or_else(not_found)?;
        let all = self.issues.get_mut(name);
        all.and_then(|all| all.get_mut(place)).ok_or_else(not_found)
    }

    fn next_id(&mut self) -> u64 {
        self.last_id += 1;
        self.last_id
    }

    pub(super) fn create(&mut self, name: &'static str, body: &Value, at: Timestamp) -> Reply {
        let title = body["title"].as_str().unwrap_or_default();
        check_title(title)?;
        let text = check_body(body, "Issue")?;
        let labels = labels(&body["labels"])?;
        let id = self.next_id();
        let all = self.issues.get_mut(name).ok_or_else(not_found)?;
        let number = all.len() + 1;
        all.push(Issue {
            json: json!({
                "id": id, "node_id": format!("I_{id}"), "number": number, "title": title, "body": text,
                "state": "open", "state_reason": null, "labels": labels, "assignees": people(&body["assignees"]),
                "user": user(), "created_at": time(at), "updated_at": time(at), "closed_at": null, "locked": false,
                "html_url": format!("https://github.com/{OWNER}/{name}/issues/{number}"),
            }),
            comments: Vec::new(),
        });
        let issue = &all[number - 1];
        Ok(Answer::new(201, issue.to_json(name)))
    }

    pub(super) fn update(
        &mut self,
        name: &'static str,
        number: &str,
        body: &Value,
        at: Timestamp,
    ) -> Reply {
        let issue = self.find_mut(name, number)?;
        let mut changed = issue.json.clone();
        if let Some(title) = body["title"].as_str() {
            check_title(title)?;
            changed["title"] = json!(title);
        }
        if body.get("body").is_some() {
            changed["body"] = check_body(body, "Issue")?;
        }
        if body.get("labels").is_some() {
            changed["labels"] = labels(&body["labels"])?;
        }
        if body.get("assignees").is_some() {
            changed["assignees"] = people(&body["assignees"]);
        }
        match body["state"].as_str() {
            None => {}
            Some("open") => {
                changed["state"] = json!("open");
                changed["closed_at"] = Value::Null;
            }
            Some("closed") => {
                changed["state"] = json!("closed");
                changed["closed_at"] = json!(time(at));
                let reason = body["state_reason"].as_str().unwrap_or("completed");
                changed["state_reason"] = json!(reason);
            }
            Some(_) => return Err(invalid("Issue", "state", "invalid")),
        }
        changed["updated_at"] = json!(time(at));
        issue.json = changed;
        Ok(Answer::ok(issue.to_json(name)))
    }

    pub(super) fn comment(
        &mut self,
        name: &'static str,
        number: &str,
        body: &Value,
        at: Timestamp,
    ) -> Reply {
        let text = check_body(body, "IssueComment")?;
        if text.as_str().is_none_or(str::is_empty) {
            return Err(invalid("IssueComment", "body", "missing_field"));
        }
        self.find(name, number)?;
        let id = self.next_id();
        let issue = self.find_mut(name, number)?;
        let json = json!({
            "id": id, "node_id": format!("IC_{id}"), "body": text, "user": user(),
            "created_at": time(at), "updated_at": time(at),
            "issue_url": format!("https://api.github.com/repos/{OWNER}/{name}/issues/{number}"),
            "html_url": format!("https://github.com/{OWNER}/{name}/issues/{number}#issuecomment-{id}"),
        });
        issue.json["updated_at"] = json!(time(at));
        issue.comments.push(Comment { json: json.clone() });
        Ok(Answer::new(201, json))
    }

    /// Newest first; `state` (open if absent), `labels` (all of them), `creator`, `since`.
    pub(super) fn list(&self, name: &'static str, call: &Call) -> Reply {
        let state = given(call, "state").unwrap_or_else(|| "open".into());
        if !["open", "closed", "all"].contains(&state.as_str()) {
            return Err(invalid("Issue", "state", "invalid"));
        }
        let labels = given(call, "labels").unwrap_or_default();
        let labels: Vec<_> = labels
            .split(',')
            .filter(|label| !label.is_empty())
            .collect();
        let creator = given(call, "creator");
        let since = given(call, "since").and_then(|since| Timestamp::parse(&since));
        let fits = |issue: &&Issue| {
            let updated = Timestamp::parse(issue.text("updated_at"));
            (state == "all" || issue.text("state") == state)
                && labels.iter().all(|label| issue.has_label(label))
                && creator.as_deref().is_none_or(|creator| creator == LOGIN)
                && since.is_none_or(|since| updated.is_some_and(|updated| updated >= since))
        };
        let all = self.issues.get(name).into_iter().flatten().rev();
        let found = all.filter(fits).map(|issue| issue.to_json(name)).collect();
        let mut found: Vec<Value> = found;
        if given(call, "direction").as_deref() == Some("asc") {
            found.reverse();
        }
        paged(call, found)
    }

    /// Words and quoted phrases, looked for in titles, texts and comments; `repo:`, `state:`, `is:`, `label:`, `in:` too.
    pub(super) fn search(&self, call: &Call) -> Reply {
        let query = given(call, "q").unwrap_or_default();
        if query.trim().is_empty() {
            return Err(invalid("Search", "q", "missing"));
        }
        let terms = terms(&query);
        let mut found = Vec::new();
        for (name, issues) in &self.issues {
            let fitting = issues.iter().filter(|issue| fits(issue, name, &terms));
            found.extend(fitting.map(|issue| issue.to_json(name)));
        }
        found.reverse();
        let (start, end) = bounds(call, found.len())?;
        Ok(Answer::ok(json!({
            "total_count": found.len(), "incomplete_results": false, "items": found[start..end],
        })))
    }
}

fn fits(issue: &Issue, repository: &str, terms: &[String]) -> bool {
    let comments = issue.comments.iter();
    let comments = comments.map(|comment| comment.json["body"].as_str().unwrap_or_default());
    let texts: Vec<_> = [issue.text("title"), issue.text("body")]
        .into_iter()
        .chain(comments)
        .map(str::to_lowercase)
        .collect();
    terms.iter().all(|term| match term.split_once(':') {
        Some(("repo", wanted)) => wanted.eq_ignore_ascii_case(&format!("{OWNER}/{repository}")),
        Some(("state", wanted)) => issue.text("state") == wanted,
        Some(("is", wanted)) => wanted == "issue" || issue.text("state") == wanted,
        Some(("label", wanted)) => issue.has_label(wanted),
        Some(("in", _)) => true,
        _ => {
            let term = term.to_lowercase();
            texts.iter().any(|text| text.contains(&term))
        }
    })
}

/// Words; quotes keep several together, also after an operator.
fn terms(query: &str) -> Vec<String> {
    let (mut terms, mut word, mut quoted) = (Vec::new(), String::new(), false);
    for character in query.chars().chain([' ']) {
        match character {
            '"' => quoted = !quoted,
            space if space.is_whitespace() && !quoted => {
                if !word.is_empty() {
                    terms.push(std::mem::take(&mut word));
                }
            }
            other => word.push(other),
        }
    }
    terms
}

fn place(number: &str) -> Option<usize> {
    number.parse::<usize>().ok()?.checked_sub(1)
}

fn check_title(title: &str) -> Result<(), Answer> {
    match title.chars().count() {
        0 => Err(invalid("Issue", "title", "missing_field")),
        length if length > TITLE_LIMIT => Err(invalid("Issue", "title", "custom")),
        _ => Ok(()),
    }
}

fn check_body(body: &Value, resource: &str) -> Result<Value, Answer> {
    match &body["body"] {
        Value::Null => Ok(Value::Null),
        Value::String(text) if text.chars().count() <= BODY_LIMIT => Ok(json!(text)),
        Value::String(_) => Err(invalid(resource, "body", "custom")),
        _ => Err(plain(422, "Invalid request.\n\nbody is not a string.")),
    }
}

/// Labels come as names or as objects with a name.
fn labels(given: &Value) -> Result<Value, Answer> {
    let list = match given {
        Value::Null => return Ok(json!([])),
        Value::Array(list) => list,
        _ => return Err(plain(422, "Invalid request.\n\nlabels is not an array.")),
    };
    let names = list.iter().map(|label| {
        let name = label.as_str().or_else(|| label["name"].as_str());
        name.ok_or_else(|| invalid("Label", "name", "missing_field"))
    });
    let names: Vec<&str> = names.collect::<Result<_, _>>()?;
    let show = |name: &&str| json!({"name": name, "color": "ededed", "default": false});
    Ok(names.iter().map(show).collect())
}

fn people(given: &Value) -> Value {
    let names = given.as_array().into_iter().flatten();
    names
        .filter_map(Value::as_str)
        .map(|login| json!({"login": login, "type": "User"}))
        .collect()
}
