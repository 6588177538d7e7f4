//! What nodes say to each other, byte for byte.
//!
//! Everything begins with its version and is made of fields with a tag and a length (`wire`): an old reader steps over what it does not
//! know, a new one takes the default for what is not there. A release speaks its own protocol and the one before, so that a cluster can
//! be upgraded node by node.

mod envelope;
mod hello;
mod reply;
mod wire;

pub use envelope::{Envelope, MAX_BODY, MAX_ENVELOPE};
pub use hello::{Hello, MAX_HELLO, PROTOCOL, ProtocolRange, Refusal, Verdict};
pub use reply::{HandlerError, Reply};
pub use wire::WireError;
