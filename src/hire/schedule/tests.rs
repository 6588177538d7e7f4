use super::{super::text::tokens, *};
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
        ("at quarter to nine every day", "45 8 * * *"),
        ("at 12 am every day", "0 0 * * *"),
    ];
    for (text, cron) in cases {
        let reading = read(&tokens(text));
        assert_eq!(
            reading.found.as_ref().map(|when| when.cron.as_str()),
            Some(cron),
            "{text}: {:?}",
            reading.problem
        );
        assert!(croner::Cron::from_str(cron).is_ok(), "{cron}");
    }
}

#[test]
fn what_is_not_said_is_not_made_up() {
    let cases = [
        ("every Monday", "no time of day"),
        ("every other Monday at 9", "cannot be kept"),
        ("every 7 minutes", "cannot be kept"),
        ("twice a week at 9", "cannot be kept"),
        ("weekly at 9", "cannot be kept"),
        ("on the first Monday of the month at 9", "cannot be kept"),
        ("on the 31st of every month at 9", "cannot be kept"),
        ("every day at 9:00 and 9:30", "different minutes"),
        ("every hour at 9", "both an interval and a time"),
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
