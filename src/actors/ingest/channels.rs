//! Names of Slack's channels. Events tell ids only; a subscription may mean a channel by its name. Read when first needed and kept for a
//! while, since nothing tells when a channel is made or renamed.

use super::{
    super::{connector::CallRequest, core::Core},
    approvals::{SLACK, SlackSettings},
};
use crate::{
    connect::{CallOutcome, PageWalk, PagesError, shape},
    domain::{EmployeeId, OrgId},
    persistence::org_get,
};
use dashmap::DashMap;
use serde_json::{Value, json};
use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

const LIST: &str = "slack.conversations.list";
const KEPT_FOR: Duration = Duration::from_secs(600);
/// A list that could not be read is tried again after this.
const AGAIN_AFTER: Duration = Duration::from_secs(20);
const PAGES_MAX: usize = 50;
const PAGE_TIME: Duration = Duration::from_secs(20);

type Names = Arc<HashMap<String, String>>;

#[derive(Default)]
pub(super) struct Channels(DashMap<OrgId, (Instant, Names)>);

impl Channels {
    /// The payload with `channel_name` in it, if it is of a channel whose name is known.
    pub async fn named(&self, core: &Core, org: OrgId, payload: &Arc<Value>) -> Arc<Value> {
        if payload.get("channel_name").is_some() {
            return payload.clone();
        }
        let Some(channel) = payload.get("channel").and_then(Value::as_str) else {
            return payload.clone();
        };
        match self.names(core, org).await.get(channel) {
            Some(name) => {
                let mut payload = (**payload).clone();
                payload["channel_name"] = json!(name);
                Arc::new(payload)
            }
            None => payload.clone(),
        }
    }

    async fn names(&self, core: &Core, org: OrgId) -> Names {
        let now = Instant::now();
        let known = self.0.get(&org).filter(|known| known.0 > now);
        if let Some(names) = known.map(|known| known.1.clone()) {
            return names;
        }
        let (names, kept_for) = match read(core, org).await {
            Ok(names) => (Arc::new(names), KEPT_FOR),
            Err(error) => {
                tracing::warn!(%org, error, "names of channels could not be read");
                // Old names are better than none.
                let old = self.0.get(&org).map(|known| known.1.clone());
                (old.unwrap_or_default(), AGAIN_AFTER)
            }
        };
        self.0.insert(org, (now + kept_for, names.clone()));
        names
    }
}

async fn read(core: &Core, org: OrgId) -> Result<HashMap<String, String>, String> {
    let capability = core.catalog.capability(LIST).cloned();
    let capability = capability.ok_or_else(|| format!("{LIST} is not in the catalog"))?;
    let mut tx = core
        .db
        .begin_read(org)
        .await
        .map_err(|error| error.to_string())?;
    let settings = org_get(&mut tx).await.map_err(|error| error.to_string())?;
    drop(tx);
    let settings = settings.map(|org| SlackSettings::of(&org.settings));
    let name = settings.and_then(|settings| settings.connection);
    let connection = core.connectors().find(org, SLACK, name.as_deref()).await;
    let connection = connection
        .map_err(|error| error.to_string())?
        .ok_or("there is no connection to slack")?;
    let (mut names, mut arguments) = (HashMap::new(), json!({"limit": 200}));
    let mut walk = PageWalk::new(PAGES_MAX);
    loop {
        let request = CallRequest {
            request: shape(&capability, &arguments, &connection.account, None)
                .map_err(|error| error.to_string())?,
            cost: capability.cost,
            deadline: tokio::time::Instant::now() + PAGE_TIME,
            employee: EmployeeId::from_uuid(org.uuid()),
            effect: None,
        };
        let output = match core.connectors().call(&connection, request).await {
            Ok(CallOutcome::Ok { output, .. }) => output,
            Ok(other) => return Err(format!("{other:?}")),
            Err(error) => return Err(error.to_string()),
        };
        let text = |value: &Value, field: &str| value.get(field)?.as_str().map(str::to_owned);
        let channels = output["channels"].as_array().into_iter().flatten();
        names.extend(channels.filter_map(|one| Some((text(one, "id")?, text(one, "name")?))));
        match walk.next(&capability, &arguments, &output) {
            Ok(Some(next)) => arguments = next,
            // So many are enough.
            Ok(None) | Err(PagesError::TooMany { .. }) => return Ok(names),
            Err(error) => return Err(error.to_string()),
        }
    }
}
