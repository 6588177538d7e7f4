//! The published vectors; what every scheme refuses; and thousands of changed requests, each held against a plain reading of the scheme.

mod generated;
mod samples;

use super::*;
use reqwest::header::HeaderValue;
use samples::{Sample, samples};
use std::slice;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_millis(seconds * 1_000)
}
fn secret(text: &str) -> SecretString {
    text.into()
}
fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
    let mut map = HeaderMap::new();
    for (name, value) in pairs {
        map.append(*name, HeaderValue::from_str(value).expect("a value"));
    }
    map
}
fn verify(
    scheme: Scheme,
    body: &[u8],
    headers: &HeaderMap,
    now: i64,
    secrets: &[SecretString],
) -> Result<Verified, WebhookError> {
    let delivery = Delivery {
        body,
        headers,
        query: None,
        now: at(now),
    };
    let options = Options::default();
    let verifier = scheme.verifier(&options).expect("a verifier");
    verifier.verify(&delivery, secrets)
}

/// The example of the libraries of Standard Webhooks.
#[test]
fn the_vector_of_standard_webhooks() {
    let key = secret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw");
    let signature = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";
    let body = br#"{"test": 2432232314}"#;
    let id = "msg_p5jXN8AQM9LWM0D4loKWxJek";
    let given = headers(&[
        ("webhook-id", id),
        ("webhook-timestamp", "1614265330"),
        ("webhook-signature", signature),
    ]);
    let found = verify(
        Scheme::StandardWebhooks,
        body,
        &given,
        1_614_265_330,
        slice::from_ref(&key),
    );
    let expected = Verified {
        id: Some(id.into()),
        kind: None,
        at: Some(at(1_614_265_330)),
    };
    assert_eq!(found, Ok(expected));
    assert_eq!(
        sign(&key, id, at(1_614_265_330), body).as_deref(),
        Ok(signature)
    );
}

/// "Verifying requests from Slack" in Slack's documentation.
#[test]
fn the_vector_of_slack() {
    let key = secret("8f742231b10e8888abcd99yyyzzz85a5");
    let body = b"token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow&channel_id=G8PSS9T3V\
        &channel_name=foobar&user_id=U2CERLKJA&user_name=roadrunner&command=%2Fwebhook-collect&text=\
        &response_url=https%3A%2F%2Fhooks.slack.com%2Fcommands%2FT1DC2JH3J%2F397700885554%2F96rGlfmibIGlgcZRskXaIFfN\
        &trigger_id=398738663015.47445629121.803a0bc887a14d10d2c447fce8b6703c";
    let signature = "v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503";
    let given = headers(&[
        ("X-Slack-Request-Timestamp", "1531420618"),
        ("X-Slack-Signature", signature),
    ]);
    assert_eq!(sign_slack(&key, at(1_531_420_618), body), signature);
    for (now, expected) in [
        (1_531_420_618, None),
        (1_531_420_918, None),
        (1_531_420_919, Some(WebhookError::TooOld)),
        (1_531_420_318, None),
        (1_531_420_317, Some(WebhookError::TooNew)),
    ] {
        let found = verify(Scheme::Slack, body, &given, now, slice::from_ref(&key));
        assert_eq!(found.err(), expected, "at {now}");
    }
}

/// "Validating webhook deliveries" in GitHub's documentation.
#[test]
fn the_vector_of_github() {
    let key = secret("It's a Secret to Everybody");
    let signature = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";
    let given = headers(&[
        ("x-hub-signature-256", signature),
        ("x-github-delivery", "72d3162e-cc78-11e3-81ab-4c9367dc0958"),
        ("x-github-event", "issues"),
    ]);
    assert_eq!(sign_github(&key, b"Hello, World!"), signature);
    let found = verify(Scheme::Github, b"Hello, World!", &given, 0, &[key]).expect("fits");
    assert_eq!(found.id, Some(name_of_body(b"Hello, World!")));
    assert_eq!(found.kind.as_deref(), Some("issues"));
}

#[test]
fn stripe_takes_the_time_of_the_list_and_never_its_test_signatures() {
    let key = secret("whsec_test_secret_of_some_length");
    let body = br#"{"id":"evt_1","type":"invoice.paid"}"#;
    let good = sign_stripe(&key, at(1_000), body);
    let (_, hash) = good.split_once("v1=").expect("a hash");
    let cases = [
        (good.clone(), true),
        (format!("t=1000,v1={},v1={hash}", "0".repeat(64)), true),
        (format!("{good},v0={hash}"), true),
        (format!("t=1000,v0={hash}"), false),
        (format!("v1={hash}"), false),
        (format!("t=1000,t=1000,v1={hash}"), false),
        (format!("t=1001,v1={hash}"), false),
    ];
    for (value, accepted) in cases {
        let given = headers(&[("stripe-signature", &value)]);
        let found = verify(Scheme::Stripe, body, &given, 1_000, slice::from_ref(&key));
        assert_eq!(found.is_ok(), accepted, "{value}: {found:?}");
        if let Ok(found) = found {
            assert_eq!(found.id, Some(name_of_body(body)));
        }
    }
}

#[test]
fn standard_webhooks_passes_over_entries_that_it_does_not_know() {
    let (old, new) = (
        standard::StandardWebhooks.generate_secret([7; 32]),
        standard::StandardWebhooks.generate_secret([8; 32]),
    );
    let secrets = [secret("whsec_not base64"), old.clone(), new];
    let good = sign(&old, "m", at(9), b"x").expect("signs");
    for (value, accepted) in [
        (format!("v1,AAAA v2,zzz {good}"), true),
        (format!("v1a,xyz  v1,%%% v1 , {good}"), true),
        (format!("v2{}", &good[2..]), false),
        (good[3..].to_owned(), false),
        (format!("{}{good}", "v1,AAAA ".repeat(16)), false),
    ] {
        let given = headers(&[
            ("webhook-id", "m"),
            ("webhook-timestamp", "9"),
            ("webhook-signature", &value),
        ]);
        let found = verify(Scheme::StandardWebhooks, b"x", &given, 9, &secrets);
        assert_eq!(found.is_ok(), accepted, "{value}");
    }
}

/// What must hold of each scheme, whatever it is made of.
#[test]
fn every_scheme_refuses_the_same_things() {
    for sample in samples() {
        let Sample { name, proof, .. } = &sample;
        let body = br#"{"id":"e1"}"#;
        let good = sample.request(0, body, 1_000);
        let check = |request: &samples::Request, secrets: &[SecretString]| {
            sample.check(request, 1_000, secrets)
        };
        assert!(check(&good, &sample.secrets).is_ok(), "{name}");
        assert!(
            check(&sample.request(1, body, 1_000), &sample.secrets).is_ok(),
            "{name}: the second secret is good too"
        );
        assert!(
            check(&good, &sample.secrets[1..]).is_err(),
            "{name}: with another secret"
        );
        assert!(check(&good, &[]).is_err(), "{name}: without any secret");
        assert!(
            check(&sample.request(2, body, 1_000), &sample.secrets[..2]).is_err(),
            "{name}: by somebody else's secret"
        );
        for part in proof {
            let lacking = good.without(part);
            assert!(
                check(&lacking, &sample.secrets).is_err(),
                "{name}: no {part}"
            );
            let twice = good.doubled(part);
            assert!(
                check(&twice, &sample.secrets).is_err(),
                "{name}: {part} twice"
            );
            let empty = good.with(part, "");
            assert!(check(&empty, &sample.secrets).is_err(), "{name}: {part} ''");
        }
        if sample.signs_body {
            let other = samples::Request {
                body: br#"{"id":"e2"}"#.to_vec(),
                ..good.clone()
            };
            assert!(
                check(&other, &sample.secrets).is_err(),
                "{name}: other body"
            );
        }
        if sample.signs_time {
            for now in [699, 1_301] {
                assert!(
                    sample.check(&good, now, &sample.secrets).is_err(),
                    "{name}: at {now}"
                );
            }
        }
    }
}

/// Everything that a request tells beside its proof, changed: it is the event that it was.
#[test]
fn an_event_is_named_by_what_is_signed_and_by_no_header() {
    let named = r#"{"id_header": "X-Id", "kind_header": "X-Kind"}"#;
    let plain = |scheme: Scheme, options: &str| {
        let mut sample = samples().into_iter().find(|one| one.scheme == scheme);
        if let Some(sample) = &mut sample {
            let more: Options = serde_json::from_str(options).expect("options");
            sample.options.id_header = more.id_header;
            sample.options.kind_header = more.kind_header;
            sample.options.same_body = more.same_body;
        }
        sample.expect("a sample")
    };
    let id_of = |sample: &Sample, body: &[u8], told: &str| {
        let mut request = sample.request(0, body, 1_000);
        for name in ["x-id", "x-github-delivery", "x-request-id", "webhook-ID"] {
            request.headers.push((name, told.as_bytes().to_vec()));
        }
        let found = sample.check(&request, 1_000, &sample.secrets);
        found
            .unwrap_or_else(|error| panic!("{}: {error}", sample.name))
            .id
    };
    let new = r#"{"id_header": "X-Id", "same_body": "new_event"}"#;
    for (scheme, options, one_event) in [
        (Scheme::Github, "{}", true),
        (Scheme::Slack, "{}", true),
        (Scheme::Stripe, "{}", true),
        (Scheme::Hmac, "{}", true),
        (Scheme::Hmac, named, true),
        (Scheme::Basic, named, true),
        (Scheme::Token, named, true),
        (Scheme::Basic, r#"{"same_body": "one_event"}"#, true),
        (Scheme::Token, r#"{"same_body": "one_event"}"#, true),
        // Where the endpoint was told so.
        (Scheme::Hmac, new, false),
        (Scheme::Token, new, false),
    ] {
        let sample = plain(scheme, options);
        let ids = ["1", "2"].map(|told| id_of(&sample, b"{\"n\":1}", told));
        assert!(ids[0].is_some(), "{scheme} {options}");
        assert_eq!(ids[0] == ids[1], one_event, "{scheme} {options}: {ids:?}");
        if one_event {
            let other = id_of(&sample, b"{\"n\":2}", "1");
            assert_ne!(ids[0], other, "{scheme} {options}: another body");
        }
    }
    // Nothing is signed and nothing is named: each delivery is an event.
    for scheme in [Scheme::Basic, Scheme::Token] {
        assert_eq!(id_of(&plain(scheme, "{}"), b"{}", "1"), None);
    }
}

/// Hex in either case, several signatures, and blanks: one good one is enough, in every scheme that writes hex.
#[test]
fn signatures_are_read_as_senders_write_them() {
    for sample in samples() {
        let header = match sample.scheme {
            Scheme::Github => "x-hub-signature-256",
            Scheme::Slack => "x-slack-signature",
            Scheme::Hmac if sample.name.ends_with("hex") => "x-signature",
            _ => continue,
        };
        let good = sample.request(0, b"{}", 1_000);
        let value = good.one(header).expect("a signature").to_owned();
        let (prefix, hash) = value.split_once('=').expect("a prefix");
        let other = "0".repeat(hash.len());
        for written in [
            format!("{prefix}={}", hash.to_uppercase()),
            value.to_uppercase(),
            format!(" {value} "),
            format!("{prefix}= {hash}"),
            format!("{prefix}={other},{value}"),
            format!("{value}, {prefix}={other}"),
            format!("{prefix}={other} {value}"),
            format!("v9=abc, {value}"),
        ] {
            let found = sample.check(&good.with(header, &written), 1_000, &sample.secrets);
            assert!(found.is_ok(), "{}: {written}: {found:?}", sample.name);
        }
        for written in [
            hash.to_owned(),
            format!("{prefix}={other}"),
            format!("{prefix}={}", &hash[2..]),
            format!("{prefix}={hash}00"),
            format!(
                "{prefix}={}{value}",
                format!("{other},{prefix}=").repeat(40)
            ),
        ] {
            let found = sample.check(&good.with(header, &written), 1_000, &sample.secrets);
            assert!(found.is_err(), "{}: {written}", sample.name);
        }
    }
    let key = secret("whsec_test_secret_of_some_length");
    let good = sign_stripe(&key, at(1_000), b"{}");
    let (stamp, hash) = good.split_once(",v1=").expect("two parts");
    for written in [
        format!("{stamp},v1={}", hash.to_uppercase()),
        format!("{stamp}, v1={hash}"),
        format!("v1={hash} , {stamp}"),
        format!("{stamp},v1=zz,v1=,v1={hash}"),
        format!("v0=1, v1={hash}, {stamp}, x"),
    ] {
        let given = headers(&[("stripe-signature", &written)]);
        let found = verify(Scheme::Stripe, b"{}", &given, 1_000, slice::from_ref(&key));
        assert!(found.is_ok(), "{written}: {found:?}");
    }
}

#[test]
fn made_secrets_are_good_and_bad_ones_are_told() {
    for sample in samples() {
        let verifier = sample.scheme.verifier(&sample.options).expect("a verifier");
        let made = verifier.generate_secret([1; 32]);
        assert_eq!(verifier.check_secret(&made), Ok(()), "{}", sample.name);
        for bad in ["", "short", "a\nb and so on until it is long enough"] {
            assert!(
                verifier.check_secret(&secret(bad)).is_err(),
                "{} {bad}",
                sample.name
            );
        }
    }
    let basic = Scheme::Basic
        .verifier(&Options::default())
        .expect("a verifier");
    assert!(
        basic
            .check_secret(&secret("no colon but long enough"))
            .is_err()
    );
}

#[test]
fn options_are_refused_by_name() {
    let options = |json: &str| serde_json::from_str::<Options>(json).expect("options");
    for (scheme, json, option) in [
        (Scheme::Github, r#"{"header": "x"}"#, "header"),
        (Scheme::Slack, r#"{"algorithm": "sha1"}"#, "algorithm"),
        (Scheme::Hmac, r#"{"header": "x y"}"#, "header"),
        (Scheme::Hmac, r#"{"query": "x"}"#, "query"),
        (Scheme::Token, "{}", "header"),
        (Scheme::Token, r#"{"header": "a", "query": "b"}"#, "query"),
        (Scheme::Token, r#"{"query": "b", "prefix": "c"}"#, "query"),
        (Scheme::Stripe, r#"{"id_at": "id"}"#, "id_at"),
        (Scheme::Hmac, r#"{"bots": ["B1"]}"#, "bots"),
        (Scheme::Slack, r#"{"bots": ["a b"]}"#, "bots"),
    ] {
        let error = scheme.verifier(&options(json)).expect_err(json);
        assert_eq!(error.option, option, "{scheme} {json}");
    }
    for scheme in Scheme::ALL {
        assert_eq!(Scheme::parse(scheme.name()), Some(scheme));
    }
}
