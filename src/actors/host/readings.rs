//! Employees that are just being read from the database, and what came for them meanwhile.
//!
//! A change is committed first and announced then. An employee that is not in the directory is not told: it reads the change when it
//! wakes. One that is being read at that moment may have been read before the commit, so its news is kept here and reaches it before
//! anything else does. Invariant: an employee has an entry here from before its reading begins until it is in the directory; whoever
//! announces looks here first and into the directory then, so that it cannot slip through between the two.

use super::EmployeeMessage;
use crate::domain::{EmployeeId, OrgId};
use dashmap::{DashMap, mapref::entry::Entry};
use std::collections::HashSet;

/// News that is kept for one employee; when there is more, it is read again instead.
const KEPT_MAX: usize = 256;

struct Reading {
    org: OrgId,
    /// What can be applied to whatever was read, in the order in which it came.
    news: Vec<EmployeeMessage>,
    /// Something was changed that only another reading shows.
    is_stale: bool,
}

#[derive(Default)]
pub(super) struct Readings(DashMap<EmployeeId, Reading>);

/// It was changed while it was being read: it has to be read again.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Stale;

impl Readings {
    /// From here on its news is kept.
    pub fn expect(&self, employee: EmployeeId, org: OrgId) {
        self.0.insert(
            employee,
            Reading {
                org,
                news: Vec::new(),
                is_stale: false,
            },
        );
    }

    /// A reading begins now: it sees everything that was announced before.
    pub fn begin(&self, employee: EmployeeId) {
        if let Some(mut reading) = self.0.get_mut(&employee) {
            reading.news.clear();
            reading.is_stale = false;
        }
    }

    /// Keeps news for an employee that is being read; gives it back if it is not.
    pub fn keep(
        &self,
        employee: EmployeeId,
        message: EmployeeMessage,
    ) -> Result<(), EmployeeMessage> {
        match self.0.get_mut(&employee) {
            Some(mut reading) => {
                reading.keep(message);
                Ok(())
            }
            None => Err(message),
        }
    }

    /// Keeps news for all of an org that are being read; gives who they are.
    pub fn keep_for_org(
        &self,
        org: OrgId,
        message: impl Fn() -> EmployeeMessage,
    ) -> HashSet<EmployeeId> {
        let mut kept = HashSet::new();
        for mut entry in self.0.iter_mut().filter(|entry| entry.org == org) {
            entry.keep(message());
            kept.insert(*entry.key());
        }
        kept
    }

    /// What is being read of it is out of date. False if it is not being read.
    pub fn outdate(&self, employee: EmployeeId) -> bool {
        let reading = self.0.get_mut(&employee);
        reading.map(|mut reading| reading.is_stale = true).is_some()
    }

    pub fn is_stale(&self, employee: EmployeeId) -> bool {
        self.0
            .get(&employee)
            .is_some_and(|reading| reading.is_stale)
    }

    pub fn contains(&self, employee: EmployeeId) -> bool {
        self.0.contains_key(&employee)
    }

    /// Ends the reading by `place`, which is given the news and puts the employee into the directory. Nobody can announce anything
    /// between the two.
    ///
    /// # Errors
    /// `Stale`: it is placed all the same, and has to be read again.
    pub fn end(
        &self,
        employee: EmployeeId,
        place: impl FnOnce(Vec<EmployeeMessage>),
    ) -> Result<(), Stale> {
        match self.0.entry(employee) {
            Entry::Occupied(mut entry) => {
                place(std::mem::take(&mut entry.get_mut().news));
                match entry.remove().is_stale {
                    true => Err(Stale),
                    false => Ok(()),
                }
            }
            Entry::Vacant(_) => {
                place(Vec::new());
                Ok(())
            }
        }
    }

    /// It is not placed here: nobody keeps anything for it any more.
    pub fn give_up(&self, employee: EmployeeId) {
        self.0.remove(&employee);
    }
}

impl Reading {
    fn keep(&mut self, message: EmployeeMessage) {
        if self.news.len() >= KEPT_MAX {
            self.news.clear();
            self.is_stale = true;
        }
        if !self.is_stale {
            self.news.push(message);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    fn employee(n: u128) -> EmployeeId {
        EmployeeId::from_uuid(Uuid::from_u128(n))
    }
    fn org(n: u128) -> OrgId {
        OrgId::from_uuid(Uuid::from_u128(n))
    }
    fn news() -> EmployeeMessage {
        EmployeeMessage::Remember(Vec::new(), None)
    }

    #[test]
    fn news_of_an_employee_being_read_waits_for_its_placing() {
        let readings = Readings::default();
        assert!(readings.keep(employee(1), news()).is_err(), "it is asleep");
        readings.expect(employee(1), org(1));
        readings.keep(employee(1), news()).ok().expect("kept");
        readings.begin(employee(1));
        readings.keep(employee(1), news()).ok().expect("kept");
        assert_eq!(readings.keep_for_org(org(1), news).len(), 1);
        assert_eq!(readings.keep_for_org(org(2), news).len(), 0);
        let mut given = 0;
        let ended = readings.end(employee(1), |news| given = news.len());
        assert_eq!(
            (ended, given),
            (Ok(()), 2),
            "what came before it began is read"
        );
        assert!(!readings.contains(employee(1)));
    }

    #[test]
    fn an_outdated_reading_is_told_when_it_ends_and_not_when_it_has_begun_anew() {
        let readings = Readings::default();
        readings.expect(employee(1), org(1));
        assert!(readings.outdate(employee(1)) && !readings.outdate(employee(2)));
        readings.begin(employee(1));
        assert!(!readings.is_stale(employee(1)));
        assert!(readings.outdate(employee(1)));
        assert_eq!(readings.end(employee(1), drop), Err(Stale));
    }

    #[test]
    fn more_news_than_is_kept_makes_it_be_read_again() {
        let readings = Readings::default();
        readings.expect(employee(1), org(1));
        for _ in 0..=KEPT_MAX {
            readings.keep(employee(1), news()).ok().expect("kept");
        }
        assert!(readings.is_stale(employee(1)));
    }
}
