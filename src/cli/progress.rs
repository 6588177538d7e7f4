//! A word on stderr about what takes longer than a second.

use crate::cli::output::note;
use std::{future::Future, io::IsTerminal, time::Duration};
use tokio::time::{Instant, MissedTickBehavior, interval_at};

const QUIET_FOR: Duration = Duration::from_secs(1);
const REPEAT: Duration = Duration::from_secs(5);

/// Runs `work`; after a second it says on stderr what is going on, and from then on how long it has.
pub async fn slow<T>(what: &str, work: impl Future<Output = T>) -> T {
    telling(work, |elapsed| say(what, elapsed)).await
}

/// The same in the log: for a service, whose stderr is read by programs.
pub async fn slow_logged<T>(what: &'static str, work: impl Future<Output = T>) -> T {
    telling(work, |elapsed| {
        tracing::info!(seconds = elapsed.as_secs(), "{what}")
    })
    .await
}

async fn telling<T>(work: impl Future<Output = T>, tell: impl Fn(Duration)) -> T {
    tokio::pin!(work);
    let began = Instant::now();
    let mut ticks = interval_at(began + QUIET_FOR, REPEAT);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            done = &mut work => return done,
            _ = ticks.tick() => tell(began.elapsed()),
        }
    }
}

fn say(what: &str, elapsed: Duration) {
    let dots = if std::io::stderr().is_terminal() {
        "…"
    } else {
        "..."
    };
    if elapsed < REPEAT {
        note!("{what} {dots}");
    } else {
        note!("{what} {dots} {} s", elapsed.as_secs());
    }
}
