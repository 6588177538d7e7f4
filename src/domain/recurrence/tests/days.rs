//! Rules of days: cron's, iCalendar's, working days.

use super::*;
use serde_json::json;

#[test]
fn expressions_that_no_date_meets_are_refused() {
    for text in [
        "0 0 30 2 *",
        "0 0 31 4,6 *",
        "0 0 31 2 *",
        "15 9 31 2,4,6,9,11 *",
        "*/5 * 30 FEB *",
        "0 12 30,31 2 *",
        "0 0 31 11 *",
    ] {
        let error =
            Recurrence::parse(&RecurrenceSpec::cron(text), "UTC", Arc::default()).expect_err(text);
        assert_eq!(error.field, "cron", "{text}");
        assert!(error.message.contains("day of month"), "{text}: {error}");
    }
    for text in [
        "0 0 29 2 *",
        "0 0 30 2 1",
        "0 0 31 * *",
        "0 0 31 4,5 *",
        "0 0 29 2 +1",
        "0 0 L 2 *",
        "0 0 * * 5#5",
    ] {
        cron(text, "Asia/Kathmandu");
    }
}

/// crontab(5): either of two day fields is enough, unless one of them begins with `*`.
#[test]
fn two_day_fields_go_together_as_crontab_says() {
    let cases = [
        // Mondays with an odd number, not all of both.
        (
            "0 9 */2 * 1",
            vec!["2027-01-11T09:00", "2027-01-25T09:00", "2027-02-01T09:00"],
        ),
        (
            "0 9 1-7 * */7",
            vec!["2027-01-03T09:00", "2027-02-07T09:00", "2027-03-07T09:00"],
        ),
        (
            "0 9 */100,1-7 * MON",
            vec!["2027-01-04T09:00", "2027-02-01T09:00", "2027-03-01T09:00"],
        ),
        (
            "0 9 * * */2",
            vec!["2027-01-02T09:00", "2027-01-03T09:00", "2027-01-05T09:00"],
        ),
        (
            "0 9 */10 * *",
            vec!["2027-01-01T09:00", "2027-01-11T09:00", "2027-01-21T09:00"],
        ),
        // Either is enough.
        (
            "0 9 1-31/2 * 1",
            vec!["2027-01-01T09:00", "2027-01-03T09:00", "2027-01-04T09:00"],
        ),
        (
            "0 9 13 * 5",
            vec!["2027-01-01T09:00", "2027-01-08T09:00", "2027-01-13T09:00"],
        ),
        (
            "0 9 1-31 * 1",
            vec!["2027-01-01T09:00", "2027-01-02T09:00", "2027-01-03T09:00"],
        ),
        (
            "0 9 1,15 * 0-6",
            vec!["2027-01-01T09:00", "2027-01-02T09:00", "2027-01-03T09:00"],
        ),
        (
            "0 9 ? * MON",
            vec!["2027-01-04T09:00", "2027-01-11T09:00", "2027-01-18T09:00"],
        ),
        (
            "0 9 * * 7",
            vec!["2027-01-03T09:00", "2027-01-10T09:00", "2027-01-17T09:00"],
        ),
    ];
    for (text, expected) in cases {
        let found = walls(&cron(text, "UTC"), "2026-12-31T12:00", expected.len());
        assert_eq!(found, expected, "{text}");
    }
}

/// Examples of RFC 5545, 3.8.5.3, and what its rules say of time zones.
#[test]
fn the_examples_of_icalendar_come_out() {
    let cases = [
        (
            json!({"rrule": "FREQ=WEEKLY;INTERVAL=2;COUNT=4;BYDAY=TU,SU;WKST=MO", "at": ["09:00"], "start": "1997-08-05"}),
            vec!["1997-08-05", "1997-08-10", "1997-08-19", "1997-08-24"],
        ),
        (
            json!({"rrule": "FREQ=WEEKLY;INTERVAL=2;COUNT=4;BYDAY=TU,SU;WKST=SU", "at": ["09:00"], "start": "1997-08-05"}),
            vec!["1997-08-05", "1997-08-17", "1997-08-19", "1997-08-31"],
        ),
        (
            json!({"rrule": "FREQ=MONTHLY;COUNT=6;BYDAY=-2MO", "at": ["09:00"], "start": "1997-09-22"}),
            vec![
                "1997-09-22",
                "1997-10-20",
                "1997-11-17",
                "1997-12-22",
                "1998-01-19",
                "1998-02-16",
            ],
        ),
        (
            json!({"rrule": "FREQ=MONTHLY;BYDAY=FR;BYMONTHDAY=13", "at": ["09:00"], "start": "1997-09-03"}),
            vec![
                "1998-02-13",
                "1998-03-13",
                "1998-11-13",
                "1999-08-13",
                "2000-10-13",
            ],
        ),
        (
            json!({"rrule": "FREQ=YEARLY;INTERVAL=4;BYMONTH=11;BYDAY=TU;BYMONTHDAY=2,3,4,5,6,7,8", "at": ["09:00"], "start": "1996-11-05"}),
            vec!["1996-11-05", "2000-11-07", "2004-11-02"],
        ),
        (
            json!({"rrule": "FREQ=MONTHLY;COUNT=3;BYDAY=TU,WE,TH;BYSETPOS=3", "at": ["09:00"], "start": "1997-09-04"}),
            vec!["1997-09-04", "1997-10-07", "1997-11-06"],
        ),
        (
            json!({"rrule": "FREQ=MONTHLY;COUNT=5;BYMONTHDAY=15,30", "at": ["09:00"], "start": "2007-01-15"}),
            vec![
                "2007-01-15",
                "2007-01-30",
                "2007-02-15",
                "2007-03-15",
                "2007-03-30",
            ],
        ),
        (
            json!({"rrule": "FREQ=YEARLY;BYDAY=20MO", "at": ["09:00"], "start": "1997-05-19"}),
            vec!["1997-05-19", "1998-05-18", "1999-05-17"],
        ),
        (
            json!({"rrule": "freq=weekly;byday=mo,fr", "at": ["09:00"], "start": "2027-01-01"}),
            vec!["2027-01-01", "2027-01-04", "2027-01-08"],
        ),
        // UNTIL is told in UTC: nine in the morning of the 19th in Jerusalem is six there.
        (
            json!({"rrule": "FREQ=WEEKLY;UNTIL=20230819T060000Z", "at": ["09:00"], "start": "2023-08-05"}),
            vec!["2023-08-05", "2023-08-12", "2023-08-19"],
        ),
        (
            json!({"rrule": "FREQ=WEEKLY;UNTIL=20230819T055959Z", "at": ["09:00"], "start": "2023-08-05"}),
            vec!["2023-08-05", "2023-08-12"],
        ),
    ];
    for (json, expected) in cases {
        let recurrence = parsed(json.clone(), "Asia/Jerusalem");
        let wanted = expected.len() + usize::from(json.to_string().contains("UNTIL"));
        let found = walls(&recurrence, "1990-01-01T00:00", wanted);
        let expected: Vec<String> = expected.iter().map(|day| format!("{day}T09:00")).collect();
        assert_eq!(found, expected, "{json}");
    }
}

#[test]
fn rules_give_their_days() {
    let cases = [
        (
            json!({"rrule": "FREQ=WEEKLY;INTERVAL=2;BYDAY=TU", "at": ["09:00"], "start": "2027-03-03"}),
            vec!["2027-03-16T09:00", "2027-03-30T09:00", "2027-04-13T09:00"],
        ),
        (
            json!({"rrule": "FREQ=WEEKLY;INTERVAL=2", "at": ["16:00"], "start": "2027-03-03"}),
            vec!["2027-03-03T16:00", "2027-03-17T16:00"],
        ),
        (
            json!({"rrule": "FREQ=MONTHLY;BYDAY=-1FR", "at": ["16:00"]}),
            vec!["2027-01-29T16:00", "2027-02-26T16:00"],
        ),
        (
            json!({"rrule": "FREQ=MONTHLY;BYMONTHDAY=15,-1", "at": ["08:00"]}),
            vec![
                "2027-01-15T08:00",
                "2027-01-31T08:00",
                "2027-02-15T08:00",
                "2027-02-28T08:00",
            ],
        ),
        (
            json!({"rrule": "FREQ=YEARLY;BYMONTH=3,6,9,12;BYMONTHDAY=-1", "at": ["17:30"]}),
            vec!["2027-03-31T17:30", "2027-06-30T17:30", "2027-09-30T17:30"],
        ),
        (
            json!({"rrule": "RRULE:FREQ=DAILY;BYHOUR=9,15"}),
            vec!["2027-01-01T09:00", "2027-01-01T15:00", "2027-01-02T09:00"],
        ),
        (
            json!({"rrule": "FREQ=DAILY;COUNT=2", "at": ["10:00"], "start": "2027-02-01"}),
            vec!["2027-02-01T10:00", "2027-02-02T10:00"],
        ),
        (
            json!({"rrule": "FREQ=DAILY;UNTIL=20270102", "at": ["23:00"]}),
            vec!["2027-01-01T23:00", "2027-01-02T23:00"],
        ),
        (
            json!({"rrule": "FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=29", "at": ["09:00"]}),
            vec!["2028-02-29T09:00", "2032-02-29T09:00"],
        ),
        (
            json!({"rrule": "FREQ=MONTHLY;BYDAY=MO,TU,WE,TH,FR;BYSETPOS=-1", "at": ["09:00"]}),
            vec!["2027-01-29T09:00", "2027-02-26T09:00"],
        ),
        (
            json!({"rrule": "FREQ=MONTHLY;INTERVAL=3", "at": ["09:00"], "start": "2027-01-31"}),
            vec!["2027-01-31T09:00", "2027-07-31T09:00", "2027-10-31T09:00"],
        ),
        (
            json!({"cron": "0 9 1 * *", "start": "2027-03-01", "until": "2027-05-01"}),
            vec!["2027-03-01T09:00", "2027-04-01T09:00", "2027-05-01T09:00"],
        ),
        (
            json!({"cron": "0 9 1 * *", "off_days": "next"}),
            vec![
                "2027-01-01T09:00",
                "2027-02-01T09:00",
                "2027-03-01T09:00",
                "2027-04-01T09:00",
                "2027-05-03T09:00",
            ],
        ),
        (
            json!({"cron": "0 9 1 * *", "off_days": "previous"}),
            vec![
                "2027-01-01T09:00",
                "2027-02-01T09:00",
                "2027-03-01T09:00",
                "2027-04-01T09:00",
                "2027-04-30T09:00",
            ],
        ),
        (
            json!({"cron": "0 9 1 * *", "off_days": "skip", "start": "2027-04-30"}),
            vec!["2027-06-01T09:00", "2027-07-01T09:00"],
        ),
        (
            json!({"working_day": {"nth": -1, "of": "quarter"}, "at": ["09:00", "15:00"]}),
            vec!["2027-03-31T09:00", "2027-03-31T15:00", "2027-06-30T09:00"],
        ),
        (
            json!({"working_day": {"nth": 1, "of": "month"}, "at": ["09:00"], "start": "2027-04-15"}),
            vec!["2027-05-03T09:00", "2027-06-01T09:00"],
        ),
    ];
    for (json, expected) in cases {
        let recurrence = parsed(json.clone(), "Europe/Zurich");
        let found = walls(&recurrence, "2026-12-31T23:59", expected.len());
        assert_eq!(found, expected, "{json}");
        let ends = json["until"].is_string()
            || json.to_string().contains("COUNT")
            || json.to_string().contains("UNTIL");
        assert_eq!(
            recurrence.upcoming(at("2026-12-31T22:59:00Z"), 50).len() < 50,
            ends,
            "{json}"
        );
    }
}

#[test]
fn holidays_move_what_falls_on_them() {
    let calendar: WorkingCalendar = serde_json::from_value(json!({"holidays": {"2027-01-01": "New Year's Day", "2027-01-29": "Inventory", "2027-05-03": "May Day, moved"}})).expect("a calendar");
    let calendar = Arc::new(calendar);
    let cases = [
        (
            json!({"working_day": {"nth": 1, "of": "month"}, "at": ["09:00"]}),
            "2027-01-04T09:00",
        ),
        (
            json!({"working_day": {"nth": -1, "of": "month"}, "at": ["09:00"]}),
            "2027-01-28T09:00",
        ),
        (
            json!({"working_day": {"nth": 2, "of": "year"}, "at": ["09:00"]}),
            "2027-01-05T09:00",
        ),
        (
            json!({"cron": "0 9 29 * *", "off_days": "previous"}),
            "2027-01-28T09:00",
        ),
        (
            json!({"cron": "0 9 29 * *", "off_days": "next"}),
            "2027-02-01T09:00",
        ),
        (
            json!({"cron": "0 9 29 1 *", "off_days": "skip"}),
            "2029-01-29T09:00",
        ),
        (
            json!({"every": {"minutes": 90}, "off_days": "skip"}),
            "2027-01-04T00:00",
        ),
        (
            json!({"cron": "*/15 * * * *", "off_days": "skip"}),
            "2027-01-04T00:00",
        ),
        (
            json!({"rrule": "FREQ=WEEKLY;BYDAY=FR", "at": ["10:00"], "off_days": "next"}),
            "2027-01-04T10:00",
        ),
    ];
    for (json, expected) in cases {
        let recurrence = Recurrence::parse(&spec(json.clone()), "Europe/Zurich", calendar.clone())
            .expect("good");
        assert_eq!(
            walls(&recurrence, "2026-12-31T23:59", 1),
            [expected],
            "{json}"
        );
    }
}

#[test]
fn wrong_recurrences_name_their_field() {
    let cases = [
        (json!({}), "cron"),
        (json!({"cron": "0 9 * * *", "rrule": "FREQ=DAILY"}), "cron"),
        (json!({"cron": "0 9 * *"}), "cron"),
        (json!({"cron": "61 9 * * *"}), "cron"),
        (json!({"cron": "0 9 * * *", "at": ["09:00"]}), "at"),
        (json!({"every": {"minutes": 0}}), "every"),
        (json!({"every": {"hours": 9_000}}), "every"),
        (
            json!({"every": {"minutes": 90}, "off_days": "next"}),
            "off_days",
        ),
        (json!({"rrule": "FREQ=WEEKLY;BYDAY=TU"}), "at"),
        (json!({"rrule": "FREQ=WEEKLY", "at": ["09:00"]}), "rrule"),
        (
            json!({"rrule": "FREQ=WEEKLY;INTERVAL=2;BYDAY=TU", "at": ["09:00"]}),
            "start",
        ),
        (json!({"rrule": "FREQ=HOURLY", "at": ["09:00"]}), "rrule"),
        (
            json!({"rrule": "FREQ=SECONDLY;INTERVAL=0", "at": ["09:00"]}),
            "rrule",
        ),
        (
            json!({"rrule": "FREQ=MONTHLY;BYMONTH=2;BYMONTHDAY=30", "at": ["09:00"]}),
            "rrule",
        ),
        (
            json!({"rrule": "FREQ=YEARLY;INTERVAL=4;BYMONTH=2;BYMONTHDAY=29", "at": ["09:00"], "start": "2027-01-01"}),
            "rrule",
        ),
        (
            json!({"rrule": "FREQ=DAILY;COUNT=100000000", "at": ["09:00"], "start": "2027-01-01"}),
            "rrule",
        ),
        (
            json!({"rrule": "FREQ=DAILY;UNTIL=tomorrow", "at": ["09:00"]}),
            "rrule",
        ),
        (
            json!({"rrule": "DTSTART:20270101T000000Z\nRRULE:FREQ=DAILY", "at": ["09:00"]}),
            "rrule",
        ),
        (json!({"rrule": "FREQ=DAILY", "at": ["25:00"]}), "at"),
        (
            json!({"working_day": {"nth": 0, "of": "month"}, "at": ["09:00"]}),
            "working_day.nth",
        ),
        (
            json!({"working_day": {"nth": 31, "of": "month"}, "at": ["09:00"]}),
            "working_day.nth",
        ),
        (
            json!({"cron": "0 9 * * *", "start": "1st of March"}),
            "start",
        ),
        (
            json!({"cron": "0 9 * * *", "start": "2027-03-01", "until": "2027-02-01"}),
            "until",
        ),
        (json!({"cron": "0 9 * * 0", "off_days": "skip"}), "off_days"),
        (
            json!({"cron": "0 9 1 1 *", "start": "2027-03-01", "until": "2027-04-01"}),
            "until",
        ),
    ];
    for (json, field) in cases {
        let error = Recurrence::parse(&spec(json.clone()), "Europe/Zurich", Arc::default())
            .expect_err(&json.to_string());
        assert_eq!(error.field, field, "{json}: {error}");
    }
    let error = Recurrence::parse(
        &RecurrenceSpec::cron("0 9 * * *"),
        "Mars/Base",
        Arc::default(),
    )
    .expect_err("no zone");
    assert_eq!(error.field, "time_zone");
}

/// The crate is begun anew near the day that is asked for; expanded from the beginning it has to say the same.
#[test]
fn rules_are_the_same_from_wherever_they_are_looked_at() {
    let rules = [
        "FREQ=DAILY;INTERVAL=3",
        "FREQ=DAILY;INTERVAL=10;BYMONTH=1,3",
        "FREQ=WEEKLY;INTERVAL=2;BYDAY=TU,TH",
        "FREQ=WEEKLY;INTERVAL=3;BYDAY=SU;WKST=SU",
        "FREQ=WEEKLY;INTERVAL=2;BYDAY=MO,SU;WKST=MO",
        "FREQ=WEEKLY;INTERVAL=2;BYDAY=MO,WE,FR;BYSETPOS=-1",
        "FREQ=MONTHLY;INTERVAL=5;BYDAY=2TU",
        "FREQ=MONTHLY;BYMONTHDAY=31",
        "FREQ=MONTHLY;INTERVAL=2;BYMONTHDAY=-2",
        "FREQ=YEARLY;INTERVAL=3;BYYEARDAY=1,100,200",
        "FREQ=YEARLY;BYWEEKNO=20;BYDAY=MO",
        "FREQ=YEARLY;BYDAY=20MO",
        "FREQ=YEARLY;INTERVAL=2;BYMONTH=1;BYDAY=SU",
    ];
    let start = NaiveDate::from_ymd_opt(2024, 2, 14).expect("a date");
    for text in rules {
        let whole: rrule::RRuleSet = format!("DTSTART:20240214T000000Z\nRRULE:{text}")
            .parse()
            .expect("a rule");
        let expected: Vec<NaiveDate> = whole
            .all(60)
            .dates
            .iter()
            .map(|at| at.date_naive())
            .collect();
        let days = rule::parse(text, Some(start)).expect("a rule").days;
        for pair in expected.windows(2) {
            for probe in [pair[0] + Days::new(1), pair[1]] {
                assert_eq!(
                    days.first_on_or_after(probe),
                    Some(pair[1]),
                    "{text} from {probe}"
                );
            }
        }
        assert_eq!(
            days.first_on_or_after(start - Days::new(400)),
            expected.first().copied(),
            "{text}"
        );
    }
}
