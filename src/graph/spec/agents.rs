//! Reading the work of each type of node.

use super::{
    BodySpec, GraphType, MAX_LIST_ITEMS, MAX_MS, OnItemError, RememberSpec, WaitSpec, WorkSpec,
    is_id, parse_duration,
    read::{Fields, Reader},
};
use serde_json::Value;

const MICRO_AGENTS: &str = "one of transform, decide, action, approval, wait, map";

impl Reader {
    pub(super) fn work(&mut self, fields: &mut Fields<'_>, kind: GraphType) -> Option<WorkSpec> {
        let expected = match kind {
            GraphType::Employee => "`skill`: an employee graph holds skills",
            GraphType::Skill => MICRO_AGENTS,
        };
        let word = fields.required(self, "type", expected)?;
        match (kind, word.as_str()) {
            (GraphType::Employee, Some("skill")) => self.skill(fields),
            (GraphType::Skill, Some("map")) => self.map(fields),
            (GraphType::Skill, Some("transform" | "decide" | "action" | "approval" | "wait")) => {
                self.simple(fields, true)
            }
            _ => {
                self.refuse_type(fields.path("type"), word, expected);
                None
            }
        }
    }

    /// What may also be the body of a `map`; `routes`: whether it may name other nodes.
    fn simple(&mut self, fields: &mut Fields<'_>, routes: bool) -> Option<WorkSpec> {
        match fields.get("type").and_then(Value::as_str) {
            Some("transform") => self.transform(fields),
            Some("decide") => self.decide(fields),
            Some("action") => self.action(fields),
            Some("approval") => self.approval(fields, routes),
            _ => self.wait(fields, routes),
        }
    }

    fn skill(&mut self, fields: &mut Fields<'_>) -> Option<WorkSpec> {
        let skill_graph =
            fields.required_text(self, "skill_graph", "the graph_id of a skill graph");
        fields.required(
            self,
            "permissions",
            "the list of what the skill may use, which may be empty",
        );
        let permissions = fields.texts(self, "permissions");
        Some(WorkSpec::Skill {
            skill_graph: skill_graph?,
            permissions: permissions?,
        })
    }

    fn transform(&mut self, fields: &mut Fields<'_>) -> Option<WorkSpec> {
        let output = fields
            .required(self, "output", "the template of its output")
            .cloned();
        let remember = self.remember(fields);
        Some(WorkSpec::Transform {
            output: output?,
            remember,
        })
    }

    fn remember(&mut self, fields: &mut Fields<'_>) -> RememberSpec {
        let Some(value) = fields.get("remember") else {
            return RememberSpec::default();
        };
        let path = fields.path("remember");
        let Some(mut fields) = Fields::new(self, value, &path) else {
            return RememberSpec::default();
        };
        let remember = RememberSpec {
            employee: fields.entries(self, "employee"),
            skill: fields.entries(self, "skill"),
            org: fields.entries(self, "org"),
        };
        fields.finish(self);
        remember
    }

    fn decide(&mut self, fields: &mut Fields<'_>) -> Option<WorkSpec> {
        fields.required(self, "cases", "a list of {when, choose}");
        let path = fields.path("cases");
        let values = fields.list(self, "cases")?;
        let cases: Vec<_> = values
            .iter()
            .enumerate()
            .filter_map(|(place, case)| self.case(&format!("{path}[{place}]"), case))
            .collect();
        let otherwise = fields.text(self, "otherwise");
        if values.is_empty() && otherwise.is_none() {
            self.refuse(path, "a decide needs a case or `otherwise`");
        }
        Some(WorkSpec::Decide { cases, otherwise })
    }

    fn case(&mut self, path: &str, value: &Value) -> Option<(String, String)> {
        let mut fields = Fields::new(self, value, path)?;
        let when = fields.required_text(self, "when", "a CEL condition");
        let choose = fields.required_text(self, "choose", "the label that is chosen");
        fields.finish(self);
        Some((when?, choose?))
    }

    fn action(&mut self, fields: &mut Fields<'_>) -> Option<WorkSpec> {
        let capability = fields.required_text(
            self,
            "capability",
            "the id of a capability, for example slack.chat.post",
        );
        let connection = fields.text(self, "connection");
        let arguments = fields
            .required(self, "arguments", "the template of what is sent")
            .cloned();
        let max_items = fields.integer(self, "max_items", 1..=MAX_LIST_ITEMS);
        Some(WorkSpec::Action {
            capability: capability?,
            connection,
            arguments: arguments?,
            max_items,
        })
    }

    fn approval(&mut self, fields: &mut Fields<'_>, routes: bool) -> Option<WorkSpec> {
        Some(WorkSpec::Approval {
            title: fields.text(self, "title"),
            arguments: fields.get("arguments").cloned(),
            approves: fields.texts(self, "approves").unwrap_or_default(),
            expires_ms: fields.integer(self, "expires_ms", 1..=MAX_MS),
            on_denied: if routes {
                fields.text(self, "on_denied")
            } else {
                None
            },
            on_expired: if routes {
                fields.text(self, "on_expired")
            } else {
                None
            },
        })
    }

    fn wait(&mut self, fields: &mut Fields<'_>, routes: bool) -> Option<WorkSpec> {
        let forms = ["duration_ms", "duration", "until", "event"];
        let given: Vec<&str> = forms.into_iter().filter(|form| fields.has(form)).collect();
        let &[form] = given.as_slice() else {
            for form in forms {
                fields.get(form);
            }
            self.refuse(
                fields.path(""),
                format!(
                    "a wait has exactly one of {}, found {}",
                    forms.join(", "),
                    given.len()
                ),
            );
            return None;
        };
        let until = match form {
            "duration_ms" => WaitSpec::Duration(fields.integer(self, "duration_ms", 0..=MAX_MS)?),
            "duration" => WaitSpec::Duration(self.duration(fields)?),
            "until" => WaitSpec::Until(fields.text(self, "until")?),
            _ => self.event(fields, routes)?,
        };
        Some(WorkSpec::Wait { until })
    }

    fn duration(&mut self, fields: &mut Fields<'_>) -> Option<u64> {
        let text = fields.text(self, "duration")?;
        let parsed = parse_duration(&text).filter(|millis| *millis <= MAX_MS);
        if parsed.is_none() {
            self.refuse(
                fields.path("duration"),
                format!("`{text}` is no duration up to 366 days; write PT10M, 10m, 1h30m or 2d"),
            );
        }
        parsed
    }

    fn event(&mut self, fields: &mut Fields<'_>, routes: bool) -> Option<WaitSpec> {
        let timeout_ms = fields.integer(self, "timeout_ms", 1..=MAX_MS);
        let on_timeout = if routes {
            fields.text(self, "on_timeout")
        } else {
            None
        };
        let path = fields.path("event");
        let mut event = Fields::new(self, fields.get("event")?, &path)?;
        let kind = event.required_text(
            self,
            "type",
            "the type of the event, for example invoice.paid",
        );
        let source = event.text(self, "source");
        let matches = event.entries(self, "match");
        for (pointer, _) in matches
            .iter()
            .filter(|(pointer, _)| !pointer.is_empty() && !pointer.starts_with('/'))
        {
            self.refuse(
                format!("{path}.match"),
                format!("`{pointer}` is no JSON pointer; write /invoice/id"),
            );
        }
        event.finish(self);
        Some(WaitSpec::Event {
            event: kind?,
            source,
            matches,
            timeout_ms,
            on_timeout,
        })
    }

    fn map(&mut self, fields: &mut Fields<'_>) -> Option<WorkSpec> {
        let items = fields.required_text(self, "items", "a CEL expression that gives a list");
        let name = fields.text(self, "as").unwrap_or_else(|| "item".into());
        if !is_variable(&name) {
            self.refuse(
                fields.path("as"),
                format!(
                    "`{name}` cannot name an element; take a plain name that is no variable already"
                ),
            );
        }
        let width = fields.integer(self, "width", 1..=100).unwrap_or(4);
        let max_items = fields
            .integer(self, "max_items", 1..=100_000)
            .unwrap_or(1_000);
        let words = [
            ("fail", OnItemError::Fail),
            ("skip", OnItemError::Skip),
            ("collect", OnItemError::Collect),
        ];
        let on_item_error = fields
            .choice(self, "on_item_error", &words)
            .unwrap_or_default();
        let body = fields.required(
            self,
            "do",
            "the work for each element: a micro-agent without id and edges",
        );
        let body = self.body(&fields.path("do"), body?)?;
        let (width, max_items) = (u32::try_from(width).ok()?, u32::try_from(max_items).ok()?);
        Some(WorkSpec::Map {
            items: items?,
            name,
            width,
            max_items,
            on_item_error,
            body,
        })
    }

    fn body(&mut self, path: &str, value: &Value) -> Option<BodySpec> {
        let expected = "one of transform, decide, action, approval, wait";
        let mut fields = Fields::new(self, value, path)?;
        let word = fields.required(self, "type", expected)?;
        if !matches!(
            word.as_str(),
            Some("transform" | "decide" | "action" | "approval" | "wait")
        ) {
            self.refuse_type(fields.path("type"), word, expected);
            return None;
        }
        fields.text(self, "description");
        let work = self.simple(&mut fields, false);
        let timeout_ms = if word != "wait" {
            fields.integer(self, "timeout_ms", 1..=MAX_MS)
        } else {
            None
        };
        let retry = self.retry_policy(&mut fields);
        fields.finish(self);
        Some(BodySpec {
            work: Box::new(work?),
            retry,
            timeout_ms,
        })
    }
}

/// A name that an expression can use and that means nothing else.
fn is_variable(name: &str) -> bool {
    let taken = [
        "trigger", "input", "steps", "memory", "org", "run", "output", "index", "true", "false",
        "null", "in",
    ];
    is_id(name)
        && !name.contains('-')
        && !name.starts_with(|first: char| first.is_ascii_digit())
        && !taken.contains(&name)
}
