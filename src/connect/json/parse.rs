//! The lenient parser: for what `serde_json` refuses, or would not hold exactly. Pure; its depth is bounded.

use super::{DEEPEST, NotJson};
use serde_json::{Map, Number, Value};

/// Reads one value and nothing behind it but blanks, zero bytes and stray byte order marks.
pub(super) fn document(text: &str) -> Result<Value, NotJson> {
    let text = text.trim_start_matches('\u{feff}');
    let mut reader = Reader { text, at: 0 };
    reader.skip_blanks();
    let value = reader.value(0)?;
    let is_padding = |c: char| c.is_whitespace() || matches!(c, '\0' | '\u{feff}');
    match reader.rest().trim_start_matches(is_padding) {
        "" => Ok(value),
        _ => Err(reader.wrong("something stands behind the value")),
    }
}

struct Reader<'a> {
    text: &'a str,
    /// In bytes, always between two characters.
    at: usize,
}

impl<'a> Reader<'a> {
    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn next(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn wrong(&self, problem: &'static str) -> NotJson {
        let at = self.text[..self.at].chars().count() + 1;
        NotJson { problem, at }
    }

    fn skip_blanks(&mut self) {
        while matches!(self.next(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    /// Takes an ASCII character, if it is the next one.
    fn takes(&mut self, byte: u8) -> bool {
        let found = self.next() == Some(byte);
        self.at += usize::from(found);
        found
    }

    fn value(&mut self, depth: usize) -> Result<Value, NotJson> {
        match self.next() {
            Some(b'[' | b'{') if depth >= DEEPEST => self.nested_text().map(Value::String),
            Some(b'[') => self.list(depth),
            Some(b'{') => self.object(depth),
            Some(b'"') => self.string().map(Value::String),
            Some(_) => self.word(),
            None => Err(self.wrong("the text ends where a value should be")),
        }
    }

    fn list(&mut self, depth: usize) -> Result<Value, NotJson> {
        self.at += 1;
        let mut items = Vec::new();
        self.skip_blanks();
        if self.takes(b']') {
            return Ok(Value::Array(items));
        }
        loop {
            self.skip_blanks();
            items.push(self.value(depth + 1)?);
            self.skip_blanks();
            if self.takes(b']') {
                return Ok(Value::Array(items));
            }
            if !self.takes(b',') {
                return Err(self.wrong("expected `,` or `]`"));
            }
        }
    }

    fn object(&mut self, depth: usize) -> Result<Value, NotJson> {
        self.at += 1;
        let mut fields = Map::new();
        self.skip_blanks();
        if self.takes(b'}') {
            return Ok(Value::Object(fields));
        }
        loop {
            self.skip_blanks();
            if self.next() != Some(b'"') {
                return Err(self.wrong("expected a name in quotes"));
            }
            let name = self.string()?;
            self.skip_blanks();
            if !self.takes(b':') {
                return Err(self.wrong("expected `:`"));
            }
            self.skip_blanks();
            let value = self.value(depth + 1)?;
            fields.insert(name, value);
            self.skip_blanks();
            if self.takes(b'}') {
                return Ok(Value::Object(fields));
            }
            if !self.takes(b',') {
                return Err(self.wrong("expected `,` or `}`"));
            }
        }
    }

    /// A string, from its first quote on.
    fn string(&mut self) -> Result<String, NotJson> {
        self.at += 1;
        let mut text = String::new();
        loop {
            let plain = self.rest().find(['"', '\\']);
            let Some(plain) = plain else {
                self.at = self.text.len();
                return Err(self.wrong("the text ends within a string"));
            };
            text.push_str(&self.rest()[..plain]);
            self.at += plain + 1;
            if self.text.as_bytes()[self.at - 1] == b'"' {
                return Ok(text);
            }
            self.escape(&mut text)?;
        }
    }

    /// What stands behind a backslash.
    fn escape(&mut self, text: &mut String) -> Result<(), NotJson> {
        let Some(character) = self.rest().chars().next() else {
            return Err(self.wrong("the text ends within a string"));
        };
        self.at += character.len_utf8();
        match character {
            '"' | '\\' | '/' => text.push(character),
            'b' => text.push('\u{8}'),
            'f' => text.push('\u{c}'),
            'n' => text.push('\n'),
            'r' => text.push('\r'),
            't' => text.push('\t'),
            'u' => match self.unit() {
                Some(unit) => text.push(self.character(unit)),
                None => text.push_str("\\u"),
            },
            other => text.extend(['\\', other]),
        }
        Ok(())
    }

    /// Four hexadecimal digits, if they are there.
    fn unit(&mut self) -> Option<u32> {
        let digits = self.rest().get(..4)?;
        let is_hex = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
        let unit = u32::from_str_radix(digits, 16).ok().filter(|_| is_hex)?;
        self.at += 4;
        Some(unit)
    }

    /// The character of a UTF-16 unit, with the one behind it if the two are a pair.
    fn character(&mut self, high: u32) -> char {
        if !(0xd800..0xdc00).contains(&high) {
            return char::from_u32(high).unwrap_or(char::REPLACEMENT_CHARACTER);
        }
        let before = self.at;
        if self.rest().starts_with("\\u") {
            self.at += 2;
            let low = self.unit().filter(|low| (0xdc00..0xe000).contains(low));
            if let Some(low) = low {
                let code = 0x1_0000 + ((high - 0xd800) << 10) + (low - 0xdc00);
                return char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER);
            }
        }
        self.at = before;
        char::REPLACEMENT_CHARACTER
    }

    /// A number or one of the words.
    fn word(&mut self) -> Result<Value, NotJson> {
        let of_word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.');
        let rest = self.rest();
        let word = &rest[..rest.find(|c| !of_word(c)).unwrap_or(rest.len())];
        let value = match word {
            "true" => Value::Bool(true),
            "false" => Value::Bool(false),
            "null" | "NaN" | "Infinity" | "+Infinity" | "-Infinity" => Value::Null,
            number => self.number(number)?,
        };
        self.at += word.len();
        Ok(value)
    }

    fn number(&self, text: &str) -> Result<Value, NotJson> {
        let of_number =
            |byte: u8| byte.is_ascii_digit() || matches!(byte, b'+' | b'-' | b'.' | b'e' | b'E');
        let has_digit = text.bytes().any(|byte| byte.is_ascii_digit());
        if !has_digit || !text.bytes().all(of_number) {
            return Err(self.wrong("expected a value"));
        }
        let digits = text.strip_prefix('-').unwrap_or(text);
        let is_whole = digits.bytes().all(|byte| byte.is_ascii_digit());
        let is_held = !is_whole || text.parse::<i64>().is_ok() || text.parse::<u64>().is_ok();
        Ok(match serde_json::from_str::<Number>(text) {
            Ok(number) if is_held => Value::Number(number),
            _ => Value::String(text.to_owned()),
        })
    }

    /// A list or an object as it is written.
    fn nested_text(&mut self) -> Result<String, NotJson> {
        let start = self.at;
        let (mut open, mut in_text, mut escaped) = (0usize, false, false);
        for byte in self.rest().bytes() {
            self.at += 1;
            match byte {
                _ if escaped => escaped = false,
                b'\\' if in_text => escaped = true,
                b'"' => in_text = !in_text,
                b'[' | b'{' if !in_text => open += 1,
                b']' | b'}' if !in_text => open -= 1,
                _ => {}
            }
            if open == 0 {
                return Ok(self.text[start..self.at].to_owned());
            }
        }
        Err(self.wrong("the text ends within a list or an object"))
    }
}
