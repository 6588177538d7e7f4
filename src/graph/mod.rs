//! Graphs and runs: specs, validation, compilation to a plan, expressions, and the run machine. Pure: no io, no clock, no tokio.

pub mod budget;
pub mod compile;
pub mod error;
pub mod event;
pub mod expr;
pub mod fact;
pub mod markup;
pub mod plan;
pub mod run;
pub mod schema;
pub mod scope;
pub mod spec;
pub mod template;
pub mod text;

pub use budget::Budget;
pub use compile::{CapabilityInfo, CapabilityLookup, compile};
pub use error::{CompileError, CompileErrors};
pub use event::{CallExpr, EventExpr};
pub use fact::{
    ApprovalEnd, ApprovalRequest, Command, Decision, EventWait, Fact, FinalStatus, Later,
    NamedWait, Outcome, RunError, StepError, StepId, StopKind, TimerKey, TimerPurpose,
};
pub use markup::Markup;
pub use plan::{Plan, SKILL_NODE};
pub use run::{
    Agreed, Apart, Run, RunState, RunStatus, SkillView, StepContext, StepStatus, StepView, Waiting,
    Work,
};
pub use schema::json_schema;
pub use spec::{Durability, GraphSpec, yaml_to_value};
