//! Codes, refreshes and revocations at the token endpoint.

use super::*;

fn gmail(settings: Value) -> Value {
    let mut all = json!({"rotate_refresh": true, "access_ttl_seconds": 3_600});
    for (name, value) in settings.as_object().unwrap() {
        all[name] = value.clone();
    }
    all
}

#[tokio::test]
async fn a_code_is_good_once_for_its_client_its_address_and_its_verifier() {
    let folder = tempfile::tempdir().unwrap();
    let (_handle, bench) = Bench::start(folder.path()).await;
    let visitor = Visitor::new(&bench, "gmail", gmail(json!({}))).await;
    let code = visitor.code(&[]).await;
    for (changes, status, error) in [
        ([("code", "4/other")], 400, "invalid_grant"),
        ([("code", "")], 400, "invalid_request"),
        (
            [("redirect_uri", "http://127.0.0.1:9/callback")],
            400,
            "invalid_grant",
        ),
        ([("redirect_uri", "")], 400, "invalid_grant"),
        ([("code_verifier", "")], 400, "invalid_grant"),
        (
            [(
                "code_verifier",
                "another-verifier-that-is-as-long-as-they-have-to-be",
            )],
            400,
            "invalid_grant",
        ),
        ([("client_secret", "wrong")], 401, "invalid_client"),
        ([("client_secret", "")], 401, "invalid_client"),
        ([("client_id", "stranger")], 401, "invalid_client"),
        ([("grant_type", "password")], 400, "unsupported_grant_type"),
        ([("grant_type", "")], 400, "invalid_request"),
    ] {
        let (is, answer) = visitor.exchange(&code, &changes).await;
        assert_eq!((is, text(&answer, "error")), (status, error), "{changes:?}");
    }
    let (status, tokens) = visitor.exchange(&code, &[]).await;
    assert_eq!(status, 200, "{tokens}");
    let (_, again) = visitor.exchange(&code, &[]).await;
    assert_eq!(text(&again, "error"), "invalid_grant");
    assert!(
        !visitor.is_good(text(&tokens, "access_token")).await,
        "both are suspect now"
    );
    let unchallenged = [("code_challenge", ""), ("code_challenge_method", "")];
    let code = visitor.code(&unchallenged).await;
    let (_, answer) = visitor.exchange(&code, &[]).await;
    assert_eq!(
        text(&answer, "error"),
        "invalid_grant",
        "a verifier nobody asked for"
    );
    visitor
        .order(
            "settings",
            json!({"integration": "gmail", "code_ttl_seconds": 0}),
        )
        .await;
    let late = visitor.code(&[]).await;
    let (_, answer) = visitor.exchange(&late, &[]).await;
    assert_eq!(text(&answer, "error_description"), "the code has expired");
}

#[tokio::test]
async fn clients_prove_who_they_are_in_three_ways() {
    let folder = tempfile::tempdir().unwrap();
    let (_handle, bench) = Bench::start(folder.path()).await;
    let visitor = Visitor::new(&bench, "quickbooks", json!({})).await;
    let url = format!("{}/oauth/quickbooks/token", bench.url);
    let form = [
        ("grant_type", "client_credentials"),
        ("scope", "accounting"),
    ];
    let by_basic = visitor
        .http
        .post(&url)
        .basic_auth("app", Some("hush"))
        .form(&form);
    assert_eq!(by_basic.send().await.unwrap().status(), 200);
    let body =
        json!({"grant_type": "client_credentials", "client_id": "app", "client_secret": "hush"});
    let by_json = visitor.http.post(&url).json(&body).send().await.unwrap();
    assert_eq!(by_json.headers()["cache-control"], "no-store");
    let tokens: Value = by_json.json().await.unwrap();
    assert!(tokens.get("refresh_token").is_none());
    assert!(visitor.is_good(text(&tokens, "access_token")).await);
    let wrong = visitor
        .http
        .post(&url)
        .basic_auth("app", Some("x"))
        .form(&form);
    let wrong = wrong.send().await.unwrap();
    assert_eq!(wrong.status(), 401);
    assert!(wrong.headers().contains_key("www-authenticate"));
    let both = visitor
        .http
        .post(&url)
        .basic_auth("app", Some("hush"))
        .json(&body);
    assert_eq!(both.send().await.unwrap().status(), 400);
}

#[tokio::test]
async fn refresh_tokens_rotate_and_may_be_lenient_or_strict() {
    let folder = tempfile::tempdir().unwrap();
    let (_handle, bench) = Bench::start(folder.path()).await;
    let visitor = Visitor::new(&bench, "gmail", gmail(json!({}))).await;
    let login = async || {
        let code = visitor.code(&[]).await;
        visitor.exchange(&code, &[]).await.1
    };
    let first = login().await;
    let (status, second) = visitor.refresh(text(&first, "refresh_token")).await;
    assert_eq!(status, 200);
    assert_ne!(first["refresh_token"], second["refresh_token"]);
    assert!(visitor.is_good(text(&first, "access_token")).await);
    let (status, answer) = visitor.refresh(text(&first, "refresh_token")).await;
    assert_eq!((status, text(&answer, "error")), (400, "invalid_grant"));
    assert_eq!(visitor.refresh(text(&second, "refresh_token")).await.0, 200);

    visitor
        .order(
            "settings",
            json!({"integration": "gmail", "grace_seconds": 60}),
        )
        .await;
    assert_eq!(visitor.refresh(text(&first, "refresh_token")).await.0, 200);

    let strict = json!({"integration": "gmail", "grace_seconds": 0, "reuse_revokes_family": true});
    visitor.order("settings", strict).await;
    let third = login().await;
    let (_, fourth) = visitor.refresh(text(&third, "refresh_token")).await;
    assert_eq!(visitor.refresh(text(&third, "refresh_token")).await.0, 400);
    assert_eq!(visitor.refresh(text(&fourth, "refresh_token")).await.0, 400);
    assert!(!visitor.is_good(text(&fourth, "access_token")).await);

    visitor
        .order(
            "settings",
            json!({"integration": "gmail", "rotate_refresh": false}),
        )
        .await;
    let fifth = login().await;
    let (_, sixth) = visitor.refresh(text(&fifth, "refresh_token")).await;
    assert!(
        sixth.get("refresh_token").is_none(),
        "Google says nothing of it then"
    );
    assert_eq!(visitor.refresh(text(&fifth, "refresh_token")).await.0, 200);
    let code = visitor.code(&[("access_type", "")]).await;
    let (_, online) = visitor.exchange(&code, &[]).await;
    assert!(online.get("refresh_token").is_none());
}

#[tokio::test]
async fn tokens_that_ended_are_refused_in_the_providers_words() {
    let folder = tempfile::tempdir().unwrap();
    let (_handle, bench) = Bench::start(folder.path()).await;
    for (integration, expired, revoked, dead) in [
        (
            "slack",
            "token_expired",
            "token_revoked",
            "invalid_refresh_token",
        ),
        ("quickbooks", "3200", "3200", "invalid_grant"),
        (
            "gmail",
            "UNAUTHENTICATED",
            "UNAUTHENTICATED",
            "invalid_grant",
        ),
        (
            "github",
            "Bad credentials",
            "Bad credentials",
            "bad_refresh_token",
        ),
        (
            "stripe",
            "api_key_expired",
            "account_invalid",
            "invalid_grant",
        ),
    ] {
        let settings = json!({"pkce": "optional", "rotate_refresh": true});
        let visitor = Visitor::new(&bench, integration, settings).await;
        let code = visitor.code(&[]).await;
        let (_, tokens) = visitor.exchange(&code, &[]).await;
        let (status, said) = visitor
            .order("expire", json!({"integration": integration}))
            .await;
        assert_eq!((status, said["grants"].as_array().unwrap().len()), (200, 1));
        let (status, answer) = visitor.read(text(&tokens, "access_token")).await;
        assert_eq!(status, if integration == "slack" { 200 } else { 401 });
        assert!(answer.to_string().contains(expired), "{answer}");
        let (_, fresh) = visitor.refresh(text(&tokens, "refresh_token")).await;
        assert!(
            visitor.is_good(text(&fresh, "access_token")).await,
            "{integration}"
        );
        visitor
            .order("revoke_grant", json!({"integration": integration}))
            .await;
        let (_, answer) = visitor.read(text(&fresh, "access_token")).await;
        assert!(answer.to_string().contains(revoked), "{answer}");
        let (_, answer) = visitor.refresh(text(&fresh, "refresh_token")).await;
        assert_eq!(text(&answer, "error"), dead);
        assert!(
            visitor
                .is_good(&format!("sandbox-{integration}-token"))
                .await
        );
        assert!(!visitor.is_good("never-issued").await);
    }
}

#[tokio::test]
async fn a_client_can_revoke() {
    let folder = tempfile::tempdir().unwrap();
    let (_handle, bench) = Bench::start(folder.path()).await;
    let visitor = Visitor::new(&bench, "github", json!({})).await;
    let code = visitor.code(&[]).await;
    let (_, tokens) = visitor.exchange(&code, &[]).await;
    let (_, newer) = visitor.refresh(text(&tokens, "refresh_token")).await;
    assert!(
        !visitor.is_good(text(&tokens, "access_token")).await,
        "the older one died"
    );
    let url = format!("{}/oauth/github/revoke", bench.url);
    let revoke = async |token: &str| {
        let request = visitor.http.post(&url).basic_auth("app", Some("hush"));
        let response = request.form(&[("token", token)]).send().await.unwrap();
        response.status().as_u16()
    };
    assert_eq!(revoke("unknown").await, 204);
    assert_eq!(revoke(text(&newer, "access_token")).await, 204);
    assert!(!visitor.is_good(text(&newer, "access_token")).await);
    assert_eq!(visitor.refresh(text(&newer, "refresh_token")).await.0, 200);
    let unsigned = visitor
        .http
        .post(&url)
        .form(&[("token", "x")])
        .send()
        .await
        .unwrap();
    let said = unsigned.text().await.unwrap();
    assert!(said.contains("incorrect_client_credentials"), "{said}");
    let grants = visitor.get("grants?integration=github").await;
    assert_eq!(grants["items"][0]["user"], "U0NOAH");
    assert_eq!(grants["items"][0]["ended"], Value::Null);
}

#[tokio::test]
async fn github_answers_with_a_form_unless_asked_for_json() {
    let folder = tempfile::tempdir().unwrap();
    let (_handle, bench) = Bench::start(folder.path()).await;
    let visitor = Visitor::new(&bench, "github", json!({})).await;
    let code = visitor.code(&[]).await;
    let form = [
        ("client_id", "app"),
        ("client_secret", "hush"),
        ("code", code.as_str()),
        ("redirect_uri", CALLBACK),
        ("code_verifier", VERIFIER),
    ];
    let url = format!("{}/oauth/github/token", bench.url);
    let response = visitor.http.post(url).form(&form).send().await.unwrap();
    let kind = response.headers()["content-type"]
        .to_str()
        .unwrap()
        .to_owned();
    assert!(kind.starts_with("application/x-www-form-urlencoded"));
    assert!(response.text().await.unwrap().contains("access_token=ghu_"));
}

#[tokio::test]
async fn the_providers_own_paths_work_too() {
    let folder = tempfile::tempdir().unwrap();
    let (_handle, bench) = Bench::start(folder.path()).await;
    let visitor = Visitor::new(&bench, "slack", json!({})).await;
    let request = visitor.request(&[("code_challenge", ""), ("code_challenge_method", "")]);
    let request = request.replace("/oauth/slack/authorize", "/slack/oauth/v2/authorize");
    let form = [("decision", "allow")];
    let response = visitor.http.post(request).form(&form).send().await;
    let code = callback(&response.unwrap())["code"].clone();
    let url = format!("{}/slack/api/oauth.v2.access", bench.url);
    let form = [("code", code.as_str()), ("redirect_uri", CALLBACK)];
    let request = visitor.http.post(url).basic_auth("app", Some("hush"));
    let tokens: Value = request
        .form(&form)
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    let token = text(&tokens, "access_token");
    assert!(visitor.is_good(token).await, "{tokens}");
    let url = format!("{}/slack/api/auth.revoke", bench.url);
    let revoked = visitor
        .http
        .post(url)
        .bearer_auth(token)
        .send()
        .await
        .unwrap();
    assert_eq!(revoked.json::<Value>().await.unwrap()["revoked"], true);
    assert!(!visitor.is_good(token).await);
    let nobody = visitor
        .http
        .get(format!("{}/oauth/teams/authorize", bench.url));
    assert_eq!(nobody.send().await.unwrap().status(), 404);
}
