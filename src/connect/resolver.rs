//! The resolver of the HTTP client: of a name's addresses it gives only those that calls may go to.

use super::address::{AddressError, Addresses};
use futures::future::BoxFuture;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use std::{
    fmt, io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

/// How names are looked up: by the system, unless a test says otherwise.
#[derive(Clone)]
pub struct Names(Arc<dyn Fn(String) -> BoxFuture<'static, io::Result<Vec<IpAddr>>> + Send + Sync>);

impl Default for Names {
    fn default() -> Self {
        Self::new(|name| async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            Ok(found.map(|at| at.ip()).collect())
        })
    }
}

impl fmt::Debug for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Names")
    }
}

impl Names {
    pub fn new<F, A>(look_up: F) -> Self
    where
        F: Fn(String) -> A + Send + Sync + 'static,
        A: Future<Output = io::Result<Vec<IpAddr>>> + Send + 'static,
    {
        Self(Arc::new(move |name| Box::pin(look_up(name))))
    }

    /// The addresses of a name that may be connected to.
    ///
    /// # Errors
    /// If it has none at all, or none of these.
    pub(super) async fn open(
        &self,
        name: &str,
        addresses: &Addresses,
        secure: bool,
    ) -> Result<Vec<IpAddr>, LookupError> {
        let mut found = (self.0)(name.to_owned()).await?;
        let mut refused = None;
        found.retain(|address| match addresses.check(*address, secure) {
            Ok(()) => true,
            Err(error) => {
                refused = Some(error);
                false
            }
        });
        match (found.is_empty(), refused) {
            (true, Some(error)) => Err(error.into()),
            _ => Ok(found),
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub(super) enum LookupError {
    #[error(transparent)]
    Unknown(#[from] io::Error),
    /// It leads nowhere but inside.
    #[error("the name {0}")]
    Refused(#[from] AddressError),
}

/// For one kind of connection: with TLS, or without.
pub(super) struct Policed {
    pub names: Names,
    pub addresses: Addresses,
    pub secure: bool,
}

impl Resolve for Policed {
    fn resolve(&self, name: Name) -> Resolving {
        let (names, addresses, secure) = (self.names.clone(), self.addresses.clone(), self.secure);
        Box::pin(async move {
            let open = names.open(name.as_str(), &addresses, secure).await?;
            let open = open.into_iter().map(|address| SocketAddr::new(address, 0));
            Ok(Box::new(open) as Addrs)
        })
    }
}
