//! Whether the database answers, as everybody who begins a transaction finds it; and how long beginning one is tried.
//!
//! A database that is away is told from one that is busy: it is away if nobody got a transaction for as long as somebody waited for one.

use super::error::{DbError, Result};
use std::{
    future::pending,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};
use tokio::{
    sync::watch,
    time::{Instant, sleep, sleep_until, timeout_at},
};

/// Between two attempts over connections that turn out to be broken.
const PAUSE: Duration = Duration::from_millis(20);

/// What is known of the database's absence.
#[derive(Debug)]
pub(super) struct Outage {
    /// Whoever waits for so long while nobody is served says that the database is away.
    suspicious: Duration,
    began: Instant,
    /// When it answered last, in microseconds after `began`.
    answered: AtomicU64,
    since: watch::Sender<Option<Instant>>,
}

impl Default for Outage {
    fn default() -> Self {
        Self {
            suspicious: Duration::from_millis(1_500),
            began: Instant::now(),
            answered: AtomicU64::new(0),
            since: watch::Sender::new(None),
        }
    }
}

impl Outage {
    fn answers(&self) {
        let now = self.began.elapsed().as_micros() as u64;
        self.answered.store(now, Ordering::Relaxed);
        if self.since.borrow().is_some() && self.since.send_replace(None).is_some() {
            tracing::warn!("the database answers again");
        }
    }

    /// Somebody has waited since `began` in vain.
    fn suspected(&self, began: Instant) {
        let answered = Duration::from_micros(self.answered.load(Ordering::Relaxed));
        if self.began + answered >= began {
            return;
        }
        let news = self.since.send_if_modified(|since| {
            let news = since.is_none();
            since.get_or_insert(began);
            news
        });
        if news {
            tracing::error!("the database does not answer");
        }
    }

    /// Ready when the database has been away for `patience` since this call, or since it went away if that was later.
    pub async fn lasts(&self, patience: Duration) {
        let called = Instant::now();
        let mut news = self.since.subscribe();
        loop {
            let since = *news.borrow_and_update();
            let over = async {
                match since {
                    Some(since) => sleep_until(since.max(called) + patience).await,
                    None => pending().await,
                }
            };
            tokio::select! {
                () = over => return,
                // The sender is ours.
                _ = news.changed() => {}
            }
        }
    }

    /// Ready when the database is not known to be away.
    pub async fn is_over(&self) {
        let mut news = self.since.subscribe();
        let _ = news.wait_for(Option::is_none).await;
    }

    /// Begins by `attempt`, again and again for `patience` while what fails is the connection: after a restart of the database the pool is
    /// full of connections that nobody can use.
    pub async fn begin<T, F>(&self, patience: Duration, attempt: impl Fn() -> F) -> Result<T>
    where
        F: Future<Output = sqlx::Result<T>>,
    {
        let began = Instant::now();
        let attempts = async {
            loop {
                match attempt().await.map_err(DbError::from) {
                    Err(DbError::Unavailable(error)) => {
                        let left = patience.saturating_sub(began.elapsed());
                        if left < PAUSE || is_final(&error) {
                            return Err(DbError::Unavailable(error));
                        }
                        sleep(PAUSE).await;
                    }
                    other => return other,
                }
            }
        };
        tokio::pin!(attempts);
        let result = tokio::select! {
            result = &mut attempts => Some(result),
            () = sleep(self.suspicious.min(patience)) => {
                self.suspected(began);
                timeout_at(began + patience, attempts).await.ok()
            }
        };
        match result {
            // Whatever it says, it says something.
            Some(Ok(_) | Err(DbError::Fenced)) => self.answers(),
            _ => self.suspected(began),
        }
        result.unwrap_or(Err(DbError::Unavailable(sqlx::Error::PoolTimedOut)))
    }
}

/// Whether another attempt is of no use.
fn is_final(error: &sqlx::Error) -> bool {
    matches!(error, sqlx::Error::PoolClosed | sqlx::Error::PoolTimedOut)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{future::ready, sync::atomic::AtomicUsize};

    const PATIENCE: Duration = Duration::from_millis(300);

    fn outage() -> Outage {
        Outage {
            suspicious: Duration::from_millis(100),
            ..Outage::default()
        }
    }

    fn lost() -> sqlx::Error {
        sqlx::Error::Io(std::io::ErrorKind::ConnectionReset.into())
    }

    #[tokio::test]
    async fn broken_connections_are_passed_over() {
        let (outage, tries) = (outage(), AtomicUsize::new(0));
        let attempt = || match tries.fetch_add(1, Ordering::Relaxed) {
            0..3 => ready(Err(lost())),
            _ => ready(Ok("begun")),
        };
        assert_eq!(outage.begin(PATIENCE, attempt).await.unwrap(), "begun");
        assert!(outage.since.borrow().is_none());
    }

    #[tokio::test]
    async fn who_waits_for_a_hung_database_is_told_in_time() {
        let outage = outage();
        let began = Instant::now();
        let asking = outage.begin(PATIENCE, pending::<sqlx::Result<()>>);
        let (asked, told) = tokio::join!(asking, async {
            outage.lasts(PATIENCE / 2).await;
            began.elapsed()
        });
        assert!(asked.unwrap_err().is_transient());
        assert!(told >= PATIENCE / 2 && told < PATIENCE, "{told:?}");
        // A request that comes now gets its chance.
        let began = Instant::now();
        outage.lasts(PATIENCE / 2).await;
        assert!(began.elapsed() >= PATIENCE / 2);
        outage.begin(PATIENCE, || ready(Ok(()))).await.unwrap();
        outage.is_over().await;
        let well = tokio::time::timeout(PATIENCE, outage.lasts(Duration::ZERO)).await;
        assert!(well.is_err(), "there is no outage");
    }

    #[tokio::test]
    async fn a_busy_database_is_not_away() {
        let outage = outage();
        let waiting = outage.begin(PATIENCE, pending::<sqlx::Result<()>>);
        let others = async {
            for _ in 0..10 {
                sleep(Duration::from_millis(20)).await;
                outage.begin(PATIENCE, || ready(Ok(()))).await.unwrap();
            }
        };
        let (waited, ()) = tokio::join!(waiting, others);
        assert!(waited.is_err());
        assert!(outage.since.borrow().is_none());
    }
}
