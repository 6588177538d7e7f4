//! `/v1/effects`: the ledger of writes to the outside, and the word of a person on those of which nobody knows whether they happened.

use super::{
    ApiState,
    auth::Caller,
    body::Json as JsonBody,
    error::{ApiError, ApiResult, Problem},
    owner,
    query::{NoQuery, Query, id as id_filter, page, word},
    text::{self, Path},
};
use crate::{
    domain::{ConnectionId, ContentHash, EffectId, ExecutionId, Timestamp},
    persistence::{
        Append, EffectChange, EffectFilter, EffectOwners, EffectRow, EffectStatus, EffectUpdate,
        Hit, Owners, Page, effect_get, effect_list, run_get,
    },
};
use axum::{Json, extract::State};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

#[derive(Serialize)]
pub struct EffectView {
    id: EffectId,
    execution_id: ExecutionId,
    step: String,
    capability: String,
    integration: String,
    connection_id: Option<ConnectionId>,
    arguments: Value,
    arguments_hash: ContentHash,
    idempotency_key: String,
    status: EffectStatus,
    attempts: i32,
    intended_at: Timestamp,
    sent_at: Option<Timestamp>,
    settled_at: Option<Timestamp>,
    response: Value,
    error: Value,
    /// What is known about an ambiguous one, and who reconciled it how.
    note: Value,
}

impl From<EffectRow> for EffectView {
    fn from(row: EffectRow) -> Self {
        Self {
            id: row.id,
            execution_id: row.run_id,
            step: row.step,
            capability: row.capability,
            integration: row.integration,
            connection_id: row.connection_id,
            arguments: text::json(Some(&row.args)),
            arguments_hash: row.args_hash,
            idempotency_key: row.idempotency_key,
            status: row.status,
            attempts: row.attempts,
            intended_at: row.intended,
            sent_at: row.sent,
            settled_at: row.settled,
            response: text::json(row.response.as_deref()),
            error: text::json(row.error.as_deref()),
            note: text::json(row.note.as_deref()),
        }
    }
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListQuery {
    /// `intended`, `sent`, `done`, `failed`, `ambiguous` or `reconciled`.
    status: Option<String>,
    execution_id: Option<String>,
    integration: Option<String>,
    limit: Option<u32>,
    after: Option<String>,
}

pub async fn list(
    State(api): State<ApiState>,
    caller: Caller,
    Query(query): Query<ListQuery>,
) -> ApiResult<Json<Page<EffectView>>> {
    let request = page(query.limit, query.after.as_deref())?;
    let words: Vec<&str> = EffectStatus::ALL.iter().map(|one| one.name()).collect();
    let filter = EffectFilter {
        run: id_filter("execution_id", query.execution_id.as_deref())?,
        status: word(
            "status",
            query.status.as_deref(),
            EffectStatus::parse,
            &words,
        )?,
        integration: query.integration,
        owners: owners(&caller),
    };
    let mut tx = api.db().begin_read(caller.org).await?;
    let found = effect_list(&mut tx, &filter, &request).await?;
    Ok(Json(found.map(EffectView::from)))
}

pub async fn show(
    State(api): State<ApiState>,
    caller: Caller,
    Path(effect): Path<String>,
    Query(NoQuery {}): Query<NoQuery>,
) -> ApiResult<Json<EffectView>> {
    Ok(Json(read(&api, &caller, &effect).await?.into()))
}

/// What went through another user's account is as unknown as what is another org's; so is the question about it.
pub fn owners(caller: &Caller) -> EffectOwners {
    match owner::owners(caller) {
        Owners::All => EffectOwners::All,
        Owners::OrgOnly => EffectOwners::OrgOnly,
        Owners::User(user) => EffectOwners::User(user.to_owned()),
    }
}

async fn read(api: &ApiState, caller: &Caller, text: &str) -> ApiResult<EffectRow> {
    let id: EffectId = text::id("effect", text)?;
    let mut tx = api.db().begin_read(caller.org).await?;
    effect_get(&mut tx, id)
        .await?
        .filter(|row| owners(caller).include(row.owner_user.as_deref()))
        .ok_or_else(|| ApiError::not_found("effect", text))
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Found {
    Done,
    NotDone,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ReconcileBody {
    /// `done`: it happened, the run goes on with `response`. `not_done`: it did not, the run does it now, or the client's next try with the
    /// same key.
    outcome: Found,
    /// What the provider would have answered.
    response: Option<Value>,
    comment: Option<String>,
}

/// Whether nobody will want it any more. A call by proxy has no run: its client may come again.
async fn is_over(api: &ApiState, caller: &Caller, run: ExecutionId) -> ApiResult<bool> {
    let mut tx = api.db().begin_read(caller.org).await?;
    Ok(run_get(&mut tx, run)
        .await?
        .is_some_and(|run| run.status.is_finished()))
}

fn not_ambiguous(row: &EffectRow) -> ApiError {
    ApiError::new(
        Problem::EffectNotAmbiguous,
        format!("the effect is {}", row.status.name()),
    )
}

/// Settles an ambiguous effect and wakes the run that waits for it.
pub async fn reconcile(
    State(api): State<ApiState>,
    caller: Caller,
    Path(effect): Path<String>,
    JsonBody(body): JsonBody<ReconcileBody>,
) -> ApiResult<Json<EffectView>> {
    text::short_if("comment", body.comment.as_deref(), 2_000)?;
    if body.outcome == Found::NotDone && body.response.is_some() {
        return Err(ApiError::field(
            "response",
            "`response` belongs to the outcome done",
        ));
    }
    let row = read(&api, &caller, &effect).await?;
    if row.status != EffectStatus::Ambiguous {
        return Err(not_ambiguous(&row));
    }
    // What was known before stays beside what was found out.
    let mut note = match text::json(row.note.as_deref()) {
        Value::Object(known) => Value::Object(known),
        _ => json!({}),
    };
    note["outcome"] = json!(body.outcome);
    note["by"] = json!(caller.by());
    note["comment"] = json!(body.comment);
    // What did not happen and is still wanted is an intention again; it is sent anew and settled by that.
    let sent_anew = body.outcome == Found::NotDone && !is_over(&api, &caller, row.run_id).await?;
    let status = if sent_anew {
        EffectStatus::Intended
    } else {
        EffectStatus::Reconciled
    };
    let mut update = EffectUpdate::new(row.id, status);
    // Of two people who say something at once, one is heard.
    update.from = &[EffectStatus::Ambiguous];
    update.at = Some(api.engine().now());
    update.settled = (!sent_anew).then(|| api.engine().now());
    update.response = body.response.map(|response| response.to_string());
    let note = note.to_string();
    update.note = Some(note.clone());
    let receipt = update.receipt.clone();
    let mut append = Append::new(caller.org);
    append.effects.push(EffectChange::Update(Box::new(update)));
    api.bounded(api.core().journal.write(Some(row.run_id), append))
        .await??;
    if receipt.read() == Hit::NoRow {
        let now = read(&api, &caller, &effect).await?;
        // Unless it is this very word that is there: a commit whose answer was lost is tried again.
        if now.note != Some(note) {
            return Err(not_ambiguous(&now));
        }
    }
    let id = row.id.to_string();
    api.bounded(api.engine().end_named_wait(caller.org, "effect", &id))
        .await??;
    Ok(Json(read(&api, &caller, &effect).await?.into()))
}
