//! The objects of the account, by kind.

use super::{Answer, Params, Reply, error, invalid};
use serde_json::{Value, json};
use std::collections::BTreeMap;

const PAGE: i64 = 10;
const LONGEST_PAGE: i64 = 100;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    Customer,
    Invoice,
    InvoiceItem,
    Charge,
    Refund,
}

impl Kind {
    const ALL: [Kind; 5] = [
        Kind::Customer,
        Kind::Invoice,
        Kind::InvoiceItem,
        Kind::Charge,
        Kind::Refund,
    ];
    /// As it stands in the path.
    fn table(self) -> &'static str {
        match self {
            Kind::Customer => "customers",
            Kind::Invoice => "invoices",
            Kind::InvoiceItem => "invoiceitems",
            Kind::Charge => "charges",
            Kind::Refund => "refunds",
        }
    }
    fn object(self) -> &'static str {
        match self {
            Kind::Customer => "customer",
            Kind::Invoice => "invoice",
            Kind::InvoiceItem => "invoiceitem",
            Kind::Charge => "charge",
            Kind::Refund => "refund",
        }
    }
    fn prefix(self) -> &'static str {
        match self {
            Kind::Customer => "cus",
            Kind::Invoice => "in",
            Kind::InvoiceItem => "ii",
            Kind::Charge => "ch",
            Kind::Refund => "re",
        }
    }
    pub fn named(table: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.table() == table)
    }
}

/// Objects in the order in which they were made.
#[derive(Debug)]
pub(super) struct Tables {
    rows: BTreeMap<Kind, Vec<Value>>,
    /// Ids are not given again when their object was deleted.
    last: u64,
}

impl Tables {
    /// With three payments of which money can be given back.
    pub fn new() -> Self {
        let charge = |(place, amount): (usize, i64)| {
            let number = place + 1;
            json!({
                "id": format!("ch_demo{number}"), "object": "charge", "amount": amount, "amount_refunded": 0, "currency": "usd",
                "paid": true, "refunded": false, "status": "succeeded", "payment_intent": format!("pi_demo{number}"),
                "livemode": false, "created": 1_750_000_000, "metadata": {},
            })
        };
        let charges = [12_500, 4_900, 99_000].into_iter().enumerate();
        let charges = charges.map(charge).collect();
        Self {
            rows: BTreeMap::from([(Kind::Charge, charges)]),
            last: 0,
        }
    }

    /// Adds an object; gives it with id, type and time.
    pub fn add(&mut self, kind: Kind, mut object: Value, seconds: i64) -> Value {
        self.last += 1;
        object["id"] = json!(format!("{}_{:08}", kind.prefix(), self.last));
        object["object"] = json!(kind.object());
        object["created"] = json!(seconds);
        object["livemode"] = json!(false);
        let rows = self.rows.entry(kind).or_default();
        rows.push(object.clone());
        object
    }

    pub fn all(&self, kind: Kind) -> &[Value] {
        self.rows.get(&kind).map_or(&[], Vec::as_slice)
    }

    pub fn all_mut(&mut self, kind: Kind) -> impl Iterator<Item = &mut Value> {
        self.rows.entry(kind).or_default().iter_mut()
    }

    pub fn get(&self, kind: Kind, id: &str) -> Result<&Value, Answer> {
        let found = self.all(kind).iter().find(|row| row["id"] == id);
        found.ok_or_else(|| no_such(kind, id))
    }

    pub fn get_mut(&mut self, kind: Kind, id: &str) -> Result<&mut Value, Answer> {
        let found = self.all_mut(kind).find(|row| row["id"] == id);
        found.ok_or_else(|| no_such(kind, id))
    }

    pub fn remove(&mut self, kind: Kind, id: &str) -> Reply {
        self.get(kind, id)?;
        self.rows
            .entry(kind)
            .or_default()
            .retain(|row| row["id"] != id);
        Ok(json!({"id": id, "object": kind.object(), "deleted": true}))
    }

    /// Newest first, after `starting_after`, `limit` of them; filtered by what the kind can be filtered by.
    pub fn list(&self, kind: Kind, params: &Params) -> Reply {
        let limit = params.whole("limit")?.unwrap_or(PAGE);
        if !(1..=LONGEST_PAGE).contains(&limit) {
            let message = "This value must be between 1 and 100.";
            return Err(invalid(Some("limit"), message));
        }
        let filters: &[&str] = match kind {
            Kind::Customer => &["email"],
            Kind::Invoice => &["customer", "status"],
            Kind::InvoiceItem => &["customer", "invoice"],
            Kind::Charge => &["customer", "payment_intent"],
            Kind::Refund => &["charge", "payment_intent"],
        };
        let fits = |row: &&Value| {
            filters
                .iter()
                .all(|name| params.text(name).is_none_or(|wanted| row[name] == wanted))
        };
        let mut rows = self.all(kind).iter().rev();
        if let Some(after) = params.text("starting_after") {
            self.get(kind, after)?;
            rows.find(|row| row["id"] == after);
        }
        let mut rows = rows.filter(fits);
        let page: Vec<_> = rows.by_ref().take(limit as usize).collect();
        Ok(json!({
            "object": "list", "url": format!("/v1/{}", kind.table()), "has_more": rows.next().is_some(), "data": page,
        }))
    }

    /// `email:"a@b.example" AND metadata["order"]:"7"`.
    pub fn search(&self, kind: Kind, params: &Params) -> Reply {
        let query = params.needed("query")?;
        let mut wanted = Vec::new();
        for part in query.split(" AND ") {
            let unclear = || invalid(Some("query"), "We were unable to parse your search query.");
            let (field, value) = part.trim().split_once(':').ok_or_else(unclear)?;
            let value = value.trim().trim_matches(['"', '\'']);
            let key = field.strip_prefix("metadata[");
            let key = key.map(|key| key.trim_end_matches(']').trim_matches(['"', '\'']));
            wanted.push((field.trim(), key, value));
        }
        let fits = |row: &&Value| {
            wanted.iter().all(|(field, key, value)| match key {
                Some(key) => row["metadata"][key] == *value,
                None => row[field] == *value,
            })
        };
        let found: Vec<_> = self.all(kind).iter().rev().filter(fits).collect();
        let url = format!("/v1/{}/search", kind.table());
        Ok(json!({
            "object": "search_result", "url": url, "has_more": false, "next_page": null, "data": found,
        }))
    }
}

fn no_such(kind: Kind, id: &str) -> Answer {
    let message = format!("No such {}: '{id}'", kind.object());
    error(
        404,
        "invalid_request_error",
        Some("resource_missing"),
        Some("id"),
        &message,
    )
}
