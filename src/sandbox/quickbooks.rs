//! QuickBooks Online: queries over invoices and customers, and reading one of them.

use super::{
    call::{Answer, Call},
    query::Query,
    seed, urlencoded,
};
use crate::domain::Timestamp;
use chrono::NaiveDate;
use serde_json::{Value, json};

#[derive(Debug)]
pub(super) struct QuickBooks {
    invoices: Vec<Value>,
    customers: Vec<Value>,
}

impl QuickBooks {
    pub fn new(today: NaiveDate) -> Self {
        Self {
            invoices: seed::invoices(today),
            customers: seed::customers(),
        }
    }

    pub fn answer(&self, call: &Call) -> Answer {
        let parts: Vec<_> = call
            .path
            .split('/')
            .skip(1)
            .map(urlencoded::decode)
            .collect();
        let parts: Vec<_> = parts.iter().map(String::as_str).collect();
        match (call.method.as_str(), parts.as_slice()) {
            (_, ["v3", "company", realm, ..]) if *realm != seed::REALM_ID => {
                let message =
                    "message=ApplicationAuthorizationFailed; errorCode=003100; statusCode=403";
                fault(
                    403,
                    "AuthorizationFault",
                    "3100",
                    message,
                    "The token is not for this company.",
                )
            }
            ("GET", ["v3", "company", _, "query"]) => self.query(call),
            ("GET", ["v3", "company", _, "customer", id]) => {
                one("Customer", &self.customers, id, call.at)
            }
            ("GET", ["v3", "company", _, "invoice", id]) => {
                one("Invoice", &self.invoices, id, call.at)
            }
            _ => fault(
                404,
                "ValidationFault",
                "500",
                "Unsupported Operation",
                "No such operation.",
            ),
        }
    }

    fn query(&self, call: &Call) -> Answer {
        let given = urlencoded::pairs(&call.query)
            .into_iter()
            .find(|(name, _)| name == "query");
        let text = given.map(|(_, text)| text).unwrap_or_default();
        let query = match Query::parse(&text) {
            Ok(query) => query,
            Err(detail) => {
                return parse_fault(
                    "4000",
                    "Error parsing query",
                    &format!("QueryParserError: {detail}"),
                );
            }
        };
        let rows = match query.entity.to_lowercase().as_str() {
            "invoice" => &self.invoices,
            "customer" => &self.customers,
            _ => {
                return parse_fault(
                    "4001",
                    "Invalid query",
                    &format!("Entity {} is not known", query.entity),
                );
            }
        };
        let found = match query.run(rows) {
            Ok(found) => found,
            Err(detail) => {
                return parse_fault(
                    "4001",
                    "Invalid query",
                    &format!("QueryValidationError: {detail}"),
                );
            }
        };
        Answer::ok(json!({"QueryResponse": page(&query, &found), "time": call.at}))
    }
}

fn page(query: &Query, found: &[&Value]) -> Value {
    if query.count {
        return json!({"totalCount": found.len()});
    }
    let page: Vec<_> = found
        .iter()
        .skip(query.start - 1)
        .take(query.most)
        .collect();
    if page.is_empty() {
        // QuickBooks leaves the list out when there is nothing in it.
        return json!({});
    }
    let entity = if query.entity.eq_ignore_ascii_case("invoice") {
        "Invoice"
    } else {
        "Customer"
    };
    json!({entity: page, "startPosition": query.start, "maxResults": page.len()})
}

fn one(entity: &str, rows: &[Value], id: &str, at: Timestamp) -> Answer {
    match rows.iter().find(|row| row["Id"] == id) {
        Some(row) => Answer::ok(json!({entity: row, "time": at})),
        None => fault(
            400,
            "ValidationFault",
            "610",
            "Object Not Found",
            &format!("Object Not Found : no {entity} has the id {id}"),
        ),
    }
}

fn parse_fault(code: &str, message: &str, detail: &str) -> Answer {
    fault(400, "ValidationFault", code, message, detail)
}

/// An error as QuickBooks gives it.
pub(super) fn fault(status: u16, kind: &str, code: &str, message: &str, detail: &str) -> Answer {
    Answer::new(
        status,
        json!({"Fault": {"Error": [{"Message": message, "Detail": detail, "code": code}], "type": kind}}),
    )
}

/// Its gateway writes errors in lower case.
pub(super) fn unauthorised() -> Answer {
    let message = "message=AuthenticationFailed; errorCode=003200; statusCode=401";
    let error =
        json!({"message": message, "detail": "Token is invalid or has expired.", "code": "3200"});
    Answer::new(
        401,
        json!({"fault": {"error": [error], "type": "AUTHENTICATION"}}),
    )
}
