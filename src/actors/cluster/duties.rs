//! Work that one node does for all. A duty is an entity like any other: who has claimed it does it; when that node dies, drains or leaves,
//! the node where it should live then claims it.

use super::{Cluster, kind};
use crate::actors::core::Core;
use tenure_cluster::{Entity, Placement};
use uuid::Uuid;

/// The duties by name.
pub mod duty {
    /// Fires calendars.
    pub const SCHEDULES: &str = "schedules";
    /// Asks outside systems for news.
    pub const POLLING: &str = "polling";
    /// Gives events of the inbox to whom they concern.
    pub const INBOX: &str = "inbox";
    /// Asks approvals in Slack.
    pub const ASKING: &str = "asking";
    /// Tells owners of grants that have died.
    pub const TELLING: &str = "telling";
    /// Looks for what is stuck, and settles it.
    pub const SWEEPING: &str = "sweeping";
    /// Deletes what is old.
    pub const RETENTION: &str = "retention";
    /// What nobody waits for: rotations that were cut off, links that have expired.
    pub const HOUSEKEEPING: &str = "housekeeping";
}

pub fn entity(name: &str) -> Entity {
    Entity {
        kind: kind::DUTY,
        id: Uuid::new_v5(&Uuid::NAMESPACE_OID, format!("duty {name}").as_bytes()),
    }
}

impl Core {
    /// Whether this node does this work now. A node alone does everything.
    pub async fn has_duty(&self, name: &str) -> bool {
        match &self.cluster {
            None => true,
            Some(cluster) => cluster.has_duty(entity(name)).await,
        }
    }
}

impl Cluster {
    async fn has_duty(&self, duty: Entity) -> bool {
        if self.is_draining() || !self.placement.may_act() {
            return false;
        }
        if self.placement.owned(duty).is_some() {
            return true;
        }
        // Whoever else should have it asks for it; if another still has it, that one does it.
        self.placement.home(duty) == Some(self.me) && self.placement.claim(duty).await.is_ok()
    }
}
