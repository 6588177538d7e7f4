use super::*;
use crate::sandbox::seed;
use chrono::NaiveDate;

fn ids(query: &str) -> Result<Vec<String>, String> {
    let rows = seed::invoices(NaiveDate::from_ymd_opt(2026, 11, 21).unwrap());
    let found = Query::parse(query)?.run(&rows)?;
    Ok(found
        .into_iter()
        .map(|row| row["DocNumber"].as_str().unwrap().to_owned())
        .collect())
}

#[test]
fn conditions_and_order() {
    let cases = [
        (
            "select * from Invoice where Balance > '500' and DueDate < '2026-10-22' orderby DueDate",
            "1007 1001 1003 1005",
        ),
        (
            "SELECT * FROM Invoice WHERE Balance>'500' AND CustomerRef = '6' ORDER BY Balance DESC",
            "1006 1012",
        ),
        (
            "select * from Invoice where DocNumber IN ('1002', '1004')",
            "1002 1004",
        ),
        (
            "select * from Invoice where DocNumber like '%10' and TotalAmt >= '1800'",
            "1010",
        ),
        (
            "select * from Invoice where Balance = '0' orderby TotalAmt asc, Id",
            "1011 1004",
        ),
        ("select * from Invoice where DocNumber = 'O\\'Hara\\\\'", ""),
    ];
    for (query, expected) in cases {
        assert_eq!(ids(query).unwrap().join(" "), expected, "{query}");
    }
    let page = Query::parse("select count(*) from Invoice startposition 3 maxresults 7").unwrap();
    assert_eq!((page.count, page.start, page.most), (true, 3, 7));
}

#[test]
fn mistakes_are_named() {
    for (query, expected) in [
        ("", "expected select, found the end"),
        ("delete from Invoice", "expected select, found delete"),
        ("select * from", "expected an entity, found the end"),
        (
            "select * from Invoice where Balance > 500",
            "expected a value in single quotes, found 500",
        ),
        (
            "select * from Invoice where Balance > '500' or Id = '1'",
            "unexpected or",
        ),
        (
            "select * from Invoice where Balance > '500",
            "a value without its closing quote",
        ),
        (
            "select * from Invoice where Colour = 'red'",
            "property Colour not found for Entity Invoice",
        ),
        (
            "select * from Invoice maxresults 1001",
            "maxresults is out of its range",
        ),
        ("select * from Invoice; drop", "unexpected character ;"),
    ] {
        assert_eq!(ids(query).unwrap_err(), expected, "{query}");
    }
}

#[test]
fn patterns() {
    for (text, pattern, fits) in [
        ("abc", "abc", true),
        ("abc", "a%", true),
        ("abc", "%c", true),
        ("abc", "%b%", true),
        ("abc", "b%", false),
        ("aba", "%a", true),
        ("a", "a%a", false),
        ("", "%", true),
    ] {
        assert_eq!(like(text, pattern), fits, "{text} {pattern}");
    }
}
