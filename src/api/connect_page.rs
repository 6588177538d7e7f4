//! `/connect/{token}`: the page behind a connect link. The person who opens it needs no account here; the link is all that they have.
//!
//! Looking at the page uses nothing up, so that a mail scanner or a chat's preview does no harm; the form's post uses the link, and gives it
//! back if nothing came of it.

mod view;

use super::{
    ApiState, body,
    connections::changed,
    error::ApiResult,
    form::pairs,
    html::{self, Html},
    oauth::{COOKIE, callback_of, connected},
    text::Path,
};
use crate::{
    actors::hub::{HubError, consent::Departure, typed::Typed, way_of},
    connect::{
        Integration,
        catalog::AuthWay,
        oauth::{Secret, hash_of, random_text},
    },
    domain::Timestamp,
    persistence::{
        ConnectLinkRow, ConnectionRow, connect_link_find, connect_link_give_back,
        connect_link_take, connection_get, org_get,
    },
};
use axum::{
    extract::{Request, State},
    http::StatusCode,
};
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use view::Page;

/// What a link leads to.
struct Opened {
    link: ConnectLinkRow,
    org_name: String,
    row: ConnectionRow,
    is_new: bool,
}

/// Shows what is asked.
pub async fn show(State(api): State<ApiState>, Path(token): Path<String>) -> Html {
    match open(&api, &token).await {
        Ok(opened) => page(&api, &opened, &BTreeMap::new(), None).await,
        Err(page) => page,
    }
}

/// Takes what the person decided or typed.
pub async fn submit(
    State(api): State<ApiState>,
    Path(token): Path<String>,
    request: Request,
) -> Html {
    // Nothing is taken in from those who have no link.
    if let Err(page) = open(&api, &token).await {
        return page;
    }
    let body = match body::read(request).await {
        Ok(body) => body,
        Err(error) => return html::of_error(error),
    };
    let service = api.clone();
    // A link that was used must be completed or given back, also when the browser was closed.
    let work = async move { submitted(service, &token, &body).await };
    api.to_the_end(work).await.unwrap_or_else(html::of_error)
}

async fn submitted(api: ApiState, token: &str, body: &[u8]) -> Html {
    let opened = match open(&api, token).await {
        Ok(opened) => opened,
        Err(page) => return page,
    };
    let given = pairs(&String::from_utf8_lossy(body));
    match take(&api, &opened.link).await {
        Ok(true) => {}
        Ok(false) => return over(),
        Err(error) => return html::of_error(error),
    }
    match carry_out(&api, &opened, &given).await {
        Ok(page) => page,
        Err(error) => {
            give_back(&api, &opened.link).await;
            page(&api, &opened, &given, Some(&error)).await
        }
    }
}

async fn open(api: &ApiState, token: &str) -> Result<Opened, Html> {
    let unknown = || {
        Html::said(
            StatusCode::NOT_FOUND,
            "There is no such link",
            "It may have been copied in part. Ask for it again.",
        )
    };
    let read = async {
        let mut tx = api.db().begin_system_read("whose link is this").await?;
        let link = connect_link_find(&mut tx, &hash_of(token)).await?;
        drop(tx);
        let Some(link) = link else { return Ok(None) };
        let mut tx = api.db().begin_read(link.org_id).await?;
        let org = org_get(&mut tx).await?;
        let row = connection_get(&mut tx, link.connection_id).await?;
        ApiResult::Ok(Some((link, org, row)))
    };
    let found = read.await.map_err(html::of_error)?;
    let (link, org, row) = found.ok_or_else(unknown)?;
    if link.used.is_some() || link.expires <= api.engine().now() {
        return Err(over());
    }
    let is_new = row.is_none();
    let row = row.unwrap_or_else(|| pending(&link, api.engine().now()));
    // What the link was made for, and nothing else: the connection may have been made anew for somebody else meanwhile.
    if row.owner_user != link.owner_user || row.integration != link.integration {
        return Err(unknown());
    }
    Ok(Opened {
        org_name: org.map(|org| org.name).unwrap_or_default(),
        link,
        row,
        is_new,
    })
}

fn pending(link: &ConnectLinkRow, now: Timestamp) -> ConnectionRow {
    let (org, id) = (link.org_id, link.connection_id);
    ConnectionRow {
        owner_user: link.owner_user.clone(),
        ..ConnectionRow::pending(org, id, &link.integration, &link.name, now)
    }
}

fn over() -> Html {
    Html::said(
        StatusCode::GONE,
        "This link cannot be used any more",
        "It was used already, or its time is over. Ask for a new one.",
    )
}

async fn take(api: &ApiState, link: &ConnectLinkRow) -> ApiResult<bool> {
    let mut tx = api.db().begin(link.org_id).await?;
    let taken = connect_link_take(&mut tx, link.id, api.engine().now()).await?;
    tx.commit().await?;
    Ok(taken)
}

async fn give_back(api: &ApiState, link: &ConnectLinkRow) {
    let back = async {
        let mut tx = api.db().begin(link.org_id).await?;
        connect_link_give_back(&mut tx, link.id).await?;
        tx.commit().await
    };
    if let Err(error) = back.await {
        tracing::warn!(link = %link.id, %error, "a connect link could not be given back");
    }
}

async fn carry_out(
    api: &ApiState,
    opened: &Opened,
    given: &BTreeMap<String, String>,
) -> Result<Html, HubError> {
    let hub = &api.core().hub;
    let link = &opened.link;
    let integration = hub.integration(link.org_id, &link.integration).await?;
    let integration = &*integration;
    let way = way_of(integration, given.get("way").map(String::as_str))?;
    let account = account_given(integration, given);
    if let AuthWay::Oauth2Code(_) = way {
        return depart(api, opened, way, account).await;
    }
    let fields = way.fields().iter().filter_map(|field| {
        let value = given.get(&format!("field.{}", field.name))?;
        let value = value.trim();
        (!value.is_empty()).then(|| (field.name.clone(), Secret::from(value)))
    });
    let typed = Typed {
        row: opened.row.clone(),
        is_new: opened.is_new,
        way: Some(way.id()),
        fields: fields.collect(),
        account,
        base_url: None,
        quota: None,
        link: Some(opened.link.id),
        verify: true,
    };
    let row = hub.connect_typed(typed).await?;
    changed(api, &row).await;
    Ok(connected(api, &row).await)
}

async fn depart(
    api: &ApiState,
    opened: &Opened,
    way: &AuthWay,
    account: Map<String, Value>,
) -> Result<Html, HubError> {
    let (link, browser) = (&opened.link, random_text()?);
    let scopes = link.scopes.as_deref();
    let departed = api
        .core()
        .hub
        .depart(Departure {
            row: opened.row.clone(),
            is_new: opened.is_new,
            way: Some(way.id()),
            user: link.owner_user.as_deref(),
            scopes: scopes.and_then(|text| serde_json::from_str(text).ok()),
            callback: callback_of(api, &link.integration),
            redirect_uri: None,
            account,
            browser: Some(&browser),
            link: Some(link.id),
        })
        .await?;
    let base = &api.core().settings.public_url;
    let secure = if base.starts_with("https:") {
        "; Secure"
    } else {
        ""
    };
    // Lax: it has to come along when the provider sends the browser back.
    let cookie = format!(
        "{COOKIE}={}; Path=/; Max-Age=600; HttpOnly; SameSite=Lax{secure}",
        browser.expose()
    );
    Ok(Html::redirect(departed.authorize_url, Some(cookie)))
}

fn account_given(
    integration: &Integration,
    given: &BTreeMap<String, String>,
) -> Map<String, Value> {
    let fields = integration.account.iter().filter_map(|field| {
        let value = given.get(&format!("account.{}", field.name))?.trim();
        (!value.is_empty()).then(|| (field.name.clone(), Value::String(value.to_owned())))
    });
    fields.collect()
}

async fn page(
    api: &ApiState,
    opened: &Opened,
    given: &BTreeMap<String, String>,
    error: Option<&HubError>,
) -> Html {
    let hub = &api.core().hub;
    let link = &opened.link;
    let integration = match hub.integration(link.org_id, &link.integration).await {
        Ok(integration) => integration,
        Err(error) => return super::oauth::failed(&error),
    };
    let app = match hub.app(link.org_id, &integration.id).await {
        Ok(app) => app,
        Err(error) => return super::oauth::failed(&error),
    };
    Page {
        integration: &integration,
        app: app.as_ref(),
        opened,
        given,
        error,
    }
    .html()
}
