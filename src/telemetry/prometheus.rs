//! The recorder behind `/metrics`: what each metric means, and histograms whose buckets can be added up over nodes.

use metrics::{Unit, describe_counter, describe_gauge, describe_histogram};
use metrics_exporter_prometheus::{BuildError, PrometheusBuilder, PrometheusHandle};
use std::time::Duration;

/// Upper bounds of the buckets of every duration, in seconds: from half a millisecond, which is a commit on a good disk, to the longest
/// that a client waits.
const SECONDS: [f64; 15] = [
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
];
/// How often [`PrometheusHandle::run_upkeep`] has to be called: what is recorded is held as it came until then.
pub const UPKEEP_EVERY: Duration = Duration::from_secs(5);

#[derive(Clone, Copy)]
enum Kind {
    Counter,
    Gauge,
    Histogram,
}
use Kind::{Counter, Gauge, Histogram};

/// Every metric: its name, kind, unit and meaning. A test holds this against the names that are recorded.
#[rustfmt::skip]
const METRICS: &[(&str, Kind, Unit, &str)] = &[
    ("tenure_actors", Gauge, Unit::Count, "Live actors."),
    ("tenure_build_info", Gauge, Unit::Count, "Always 1; the labels name the build."),
    ("tenure_effects_ambiguous_total", Counter, Unit::Count, "Writes to the outside whose outcome became unknown."),
    ("tenure_employees_awake", Gauge, Unit::Count, "Employees in memory."),
    ("tenure_employees_quarantined_total", Counter, Unit::Count, "Employees that were held because they crashed too often."),
    ("tenure_events_received_total", Counter, Unit::Count, "Events from outside, by scheme and first verdict."),
    ("tenure_events_settled_total", Counter, Unit::Count, "Events from outside, by final verdict."),
    ("tenure_heap_allocated_bytes", Gauge, Unit::Bytes, "Bytes that the program holds on its heap."),
    ("tenure_http_request_seconds", Histogram, Unit::Seconds, "Time to answer a request, by method and route."),
    ("tenure_http_requests_total", Counter, Unit::Count, "Answered requests, by method, route and class of status."),
    ("tenure_inbox_behind", Gauge, Unit::Count, "1 while more events wait in the database than fit into memory, else 0."),
    ("tenure_inbox_waiting", Gauge, Unit::Count, "Events in memory whose verdict is open."),
    ("tenure_journal_appends_total", Counter, Unit::Count, "Journal entries that were committed."),
    ("tenure_journal_commit_seconds", Histogram, Unit::Seconds, "Time to commit a batch of journal entries."),
    ("tenure_journal_commits_total", Counter, Unit::Count, "Committed batches of journal entries."),
    ("tenure_log_dropped_lines", Gauge, Unit::Count, "Log lines since the start that stderr did not take in time."),
    ("tenure_mailbox_age_seconds_max", Gauge, Unit::Seconds, "Age of the oldest message in any mailbox."),
    ("tenure_mailbox_depth_max", Gauge, Unit::Count, "Messages in the deepest mailbox."),
    ("tenure_runs_finished_total", Counter, Unit::Count, "Runs that ended, by status."),
    ("tenure_runs_repaired_total", Counter, Unit::Count, "Stranded runs that the sweeper took up."),
    ("tenure_runs_stranded", Gauge, Unit::Count, "Unfinished runs that nothing would wake; 0 if all is well."),
    ("tenure_runs_unfinished", Gauge, Unit::Count, "Unfinished runs, by status."),
];

/// Installs the recorder of this process, once.
///
/// # Errors
/// There is one already.
pub fn install() -> Result<PrometheusHandle, BuildError> {
    let handle = PrometheusBuilder::new()
        .set_buckets(&SECONDS)?
        .install_recorder()?;
    for (name, kind, unit, help) in METRICS {
        match kind {
            Counter => describe_counter!(*name, *unit, *help),
            Gauge => describe_gauge!(*name, *unit, *help),
            Histogram => describe_histogram!(*name, *unit, *help),
        }
    }
    metrics::gauge!("tenure_build_info", "version" => env!("CARGO_PKG_VERSION")).set(1.0);
    metrics_process::Collector::default().describe();
    Ok(handle)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    /// Texts between quotes that begin with our prefix.
    fn names_in(source: &str) -> BTreeSet<&str> {
        let texts = source.split('"').skip(1).step_by(2);
        texts.filter(|text| text.starts_with("tenure_")).collect()
    }

    #[test]
    fn every_recorded_metric_is_described_and_every_described_one_is_recorded() {
        let this = include_str!("prometheus.rs");
        let recorded_here = this.split("pub fn install").nth(1).expect("the installer");
        let recorded_here = recorded_here.split("#[cfg(test)]").next().expect("code");
        let mut recorded = names_in(include_str!("../telemetry.rs"));
        recorded.extend(names_in(recorded_here));
        let described: BTreeSet<&str> = METRICS.iter().map(|(name, ..)| *name).collect();
        assert_eq!(described, recorded);
        assert_eq!(described.len(), METRICS.len(), "one line a metric");
    }

    #[test]
    fn counters_alone_end_in_total() {
        for (name, kind, ..) in METRICS {
            assert_eq!(name.ends_with("_total"), matches!(kind, Counter), "{name}");
        }
    }
}
