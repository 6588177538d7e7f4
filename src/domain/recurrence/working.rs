//! Which days are worked: a week and the holidays of an organisation.

use chrono::{Datelike, Days, NaiveDate, Weekday};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// Days that are looked at for a working day. Beyond it there is none.
const LOOK: usize = 366;

/// Days of the week as they are written: `mon` to `sun`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WeekDay {
    Mon,
    Tue,
    Wed,
    Thu,
    Fri,
    Sat,
    Sun,
}

impl From<Weekday> for WeekDay {
    fn from(day: Weekday) -> Self {
        match day {
            Weekday::Mon => Self::Mon,
            Weekday::Tue => Self::Tue,
            Weekday::Wed => Self::Wed,
            Weekday::Thu => Self::Thu,
            Weekday::Fri => Self::Fri,
            Weekday::Sat => Self::Sat,
            Weekday::Sun => Self::Sun,
        }
    }
}

/// The days on which an organisation works. JSON: `{"week": ["mon", …], "holidays": {"2027-01-01": "New Year's Day"}}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WorkingCalendar {
    /// Monday to Friday if it is not said.
    #[serde(default = "monday_to_friday")]
    pub week: BTreeSet<WeekDay>,
    /// By date, each with its name.
    #[serde(default)]
    pub holidays: BTreeMap<NaiveDate, String>,
}

fn monday_to_friday() -> BTreeSet<WeekDay> {
    BTreeSet::from([
        WeekDay::Mon,
        WeekDay::Tue,
        WeekDay::Wed,
        WeekDay::Thu,
        WeekDay::Fri,
    ])
}

impl Default for WorkingCalendar {
    fn default() -> Self {
        Self {
            week: monday_to_friday(),
            holidays: BTreeMap::new(),
        }
    }
}

impl WorkingCalendar {
    pub fn is_worked(&self, day: NaiveDate) -> bool {
        self.week.contains(&day.weekday().into()) && !self.holidays.contains_key(&day)
    }

    /// The first working day from `day` on; `None` if there is none within a year.
    pub fn first_on_or_after(&self, day: NaiveDate) -> Option<NaiveDate> {
        std::iter::successors(Some(day), |day| day.succ_opt())
            .take(LOOK)
            .find(|day| self.is_worked(*day))
    }

    /// The last working day up to `day`; `None` if there is none within a year.
    pub fn up_to(&self, day: NaiveDate) -> Option<NaiveDate> {
        std::iter::successors(Some(day), |day| day.pred_opt())
            .take(LOOK)
            .find(|day| self.is_worked(*day))
    }

    /// The working day of this number from `first` to `last`, both included: 1 is the first, -1 the last; `None` if there are fewer.
    pub fn nth(&self, first: NaiveDate, last: NaiveDate, nth: i32) -> Option<NaiveDate> {
        let place = usize::try_from(nth.unsigned_abs()).ok()?.checked_sub(1)?;
        let days = u64::try_from((last - first).num_days()).ok()?;
        if nth > 0 {
            (0..=days)
                .filter_map(|ahead| first.checked_add_days(Days::new(ahead)))
                .filter(|day| self.is_worked(*day))
                .nth(place)
        } else {
            (0..=days)
                .filter_map(|back| last.checked_sub_days(Days::new(back)))
                .filter(|day| self.is_worked(*day))
                .nth(place)
        }
    }
}
