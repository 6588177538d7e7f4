//! A mail as Gmail takes it: RFC 822 text (RFC 5322 and MIME), in base64url. Nothing that a caller sends can add a header: control
//! characters are refused, and text beyond ASCII is encoded.

use super::request::BadParams;
use crate::domain::mail_address;
use base64::{
    Engine,
    engine::general_purpose::{STANDARD, URL_SAFE},
};
use serde_json::{Map, Value};

/// Bytes of text in one encoded word: with its frame it stays below the 75 characters that RFC 2047 allows.
const WORD_BYTES: usize = 45;
const BASE64_LINE: usize = 76;

/// Builds the mail from `to`, `cc`, `bcc` (a text or a list), `reply_to`, `subject`, `body` and `message_id` (without angle brackets).
/// The provider adds `From` and `Date`.
///
/// # Errors
/// The field that holds no address, or characters that a header cannot carry.
pub fn build(with: &Map<String, Value>) -> Result<String, BadParams> {
    let text = |name: &str| with.get(name).and_then(Value::as_str);
    let mut mail = String::new();
    for (field, header) in [
        ("to", "To"),
        ("cc", "Cc"),
        ("bcc", "Bcc"),
        ("reply_to", "Reply-To"),
    ] {
        if let Some(value) = with.get(field) {
            push_header(&mut mail, header, &addresses(field, value)?);
        }
    }
    push_header(
        &mut mail,
        "Subject",
        &encode_text(one_line("subject", text("subject").unwrap_or_default())?, 9),
    );
    if let Some(id) = text("message_id") {
        push_header(&mut mail, "Message-ID", &format!("<{}>", message_id(id)?));
    }
    push_header(&mut mail, "MIME-Version", "1.0");
    push_header(&mut mail, "Content-Type", "text/plain; charset=utf-8");
    push_header(&mut mail, "Content-Transfer-Encoding", "base64");
    mail.push_str("\r\n");
    let body = text("body")
        .unwrap_or_default()
        .replace("\r\n", "\n")
        .replace('\n', "\r\n");
    let encoded = STANDARD.encode(body);
    for line in encoded.as_bytes().chunks(BASE64_LINE) {
        mail.extend(line.iter().map(|byte| *byte as char));
        mail.push_str("\r\n");
    }
    Ok(URL_SAFE.encode(mail))
}

fn push_header(mail: &mut String, name: &str, value: &str) {
    mail.push_str(name);
    mail.push_str(": ");
    mail.push_str(value);
    mail.push_str("\r\n");
}

fn one_line<'a>(field: &str, text: &'a str) -> Result<&'a str, BadParams> {
    if text.chars().any(char::is_control) {
        return Err(BadParams::new(
            field,
            "must be one line without control characters",
        ));
    }
    Ok(text)
}

fn message_id(id: &str) -> Result<&str, BadParams> {
    let fits = id
        .bytes()
        .all(|byte| byte.is_ascii_graphic() && !b"<>()[]\\,;:\"".contains(&byte));
    let fits = fits && id.split('@').count() == 2 && id.len() < 250;
    if fits {
        Ok(id)
    } else {
        Err(BadParams::new("message_id", "is no message id"))
    }
}

fn addresses(field: &str, value: &Value) -> Result<String, BadParams> {
    let given: Vec<&Value> = value
        .as_array()
        .map_or_else(|| vec![value], |list| list.iter().collect());
    let mut encoded = Vec::with_capacity(given.len());
    for (place, one) in given.iter().enumerate() {
        let field = if value.is_array() {
            format!("{field}[{place}]")
        } else {
            field.to_owned()
        };
        encoded.push(address(&field, one.as_str().unwrap_or_default())?);
    }
    Ok(encoded.join(",\r\n "))
}

/// `a@b.example` or `Name <a@b.example>`.
fn address(field: &str, text: &str) -> Result<String, BadParams> {
    let text = one_line(field, text)?.trim();
    let Some((name, plain)) = mail_address::with_name(text) else {
        return Err(BadParams::new(
            field,
            "must be a mail address such as a@b.example or Name <a@b.example>",
        ));
    };
    Ok(match name.as_str() {
        "" => plain,
        // Quoted, so that commas and the like mean nothing.
        name if name.is_ascii() => format!(
            "\"{}\" <{plain}>",
            name.replace('\\', "\\\\").replace('"', "\\\"")
        ),
        name => format!("{} <{plain}>", encode_words(name)),
    })
}

/// Plain where it is plain, short, and cannot be taken for an encoded word; `used` is the length of the header's name and colon.
fn encode_text(text: &str, used: usize) -> String {
    if text.is_ascii() && !text.contains("=?") && text.len() + used <= 900 && text.trim() == text {
        return text.to_owned();
    }
    encode_words(text)
}

/// RFC 2047, cut between characters.
fn encode_words(text: &str) -> String {
    let (mut words, mut start) = (Vec::new(), 0);
    for (place, character) in text.char_indices() {
        if place + character.len_utf8() - start > WORD_BYTES {
            words.push(&text[start..place]);
            start = place;
        }
    }
    words.push(&text[start..]);
    let words: Vec<_> = words
        .iter()
        .map(|word| format!("=?utf-8?B?{}?=", STANDARD.encode(word)))
        .collect();
    words.join("\r\n ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn mail(with: Value) -> Result<String, BadParams> {
        let raw = build(with.as_object().unwrap())?;
        Ok(String::from_utf8(URL_SAFE.decode(raw).unwrap()).unwrap())
    }

    #[test]
    fn a_mail_is_what_was_said() {
        let with = json!({
            "to": ["anna@acme.example", "Jürg Ähm <j@b.example>", "\"Doe, Jane\" <jane@b.example>"],
            "subject": "Invoice 1001", "body": "Hello\nyou", "message_id": "tnr_1@tenure",
        });
        let expected = "To: anna@acme.example,\r\n =?utf-8?B?SsO8cmcgw4RobQ==?= <j@b.example>,\r\n \"Doe, Jane\" <jane@b.example>\r\n\
            Subject: Invoice 1001\r\nMessage-ID: <tnr_1@tenure>\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n\
            Content-Transfer-Encoding: base64\r\n\r\nSGVsbG8NCnlvdQ==\r\n";
        assert_eq!(mail(with).unwrap(), expected);
    }

    #[test]
    fn a_long_subject_is_cut_between_characters() {
        let subject = "Zahlungserinnerung für offene Rechnungen – 请尽快付款，谢谢您的合作与支持";
        let text = mail(json!({"to": "a@b.example", "subject": subject, "body": ""})).unwrap();
        let header = text
            .split("Subject: ")
            .nth(1)
            .unwrap()
            .split("\r\nMIME")
            .next()
            .unwrap();
        let mut decoded = String::new();
        for word in header.split("\r\n ") {
            assert!(word.len() <= 75, "{word}");
            let inner = word
                .strip_prefix("=?utf-8?B?")
                .unwrap()
                .strip_suffix("?=")
                .unwrap();
            decoded.push_str(&String::from_utf8(STANDARD.decode(inner).unwrap()).unwrap());
        }
        assert_eq!(decoded, subject);
    }

    #[test]
    fn nothing_adds_a_header() {
        for (with, field) in [
            (
                json!({"to": "a@b.example\r\nBcc: x@y.example", "subject": "s"}),
                "to",
            ),
            (
                json!({"to": "a@b.example", "subject": "s\nBcc: x@y.example"}),
                "subject",
            ),
            (
                json!({"to": "a@b.example", "subject": "s\u{85}x"}),
                "subject",
            ),
            (json!({"to": "Ann\r\n <a@b.example>", "subject": "s"}), "to"),
            (
                json!({"to": "a@b.example, c@d.example", "subject": "s"}),
                "to",
            ),
            (
                json!({"to": ["a@b.example", "nobody"], "subject": "s"}),
                "to[1]",
            ),
            (json!({"to": "a b@c.example", "subject": "s"}), "to"),
            (json!({"to": "a@b..example", "subject": "s"}), "to"),
            (
                json!({"to": "a@b.example", "subject": "s", "message_id": "x>\r\ny@z"}),
                "message_id",
            ),
        ] {
            assert_eq!(mail(with).unwrap_err().field, field);
        }
        let text = mail(
            json!({"to": "a@b.example", "subject": "=?utf-8?B?eA==?=", "body": "\r\n\r\nBcc: x"}),
        )
        .unwrap();
        assert!(
            text.contains("Subject: =?utf-8?B?PT91dGYt"),
            "a subject that looks encoded is encoded"
        );
        assert_eq!(text.matches("Bcc").count(), 0);
    }
}
