//! Joining: the row, the door, the lease, and then what lives here.

use super::{Cluster, ClusterSetup, NodeRole, handler::Door, kind, standing, store::ClusterStore};
use crate::{
    actors::{core::Core, engine::StartError},
    persistence::{Db, Fence, NodeStart, Registered, WordList, node_other, node_register},
};
use std::{
    sync::{Arc, Mutex},
    time::Duration,
};
use tenure_cluster::{
    ClusterConfig, ClusterNode, LeasedPlacement, NodeIdentity,
    membership::{Membership, Standing},
};
use tokio::{
    sync::watch,
    time::{sleep, timeout},
};
use uuid::Uuid;

/// How long the first renewal may take.
const JOIN_TIME: Duration = Duration::from_secs(30);
/// How often it is looked whether an earlier life of this node is over.
const LOOK_AGAIN: Duration = Duration::from_millis(250);

/// Takes this node's place in the database, alone or beside others, and gives what proves it.
///
/// # Errors
/// If the database is not to be had, or another node works on it while this one has no cluster.
pub async fn register(
    db: &Db,
    node_id: Uuid,
    address: &str,
    lease: Duration,
    setup: Option<&ClusterSetup>,
) -> Result<Fence, StartError> {
    let roles = setup.map_or(NodeRole::ALL.to_vec(), |setup| setup.roles.clone());
    let words = |words: Vec<&str>| WordList(words.into_iter().map(str::to_owned).collect());
    let node = NodeStart {
        id: node_id,
        name: setup.map_or("node", |setup| &setup.name),
        address: setup.map_or(address, |setup| &setup.address),
        build: env!("CARGO_PKG_VERSION"),
        zone: setup.map_or("", |setup| &setup.zone),
        weight: setup.map_or(100, |setup| setup.weight),
        roles: words(roles.iter().map(|role| role.name()).collect()),
        takes: words(takes(&roles)),
        url: setup.map_or("", |setup| &setup.url),
        ttl: setup.map_or(lease, |setup| setup.terms.ttl),
        // A node alone takes over from whatever ran under its name.
        process_is_gone: setup.is_none(),
    };
    let mut told = false;
    loop {
        let mut tx = db.begin_system("a node starts").await?;
        if setup.is_none()
            && let Some(other) = node_other(&mut tx, node_id).await?
        {
            return Err(StartError::NotAlone {
                lease_left: other.lease_left(),
                name: other.name,
            });
        }
        match node_register(&mut tx, &node).await? {
            Registered::As(fence) => {
                tx.commit().await?;
                return Ok(fence);
            }
            Registered::NotYet { lease_left } => {
                drop(tx);
                if !std::mem::replace(&mut told, true) {
                    tracing::info!(
                        ?lease_left,
                        "an earlier life of this node may still act, its lease is waited for"
                    );
                }
                sleep(lease_left.clamp(LOOK_AGAIN, LOOK_AGAIN * 4)).await;
            }
        }
    }
}

fn takes(roles: &[NodeRole]) -> Vec<&'static str> {
    let takes = roles.iter().flat_map(|role| role.takes());
    takes.chain([&kind::PROXIED]).copied().collect()
}

/// A node that has joined, and does not answer yet.
pub struct Joined {
    pub cluster: Arc<Cluster>,
    pub placement: Arc<LeasedPlacement>,
}

impl Joined {
    /// Opens the door and begins to renew the lease.
    ///
    /// # Errors
    /// The door's actors do not start, or the lease cannot be renewed.
    pub async fn join(db: &Db, fence: Fence, setup: ClusterSetup) -> Result<Self, StartError> {
        let me = NodeIdentity {
            node_id: fence.node_id,
            incarnation: fence.incarnation.unsigned_abs(),
        };
        let ClusterSetup {
            cluster,
            lease_db,
            name,
            listener,
            tls,
            roles,
            terms,
            drain_grace,
            ..
        } = setup;
        let door = Arc::new(Door::default());
        let config = ClusterConfig::new(me, cluster, listener, tls);
        let node = ClusterNode::start(config, door.clone()).await?;
        let store = Arc::new(ClusterStore::new(db.clone(), terms));
        let links = node.gateway().links().clone();
        let lease = Arc::new(ClusterStore::new(lease_db, terms));
        let membership = Membership::start(me, terms, lease, node.dialer(), links);
        let mut view = membership.view();
        let acting = view.wait_for(|view| view.standing == Standing::Acting);
        let has_joined = timeout(JOIN_TIME, acting)
            .await
            .is_ok_and(|view| view.is_ok());
        if !has_joined {
            return Err(StartError::NotJoined);
        }
        let gate = membership.gate().clone();
        let placement = Arc::new(LeasedPlacement::new(
            me,
            takes(&roles),
            gate.clone(),
            membership.view(),
            store,
        ));
        let cluster = Arc::new(Cluster {
            me,
            name,
            roles,
            drain_grace,
            gateway: node.gateway().clone(),
            placement: placement.clone(),
            gate,
            view: membership.view(),
            membership,
            door,
            node: Mutex::new(Some(node)),
            draining: watch::channel(false).0,
            ended: watch::channel(false).0,
        });
        Ok(Self { cluster, placement })
    }
}

impl Cluster {
    /// From now on this node answers, and follows who comes and goes.
    pub fn open(self: &Arc<Self>, core: &Arc<Core>) {
        self.door.open(core);
        tokio::spawn(standing::follow(self.clone(), core.clone()));
        tokio::spawn(self.clone().tell_of_commits(core.clone()));
    }
}
