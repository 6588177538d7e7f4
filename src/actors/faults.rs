//! Where a test can make an actor break down, or wait. In a service nothing is installed and each point costs one test of a pointer.

use crate::domain::{ConnectionId, EmployeeId, ExecutionId};
use std::sync::Arc;
use tokio::sync::oneshot;

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
    /// It was read from the database and is not in the directory yet.
    EmployeeRead {
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
type Pause = Arc<dyn Fn(FaultPoint) -> Option<oneshot::Receiver<()>> + Send + Sync>;

/// Decides which points break, and which wait. Default: none.
#[derive(Clone, Default)]
pub struct Faults {
    breaks: Option<Hook>,
    waits: Option<Pause>,
}

impl Faults {
    /// `hook` answers true where the actor should panic.
    pub fn with(hook: impl Fn(FaultPoint) -> bool + Send + Sync + 'static) -> Self {
        Self {
            breaks: Some(Arc::new(hook)),
            waits: None,
        }
    }

    /// `hook` answers what is waited for at the point.
    pub fn pausing(
        hook: impl Fn(FaultPoint) -> Option<oneshot::Receiver<()>> + Send + Sync + 'static,
    ) -> Self {
        Self {
            breaks: None,
            waits: Some(Arc::new(hook)),
        }
    }

    pub(super) async fn pause(&self, point: FaultPoint) {
        if let Some(hook) = &self.waits
            && let Some(until) = hook(point)
        {
            let _ = until.await;
        }
    }

    pub(super) fn reach(&self, point: FaultPoint) {
        if let Some(hook) = &self.breaks
            && hook(point)
        {
            panic!("injected fault at {point:?}");
        }
    }
}
