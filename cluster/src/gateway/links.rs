//! Which nodes can be reached right now.

use super::{
    actor::{GROUP, GatewayMessage, SCOPE},
    window::{Window, WindowLimits},
};
use crate::{NodeIdentity, protocol::Refusal, transport::PeerLabel};
use ractor::{ActorId, ActorRef};
use ractor_cluster::{
    NodeEventSubscription, NodeSessionMessage, node::NodeServerSessionInformation,
};
use std::{
    collections::HashMap,
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
};
use tokio::sync::broadcast;
use uuid::Uuid;

/// A hint: a lost link says nothing about whether the node lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkEvent {
    Up(NodeIdentity),
    Down(NodeIdentity),
}

/// A link as others may see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkInfo {
    pub identity: NodeIdentity,
    pub protocol: u16,
    /// Whether the peer dialled.
    pub incoming: bool,
    /// Sent and not answered.
    pub messages_in_flight: usize,
    pub bytes_in_flight: usize,
}

/// The links that stand, at most one a node.
pub struct Links {
    limits: WindowLimits,
    links: RwLock<HashMap<Uuid, Link>>,
    events: broadcast::Sender<LinkEvent>,
}

#[derive(Clone)]
pub(super) struct Link {
    label: PeerLabel,
    incoming: bool,
    session: ActorRef<NodeSessionMessage>,
    pub(super) gateway: ActorRef<GatewayMessage>,
    pub(super) window: Arc<Window>,
}

impl Links {
    pub(crate) fn new(limits: WindowLimits) -> Arc<Self> {
        Arc::new(Self {
            limits,
            links: RwLock::default(),
            // Whoever falls behind looks at the whole list.
            events: broadcast::channel(256).0,
        })
    }

    pub(super) fn find(&self, node: Uuid) -> Option<Link> {
        self.read().get(&node).cloned()
    }

    pub fn is_up(&self, node: NodeIdentity) -> bool {
        let links = self.read();
        links
            .get(&node.node_id)
            .is_some_and(|link| link.label.identity == node)
    }

    pub fn list(&self) -> Vec<LinkInfo> {
        let mut list: Vec<_> = self.read().values().map(Link::info).collect();
        list.sort_by_key(|link| link.identity.node_id);
        list
    }

    pub fn subscribe(&self) -> broadcast::Receiver<LinkEvent> {
        self.events.subscribe()
    }

    /// Ends the link to a node, for example because its life is over. Nothing happens if there is none.
    pub fn cut(&self, node: NodeIdentity) {
        let link = self.find(node.node_id);
        if let Some(link) = link.filter(|link| link.label.identity == node) {
            link.session.stop(Some("cut".into()));
        }
    }

    /// Whether a life of a node may come in: not if a later one is here.
    pub(crate) fn judge(&self, newcomer: NodeIdentity) -> Option<Refusal> {
        let known = self.read().get(&newcomer.node_id)?.label.identity;
        (known.incarnation > newcomer.incarnation).then_some(Refusal::Outdated)
    }

    fn add(&self, link: Link) {
        let identity = link.label.identity;
        let replaced = self.write().insert(identity.node_id, link.clone());
        if let Some(old) = replaced.filter(|old| old.session.get_id() != link.session.get_id()) {
            if old.label.identity != identity {
                self.tell(LinkEvent::Down(old.label.identity));
            }
            old.session.stop(Some("replaced".into()));
        }
        self.tell(LinkEvent::Up(identity));
    }

    /// Only if this very session is the link: another may have taken its place.
    fn remove(&self, node: Uuid, session: ActorId) {
        let mut links = self.write();
        let is_it = |link: &Link| link.session.get_id() == session;
        if links.get(&node).is_some_and(is_it)
            && let Some(link) = links.remove(&node)
        {
            drop(links);
            self.tell(LinkEvent::Down(link.label.identity));
        }
    }

    fn tell(&self, event: LinkEvent) {
        tracing::info!(?event, "cluster link");
        // Nobody may listen.
        let _ = self.events.send(event);
    }

    fn read(&self) -> RwLockReadGuard<'_, HashMap<Uuid, Link>> {
        self.links.read().unwrap_or_else(PoisonError::into_inner)
    }
    fn write(&self) -> RwLockWriteGuard<'_, HashMap<Uuid, Link>> {
        self.links.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Link {
    fn info(&self) -> LinkInfo {
        let (messages_in_flight, bytes_in_flight) = self.window.in_use();
        LinkInfo {
            identity: self.label.identity,
            protocol: self.label.protocol,
            incoming: self.incoming,
            messages_in_flight,
            bytes_in_flight,
        }
    }
}

/// How `ractor_cluster` names a life of a node. It carries the incarnation, since a node that comes back under a name that is still
/// known can be refused.
pub(crate) fn session_name(identity: NodeIdentity) -> String {
    format!("{}.{}", identity.node_id, identity.incarnation)
}

/// Hears from `ractor_cluster` which sessions there are. It holds what a peer calls itself against what its certificate says.
pub(crate) struct LinkWatcher(pub(crate) Arc<Links>);

impl LinkWatcher {
    fn label(session: &NodeServerSessionInformation) -> Option<PeerLabel> {
        let label: PeerLabel = session.peer_addr.parse().ok()?;
        let name = &session.peer_name.as_ref()?.name;
        let claimed = name.split_once('@').map_or(name.as_str(), |(name, _)| name);
        (claimed == session_name(label.identity)).then_some(label)
    }

    /// The stand-in of the peer's gateway. Its id carries the session's number, which the peer cannot choose.
    fn gateway(session: &NodeServerSessionInformation) -> Option<ActorRef<GatewayMessage>> {
        ractor::pg::get_scoped_members(&SCOPE.into(), &GROUP.into())
            .into_iter()
            .find(|cell| {
                matches!(cell.get_id(), ActorId::Remote { node_id, .. } if node_id == session.node_id)
            })
            .map(ActorRef::from)
    }
}

impl NodeEventSubscription for LinkWatcher {
    fn node_session_opened(&self, _: NodeServerSessionInformation) {}

    fn node_session_authenticated(&self, session: NodeServerSessionInformation) {
        if Self::label(&session).is_none() {
            tracing::warn!(peer = %session.peer_addr, "peer does not call itself as its certificate does");
            session.actor.stop(Some("wrong name".into()));
        }
    }

    fn node_session_ready(&self, session: NodeServerSessionInformation) {
        let Some(label) = Self::label(&session) else {
            return;
        };
        let Some(gateway) = Self::gateway(&session) else {
            tracing::warn!(peer = %label, "peer has no gateway");
            session.actor.stop(Some("no gateway".into()));
            return;
        };
        self.0.add(Link {
            label,
            incoming: session.is_server,
            session: session.actor,
            gateway,
            window: Arc::new(Window::new(self.0.limits)),
        });
    }

    fn node_session_disconnected(&self, session: NodeServerSessionInformation) {
        if let Ok(label) = session.peer_addr.parse::<PeerLabel>() {
            self.0
                .remove(label.identity.node_id, session.actor.get_id());
        }
    }
}
