//! The providers of `tenure dev`: Slack, QuickBooks, Gmail, GitHub and Stripe as real HTTP, with their own paths, shapes and errors,
//! so that an employee can work, and be tested, without an account anywhere.
//!
//! Every request is written to a record before it is answered, and the record is all the state there is: it is read again
//! at start, so that the sandbox remembers what it was told when its process is killed. The authorisation servers keep a journal
//! of their own. Faults and quotas are in memory.
//!
//! | asked with | what |
//! |---|---|
//! | `/{integration}/…` | the provider's API, with the sandbox's own token or one that was issued |
//! | `GET`, `DELETE /record` | what was asked; forgets it |
//! | `POST`, `GET`, `DELETE /faults` | `{integration, kind, count, ms, target: api\|token, path}`: failures on purpose |
//! | `POST`, `GET`, `DELETE /quotas` | `{integration, path, requests, per_seconds, headers, window, per, marker}`: limits, and who was let through |
//! | `/oauth/{integration}/authorize`, `…/token`, `…/revoke` | the authorisation server; also at the provider's own paths ([`oauth`]) |
//! | `POST`, `GET /oauth/settings` | clients, lifetimes, rotation, PKCE |
//! | `POST /oauth/expire`, `/oauth/revoke_grant` | `{integration, grant, what: access\|refresh\|all}`: ends tokens or grants |
//! | `GET /oauth/grants`, `/oauth/log`, `DELETE /oauth` | what is granted; each token request; forgets all of it |
//! | `POST /slack/send_event`, `/slack/click`, `/slack/command`, `/slack/url_verification` | sends what Slack sends |
//! | `POST /github/deliver`, `/stripe/deliver` | sends a signed webhook |
//!
//! | module | what |
//! |---|---|
//! | [`routes`] | the HTTP surface; [`control`] its `/record`, `/faults` and `/quotas` |
//! | [`book`] | the one thread that owns the state and writes the record |
//! | [`record`] | the file, and reading it again; [`journal`] the same for less |
//! | [`world`] | what the providers know; `slack`, `quickbooks`, `gmail`, `github`, `stripe` answer from it |
//! | [`oauth`] | the authorisation servers |
//! | [`quotas`] | limits and their headers |
//! | [`send`] | events, clicks and webhooks |
//! | [`socket`] | connections that can be cut without an answer |

pub mod book;
pub mod call;
mod control;
pub mod faults;
mod fields;
mod github;
mod gmail;
mod journal;
mod lex;
mod mail;
mod oauth;
mod problem;
mod query;
mod quickbooks;
mod quotas;
pub mod record;
pub mod routes;
mod seed;
mod send;
mod slack;
mod socket;
mod stripe;
mod urlencoded;
pub mod world;

#[cfg(test)]
mod tests;

pub use call::Provider;
pub use faults::{Fault, FaultKind};
pub use seed::REALM_ID;

use crate::connect::{Account, Quota};
use book::Book;
use chrono::NaiveDate;
use secrecy::SecretString;
use serde_json::{Map, Value};
use std::{io, net::SocketAddr, path::PathBuf, time::Duration};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// How long a shutdown waits for answers that are under way.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(1);

#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    #[error("the sandbox cannot listen on {address}")]
    Listen {
        address: SocketAddr,
        #[source]
        source: io::Error,
    },
    #[error("the sandbox's record {path}")]
    Record {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// A line that is not the last one cannot be read.
    #[error("the sandbox's record {path} is damaged at line {line}; remove it to start anew")]
    Damaged { path: PathBuf, line: u64 },
}

/// An account at a sandbox provider, as a connection would hold it.
#[derive(Clone, Debug)]
pub struct SandboxAccount {
    /// The integration's id in the catalog.
    pub integration: &'static str,
    pub account: Account,
    pub token: SecretString,
}

/// The demo company's accounts at the sandbox that serves at `url`. Their quota is generous: the sandbox counts only when told to.
pub fn accounts_at(url: &str) -> Vec<SandboxAccount> {
    accounts_of(&Provider::DEMO, url)
}

fn accounts_of(providers: &[Provider], url: &str) -> Vec<SandboxAccount> {
    let quota = Quota {
        requests: 100_000,
        per_seconds: 1,
        burst: 100_000,
    };
    let account = |provider: Provider| {
        let mut data = Map::new();
        if provider == Provider::Quickbooks {
            data.insert("realm_id".into(), Value::String(REALM_ID.into()));
        }
        let base_url = format!("{}/{}", url.trim_end_matches('/'), provider.name());
        SandboxAccount {
            integration: provider.name(),
            account: Account {
                base_url,
                data,
                quota: Some(quota),
            },
            token: provider.token().into(),
        }
    };
    providers.iter().copied().map(account).collect()
}

/// The sandbox; see [`Sandbox::start`].
pub struct Sandbox;

/// A sandbox that is running. Dropping it stops it at once.
#[derive(Debug)]
pub struct SandboxHandle {
    address: SocketAddr,
    stop: CancellationToken,
    server: Option<JoinHandle<()>>,
    book: Book,
}

impl Sandbox {
    /// Listens on `listen` (port 0: any) and keeps the record in `data_dir`. The demo invoices' dates count from `today`.
    ///
    /// # Errors
    /// The address is taken, or the record cannot be opened or read.
    pub async fn start(
        listen: SocketAddr,
        data_dir: PathBuf,
        today: NaiveDate,
    ) -> Result<SandboxHandle, SandboxError> {
        let open = tokio::task::spawn_blocking(move || Book::open(&data_dir, today));
        let book = open.await.map_err(|error| SandboxError::Record {
            path: "record".into(),
            source: io::Error::other(error),
        })??;
        let failed = |source| SandboxError::Listen {
            address: listen,
            source,
        };
        let listener = tokio::net::TcpListener::bind(listen)
            .await
            .map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let stop = CancellationToken::new();
        let sender = send::Sender::new().map_err(|error| failed(io::Error::other(error)))?;
        let router = routes::router(book.clone(), sender, stop.clone());
        let service = router.into_make_service_with_connect_info::<socket::Switch>();
        let stopped = stop.clone().cancelled_owned();
        let server = tokio::spawn(async move {
            let serving = axum::serve(socket::CuttableListener(listener), service)
                .with_graceful_shutdown(stopped);
            if let Err(error) = serving.await {
                tracing::error!(%error, "the sandbox stopped serving");
            }
        });
        Ok(SandboxHandle {
            address,
            stop,
            server: Some(server),
            book,
        })
    }
}

impl SandboxHandle {
    /// `http://` and the address, without a slash at the end.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn accounts(&self) -> Vec<SandboxAccount> {
        accounts_at(&self.url())
    }

    /// One at every provider.
    pub fn all_accounts(&self) -> Vec<SandboxAccount> {
        accounts_of(&Provider::ALL, &self.url())
    }

    /// Stops taking requests, lets those under way end (a second at most; those that hang are cut).
    pub async fn shutdown(mut self) {
        self.stop.cancel();
        if let Some(server) = self.server.take() {
            let abort = server.abort_handle();
            if tokio::time::timeout(SHUTDOWN_GRACE, server).await.is_err() {
                abort.abort();
            }
        }
        self.book.close().await;
    }
}

impl Drop for SandboxHandle {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}
