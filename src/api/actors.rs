//! `/v1/actors`: what lives in this process and what it does, read without asking the actors, so that a stuck one is seen too.

use super::{
    ApiState,
    auth::Caller,
    error::{ApiError, ApiResult},
    query::{NoQuery, Query, page, word},
    text::Path,
};
use crate::{
    actors::vitals::{ActorView, Vitals},
    domain::Role,
    persistence::{DbError, Page},
};
use axum::{
    Json,
    extract::State,
    response::{IntoResponse, Response},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{collections::HashMap, sync::Arc};

const STATUSES: [&str; 3] = ["idle", "busy", "waiting"];
/// Actors of a nested answer; a larger tree is read page by page.
const TREE_MAX: usize = 10_000;

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListQuery {
    /// For example `employee`, `skill`, `micro_agent`, `connector`.
    kind: Option<String>,
    /// `idle`, `busy` or `waiting`.
    status: Option<String>,
    /// Nested: each actor with its `children`. Without filters and pages.
    #[serde(default)]
    tree: bool,
    limit: Option<u32>,
    after: Option<String>,
}

#[derive(Serialize)]
struct ActorTree {
    #[serde(flatten)]
    actor: ActorView,
    children: Vec<ActorTree>,
}

#[derive(Serialize)]
struct Trees {
    items: Vec<ActorTree>,
    next: Option<String>,
}

/// The actors that a caller may see, sorted by path: those of its org, and for administrators the node's, of which it is not told what
/// they work on, since that may be another org's.
fn visible(api: &ApiState, caller: Caller) -> Vec<Arc<Vitals>> {
    let mut all = api.core().vitals.visible_to(caller.org);
    all.retain(|vitals| vitals.org().is_some() || caller.role >= Role::Admin);
    all
}

fn view(vitals: &Vitals) -> ActorView {
    let mut view = vitals.view();
    if vitals.org().is_none() {
        view.doing = None;
        view.waiting_on = None;
        view.last_error = None;
    }
    view
}

pub async fn list(
    State(api): State<ApiState>,
    caller: Caller,
    Query(query): Query<ListQuery>,
) -> ApiResult<Response> {
    let limit = page(query.limit, None)?.limit() as usize;
    let status = word(
        "status",
        query.status.as_deref(),
        |text| STATUSES.into_iter().find(|known| *known == text),
        &STATUSES,
    )?;
    let all = visible(&api, caller);
    if query.tree {
        let (items, next) = (trees(all.iter().take(TREE_MAX)), None);
        return Ok(Json(Trees { items, next }).into_response());
    }
    let after = query.after.as_deref().map(path_of).transpose()?;
    let mut found = all
        .iter()
        .filter(|vitals| {
            after
                .as_deref()
                .is_none_or(|after| &**vitals.path() > after)
        })
        .map(|vitals| view(vitals))
        .filter(|actor| query.kind.as_deref().is_none_or(|kind| actor.kind == kind))
        .filter(|actor| status.is_none_or(|status| actor.status == status));
    let items: Vec<ActorView> = found.by_ref().take(limit).collect();
    let more = found.next().is_some();
    let next = items
        .last()
        .filter(|_| more)
        .map(|last| URL_SAFE_NO_PAD.encode(&last.id));
    Ok(Json(Page { items, next }).into_response())
}

fn path_of(cursor: &str) -> ApiResult<String> {
    let bytes = URL_SAFE_NO_PAD.decode(cursor).ok();
    bytes
        .and_then(|bytes| String::from_utf8(bytes).ok())
        .ok_or_else(|| DbError::Cursor.into())
}

/// An actor stands below its parent, or at the top if that is not to be seen.
fn trees<'a>(sorted: impl Iterator<Item = &'a Arc<Vitals>>) -> Vec<ActorTree> {
    let views: Vec<ActorView> = sorted.map(|vitals| view(vitals)).collect();
    let known: HashMap<String, usize> = views
        .iter()
        .enumerate()
        .map(|(place, view)| (view.id.clone(), place))
        .collect();
    let mut children: Vec<Vec<usize>> = vec![Vec::new(); views.len()];
    let mut roots = Vec::new();
    for (place, view) in views.iter().enumerate() {
        match view.parent.as_ref().and_then(|parent| known.get(parent)) {
            Some(parent) => children[*parent].push(place),
            None => roots.push(place),
        }
    }
    let mut views: Vec<Option<ActorView>> = views.into_iter().map(Some).collect();
    roots
        .into_iter()
        .filter_map(|root| nest(root, &mut views, &children))
        .collect()
}

fn nest(
    place: usize,
    views: &mut [Option<ActorView>],
    children: &[Vec<usize>],
) -> Option<ActorTree> {
    let actor = views[place].take()?;
    let below = children[place]
        .iter()
        .filter_map(|child| nest(*child, views, children))
        .collect();
    Some(ActorTree {
        actor,
        children: below,
    })
}

#[derive(Serialize)]
pub struct ActorDetail {
    #[serde(flatten)]
    actor: ActorView,
    children: Vec<ActorView>,
}

/// The id is a path, as the list gives it, with its slashes or with `%2F` in their place.
pub async fn show(
    State(api): State<ApiState>,
    caller: Caller,
    Path(path): Path<String>,
    Query(NoQuery {}): Query<NoQuery>,
) -> ApiResult<Json<ActorDetail>> {
    let all = visible(&api, caller);
    let actor = all
        .iter()
        .find(|vitals| **vitals.path() == *path)
        .ok_or_else(|| ApiError::not_found("actor", &path))?;
    let children = all
        .iter()
        .map(|vitals| view(vitals))
        .filter(|child| child.parent.as_deref() == Some(&path))
        .collect();
    Ok(Json(ActorDetail {
        actor: view(actor),
        children,
    }))
}
