//! Orgs and keys, straight in the database: what has to be there before the first request can be answered.

use super::exit::Failure;
use crate::{
    actors::Clock,
    api::keys,
    domain::{KeyId, OrgId, Role, Timestamp},
    persistence::{Db, DbError, KeyRow, OrgRow, key_insert, org_find, org_insert},
};
use secrecy::SecretString;

/// A key that was just made; the only moment at which its text is known.
pub struct NewKey {
    pub id: KeyId,
    pub text: SecretString,
}

/// The org of this name, made if there is none. The second is whether it was.
///
/// # Errors
/// The name is no subdomain, or the database fails.
pub async fn org_ensure(db: &Db, clock: &Clock, name: &str) -> anyhow::Result<(OrgRow, bool)> {
    match org_create(db, clock, name).await {
        Ok(org) => Ok((org, true)),
        Err(error) => {
            let taken = matches!(error.downcast_ref(), Some(DbError::Duplicate(_)));
            match org_named(db, name).await? {
                Some(org) if taken => Ok((org, false)),
                _ => Err(error),
            }
        }
    }
}

/// # Errors
/// `Duplicate` if the name is taken.
pub async fn org_create(db: &Db, clock: &Clock, name: &str) -> anyhow::Result<OrgRow> {
    if !is_subdomain(name) {
        return Err(Failure::usage(format!(
            "`{name}` cannot be an org's name: 1 to 63 lower-case letters, digits and hyphens, no hyphen at either end"
        )));
    }
    let org = OrgRow {
        id: OrgId::from_uuid(clock.uuid()),
        name: name.into(),
        settings: "{}".into(),
        created: clock.now(),
    };
    let mut tx = db.begin_system("an org is made").await?;
    org_insert(&mut tx, &org).await?;
    tx.commit().await?;
    Ok(org)
}

/// The org with this name or id.
pub async fn org_named(db: &Db, name: &str) -> anyhow::Result<Option<OrgRow>> {
    if let Ok(id) = name.parse::<OrgId>() {
        let mut tx = db.begin_read(id).await?;
        return Ok(crate::persistence::org_get(&mut tx).await?);
    }
    let mut tx = db.begin_system_read("an org is looked up").await?;
    Ok(org_find(&mut tx, name).await?)
}

/// Makes a key. Only its hash is stored.
pub async fn key_create(
    db: &Db,
    clock: &Clock,
    org: OrgId,
    name: &str,
    role: Role,
    user: Option<&str>,
    expires: Option<Timestamp>,
) -> anyhow::Result<NewKey> {
    let new = keys::generate()?;
    let key = KeyRow {
        org_id: org,
        id: KeyId::from_uuid(clock.uuid()),
        hash: new.hash,
        role,
        name: name.into(),
        created: clock.now(),
        revoked: None,
        user: user.map(str::to_owned),
        expires,
        last_used: None,
        tail: Some(new.tail),
    };
    let mut tx = db.begin(org).await?;
    key_insert(&mut tx, &key).await?;
    tx.commit().await?;
    Ok(NewKey {
        id: key.id,
        text: new.text,
    })
}

/// A label of a host name, because that is what it becomes.
fn is_subdomain(name: &str) -> bool {
    (1..=63).contains(&name.len())
        && name
            .bytes()
            .all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-'))
        && !name.starts_with('-')
        && !name.ends_with('-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_orgs() {
        for good in ["demo", "a", "acme-2"] {
            assert!(is_subdomain(good), "{good}");
        }
        for bad in ["", "-a", "a-", "Acme", "a.b", "ä", &"a".repeat(64)] {
            assert!(!is_subdomain(bad), "{bad}");
        }
    }
}
