//! The one thread that owns the sandbox's state. Requests queue up; it takes what is there, carries them out in order, writes their
//! lines in one go and only then answers them. So no lock is held anywhere, and what was answered is in the record.

use super::{
    SandboxError,
    call::{Answer, Call, Provider},
    faults::{Ending, FaultKind, Faults, Target},
    mail,
    oauth::{OAuth, TokenRequest},
    quotas::Quotas,
    record::{Entry, Record},
    world::{self, With200, World},
};
use chrono::NaiveDate;
use serde_json::{Value, json};
use std::{io, path::Path, sync::mpsc, thread};
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

impl From<Answer> for Served {
    fn from(answer: Answer) -> Self {
        Self {
            answer,
            ending: Ending::Answer,
        }
    }
}

enum Order {
    Serve(Box<Call>, oneshot::Sender<Served>),
    /// Anything else; replies by itself.
    Job(Box<dyn FnOnce(&mut Keeper) + Send>),
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
        let oauth = OAuth::open(folder)?;
        let (orders, inbox) = mpsc::channel();
        let keeper = Keeper {
            record,
            world,
            today,
            oauth,
            faults: Faults::default(),
            quotas: Quotas::default(),
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
    /// Has the thread do something with what it owns, after everything that was asked before is written and answered.
    pub(super) async fn with<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Keeper) -> T + Send + 'static,
    ) -> Result<T, Stopped> {
        self.ask(|reply| {
            Order::Job(Box::new(move |keeper| {
                // Whoever is gone does not want the reply.
                let _ = reply.send(work(keeper));
            }))
        })
        .await
    }
    pub(super) async fn close(&self) {
        let _ = self.ask(Order::Close).await;
    }
}

/// What the thread owns.
pub(super) struct Keeper {
    pub record: Record,
    pub world: World,
    today: NaiveDate,
    pub oauth: OAuth,
    pub faults: Faults,
    pub quotas: Quotas,
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

    /// False if that was the last order.
    fn carry_out(&mut self, order: Order) -> bool {
        match order {
            Order::Serve(call, reply) => {
                let served = self.serve(*call);
                self.waiting.push((reply, served));
            }
            Order::Job(job) => {
                self.settle();
                job(self);
            }
            Order::Close(reply) => {
                self.settle();
                let _ = reply.send(());
                return false;
            }
        }
        true
    }

    /// Forgets the record and everything that followed from it; the authorisation servers remember.
    pub fn reset(&mut self) -> io::Result<()> {
        self.world = World::new(self.today);
        self.record.reset()
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
        let fault = self.faults.take(call.provider, Target::Api, &call.path);
        let ending = Ending::of(fault);
        let refused = fault.and_then(|(kind, ms)| refused_by(call.provider, kind, ms));
        let is_refused = refused.is_some();
        let (answer, token_refused) = match refused {
            Some(answer) => (answer, false),
            None => self.answer(&call),
        };
        let answer = match fault {
            Some((FaultKind::Empty200, _)) if answer.status < 300 => Answer::ok(json!({})),
            Some((FaultKind::Html200, _)) if answer.status < 300 => {
                Answer::ok("<!DOCTYPE html><html><body>Sign in</body></html>".into())
                    .with_header("content-type", "text/html; charset=utf-8")
            }
            _ => answer,
        };
        if call.provider == Provider::Gmail {
            mail::add_readable(&mut call.body);
        }
        let refused = token_refused || is_refused || !(200..300).contains(&answer.status);
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
            // An error with status 200 must not look like something that was done.
            refused: token_refused || (is_refused && answer.status < 300),
        };
        match self.record.push(&entry) {
            Ok(()) => Served { answer, ending },
            Err(error) => refusal(507, &error.to_string()),
        }
    }

    /// The provider's own answer: to a token that is not good (then true), to too many requests, or to what was asked.
    fn answer(&mut self, call: &Call) -> (Answer, bool) {
        let account = if world::is_open(call) {
            String::new()
        } else {
            match self.oauth.admit(call) {
                Ok(account) => account,
                Err(refusal) => return (world::refuse_token(call.provider, refusal), true),
            }
        };
        let (mut answer, headers) = match self.quotas.meet(call, &account) {
            Ok(headers) => (self.world.answer(call), headers),
            Err(over) => {
                let answer = world::too_many(call.provider, over.retry_after_seconds);
                (answer, over.headers)
            }
        };
        answer.headers.extend(headers);
        (answer, false)
    }

    /// A request to a token endpoint. It is kept by the journal of the authorisation servers, not by the record.
    pub fn token(&mut self, request: &TokenRequest) -> Served {
        let provider = request.integration;
        let fault = self.faults.take(provider, Target::Token, "/token");
        let refused = fault.and_then(|(kind, ms)| Some((kind, refused_by(provider, kind, ms)?)));
        if let Some((kind, answer)) = refused {
            let item = request.log_item(request.grant_type());
            self.oauth.log_fault(request.at, item, kind);
            return answer.into();
        }
        let answered = self
            .oauth
            .token(request, fault.map(|(kind, _)| kind.name()));
        let answer = answered.unwrap_or_else(|error| refusal(507, &error.to_string()).answer);
        Served {
            answer,
            ending: Ending::of(fault),
        }
    }
}

/// What a fault that carries nothing out answers.
fn refused_by(provider: Provider, kind: FaultKind, ms: Option<u64>) -> Option<Answer> {
    match kind {
        FaultKind::Status429 => {
            let seconds = ms.unwrap_or(1_000).div_ceil(1_000).max(1);
            Some(world::too_many(provider, seconds))
        }
        FaultKind::Status500 => Some(world::broken(provider)),
        FaultKind::Error200 => Some(world::error_with_200(provider, With200::Error)),
        FaultKind::Limit200 => Some(world::error_with_200(provider, With200::Limit)),
        FaultKind::Token200 => Some(world::error_with_200(provider, With200::Token)),
        _ => None,
    }
}

fn refusal(status: u16, detail: &str) -> Served {
    let body: Value =
        json!({"type": "about:blank", "title": "sandbox", "status": status, "detail": detail});
    Answer::new(status, body).into()
}
