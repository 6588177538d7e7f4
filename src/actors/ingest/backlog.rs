//! Which pending events are to be given next, by their names alone: what they say stays in the database until it is given. Pure.
//!
//! Invariants: what is held is bounded for each org, and no org takes from another. The order of a conversation is nobody's memory: a lane says
//! that something of a conversation is pending, and which event that is, is read from the database when the lane's turn comes. So nothing passes
//! what is pending there, whoever took it and whatever was lost on the way. What does not fit, or cannot be taken now, is left to a *sweep*, which
//! walks through the org's pending events a page at a time and comes again as long as there are any.

use super::dispatch::Settled;
use crate::{
    domain::{InboxId, OrgId},
    persistence::PendingEvent,
};
use std::{
    collections::{HashMap, VecDeque},
    time::{Duration, Instant},
};
use tokio::sync::oneshot;

/// Lanes of an org that are in memory, with the room that sweeps need. Each holds a name of 512 characters at most.
pub const LANES_MAX: usize = 2_000;
/// Of these, lanes whose first event could not be taken, and that are tried again by themselves.
const ASLEEP_MAX: usize = 1_000;
/// Pending events that a sweep reads at once.
pub const PAGE: usize = 500;
/// Pages that are being read at once.
const READING_MAX: usize = 16;
/// Events of an org that are being given at once, and of all orgs.
pub const AT_WORK_OF_ORG_MAX: usize = 256;
pub const AT_WORK_MAX: usize = 4_096;
/// Who waits to hear what becomes of an event: requests, for some seconds each.
const WATCHERS_MAX: usize = 2_000;
const AGAIN_FIRST: Duration = Duration::from_millis(500);
const AGAIN_LAST: Duration = Duration::from_secs(60);
/// A sweep that met what cannot be taken comes again after this, twice as long each time.
const SWEEP_AGAIN_FIRST: Duration = Duration::from_secs(5);

/// What keeps its order: a conversation, or an event that is part of none.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Lane {
    Conversation(String),
    Alone(InboxId),
}

impl Lane {
    pub fn new(id: InboxId, conversation: Option<String>) -> Self {
        conversation.map_or(Lane::Alone(id), Lane::Conversation)
    }
}

/// How the turn of a lane ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// What became of its first event is durable.
    Settled,
    /// Nothing of it is pending.
    Empty,
    /// Somebody cannot take it for the moment.
    Later,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    Ready,
    Work,
    Asleep,
}

#[derive(Debug)]
struct InLane {
    at: At,
    /// Something came while it was at work.
    again: bool,
    attempts: u32,
}

/// Where a page of an org's pending events begins: after this place, or with the first.
pub type Place = Option<(i64, InboxId)>;

#[derive(Debug, Default)]
struct OfOrg {
    lanes: HashMap<Lane, InLane>,
    ready: VecDeque<Lane>,
    at_work: usize,
    asleep: usize,
    /// It stands in `turns`.
    has_turn: bool,
    watchers: HashMap<InboxId, oneshot::Sender<Settled>>,
    /// There may be pending events that are in no lane.
    behind: bool,
    reading: bool,
    /// It stands in `wanting`.
    wants: bool,
    place: Place,
    /// Something was left out that the sweep under way may have passed.
    missed: bool,
    /// Something was left out because nobody can take it: it is no use to come again at once.
    stuck: bool,
    sweeps: u32,
    not_before: Option<Instant>,
}

impl OfOrg {
    /// False if there is no room; a sweep finds it then.
    fn push(&mut self, lane: Lane) -> bool {
        let is_full = self.lanes.len() >= LANES_MAX;
        match self.lanes.get_mut(&lane) {
            Some(known) => {
                known.again |= known.at == At::Work;
                true
            }
            None if is_full => false,
            None => {
                let ready = InLane {
                    at: At::Ready,
                    again: false,
                    attempts: 0,
                };
                self.lanes.insert(lane.clone(), ready);
                self.ready.push_back(lane);
                true
            }
        }
    }

    /// False if it was behind already.
    fn fall_behind(&mut self) -> bool {
        if !self.behind {
            self.place = None;
        }
        !std::mem::replace(&mut self.behind, true)
    }

    fn wants_page(&self, now: Instant) -> bool {
        self.behind
            && !self.reading
            && self.lanes.len() + PAGE <= LANES_MAX
            && self.not_before.is_none_or(|at| at <= now)
    }

    /// The next sweep begins after a while.
    fn rest(&mut self, now: Instant) {
        self.stuck = false;
        let wait = (SWEEP_AGAIN_FIRST * 2u32.pow(self.sweeps.min(6))).min(AGAIN_LAST);
        self.sweeps += 1;
        self.not_before = Some(now + wait);
    }

    fn is_idle(&self) -> bool {
        self.lanes.is_empty() && !self.behind && !self.reading && self.watchers.is_empty()
    }
}

/// All orgs with something pending.
#[derive(Debug, Default)]
pub struct Backlog {
    orgs: HashMap<OrgId, OfOrg>,
    /// Orgs with a lane that may go, in turn.
    turns: VecDeque<OrgId>,
    at_work: usize,
    /// Orgs whose next page may be read, in turn.
    wanting: VecDeque<OrgId>,
    reading: usize,
}

impl Backlog {
    /// An event has become durable, here or elsewhere; `watcher` is told what becomes of it.
    pub fn offer(
        &mut self,
        org: OrgId,
        id: InboxId,
        lane: Lane,
        watcher: Option<oneshot::Sender<Settled>>,
    ) {
        let of_org = self.orgs.entry(org).or_default();
        match of_org.push(lane) {
            true => {
                if let Some(watcher) = watcher.filter(|_| of_org.watchers.len() < WATCHERS_MAX) {
                    of_org.watchers.insert(id, watcher);
                }
            }
            false => self.missed(org),
        }
        self.turn(org);
    }

    /// A new event of the org was left out: it is looked for at once, and once more if a sweep has passed its place.
    pub fn missed(&mut self, org: OrgId) {
        let of_org = self.orgs.entry(org).or_default();
        of_org.missed |= !of_org.fall_behind();
        of_org.not_before = None;
        self.want(org, None);
    }

    /// There may be pending events of the org that are in no lane.
    pub fn audit(&mut self, org: OrgId) {
        self.orgs.entry(org).or_default().fall_behind();
        self.want(org, None);
    }

    /// Forgets everything but what is at work: another node gives the events.
    pub fn clear(&mut self) {
        self.orgs.clear();
        self.turns.clear();
        self.wanting.clear();
    }

    /// Lanes that may go now, of one org, and how often each was tried in vain; they count as at work until [`Backlog::ended`].
    pub fn take(&mut self, max: usize) -> Option<(OrgId, Vec<(Lane, u32)>)> {
        if self.at_work >= AT_WORK_MAX {
            return None;
        }
        let (org, of_org) = loop {
            let org = self.turns.pop_front()?;
            if self.orgs.contains_key(&org) {
                break (org, self.orgs.get_mut(&org)?);
            }
        };
        of_org.has_turn = false;
        let room = max
            .min(AT_WORK_OF_ORG_MAX.saturating_sub(of_org.at_work))
            .min(AT_WORK_MAX - self.at_work);
        let mut taken = Vec::new();
        while taken.len() < room
            && let Some(lane) = of_org.ready.pop_front()
        {
            if let Some(known) = of_org.lanes.get_mut(&lane) {
                known.at = At::Work;
                known.again = false;
                taken.push((lane, known.attempts));
            }
        }
        of_org.at_work += taken.len();
        self.at_work += taken.len();
        self.turn(org);
        Some((org, taken))
    }

    /// How the turn of a lane ended. Gives the time after which it is to be woken ([`Backlog::wake`]), if it is.
    pub fn ended(&mut self, org: OrgId, lane: Lane, turn: Turn, now: Instant) -> Option<Duration> {
        self.at_work -= 1;
        let of_org = self.orgs.get_mut(&org)?;
        // After a hand-over it may be another turn's lane; that one ends by itself.
        let known = of_org
            .lanes
            .get_mut(&lane)
            .filter(|known| known.at == At::Work)?;
        of_org.at_work = of_org.at_work.saturating_sub(1);
        let mut wake = None;
        let goes_on = match (turn, &lane) {
            (Turn::Settled, Lane::Conversation(_)) => true,
            (Turn::Settled | Turn::Empty, _) => known.again,
            (Turn::Later, _) => false,
        };
        if goes_on {
            *known = InLane {
                at: At::Ready,
                again: false,
                attempts: 0,
            };
            of_org.ready.push_back(lane);
        } else if turn == Turn::Later && of_org.asleep < ASLEEP_MAX {
            known.at = At::Asleep;
            known.attempts += 1;
            let exponent = known.attempts.min(8) - 1;
            wake = Some((AGAIN_FIRST * 2u32.pow(exponent)).min(AGAIN_LAST));
            of_org.asleep += 1;
        } else {
            of_org.lanes.remove(&lane);
            if turn == Turn::Later {
                of_org.stuck = true;
                if of_org.fall_behind() {
                    of_org.rest(now);
                }
            }
        }
        self.turn(org);
        self.want(org, Some(now));
        self.tidy(org);
        wake
    }

    /// A lane that could not be given is tried again.
    pub fn wake(&mut self, org: OrgId, lane: Lane) {
        let Some(of_org) = self.orgs.get_mut(&org) else {
            return;
        };
        if let Some(known) = of_org
            .lanes
            .get_mut(&lane)
            .filter(|known| known.at == At::Asleep)
        {
            known.at = At::Ready;
            of_org.asleep -= 1;
            of_org.ready.push_back(lane);
            self.turn(org);
        }
    }

    /// Whoever waits to hear of an event.
    pub fn watcher(&mut self, org: OrgId, id: InboxId) -> Option<oneshot::Sender<Settled>> {
        self.orgs.get_mut(&org)?.watchers.remove(&id)
    }

    /// Pages of pending events that should be read now; they count as being read from then on.
    pub fn pages(&mut self, now: Instant) -> Vec<(OrgId, Place)> {
        let mut pages = Vec::new();
        while self.reading < READING_MAX
            && let Some(org) = self.wanting.pop_front()
        {
            let Some(of_org) = self.orgs.get_mut(&org) else {
                continue;
            };
            of_org.wants = false;
            if of_org.wants_page(now) {
                of_org.reading = true;
                self.reading += 1;
                pages.push((org, of_org.place));
            }
        }
        pages
    }

    /// A page of an org's pending events, in order; fewer than [`PAGE`] are the last. `None`: they could not be read.
    pub fn read(&mut self, org: OrgId, page: Option<Vec<PendingEvent>>, now: Instant) {
        self.reading = self.reading.saturating_sub(1);
        let Some(of_org) = self.orgs.get_mut(&org).filter(|of_org| of_org.reading) else {
            return;
        };
        of_org.reading = false;
        let Some(page) = page else {
            return self.want(org, Some(now));
        };
        let is_last = page.len() < PAGE;
        for event in page {
            let place = (event.arrival, event.id);
            if !of_org.push(Lane::new(event.id, event.conversation_key)) {
                // No room: the sweep goes on from here when there is.
                return self.turn(org);
            }
            of_org.place = Some(place);
        }
        if is_last {
            of_org.place = None;
            match (of_org.missed, of_org.stuck) {
                (true, _) => of_org.missed = false,
                (false, true) => of_org.rest(now),
                (false, false) => {
                    of_org.behind = false;
                    of_org.sweeps = 0;
                    of_org.not_before = None;
                }
            }
        }
        self.turn(org);
        self.want(org, Some(now));
        self.tidy(org);
    }

    /// Whatever comes with time: sweeps that have rested; and forgets whoever does not wait any more, and orgs of which nothing is left.
    pub fn tick(&mut self, now: Instant) {
        let rested: Vec<OrgId> = self
            .orgs
            .iter()
            .filter(|(_, of_org)| !of_org.wants && of_org.wants_page(now))
            .map(|(org, _)| *org)
            .collect();
        rested.into_iter().for_each(|org| self.want(org, Some(now)));
        for of_org in self.orgs.values_mut() {
            of_org.watchers.retain(|_, watcher| !watcher.is_closed());
        }
        self.orgs.retain(|_, of_org| !of_org.is_idle());
    }

    /// Lanes in memory, and of these at work.
    pub fn load(&self) -> (usize, usize) {
        let lanes = self.orgs.values().map(|of_org| of_org.lanes.len()).sum();
        (lanes, self.at_work)
    }

    pub fn is_behind(&self) -> bool {
        self.orgs.values().any(|of_org| of_org.behind)
    }

    fn turn(&mut self, org: OrgId) {
        if let Some(of_org) = self.orgs.get_mut(&org)
            && !of_org.has_turn
            && !of_org.ready.is_empty()
            && of_org.at_work < AT_WORK_OF_ORG_MAX
        {
            of_org.has_turn = true;
            self.turns.push_back(org);
        }
    }

    /// Queues the org's next page, if one may be read; without a time, whatever that says.
    fn want(&mut self, org: OrgId, now: Option<Instant>) {
        if let Some(of_org) = self.orgs.get_mut(&org)
            && !of_org.wants
            && of_org.behind
            && now.is_none_or(|now| of_org.wants_page(now))
        {
            of_org.wants = true;
            self.wanting.push_back(org);
        }
    }

    fn tidy(&mut self, org: OrgId) {
        if self.orgs.get(&org).is_some_and(OfOrg::is_idle) {
            self.orgs.remove(&org);
        }
    }
}

#[cfg(test)]
mod tests;
