//! What a text is for decides which of its characters mean something there. What an author writes is markup, what comes from data is not.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::borrow::Cow;

/// The markup of an argument of a capability, as the catalog declares it.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Markup {
    /// Nothing means anything.
    #[default]
    Plain,
    /// Plain, and one line: the subject of a mail, a title. Line breaks and other control characters of data become spaces.
    Line,
    /// Slack's: `&`, `<` and `>` are control characters, and three backticks a block of code.
    Mrkdwn,
    Html,
    /// CommonMark, as GitHub, Linear and Notion take it: also `@name` is told to somebody.
    Markdown,
    /// A list of Slack's blocks: the texts in them that say `type: mrkdwn`.
    Blocks,
}

/// Parts what would otherwise be read as one: no width, no meaning.
const BREAK: char = '\u{200b}';

impl Markup {
    pub const ALL: [Markup; 6] = [
        Markup::Plain,
        Markup::Line,
        Markup::Mrkdwn,
        Markup::Html,
        Markup::Markdown,
        Markup::Blocks,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Markup::Plain => "plain",
            Markup::Line => "line",
            Markup::Mrkdwn => "mrkdwn",
            Markup::Html => "html",
            Markup::Markdown => "markdown",
            Markup::Blocks => "blocks",
        }
    }

    pub fn parse(name: &str) -> Option<Markup> {
        Markup::ALL.into_iter().find(|markup| markup.name() == name)
    }

    /// Data as it has to be written so that its reader sees it as it is. At most about six times as long.
    pub fn escape(self, text: &str) -> Cow<'_, str> {
        match self {
            Markup::Plain | Markup::Blocks => Cow::Borrowed(text),
            Markup::Line => line(text),
            Markup::Mrkdwn => mrkdwn(text),
            Markup::Html => each(text, |letter| match letter {
                '&' => Some("&amp;"),
                '<' => Some("&lt;"),
                '>' => Some("&gt;"),
                '"' => Some("&quot;"),
                '\'' => Some("&#39;"),
                _ => None,
            }),
            Markup::Markdown => markdown(text),
        }
    }

    /// A whole value that comes from data, with every text in it escaped. `Blocks` looks for the texts that are markup.
    pub fn escape_all(self, value: Value) -> Value {
        match value {
            Value::String(text) => match self.escape(&text) {
                Cow::Owned(escaped) => Value::String(escaped),
                Cow::Borrowed(_) => Value::String(text),
            },
            Value::Array(items) => items
                .into_iter()
                .map(|item| self.escape_all(item))
                .collect(),
            Value::Object(fields) => {
                let inner = self.within(fields.get("type").and_then(Value::as_str));
                fields
                    .into_iter()
                    .map(|(key, item)| {
                        let markup = if key == "text" { inner } else { self };
                        (key, markup.escape_all(item))
                    })
                    .collect()
            }
            other => other,
        }
    }

    /// What the `text` of an object with this `type` is.
    pub fn within(self, kind: Option<&str>) -> Markup {
        match (self, kind) {
            (Markup::Blocks, Some("mrkdwn")) => Markup::Mrkdwn,
            (own, _) => own,
        }
    }
}

fn each(text: &str, replaced: impl Fn(char) -> Option<&'static str>) -> Cow<'_, str> {
    if !text.chars().any(|letter| replaced(letter).is_some()) {
        return Cow::Borrowed(text);
    }
    let mut made = String::with_capacity(text.len() + text.len() / 8);
    for letter in text.chars() {
        match replaced(letter) {
            Some(other) => made.push_str(other),
            None => made.push(letter),
        }
    }
    Cow::Owned(made)
}

/// A pair of carriage return and line feed is one break.
fn line(text: &str) -> Cow<'_, str> {
    if !text.chars().any(is_break) {
        return Cow::Borrowed(text);
    }
    Cow::Owned(text.replace("\r\n", " ").replace(is_break, " "))
}

fn is_break(letter: char) -> bool {
    letter.is_control() || matches!(letter, '\u{2028}' | '\u{2029}')
}

fn mrkdwn(text: &str) -> Cow<'_, str> {
    let escaped = each(text, |letter| match letter {
        '&' => Some("&amp;"),
        '<' => Some("&lt;"),
        '>' => Some("&gt;"),
        _ => None,
    });
    let has_run = escaped.contains("``") || escaped.starts_with('`') || escaped.ends_with('`');
    match has_run {
        true => Cow::Owned(without_runs(&escaped)),
        false => escaped,
    }
}

/// No two backticks stand side by side, and none at an end, where the author's own may follow.
fn without_runs(text: &str) -> String {
    let mut made = String::with_capacity(text.len() + 16);
    let mut before = '`';
    for letter in text.chars() {
        if letter == '`' && before == '`' {
            made.push(BREAK);
        }
        made.push(letter);
        before = letter;
    }
    if before == '`' {
        made.push(BREAK);
    }
    made
}

fn markdown(text: &str) -> Cow<'_, str> {
    let means = |letter: char| {
        matches!(
            letter,
            '\\' | '`' | '*' | '_' | '[' | ']' | '~' | '<' | '>' | '&' | '@' | '|' | '#' | '!'
        )
    };
    if !text.contains(means) && !starts_block(text) {
        return Cow::Borrowed(text);
    }
    let mut made = String::with_capacity(text.len() + text.len() / 4);
    for (place, row) in text.split('\n').enumerate() {
        if place > 0 {
            made.push('\n');
        }
        let indent = row.len() - row.trim_start().len();
        made.push_str(&row[..indent]);
        let mut rest = &row[indent..];
        if let Some(mark) = block_mark(rest) {
            made.push_str(&rest[..mark]);
            made.push('\\');
            made.push_str(&rest[mark..=mark]);
            rest = &rest[mark + 1..];
        }
        for letter in rest.chars() {
            match letter {
                '@' => {
                    made.push('@');
                    made.push(BREAK);
                }
                letter if means(letter) => {
                    made.push('\\');
                    made.push(letter);
                }
                letter => made.push(letter),
            }
        }
    }
    Cow::Owned(made)
}

fn starts_block(text: &str) -> bool {
    text.split('\n')
        .any(|row| block_mark(row.trim_start()).is_some())
}

/// Where the character stands that makes a list, a rule or a heading of the line: `- x`, `1. x`, `===`.
fn block_mark(row: &str) -> Option<usize> {
    let digits = row.bytes().take_while(u8::is_ascii_digit).count();
    match row.as_bytes().get(digits) {
        Some(b'-' | b'+' | b'=') if digits == 0 => Some(0),
        Some(b'.' | b')') if digits > 0 => Some(digits),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn in_blocks_only_what_is_markup_is_escaped() {
        let blocks = serde_json::json!([
            {"type": "section", "text": {"type": "mrkdwn", "text": "<!here> & co"}},
            {"type": "header", "text": {"type": "plain_text", "text": "<3 & more"}},
        ]);
        assert_eq!(
            Markup::Blocks.escape_all(blocks),
            serde_json::json!([
                {"type": "section", "text": {"type": "mrkdwn", "text": "&lt;!here&gt; &amp; co"}},
                {"type": "header", "text": {"type": "plain_text", "text": "<3 & more"}},
            ])
        );
    }

    #[test]
    fn data_means_nothing_in_its_target() {
        for (markup, data, expected) in [
            (Markup::Plain, "<b>&\n```", "<b>&\n```"),
            (Markup::Line, "a\r\nBcc: b\tc\u{2028}d", "a Bcc: b c d"),
            (Markup::Line, "as it is", "as it is"),
            (Markup::Mrkdwn, "<!channel>", "&lt;!channel&gt;"),
            (Markup::Mrkdwn, "<!subteam^S1|x>", "&lt;!subteam^S1|x&gt;"),
            (
                Markup::Mrkdwn,
                "<https://evil.example|https://bank.example>",
                "&lt;https://evil.example|https://bank.example&gt;",
            ),
            (Markup::Mrkdwn, "Tom & Jerry", "Tom &amp; Jerry"),
            (Markup::Mrkdwn, "&lt;", "&amp;lt;"),
            (
                Markup::Mrkdwn,
                "x``` y ````",
                "x`\u{200b}`\u{200b}` y `\u{200b}`\u{200b}`\u{200b}`\u{200b}",
            ),
            (Markup::Mrkdwn, "`a", "\u{200b}`a"),
            (Markup::Mrkdwn, "the `code` here", "the `code` here"),
            (
                Markup::Html,
                "<img src=x onerror='a'>&\"",
                "&lt;img src=x onerror=&#39;a&#39;&gt;&amp;&quot;",
            ),
            (
                Markup::Markdown,
                "[bank](https://evil.example) @team",
                "\\[bank\\](https://evil.example) @\u{200b}team",
            ),
            (Markup::Markdown, "```\n<script>", "\\`\\`\\`\n\\<script\\>"),
            (
                Markup::Markdown,
                "&lt; <@123> > x",
                "\\&lt; \\<@\u{200b}123\\> \\> x",
            ),
            (
                Markup::Markdown,
                "- a\n  12. b\n# c",
                "\\- a\n  12\\. b\n\\# c",
            ),
            (
                Markup::Markdown,
                "plain words, 12.5 - 3",
                "plain words, 12.5 - 3",
            ),
        ] {
            assert_eq!(markup.escape(data), expected, "{markup:?} {data}");
        }
    }
}
