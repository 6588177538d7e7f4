//! Where a test can make an actor break down. In a service nothing is installed and each point costs one test of a pointer.

use crate::domain::{ConnectionId, EmployeeId, ExecutionId};
use std::sync::Arc;

/// A place in the code that a test can break.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultPoint {
    MicroAgent {
        execution: ExecutionId,
    },
    Skill {
        execution: ExecutionId,
    },
    Employee {
        employee: EmployeeId,
    },
    /// One try of a call to the outside.
    Call {
        connection: ConnectionId,
        at: CallPoint,
    },
    /// A connector takes this message.
    Connector {
        connection: ConnectionId,
        message: &'static str,
    },
}

/// How far a call to the outside is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallPoint {
    /// It has its turn.
    Begun,
    /// It has its credential.
    Ready,
    /// The note that it leaves is durable.
    Noted,
    /// What came of it is known here.
    Answered,
    /// Its connector has not been told yet.
    Returning,
}

type Hook = Arc<dyn Fn(FaultPoint) -> bool + Send + Sync>;

/// Decides which points break. Default: none.
#[derive(Clone, Default)]
pub struct Faults(Option<Hook>);

impl Faults {
    /// `hook` answers true where the actor should panic.
    pub fn with(hook: impl Fn(FaultPoint) -> bool + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(hook)))
    }

    pub(super) fn reach(&self, point: FaultPoint) {
        if let Some(hook) = &self.0
            && hook(point)
        {
            panic!("injected fault at {point:?}");
        }
    }
}
