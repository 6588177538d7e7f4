//! Work whose cost is an author's or a sender's choice: expressions and texts.
//!
//! What is cheap, and nearly all is, is done in place. What needs more than [`INLINE_FUEL`] units is begun again on a thread that is kept
//! for such work, one at a time for each org, with the whole budget and a limit of time. So nothing that an author writes or somebody sends
//! holds back the runtime's threads, or another org for longer than one evaluation. What waits for its turn is bounded by the steps and
//! events that were admitted.
//!
//! What a run's machine evaluates itself has to be done before its next fact, by the employee that has the run: [`off_worker`].

use crate::{
    connect::policy::{Asked, PolicySet, Verdict},
    domain::OrgId,
    graph::budget::{Budget, FUEL, INLINE_FUEL, TIME_MS},
};
use dashmap::DashMap;
use std::{
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::{
    runtime::{Handle, RuntimeFlavor},
    sync::Semaphore,
};

/// Evaluations of all orgs that may go on side by side on threads of their own.
const THREADS: usize = 4;

/// The thread ended without a result: it panicked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the evaluation broke down")]
pub struct BrokeDown;

pub struct Evaluations {
    threads: Arc<Semaphore>,
    /// The turns of each org that has something here.
    orgs: DashMap<OrgId, Weak<Semaphore>>,
}

impl Default for Evaluations {
    fn default() -> Self {
        Self {
            threads: Arc::new(Semaphore::new(THREADS)),
            orgs: DashMap::new(),
        }
    }
}

/// Sets its flag when it is dropped: whoever waits for an evaluation has left, or its time is over.
struct Stop(Arc<AtomicBool>);

impl Drop for Stop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Does it here and now, however long it takes. If this thread is one of the runtime's, the runtime has another one for everything else
/// meanwhile; only what belongs to the same task waits.
pub fn off_worker<T>(work: impl FnOnce() -> T) -> T {
    match Handle::try_current().map(|runtime| runtime.runtime_flavor()) {
        Ok(RuntimeFlavor::MultiThread) => tokio::task::block_in_place(work),
        _ => work(),
    }
}

/// Does it in place, if it is cheap. `None`: it needs more, see [`Evaluations::apart`].
pub fn in_place<T>(work: impl FnOnce(&Budget) -> T) -> Option<T> {
    let budget = Budget::new(INLINE_FUEL);
    let done = work(&budget);
    (!budget.is_spent()).then_some(done)
}

impl Evaluations {
    /// Does it on a thread of its own. It ends soon after whoever waits for it is gone.
    ///
    /// # Errors
    /// If it panicked.
    pub async fn apart<T: Send + 'static>(
        &self,
        org: OrgId,
        work: impl FnOnce(&Budget) -> T + Send + 'static,
    ) -> Result<T, BrokeDown> {
        let turns = self.turns(org);
        // Neither is ever closed.
        let turn = turns.acquire_owned().await.map_err(|_| BrokeDown)?;
        let thread = self.threads.clone().acquire_owned().await;
        let thread = thread.map_err(|_| BrokeDown)?;
        let stop = Stop(Arc::default());
        let flag = stop.0.clone();
        let mut done = tokio::task::spawn_blocking(move || {
            let _both = (turn, thread);
            work(&Budget::until(FUEL, flag))
        });
        tokio::select! {
            ended = &mut done => ended.map_err(|_| BrokeDown),
            () = tokio::time::sleep(Duration::from_millis(TIME_MS)) => {
                drop(stop);
                done.await.map_err(|_| BrokeDown)
            }
        }
    }

    /// Does it in place or apart, whatever it needs.
    ///
    /// # Errors
    /// If it panicked on a thread of its own.
    pub async fn run<T: Send + 'static>(
        &self,
        org: OrgId,
        work: impl Fn(&Budget) -> T + Send + 'static,
    ) -> Result<T, BrokeDown> {
        match in_place(&work) {
            Some(done) => Ok(done),
            None => self.apart(org, work).await,
        }
    }

    /// What the rules of an org say of a call.
    ///
    /// # Errors
    /// As [`Evaluations::apart`].
    pub async fn verdict(
        &self,
        org: OrgId,
        rules: &Arc<PolicySet>,
        asked: &Asked<'_>,
    ) -> Result<Verdict, BrokeDown> {
        if let Some(verdict) = in_place(|budget| rules.decide(asked, budget)) {
            return Ok(verdict);
        }
        let (rules, asked) = (rules.clone(), asked.to_owned());
        self.apart(org, move |budget| rules.decide(&asked.borrow(), budget))
            .await
    }

    fn turns(&self, org: OrgId) -> Arc<Semaphore> {
        let mut known = self.orgs.entry(org).or_default();
        if let Some(turns) = known.upgrade() {
            return turns;
        }
        let turns = Arc::new(Semaphore::new(1));
        *known = Arc::downgrade(&turns);
        drop(known);
        // Whoever comes anew takes those with him that have left.
        self.orgs.retain(|_, turns| turns.strong_count() > 0);
        turns
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    fn an_org() -> OrgId {
        OrgId::from_uuid(Uuid::new_v4())
    }

    #[tokio::test]
    async fn cheap_work_is_done_in_place_and_expensive_work_apart() {
        let evaluations = Evaluations::default();
        let here = std::thread::current().id();
        let org = an_org();
        let cost = |units: u64| {
            move |budget: &Budget| budget.charge(units).map(|()| std::thread::current().id())
        };
        let cheap = evaluations.run(org, cost(10)).await.expect("done");
        assert_eq!(cheap, Ok(here));
        let expensive = evaluations.run(org, cost(INLINE_FUEL + 1)).await;
        assert_ne!(expensive.expect("done"), Ok(here));
    }

    /// The only thread of the runtime has work that does not end before something else was done.
    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn what_is_done_off_the_workers_holds_back_no_other_task() {
        let (tell, told) = std::sync::mpsc::channel();
        let (begun, begins) = tokio::sync::oneshot::channel();
        let long = tokio::spawn(async move {
            off_worker(|| {
                let _ = begun.send(());
                told.recv_timeout(Duration::from_secs(10))
            })
        });
        begins.await.expect("begins");
        tokio::spawn(async move { tell.send("done") });
        assert_eq!(long.await.expect("ended"), Ok("done"));
    }

    #[tokio::test]
    async fn a_runtime_of_one_thread_does_it_there() {
        let here = std::thread::current().id();
        assert_eq!(off_worker(|| std::thread::current().id()), here);
    }

    #[test]
    fn no_runtime_is_needed() {
        assert_eq!(off_worker(|| 1), 1);
    }

    #[tokio::test]
    async fn an_evaluation_that_nobody_waits_for_any_more_stops() {
        let evaluations = Arc::new(Evaluations::default());
        let (told, mut ended) = tokio::sync::mpsc::unbounded_channel();
        let org = an_org();
        let (begun, begins) = tokio::sync::oneshot::channel();
        let waiting = tokio::spawn({
            let evaluations = evaluations.clone();
            async move {
                let work = move |budget: &Budget| {
                    let _ = begun.send(());
                    let error = loop {
                        if let Err(error) = budget.charge(0) {
                            break error;
                        }
                        std::thread::yield_now();
                    };
                    let _ = told.send(error);
                };
                evaluations.apart(org, work).await
            }
        });
        begins.await.expect("begins");
        waiting.abort();
        assert_eq!(
            ended.recv().await,
            Some(crate::graph::expr::EvalError::Stopped)
        );
    }

    #[tokio::test]
    async fn an_org_has_one_turn_at_a_time_and_leaves_nothing_behind() {
        let evaluations = Evaluations::default();
        let org = an_org();
        let first = evaluations.turns(org);
        assert!(Arc::ptr_eq(&first, &evaluations.turns(org)));
        drop(first);
        let _other = evaluations.turns(an_org());
        assert_eq!(evaluations.orgs.len(), 1, "only the one that is there");
    }
}
