//! The one thread that owns the sandbox's state. Requests queue up; it takes what is there, carries them out in order, writes their
//! lines in one go and only then answers them. So no lock is held anywhere, and what was answered is in the record.

use super::{
    SandboxError,
    call::{Answer, Call, Provider},
    faults::{BadFault, Ending, Fault, FaultKind, Faults},
    mail,
    record::{Entry, Page, Record},
    world::{self, World},
};
use chrono::NaiveDate;
use serde_json::{Value, json};
use std::{path::Path, sync::mpsc, thread};
use tokio::sync::oneshot;

/// Requests that are carried out before their lines are written.
const BATCH: usize = 256;

/// Asks the thread; cheap to clone. The queue is bounded by the open connections, one request each.
#[derive(Clone, Debug)]
pub struct Book(mpsc::Sender<Order>);

/// The sandbox is stopping.
#[derive(Debug, thiserror::Error)]
#[error("the sandbox has stopped")]
pub struct Stopped;

/// What to send to the caller, and how.
#[derive(Debug)]
pub struct Served {
    pub answer: Answer,
    pub ending: Ending,
}

enum Order {
    Serve(Box<Call>, oneshot::Sender<Served>),
    Page {
        provider: Option<Provider>,
        after: u64,
        limit: usize,
        reply: oneshot::Sender<Page>,
    },
    Reset(oneshot::Sender<std::io::Result<()>>),
    AddFault(Fault, oneshot::Sender<Result<(), BadFault>>),
    ListFaults(oneshot::Sender<Vec<Fault>>),
    ClearFaults(oneshot::Sender<()>),
    Close(oneshot::Sender<()>),
}

impl Book {
    /// Reads the record in `folder` and starts the thread, which ends with the last clone. Blocking.
    pub(super) fn open(folder: &Path, today: NaiveDate) -> Result<Self, SandboxError> {
        let mut world = World::new(today);
        let record = Record::open(folder, |entry| {
            if entry.was_applied() {
                world.answer(&entry.to_call());
            }
        })?;
        let (orders, inbox) = mpsc::channel();
        let keeper = Keeper {
            record,
            world,
            today,
            faults: Faults::default(),
            waiting: Vec::new(),
        };
        let spawned = thread::Builder::new()
            .name("sandbox-record".into())
            .spawn(move || keeper.run(&inbox));
        spawned.map_err(|source| SandboxError::Record {
            path: folder.into(),
            source,
        })?;
        Ok(Self(orders))
    }

    async fn ask<T>(&self, order: impl FnOnce(oneshot::Sender<T>) -> Order) -> Result<T, Stopped> {
        let (reply, answer) = oneshot::channel();
        self.0.send(order(reply)).map_err(|_| Stopped)?;
        answer.await.map_err(|_| Stopped)
    }

    pub async fn serve(&self, call: Call) -> Result<Served, Stopped> {
        self.ask(|reply| Order::Serve(Box::new(call), reply)).await
    }
    pub async fn page(
        &self,
        provider: Option<Provider>,
        after: u64,
        limit: usize,
    ) -> Result<Page, Stopped> {
        self.ask(|reply| Order::Page {
            provider,
            after,
            limit,
            reply,
        })
        .await
    }
    /// Forgets the record and everything that followed from it.
    pub async fn reset(&self) -> Result<std::io::Result<()>, Stopped> {
        self.ask(Order::Reset).await
    }
    pub async fn add_fault(&self, fault: Fault) -> Result<Result<(), BadFault>, Stopped> {
        self.ask(|reply| Order::AddFault(fault, reply)).await
    }
    pub async fn faults(&self) -> Result<Vec<Fault>, Stopped> {
        self.ask(Order::ListFaults).await
    }
    pub async fn clear_faults(&self) -> Result<(), Stopped> {
        self.ask(Order::ClearFaults).await
    }
    pub(super) async fn close(&self) {
        let _ = self.ask(Order::Close).await;
    }
}

struct Keeper {
    record: Record,
    world: World,
    today: NaiveDate,
    faults: Faults,
    /// Carried out, not yet answered, because their lines are not written.
    waiting: Vec<(oneshot::Sender<Served>, Served)>,
}

impl Keeper {
    fn run(mut self, inbox: &mpsc::Receiver<Order>) {
        while let Ok(first) = inbox.recv() {
            let mut order = Some(first);
            while let Some(next) = order {
                if !self.carry_out(next) {
                    return;
                }
                order = if self.waiting.len() < BATCH {
                    inbox.try_recv().ok()
                } else {
                    None
                };
            }
            self.settle();
        }
    }

    /// Whoever is gone does not want the reply.
    fn carry_out(&mut self, order: Order) -> bool {
        match order {
            Order::Serve(call, reply) => {
                let served = self.serve(*call);
                self.waiting.push((reply, served));
            }
            Order::Page {
                provider,
                after,
                limit,
                reply,
            } => {
                self.settle();
                let _ = reply.send(self.record.page(provider, after, limit));
            }
            Order::Reset(reply) => {
                self.settle();
                self.world = World::new(self.today);
                let _ = reply.send(self.record.reset());
            }
            Order::AddFault(fault, reply) => drop(reply.send(self.faults.add(fault))),
            Order::ListFaults(reply) => drop(reply.send(self.faults.list())),
            Order::ClearFaults(reply) => {
                self.faults.clear();
                let _ = reply.send(());
            }
            Order::Close(reply) => {
                self.settle();
                let _ = reply.send(());
                return false;
            }
        }
        true
    }

    /// Writes what was carried out, then answers it.
    fn settle(&mut self) {
        let written = self.record.flush();
        for (reply, mut served) in self.waiting.drain(..) {
            if let Err(error) = &written {
                tracing::error!(%error, "the sandbox cannot write its record");
                served = refusal(507, &format!("the record cannot be written: {error}"));
            }
            let _ = reply.send(served);
        }
    }

    fn serve(&mut self, mut call: Call) -> Served {
        if self.record.is_full() {
            return refusal(507, "the record is full: DELETE /record starts anew");
        }
        let fault = self.faults.take(call.provider);
        let ending = Ending::of(fault);
        let answer = match fault {
            Some((FaultKind::Status429, ms)) => {
                world::too_many(call.provider, ms.unwrap_or(1_000).div_ceil(1_000).max(1))
            }
            Some((FaultKind::Status500, _)) => world::broken(call.provider),
            _ => world::refuse_token(&call).unwrap_or_else(|| self.world.answer(&call)),
        };
        if call.provider == Provider::Gmail {
            mail::add_readable(&mut call.body);
        }
        let refused = !(200..300).contains(&answer.status);
        let status = match ending {
            // Closed without an answer; but what was not carried out must not look as if it had been.
            Ending::CloseAfter(_) if !refused => None,
            _ => Some(answer.status),
        };
        let entry = Entry {
            seq: self.record.next_seq(),
            at: call.at,
            integration: call.provider,
            method: call.method,
            path: call.path,
            query: call.query,
            idempotency_key: call.idempotency_key,
            body: call.body,
            status,
        };
        match self.record.push(&entry) {
            Ok(()) => Served { answer, ending },
            Err(error) => refusal(507, &error.to_string()),
        }
    }
}

fn refusal(status: u16, detail: &str) -> Served {
    let body: Value =
        json!({"type": "about:blank", "title": "sandbox", "status": status, "detail": detail});
    Served {
        answer: Answer::new(status, body),
        ending: Ending::Answer,
    }
}
