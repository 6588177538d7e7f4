//! Writing values into a text: charged, and escaped for what the text is for.

use super::meter::{charge_written, weigh};
use crate::graph::{budget::MAX_TEXT, markup::Markup};
use minijinja::{AutoEscape, Error, ErrorKind, Output, State, value::Value};
use std::{borrow::Cow, fmt::Write};

/// What the engine is told of a target with markup.
pub(super) fn auto_escape(markup: Markup) -> AutoEscape {
    match markup {
        Markup::Plain => AutoEscape::None,
        other => AutoEscape::Custom(Cow::Borrowed(other.name())),
    }
}

/// Writes a value as the engine would, escaped unless it is markup itself.
pub(super) fn write(out: &mut Output, state: &mut State, value: &Value) -> Result<(), Error> {
    let shown = plain_text(value)?;
    let markup = match state.auto_escape() {
        _ if value.is_safe() => Markup::Plain,
        AutoEscape::Custom(name) => Markup::parse(name).unwrap_or(Markup::Plain),
        AutoEscape::Html => Markup::Html,
        _ => Markup::Plain,
    };
    charge_written(shown.len())?;
    let escaped = markup.escape(&shown);
    if let Cow::Owned(longer) = &escaped {
        charge_written(longer.len())?;
    }
    out.write_str(&escaped).map_err(Error::from)
}

/// A value as the engine writes it, not escaped.
pub(super) fn plain_text(value: &Value) -> Result<Cow<'_, str>, Error> {
    Ok(match value.as_str() {
        Some(text) => Cow::Borrowed(text),
        None => Cow::Owned(shown(value)?),
    })
}

/// A value as a part of a longer text that is markup.
pub(super) fn text_of(state: &mut State, value: &Value) -> Result<String, Error> {
    match value.as_str() {
        Some(text) if value.is_safe() => Ok(text.to_owned()),
        _ => state.format(value.clone()),
    }
}

/// Other values than texts: their text is measured while it is made.
fn shown(value: &Value) -> Result<String, Error> {
    weigh(value)?;
    let mut text = Limited(String::new());
    write!(text, "{value}").map_err(|_| {
        Error::new(
            ErrorKind::WriteFailure,
            format!("a value makes a text of more than {MAX_TEXT} bytes"),
        )
    })?;
    Ok(text.0)
}

struct Limited(String);

impl Write for Limited {
    fn write_str(&mut self, part: &str) -> std::fmt::Result {
        if self.0.len() + part.len() > MAX_TEXT {
            return Err(std::fmt::Error);
        }
        self.0.push_str(part);
        Ok(())
    }
}
