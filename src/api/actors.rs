//! `/v1/actors`: what lives in this service and what it does, on all of its nodes, read without asking the actors, so that a stuck one is seen too.

use super::{
    ApiState,
    auth::Caller,
    effects::owners,
    error::{ApiError, ApiResult},
    query::{NoQuery, Query, cursor, cursor_key, page, word},
    text::Path,
};
use crate::{
    actors::{cluster::ActorsOf, vitals::ActorView},
    domain::Role,
    persistence::DbError,
};
use axum::{
    Json,
    extract::State,
    response::{IntoResponse, Response},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use uuid::Uuid;

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

/// Some actors, and which nodes did not tell of theirs.
struct Gathered {
    actors: Vec<ActorView>,
    missing: Vec<Uuid>,
}

/// The actors of all nodes that a caller may see, sorted by path: those of its org, but not the connectors of other users' own accounts, and for administrators the nodes', of which it is not
/// told what they work on, since that may be another org's. A node that does not answer within a second is left out and named.
async fn gather(api: &ApiState, caller: Caller) -> Gathered {
    let of = ActorsOf {
        org: caller.org,
        owners: owners(&caller),
        with_node: caller.role >= Role::Admin,
    };
    let core = api.core();
    let Some(cluster) = &core.cluster else {
        return Gathered {
            actors: (core.vitals).views_of(of.org, &of.owners, of.with_node, usize::MAX),
            missing: Vec::new(),
        };
    };
    let mut gathered = Gathered {
        actors: cluster.actors_here(core, &of),
        missing: Vec::new(),
    };
    for (node, actors) in cluster.actors_elsewhere(&of).await {
        match actors {
            Some(actors) => gathered.actors.extend(actors),
            None => gathered.missing.push(node.node_id),
        }
    }
    gathered
        .actors
        .sort_by(|a, b| (&a.id, &a.node).cmp(&(&b.id, &b.node)));
    gathered
}

/// A page of actors, and what is missing in it.
#[derive(Serialize)]
struct ActorPage<T> {
    items: Vec<T>,
    next: Option<String>,
    /// Some nodes did not answer.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    partial: bool,
    /// Their ids.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    missing: Vec<Uuid>,
}

impl<T> ActorPage<T> {
    fn new(items: Vec<T>, next: Option<String>, missing: Vec<Uuid>) -> Self {
        Self {
            items,
            next,
            partial: !missing.is_empty(),
            missing,
        }
    }
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
    let after = query.after.as_deref().map(place_of).transpose()?;
    let Gathered { actors, missing } = gather(&api, caller).await;
    if query.tree {
        let trees = trees(actors.into_iter().take(TREE_MAX).collect());
        return Ok(Json(ActorPage::new(trees, None, missing)).into_response());
    }
    let mut found = actors
        .into_iter()
        .filter(|actor| after.as_ref().is_none_or(|after| place(actor) > *after))
        .filter(|actor| query.kind.as_deref().is_none_or(|kind| actor.kind == kind))
        .filter(|actor| status.is_none_or(|status| actor.status == status));
    let items: Vec<ActorView> = found.by_ref().take(limit).collect();
    let more = found.next().is_some();
    let next = items.last().filter(|_| more).map(|last| {
        let (id, node) = place(last);
        cursor(format!("{id}\0{node}").as_bytes())
    });
    Ok(Json(ActorPage::new(items, next, missing)).into_response())
}

/// Where an actor stands in the order.
fn place(actor: &ActorView) -> (String, String) {
    (actor.id.clone(), actor.node.clone().unwrap_or_default())
}

fn place_of(cursor: &str) -> ApiResult<(String, String)> {
    let text = String::from_utf8(cursor_key(cursor)?).map_err(|_| DbError::Cursor)?;
    let (id, node) = text.split_once('\0').ok_or(DbError::Cursor)?;
    Ok((id.to_owned(), node.to_owned()))
}

/// An actor stands below its parent on the same node, or at the top if that is not to be seen.
fn trees(views: Vec<ActorView>) -> Vec<ActorTree> {
    let known: HashMap<(String, String), usize> = views
        .iter()
        .enumerate()
        .map(|(number, view)| (place(view), number))
        .collect();
    let mut children: Vec<Vec<usize>> = vec![Vec::new(); views.len()];
    let mut roots = Vec::new();
    for (number, view) in views.iter().enumerate() {
        let parent = view.parent.clone();
        let parent = parent.map(|parent| (parent, view.node.clone().unwrap_or_default()));
        match parent.and_then(|parent| known.get(&parent)) {
            Some(parent) => children[*parent].push(number),
            None => roots.push(number),
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
    let Gathered { actors, .. } = gather(&api, caller).await;
    let mut of_path = actors.iter().filter(|actor| actor.id == path);
    let own = |actor: &&ActorView| {
        let cluster = api.core().cluster.as_ref();
        actor.node.as_deref() == cluster.map(|cluster| cluster.name())
    };
    let actor = of_path.clone().find(own).or_else(|| of_path.next());
    let actor = actor.ok_or_else(|| ApiError::not_found("actor", &path))?;
    let children = actors
        .iter()
        .filter(|child| child.parent.as_deref() == Some(&path) && child.node == actor.node)
        .cloned()
        .collect();
    Ok(Json(ActorDetail {
        actor: actor.clone(),
        children,
    }))
}
