//! The routes of the authorisation servers and of the switches that steer them.

use super::{
    TokenRequest,
    authorize::{Decision, Misasked},
    consent,
    revoke::Failed,
};
use crate::sandbox::{
    call::Provider,
    control::read_provider,
    problem::{Problem, list, read_json, shown},
    routes::{Desk, finish, now, read_basic, read_body},
    seed,
    socket::Switch,
    urlencoded,
};
use axum::{
    Router,
    body::Bytes,
    extract::{ConnectInfo, FromRequestParts, RawQuery, State},
    http::{HeaderMap, HeaderValue, StatusCode, header, request::Parts},
    response::{Html, IntoResponse, Response},
    routing::{delete, get, post},
};
use serde_json::{Value, json};
use std::collections::HashMap;

/// Where the providers themselves have their consent page, their token endpoint and their revocation: the paths of their addresses,
/// below the integration's name, so that a client needs only another host.
const OWN_PATHS: [[&str; 3]; 5] = [
    [
        "/slack/oauth/v2/authorize",
        "/slack/api/oauth.v2.access",
        "/slack/api/auth.revoke",
    ],
    [
        "/quickbooks/connect/oauth2",
        "/quickbooks/oauth2/v1/tokens/bearer",
        "/quickbooks/v2/oauth2/tokens/revoke",
    ],
    ["/gmail/o/oauth2/v2/auth", "/gmail/token", "/gmail/revoke"],
    [
        "/github/login/oauth/authorize",
        "/github/login/oauth/access_token",
        "/github/login/oauth/revoke",
    ],
    [
        "/stripe/oauth/authorize",
        "/stripe/oauth/token",
        "/stripe/oauth/deauthorize",
    ],
];

pub(in crate::sandbox) fn router() -> Router<Desk> {
    let ours = [
        "/oauth/{integration}/authorize",
        "/oauth/{integration}/token",
        "/oauth/{integration}/revoke",
    ];
    let mut router = Router::new();
    for [asking, tokens, revocation] in OWN_PATHS.into_iter().chain([ours]) {
        router = router
            .route(asking, get(ask).post(decide))
            .route(tokens, post(token))
            .route(revocation, post(revoke));
    }
    router
        .route("/oauth/settings", post(configure).get(list_settings))
        .route("/oauth/expire", post(expire))
        .route("/oauth/revoke_grant", post(end_grants))
        .route("/oauth/grants", get(list_grants))
        .route("/oauth/log", get(read_log))
        .route("/oauth", delete(reset))
}

impl From<Failed> for Problem {
    fn from(failed: Failed) -> Self {
        match failed {
            Failed::Field(field) => field.into(),
            Failed::Journal(error) => error.into(),
        }
    }
}

/// Shows the page, or says what is wrong with the request.
async fn ask(
    State(desk): State<Desk>,
    At(integration): At,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    let query = query.unwrap_or_default();
    let asked = desk
        .book
        .with(move |keeper| keeper.oauth.read_request(integration, &query))
        .await?;
    Ok(match asked {
        Ok(request) => as_page(StatusCode::OK, consent::page(&request)),
        Err(misasked) => turn_away(misasked),
    })
}

/// The page's form: `decision` is `allow` or `deny`, `user` who decides.
async fn decide(
    State(desk): State<Desk>,
    At(integration): At,
    RawQuery(query): RawQuery,
    body: Bytes,
) -> Result<Response, Problem> {
    let form: HashMap<_, _> = urlencoded::pairs(&String::from_utf8_lossy(&body))
        .into_iter()
        .collect();
    let decision = match form.get("decision").map(String::as_str) {
        Some("allow") => Decision::Allow,
        Some("deny") => Decision::Deny,
        _ => return Err(Problem::bad("decision", "must be allow or deny")),
    };
    let (first, ..) = seed::USERS[0];
    let user = form.get("user").map_or(first, String::as_str).to_owned();
    if !seed::USERS.iter().any(|(id, ..)| *id == user) {
        return Err(Problem::bad("user", "is not known"));
    }
    let query = query.unwrap_or_default();
    let decided = desk
        .book
        .with(
            move |keeper| match keeper.oauth.read_request(integration, &query) {
                Ok(request) => keeper.oauth.decide(now(), request, &user, decision).map(Ok),
                Err(misasked) => Ok(Err(misasked)),
            },
        )
        .await??;
    Ok(match decided {
        Ok(address) => redirect(&address),
        Err(misasked) => turn_away(misasked),
    })
}

async fn token(
    State(desk): State<Desk>,
    ConnectInfo(switch): ConnectInfo<Switch>,
    At(integration): At,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Problem> {
    let request = read_request(integration, query, &headers, &body);
    let served = desk.book.with(move |keeper| keeper.token(&request)).await?;
    Ok(finish(served, &switch, &desk.stop).await)
}

async fn revoke(
    State(desk): State<Desk>,
    ConnectInfo(switch): ConnectInfo<Switch>,
    At(integration): At,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Problem> {
    let request = read_request(integration, query, &headers, &body);
    let revoking = desk.book.with(move |keeper| keeper.oauth.revoke(&request));
    let served = revoking.await??.into();
    Ok(finish(served, &switch, &desk.stop).await)
}

async fn configure(State(desk): State<Desk>, body: Bytes) -> Result<Response, Problem> {
    let body = read_json(&body)?;
    let said = desk
        .book
        .with(move |keeper| keeper.oauth.configure(now(), &body))
        .await??;
    Ok(shown(StatusCode::OK, &said))
}

async fn list_settings(State(desk): State<Desk>) -> Result<Response, Problem> {
    let settings = desk.book.with(|keeper| keeper.oauth.all_settings());
    Ok(list(settings.await?))
}

async fn expire(State(desk): State<Desk>, body: Bytes) -> Result<Response, Problem> {
    let body = read_json(&body)?;
    let grants = desk
        .book
        .with(move |keeper| keeper.oauth.expire(now(), &body))
        .await??;
    Ok(shown(StatusCode::OK, &json!({"grants": grants})))
}

async fn end_grants(State(desk): State<Desk>, body: Bytes) -> Result<Response, Problem> {
    let body = read_json(&body)?;
    let grants = desk
        .book
        .with(move |keeper| keeper.oauth.end_grants(now(), &body))
        .await??;
    Ok(shown(StatusCode::OK, &json!({"grants": grants})))
}

async fn list_grants(
    State(desk): State<Desk>,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    let (integration, _) = read_filter(query, &["integration"])?;
    let grants = desk
        .book
        .with(move |keeper| keeper.oauth.grants(now(), integration))
        .await?;
    Ok(list(grants))
}

async fn read_log(
    State(desk): State<Desk>,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    let (integration, grant_type) = read_filter(query, &["integration", "grant_type"])?;
    let log = desk
        .book
        .with(move |keeper| keeper.oauth.log(integration, grant_type.as_deref()))
        .await?;
    Ok(shown(StatusCode::OK, &log))
}

async fn reset(State(desk): State<Desk>) -> Result<StatusCode, Problem> {
    desk.book.with(|keeper| keeper.oauth.reset()).await??;
    Ok(StatusCode::NO_CONTENT)
}

/// Whose authorisation server is meant.
struct At(Provider);

impl<S: Sync> FromRequestParts<S> for At {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let path = parts.uri.path().trim_start_matches('/');
        let path = path.strip_prefix("oauth/").unwrap_or(path);
        let name = path.split('/').next().unwrap_or_default();
        let unknown = "no such integration has an authorisation server";
        let found = Provider::named(name).ok_or_else(|| Problem::not_found(unknown))?;
        Ok(Self(found))
    }
}

fn read_filter(
    query: Option<String>,
    known: &[&str],
) -> Result<(Option<Provider>, Option<String>), Problem> {
    let (mut integration, mut grant_type) = (None, None);
    for (name, value) in urlencoded::pairs(&query.unwrap_or_default()) {
        match name.as_str() {
            "integration" => integration = Some(read_provider(&value)?),
            "grant_type" if known.contains(&"grant_type") => grant_type = Some(value),
            other => {
                let detail = format!("is not known; known are {}", known.join(", "));
                return Err(Problem::bad(other, detail));
            }
        }
    }
    Ok((integration, grant_type))
}

fn read_request(
    integration: Provider,
    query: Option<String>,
    headers: &HeaderMap,
    body: &Bytes,
) -> TokenRequest {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let mut fields: HashMap<_, _> = urlencoded::pairs(&query.unwrap_or_default())
        .into_iter()
        .collect();
    if let Value::Object(sent) = read_body(text(header::CONTENT_TYPE).unwrap_or_default(), body) {
        let texts = sent.into_iter().filter_map(|(name, value)| match value {
            Value::String(text) => Some((name, text)),
            _ => None,
        });
        fields.extend(texts);
    }
    let authorization = text(header::AUTHORIZATION).unwrap_or_default();
    if let Some(own) = authorization.strip_prefix("Bearer ") {
        // Slack revokes the token that it is asked with.
        fields.entry("token".into()).or_insert(own.to_owned());
    }
    let basic = read_basic(authorization);
    TokenRequest {
        at: now(),
        integration,
        fields,
        // RFC 6749 has both form-encoded before they are joined.
        basic: basic.map(|(id, secret)| (decode_form(&id), decode_form(&secret))),
        wants_json: text(header::ACCEPT).is_some_and(|accept| accept.contains("json")),
    }
}

fn decode_form(text: &str) -> String {
    urlencoded::decode(&text.replace('+', " "))
}

fn turn_away(misasked: Misasked) -> Response {
    match misasked {
        Misasked::Shown(message) => as_page(StatusCode::BAD_REQUEST, consent::error_page(&message)),
        Misasked::Returned(address) => redirect(&address),
    }
}

fn as_page(status: StatusCode, page: String) -> Response {
    let mut response = (status, Html(page)).into_response();
    let headers = response.headers_mut();
    // `form-action` is left out: browsers hold the redirect that follows the form against it.
    let policy = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'";
    headers.insert(
        header::CONTENT_SECURITY_POLICY,
        HeaderValue::from_static(policy),
    );
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// 303, so that the browser does not send the form on.
fn redirect(address: &str) -> Response {
    match HeaderValue::from_str(address) {
        Ok(location) => (StatusCode::SEE_OTHER, [(header::LOCATION, location)]).into_response(),
        Err(_) => Problem::bad("redirect_uri", "is not an address").into_response(),
    }
}
