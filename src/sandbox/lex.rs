//! The words, values and signs of QuickBooks' query language.

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Token {
    Word(String),
    Literal(String),
    Sign(&'static str),
}

pub(super) fn name(token: &Token) -> String {
    match token {
        Token::Word(word) => word.clone(),
        Token::Literal(text) => format!("'{text}'"),
        Token::Sign(sign) => (*sign).to_owned(),
    }
}

pub(super) fn tokens(text: &str) -> Result<Vec<Token>, String> {
    const SIGNS: [&str; 9] = ["<=", ">=", "<", ">", "=", "(", ")", ",", "*"];
    let (mut found, mut rest) = (Vec::new(), text.trim_start());
    while let Some(first) = rest.chars().next() {
        if first == '\'' {
            let (literal, after) = literal(&rest[1..])?;
            found.push(Token::Literal(literal));
            rest = after;
        } else if let Some(sign) = SIGNS.into_iter().find(|sign| rest.starts_with(sign)) {
            found.push(Token::Sign(sign));
            rest = &rest[sign.len()..];
        } else {
            let end = rest
                .find(|c: char| !c.is_ascii_alphanumeric() && c != '.' && c != '_')
                .unwrap_or(rest.len());
            if end == 0 {
                return Err(format!("unexpected character {first}"));
            }
            found.push(Token::Word(rest[..end].to_owned()));
            rest = &rest[end..];
        }
        rest = rest.trim_start();
    }
    Ok(found)
}

/// The text up to the closing quote, a backslash taken away before a quote or a backslash; and what follows.
fn literal(text: &str) -> Result<(String, &str), String> {
    let (mut literal, mut characters) = (String::new(), text.char_indices());
    while let Some((place, character)) = characters.next() {
        match character {
            '\'' => return Ok((literal, &text[place + 1..])),
            '\\' => literal.push(
                characters
                    .next()
                    .ok_or("a value without its closing quote")?
                    .1,
            ),
            other => literal.push(other),
        }
    }
    Err("a value without its closing quote".into())
}
