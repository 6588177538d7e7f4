//! The demo company: who is in Slack, who owes what. Dates count from the day on which the sandbox was started.

use chrono::{Days, NaiveDate};
use serde_json::{Value, json};

/// The company's id at QuickBooks.
pub const REALM_ID: &str = "9341452000000001";

/// The Slack user as which the token acts.
pub(super) const BOT: &str = "U0TENURE";

pub(super) const TEAM_ID: &str = "T0DEMO";
pub(super) const APP_ID: &str = "A0TENURE";

/// The account at Stripe.
pub(super) const STRIPE_ACCOUNT: &str = "acct_0demo";

/// (id, name)
pub(super) const CHANNELS: [(&str, &str); 5] = [
    ("C0GENERAL", "general"),
    ("C0FINANCE", "finance"),
    ("C0MANAGERS", "managers"),
    ("C0SALES", "sales"),
    ("C0RANDOM", "random"),
];

/// (id, name, real name, mail)
pub(super) const USERS: [(&str, &str, &str, &str); 4] = [
    ("U0MAYA", "maya", "Maya Keller", "maya@demo.example"),
    ("U0NOAH", "noah", "Noah Brandt", "noah@demo.example"),
    ("U0LENA", "lena", "Lena Okafor", "lena@demo.example"),
    ("U0OMAR", "omar", "Omar Haddad", "omar@demo.example"),
];

/// (name, mail), the first has the id 1
const CUSTOMERS: [(&str, &str); 8] = [
    ("Alder Books", "accounts@alder-books.example"),
    ("Birch & Sons", "office@birch-sons.example"),
    ("Cedar Dental", "billing@cedar-dental.example"),
    ("Dogwood Design", "hello@dogwood.example"),
    ("Elm Street Bakery", "owner@elmstreet.example"),
    ("Fir Logistics", "payables@fir-logistics.example"),
    ("Ginkgo Labs", "finance@ginkgo-labs.example"),
    ("Hazel Interiors", "studio@hazel.example"),
];

/// (customer, total, balance, days overdue). Over 500 and more than 30 days late are the first, third, fifth and seventh; the
/// eighth and tenth stand exactly on those lines.
const INVOICES: [(usize, f64, f64, i64); 12] = [
    (1, 1250.0, 1250.0, 62),
    (2, 480.0, 480.0, 75),
    (3, 2300.5, 2300.5, 45),
    (4, 900.0, 0.0, 40),
    (5, 760.0, 760.0, 31),
    (6, 5400.0, 5400.0, 12),
    (7, 610.0, 510.0, 90),
    (8, 500.0, 500.0, 50),
    (1, 320.0, 320.0, -14),
    (2, 1800.0, 1800.0, 30),
    (3, 150.0, 0.0, 120),
    (6, 990.0, 990.0, -30),
];

pub(super) fn customers() -> Vec<Value> {
    let balance = |id: usize| {
        INVOICES
            .iter()
            .filter(|invoice| invoice.0 == id)
            .map(|invoice| invoice.2)
            .sum::<f64>()
    };
    let customer = |(place, (name, mail)): (usize, &(&str, &str))| {
        json!({
            "Id": (place + 1).to_string(), "SyncToken": "0", "DisplayName": name, "CompanyName": name, "Active": true,
            "Balance": balance(place + 1), "PrimaryEmailAddr": {"Address": mail}, "domain": "QBO", "sparse": false,
        })
    };
    CUSTOMERS.iter().enumerate().map(customer).collect()
}

pub(super) fn invoices(today: NaiveDate) -> Vec<Value> {
    let day = |ago: i64| {
        let days = Days::new(ago.unsigned_abs());
        let day = if ago >= 0 {
            today.checked_sub_days(days)
        } else {
            today.checked_add_days(days)
        };
        day.unwrap_or(today).to_string()
    };
    // The day before its date, so that none is from after the sandbox's start.
    let entered = |ago: i64| format!("{}T08:00:00+00:00", day(ago));
    let invoice = |(place, &(customer, total, balance, overdue)): (
        usize,
        &(usize, f64, f64, i64),
    )| {
        let (name, mail) = CUSTOMERS[customer - 1];
        json!({
            "Id": (place + 101).to_string(), "SyncToken": "0", "DocNumber": (place + 1001).to_string(),
            "TxnDate": day(overdue + 30), "DueDate": day(overdue), "TotalAmt": total, "Balance": balance,
            "CustomerRef": {"value": customer.to_string(), "name": name}, "BillEmail": {"Address": mail},
            "CurrencyRef": {"value": "USD", "name": "United States Dollar"}, "domain": "QBO", "sparse": false,
            "MetaData": {"CreateTime": entered(overdue + 31), "LastUpdatedTime": entered(overdue + 31)},
        })
    };
    INVOICES.iter().enumerate().map(invoice).collect()
}
