//! What verbs write to stdout: text for people, JSON for programs, ids alone for pipes.

use crate::domain::Timestamp;
use serde_json::Value;
use std::io::{self, IsTerminal, Write};

/// Writes a line to stderr as `eprintln!` does, and does without it where stderr takes none (a full disk, a reader that has gone): what a
/// process does must not end over what it says of it.
macro_rules! note {
    ($($text:tt)*) => {{
        use std::io::Write as _;
        drop(writeln!(std::io::stderr(), $($text)*));
    }};
}
pub(in crate::cli) use note;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    People,
    Json,
    Ids,
}

/// The flags that every verb takes.
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct OutputArgs {
    /// Print JSON, one value a line, in the shapes of the API
    #[arg(long, global = true)]
    pub json: bool,
    /// Print ids alone, one a line
    #[arg(long, short, global = true, conflicts_with = "json")]
    pub quiet: bool,
}

/// Writes in one format. Every method fails only if stdout does.
#[derive(Clone, Copy, Debug)]
pub struct Output {
    pub format: Format,
    /// Whether bold and dim may be used.
    styled: bool,
}

impl Output {
    /// For people and without a terminal's styles.
    #[cfg(test)]
    pub(in crate::cli) const PLAIN: Self = Self {
        format: Format::People,
        styled: false,
    };

    pub fn new(args: OutputArgs) -> Self {
        let format = match (args.json, args.quiet) {
            (true, _) => Format::Json,
            (_, true) => Format::Ids,
            _ => Format::People,
        };
        let styled = format == Format::People
            && io::stdout().is_terminal()
            && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        Self { format, styled }
    }

    pub fn is_for_people(self) -> bool {
        self.format == Format::People
    }

    pub fn line(self, text: impl AsRef<str>) -> io::Result<()> {
        let mut out = io::stdout().lock();
        writeln!(out, "{}", text.as_ref())?;
        out.flush()
    }

    pub fn json(self, value: &Value) -> io::Result<()> {
        self.line(value.to_string())
    }

    /// A thing that a verb has made or changed: for people the given text, else the whole of it or its id.
    pub fn thing(self, value: &Value, id: &str, people: impl AsRef<str>) -> io::Result<()> {
        match self.format {
            Format::People => self.line(people),
            Format::Json => self.json(value),
            Format::Ids => self.line(text_at(value, id)),
        }
    }

    /// A page of a list. `id` names the field that pipes want; `columns` are (heading, what stands in it).
    pub fn list(self, page: &Value, id: &str, columns: &[Column<'_>]) -> io::Result<()> {
        let empty = Vec::new();
        let items = page
            .get("items")
            .and_then(Value::as_array)
            .unwrap_or(&empty);
        match self.format {
            Format::Json => self.json(page),
            Format::Ids => items
                .iter()
                .try_for_each(|item| self.line(text_at(item, id))),
            Format::People => self.line(self.table(items, columns)),
        }
    }

    /// Columns as wide as what stands in them; the last one is not padded.
    pub fn table(self, items: &[Value], columns: &[Column<'_>]) -> String {
        let cells: Vec<Vec<String>> = items
            .iter()
            .map(|item| columns.iter().map(|(_, cell)| cell(item)).collect())
            .collect();
        let widths: Vec<usize> = columns
            .iter()
            .enumerate()
            .map(|(place, (heading, _))| {
                let widest = cells.iter().map(|row| row[place].chars().count()).max();
                widest.unwrap_or(0).max(heading.chars().count())
            })
            .collect();
        let row = |texts: &mut dyn Iterator<Item = &str>| {
            let padded: Vec<String> = texts
                .zip(&widths)
                .map(|(text, width)| format!("{text:width$}"))
                .collect();
            padded.join("  ").trim_end().to_owned()
        };
        let heading = row(&mut columns.iter().map(|(heading, _)| *heading));
        let mut lines = vec![self.bold(&heading)];
        lines.extend(
            cells
                .iter()
                .map(|cells| row(&mut cells.iter().map(String::as_str))),
        );
        lines.join("\n")
    }

    pub fn bold(self, text: &str) -> String {
        self.style("1", text)
    }
    pub fn dim(self, text: &str) -> String {
        self.style("2", text)
    }
    fn style(self, code: &str, text: &str) -> String {
        if self.styled {
            format!("\x1b[{code}m{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    }
}

/// A heading and what stands under it for one item.
pub type Column<'a> = (&'a str, Box<dyn Fn(&Value) -> String + 'a>);

/// A column that shows a field; `-` where there is none.
pub fn field<'a>(heading: &'a str, name: &'a str) -> Column<'a> {
    (heading, Box::new(move |item| or_dash(text_at(item, name))))
}

/// A column that shows a time field.
pub fn time<'a>(heading: &'a str, name: &'a str) -> Column<'a> {
    (
        heading,
        Box::new(move |item| or_dash(moment(&text_at(item, name)))),
    )
}

fn or_dash(text: String) -> String {
    if text.is_empty() { "-".into() } else { text }
}

/// What stands at a field, or at a path of fields with dots, as text; empty if nothing does.
pub fn text_at(value: &Value, path: &str) -> String {
    let found = path
        .split('.')
        .try_fold(value, |value, name| value.get(name));
    match found {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    }
}

/// RFC 3339 as people read it, in UTC: `2026-01-31 09:00:00`. Anything else stays as it is.
pub fn moment(text: &str) -> String {
    Timestamp::parse(text).map_or_else(
        || text.to_owned(),
        |at| at.to_chrono().format("%Y-%m-%d %H:%M:%S").to_string(),
    )
}

/// JSON as indented lines that people can read: YAML.
pub fn yaml(value: &Value) -> String {
    crate::domain::yaml::to_string(value)
        .unwrap_or_else(|_| value.to_string())
        .trim_end()
        .to_owned()
}

/// Moves every line to the right.
pub fn indent(text: &str, by: usize) -> String {
    let lines: Vec<String> = text
        .lines()
        .map(|line| format!("{:by$}{line}", ""))
        .collect();
    lines.join("\n")
}

/// One line of at most `width` characters, with an ellipsis where something is left out.
pub fn shorten(text: &str, width: usize) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if line.chars().count() <= width {
        return line;
    }
    let kept: String = line.chars().take(width.saturating_sub(1)).collect();
    format!("{kept}…")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_table_is_as_wide_as_what_stands_in_it() {
        let items = [
            json!({"id": "a", "n": {"x": 12}}),
            json!({"id": "long one", "n": null}),
        ];
        let table = Output::PLAIN.table(&items, &[field("ID", "id"), field("COUNT", "n.x")]);
        assert_eq!(table, "ID        COUNT\na         12\nlong one  -");
    }

    #[test]
    fn texts() {
        assert_eq!(moment("2026-01-31T09:00:00.123Z"), "2026-01-31 09:00:00");
        assert_eq!(moment("soon"), "soon");
        assert_eq!(shorten("a  b\nc", 5), "a b c");
        assert_eq!(shorten("abcdef", 4), "abc…");
        assert_eq!(indent("a\nb", 2), "  a\n  b");
    }
}
