//! How much may be on its way to one peer.

use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// For each peer, in each direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WindowLimits {
    /// Messages without an answer. A thousand in flight saturate one link several times over.
    pub messages: usize,
    /// Their bytes and those that their answers may have; a message and an answer of the greatest size fit.
    pub bytes: usize,
}

impl Default for WindowLimits {
    fn default() -> Self {
        Self {
            messages: 1_024,
            bytes: 64 * 1024 * 1024,
        }
    }
}

#[derive(Debug)]
pub(super) struct Window {
    limits: WindowLimits,
    messages: Arc<Semaphore>,
    bytes: Arc<Semaphore>,
}

/// A place in the window; given back when dropped.
#[derive(Debug)]
pub(super) struct Permit {
    _message: OwnedSemaphorePermit,
    _bytes: OwnedSemaphorePermit,
}

impl Window {
    pub(super) fn new(limits: WindowLimits) -> Self {
        Self {
            limits,
            messages: Arc::new(Semaphore::new(limits.messages)),
            bytes: Arc::new(Semaphore::new(limits.bytes.min(Semaphore::MAX_PERMITS))),
        }
    }

    /// A place, or at once that there is none.
    pub(super) fn enter(&self, bytes: usize) -> Option<Permit> {
        let bytes = u32::try_from(bytes).ok()?;
        Some(Permit {
            _message: self.messages.clone().try_acquire_owned().ok()?,
            _bytes: self.bytes.clone().try_acquire_many_owned(bytes).ok()?,
        })
    }

    /// Messages and bytes on their way.
    pub(super) fn in_use(&self) -> (usize, usize) {
        (
            self.limits.messages - self.messages.available_permits(),
            self.limits.bytes - self.bytes.available_permits(),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_are_bounded_and_given_back() {
        let window = Window::new(WindowLimits {
            messages: 2,
            bytes: 100,
        });
        let first = window.enter(60).unwrap();
        assert!(window.enter(50).is_none(), "bytes");
        let second = window.enter(40).unwrap();
        assert!(window.enter(0).is_none(), "messages");
        assert_eq!(window.in_use(), (2, 100));
        drop((first, second));
        assert_eq!(window.in_use(), (0, 0));
        assert!(window.enter(101).is_none());
    }
}
