//! What a connector tells of itself to people. Holds no secret.

use super::{queue::Queue, rules::Rules, state::LimiterState};
use crate::{
    connect::{Bucket, BucketView},
    domain::{EmployeeId, ExecutionId, Timestamp},
    graph::StepId,
};
use serde::Serialize;
use std::collections::HashMap;

#[derive(Clone, Debug, Serialize)]
pub struct ConnectorView {
    /// Whether it is in memory. One that sleeps has nothing waiting and nothing open.
    pub awake: bool,
    /// Calls that are on their way, and how many may be.
    pub open: usize,
    pub open_max: usize,
    /// Calls that wait for their turn, and of how many employees.
    pub waiting: usize,
    pub employees_waiting: usize,
    /// Where the next call of each employee stands, in the order of their turns; a hundred at most.
    pub places: Vec<PlaceView>,
    /// `closed` (calls pass), `open` (the provider failed too often) or `half_open` (a trial is under way).
    pub breaker: &'static str,
    /// When the breaker lets a trial through, if it is open.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub breaker_until: Option<Timestamp>,
    /// Every limit that counts for its calls.
    pub quotas: Vec<QuotaView>,
    /// Calls that are open at all connections of the same app, and how many may be; where the provider counts by app.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub app: Option<AppView>,
}

/// What is told of a connector.
#[derive(Clone, Debug, Serialize)]
#[serde(untagged)]
pub enum ConnectorLook {
    Here(Box<ConnectorView>),
    /// As another node told it.
    Elsewhere(serde_json::Value),
}

impl ConnectorView {
    /// Of a connector that sleeps: what it would begin with. Nobody is woken.
    pub fn asleep(rules: &Rules, mut kept: Option<LimiterState>, now: Timestamp) -> Self {
        let known = kept.as_mut().map(|kept| std::mem::take(&mut kept.app));
        let mut known: HashMap<_, _> = known.into_iter().flatten().collect();
        let by_app = rules.app.is_some();
        let limits = rules.app_limits().into_iter().filter(|_| by_app);
        let of_app: Vec<QuotaView> = limits
            .map(|(name, quota)| {
                let bucket = Bucket::restored(quota, known.remove(&name));
                QuotaView::new("app", &name, &bucket, now)
            })
            .collect();
        let of_account = Rules {
            account: rules.account,
            concurrency: rules.concurrency,
            own: match by_app {
                true => Vec::new(),
                false => rules.own.clone(),
            },
            ..Rules::default()
        };
        let mut view = Queue::<()>::new(&of_account, None, 0, kept).view(now);
        view.awake = false;
        view.quotas.extend(of_app);
        view
    }
}

impl QuotaView {
    /// An empty `name`: all capabilities that have no limit of their own.
    pub fn new(of: &'static str, name: &str, bucket: &Bucket, now: Timestamp) -> Self {
        Self {
            of,
            capability: (!name.is_empty()).then(|| name.to_owned()),
            bucket: bucket.view(now),
        }
    }
}

#[derive(Clone, Debug, Serialize)]
pub struct QuotaView {
    /// `account`: this connection's; `app`: shared with all connections of the same app.
    pub of: &'static str,
    /// The one capability that it is for; absent: all that have none of their own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub capability: Option<String>,
    #[serde(flatten)]
    pub bucket: BucketView,
}

#[derive(Clone, Debug, Serialize)]
pub struct AppView {
    pub open: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub open_max: Option<usize>,
}

#[derive(Clone, Debug, Serialize)]
pub struct PlaceView {
    pub employee: EmployeeId,
    /// How many of its calls wait.
    pub waiting: usize,
    /// How many employees have their turn before it.
    pub place: usize,
    /// About how long until its next call leaves, milliseconds.
    pub estimate_ms: u64,
    /// The capability for whose own limit they wait, if it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub capability: Option<String>,
}

/// Whose call it is, so that it can be told where it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Waiter {
    pub execution: ExecutionId,
    pub step: StepId,
}

/// Where a call of a run stands.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct WaitingCall {
    #[serde(skip)]
    pub step: StepId,
    pub capability: String,
    /// How many calls leave before it.
    pub place: usize,
    /// About how long until it leaves, milliseconds.
    pub estimate_ms: u64,
    /// What it waits for, in words.
    pub reason: String,
}
