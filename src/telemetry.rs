//! Every metric and event name in one place, and how logging is set up.

pub mod log;
pub mod prometheus;
pub mod trace;

use std::time::Duration;

/// Committed batches of the journal: how many appends, how long it took.
pub fn commit(appends: usize, took: Duration) {
    metrics::counter!("tenure_journal_commits_total").increment(1);
    metrics::counter!("tenure_journal_appends_total").increment(appends as u64);
    metrics::histogram!("tenure_journal_commit_seconds").record(took.as_secs_f64());
}

/// A run ended; `status` as the API says it.
pub fn run_finished(status: &'static str) {
    metrics::counter!("tenure_runs_finished_total", "status" => status).increment(1);
}

pub fn ambiguous() {
    metrics::counter!("tenure_effects_ambiguous_total").increment(1);
}

/// An event came from outside; `verdict` as far as it is known at once, or `duplicate`.
pub fn event_received(scheme: &'static str, verdict: &'static str) {
    metrics::counter!("tenure_events_received_total", "scheme" => scheme, "verdict" => verdict)
        .increment(1);
}

/// It is known what became of an event.
pub fn event_settled(verdict: &'static str) {
    metrics::counter!("tenure_events_settled_total", "verdict" => verdict).increment(1);
}

/// Events in memory that nothing has become of yet; and whether there are more in the database.
pub fn inbox_waiting(events: usize, behind: bool) {
    metrics::gauge!("tenure_inbox_waiting").set(events as f64);
    metrics::gauge!("tenure_inbox_behind").set(if behind { 1.0 } else { 0.0 });
}

pub fn quarantined() {
    metrics::counter!("tenure_employees_quarantined_total").increment(1);
}

/// Unfinished runs that are accepted, running, waiting; and those that nothing will wake, of which there should be none.
pub fn unfinished(by_status: [i64; 3], stranded: usize) {
    for (status, count) in ["accepted", "running", "waiting"]
        .into_iter()
        .zip(by_status)
    {
        metrics::gauge!("tenure_runs_unfinished", "status" => status).set(count as f64);
    }
    metrics::gauge!("tenure_runs_stranded").set(stranded as f64);
    if stranded > 0 {
        metrics::counter!("tenure_runs_repaired_total").increment(stranded as u64);
    }
}

/// Live actors, awake employees, deepest mailbox and the age of the oldest message in any.
pub fn actors(live: usize, awake: usize, (depth, age): (usize, Duration)) {
    metrics::gauge!("tenure_actors").set(live as f64);
    metrics::gauge!("tenure_employees_awake").set(awake as f64);
    metrics::gauge!("tenure_mailbox_depth_max").set(depth as f64);
    metrics::gauge!("tenure_mailbox_age_seconds_max").set(age.as_secs_f64());
}

/// What is measured when somebody reads the metrics: memory, descriptors and processor time of this process, and log lines that were lost. The
/// resident set is larger than the heap: it has what the allocator keeps for a moment.
pub fn observe_process() {
    use tikv_jemalloc_ctl::{epoch, stats};
    if epoch::advance().is_ok()
        && let Ok(allocated) = stats::allocated::read()
    {
        metrics::gauge!("tenure_heap_allocated_bytes").set(allocated as f64);
    }
    metrics::gauge!("tenure_log_dropped_lines").set(log::dropped_lines() as f64);
    metrics_process::Collector::default().collect();
}

/// The metrics of one HTTP route, looked up once: a request then costs two additions. `route` is the pattern, never the path: ids
/// would make a series each.
pub struct RouteMetrics {
    took: metrics::Histogram,
    answered: [metrics::Counter; 5],
}

impl RouteMetrics {
    pub fn new(method: &str, route: &'static str) -> Self {
        let method = method.to_owned();
        let answered = ["1xx", "2xx", "3xx", "4xx", "5xx"].map(|status| {
            metrics::counter!("tenure_http_requests_total", "method" => method.clone(), "route" => route, "status" => status)
        });
        Self {
            took: metrics::histogram!("tenure_http_request_seconds", "method" => method, "route" => route),
            answered,
        }
    }

    pub fn answered(&self, status: u16, took: Duration) {
        let class = usize::from(status / 100).clamp(1, 5) - 1;
        self.answered[class].increment(1);
        self.took.record(took.as_secs_f64());
    }
}
