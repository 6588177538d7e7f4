//! One sender of each scheme, written down a second time as a plain reading of the scheme: it compares texts, and decodes nothing.

use crate::{
    connect::webhook::{
        Delivery, Options, Scheme, Verified, WebhookError,
        mac::{Algorithm, Encoding, tag},
    },
    domain::Timestamp,
};
use base64::{Engine, engine::general_purpose::STANDARD};
use reqwest::header::{HeaderMap, HeaderValue};
use secrecy::{ExposeSecret, SecretString};

/// A request as bytes; the query is written as the header `?`.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    pub headers: Vec<(&'static str, Vec<u8>)>,
    pub body: Vec<u8>,
}

impl Request {
    pub fn without(&self, name: &str) -> Self {
        let mut request = self.clone();
        request.headers.retain(|(known, _)| *known != name);
        request
    }
    pub fn doubled(&self, name: &str) -> Self {
        let mut request = self.clone();
        let again = request.headers.iter().find(|(known, _)| *known == name);
        let again = again.expect("it is there").clone();
        request.headers.push(again);
        request
    }
    pub fn with(&self, name: &str, value: &str) -> Self {
        let mut request = self.clone();
        for (known, old) in &mut request.headers {
            if *known == name {
                *old = value.into();
            }
        }
        request
    }
    /// The one value of a header, if it is visible text.
    pub fn one(&self, name: &str) -> Option<&str> {
        let mut all = self.headers.iter().filter(|(known, _)| *known == name);
        let (_, value) = all.next()?;
        let is_text = value.iter().all(|byte| (32..127).contains(byte));
        (all.next().is_none() && is_text).then(|| std::str::from_utf8(value).ok())?
    }
}

pub struct Sample {
    pub name: &'static str,
    pub scheme: Scheme,
    pub options: Options,
    /// The third is never among those that the endpoint knows.
    pub secrets: [SecretString; 3],
    /// Headers without which nothing is proved.
    pub proof: Vec<&'static str>,
    pub signs_body: bool,
    pub signs_time: bool,
}

fn options(json: &str) -> Options {
    serde_json::from_str(json).expect("options")
}

pub fn samples() -> Vec<Sample> {
    let texts = [
        "first-secret-0123456789",
        "second-secret-0123456789",
        "third-secret-0123456789",
    ];
    let plain = || texts.map(SecretString::from);
    let sample = |name, scheme, options, secrets, proof: &[&'static str], body, time| Sample {
        name,
        scheme,
        options,
        secrets,
        proof: proof.to_vec(),
        signs_body: body,
        signs_time: time,
    };
    let standard = [[7u8; 32], [8; 32], [9; 32]]
        .map(|bytes| SecretString::from(format!("whsec_{}", STANDARD.encode(bytes))));
    let standard_proof = ["webhook-id", "webhook-timestamp", "webhook-signature"];
    let slack_proof = ["x-slack-request-timestamp", "x-slack-signature"];
    let names = ["ann:password-1", "bob:password-2", "eve:password-3"].map(SecretString::from);
    vec![
        sample(
            "standard_webhooks",
            Scheme::StandardWebhooks,
            options("{}"),
            standard,
            &standard_proof,
            true,
            true,
        ),
        sample(
            "slack",
            Scheme::Slack,
            options("{}"),
            plain(),
            &slack_proof,
            true,
            true,
        ),
        sample(
            "github",
            Scheme::Github,
            options("{}"),
            plain(),
            &["x-hub-signature-256"],
            true,
            false,
        ),
        sample(
            "stripe",
            Scheme::Stripe,
            options("{}"),
            plain(),
            &["stripe-signature"],
            true,
            true,
        ),
        sample(
            "hmac sha1 hex",
            Scheme::Hmac,
            options(r#"{"algorithm": "sha1", "prefix": "sha1="}"#),
            plain(),
            &["x-signature"],
            true,
            false,
        ),
        sample(
            "hmac sha512 base64",
            Scheme::Hmac,
            options(r#"{"algorithm": "sha512", "encoding": "base64"}"#),
            plain(),
            &["x-signature"],
            true,
            false,
        ),
        sample(
            "basic",
            Scheme::Basic,
            options("{}"),
            names,
            &["authorization"],
            false,
            false,
        ),
        sample(
            "token header",
            Scheme::Token,
            options(r#"{"header": "X-Token", "prefix": "Bearer "}"#),
            plain(),
            &["x-token"],
            false,
            false,
        ),
        sample(
            "token query",
            Scheme::Token,
            options(r#"{"query": "token"}"#),
            plain(),
            &["?"],
            false,
            false,
        ),
    ]
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

impl Sample {
    /// What the endpoint says of it.
    pub fn check(
        &self,
        request: &Request,
        now: i64,
        secrets: &[SecretString],
    ) -> Result<Verified, WebhookError> {
        let mut headers = HeaderMap::new();
        let mut query: Option<String> = None;
        for (name, value) in &request.headers {
            if *name == "?" {
                let value = String::from_utf8_lossy(value);
                query = Some(query.map_or(value.to_string(), |known| format!("{known}&{value}")));
                continue;
            }
            // What no header can carry never reaches us.
            let value = HeaderValue::from_bytes(value)
                .map_err(|_| WebhookError::MissingHeader((*name).into()))?;
            headers.append(*name, value);
        }
        let delivery = Delivery {
            body: &request.body,
            headers: &headers,
            query: query.as_deref(),
            now: Timestamp::from_millis(now * 1_000),
        };
        let verifier = self.scheme.verifier(&self.options).expect("a verifier");
        verifier.verify(&delivery, secrets)
    }

    /// A request that is proved by the secret `which`.
    pub fn request(&self, which: usize, body: &[u8], at: i64) -> Request {
        let headers = self
            .proofs(&self.secrets[which], body, &at.to_string(), "id-1")
            .into_iter()
            .map(|(name, value)| (name, value.into_bytes()))
            .collect();
        Request {
            headers,
            body: body.to_vec(),
        }
    }

    fn proofs(
        &self,
        secret: &SecretString,
        body: &[u8],
        stamp: &str,
        id: &str,
    ) -> Vec<(&'static str, String)> {
        let secret = secret.expose_secret();
        let text = secret.as_bytes();
        let joined = |parts: &[&[u8]]| tag(Algorithm::Sha256, text, parts).bytes();
        match self.name {
            "standard_webhooks" => {
                let key = STANDARD.decode(&secret[6..]).expect("base64");
                let parts = [id.as_bytes(), b".", stamp.as_bytes(), b".", body];
                let hash = STANDARD.encode(tag(Algorithm::Sha256, &key, &parts).bytes());
                vec![
                    ("webhook-id", id.into()),
                    ("webhook-timestamp", stamp.into()),
                    ("webhook-signature", format!("v1,{hash}")),
                ]
            }
            "slack" => {
                let hash = hex(&joined(&[b"v0:", stamp.as_bytes(), b":", body]));
                vec![
                    ("x-slack-request-timestamp", stamp.into()),
                    ("x-slack-signature", format!("v0={hash}")),
                ]
            }
            "github" => vec![(
                "x-hub-signature-256",
                format!("sha256={}", hex(&joined(&[body]))),
            )],
            "stripe" => {
                let hash = hex(&joined(&[stamp.as_bytes(), b".", body]));
                vec![("stripe-signature", format!("t={stamp},v1={hash}"))]
            }
            "hmac sha1 hex" => {
                let hash = Encoding::Hex.encode(&tag(Algorithm::Sha1, text, &[body]).bytes());
                vec![("x-signature", format!("sha1={hash}"))]
            }
            "hmac sha512 base64" => {
                let hash = STANDARD.encode(tag(Algorithm::Sha512, text, &[body]).bytes());
                vec![("x-signature", hash)]
            }
            "basic" => vec![("authorization", format!("Basic {}", STANDARD.encode(text)))],
            "token header" => vec![("x-token", format!("Bearer {secret}"))],
            "token query" => vec![("?", format!("token={secret}"))],
            other => panic!("no sample {other}"),
        }
    }

    /// Whether the request is good, read plainly: whether some known secret would have given these very headers.
    pub fn is_good(&self, request: &Request, now: i64, secrets: &[SecretString]) -> bool {
        if self.name == "token query" {
            return self.is_good_query(request, secrets);
        }
        let Some(values) = self
            .proof
            .iter()
            .map(|name| request.one(name))
            .collect::<Option<Vec<_>>>()
        else {
            return false;
        };
        let stamp = match self.name {
            "stripe" => {
                let items: Vec<_> = values[0]
                    .split(',')
                    .map(|item| item.trim_matches(' '))
                    .collect();
                let stamps: Vec<_> = items
                    .iter()
                    .filter_map(|item| item.strip_prefix("t="))
                    .collect();
                match stamps[..] {
                    [stamp] => stamp,
                    _ => return false,
                }
            }
            "standard_webhooks" => values[1],
            _ => values[0],
        };
        if self.signs_time && !is_near(stamp, now) {
            return false;
        }
        let id = values[0];
        if self.name == "standard_webhooks" && !is_id(id) {
            return false;
        }
        let expected = |secret: &SecretString| {
            self.proofs(secret, &request.body, stamp, id)
                .pop()
                .expect("one")
                .1
        };
        let given = *values.last().expect("one");
        secrets.iter().any(|secret| match self.name {
            "standard_webhooks" => given.split(' ').any(|entry| entry == expected(secret)),
            "stripe" => {
                let expected = expected(secret);
                let (_, hash) = expected.split_once(",").expect("two parts");
                given.split(',').any(|entry| {
                    let entry = entry.trim_matches(' ');
                    // The name of the entry is in one case alone.
                    entry.starts_with("v1=") && entry.eq_ignore_ascii_case(hash)
                })
            }
            "basic" => {
                let expected = expected(secret);
                given.len() == expected.len()
                    && given[..6].eq_ignore_ascii_case("basic ")
                    && given[6..] == expected[6..]
            }
            "token header" => given == expected(secret),
            // One of several, in hex of either case.
            "hmac sha512 base64" => given
                .split([',', ' '])
                .any(|entry| entry == expected(secret)),
            _ => {
                // Blanks may stand between the prefix and the hash.
                let mut given = given.to_owned();
                while given.contains("= ") {
                    given = given.replace("= ", "=");
                }
                let mut entries = given.split([',', ' ']);
                entries.any(|entry| entry.eq_ignore_ascii_case(&expected(secret)))
            }
        })
    }
}

impl Sample {
    /// An address has one query, whatever it is put together of.
    fn is_good_query(&self, request: &Request, secrets: &[SecretString]) -> bool {
        let parts: Vec<_> = request
            .headers
            .iter()
            .map(|(_, value)| String::from_utf8_lossy(value))
            .collect();
        let query = parts.join("&");
        let tokens: Vec<_> = crate::connect::form::pairs(&query)
            .filter(|(name, _)| name == "token")
            .map(|(_, value)| value)
            .collect();
        let is_known = |token: &String| secrets.iter().any(|one| one.expose_secret() == token);
        tokens.len() == 1 && is_known(&tokens[0])
    }
}

fn is_near(stamp: &str, now: i64) -> bool {
    let is_number =
        (1..=12).contains(&stamp.len()) && stamp.chars().all(|digit| digit.is_ascii_digit());
    is_number && (stamp.parse::<i64>().expect("digits") - now).abs() <= 300
}

fn is_id(id: &str) -> bool {
    (1..=256).contains(&id.len()) && id.chars().all(|c| c.is_ascii_graphic() && c != '.')
}
