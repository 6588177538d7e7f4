//! What `tenure dev` says when it is ready.

use super::demo;
use crate::cli::{
    output::{Output, text_at},
    remote::DevFile,
    shell,
};
use serde_json::Value;
use std::path::Path;

/// The three commands to try, without the name of the program. The README has the same.
pub const TO_TRY: [&str; 3] = [
    r#"tell clerk "chase the late invoices""#,
    "approve clerk",
    "runs",
];

/// The same where nobody is employed.
const TO_TRY_ALONE: [&str; 3] = [
    "hire examples/accounts-receivable-clerk.md --name clerk",
    "employees",
    "top",
];

pub struct Welcome<'a> {
    dev: &'a DevFile,
    employee: Option<&'a Value>,
    data: &'a Path,
}

impl<'a> Welcome<'a> {
    pub fn new(dev: &'a DevFile, employee: Option<&'a Value>, data: &'a Path) -> Self {
        Self {
            dev,
            employee,
            data,
        }
    }

    pub fn text(&self, out: Output) -> String {
        let row = |name: &str, value: &str| format!("  {name:<10}{value}");
        let mut lines = vec![
            out.bold(&format!("Tenure is at work on {}", self.dev.url)),
            String::new(),
            row("org", &format!("{}  {}", demo::ORG, out.dim(&self.dev.org))),
        ];
        if let Some(employee) = self.employee {
            let id = out.dim(&text_at(employee, "id"));
            lines.push(row("employee", &format!("{}  {id}", demo::EMPLOYEE)));
        }
        lines.push(row("key", &self.dev.api_key));
        lines.push(row(
            "sandbox",
            &format!("{}  (Slack, QuickBooks, Gmail)", self.dev.sandbox_url),
        ));
        lines.push(row("data", &self.data.display().to_string()));
        lines.push(String::new());
        lines.push("Try, in another terminal:".into());
        lines.extend(
            self.commands()
                .into_iter()
                .map(|command| format!("  {command}")),
        );
        lines.push(String::new());
        lines.push(out.dim("Ctrl-C stops it; started again it goes on where it was."));
        lines.join("\n")
    }

    fn commands(&self) -> [String; 3] {
        match self.employee {
            Some(_) => TO_TRY.map(shell::command),
            None => TO_TRY_ALONE.map(shell::command),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_readme_has_the_commands_that_dev_prints() {
        let readme = include_str!("../../../README.md");
        for command in TO_TRY {
            let line = format!("target/release/tenure {command}\n");
            assert!(readme.contains(&line), "{line}");
        }
    }
}
