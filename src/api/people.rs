//! `/v1/org/people`: who somebody is outside. A click in Slack decides an approval if the user who clicks is mapped to a person who may.

use super::{
    ApiState,
    auth::Caller,
    body::Json as JsonBody,
    error::{ApiError, ApiResult},
    query::{NoQuery, Query},
    text,
};
use crate::{
    actors::ingest::approvals::SLACK,
    domain::Role,
    persistence::{PersonRow, people_list, people_replace},
};
use axum::{Json, extract::State};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

const PEOPLE_MAX: usize = 10_000;

/// Somebody of the org.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Person {
    /// For example a mail address; decisions are shown with it.
    user: String,
    /// What they may do here: `viewer`, `operator`, `manager` or `admin`. To decide, a manager is needed.
    #[schemars(with = "String")]
    role: Role,
}

/// By Slack's user id, for example `U0123456789`.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PeopleBody {
    slack_people: BTreeMap<String, Person>,
}

pub async fn show(
    State(api): State<ApiState>,
    caller: Caller,
    Query(NoQuery {}): Query<NoQuery>,
) -> ApiResult<Json<PeopleBody>> {
    let mut tx = api.db().begin_read(caller.org).await?;
    let people = people_list(&mut tx).await?;
    let slack = people.into_iter().filter(|person| person.provider == SLACK);
    Ok(Json(PeopleBody {
        slack_people: slack
            .map(|person| {
                let shown = Person {
                    user: person.user_name,
                    role: person.role,
                };
                (person.external_id, shown)
            })
            .collect(),
    }))
}

/// Puts these in the place of all who were mapped.
pub async fn replace(
    State(api): State<ApiState>,
    caller: Caller,
    JsonBody(body): JsonBody<PeopleBody>,
) -> ApiResult<Json<PeopleBody>> {
    if body.slack_people.len() > PEOPLE_MAX {
        let detail = format!("`slack_people` must have {PEOPLE_MAX} entries at most");
        return Err(ApiError::field("slack_people", detail));
    }
    for (id, person) in &body.slack_people {
        if !is_slack_user(id) {
            let detail = format!("`{id}` is not a user id of Slack such as U0123456789");
            return Err(ApiError::field("slack_people", detail));
        }
        text::short(&format!("slack_people.{id}.user"), &person.user, 200)?;
    }
    let rows: Vec<PersonRow> = body
        .slack_people
        .iter()
        .map(|(id, person)| PersonRow {
            provider: SLACK.into(),
            external_id: id.clone(),
            user_name: person.user.clone(),
            role: person.role,
        })
        .collect();
    let mut tx = api.db().begin(caller.org).await?;
    people_replace(&mut tx, SLACK, &rows).await?;
    tx.commit().await?;
    Ok(Json(body))
}

fn is_slack_user(id: &str) -> bool {
    (2..=32).contains(&id.len())
        && id.starts_with(['U', 'W'])
        && id.bytes().all(|byte| byte.is_ascii_alphanumeric())
}
