//! `/oauth`: consent at a provider. `POST /oauth/start` gives the address to send a browser to; the browser comes back to
//! `GET /oauth/callback/{integration}`, or whoever caught it hands the code to `POST /oauth/complete`.
//!
//! Invariants: a state is good once, for ten minutes, for the connection and the user that it was made for; the redirect address is the same
//! text in the request and in the exchange; nothing that came from a provider or a browser gets onto a page unescaped.

use super::{
    ApiState,
    auth::Caller,
    body::Json as JsonBody,
    connections::{ConnectionView, changed},
    error::{ApiError, ApiResult, Problem},
    form::pairs,
    html::{self, Html},
    owner::{self, OwnerKind, Wanted},
    text::{self, Path},
};
use crate::{
    actors::hub::{
        HubError,
        consent::{Arrival, Departure},
    },
    connect::oauth::{Secret, hash_of},
    domain::{ConnectionId, OrgId, Timestamp},
    persistence::{
        ConnectionRow, OauthStateRow, connect_link_give_back, oauth_state_newest, oauth_state_take,
    },
};
use axum::{
    Json,
    extract::{RawQuery, State},
    http::{HeaderMap, StatusCode, header},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// The cookie of a browser that departed from a page of ours.
pub const COOKIE: &str = "tenure_consent";
const SCOPES_MAX: usize = 100;

/// Where providers send browsers back to.
pub fn callback_of(api: &ApiState, integration: &str) -> String {
    let base = &api.core().settings.public_url;
    format!("{base}/oauth/callback/{integration}")
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StartBody {
    /// Id in the catalog, for example `slack`.
    integration: String,
    /// One that is there already and needs a new consent.
    connection_id: Option<String>,
    /// Of a new one; absent: `default`.
    name: Option<String>,
    /// Where several of the integration's ways are by consent.
    way: Option<String>,
    /// Absent: those that the catalog asks for.
    scopes: Option<Vec<String>>,
    /// One that the oauth client lists, exactly; absent: this service's callback.
    redirect_uri: Option<String>,
    /// `org` or `user`; absent: the person's whose key this is, else the org's.
    owner: Option<OwnerKind>,
    /// The user to whom it is to belong, where the key is bound to no person.
    user: Option<String>,
    /// What the integration must know of the account before, for example its subdomain.
    #[serde(default)]
    account: Map<String, Value>,
}

#[derive(Serialize)]
pub struct Started {
    authorize_url: String,
    connection_id: ConnectionId,
    state_expires_at: Timestamp,
}

/// Begins a consent.
pub async fn start(
    State(api): State<ApiState>,
    caller: Caller,
    JsonBody(body): JsonBody<StartBody>,
) -> ApiResult<Json<Started>> {
    let integration = owner::integration(&api, caller.org, &body.integration).await?;
    check_scopes(body.scopes.as_deref())?;
    let wanted = Wanted {
        integration: &integration,
        connection: body.connection_id.as_deref(),
        name: body.name.as_deref(),
        kind: body.owner,
        user: body.user.as_deref(),
    };
    let (row, is_new) = owner::wanted(&api, &caller, wanted).await?;
    let connection_id = row.id;
    let departed = api
        .core()
        .hub
        .depart(Departure {
            row,
            is_new,
            way: body.way.as_deref(),
            user: caller.user.as_deref(),
            scopes: body.scopes,
            callback: callback_of(&api, &integration.id),
            redirect_uri: body.redirect_uri.as_deref(),
            account: body.account,
            browser: None,
            link: None,
        })
        .await?;
    Ok(Json(Started {
        authorize_url: departed.authorize_url,
        connection_id,
        state_expires_at: departed.expires,
    }))
}

/// # Errors
/// `invalid_field`.
pub fn check_scopes(scopes: Option<&[String]>) -> ApiResult<()> {
    let fits = scopes.is_none_or(|scopes| {
        let is_scope = |scope: &String| text::short("scopes", scope, 300).is_ok();
        scopes.len() <= SCOPES_MAX && scopes.iter().all(is_scope)
    });
    match fits {
        true => Ok(()),
        false => Err(ApiError::field(
            "scopes",
            format!("`scopes` must be at most {SCOPES_MAX} texts of at most 300 characters"),
        )),
    }
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CompleteBody {
    /// That of the API key; any other is not found.
    org_id: String,
    connection_id: String,
    /// The `code` that came back.
    #[schemars(with = "String")]
    auth_code: Secret,
    /// The `state` that came back; absent: the newest that is open for the connection.
    #[schemars(with = "Option<String>")]
    state: Option<Secret>,
    /// Other parameters that came back, for example `realmId`.
    #[serde(default)]
    params: BTreeMap<String, String>,
}

/// Ends a consent whose answer somebody else caught.
pub async fn complete(
    State(api): State<ApiState>,
    caller: Caller,
    JsonBody(body): JsonBody<CompleteBody>,
) -> ApiResult<Json<ConnectionView>> {
    if body.org_id.parse::<OrgId>().ok() != Some(caller.org) {
        return Err(ApiError::not_found("org", &body.org_id));
    }
    let now = api.engine().now();
    let mut tx = api.db().begin_read(caller.org).await?;
    let row = owner::connection(&mut tx, &caller, &body.connection_id).await?;
    owner::must_change(&caller, row.owner_user.as_deref())?;
    let hash = match &body.state {
        Some(state) => Some(hash_of(state.expose())),
        None => oauth_state_newest(&mut tx, row.id, now)
            .await?
            .map(|state| state.state_hash),
    };
    drop(tx);
    let fits = |state: &OauthStateRow| {
        state.org_id == caller.org
            && state.connection_id == row.id
            && (state.user_id.is_none() || caller.user.is_none() || state.user_id == caller.user)
    };
    let state = match hash {
        Some(hash) => take(&api, &hash).await?.filter(fits),
        None => None,
    };
    let state = state.ok_or_else(|| {
        let detail = "no consent of this connection is open: it was used, is older than ten minutes, or was never begun";
        ApiError::new(Problem::InvalidState, detail)
    })?;
    let service = api.clone();
    let work = async move {
        let arrival = Arrival {
            state: &state,
            code: &body.auth_code,
            query: &body.params,
        };
        let connected = service.core().hub.arrive(arrival).await?;
        changed(&service, &connected).await;
        ApiResult::Ok(connected)
    };
    let connected = api.to_the_end(work).await??;
    Ok(Json(connected.into()))
}

async fn take(api: &ApiState, hash: &[u8]) -> ApiResult<Option<OauthStateRow>> {
    let mut tx = api.db().begin_system("a browser came back").await?;
    let state = oauth_state_take(&mut tx, hash, api.engine().now()).await?;
    tx.commit().await?;
    Ok(state)
}

/// A browser comes back from a provider. Its state says whose it is.
pub async fn callback(
    State(api): State<ApiState>,
    Path(integration): Path<String>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Html {
    let mut query = pairs(query.as_deref().unwrap_or_default());
    let (service, cookies) = (api.clone(), cookies_of(&headers));
    // A code is good once: what was begun with it must not stop because a browser was closed.
    let work = async move { come_back(&service, &integration, &mut query, &cookies).await };
    match api.to_the_end(work).await {
        Ok(Ok(row)) => connected(&api, &row).await,
        Ok(Err(page)) => page,
        Err(error) => html::of_error(error),
    }
}

/// Values of our cookie that a browser brought.
fn cookies_of(headers: &HeaderMap) -> Vec<String> {
    let cookies = headers.get_all(header::COOKIE).iter();
    cookies
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .filter(|(name, _)| *name == COOKIE)
        .map(|(_, value)| value.to_owned())
        .collect()
}

/// What a person sees when it worked.
pub async fn connected(api: &ApiState, row: &ConnectionRow) -> Html {
    let known = api.core().hub.integration(row.org_id, &row.integration);
    let known = known.await.ok();
    let name = known.as_ref().map_or(&row.integration, |one| &one.name);
    let account = match &row.account_name {
        Some(account) => format!(" as {account}"),
        None => String::new(),
    };
    Html::said(
        StatusCode::OK,
        "Connected",
        &format!("{name} is connected{account}. You can close this page."),
    )
}

async fn come_back(
    api: &ApiState,
    integration: &str,
    query: &mut BTreeMap<String, String>,
    cookies: &[String],
) -> Result<ConnectionRow, Html> {
    let over = || {
        Html::said(
            StatusCode::BAD_REQUEST,
            "This cannot be used any more",
            "The consent was used already, took longer than ten minutes, or was never begun here. Start again from where you came.",
        )
    };
    let given = query.remove("state").ok_or_else(over)?;
    let taken = take(api, &hash_of(&given)).await;
    let state = taken.map_err(html::of_error)?.ok_or_else(over)?;
    let is_ours = state.integration == integration
        && state.redirect_uri == callback_of(api, integration)
        && fits_browser(&state, cookies);
    if !is_ours {
        give_back(api, &state).await;
        return Err(Html::said(
            StatusCode::BAD_REQUEST,
            "This is not where the consent was begun",
            "Open the link again in this browser.",
        ));
    }
    if let Some(error) = query.remove("error") {
        give_back(api, &state).await;
        return Err(declined(&error, query.get("error_description")));
    }
    let Some(code) = query.remove("code") else {
        give_back(api, &state).await;
        return Err(Html::said(
            StatusCode::BAD_REQUEST,
            "Nothing came back",
            "The provider gave neither a code nor an error. Try again.",
        ));
    };
    let arrival = Arrival {
        state: &state,
        code: &code.into(),
        query,
    };
    match api.core().hub.arrive(arrival).await {
        Ok(row) => {
            changed(api, &row).await;
            Ok(row)
        }
        Err(error) => {
            give_back(api, &state).await;
            Err(failed(&error))
        }
    }
}

/// Whoever departed from a page of ours comes back with its cookie: a consent that somebody else began cannot be slipped to this person.
fn fits_browser(state: &OauthStateRow, cookies: &[String]) -> bool {
    let Some(hash) = &state.browser_hash else {
        return true;
    };
    cookies.iter().any(|value| hash_of(value) == *hash)
}

/// The link through which it was begun can be used again: nothing came of it.
async fn give_back(api: &ApiState, state: &OauthStateRow) {
    let Some(link) = state.link_id else { return };
    let back = async {
        let mut tx = api.db().begin(state.org_id).await?;
        connect_link_give_back(&mut tx, link).await?;
        tx.commit().await
    };
    if let Err(error) = back.await {
        tracing::warn!(%link, %error, "a connect link could not be given back");
    }
}

fn declined(error: &str, description: Option<&String>) -> Html {
    if error == "access_denied" {
        return Html::said(
            StatusCode::OK,
            "Declined",
            "Nothing was connected. If that was a mistake, open the link again.",
        );
    }
    let told = description.map_or(error, String::as_str);
    let told: String = told.chars().filter(|c| !c.is_control()).take(300).collect();
    Html::said(
        StatusCode::BAD_GATEWAY,
        "The provider refused",
        &format!("It says: {told}"),
    )
}

/// What a person reads when a consent came to nothing.
pub fn failed(error: &HubError) -> Html {
    let error = ApiError::from_hub(error);
    html::of_error(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_consent_belongs_to_the_browser_that_began_it() {
        let mut state = OauthStateRow {
            org_id: OrgId::from_uuid(uuid::Uuid::nil()),
            state_hash: Vec::new(),
            connection_id: ConnectionId::from_uuid(uuid::Uuid::nil()),
            integration: "slack".into(),
            way: "oauth2_code".into(),
            user_id: None,
            sealed_verifier: crate::persistence::Sealed(Vec::new()),
            redirect_uri: String::new(),
            scopes: "[]".into(),
            account: "{}".into(),
            browser_hash: None,
            link_id: None,
            created: Timestamp::default(),
            expires: Timestamp::default(),
        };
        let with = |cookie: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::COOKIE, cookie.parse().expect("a header"));
            cookies_of(&headers)
        };
        assert!(fits_browser(&state, &[]), "begun by a program");
        state.browser_hash = Some(hash_of("mine"));
        assert!(!fits_browser(&state, &[]));
        assert!(!fits_browser(&state, &with("tenure_consent=theirs")));
        assert!(fits_browser(&state, &with("a=b; tenure_consent=mine")));
    }
}
