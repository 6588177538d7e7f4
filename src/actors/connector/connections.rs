//! The connections of the orgs as the actors need them, read once and kept until they change.

use super::{app::AppKey, rules::Rules};
use crate::{
    actors::{cache::Cache, catalogs::Catalogs, cluster::kind},
    connect::{
        Account, Integration,
        catalog::{AuthWay, QuotaPer},
        oauth::{OperatorApps, Overrides},
    },
    domain::{ConnectionId, OrgId},
    persistence::{
        ConnectionRow, Db, DbError, connection_get, connection_status, connections_of,
        oauth_client_find,
    },
};
use std::{sync::Arc, time::Duration};
use tenure_cluster::Entity;

/// The status of a connection that may be used.
pub const CONNECTION_ACTIVE: &str = connection_status::ACTIVE;
/// Another node may have changed a connection: it is read again after this.
const KEPT_FOR: Duration = Duration::from_secs(30);
/// Pairs of org and integration whose connections are kept; a miss costs some queries.
const KEPT_MAX: usize = 50_000;

/// An account that an org may use. Holds no secret in clear.
#[derive(Debug)]
pub struct Connection {
    pub id: ConnectionId,
    pub org: OrgId,
    pub integration: String,
    pub name: String,
    /// The one user to whom it belongs; `None`: to the org.
    pub owner_user: Option<String>,
    pub account: Account,
    /// Its limits.
    pub rules: Rules,
    pub sealed: Vec<u8>,
    pub credential_version: i64,
}

impl Connection {
    /// What is placed: connectors that share the quota of an app live on one node, or the quota would count once a node.
    pub fn entity(&self) -> Entity {
        let id = match &self.rules.app {
            Some(app) => app.key.uuid(),
            None => self.id.uuid(),
        };
        Entity {
            kind: kind::CONNECTOR,
            id,
        }
    }
}

type Known = Cache<(OrgId, String), Vec<Arc<Connection>>>;

pub struct Connections {
    db: Db,
    catalogs: Catalogs,
    operator_apps: Arc<OperatorApps>,
    known: Known,
}

/// Through which app an org's connections to an integration were made.
struct UsedApp {
    key: AppKey,
    base_url: Option<String>,
}

impl Connections {
    pub(super) fn db(&self) -> &Db {
        &self.db
    }

    pub fn new(db: Db, catalogs: Catalogs, operator_apps: Arc<OperatorApps>) -> Self {
        Self {
            db,
            catalogs,
            operator_apps,
            known: Known::new(KEPT_FOR, KEPT_MAX),
        }
    }

    /// The active connection that `wanted` names or has as its id; absent: the oldest one of the integration. The user's own go before the
    /// org's, and nobody else's are found.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub async fn find(
        &self,
        org: OrgId,
        user: Option<&str>,
        integration: &str,
        wanted: Option<&str>,
    ) -> Result<Option<Arc<Connection>>, DbError> {
        let all = self.all(org, integration).await?;
        Ok(choose(&all, user, wanted).cloned())
    }

    /// To whom a connection belongs that is known here.
    #[cfg(test)]
    pub(super) fn whose(&self, id: ConnectionId) -> Option<(OrgId, String)> {
        let its = |all: &[Arc<Connection>]| all.iter().any(|one| one.id == id);
        self.known.key_of(|all| its(all))
    }

    /// An active connection by its id, whoever owns it, as it is known here.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub async fn known(
        &self,
        org: OrgId,
        integration: &str,
        id: ConnectionId,
    ) -> Result<Option<Arc<Connection>>, DbError> {
        let all = self.all(org, integration).await?;
        Ok(all.into_iter().find(|connection| connection.id == id))
    }

    async fn all(&self, org: OrgId, integration: &str) -> Result<Vec<Arc<Connection>>, DbError> {
        let key = (org, integration.to_string());
        self.known
            .get_or_read(key, self.read(org, integration))
            .await
    }

    /// A connection as its row is, whoever owns it; `None` if catalog and account do not fit.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub async fn of_row(&self, row: &ConnectionRow) -> Result<Option<Arc<Connection>>, DbError> {
        let catalog = self.catalogs.of(row.org_id).await?;
        let Some(integration) = catalog.integration(&row.integration) else {
            return Ok(None);
        };
        let app = match integration.limits.per {
            QuotaPer::App => self.app(row.org_id, &integration.id).await?,
            QuotaPer::Account => None,
        };
        Ok(connection(integration, app.as_ref(), row.clone()))
    }

    /// A connection as it is stored now.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub async fn by_id(
        &self,
        org: OrgId,
        id: ConnectionId,
    ) -> Result<Option<Arc<Connection>>, DbError> {
        let mut tx = self.db.begin_read(org).await?;
        let row = connection_get(&mut tx, id).await?;
        drop(tx);
        match row.filter(|row| row.status == CONNECTION_ACTIVE) {
            Some(row) => self.of_row(&row).await,
            None => Ok(None),
        }
    }

    /// Something about the org's connections has changed.
    pub fn forget(&self, org: OrgId, integration: &str) {
        self.known.forget(&(org, integration.to_string()));
    }

    async fn read(&self, org: OrgId, integration: &str) -> Result<Vec<Arc<Connection>>, DbError> {
        let mut tx = self.db.begin_read(org).await?;
        let rows = connections_of(&mut tx, integration).await?;
        drop(tx);
        let catalog = self.catalogs.of(org).await?;
        let Some(integration) = catalog.integration(integration) else {
            return Ok(Vec::new());
        };
        let app = match integration.limits.per {
            QuotaPer::App => self.app(org, &integration.id).await?,
            QuotaPer::Account => None,
        };
        Ok(rows
            .into_iter()
            .filter(|row| row.status == CONNECTION_ACTIVE)
            .filter_map(|row| connection(integration, app.as_ref(), row))
            .collect())
    }

    /// The org's own app, or the operator's.
    async fn app(&self, org: OrgId, integration: &str) -> Result<Option<UsedApp>, DbError> {
        let mut tx = self.db.begin_read(org).await?;
        let own = oauth_client_find(&mut tx, integration).await?;
        drop(tx);
        let used = |org, client_id: &str, overrides: &Overrides| UsedApp {
            key: AppKey {
                integration: integration.into(),
                org,
                client_id: client_id.into(),
            },
            base_url: overrides.base_url.clone(),
        };
        Ok(match own {
            Some(row) => {
                let overrides = serde_json::from_str(&row.overrides).unwrap_or_default();
                Some(used(Some(org), &row.client_id, &overrides))
            }
            None => self
                .operator_apps
                .get(integration)
                .map(|app| used(None, &app.client_id, &app.overrides)),
        })
    }
}

/// What belongs to one user is not for everybody's employees.
fn choose<'a>(
    all: &'a [Arc<Connection>],
    user: Option<&str>,
    wanted: Option<&str>,
) -> Option<&'a Arc<Connection>> {
    let is_wanted = |connection: &&Arc<Connection>| {
        wanted.is_none_or(|wanted| {
            connection.name == wanted
                || wanted
                    .parse()
                    .is_ok_and(|id: ConnectionId| id == connection.id)
        })
    };
    let of = |owner: Option<&str>| {
        all.iter()
            .filter(move |connection| connection.owner_user.as_deref() == owner)
            .find(is_wanted)
    };
    let own = user.and_then(|user| of(Some(user)));
    own.or_else(|| of(None))
}

fn connection(
    integration: &Integration,
    app: Option<&UsedApp>,
    row: ConnectionRow,
) -> Option<Arc<Connection>> {
    let mut account: Account = serde_json::from_str(&row.account).ok()?;
    let way = integration.way(Some(&row.way));
    // Whoever points a connection elsewhere speaks with another provider, which must not use up or hold back the app of others.
    let is_there = |app: &&UsedApp| row.base_url.is_none() || row.base_url == app.base_url;
    let key = app
        .filter(|_| matches!(way, Some(AuthWay::Oauth2Code(_))))
        .filter(is_there)
        .map(|app| app.key.clone());
    account.base_url = match row.base_url {
        Some(own) => own,
        None => integration.base_url_for(way, &account.data).ok()?,
    };
    Some(Arc::new(Connection {
        id: row.id,
        org: row.org_id,
        integration: row.integration,
        name: row.name,
        owner_user: row.owner_user,
        rules: Rules::new(integration, account.quota, key),
        account,
        sealed: row.sealed_credential.0,
        credential_version: row.credential_version,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    fn one(id: u128, name: &str, owner: Option<&str>) -> Arc<Connection> {
        let catalog = crate::connect::Catalog::embedded().expect("the catalog");
        let slack = catalog.integration("slack").expect("slack");
        Arc::new(Connection {
            id: ConnectionId::from_uuid(Uuid::from_u128(id)),
            org: OrgId::from_uuid(Uuid::nil()),
            integration: "slack".into(),
            name: name.into(),
            owner_user: owner.map(str::to_owned),
            account: Account {
                base_url: String::new(),
                data: Default::default(),
                quota: None,
            },
            rules: Rules::new(slack, None, None),
            sealed: Vec::new(),
            credential_version: 1,
        })
    }

    #[test]
    fn ones_own_goes_first_and_nobody_elses_is_found() {
        let all = [
            one(1, "default", None),
            one(2, "default", Some("ann")),
            one(3, "other", Some("bob")),
            one(4, "spare", None),
        ];
        let bobs = all[2].id.to_string();
        for (user, wanted, expected) in [
            (None, None, Some(1)),
            (None, Some("spare"), Some(4)),
            (None, Some("other"), None),
            (None, Some(bobs.as_str()), None),
            (Some("ann"), None, Some(2)),
            (Some("ann"), Some("default"), Some(2)),
            (Some("ann"), Some("spare"), Some(4)),
            (Some("ann"), Some("other"), None),
            (Some("ann"), Some(bobs.as_str()), None),
            (Some("bob"), Some(bobs.as_str()), Some(3)),
            (Some("carl"), None, Some(1)),
        ] {
            let found = choose(&all, user, wanted).map(|one| one.id.uuid().as_u128());
            assert_eq!(found, expected, "{user:?} {wanted:?}");
        }
    }
}
