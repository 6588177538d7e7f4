use super::*;
use crate::connect::{Catalog, oauth::app::Overrides};
use serde_json::json;
use std::{collections::BTreeMap, time::Duration};

fn integration(auth: Value) -> Catalog {
    let file = json!({
        "id": "acme",
        "name": "Acme",
        "base_url": "https://{account.subdomain}.acme.test",
        "auth": [auth],
        "account": [{"name": "subdomain", "description": "the word before .acme.test"}],
        "quota": {"requests": 1, "per_seconds": 1, "burst": 1},
        "capabilities": [],
    });
    Catalog::from_yaml([("acme.yaml", file.to_string())]).unwrap()
}

fn app() -> OauthApp {
    OauthApp {
        client_id: "our id".into(),
        client_secret: Some("our+secret".into()),
        overrides: Overrides::default(),
    }
}

fn account() -> Account {
    Account {
        base_url: "https://eu.acme.test".into(),
        data: json!({"subdomain": "eu"}).as_object().unwrap().clone(),
        quota: None,
    }
}

fn now() -> Timestamp {
    Timestamp::from_millis(1_000_000_000_000)
}

fn credential(fields: &[(&str, &str)]) -> Credential {
    let fields: BTreeMap<_, _> = fields
        .iter()
        .map(|(name, value)| (name.to_string(), Secret::from(*value)))
        .collect();
    Credential::fields("acme", fields, now())
}

fn prepare(auth: Value, app: Option<&OauthApp>, grant: Grant<'_>) -> Made<Prepared> {
    let catalog = integration(auth);
    let integration = catalog.integration("acme").unwrap();
    let provider = Provider {
        integration,
        way: &integration.auth[0],
        app,
        account: &account(),
    };
    provider.prepare(grant, now())
}

/// URL, headers and body as text, the parts of a form one by one.
fn shown(prepared: Made<Prepared>) -> (String, Vec<String>, Vec<String>) {
    let Prepared::Ask(exchange) = prepared.unwrap() else {
        panic!("it was signed here")
    };
    let line = |(name, value): &(String, Secret)| format!("{name}={}", value.expose());
    let body = match &exchange.body {
        Body::Empty => Vec::new(),
        Body::Form(fields) => fields.iter().map(line).collect(),
        Body::Json(json) => vec![json.expose().to_owned()],
    };
    let url = format!("{} {}", exchange.method, exchange.url);
    (url, exchange.headers.iter().map(line).collect(), body)
}

fn code_way(more: Value) -> Value {
    let mut way = json!({
        "type": "oauth2_code",
        "authorize_url": "https://{account.subdomain}.acme.test/authorize?tenant=1",
        "token_url": "https://{account.subdomain}.acme.test/token",
        "scopes": ["a", "b"],
    });
    way.as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    way
}

fn authorize(way: Value, app: &OauthApp) -> Vec<String> {
    let catalog = integration(way);
    let integration = catalog.integration("acme").unwrap();
    let provider = Provider {
        integration,
        way: &integration.auth[0],
        app: Some(app),
        account: &account(),
    };
    let scopes = ["a".to_owned(), "b c".to_owned()];
    let url = provider
        .authorize_url(&"st".into(), "https://us.test/cb?x=1", &scopes, Some("ch"))
        .unwrap();
    let mut parts = vec![format!("{}{}", url.host_str().unwrap(), url.path())];
    parts.extend(
        url.query_pairs()
            .map(|(name, value)| format!("{name}={value}")),
    );
    parts
}

#[test]
fn where_the_browser_is_sent() {
    assert_eq!(
        authorize(code_way(json!({})), &app()),
        [
            "eu.acme.test/authorize",
            "tenant=1",
            "response_type=code",
            "client_id=our id",
            "redirect_uri=https://us.test/cb?x=1",
            "state=st",
            "scope=a b c",
            "code_challenge=ch",
            "code_challenge_method=S256",
        ]
    );
    let way = json!({
        "scope_separator": ",", "scope_param": "user_scope", "client_id_param": "appid",
        "authorize_params": {"access_type": "offline", "where": "{account.subdomain}"},
    });
    let mut sandbox = app();
    sandbox.overrides.authorize_url = Some("http://127.0.0.1:9/authorize".into());
    let parts = authorize(code_way(way), &sandbox);
    assert_eq!(parts[0], "127.0.0.1/authorize");
    for part in [
        "appid=our id",
        "user_scope=a,b c",
        "access_type=offline",
        "where=eu",
    ] {
        assert!(parts.contains(&part.to_owned()), "{part} in {parts:?}");
    }
}

const CODE: Grant<'static> = Grant::Code {
    code: "c0de",
    redirect_uri: "https://us.test/cb",
    verifier: None,
};

#[test]
fn a_code_is_exchanged() {
    let verifier = Secret::from("v");
    let with_pkce = Grant::Code {
        code: "c0de",
        redirect_uri: "https://us.test/cb",
        verifier: Some(&verifier),
    };
    let (url, headers, body) = shown(prepare(code_way(json!({})), Some(&app()), with_pkce));
    assert_eq!(url, "POST https://eu.acme.test/token");
    assert_eq!(headers, [""; 0]);
    assert_eq!(
        body,
        [
            "grant_type=authorization_code",
            "code=c0de",
            "redirect_uri=https://us.test/cb",
            "code_verifier=v",
            "client_id=our id",
            "client_secret=our+secret",
        ]
    );
    let way = json!({"client_auth": "basic", "token_params": {"resource": "x"}, "token_headers": {"X-Version": "2"}});
    let (_, headers, body) = shown(prepare(code_way(way), Some(&app()), CODE));
    // `our+id:our%2Bsecret`, each encoded like a form.
    assert_eq!(
        headers,
        [
            "X-Version=2",
            "Authorization=Basic b3VyK2lkOm91ciUyQnNlY3JldA=="
        ]
    );
    assert_eq!(body.len(), 4, "neither id nor secret: {body:?}");
    assert!(body.contains(&"resource=x".to_owned()));
    let (_, _, body) = shown(prepare(
        code_way(json!({"token_body": "json"})),
        Some(&app()),
        CODE,
    ));
    let json: Value = serde_json::from_str(&body[0]).unwrap();
    assert_eq!(json["code"], "c0de");
    assert_eq!(json["client_secret"], "our+secret");
    let (_, _, body) = shown(prepare(
        code_way(json!({"client_auth": "none"})),
        Some(&app()),
        CODE,
    ));
    assert!(!body.join(" ").contains("our+secret"));
}

#[test]
fn a_refresh_token_is_exchanged() {
    let mut stored = credential(&[]);
    stored.refresh_token = Some("r".into());
    let way = code_way(json!({
        "refresh_url": "https://{account.subdomain}.acme.test/refresh",
        "refresh_params": {"scope": "a b"}, "token_params": {"only": "codes"},
    }));
    let (url, _, body) = shown(prepare(way.clone(), Some(&app()), Grant::Stored(&stored)));
    assert_eq!(url, "POST https://eu.acme.test/refresh");
    assert_eq!(body[..2], ["grant_type=refresh_token", "refresh_token=r"]);
    assert!(body.contains(&"scope=a b".to_owned()) && !body.contains(&"only=codes".to_owned()));
    let mut sandbox = app();
    sandbox.overrides.token_url = Some("http://127.0.0.1:9/token".into());
    let (url, _, _) = shown(prepare(way.clone(), Some(&sandbox), Grant::Stored(&stored)));
    assert_eq!(url, "POST http://127.0.0.1:9/token");
    let error = prepare(way.clone(), Some(&app()), Grant::Stored(&credential(&[])));
    assert!(error.unwrap_err().to_string().contains("refresh token"));
    let error = prepare(way, None, Grant::Stored(&stored)).unwrap_err();
    assert!(
        error.to_string().contains("/v1/oauth-clients/acme"),
        "{error}"
    );
}

#[test]
fn client_credentials_are_a_persons_or_the_orgs() {
    let way = json!({
        "type": "oauth2_client_credentials", "token_url": "https://{account.subdomain}.acme.test/token",
        "scopes": ["a", "b"], "token_params": {"audience": "https://{account.subdomain}.acme.test"},
    });
    let typed = credential(&[("client_id", "i"), ("client_secret", "s")]);
    let (_, _, body) = shown(prepare(way.clone(), Some(&app()), Grant::Stored(&typed)));
    assert_eq!(
        body,
        [
            "grant_type=client_credentials",
            "scope=a b",
            "client_id=i",
            "client_secret=s",
            "audience=https://eu.acme.test",
        ]
    );
    let (_, _, body) = shown(prepare(
        way.clone(),
        Some(&app()),
        Grant::Stored(&credential(&[])),
    ));
    assert!(body.contains(&"client_id=our id".to_owned()));
    assert!(prepare(way, None, Grant::Stored(&credential(&[]))).is_err());
}

#[test]
fn a_signed_assertion_is_exchanged_or_is_the_token() {
    let mut way = json!({
        "type": "jwt_bearer", "alg": "HS256", "key": "{credential.key}", "key_encoding": "text",
        "fields": [{"name": "key", "title": "Key", "secret": true}, {"name": "iss", "title": "Issuer"}, {"name": "sub", "title": "User", "optional": true}],
        "claims": {"iss": "{credential.iss}", "sub": "{credential.sub}", "aud": "https://{account.subdomain}.acme.test"},
        "lifetime_seconds": 60,
    });
    let typed = credential(&[("key", "k"), ("iss", "me")]);
    let Prepared::Signed(granted) = prepare(way.clone(), None, Grant::Stored(&typed)).unwrap()
    else {
        panic!("there is nobody to ask")
    };
    assert_eq!(
        granted.expires_at,
        Some(now().after(Duration::from_secs(60)))
    );
    let claims = granted
        .access_token
        .expose()
        .split('.')
        .nth(1)
        .unwrap()
        .to_owned();
    use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
    let claims: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims).unwrap()).unwrap();
    let expected = json!({"iss": "me", "aud": "https://eu.acme.test", "iat": 1_000_000_000, "exp": 1_000_000_060});
    assert_eq!(claims, expected);

    way["token_url"] = json!("https://{account.subdomain}.acme.test/token");
    let (_, _, body) = shown(prepare(way.clone(), None, Grant::Stored(&typed)));
    assert_eq!(
        body[0],
        "grant_type=urn:ietf:params:oauth:grant-type:jwt-bearer"
    );
    assert!(body[1].starts_with("assertion=ey"));
    let error = prepare(way, None, Grant::Stored(&credential(&[("iss", "me")])));
    assert!(error.unwrap_err().to_string().contains("key"));
}

#[test]
fn credentials_are_exchanged_as_the_file_says() {
    let way = json!({
        "type": "two_step",
        "fields": [{"name": "user", "title": "User"}, {"name": "pass", "title": "Password", "secret": true}],
        "request": {"path": "/login", "json": {"u": "{credential.user}", "p": "{credential.pass}"}, "headers": {"X-Tenant": "{account.subdomain}"}},
    });
    let typed = credential(&[("user", "ann"), ("pass", "s3cret")]);
    let (url, headers, body) = shown(prepare(way.clone(), None, Grant::Stored(&typed)));
    assert_eq!(url, "POST https://eu.acme.test/login");
    assert_eq!(headers, ["X-Tenant=eu"]);
    assert_eq!(body, [r#"{"p":"s3cret","u":"ann"}"#]);
    let prepared = prepare(way, None, Grant::Stored(&typed)).unwrap();
    assert!(!format!("{prepared:?}").contains("s3cret"));
}

#[test]
fn a_value_of_an_account_cannot_lead_a_secret_elsewhere() {
    let catalog = integration(code_way(json!({})));
    let integration = catalog.integration("acme").unwrap();
    let mut account = account();
    account
        .data
        .insert("subdomain".into(), json!("evil.test/x?"));
    let provider = Provider {
        integration,
        way: &integration.auth[0],
        app: Some(&app()),
        account: &account,
    };
    assert!(provider.prepare(CODE, now()).is_err());
    assert!(
        provider
            .authorize_url(&"s".into(), "https://us.test", &[], None)
            .is_err()
    );
}
