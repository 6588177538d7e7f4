//! Who is who between nodes: mutual TLS with a private certificate authority for each cluster.
//!
//! A node's certificate names the cluster and the node twice: as a URI (`tenure://<cluster>/node/<uuid>`), which both sides read, and as
//! a DNS name (`<uuid>.<cluster>.node.tenure.internal`), which the standard verifier of a client checks without code of ours. Whoever has
//! no certificate of this authority does not get past the handshake.

mod authority;
mod config;
mod files;
mod name;
mod reload;

pub use authority::{Authority, Issued};
pub use config::{Tls, TlsError};
pub use files::{TlsFiles, write_private};
pub use name::{ClusterName, PeerName};
pub use reload::TlsReloader;
