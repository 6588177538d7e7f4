use super::*;
use serde_json::json;

fn reading(section: Value) -> Reading {
    let part = |name: &str| section.get(name).cloned().unwrap_or(json!({}));
    Reading {
        token_at: serde_json::from_value(part("token_at")).unwrap(),
        errors: serde_json::from_value(part("error")).unwrap(),
        expires_default: section["expires_default_seconds"]
            .as_u64()
            .map(Duration::from_secs),
        learn: serde_json::from_value(part("learn")).unwrap(),
        typed_by_person: section["typed"].as_bool().unwrap_or(false),
        good_once: section["once"].as_bool().unwrap_or(false),
        secrets: vec!["s3nt-secret".into()],
    }
}

fn now() -> Timestamp {
    Timestamp::from_millis(1_000_000_000_000)
}

fn read(reading: &Reading, status: u16, body: &str) -> TokenOutcome {
    let answer = Answer {
        status,
        body: body.as_bytes(),
        content_type: None,
        retry_after: Some(Duration::from_secs(7)),
    };
    reading.read(answer, now())
}

fn granted(reading: &Reading, body: Value) -> Granted {
    match read(reading, 200, &body.to_string()) {
        TokenOutcome::Granted(granted) => *granted,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_plain_answer() {
    let body =
        json!({"access_token": "a", "refresh_token": "r", "expires_in": 3600, "scope": "x y"});
    let got = granted(&reading(json!({})), body);
    assert_eq!(got.access_token, "a".into());
    assert_eq!(got.refresh_token, Some("r".into()));
    assert_eq!(
        got.expires_at,
        Some(now().after(Duration::from_secs(3_600)))
    );
    assert_eq!(got.scopes, Some(vec!["x".into(), "y".into()]));
}

#[test]
fn tokens_stand_at_other_places_too() {
    let slack = reading(json!({
        "token_at": {"access_token": ["/access_token", "/authed_user/access_token"], "scope": ["/authed_user/scope"]},
        "learn": {"team_id": {"token": "/team/id"}, "realm": {"query": "realmId"}},
    }));
    let body = json!({"ok": true, "authed_user": {"access_token": "u", "scope": "a,b"}, "team": {"id": "T1"}});
    let got = granted(&slack, body);
    assert_eq!(got.access_token, "u".into());
    assert_eq!(got.scopes, Some(vec!["a".into(), "b".into()]));
    assert_eq!(Value::Object(got.learned), json!({"team_id": "T1"}));
    assert_eq!(got.expires_at, None);
    let form = read(
        &reading(json!({})),
        200,
        "access_token=gho_1&scope=repo%2Cgist&token_type=bearer",
    );
    assert!(matches!(form, TokenOutcome::Granted(got) if got.access_token == "gho_1".into()));
}

#[test]
fn expiry_is_told_in_many_ways() {
    let at = |seconds| Some(now().after(Duration::from_secs(seconds)));
    for (unit, value, expected) in [
        ("s", json!(60), at(60)),
        ("s", json!("60"), at(60)),
        ("ms", json!(60_000), at(60)),
        ("at_unix_s", json!(1_000_000_060), at(60)),
        ("at_unix_ms", json!(1_000_000_060_000_i64), at(60)),
        ("at_rfc3339", json!("2001-09-09T01:47:40Z"), at(60)),
        ("s", json!(null), at(999)),
        ("s", json!(0), at(999)),
        ("s", json!(-5), at(999)),
        ("s", json!(1e300), at(999)),
        ("at_rfc3339", json!("soon"), at(999)),
    ] {
        let rules = json!({"token_at": {"expires_in": "/expires_in", "expires_unit": unit}, "expires_default_seconds": 999});
        let got = granted(
            &reading(rules),
            json!({"access_token": "a", "expires_in": value}),
        );
        assert_eq!(got.expires_at, expected, "{unit} {value}");
    }
}

#[test]
fn a_failure_kills_the_grant_only_if_it_says_so() {
    let plain = json!({});
    let slack = json!({"error": {"ok_flag": "/ok", "dead_grant": ["token_revoked"]}});
    let typed = json!({"typed": true});
    let once = json!({"once": true, "error": {"ok_flag": "/ok"}});
    for (rules, status, body, expected) in [
        (&plain, 400, r#"{"error":"invalid_grant"}"#, "dead"),
        (&plain, 401, r#"{"error":"invalid_grant"}"#, "dead"),
        (
            &plain,
            400,
            r#"{"error":"temporarily_unavailable"}"#,
            "transient",
        ),
        (
            &plain,
            401,
            r#"{"error":"invalid_client"}"#,
            "misconfigured",
        ),
        (&plain, 404, "<html>", "misconfigured"),
        (&plain, 500, r#"{"error":"internal"}"#, "transient unsure"),
        (&plain, 503, "", "transient unsure"),
        (&plain, 408, "", "transient unsure"),
        (&plain, 429, r#"{"error":"slow_down"}"#, "transient"),
        (&plain, 200, "<html>", "transient unsure"),
        (&plain, 200, r#"{"access_token":""}"#, "transient unsure"),
        (
            &slack,
            200,
            r#"{"ok":false,"error":"token_revoked","access_token":"x"}"#,
            "dead",
        ),
        (
            &slack,
            200,
            r#"{"ok":false,"error":"internal_error"}"#,
            "transient",
        ),
        (
            &slack,
            200,
            r#"{"ok":false,"error":"bad_client_secret"}"#,
            "misconfigured",
        ),
        (&once, 200, r#"{"ok":false,"error":"invalid_code"}"#, "dead"),
        (&typed, 401, r#"{"error":"invalid_client"}"#, "dead"),
        (&typed, 403, "", "dead"),
        (&typed, 400, r#"{"error":"invalid_scope"}"#, "misconfigured"),
        (&typed, 502, "", "transient unsure"),
    ] {
        let found = match read(&reading(rules.clone()), status, body) {
            TokenOutcome::Granted(_) => "granted",
            TokenOutcome::DeadGrant { .. } => "dead",
            TokenOutcome::Transient {
                unsure: true,
                retry_after,
                ..
            } => {
                assert_eq!(retry_after, Some(Duration::from_secs(7)));
                "transient unsure"
            }
            TokenOutcome::Transient { .. } => "transient",
            TokenOutcome::Misconfigured { .. } => "misconfigured",
        };
        assert_eq!(found, expected, "{status} {body}");
    }
}

#[test]
fn what_was_sent_does_not_come_back_in_a_text() {
    let body = json!({"error": "invalid_grant", "error_description": "no such token s3nt-secret"});
    let outcome = read(&reading(json!({})), 400, &body.to_string());
    assert!(
        !format!("{outcome:?}").contains("s3nt-secret"),
        "{outcome:?}"
    );
    let told = json!({"error": "invalid_grant", "error_description": "it was revoked\u{7}"});
    let outcome = read(&reading(json!({})), 400, &told.to_string());
    assert_eq!(
        outcome,
        TokenOutcome::DeadGrant {
            reason: "the token endpoint answered 400: invalid_grant: it was revoked".into()
        }
    );
}

#[test]
fn a_token_is_read_however_its_answer_is_written() {
    let body = r#"{"access_token":"a","refresh_token":"r","expires_in":60,"note":"\ud83d","id":123456789012345678901,"name":"Zo\u00eb"}"#;
    let utf_16: Vec<u8> = body.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let latin = [
        &br#"{"access_token":"a","refresh_token":"r","expires_in":60,"name":"Zo"#[..],
        &[0xeb],
        br#""}"#,
    ]
    .concat();
    for (bytes, content_type) in [
        (body.as_bytes().to_vec(), None),
        (
            [&[0xef, 0xbb, 0xbf], body.as_bytes()].concat(),
            Some("application/json"),
        ),
        (utf_16.clone(), None),
        (
            [&[0xff, 0xfe], &utf_16[..]].concat(),
            Some("application/json; charset=utf-8"),
        ),
        (latin.clone(), Some("application/json; charset=ISO-8859-1")),
        (latin, None),
        (body.replace(":60,", ":60,\"x\":NaN,").into_bytes(), None),
    ] {
        let answer = Answer {
            status: 200,
            body: &bytes,
            content_type,
            retry_after: None,
        };
        let TokenOutcome::Granted(got) = reading(json!({})).read(answer, now()) else {
            panic!("{content_type:?}: {}", String::from_utf8_lossy(&bytes));
        };
        assert_eq!(got.access_token.expose(), "a");
        assert_eq!(got.expires_at, Some(now().after(Duration::from_secs(60))));
    }
}

#[test]
fn the_end_of_a_token_is_read_in_every_form() {
    // `now` is 2001-09-09T01:46:40Z.
    let minute = Some(now().after(Duration::from_secs(60)));
    for (unit, value, expected) in [
        ("s", json!("60"), minute),
        ("s", json!(" 60 "), minute),
        ("s", json!("60.0"), minute),
        ("s", json!(1_000_000_060), minute),
        ("s", json!("1000000060000"), minute),
        ("s", json!("2001-09-09T01:47:40Z"), minute),
        ("s", json!("Sun, 09 Sep 2001 01:47:40 GMT"), minute),
        ("at_rfc3339", json!("2001-09-09T03:47:40+02:00"), minute),
        ("at_rfc3339", json!(1_000_000_060), minute),
        ("at_rfc3339", json!(60), minute),
        ("at_unix_s", json!("2001-09-09T01:47:40Z"), minute),
        ("at_unix_ms", json!("1000000060000"), minute),
        ("s", json!("soon"), None),
        ("s", json!(-5), None),
        ("s", json!(0), None),
    ] {
        let rules = json!({"token_at": {"expires_in": "/expires_in", "expires_unit": unit}});
        let body = json!({"access_token": "a", "expires_in": value});
        assert_eq!(
            granted(&reading(rules), body).expires_at,
            expected,
            "{unit} {value}"
        );
    }
}

/// Answers of providers to a refresh: what is there counts, what is absent, null or empty changes nothing that is kept.
#[test]
fn what_is_not_told_at_a_refresh_is_kept() {
    let rules = || {
        reading(json!({
            "learn": {"instance_url": {"token": "/instance_url"}, "api_domain": {"token": "/api_domain"}},
        }))
    };
    for (body, refresh_token, learned) in [
        (json!({"access_token": "a"}), None, json!({})),
        (
            json!({"access_token": "a", "refresh_token": null}),
            None,
            json!({}),
        ),
        (
            json!({"access_token": "a", "refresh_token": ""}),
            None,
            json!({}),
        ),
        (
            json!({"access_token": "a", "refresh_token": "r2", "x_refresh_token_expires_in": 8_726_400}),
            Some("r2"),
            json!({}),
        ),
        (
            json!({"access_token": "a", "api_domain": "https://www.zohoapis.example", "expires_in": 3600}),
            None,
            json!({"api_domain": "https://www.zohoapis.example"}),
        ),
        (
            json!({"access_token": "a", "instance_url": null, "scope": null}),
            None,
            json!({}),
        ),
        (
            json!({"access_token": "a", "instance_url": "https://eu9.example", "issued_at": "1796050800000"}),
            None,
            json!({"instance_url": "https://eu9.example"}),
        ),
        (
            json!({"access_token": "xoxe.xoxb-1", "ok": true, "refresh_token": "xoxe-2", "expires_in": 43_200}),
            Some("xoxe-2"),
            json!({}),
        ),
    ] {
        let got = granted(&rules(), body.clone());
        assert_eq!(got.refresh_token, refresh_token.map(Secret::from), "{body}");
        assert_eq!(Value::Object(got.learned), learned, "{body}");
    }
}

#[test]
fn refusals_with_status_200_are_refusals() {
    let github = json!({"error": {"dead_grant": ["bad_refresh_token", "invalid_grant"]}});
    for (status, body, expected) in [
        (
            200,
            "error=bad_refresh_token&error_description=The+refresh+token+passed+is+incorrect+or+expired.",
            "dead",
        ),
        (200, r#"{"error":"bad_refresh_token"}"#, "dead"),
        (
            200,
            r#"{"error":"incorrect_client_credentials"}"#,
            "misconfigured",
        ),
        (
            400,
            r#"{"error":"invalid_grant","error_subtype":"invalid_rapt"}"#,
            "dead",
        ),
        (
            400,
            r#"{"error":"invalid_grant","error_codes":[50076],"suberror":"basic_action"}"#,
            "dead",
        ),
        (
            200,
            r#"{"error":{"message":"x","type":"OAuthException","code":190}}"#,
            "transient",
        ),
        (
            200,
            r#"{"access_token":null,"error":"invalid_grant"}"#,
            "dead",
        ),
        (
            502,
            "<html><title>502 Bad Gateway</title></html>",
            "transient",
        ),
    ] {
        let found = match read(&reading(github.clone()), status, body) {
            TokenOutcome::Granted(_) => "granted",
            TokenOutcome::DeadGrant { .. } => "dead",
            TokenOutcome::Transient { .. } => "transient",
            TokenOutcome::Misconfigured { .. } => "misconfigured",
        };
        assert_eq!(found, expected, "{status} {body}");
    }
}
