//! Grants: how a connection comes to a credential and how the credential stays good.

mod credential;
mod secret;

pub use credential::{BadCredential, Credential, WAY_TOKEN};
pub use secret::Secret;
