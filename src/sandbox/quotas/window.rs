//! Counting within a time.

use crate::domain::Timestamp;
use std::{collections::VecDeque, time::Duration};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// Begins with the first call after the last one ended; all of it is free again at its end.
    Fixed,
    /// At no moment more than so many in the time before it.
    Sliding,
}

#[derive(Debug)]
pub(super) enum Window {
    Fixed { start: Timestamp, used: u64 },
    Sliding(VecDeque<Timestamp>),
}

/// What a window says after a call.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Reading {
    pub accepted: bool,
    pub remaining: u64,
    /// When the next call is surely accepted.
    pub free_at: Timestamp,
    /// When the whole quota is free again, if nobody calls.
    pub reset_at: Timestamp,
}

impl Window {
    pub fn new(shape: Shape) -> Self {
        match shape {
            Shape::Fixed => Self::Fixed {
                start: Timestamp::default(),
                used: 0,
            },
            Shape::Sliding => Self::Sliding(VecDeque::new()),
        }
    }

    /// Counts a call at `at` if fewer than `most` were accepted within `length`. A refused call counts for nothing.
    pub fn take(&mut self, at: Timestamp, most: u64, length: Duration) -> Reading {
        match self {
            Self::Fixed { start, used } => {
                if *used == 0 || at >= start.after(length) {
                    (*start, *used) = (at, 0);
                }
                let accepted = *used < most;
                *used += u64::from(accepted);
                let reset_at = start.after(length);
                let remaining = most.saturating_sub(*used);
                let free_at = if remaining > 0 { at } else { reset_at };
                Reading {
                    accepted,
                    remaining,
                    free_at,
                    reset_at,
                }
            }
            Self::Sliding(calls) => {
                // Requests are served in another order than they came in, by a hair.
                let at = calls.back().map_or(at, |last| at.max(*last));
                while calls.front().is_some_and(|first| first.after(length) <= at) {
                    calls.pop_front();
                }
                let accepted = (calls.len() as u64) < most;
                if accepted {
                    calls.push_back(at);
                }
                let remaining = most.saturating_sub(calls.len() as u64);
                let first_free = calls.front().map_or(at, |first| first.after(length));
                Reading {
                    accepted,
                    remaining,
                    free_at: if remaining > 0 { at } else { first_free },
                    reset_at: calls.back().map_or(at, |last| last.after(length)),
                }
            }
        }
    }
}

/// Rounded up.
pub(super) fn whole_seconds(time: Duration) -> u64 {
    time.as_millis().div_ceil(1_000) as u64
}
