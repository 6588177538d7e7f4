//! The authorisation servers as a client sees them.

use super::*;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use sha2::{Digest, Sha256};
use std::collections::HashMap;

mod endpoint;
mod kept;

const CALLBACK: &str = "http://127.0.0.1:9/callback?from=tenure";
const VERIFIER: &str = "a-verifier-that-is-as-long-as-verifiers-have-to-be";

/// A client of one authorisation server.
struct Visitor {
    url: String,
    integration: &'static str,
    http: reqwest::Client,
}

impl Visitor {
    async fn new(bench: &Bench, integration: &'static str, settings: Value) -> Self {
        let http = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .unwrap();
        let visitor = Self {
            url: bench.url.clone(),
            integration,
            http,
        };
        let client =
            json!({"client_id": "app", "client_secret": "hush", "redirect_uris": [CALLBACK]});
        let mut body = json!({"integration": integration, "clients": [client]});
        for (name, value) in settings.as_object().unwrap() {
            body[name] = value.clone();
        }
        let (status, said) = visitor.order("settings", body).await;
        assert_eq!(status, 200, "{said}");
        assert!(!said.to_string().contains("hush"));
        visitor
    }

    async fn order(&self, what: &str, body: Value) -> (u16, Value) {
        let url = format!("{}/oauth/{what}", self.url);
        let response = self.http.post(url).json(&body).send().await.unwrap();
        (response.status().as_u16(), response.json().await.unwrap())
    }

    /// The authorization request, with these parameters changed; an empty one is left out.
    fn request(&self, changes: &[(&str, &str)]) -> String {
        let challenge = URL_SAFE_NO_PAD.encode(Sha256::digest(VERIFIER));
        let mut pairs = vec![
            ("response_type", "code"),
            ("client_id", "app"),
            ("redirect_uri", CALLBACK),
            ("state", "s t&te"),
            ("scope", "read write"),
            ("code_challenge", challenge.as_str()),
            ("code_challenge_method", "S256"),
            ("access_type", "offline"),
        ];
        for (name, value) in changes {
            pairs.retain(|(known, _)| known != name);
            if !value.is_empty() {
                pairs.push((name, value));
            }
        }
        let query = super::super::urlencoded::encode(&pairs);
        format!("{}/oauth/{}/authorize?{query}", self.url, self.integration)
    }

    /// What comes back to the callback when the person says `decision`.
    async fn decide(&self, changes: &[(&str, &str)], decision: &str) -> HashMap<String, String> {
        let form = [("decision", decision), ("user", "U0NOAH")];
        let request = self.http.post(self.request(changes)).form(&form);
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), 303);
        callback(&response)
    }

    async fn code(&self, changes: &[(&str, &str)]) -> String {
        self.decide(changes, "allow").await["code"].clone()
    }

    async fn token(&self, form: &[(&str, &str)]) -> (u16, Value) {
        let url = format!("{}/oauth/{}/token", self.url, self.integration);
        let request = self.http.post(url).header("accept", "application/json");
        let response = request.form(form).send().await.unwrap();
        (response.status().as_u16(), response.json().await.unwrap())
    }

    async fn exchange(&self, code: &str, changes: &[(&str, &str)]) -> (u16, Value) {
        let mut form = vec![
            ("grant_type", "authorization_code"),
            ("code", code),
            ("redirect_uri", CALLBACK),
            ("client_id", "app"),
            ("client_secret", "hush"),
            ("code_verifier", VERIFIER),
        ];
        for (name, value) in changes {
            form.retain(|(known, _)| known != name);
            if !value.is_empty() {
                form.push((name, value));
            }
        }
        self.token(&form).await
    }

    async fn refresh(&self, token: &str) -> (u16, Value) {
        let form = [
            ("grant_type", "refresh_token"),
            ("refresh_token", token),
            ("client_id", "app"),
            ("client_secret", "hush"),
        ];
        self.token(&form).await
    }

    /// Status and body of a read with this token.
    async fn read(&self, token: &str) -> (u16, Value) {
        let path = match self.integration {
            "slack" => "/api/auth.test",
            "quickbooks" => "/v3/company/9341452000000001/customer/1",
            "gmail" => "/gmail/v1/users/me/messages",
            "github" => "/user",
            _ => "/v1/account",
        };
        let url = format!("{}/{}{path}", self.url, self.integration);
        let response = self.http.get(url).bearer_auth(token).send().await.unwrap();
        (response.status().as_u16(), response.json().await.unwrap())
    }

    async fn is_good(&self, token: &str) -> bool {
        let (status, body) = self.read(token).await;
        status == 200 && body.get("ok") != Some(&json!(false))
    }

    async fn get(&self, what: &str) -> Value {
        let url = format!("{}/oauth/{what}", self.url);
        let response = self.http.get(url).send().await.unwrap();
        response.json().await.unwrap()
    }
}

fn callback(response: &reqwest::Response) -> HashMap<String, String> {
    let location = response.headers()["location"].to_str().unwrap();
    let rest = location.strip_prefix(&format!("{CALLBACK}&")).unwrap();
    super::super::urlencoded::pairs(rest).into_iter().collect()
}

fn text<'a>(answer: &'a Value, name: &str) -> &'a str {
    answer[name].as_str().unwrap_or_default()
}

#[tokio::test]
async fn consent_code_and_tokens_of_every_provider() {
    let folder = tempfile::tempdir().unwrap();
    let (_handle, bench) = Bench::start(folder.path()).await;
    for (integration, takes_pkce) in [
        ("slack", true),
        ("quickbooks", false),
        ("gmail", true),
        ("github", true),
        ("stripe", false),
    ] {
        let visitor = Visitor::new(&bench, integration, json!({})).await;
        let challenge = [("code_challenge", ""), ("code_challenge_method", "")];
        let changes: &[_] = if takes_pkce { &[] } else { &challenge };
        let page = visitor.http.get(visitor.request(changes)).send().await;
        let page = page.unwrap();
        assert_eq!(page.status(), 200);
        let page = page.text().await.unwrap();
        assert!(page.contains("<code>read</code>") && page.contains("id=\"allow\""));

        let back = visitor.decide(changes, "allow").await;
        assert_eq!(back["state"], "s t&te");
        let verifier: &[_] = if takes_pkce {
            &[]
        } else {
            &[("code_verifier", "")]
        };
        let (status, tokens) = visitor.exchange(&back["code"], verifier).await;
        assert_eq!(status, 200, "{tokens}");
        let (expected, realm) = match integration {
            "slack" => (
                json!({"ok": true, "expires_in": 43_200, "token_type": "bot", "bot_user_id": "U0TENURE"}),
                None,
            ),
            "quickbooks" => (
                json!({"expires_in": 3_600, "token_type": "bearer", "x_refresh_token_expires_in": 8_726_400}),
                Some("9341452000000001"),
            ),
            "gmail" => (
                json!({"expires_in": 3_599, "token_type": "Bearer", "scope": "read write"}),
                None,
            ),
            "github" => (
                json!({"expires_in": 28_800, "token_type": "bearer", "refresh_token_expires_in": 15_811_200}),
                None,
            ),
            _ => (
                json!({"token_type": "bearer", "stripe_user_id": "acct_0demo", "livemode": false}),
                None,
            ),
        };
        for (name, value) in expected.as_object().unwrap() {
            assert_eq!(&tokens[name], value, "{integration} {name}");
        }
        assert_eq!(back.get("realmId").map(String::as_str), realm);
        assert!(tokens.get("id_token").is_none());
        assert!(!text(&tokens, "refresh_token").is_empty(), "{integration}");
        assert!(
            visitor.is_good(text(&tokens, "access_token")).await,
            "{integration}"
        );

        let denied = visitor.decide(changes, "deny").await;
        assert_eq!(
            (denied["error"].as_str(), denied.get("code")),
            ("access_denied", None)
        );
    }
}

#[tokio::test]
async fn a_request_for_consent_is_checked() {
    let folder = tempfile::tempdir().unwrap();
    let (_handle, bench) = Bench::start(folder.path()).await;
    let visitor = Visitor::new(&bench, "gmail", json!({"pkce": "required"})).await;
    for changes in [
        [("client_id", "stranger")],
        [("client_id", "")],
        [("redirect_uri", "")],
        [("redirect_uri", "http://127.0.0.1:9/callback")],
        [(
            "redirect_uri",
            "http://127.0.0.1:9/callback?from=tenure&x=<b>",
        )],
    ] {
        let request = visitor.request(&changes);
        for response in [
            visitor.http.get(&request).send().await.unwrap(),
            visitor
                .http
                .post(&request)
                .form(&[("decision", "allow")])
                .send()
                .await
                .unwrap(),
        ] {
            assert_eq!(response.status(), 400, "{changes:?}");
            assert!(response.headers().get("location").is_none());
        }
    }
    for (changes, error) in [
        ([("response_type", "token")], "unsupported_response_type"),
        ([("response_type", "")], "unsupported_response_type"),
        ([("code_challenge", "")], "invalid_request"),
        ([("code_challenge", "short")], "invalid_request"),
        ([("code_challenge_method", "plain")], "invalid_request"),
        ([("code_challenge_method", "")], "invalid_request"),
    ] {
        let response = visitor.http.get(visitor.request(&changes)).send().await;
        let back = callback(&response.unwrap());
        assert_eq!(back["error"], error, "{changes:?}");
        assert_eq!(back["state"], "s t&te");
    }
    let (_, problem) = visitor
        .order(
            "settings",
            json!({"integration": "gmail", "pkce": "refused"}),
        )
        .await;
    assert_eq!(problem["pkce"], "refused");
    let back = visitor.decide(&[], "allow").await;
    assert_eq!(back["error"], "invalid_request");
    let twice = format!("{}&state=other", visitor.request(&[]));
    assert_eq!(visitor.http.get(twice).send().await.unwrap().status(), 400);
}

#[tokio::test]
async fn slack_gives_the_person_a_token_of_their_own() {
    let folder = tempfile::tempdir().unwrap();
    let (_handle, bench) = Bench::start(folder.path()).await;
    let visitor = Visitor::new(&bench, "slack", json!({})).await;
    let code = visitor.code(&[("user_scope", "search:read")]).await;
    let (_, both) = visitor.exchange(&code, &[]).await;
    let person = &both["authed_user"];
    assert_eq!(
        (text(person, "id"), text(person, "token_type")),
        ("U0NOAH", "user")
    );
    assert!(text(person, "access_token").starts_with("xoxe.xoxp-"));
    assert!(text(&both, "access_token").starts_with("xoxe.xoxb-"));
    let (_, refreshed) = visitor.refresh(text(person, "refresh_token")).await;
    assert_eq!(text(&refreshed, "token_type"), "user");
    assert!(text(&refreshed, "access_token").starts_with("xoxe.xoxp-"));
    let changes = [("user_scope", "search:read"), ("scope", "")];
    let code = visitor.code(&changes).await;
    let (_, only) = visitor.exchange(&code, &[]).await;
    assert!(only.get("access_token").is_none());
    assert!(
        visitor
            .is_good(text(&only["authed_user"], "access_token"))
            .await
    );
}
