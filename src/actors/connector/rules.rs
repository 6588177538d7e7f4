//! What the catalog and the connection say about limits and retries, sorted by who counts. Pure.

use super::app::AppKey;
use crate::connect::{
    Capability, Integration, Quota,
    catalog::{QuotaPer, RetryRule},
};
use std::{
    collections::HashMap,
    sync::{Arc, LazyLock},
};

/// How a call is tried again of which the catalog says nothing.
static USUAL_RETRY: LazyLock<RetryRule> = LazyLock::new(RetryRule::default);

/// The limits of a connection.
///
/// The integration's quota counts for what has none of its own; a capability's own quota counts instead of it. Both are the account's or,
/// where the provider counts `per: app`, the app's. A quota that the connection itself was given counts for all of its calls besides.
#[derive(Debug, Default)]
pub struct Rules {
    pub account: Option<AccountQuota>,
    /// How many calls the provider wants one account to have open at once, if it says.
    pub concurrency: Option<u32>,
    /// The capabilities with a quota of their own. The lane of the first is 1; lane 0 is everything else.
    pub own: Vec<(String, Quota)>,
    pub app: Option<AppRule>,
    pub capabilities: HashMap<String, Arc<Capability>>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AccountQuota {
    pub quota: Quota,
    /// Whether it counts for capabilities with a quota of their own too.
    pub for_all: bool,
}

/// The app whose quota counts.
#[derive(Debug)]
pub struct AppRule {
    pub key: AppKey,
    pub quota: Quota,
    pub concurrency: Option<u32>,
}

impl Rules {
    /// `given`: the connection's own quota. `app`: through which it was connected, if others may share it.
    pub fn new(integration: &Integration, given: Option<Quota>, app: Option<AppKey>) -> Self {
        let limits = &integration.limits;
        let app = app.filter(|_| limits.per == QuotaPer::App);
        let own = integration.capabilities.iter();
        let account = match (given, &app) {
            (Some(quota), _) => Some(AccountQuota {
                quota,
                for_all: true,
            }),
            (None, None) => Some(AccountQuota {
                quota: integration.quota,
                for_all: false,
            }),
            (None, Some(_)) => None,
        };
        Self {
            account,
            concurrency: limits.concurrency.filter(|_| app.is_none()),
            own: own
                .filter_map(|capability| Some((capability.id.clone(), capability.quota?)))
                .collect(),
            app: app.map(|key| AppRule {
                key,
                quota: integration.quota,
                concurrency: limits.concurrency,
            }),
            capabilities: integration
                .capabilities
                .iter()
                .map(|capability| (capability.id.clone(), capability.clone()))
                .collect(),
        }
    }

    /// The limits of the app, by the names under which it counts them.
    pub fn app_limits(&self) -> Vec<(String, Quota)> {
        let whole = self.app.iter().map(|app| (String::new(), app.quota));
        whole.chain(self.own.iter().cloned()).collect()
    }

    /// Where a call waits. A look whether a write happened bears the write's name, but is another request.
    pub fn lane(&self, capability: &str, write: bool) -> usize {
        let known = self.capabilities.get(capability);
        if known.is_none_or(|known| known.write != write) {
            return 0;
        }
        let own = self.own.iter().position(|(id, _)| id == capability);
        own.map_or(0, |place| place + 1)
    }

    pub fn retry(&self, capability: &str) -> &RetryRule {
        let known = self.capabilities.get(capability);
        known.map_or(&USUAL_RETRY, |known| &known.retry)
    }
}
