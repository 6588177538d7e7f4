//! Reads mails as they are sent to Gmail: base64url of RFC 822 text. Lenient, as mail readers are.

use base64::{
    Engine,
    alphabet::{STANDARD, URL_SAFE},
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use serde_json::{Value, json};

const LENIENT: GeneralPurposeConfig = GeneralPurposeConfig::new()
    .with_decode_padding_mode(DecodePaddingMode::Indifferent)
    .with_decode_allow_trailing_bits(true);
const URL_BASE64: GeneralPurpose = GeneralPurpose::new(&URL_SAFE, LENIENT);
const BASE64: GeneralPurpose = GeneralPurpose::new(&STANDARD, LENIENT);

#[derive(Debug, PartialEq)]
pub(super) struct Mail {
    /// Names as they were written, values unfolded and decoded.
    pub headers: Vec<(String, String)>,
    pub text: String,
}

impl Mail {
    pub fn decode(raw: &str) -> Option<Self> {
        let bytes = URL_BASE64.decode(raw).ok()?;
        Some(Self::parse(&String::from_utf8_lossy(&bytes)))
    }

    fn parse(text: &str) -> Self {
        let text = text.replace("\r\n", "\n");
        let (head, body) = text.split_once("\n\n").unwrap_or((&text, ""));
        let mut headers: Vec<(String, String)> = Vec::new();
        for line in head.split('\n') {
            match (
                line.starts_with([' ', '\t']),
                headers.last_mut(),
                line.split_once(':'),
            ) {
                (true, Some((_, value)), _) => {
                    value.push(' ');
                    value.push_str(line.trim());
                }
                (false, _, Some((name, value))) => {
                    headers.push((name.to_owned(), value.trim().to_owned()))
                }
                _ => {}
            }
        }
        let encoding = find(&headers, "content-transfer-encoding")
            .unwrap_or_default()
            .to_lowercase();
        let text = match encoding.as_str() {
            "base64" => decode_base64(body),
            "quoted-printable" => decode_quoted(&body.replace("=\n", ""), false),
            _ => body.to_owned(),
        };
        for (_, value) in &mut headers {
            *value = decode_words(value);
        }
        Self {
            headers,
            text: text.replace("\r\n", "\n"),
        }
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        find(&self.headers, name)
    }
}

fn find<'a>(headers: &'a [(String, String)], name: &str) -> Option<&'a str> {
    headers
        .iter()
        .find(|(known, _)| known.eq_ignore_ascii_case(name))
        .map(|(_, value)| value.as_str())
}

/// Adds `message`, for people, to a recorded body that has `raw`.
pub(super) fn add_readable(body: &mut Value) {
    let Some(mail) = body["raw"].as_str().and_then(Mail::decode) else {
        return;
    };
    let header = |name: &str| mail.header(name);
    body["message"] = json!({
        "to": header("to"), "cc": header("cc"), "bcc": header("bcc"), "subject": header("subject"),
        "message_id": header("message-id"), "text": mail.text,
    });
}

fn decode_base64(text: &str) -> String {
    let plain: String = text
        .chars()
        .filter(|character| !character.is_whitespace())
        .collect();
    BASE64.decode(plain).map_or_else(
        |_| text.to_owned(),
        |bytes| String::from_utf8_lossy(&bytes).into_owned(),
    )
}

fn decode_quoted(text: &str, underscore_is_space: bool) -> String {
    let text = if underscore_is_space {
        text.replace('_', " ")
    } else {
        text.to_owned()
    };
    // The same as percent-encoding, with another sign; a real percent sign has to survive it.
    super::urlencoded::decode(&text.replace('%', "=25").replace('=', "%"))
}

/// Encoded words; the space between two of them is not part of the text.
fn decode_words(value: &str) -> String {
    let (mut decoded, mut rest, mut after_word) = (String::new(), value, false);
    while let Some(start) = rest.find("=?") {
        let between = &rest[..start];
        let Some((word, after)) = encoded_word(&rest[start + 2..]) else {
            break;
        };
        if !(after_word && between.trim().is_empty()) {
            decoded.push_str(between);
        }
        decoded.push_str(&word);
        (rest, after_word) = (after, true);
    }
    decoded.push_str(rest);
    decoded
}

/// `utf-8?B?…?=` and what follows.
fn encoded_word(text: &str) -> Option<(String, &str)> {
    let (_, rest) = text.split_once('?')?;
    let (kind, rest) = rest.split_once('?')?;
    let (content, rest) = rest.split_once("?=")?;
    let word = match kind {
        "B" | "b" => decode_base64(content),
        "Q" | "q" => decode_quoted(content, true),
        _ => return None,
    };
    Some((word, rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connect::rfc822;

    #[test]
    fn it_reads_what_the_connector_writes() {
        let with = json!({
            "to": ["Jürg Ähm <j@b.example>", "a@b.example"], "subject": "Zahlungserinnerung für die offene Rechnung Nummer 1001 – zweite Mahnung",
            "body": "Grüezi\n\nBitte 100% zahlen.\n", "message_id": "tnr_1@tenure",
        });
        let mail = Mail::decode(&rfc822::build(with.as_object().unwrap()).unwrap()).unwrap();
        assert_eq!(
            mail.header("to"),
            Some("Jürg Ähm <j@b.example>, a@b.example")
        );
        assert_eq!(mail.header("subject"), with["subject"].as_str());
        assert_eq!(mail.header("message-id"), Some("<tnr_1@tenure>"));
        assert_eq!(mail.text, with["body"].as_str().unwrap());
    }

    #[test]
    fn it_reads_what_others_write() {
        let mail = Mail::parse(
            "Subject: =?iso?Q?a_=3D_b?= c\r\nTo: x\r\n\ty\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n50%=3D\r\nlong=\r\nline\r\n",
        );
        assert_eq!(mail.header("subject"), Some("a = b c"));
        assert_eq!(mail.header("to"), Some("x y"));
        assert_eq!(mail.text, "50%=\nlongline\n");
        assert_eq!(Mail::decode("%%%"), None);
    }
}
