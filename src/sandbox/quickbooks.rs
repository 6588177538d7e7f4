//! QuickBooks Online: queries over invoices and customers, reading one of them, and writing and changing invoices.

use super::{
    call::{Answer, Call},
    query::Query,
    seed, urlencoded,
};
use crate::domain::{Timestamp, money};
use chrono::NaiveDate;
use rust_decimal::{Decimal, prelude::ToPrimitive};
use serde_json::{Value, json};
use std::collections::HashMap;

#[derive(Debug)]
pub(super) struct QuickBooks {
    invoices: Vec<Value>,
    customers: Vec<Value>,
    /// What was answered to a write with this `requestid`: the same comes back, and nothing is written.
    requests: HashMap<String, Value>,
}

impl QuickBooks {
    pub fn new(today: NaiveDate) -> Self {
        Self {
            invoices: seed::invoices(today),
            customers: seed::customers(),
            requests: HashMap::new(),
        }
    }

    pub fn answer(&mut self, call: &Call) -> Answer {
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
            ("POST", ["v3", "company", _, "invoice"]) => self.write(call),
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

    /// A new invoice, or with an `Id` a change of one.
    fn write(&mut self, call: &Call) -> Answer {
        let request = urlencoded::pairs(&call.query)
            .into_iter()
            .find(|(name, _)| name == "requestid")
            .map(|(_, id)| id);
        if let Some(known) = request.as_ref().and_then(|id| self.requests.get(id)) {
            return Answer::ok(known.clone());
        }
        let written = match call.body["Id"].as_str() {
            Some(id) => self.change(id, call),
            None => self.create(call),
        };
        match written {
            Ok(invoice) => {
                let body = json!({"Invoice": invoice, "time": call.at});
                if let Some(id) = request {
                    self.requests.insert(id, body.clone());
                }
                Answer::ok(body)
            }
            Err(refused) => *refused,
        }
    }

    fn create(&mut self, call: &Call) -> Result<Value, Box<Answer>> {
        let customer = &call.body["CustomerRef"]["value"];
        let known = self.customers.iter().find(|one| one["Id"] == *customer);
        let Some(customer) = known else {
            return Err(invalid("2500", "Invalid Reference Id", "CustomerRef"));
        };
        let lines = call.body["Line"].as_array();
        let amounts = lines
            .into_iter()
            .flatten()
            .map(|line| money::amount(&line["Amount"]).ok());
        let total = amounts.sum::<Option<Decimal>>().filter(|_| lines.is_some());
        let Some(total) = total.and_then(|total| total.to_f64()) else {
            return Err(invalid("2020", "Required param missing", "Line"));
        };
        let number = self.invoices.len();
        let mut invoice = json!({
            "Id": (number + 101).to_string(), "SyncToken": "0", "DocNumber": (number + 1001).to_string(),
            "TxnDate": call.at.to_chrono().format("%Y-%m-%d").to_string(), "TotalAmt": total, "Balance": total,
            "BillEmail": customer["PrimaryEmailAddr"], "CurrencyRef": {"value": "USD", "name": "United States Dollar"},
            "domain": "QBO", "sparse": false, "MetaData": {"CreateTime": time(call.at), "LastUpdatedTime": time(call.at)},
        });
        let given = ["Line", "DueDate", "DocNumber", "BillEmail", "CustomerMemo"];
        take_over(&mut invoice, &call.body, &given);
        if invoice["DueDate"].is_null() {
            invoice["DueDate"] = invoice["TxnDate"].clone();
        }
        invoice["CustomerRef"] = json!({"value": customer["Id"], "name": customer["DisplayName"]});
        self.invoices.push(invoice.clone());
        Ok(invoice)
    }

    fn change(&mut self, id: &str, call: &Call) -> Result<Value, Box<Answer>> {
        let found = self.invoices.iter_mut().find(|one| one["Id"] == id);
        let Some(invoice) = found else {
            return Err(invalid(
                "610",
                "Object Not Found",
                &format!("no Invoice has the id {id}"),
            ));
        };
        if invoice["SyncToken"] != call.body["SyncToken"] {
            let detail =
                "Stale Object Error : You and another user were working on this at the same time.";
            return Err(invalid("5010", "Stale Object Error", detail));
        }
        let next = invoice["SyncToken"]
            .as_str()
            .and_then(|token| token.parse::<u64>().ok());
        let given = [
            "DueDate",
            "DocNumber",
            "BillEmail",
            "CustomerMemo",
            "Balance",
            "PrivateNote",
        ];
        take_over(invoice, &call.body, &given);
        invoice["SyncToken"] = json!((next.unwrap_or(0) + 1).to_string());
        invoice["MetaData"]["LastUpdatedTime"] = json!(time(call.at));
        Ok(invoice.clone())
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

fn take_over(invoice: &mut Value, given: &Value, names: &[&str]) {
    for name in names {
        if let Some(value) = given.get(*name).filter(|value| !value.is_null()) {
            invoice[*name] = value.clone();
        }
    }
}

/// As QuickBooks writes it: whole seconds with an offset.
fn time(at: Timestamp) -> String {
    at.to_chrono().format("%Y-%m-%dT%H:%M:%S%:z").to_string()
}

fn invalid(code: &str, message: &str, detail: &str) -> Box<Answer> {
    Box::new(fault(400, "ValidationFault", code, message, detail))
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
