//! Stripe's API: customers, invoices, charges and refunds, and its own way to take a request once.

mod customers;
mod invoices;
mod params;
mod refunds;
mod tables;

use super::{
    call::{Answer, Call},
    oauth::Refusal,
    seed, urlencoded,
};
use params::Params;
use serde_json::{Value, json};
use std::collections::HashMap;
use tables::{Kind, Tables};

const KEY_LIMIT: usize = 255;

#[derive(Debug)]
pub(super) struct Stripe {
    tables: Tables,
    /// What was asked with an idempotency key, and what was answered.
    by_key: HashMap<String, (String, Answer)>,
}

type Reply = Result<Value, Answer>;

impl Stripe {
    pub fn new() -> Self {
        Self {
            tables: Tables::new(),
            by_key: HashMap::new(),
        }
    }

    /// The same key gives the same answer, or an error if it comes with another request. Like Stripe, keeps nothing of a request
    /// that was not carried out.
    pub fn answer(&mut self, call: &Call) -> Answer {
        let key = call.idempotency_key.as_deref();
        let Some(key) = key.filter(|_| call.method == "POST") else {
            return self.carry_out(call);
        };
        if key.is_empty() || key.len() > KEY_LIMIT {
            let message = "Idempotency keys must be from 1 to 255 characters long.";
            return invalid(None, message);
        }
        let asked = format!("{} {}", call.path, call.body);
        match self.by_key.get(key) {
            Some((before, answer)) if *before == asked => {
                return answer.clone().with_header("idempotent-replayed", "true");
            }
            Some(_) => return other_request(key),
            None => {}
        }
        let answer = self.carry_out(call).with_header("idempotency-key", key);
        if (200..300).contains(&answer.status) {
            self.by_key.insert(key.to_owned(), (asked, answer.clone()));
        }
        answer
    }

    fn carry_out(&mut self, call: &Call) -> Answer {
        let parts: Vec<_> = call
            .path
            .split('/')
            .skip(1)
            .map(urlencoded::decode)
            .collect();
        let parts: Vec<_> = parts.iter().map(String::as_str).collect();
        let reply = match parts.as_slice() {
            ["v1", rest @ ..] => self.route(rest, call),
            _ => Err(unknown_url(call)),
        };
        reply.map_or_else(|error| error, Answer::ok)
    }

    fn route(&mut self, parts: &[&str], call: &Call) -> Reply {
        let params = Params::of(call);
        let seconds = call.at.micros() / 1_000_000;
        match (call.method.as_str(), parts) {
            ("GET", ["account"]) => Ok(account()),
            ("GET", ["balance"]) => Ok(balance()),
            ("POST", ["customers"]) => self.create_customer(&params, seconds),
            ("POST", ["customers", id]) => self.update_customer(id, &params),
            ("DELETE", ["customers", id]) => self.delete_customer(id),
            ("POST", ["invoices"]) => self.create_invoice(&params, seconds),
            ("POST", ["invoices", id]) => self.update_invoice(id, &params),
            ("DELETE", ["invoices", id]) => self.delete_invoice(id),
            ("POST", ["invoices", id, step]) => self.step_invoice(id, step, seconds),
            ("POST", ["invoiceitems"]) => self.create_item(&params, seconds),
            ("POST", ["refunds"]) => self.create_refund(&params, seconds),
            ("POST", ["refunds", id]) => self.update_refund(id, &params),
            ("GET", [table]) => self.tables.list(kind(table, call)?, &params),
            ("GET", [table, "search"]) => self.tables.search(kind(table, call)?, &params),
            ("GET", [table, id]) => self.tables.get(kind(table, call)?, id).cloned(),
            _ => Err(unknown_url(call)),
        }
    }
}

fn kind(table: &str, call: &Call) -> Result<Kind, Answer> {
    Kind::named(table).ok_or_else(|| unknown_url(call))
}

fn account() -> Value {
    json!({
        "id": seed::STRIPE_ACCOUNT, "object": "account", "country": "CH", "default_currency": "usd", "email": "billing@demo.example",
        "business_profile": {"name": "Demo"}, "charges_enabled": true, "payouts_enabled": true,
    })
}

fn balance() -> Value {
    json!({
        "object": "balance", "livemode": false, "available": [{"amount": 500_000, "currency": "usd"}], "pending": [],
    })
}

fn error(
    status: u16,
    kind: &str,
    code: Option<&str>,
    param: Option<&str>,
    message: &str,
) -> Answer {
    let mut error = json!({"type": kind, "message": message});
    if let Some(code) = code {
        error["code"] = json!(code);
        error["doc_url"] = json!(format!(
            "https://stripe.com/docs/error-codes/{}",
            code.replace('_', "-")
        ));
    }
    if let Some(param) = param {
        error["param"] = json!(param);
    }
    Answer::new(status, json!({"error": error}))
}

fn invalid(param: Option<&str>, message: &str) -> Answer {
    error(400, "invalid_request_error", None, param, message)
}

fn missing(param: &str) -> Answer {
    let message = format!("Missing required param: {param}.");
    error(
        400,
        "invalid_request_error",
        Some("parameter_missing"),
        Some(param),
        &message,
    )
}

fn other_request(key: &str) -> Answer {
    let message = format!(
        "Keys for idempotent requests can only be used with the same parameters they were first used with. \
         Try using a key other than '{key}' if you meant to execute a different request."
    );
    error(400, "idempotency_error", None, None, &message)
}

fn unknown_url(call: &Call) -> Answer {
    let message = format!("Unrecognized request URL ({}: {}).", call.method, call.path);
    error(404, "invalid_request_error", None, None, &message)
}

pub(super) fn unauthorised(refusal: Refusal) -> Answer {
    let (code, message) = match refusal {
        Refusal::Missing => (
            None,
            "You did not provide an API key. You need to provide your API key in the Authorization header.",
        ),
        Refusal::Unknown => (None, "Invalid API Key provided."),
        Refusal::Expired => (Some("api_key_expired"), "Expired API Key provided."),
        Refusal::Revoked => (
            Some("account_invalid"),
            "Application access may have been revoked.",
        ),
    };
    error(401, "invalid_request_error", code, None, message)
}

pub(super) fn too_many() -> Answer {
    let message = "Request rate limit exceeded.";
    error(
        429,
        "invalid_request_error",
        Some("rate_limit"),
        None,
        message,
    )
}

pub(super) fn broken() -> Answer {
    error(500, "api_error", None, None, "An unknown error occurred.")
}
