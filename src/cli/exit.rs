//! Exit codes: a contract with scripts.

use super::client::ClientError;
use std::io;

/// How the process ends. The numbers do not change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    Ok = 0,
    Failed = 1,
    /// The command line is wrong, or something that only it can say is missing.
    Usage = 2,
    NotFound = 3,
    /// The service said no: wrong key, role too low, or a conflict with what is.
    Refused = 4,
    Unreachable = 5,
}

/// An error of a verb's own that decides the exit code.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    pub exit: Exit,
    pub message: String,
}

impl Failure {
    pub fn failed(message: impl Into<String>) -> anyhow::Error {
        Self::with(Exit::Failed, message)
    }
    pub fn usage(message: impl Into<String>) -> anyhow::Error {
        Self::with(Exit::Usage, message)
    }
    pub fn not_found(message: impl Into<String>) -> anyhow::Error {
        Self::with(Exit::NotFound, message)
    }
    pub fn unreachable(message: impl Into<String>) -> anyhow::Error {
        Self::with(Exit::Unreachable, message)
    }
    pub fn with(exit: Exit, message: impl Into<String>) -> anyhow::Error {
        Self {
            exit,
            message: message.into(),
        }
        .into()
    }
}

/// The exit code for an error of a verb.
pub fn code_of(error: &anyhow::Error) -> Exit {
    for cause in error.chain() {
        if let Some(failure) = cause.downcast_ref::<Failure>() {
            return failure.exit;
        }
        if let Some(client) = cause.downcast_ref::<ClientError>() {
            return client.exit();
        }
        if cause.is::<crate::config::ConfigError>()
            || cause.is::<crate::telemetry::log::LogFilterError>()
        {
            return Exit::Usage;
        }
        if is_broken_pipe(cause) {
            return Exit::Ok;
        }
    }
    Exit::Failed
}

/// Whoever read our output has heard enough (`tenure runs | head`): no failure.
pub fn is_broken_pipe(cause: &(dyn std::error::Error + 'static)) -> bool {
    cause
        .downcast_ref::<io::Error>()
        .is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}
