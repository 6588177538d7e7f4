//! `/v1/policies`: what the org lets its employees and clients call, narrower than what their accounts would let them.

use super::{
    ApiState,
    auth::Caller,
    body::{Json as JsonBody, JsonOrYaml},
    error::{ApiError, ApiResult, Problem},
    owner::may_see,
    query::{NoQuery, Query},
    text::{self, Path},
};
use crate::{
    actors::cluster::words::News,
    actors::policies::PoliciesError,
    connect::{
        Catalog,
        catalog::nearest,
        policy::{self, Asked, Decider, Party, RuleError, RuleSpec, Vocabulary, fits},
    },
    domain::{ConnectionId, PolicyId, Timestamp},
    persistence::{
        DbError, Page, PolicyRow, Tx, connection_get, connection_owners, employee_find,
        employee_get, policy_delete, policy_get, policy_insert, policy_list, policy_update,
    },
};
use axum::{Json, extract::State, http::StatusCode};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::{collections::BTreeSet, sync::Arc};

/// Rules that an org may have: each call is held against all of them.
const POLICIES_MAX: usize = 500;

#[derive(Serialize)]
pub struct PolicyView {
    id: PolicyId,
    #[serde(flatten)]
    rule: Value,
    created_at: Timestamp,
    updated_at: Timestamp,
}

impl From<PolicyRow> for PolicyView {
    fn from(row: PolicyRow) -> Self {
        Self {
            id: row.id,
            rule: text::json(Some(&row.rule)),
            created_at: row.created,
            updated_at: row.updated,
        }
    }
}

pub async fn list(
    State(api): State<ApiState>,
    caller: Caller,
    Query(NoQuery {}): Query<NoQuery>,
) -> ApiResult<Json<Page<PolicyView>>> {
    let mut tx = api.db().begin_read(caller.org).await?;
    let rows = policy_list(&mut tx).await?;
    Ok(Json(Page {
        items: rows.into_iter().map(PolicyView::from).collect(),
        next: None,
    }))
}

pub async fn show(
    State(api): State<ApiState>,
    caller: Caller,
    Path(id): Path<String>,
    Query(NoQuery {}): Query<NoQuery>,
) -> ApiResult<Json<PolicyView>> {
    let mut tx = api.db().begin_read(caller.org).await?;
    Ok(Json(read(&mut tx, &id).await?.into()))
}

async fn read(tx: &mut Tx, given: &str) -> ApiResult<PolicyRow> {
    let id: PolicyId = text::id("policy", given)?;
    policy_get(tx, id)
        .await?
        .ok_or_else(|| ApiError::not_found("policy", given))
}

pub async fn create(
    State(api): State<ApiState>,
    caller: Caller,
    JsonOrYaml(spec): JsonOrYaml<RuleSpec>,
) -> ApiResult<(StatusCode, Json<PolicyView>)> {
    let now = api.engine().now();
    let mut tx = api.db().begin(caller.org).await?;
    check(&api, &caller, &mut tx, &spec).await?;
    if policy_list(&mut tx).await?.len() >= POLICIES_MAX {
        let detail = format!("an org may have {POLICIES_MAX} policies");
        return Err(ApiError::new(Problem::InvalidField, detail));
    }
    let id = PolicyId::from_uuid(api.core().clock.uuid());
    let row = row(&caller, id, &spec, now, now)?;
    policy_insert(&mut tx, &row).await.map_err(name_taken)?;
    tx.commit().await?;
    api.core().changed(News::Policies { org: caller.org }).await;
    Ok((StatusCode::CREATED, Json(row.into())))
}

pub async fn replace(
    State(api): State<ApiState>,
    caller: Caller,
    Path(id): Path<String>,
    JsonOrYaml(spec): JsonOrYaml<RuleSpec>,
) -> ApiResult<Json<PolicyView>> {
    let mut tx = api.db().begin(caller.org).await?;
    let known = read(&mut tx, &id).await?;
    check(&api, &caller, &mut tx, &spec).await?;
    let row = row(&caller, known.id, &spec, known.created, api.engine().now())?;
    policy_update(&mut tx, &row).await.map_err(name_taken)?;
    tx.commit().await?;
    api.core().changed(News::Policies { org: caller.org }).await;
    Ok(Json(row.into()))
}

pub async fn delete(
    State(api): State<ApiState>,
    caller: Caller,
    Path(id): Path<String>,
) -> ApiResult<StatusCode> {
    let mut tx = api.db().begin(caller.org).await?;
    let known = read(&mut tx, &id).await?;
    policy_delete(&mut tx, known.id).await?;
    tx.commit().await?;
    api.core().changed(News::Policies { org: caller.org }).await;
    Ok(StatusCode::NO_CONTENT)
}

fn row(
    caller: &Caller,
    id: PolicyId,
    spec: &RuleSpec,
    created: Timestamp,
    updated: Timestamp,
) -> ApiResult<PolicyRow> {
    Ok(PolicyRow {
        org_id: caller.org,
        id,
        name: spec.name.clone(),
        rule: serde_json::to_string(spec).map_err(ApiError::internal)?,
        created,
        updated,
    })
}

fn name_taken(error: DbError) -> ApiError {
    match error {
        DbError::Duplicate(_) => {
            ApiError::new(Problem::NameTaken, "another policy has this name").at("name")
        }
        other => other.into(),
    }
}

impl From<RuleError> for ApiError {
    fn from(error: RuleError) -> Self {
        let text = error.to_string();
        ApiError::field(error.field, text)
    }
}

impl From<PoliciesError> for ApiError {
    fn from(error: PoliciesError) -> Self {
        match error {
            PoliciesError::Db(error) => error.into(),
            unreadable @ PoliciesError::Unreadable { .. } => ApiError::internal(unreadable),
        }
    }
}

/// What the org has of the things that a rule names.
struct Known {
    catalog: Arc<Catalog>,
    names: BTreeSet<String>,
}

impl Vocabulary for Known {
    fn has_capability(&self, pattern: &str) -> bool {
        let is_meant = |id: &str| fits(pattern, id);
        self.catalog.capabilities().any(|one| is_meant(&one.id))
            || self
                .catalog
                .integrations()
                .any(|one| is_meant(&format!("{}.raw", one.id)))
    }
    fn has_connection(&self, id_or_name: &str) -> bool {
        self.names.contains(&format!("connection {id_or_name}"))
    }
    fn has_employee(&self, id_or_name: &str) -> bool {
        self.names.contains(&format!("employee {id_or_name}"))
    }
    fn nearest(&self, pattern: &str) -> Option<String> {
        let ids = self.catalog.capabilities().map(|one| one.id.as_str());
        nearest(pattern, ids).map(str::to_owned)
    }
}

async fn check(api: &ApiState, caller: &Caller, tx: &mut Tx, spec: &RuleSpec) -> ApiResult<()> {
    let mut names = BTreeSet::new();
    for name in &spec.connections {
        if knows_connection(caller, tx, name).await? {
            names.insert(format!("connection {name}"));
        }
    }
    for name in &spec.employees {
        if text::employee(tx, name).await.is_ok() {
            names.insert(format!("employee {name}"));
        }
    }
    let catalog = api.core().catalogs.of(caller.org).await?;
    Ok(policy::check(spec, &Known { catalog, names })?)
}

/// One that the caller may not see is as unknown as one of another org.
async fn knows_connection(caller: &Caller, tx: &mut Tx, name: &str) -> ApiResult<bool> {
    let owners = match name.parse::<ConnectionId>() {
        Ok(id) => {
            let row = connection_get(tx, id).await?;
            row.map(|row| row.owner_user).into_iter().collect()
        }
        Err(_) => connection_owners(tx, name).await?,
    };
    Ok(owners.iter().any(|owner| may_see(caller, owner.as_deref())))
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CheckBody {
    /// Id of the capability; `{integration}.raw` for the raw proxy.
    capability: String,
    /// The arguments.
    #[serde(default)]
    input: Value,
    /// The employee that would call, by id or name; absent: the caller of this.
    employee: Option<String>,
    /// The connection, by id or name; absent: the one that would be used.
    connection: Option<String>,
}

/// Says what would become of a call, and does nothing.
pub async fn dry_run(
    State(api): State<ApiState>,
    caller: Caller,
    JsonBody(body): JsonBody<CheckBody>,
) -> ApiResult<Json<Value>> {
    let core = api.core();
    let catalog = core.catalogs.of(caller.org).await?;
    let (integration, risk) = named(&catalog, &body.capability)?;
    let employee = match &body.employee {
        None => None,
        Some(given) => {
            let mut tx = api.db().begin_read(caller.org).await?;
            let found = match given.parse() {
                Ok(id) => employee_get(&mut tx, id).await?,
                Err(_) => employee_find(&mut tx, given).await?,
            };
            let unknown = || ApiError::field("employee", format!("no employee is `{given}`"));
            Some(found.ok_or_else(unknown)?)
        }
    };
    let user = caller.user.as_deref().filter(|_| employee.is_none());
    let wanted = body.connection.as_deref();
    let connection = core
        .connectors()
        .find_for(caller.org, user, &integration, wanted)
        .await?;
    if let (None, Some(given)) = (&connection, wanted) {
        let detail = format!("no active connection to {integration} is `{given}`");
        return Err(ApiError::field("connection", detail));
    }
    let ids = (
        employee.as_ref().map(|row| row.id.to_string()),
        connection.as_ref().map(|one| one.id.to_string()),
    );
    let employee = employee.as_ref().zip(ids.0.as_ref());
    let connection = connection.as_ref().zip(ids.1.as_ref());
    let rules = core.policies.of(caller.org).await?;
    let asked = Asked {
        capability: &body.capability,
        integration: &integration,
        risk,
        input: &body.input,
        connection: connection.map(|(one, id)| Party {
            id,
            name: &one.name,
        }),
        employee: employee.map(|(row, id)| Party {
            id,
            name: &row.name,
        }),
        role: match employee {
            Some(_) => "employee",
            None => caller.role.name(),
        },
    };
    let verdict = core
        .evaluations
        .verdict(caller.org, &rules, &asked)
        .await
        .map_err(|error| ApiError::new(Problem::Internal, error.to_string()))?;
    Ok(Json(json!({
        "effect": verdict.effect,
        "decided_by": match verdict.by {
            Decider::Rule { .. } => "rule",
            Decider::Broken { .. } => "broken_rule",
            Decider::HighRisk => "risk",
            Decider::Nothing => "default",
        },
        "rule": verdict.rule().map(|(id, name)| json!({"id": id, "name": name})),
        "because": verdict.because(),
        "risk": risk,
        "connection": connection.map(|(one, id)| json!({"id": id, "name": one.name})),
    })))
}

/// The integration and the risk of a capability.
fn named(catalog: &Catalog, id: &str) -> ApiResult<(String, crate::connect::Risk)> {
    if let Some(capability) = catalog.capability(id) {
        return Ok((capability.integration.clone(), capability.risk));
    }
    let raw = id.strip_suffix(".raw");
    if let Some(integration) = raw.and_then(|id| catalog.integration(id)) {
        return Ok((integration.id.clone(), crate::connect::Risk::High));
    }
    let ids = catalog.capabilities().map(|one| one.id.as_str());
    let hint = nearest(id, ids).map(|near| format!("; do you mean `{near}`"));
    let detail = format!("there is no capability `{id}`{}", hint.unwrap_or_default());
    Err(ApiError::field("capability", detail))
}
