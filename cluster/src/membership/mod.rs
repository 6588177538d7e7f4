//! Who is in the cluster, and whether this node still is.
//!
//! One loop: it renews this node's lease, lists the others', declares dead whose lease is over, and dials whom it does not reach. The
//! database judges; a lost link only makes the loop look sooner. A lease is looked at again at the moment at which it would be over, so
//! that a death is declared at once and nobody polls.

mod dialing;
mod directory;
#[cfg(test)]
mod tests;

pub use directory::{Directory, DirectoryError, Member};

use crate::{
    Dialer, NodeIdentity,
    gateway::{LinkEvent, Links},
    ownership::{FenceGate, LeaseTerms, Moment, NodeState},
};
use dialing::{Dialing, Peers};
use std::{sync::Arc, time::Duration};
use tokio::{
    sync::{Notify, broadcast, watch},
    task::JoinHandle,
    time::{Instant, sleep, sleep_until, timeout},
};

/// How long after a lease should be over it is looked at.
const AFTER_END: Duration = Duration::from_millis(100);

/// Whether this node may act.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// The first renewal has not come back yet.
    Joining,
    Acting,
    /// The lease could not be renewed in time: everything that it owns stops. Goes back to `Acting` when the database is reached again
    /// before anybody took over.
    Suspended,
    /// This life is over; the process starts anew under a new incarnation or ends.
    Ended,
}

/// What is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct View {
    pub standing: Standing,
    /// As the database had them last, this node included.
    pub members: Arc<[Member]>,
}

/// Of this node in the cluster. Stops when dropped, which does not end the lease: see [`Membership::leave`].
pub struct Membership {
    me: NodeIdentity,
    directory: Arc<dyn Directory>,
    gate: Arc<FenceGate>,
    view: watch::Receiver<View>,
    look: Arc<Notify>,
    task: JoinHandle<()>,
}

impl Membership {
    /// Begins to renew. The node's row must be there.
    pub fn start(
        me: NodeIdentity,
        terms: LeaseTerms,
        directory: Arc<dyn Directory>,
        dialer: Dialer,
        links: Arc<Links>,
    ) -> Self {
        let events = links.subscribe();
        let peers = Box::new(Dialing::new(me, dialer, links));
        Self::start_with(me, terms, directory, peers, events)
    }

    fn start_with(
        me: NodeIdentity,
        terms: LeaseTerms,
        directory: Arc<dyn Directory>,
        peers: Box<dyn Peers>,
        events: broadcast::Receiver<LinkEvent>,
    ) -> Self {
        let gate = Arc::new(FenceGate::new(terms));
        let (sender, view) = watch::channel(View {
            standing: Standing::Joining,
            members: Arc::default(),
        });
        let look = Arc::new(Notify::new());
        let worker = Worker {
            failed_at: None,
            look: look.clone(),
            me,
            terms,
            directory: directory.clone(),
            gate: gate.clone(),
            view: sender,
            peers,
        };
        Self {
            me,
            directory,
            gate,
            view,
            look,
            task: tokio::spawn(worker.run(events)),
        }
    }

    /// Looked at just before each effect.
    pub fn gate(&self) -> &Arc<FenceGate> {
        &self.gate
    }

    pub fn view(&self) -> watch::Receiver<View> {
        self.view.clone()
    }

    /// Lists the nodes at once: somebody says that something has changed.
    pub fn look(&self) {
        self.look.notify_one();
    }

    /// Takes nothing new from now on.
    ///
    /// # Errors
    /// `Fenced`, `Unavailable`.
    pub async fn drain(&self) -> Result<(), DirectoryError> {
        self.directory.drain(self.me).await?;
        self.look();
        Ok(())
    }

    /// Ends this life when nothing is owned any more: others need not wait for the lease.
    ///
    /// # Errors
    /// `Unavailable`: the lease will run out by itself.
    pub async fn leave(&self) -> Result<(), DirectoryError> {
        self.gate.close();
        self.task.abort();
        self.directory.leave(self.me).await
    }
}

impl Drop for Membership {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Worker {
    /// When the database was last not reached.
    failed_at: Option<Instant>,
    look: Arc<Notify>,
    me: NodeIdentity,
    terms: LeaseTerms,
    directory: Arc<dyn Directory>,
    gate: Arc<FenceGate>,
    view: watch::Sender<View>,
    peers: Box<dyn Peers>,
}

impl Worker {
    async fn run(mut self, mut events: broadcast::Receiver<LinkEvent>) {
        let fence = tokio::spawn(watch_fence(self.gate.clone(), self.view.clone()));
        let mut renew_at = Instant::now();
        loop {
            if Instant::now() >= renew_at {
                let wait = match self.renew().await {
                    Ok(()) => self.terms.renew_every,
                    Err(DirectoryError::Fenced) => break,
                    // Again soon, while there is lease left to save.
                    Err(DirectoryError::Unavailable(_)) => self.terms.renew_every / 4,
                };
                renew_at = Instant::now() + wait;
            }
            let look_at = Instant::now() + self.look().await;
            tokio::select! {
                () = sleep_until(renew_at.min(look_at)) => {}
                () = lost(&mut events) => {}
                () = self.look.notified() => {}
            }
        }
        fence.abort();
        self.gate.close();
        set_standing(&self.view, Standing::Ended);
        tracing::error!(node = %self.me.node_id, incarnation = self.me.incarnation, "this life of the node is over");
    }

    async fn renew(&mut self) -> Result<(), DirectoryError> {
        let (sent_at, me, directory) = (Moment::now(), self.me, self.directory.clone());
        let renewed = self.in_time(directory.renew(me)).await;
        match &renewed {
            Ok(()) => {
                self.gate.renewed(sent_at);
                // An answer that took too long renews nothing.
                if self.gate.may_act() {
                    set_standing(&self.view, Standing::Acting);
                }
            }
            Err(error) => tracing::warn!(%error, "cannot renew the node's lease"),
        }
        renewed
    }

    /// Lists the nodes and does what follows. Gives when to look again.
    async fn look(&mut self) -> Duration {
        let again = self.terms.renew_every;
        let directory = self.directory.clone();
        let mut members = match self.in_time(directory.list()).await {
            Ok(members) => members,
            Err(error) => {
                tracing::warn!(%error, "cannot list the nodes");
                return again / 4;
            }
        };
        if self.may_judge() {
            for member in &mut members {
                self.bury(member).await;
            }
        }
        self.peers.follow(&members);
        let next_end = members
            .iter()
            .filter(|member| member.is_in_service() && member.identity != self.me)
            .map(|member| member.lease_left)
            .min();
        let members: Arc<[Member]> = members.into();
        self.view.send_if_modified(|view| {
            let changed = view.members != members;
            view.members = members;
            changed
        });
        // A moment more, so that it is over then; and not again and again while its transactions are waited for.
        let next_end = next_end.map_or(again, |left| left + AFTER_END);
        next_end.min(again)
    }

    /// A node that may not act itself judges nobody; nor one that has just got the database back: the others could not renew their leases
    /// either, and are about to.
    fn may_judge(&self) -> bool {
        let patience = self.terms.renew_every * 2;
        self.gate.may_act() && self.failed_at.is_none_or(|at| at.elapsed() >= patience)
    }

    /// Declares a node dead whose lease is over.
    async fn bury(&mut self, member: &mut Member) {
        let is_due =
            member.is_in_service() && member.lease_left.is_zero() && member.identity != self.me;
        if !is_due {
            return;
        }
        let directory = self.directory.clone();
        match self.in_time(directory.declare_dead(member.identity)).await {
            Ok(by_us) => {
                if by_us {
                    member.state = NodeState::Dead;
                    tracing::warn!(node = %member.identity.node_id, incarnation = member.identity.incarnation, "declared a node dead");
                }
            }
            Err(error) => tracing::warn!(%error, "cannot declare a node dead"),
        }
    }

    /// A database that hangs must not hold up the next attempt.
    async fn in_time<T>(
        &mut self,
        call: impl Future<Output = Result<T, DirectoryError>>,
    ) -> Result<T, DirectoryError> {
        let answer = timeout(self.terms.renew_every, call)
            .await
            .unwrap_or_else(|_| Err(DirectoryError::Unavailable("no answer in time".into())));
        if matches!(answer, Err(DirectoryError::Unavailable(_))) {
            self.failed_at = Some(Instant::now());
        }
        answer
    }
}

/// Says when the self-fence's deadline passes, whatever the database does meanwhile.
async fn watch_fence(gate: Arc<FenceGate>, view: watch::Sender<View>) {
    loop {
        let remaining = gate.remaining(Moment::now());
        if remaining.is_zero() {
            let suspended = view.send_if_modified(|view| {
                let acting = view.standing == Standing::Acting;
                if acting {
                    view.standing = Standing::Suspended;
                }
                acting
            });
            if suspended {
                tracing::error!("the node's lease could not be renewed in time: it stops acting");
            }
        }
        // The timer does not count suspend and the deadline does: look often enough.
        sleep(remaining.clamp(Duration::from_millis(20), Duration::from_millis(200))).await;
    }
}

fn set_standing(view: &watch::Sender<View>, standing: Standing) {
    view.send_if_modified(|view| std::mem::replace(&mut view.standing, standing) != standing);
}

/// A link was lost: a hint to look at once.
async fn lost(events: &mut broadcast::Receiver<LinkEvent>) {
    loop {
        match events.recv().await {
            Ok(LinkEvent::Down(_)) | Err(broadcast::error::RecvError::Lagged(_)) => return,
            Ok(LinkEvent::Up(_)) => {}
            Err(broadcast::error::RecvError::Closed) => std::future::pending().await,
        }
    }
}
