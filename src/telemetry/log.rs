//! Logging to stderr, which never holds up or ends what it tells about.
//!
//! Lines go through a bounded queue to a thread of their own. A line that does not fit, or that stderr does not take (a full disk, a pipe
//! that nobody reads), is dropped and counted: an actor or a request must not wait for a log, and must not panic over it.

use std::sync::Mutex;
use tracing_appender::non_blocking::{ErrorCounter, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::EnvFilter;

/// Lines that wait for stderr at most.
const QUEUE_LINES: usize = 8 * 1024;
/// The variable that goes before every configured filter.
const VARIABLE: &str = "RUST_LOG";

/// Writes what is queued when it is dropped.
static WRITER: Mutex<Option<WorkerGuard>> = Mutex::new(None);
static DROPPED: Mutex<Option<ErrorCounter>> = Mutex::new(None);

/// The filter of the log cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("{source_name} `{filter}` is not a log filter such as info or tenure=debug,warn: {reason}")]
pub struct LogFilterError {
    /// The variable or the configuration key that it came from.
    source_name: &'static str,
    filter: String,
    reason: String,
}

/// Starts logging to stderr. `filter` is as in `RUST_LOG`, which goes before it.
///
/// # Errors
/// The filter that counts cannot be read.
pub fn init(filter: &str, json: bool) -> Result<(), LogFilterError> {
    let variable = std::env::var(VARIABLE).ok().filter(|text| !text.is_empty());
    let filter = match &variable {
        Some(text) => parse(VARIABLE, text)?,
        None => parse("log", filter)?,
    };
    let (writer, guard) = NonBlockingBuilder::default()
        .buffered_lines_limit(QUEUE_LINES)
        .lossy(true)
        .thread_name("log")
        .finish(std::io::stderr());
    let dropped = writer.error_counter();
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .log_internal_errors(false)
        .with_writer(writer);
    let started = if json {
        builder.json().try_init()
    } else {
        builder.try_init()
    };
    // A second start in one process (tests) keeps the first.
    if started.is_ok() {
        replace(&WRITER, guard);
        replace(&DROPPED, dropped);
    }
    Ok(())
}

/// Writes what is queued, for a second at most. To be called last: what is logged afterwards is dropped.
pub fn flush() {
    drop(lock(&WRITER).take());
}

/// Lines that were dropped because the queue was full.
pub fn dropped_lines() -> usize {
    lock(&DROPPED)
        .as_ref()
        .map_or(0, ErrorCounter::dropped_lines)
}

fn parse(source_name: &'static str, text: &str) -> Result<EnvFilter, LogFilterError> {
    EnvFilter::builder()
        .parse(text)
        .map_err(|error| LogFilterError {
            source_name,
            filter: text.into(),
            reason: error.to_string(),
        })
}

fn replace<T>(place: &Mutex<Option<T>>, value: T) {
    *lock(place) = Some(value);
}

fn lock<T>(place: &Mutex<Option<T>>) -> std::sync::MutexGuard<'_, Option<T>> {
    place
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filter_that_cannot_be_read_is_refused_with_its_source() {
        for good in ["info", "tenure=debug,warn", "off", "warn,sqlx::query=trace"] {
            assert!(parse("log", good).is_ok(), "{good}");
        }
        for bad in [
            "tenure=loud",
            "info,=",
            "a=b=c",
            "tenure[=info",
            "info, tenure=verbose",
        ] {
            let error = parse("log", bad).expect_err(bad).to_string();
            assert!(error.starts_with(&format!("log `{bad}`")), "{error}");
        }
    }
}
