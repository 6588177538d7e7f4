//! Clock changes.

use super::*;
use std::collections::BTreeSet;

/// What a cron expression of plain lists means, for the oracle.
struct Listed {
    minutes: BTreeSet<u32>,
    hours: BTreeSet<u32>,
    interval: bool,
}

impl Listed {
    fn fits(&self, wall: NaiveDateTime) -> bool {
        self.minutes.contains(&wall.minute()) && self.hours.contains(&wall.hour())
    }
}

/// Every minute that passes, with what the clocks show.
fn minutes(
    zone: Tz,
    from: DateTime<Utc>,
    to: DateTime<Utc>,
) -> Vec<(DateTime<Utc>, NaiveDateTime)> {
    let minutes = std::iter::successors(Some(from), |now| Some(*now + Duration::minutes(1)));
    minutes
        .take_while(|now| *now <= to)
        .map(|now| (now, now.with_timezone(&zone).naive_local()))
        .collect()
}

/// Watches the clock. A fixed time is due when the clocks reach or pass it for the first time.
fn oracle(listed: &Listed, watched: &[(DateTime<Utc>, NaiveDateTime)]) -> Vec<Timestamp> {
    let mut due = Vec::new();
    let mut reached = watched[0].1;
    for (now, wall) in &watched[1..] {
        let mut fits = listed.interval && listed.fits(*wall);
        while !listed.interval && reached < *wall {
            reached += Duration::minutes(1);
            fits |= listed.fits(reached);
        }
        if fits {
            due.push((*now).into());
        }
    }
    due
}

fn changes(zone: Tz) -> Vec<DateTime<Utc>> {
    let mut day = at("2026-01-01T12:00:00Z").to_chrono();
    let mut found = Vec::new();
    let offset = |at: DateTime<Utc>| at.with_timezone(&zone).naive_local() - at.naive_utc();
    while day < at("2027-12-31T00:00:00Z").to_chrono() {
        let next = day + Duration::days(1);
        if offset(day) != offset(next) {
            found.push(day);
        }
        day = next;
    }
    found
}

const ZONES: &[&str] = &[
    "Europe/Berlin",
    "America/New_York",
    "Australia/Lord_Howe",
    "Africa/Casablanca",
    "America/Santiago",
    "Asia/Kathmandu",
    "America/Havana",
    "Asia/Beirut",
    "Atlantic/Azores",
    "Pacific/Chatham",
    "America/St_Johns",
    "Antarctica/Troll",
    "Africa/Cairo",
    "America/Nuuk",
];

fn set(text: &str, all: u32) -> BTreeSet<u32> {
    let mut found = BTreeSet::new();
    for part in text.split(',') {
        let (range, step) = part.split_once('/').unwrap_or((part, "1"));
        let step: usize = step.parse().expect("a step");
        let (first, last) = match range.split_once('-') {
            Some((first, last)) => (first.parse().expect("first"), last.parse().expect("last")),
            None if range == "*" => (0, all - 1),
            None => (range.parse().expect("one"), range.parse().expect("one")),
        };
        found.extend((first..=last).step_by(step));
    }
    found
}

#[test]
fn cron_times_over_clock_changes_are_those_of_a_clock_that_is_watched() {
    let crons = [
        "0 1,2,3 * * *",
        "30 2 * * *",
        "0,30 1-3 * * *",
        "*/30 * * * *",
        "0 * * * *",
        "15,45 0-23 * * *",
        "0 0 * * *",
        "30 0 * * *",
        "0 0,12 * * *",
        "59 23 * * *",
        "5 0,1,2,3 * * *",
        "0 */2 * * *",
        "*/20 1-3 * * *",
        "7 * * * *",
        "10-50/20 0-4/2 * * *",
        "0 23,0,1 * * *",
    ];
    for name in ZONES {
        let zone: Tz = name.parse().expect("a zone");
        let mut days = changes(zone);
        if days.is_empty() {
            days.push(at("2027-03-28T12:00:00Z").to_chrono());
        }
        for day in days {
            let (from, to) = (day - Duration::hours(20), day + Duration::hours(44));
            let watched = minutes(zone, from - Duration::hours(3), to);
            for text in crons {
                let fields: Vec<&str> = text.split(' ').collect();
                let listed = Listed {
                    minutes: set(fields[0], 60),
                    hours: set(fields[1], 24),
                    interval: fields[0].starts_with('*') || fields[1].starts_with('*'),
                };
                let mut expected = oracle(&listed, &watched);
                expected.retain(|at| *at > from.into());
                let recurrence = cron(text, name);
                let found: Vec<Timestamp> =
                    std::iter::successors(recurrence.next_after(from.into()), |at| {
                        recurrence.next_after(*at)
                    })
                    .take_while(|at| *at <= to.into())
                    .collect();
                assert_eq!(found, expected, "{text} in {name} around {day}");
            }
        }
    }
}

#[test]
fn a_listed_time_that_the_clocks_leave_out_comes_once_at_the_end_of_the_gap() {
    let cases = [
        (
            "30 2 * * *",
            "Europe/Berlin",
            "2027-03-28T00:00",
            vec!["2027-03-28T03:00", "2027-03-29T02:30"],
        ),
        (
            "0 1,2,3 * * *",
            "Europe/Berlin",
            "2027-03-28T00:00",
            vec!["2027-03-28T01:00", "2027-03-28T03:00", "2027-03-29T01:00"],
        ),
        (
            "0,30 1-3 * * *",
            "America/New_York",
            "2027-03-14T00:00",
            vec![
                "2027-03-14T01:00",
                "2027-03-14T01:30",
                "2027-03-14T03:00",
                "2027-03-14T03:30",
            ],
        ),
        (
            "15 2 * * *",
            "Australia/Lord_Howe",
            "2026-10-04T00:00",
            vec!["2026-10-04T02:30", "2026-10-05T02:15"],
        ),
        (
            "0 0 * * *",
            "America/Santiago",
            "2026-09-05T12:00",
            vec!["2026-09-06T01:00", "2026-09-07T00:00"],
        ),
        (
            "30 0 1-31 * *",
            "Africa/Cairo",
            "2027-04-29T12:00",
            vec!["2027-04-30T01:00", "2027-05-01T00:30"],
        ),
        (
            "0 2 * * 0",
            "America/St_Johns",
            "2027-03-13T12:00",
            vec!["2027-03-14T03:00", "2027-03-21T02:00"],
        ),
    ];
    for (text, zone, after, expected) in cases {
        let recurrence = cron(text, zone);
        assert_eq!(
            walls(&recurrence, after, expected.len()),
            expected,
            "{text} in {zone}"
        );
    }
}

#[test]
fn a_listed_time_that_comes_twice_counts_the_first_time() {
    let cases = [
        (
            "30 2 * * *",
            "Europe/Berlin",
            "2027-10-31T00:00:00Z",
            "2027-10-31T00:30:00Z",
        ),
        (
            "0,30 1 * * *",
            "America/New_York",
            "2027-11-07T05:15:00Z",
            "2027-11-07T05:30:00Z",
        ),
        (
            "45 1 * * *",
            "Australia/Lord_Howe",
            "2027-04-03T14:40:00Z",
            "2027-04-03T14:45:00Z",
        ),
        (
            "30 23 * * *",
            "America/Santiago",
            "2027-04-04T02:00:00Z",
            "2027-04-04T02:30:00Z",
        ),
        (
            "30 0 * * *",
            "Atlantic/Azores",
            "2027-10-31T00:00:00Z",
            "2027-10-31T00:30:00Z",
        ),
    ];
    for (text, zone, after, first) in cases {
        let recurrence = cron(text, zone);
        let times = recurrence.upcoming(at(after), 2);
        assert_eq!(times[0], at(first), "{text} in {zone}");
        assert!(
            times[1].since(times[0]) >= std::time::Duration::from_secs(22 * 3_600),
            "{text} in {zone}: {times:?}"
        );
    }
}

#[test]
fn an_elapsed_length_takes_no_notice_of_clock_changes() {
    for (zone, minutes) in [
        ("Europe/Berlin", 90),
        ("America/New_York", 7),
        ("Australia/Lord_Howe", 60),
        ("Africa/Casablanca", 1_440),
        ("Asia/Kathmandu", 45),
        ("Pacific/Chatham", 2_880),
    ] {
        let recurrence = parsed(
            serde_json::json!({"every": {"minutes": minutes}, "start": "2027-01-01T09:00"}),
            zone,
        );
        let times = recurrence.upcoming(at("2026-12-31T00:00:00Z"), 500);
        assert_eq!(
            wall::local(recurrence.zone(), times[0]).to_string(),
            "2027-01-01 09:00:00"
        );
        for pair in times.windows(2) {
            assert_eq!(pair[1].since(pair[0]).as_secs(), minutes * 60, "{zone}");
        }
    }
}

#[test]
fn what_was_due_is_the_last_times_and_the_number_of_the_others() {
    let now = at("2027-06-01T12:00:30Z");
    let minutely = cron("* * * * *", "UTC");
    let due = minutely
        .due(at("2027-05-30T10:00:00Z"), now, 100)
        .expect("due");
    assert_eq!((due.last.len(), due.older), (100, 3_001 - 100));
    assert_eq!(due.last.last(), Some(&at("2027-06-01T12:00:00Z")));
    assert_eq!(due.last.first(), Some(&at("2027-06-01T10:21:00Z")));

    let daily = cron("0 9 * * *", "Europe/Berlin");
    let due = daily
        .due(at("2027-05-30T07:00:00Z"), now, 100)
        .expect("due");
    assert_eq!((due.last.len(), due.older), (3, 0));
    assert_eq!(daily.due(at("2027-06-02T07:00:00Z"), now, 100), None);

    // Fifty years of minutes are a bounded work and a lower bound.
    let due = minutely
        .due(at("1977-05-30T10:00:00Z"), now, 10)
        .expect("due");
    assert_eq!((due.last.len(), due.older), (10, COUNTED_MAX));
    assert_eq!(due.last.last(), Some(&at("2027-06-01T12:00:00Z")));
}
