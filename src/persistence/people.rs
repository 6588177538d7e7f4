//! Who somebody is outside: a user of Slack who is a person of the org, with a role of their own.

use super::{
    error::Result,
    rows::{Column, Rows},
    tx::{Tx, on_tx},
};
use crate::domain::Role;
use sqlx::FromRow;

#[derive(Clone, Debug, PartialEq, Eq, FromRow)]
pub struct PersonRow {
    /// For example `slack`.
    pub provider: String,
    /// The provider's id of the user, for example `U0123456789`.
    pub external_id: String,
    /// The person's name here, for example a mail address.
    pub user_name: String,
    pub role: Role,
}

/// Puts these in the place of all that the org had at this provider.
///
/// # Errors
/// `Duplicate` if a user is there twice.
pub async fn people_replace(tx: &mut Tx, provider: &str, people: &[PersonRow]) -> Result<()> {
    let org = tx.org();
    on_tx!(tx, |conn| sqlx::query(
        "DELETE FROM person WHERE org_id = $1 AND provider = $2"
    )
    .bind(org)
    .bind(provider)
    .execute(conn)
    .await
    .map(drop))?;
    let columns = vec![
        ("org_id", Column::Uuid(vec![org.uuid(); people.len()])),
        ("provider", Column::Text(vec![provider; people.len()])),
        (
            "external_id",
            Column::Text(people.iter().map(|one| one.external_id.as_str()).collect()),
        ),
        (
            "user_name",
            Column::Text(people.iter().map(|one| one.user_name.as_str()).collect()),
        ),
        (
            "role",
            Column::Text(people.iter().map(|one| one.role.name()).collect()),
        ),
    ];
    const NAMES: &str = "org_id, provider, external_id, user_name, role";
    Rows::new(columns)
        .execute(
            &mut tx.inner,
            &format!("INSERT INTO person ({NAMES}) SELECT {NAMES} FROM t"),
        )
        .await
        .map(drop)
}

pub async fn people_list(tx: &mut Tx) -> Result<Vec<PersonRow>> {
    let org = tx.org();
    Ok(on_tx!(tx, |conn| {
        sqlx::query_as(
        "SELECT provider, external_id, user_name, role FROM person WHERE org_id = $1 ORDER BY provider, external_id"
    )
    .bind(org)
    .fetch_all(conn)
    .await
    })?)
}

pub async fn person_find(
    tx: &mut Tx,
    provider: &str,
    external_id: &str,
) -> Result<Option<PersonRow>> {
    let org = tx.org();
    Ok(on_tx!(tx, |conn| {
        sqlx::query_as(
        "SELECT provider, external_id, user_name, role FROM person WHERE org_id = $1 AND provider = $2 AND external_id = $3"
    )
    .bind(org)
    .bind(provider)
    .bind(external_id)
    .fetch_optional(conn)
    .await
    })?)
}
