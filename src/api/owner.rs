//! Whose a connection is, and who may see or change it: those of the org are seen by all its people and changed by its admins, those of one user
//! by that user. A key that is bound to no person and has the role admin acts for everybody in the org.

use super::{
    ApiState,
    auth::Caller,
    error::{ApiError, ApiResult, Problem},
    text,
};
use crate::{
    connect::{Integration, catalog::nearest},
    domain::{ConnectionId, OrgId, Role},
    persistence::{ConnectionRow, Owners, Tx, connection_find, connection_get},
};
use schemars::JsonSchema;
use serde::Deserialize;
use std::sync::Arc;

const USER_MAX: usize = 200;
const NAME_MAX: usize = 100;

/// To whom a new connection belongs.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum OwnerKind {
    Org,
    User,
}

/// Which connections a caller sees.
pub fn owners(caller: &Caller) -> Owners<'_> {
    match &caller.user {
        Some(user) => Owners::User(user),
        None if caller.role == Role::Admin => Owners::All,
        None => Owners::OrgOnly,
    }
}

/// Whether a caller sees what belongs to this user, or to the org.
pub fn may_see(caller: &Caller, owner: Option<&str>) -> bool {
    match (owners(caller), owner) {
        (_, None) | (Owners::All, _) => true,
        (Owners::User(user), Some(owner)) => user == owner,
        (Owners::OrgOnly, Some(_)) => false,
    }
}

/// # Errors
/// `forbidden` if the caller sees it and may not change it.
pub fn must_change(caller: &Caller, owner: Option<&str>) -> ApiResult<()> {
    if owner.is_some() || caller.role == Role::Admin {
        return Ok(());
    }
    let detail = "what belongs to the org is changed by its admins";
    Err(ApiError::new(Problem::Forbidden, detail).with("role", Role::Admin.name()))
}

/// The owner of something new: the named user, else the caller's own if its key is one person's, else the org.
///
/// # Errors
/// `forbidden` if the caller may not act for that owner; `invalid_field`.
pub fn new_owner(
    caller: &Caller,
    kind: Option<OwnerKind>,
    user: Option<&str>,
) -> ApiResult<Option<String>> {
    text::short_if("user", user, USER_MAX)?;
    let owner = match (kind, user) {
        (Some(OwnerKind::Org), Some(_)) => {
            return Err(ApiError::field(
                "user",
                "`user` does not go with `owner: org`",
            ));
        }
        (Some(OwnerKind::Org), None) => None,
        (Some(OwnerKind::User) | None, Some(user)) => Some(user.to_owned()),
        (Some(OwnerKind::User), None) if caller.user.is_none() => {
            let detail = "`user` is missing: this API key belongs to no person";
            return Err(ApiError::field("user", detail));
        }
        (_, None) => caller.user.clone(),
    };
    if !may_see(caller, owner.as_deref()) {
        let detail = "this API key does not act for that user";
        return Err(ApiError::new(Problem::Forbidden, detail).at("user"));
    }
    must_change(caller, owner.as_deref())?;
    Ok(owner)
}

/// A connection that the caller sees; another user's is as unknown as another org's.
///
/// # Errors
/// `not_found`.
pub async fn connection(tx: &mut Tx, caller: &Caller, given: &str) -> ApiResult<ConnectionRow> {
    let id: ConnectionId = text::id("connection", given)?;
    let row = connection_get(tx, id).await?;
    row.filter(|row| may_see(caller, row.owner_user.as_deref()))
        .ok_or_else(|| ApiError::not_found("connection", given))
}

/// What names a connection that is to be made or replaced.
pub struct Wanted<'a> {
    pub integration: &'a Integration,
    /// Of one that is there.
    pub connection: Option<&'a str>,
    pub name: Option<&'a str>,
    pub kind: Option<OwnerKind>,
    pub user: Option<&'a str>,
}

/// The connection that is meant, and whether it is a new one.
///
/// # Errors
/// `not_found`, `forbidden`, `invalid_field`.
pub async fn wanted(
    api: &ApiState,
    caller: &Caller,
    wanted: Wanted<'_>,
) -> ApiResult<(ConnectionRow, bool)> {
    let integration = &wanted.integration.id;
    let mut tx = api.db().begin_read(caller.org).await?;
    if let Some(given) = wanted.connection {
        let row = connection(&mut tx, caller, given).await?;
        if row.integration != *integration {
            let detail = format!("connection `{given}` is one of `{}`", row.integration);
            return Err(ApiError::field("integration", detail));
        }
        must_change(caller, row.owner_user.as_deref())?;
        return Ok((row, false));
    }
    let owner = new_owner(caller, wanted.kind, wanted.user)?;
    let name = wanted.name.unwrap_or("default");
    text::short("name", name, NAME_MAX)?;
    let known = connection_find(&mut tx, integration, name, owner.as_deref()).await?;
    if let Some(row) = known {
        return Ok((row, false));
    }
    let id = ConnectionId::from_uuid(api.core().clock.uuid());
    let now = api.engine().now();
    let row = ConnectionRow {
        owner_user: owner,
        ..ConnectionRow::pending(caller.org, id, integration, name, now)
    };
    Ok((row, true))
}

/// An integration of the org's catalog: a built-in one, or one that the org has added.
///
/// # Errors
/// `invalid_field` with the nearest name.
pub async fn integration(api: &ApiState, org: OrgId, id: &str) -> ApiResult<Arc<Integration>> {
    let catalog = api.core().catalogs.of(org).await?;
    catalog.shared(id).cloned().ok_or_else(|| {
        let ids: Vec<&str> = catalog.integrations().map(|one| one.id.as_str()).collect();
        let hint = nearest(id, ids.iter().copied()).map(|near| format!("; do you mean `{near}`"));
        let detail = format!(
            "there is no integration `{id}`{}; the catalog has {}",
            hint.unwrap_or_default(),
            ids.join(", ")
        );
        ApiError::field("integration", detail)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::KeyId;
    use uuid::Uuid;

    fn caller(role: Role, user: Option<&str>) -> Caller {
        Caller {
            org: OrgId::from_uuid(Uuid::from_u128(1)),
            role,
            key: KeyId::from_uuid(Uuid::from_u128(2)),
            user: user.map(str::to_owned),
        }
    }

    #[test]
    fn who_sees_what() {
        for (role, user, org, own, others) in [
            (Role::Viewer, None, true, false, false),
            (Role::Manager, None, true, false, false),
            (Role::Admin, None, true, true, true),
            (Role::Viewer, Some("ann"), true, true, false),
            (Role::Admin, Some("ann"), true, true, false),
        ] {
            let caller = caller(role, user);
            let seen = [None, Some("ann"), Some("bob")].map(|owner| may_see(&caller, owner));
            assert_eq!(seen, [org, own, others], "{role:?} {user:?}");
        }
    }

    #[test]
    fn whom_a_caller_may_act_for() {
        use OwnerKind::{Org, User};
        let admin = caller(Role::Admin, None);
        let ann = caller(Role::Operator, Some("ann"));
        let chief = caller(Role::Admin, Some("ann"));
        for (caller, kind, user, expected) in [
            (&admin, None, None, Ok(None)),
            (&admin, Some(User), Some("bob"), Ok(Some("bob"))),
            (&admin, None, Some("bob"), Ok(Some("bob"))),
            (&admin, Some(User), None, Err(Problem::InvalidField)),
            (&admin, Some(Org), Some("bob"), Err(Problem::InvalidField)),
            (&ann, None, None, Ok(Some("ann"))),
            (&ann, Some(User), None, Ok(Some("ann"))),
            (&ann, None, Some("bob"), Err(Problem::Forbidden)),
            (&ann, Some(Org), None, Err(Problem::Forbidden)),
            (&chief, Some(Org), None, Ok(None)),
            (&chief, None, Some("bob"), Err(Problem::Forbidden)),
        ] {
            let found = new_owner(caller, kind, user).map_err(|error| error.problem());
            let expected = expected.map(|owner: Option<&str>| owner.map(str::to_owned));
            assert_eq!(found, expected, "{caller:?} {kind:?} {user:?}");
        }
        let operator = caller(Role::Operator, None);
        assert!(new_owner(&operator, None, None).is_err());
    }
}
