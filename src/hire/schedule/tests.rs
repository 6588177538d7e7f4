use super::{super::text::tokens, *};
use crate::domain::recurrence::Recurrence;
use serde_json::json;
use std::str::FromStr;

#[test]
fn recurrences_become_cron() {
    let cases = [
        ("every weekday at nine", "0 9 * * 1-5"),
        ("each weekday at 9:30 am", "30 9 * * 1-5"),
        ("on weekdays at 9 a.m.", "0 9 * * 1-5"),
        ("Monday to Friday at 17:00", "0 17 * * 1-5"),
        ("Mon-Fri at 8", "0 8 * * 1-5"),
        ("every working day at half past eight", "30 8 * * 1-5"),
        ("daily at noon", "0 12 * * *"),
        ("every day at midnight", "0 0 * * *"),
        ("every morning at 8", "0 8 * * *"),
        ("every evening at 7", "0 19 * * *"),
        ("every Monday at 9am", "0 9 * * 1"),
        ("on Mondays and Thursdays at 14:15", "15 14 * * 1,4"),
        (
            "every Tuesday, Wednesday and Friday at five in the afternoon",
            "0 17 * * 2,3,5",
        ),
        ("every first of the month at 8", "0 8 1 * *"),
        ("on the 1st and 15th of every month at 10", "0 10 1,15 * *"),
        ("hourly", "0 * * * *"),
        ("every hour", "0 * * * *"),
        ("every 15 minutes", "*/15 * * * *"),
        ("every two hours", "0 */2 * * *"),
        ("at 9 and 17 every day", "0 9,17 * * *"),
        ("every weekday at 9 and 5", "0 9,17 * * 1-5"),
        ("at nine and five every day", "0 9,17 * * *"),
        ("at noon and 5 every day", "0 12,17 * * *"),
        ("at 9 am and 5 every day", "0 9,17 * * *"),
        ("every day at 10, 2 and 6", "0 10,14,18 * * *"),
        ("every day at 9:30 and 5:30", "30 9,17 * * *"),
        ("every day at 09:00 and 05:00", "0 5,9 * * *"),
        ("every day at 22 and 6", "0 6,22 * * *"),
        ("every day at 5 and 9 pm", "0 17,21 * * *"),
        ("every day at 9 and 5 pm", "0 9,17 * * *"),
        ("twice a day at 9 and 5", "0 9,17 * * *"),
        ("every hour between 9 and 5 every day", "0 9-17 * * *"),
        ("every hour between 5 and 9 pm every day", "0 17-21 * * *"),
        ("every hour from 9 to 5pm on Mondays", "0 9-17 * * 1"),
        ("at quarter to nine every day", "45 8 * * *"),
        ("at 12 am every day", "0 0 * * *"),
        ("every weekday except Friday at 9", "0 9 * * 1,2,3,4"),
        ("every day but Sunday at 9", "0 9 * * 1,2,3,4,5,6"),
        (
            "every day, except on Saturdays and Sundays, at 8",
            "0 8 * * 1,2,3,4,5",
        ),
        (
            "every morning other than Monday at 7",
            "0 7 * * 0,2,3,4,5,6",
        ),
        (
            "Monday to Friday excluding Wednesday at noon",
            "0 12 * * 1,2,4,5",
        ),
        (
            "every evening apart from Fridays at 7",
            "0 19 * * 0,1,2,3,4,6",
        ),
        ("every Monday at 9.30", "30 9 * * 1"),
        ("every day at 17.05", "5 17 * * *"),
        ("every 1st of the month at 0.15", "15 0 1 * *"),
        ("monthly on the 15th at 9", "0 9 15 * *"),
        ("Mondays 9am", "0 9 * * 1"),
    ];
    for (text, cron) in cases {
        let reading = read(&tokens(text));
        assert_eq!(
            reading
                .found
                .as_ref()
                .and_then(|when| when.recurrence.cron.as_deref()),
            Some(cron),
            "{text}: {:?}",
            reading.problem
        );
        assert!(croner::Cron::from_str(cron).is_ok(), "{cron}");
    }
}

#[test]
fn what_cron_cannot_say_becomes_a_recurrence_of_its_own() {
    let cases = [
        (
            "every second Tuesday at 9",
            json!({"rrule": "FREQ=WEEKLY;INTERVAL=2;BYDAY=TU", "at": ["09:00"]}),
        ),
        (
            "every other Friday at 4pm",
            json!({"rrule": "FREQ=WEEKLY;INTERVAL=2;BYDAY=FR", "at": ["16:00"]}),
        ),
        (
            "every other Monday and Thursday at noon",
            json!({"rrule": "FREQ=WEEKLY;INTERVAL=2;BYDAY=MO,TH", "at": ["12:00"]}),
        ),
        (
            "every other week on Monday at 9",
            json!({"rrule": "FREQ=WEEKLY;INTERVAL=2;BYDAY=MO", "at": ["09:00"]}),
        ),
        (
            "fortnightly on Fridays at 9",
            json!({"rrule": "FREQ=WEEKLY;INTERVAL=2;BYDAY=FR", "at": ["09:00"]}),
        ),
        (
            "every three weeks on Wednesdays at 10:30",
            json!({"rrule": "FREQ=WEEKLY;INTERVAL=3;BYDAY=WE", "at": ["10:30"]}),
        ),
        (
            "every two weeks from 3 March 2027 at 9",
            json!({"rrule": "FREQ=WEEKLY;INTERVAL=2", "at": ["09:00"], "start": "2027-03-03"}),
        ),
        (
            "every other day at 6 am",
            json!({"rrule": "FREQ=DAILY;INTERVAL=2", "at": ["06:00"]}),
        ),
        (
            "every 10 days at 7",
            json!({"rrule": "FREQ=DAILY;INTERVAL=10", "at": ["07:00"]}),
        ),
        (
            "on the first working day of each month at 8",
            json!({"working_day": {"nth": 1, "of": "month"}, "at": ["08:00"]}),
        ),
        (
            "on the last business day of the month at 5pm",
            json!({"working_day": {"nth": -1, "of": "month"}, "at": ["17:00"]}),
        ),
        (
            "every third working day of the month at 9",
            json!({"working_day": {"nth": 3, "of": "month"}, "at": ["09:00"]}),
        ),
        (
            "on the last working day of every quarter at 9",
            json!({"working_day": {"nth": -1, "of": "quarter"}, "at": ["09:00"]}),
        ),
        (
            "on the first Monday of the month at 9",
            json!({"rrule": "FREQ=MONTHLY;BYDAY=1MO", "at": ["09:00"]}),
        ),
        (
            "on the last Friday of each month at 16:00",
            json!({"rrule": "FREQ=MONTHLY;BYDAY=-1FR", "at": ["16:00"]}),
        ),
        (
            "on the last day of the month at 18:00",
            json!({"rrule": "FREQ=MONTHLY;BYMONTHDAY=-1", "at": ["18:00"]}),
        ),
        (
            "on the 15th and the last day at 9",
            json!({"rrule": "FREQ=MONTHLY;BYMONTHDAY=-1,15", "at": ["09:00"]}),
        ),
        (
            "on the 1st, the 15th and the last day of every month at 9",
            json!({"rrule": "FREQ=MONTHLY;BYMONTHDAY=-1,1,15", "at": ["09:00"]}),
        ),
        (
            "at the end of each quarter at 17:00",
            json!({"rrule": "FREQ=YEARLY;BYMONTH=3,6,9,12;BYMONTHDAY=-1", "at": ["17:00"]}),
        ),
        (
            "at the beginning of every quarter at 9",
            json!({"rrule": "FREQ=YEARLY;BYMONTH=1,4,7,10;BYMONTHDAY=1", "at": ["09:00"]}),
        ),
        (
            "every quarter at 9",
            json!({"rrule": "FREQ=YEARLY;BYMONTH=1,4,7,10;BYMONTHDAY=1", "at": ["09:00"]}),
        ),
        (
            "at the end of the month at 17:00",
            json!({"rrule": "FREQ=MONTHLY;BYMONTHDAY=-1", "at": ["17:00"]}),
        ),
        ("every 90 minutes", json!({"every": {"minutes": 90}})),
        ("every 7 minutes", json!({"every": {"minutes": 7}})),
        ("every 5 hours", json!({"every": {"minutes": 300}})),
        (
            "every 90 minutes on weekdays",
            json!({"every": {"minutes": 90}, "off_days": "skip"}),
        ),
        (
            "every 90 minutes between 9 and 17 on weekdays",
            json!({"rrule": "FREQ=WEEKLY;BYDAY=MO,TU,WE,TH,FR", "at": ["09:00", "10:30", "12:00", "13:30", "15:00", "16:30"]}),
        ),
        (
            "every hour between 9 and 17 on weekdays",
            json!({"cron": "0 9-17 * * 1-5"}),
        ),
        (
            "every hour from 9am to 5pm every day",
            json!({"cron": "0 9-17 * * *"}),
        ),
        (
            "every two hours between 8:30 and 16:30 on Mondays",
            json!({"cron": "30 8-16/2 * * 1"}),
        ),
        (
            "every half hour between 9 and 11 every Friday",
            json!({"rrule": "FREQ=WEEKLY;BYDAY=FR", "at": ["09:00", "09:30", "10:00", "10:30", "11:00"]}),
        ),
        (
            "every 15 minutes on weekdays",
            json!({"cron": "*/15 * * * 1-5"}),
        ),
        ("twice a day at 9 and 15", json!({"cron": "0 9,15 * * *"})),
        (
            "three times a day at 8, 12 and 16",
            json!({"cron": "0 8,12,16 * * *"}),
        ),
        (
            "twice a week on Mondays and Thursdays at 9",
            json!({"cron": "0 9 * * 1,4"}),
        ),
        (
            "every day at 9:00 and 9:30",
            json!({"rrule": "FREQ=DAILY", "at": ["09:00", "09:30"]}),
        ),
        (
            "every weekday at 9:15 and 16:45",
            json!({"rrule": "FREQ=WEEKLY;BYDAY=MO,TU,WE,TH,FR", "at": ["09:15", "16:45"]}),
        ),
        (
            "every Monday at 9 until 31 December",
            json!({"cron": "0 9 * * 1", "until": "12-31"}),
        ),
        (
            "every Monday at 9 until 31 December 2027",
            json!({"cron": "0 9 * * 1", "until": "2027-12-31"}),
        ),
        (
            "every weekday at 9 from March on",
            json!({"cron": "0 9 * * 1-5", "start": "03"}),
        ),
        (
            "every weekday at 9 starting on April 1st, 2027",
            json!({"cron": "0 9 * * 1-5", "start": "2027-04-01"}),
        ),
        (
            "every day at 9 from 2027-02-01 until 2027-02-14",
            json!({"cron": "0 9 * * *", "start": "2027-02-01", "until": "2027-02-14"}),
        ),
        (
            "from the 1st of May every hour until the 3rd of June",
            json!({"cron": "0 * * * *", "start": "05-01", "until": "06-03"}),
        ),
        // Days that are counted from the end.
        (
            "on the third last working day of the month at 9",
            json!({"working_day": {"nth": -3, "of": "month"}, "at": ["09:00"]}),
        ),
        (
            "on the second to last day of the month at 9",
            json!({"rrule": "FREQ=MONTHLY;BYMONTHDAY=-2", "at": ["09:00"]}),
        ),
        (
            "on the next-to-last Friday of each month at 16:00",
            json!({"rrule": "FREQ=MONTHLY;BYDAY=-2FR", "at": ["16:00"]}),
        ),
        (
            "on the penultimate business day of every quarter at 9",
            json!({"working_day": {"nth": -2, "of": "quarter"}, "at": ["09:00"]}),
        ),
        (
            "on the last but one day of the quarter at 9",
            json!({"rrule": "FREQ=YEARLY;BYMONTH=3,6,9,12;BYMONTHDAY=-2", "at": ["09:00"]}),
        ),
        (
            "on the 3rd-last working day of the month at 9",
            json!({"working_day": {"nth": -3, "of": "month"}, "at": ["09:00"]}),
        ),
        // Several of a month, and of a quarter.
        (
            "every 1st and 3rd Monday of the month at 9",
            json!({"rrule": "FREQ=MONTHLY;BYDAY=1MO,3MO", "at": ["09:00"]}),
        ),
        (
            "on the second, the fourth and the last Friday of every month at 10",
            json!({"rrule": "FREQ=MONTHLY;BYDAY=2FR,4FR,-1FR", "at": ["10:00"]}),
        ),
        (
            "on the first Monday of every quarter at 9",
            json!({"rrule": "FREQ=YEARLY;BYMONTH=1,4,7,10;BYDAY=1MO", "at": ["09:00"]}),
        ),
        (
            "on the last Friday of each quarter at 17:00",
            json!({"rrule": "FREQ=YEARLY;BYMONTH=3,6,9,12;BYDAY=-1FR", "at": ["17:00"]}),
        ),
        (
            "every 2nd Tuesday at 9",
            json!({"rrule": "FREQ=WEEKLY;INTERVAL=2;BYDAY=TU", "at": ["09:00"]}),
        ),
        (
            "every Monday from 1 February 2027 to 31 March 2027 at 9",
            json!({"cron": "0 9 * * 1", "start": "2027-02-01", "until": "2027-03-31"}),
        ),
        (
            "every 30 minutes between 8.30 and 10.00 every Friday",
            json!({"rrule": "FREQ=WEEKLY;BYDAY=FR", "at": ["08:30", "09:00", "09:30", "10:00"]}),
        ),
    ];
    let today = chrono::NaiveDate::from_ymd_opt(2027, 1, 4).expect("a date");
    for (text, expected) in cases {
        let reading = read(&tokens(text));
        let found = reading.found.map(|when| when.recurrence);
        let shown = serde_json::to_value(&found).expect("JSON");
        assert_eq!(shown, expected, "{text}: {:?}", reading.problem);
        assert!(
            reading
                .covered
                .iter()
                .zip(tokens(text))
                .all(|(covered, token)| *covered || token.is(',') || token.is_word("and")),
            "{text}: {:?}",
            reading.covered
        );
        let mut settled = found.expect("found");
        settled.settle(today);
        if let Err(error) = Recurrence::parse(&settled, "Europe/Zurich", Default::default()) {
            panic!("{text}: {error}");
        }
    }
}

#[test]
fn zones_are_read_or_asked_about() {
    let read = |text| read(&tokens(text));
    let eastern = read("every weekday at nine Eastern time")
        .found
        .expect("found");
    assert_eq!(eastern.zone.as_deref(), Some("America/New_York"));
    for (text, candidate) in [
        ("every day at 9 IST", "Asia/Kolkata"),
        ("every Monday at 9:30 CST", "America/Chicago"),
        ("daily at 9am BST", "Europe/London"),
        ("every 2nd of the month at 9 AST", "America/Halifax"),
        ("hourly from 9 to 17 GST", "Asia/Dubai"),
    ] {
        let reading = read(text);
        assert_eq!(reading.found, None, "{text}");
        assert!(
            reading
                .problem
                .as_deref()
                .is_some_and(|problem| problem.contains(candidate)),
            "{text}: {:?}",
            reading.problem
        );
    }
}

#[test]
fn what_is_not_said_is_not_made_up() {
    let cases = [
        ("every Monday", "no time of day"),
        ("every second Tuesday", "no time of day"),
        ("on the last working day of the month", "no time of day"),
        ("every third Tuesday at 9", "say which"),
        ("twice a week at 9", "on which days"),
        ("twice a day at 9", "gives 1 times of day"),
        ("three times a week on Mondays at 9", "gives 1 days"),
        ("weekly at 9", "on which day"),
        ("biweekly at 9", "cannot be kept"),
        ("every month at 9", "on which day"),
        ("every two months at 9", "on which day"),
        ("every two weeks at 9", "on which day"),
        (
            "on the 31st of every month at 9",
            "not every month has that day",
        ),
        ("every hour at 9", "both an interval and a time"),
        (
            "every hour and every Monday at 9 and every Friday",
            "more than one recurrence",
        ),
        ("every Monday between 9 and 17", "how often"),
        (
            "every minute between 9 and 17 on Mondays",
            "more than can be kept",
        ),
        ("every 7 minutes on Mondays", "do not divide a day"),
        ("every Monday at 9 until December", "on which day it ends"),
        ("every 30 seconds", "cannot be kept"),
        ("every 3rd Friday at 9", "say which"),
        (
            "on the first and last working day of the month at 9",
            "cannot be kept",
        ),
        (
            "on the 1st and 3rd Monday of every quarter at 9",
            "cannot be kept",
        ),
        ("every Monday except Mondays at 9", "cannot be kept"),
        (
            "on the fifth last Friday of the month at 9",
            "cannot be kept",
        ),
        ("twice a month at 9", "cannot be kept"),
        ("every day at 9 pm and 5", "before or after noon"),
        ("every day at 11, 3 and 2", "before or after noon"),
        ("every weekday between 9 and 5", "how often"),
    ];
    for (text, reason) in cases {
        let reading = read(&tokens(text));
        assert_eq!(reading.found, None, "{text}");
        assert!(
            reading
                .problem
                .as_deref()
                .is_some_and(|problem| problem.contains(reason)),
            "{text}: {:?}",
            reading.problem
        );
    }
    // What is listed is from March, not the work.
    for text in [
        "every Monday at 9 list the invoices from March",
        "daily at 8 list what is unpaid until 3 June",
    ] {
        let reading = read(&tokens(text));
        let recurrence = reading.found.expect(text).recurrence;
        assert_eq!((recurrence.start, recurrence.until), (None, None), "{text}");
        assert!(!reading.covered[reading.covered.len() - 1], "{text}");
    }
    for text in [
        "at nine",
        "on Monday at 9",
        "look at 5 invoices",
        "over 500",
        "every customer",
        "each invoice",
        "all day",
        "every time",
    ] {
        let reading = read(&tokens(text));
        assert_eq!(reading.found, None, "{text}");
    }
}
