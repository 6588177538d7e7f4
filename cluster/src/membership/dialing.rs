//! Sees that a link stands to every node in service.

use super::Member;
use crate::{Dialer, NodeIdentity, gateway::Links, transport::Backoff};
use rand::{SeedableRng, rngs::StdRng};
use std::{collections::HashMap, sync::Arc, time::Duration};
use tokio::{
    task::AbortHandle,
    time::{sleep, timeout},
};

/// Follows who is in service.
pub(super) trait Peers: Send + Sync {
    /// Begins what is missing and ends what is not wanted any more.
    fn follow(&mut self, members: &[Member]);
}

/// What the node with the greater id waits before it dials, so that mostly one of two does. If both do, one session stays.
const SECOND: Duration = Duration::from_millis(300);

/// From a handshake that succeeded until the link is in the list.
const SETTLES: Duration = Duration::from_secs(2);

/// One task for each node that is to be reached and is not.
pub(super) struct Dialing {
    me: NodeIdentity,
    dialer: Dialer,
    links: Arc<Links>,
    tasks: HashMap<NodeIdentity, AbortHandle>,
}

impl Dialing {
    pub(super) fn new(me: NodeIdentity, dialer: Dialer, links: Arc<Links>) -> Self {
        Self {
            me,
            dialer,
            links,
            tasks: HashMap::new(),
        }
    }
}

impl Peers for Dialing {
    fn follow(&mut self, members: &[Member]) {
        let wanted = |identity: &NodeIdentity| {
            let is_it = |member: &Member| member.identity == *identity && member.is_in_service();
            members.iter().any(is_it)
        };
        self.tasks.retain(|identity, task| {
            let keep = wanted(identity) && !task.is_finished();
            if !keep {
                task.abort();
            }
            keep
        });
        for link in self.links.list() {
            // Not one whose row is not there yet: the list may be older than the link.
            let is_over = |member: &Member| {
                member.identity.node_id == link.identity.node_id
                    && (member.identity.incarnation > link.identity.incarnation
                        || (member.identity == link.identity && !member.is_in_service()))
            };
            if members.iter().any(is_over) {
                self.links.cut(link.identity);
            }
        }
        for member in members {
            let identity = member.identity;
            let is_other = identity.node_id != self.me.node_id;
            if is_other
                && member.is_in_service()
                && !self.links.is_up(identity)
                && !self.tasks.contains_key(&identity)
            {
                let reach = reach(
                    self.me,
                    self.dialer.clone(),
                    self.links.clone(),
                    member.clone(),
                );
                let task = tokio::spawn(reach).abort_handle();
                self.tasks.insert(identity, task);
            }
        }
    }
}

impl Drop for Dialing {
    fn drop(&mut self) {
        for task in self.tasks.values() {
            task.abort();
        }
    }
}

/// Dials until the link stands.
async fn reach(me: NodeIdentity, dialer: Dialer, links: Arc<Links>, member: Member) {
    let mut random = StdRng::from_os_rng();
    let mut backoff = Backoff::new();
    if me.node_id > member.identity.node_id {
        sleep(SECOND).await;
    }
    while !links.is_up(member.identity) {
        match dialer.dial(&member.address, member.identity.node_id).await {
            Ok(()) if settles(&links, member.identity).await => return,
            Ok(()) => {}
            Err(error) => {
                let cause = std::error::Error::source(&error);
                tracing::debug!(node = %member.identity.node_id, %error, cause, "cannot reach node");
            }
        }
        sleep(backoff.wait(&mut random)).await;
    }
}

async fn settles(links: &Links, node: NodeIdentity) -> bool {
    let stands = async {
        let mut events = links.subscribe();
        while !links.is_up(node) {
            // However it fails, looking again is right.
            let _ = events.recv().await;
        }
    };
    timeout(SETTLES, stands).await.is_ok()
}
