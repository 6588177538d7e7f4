//! Invoices, from draft to paid, and the items on them.

use super::{Params, Reply, Stripe, error, invalid, tables::Kind};
use serde_json::{Value, json};

impl Stripe {
    /// A draft. Items of the customer that wait for an invoice come onto it if `pending_invoice_items_behavior` says so.
    pub(super) fn create_invoice(&mut self, params: &Params, seconds: i64) -> Reply {
        let customer = params.needed("customer")?.to_owned();
        let known = self.tables.get(Kind::Customer, &customer)?;
        let (name, email) = (known["name"].clone(), known["email"].clone());
        let days = params.whole("days_until_due")?;
        let method = params
            .text("collection_method")
            .unwrap_or("charge_automatically");
        if method == "send_invoice" && days.is_none() && params.text("due_date").is_none() {
            let message = "If invoice `collection_method` is `send_invoice` you must specify `due_date` or `days_until_due`.";
            return Err(invalid(None, message));
        }
        let due = match days {
            Some(days) => Some(seconds + days * 86_400),
            None => params.whole("due_date")?,
        };
        let mut invoice = json!({
            "customer": customer, "customer_name": name, "customer_email": email, "status": "draft", "number": null,
            "collection_method": method, "currency": params.text("currency").unwrap_or("usd"), "due_date": due,
            "auto_advance": params.flag("auto_advance"), "description": null, "hosted_invoice_url": null,
            "lines": {"object": "list", "data": [], "has_more": false}, "metadata": {},
        });
        params.copy_into(&mut invoice, &["description", "footer"]);
        params.merge_metadata(&mut invoice);
        let invoice = self.tables.add(Kind::Invoice, invoice, seconds);
        let id = invoice["id"].as_str().unwrap_or_default().to_owned();
        if params.text("pending_invoice_items_behavior") == Some("include") {
            for item in self.tables.all_mut(Kind::InvoiceItem) {
                if item["customer"] == customer.as_str() && item["invoice"].is_null() {
                    item["invoice"] = json!(id);
                }
            }
        }
        self.count_up(&id)
    }

    pub(super) fn update_invoice(&mut self, id: &str, params: &Params) -> Reply {
        let invoice = self.tables.get_mut(Kind::Invoice, id)?;
        params.copy_into(invoice, &["description", "footer"]);
        params.merge_metadata(invoice);
        Ok(invoice.clone())
    }

    pub(super) fn delete_invoice(&mut self, id: &str) -> Reply {
        if self.tables.get(Kind::Invoice, id)?["status"] != "draft" {
            return Err(wrong_state("You can only delete draft invoices."));
        }
        self.tables.remove(Kind::Invoice, id)
    }

    /// `finalize`, `send`, `pay`, `void`.
    pub(super) fn step_invoice(&mut self, id: &str, step: &str, seconds: i64) -> Reply {
        let invoice = self.tables.get_mut(Kind::Invoice, id)?;
        let status = invoice["status"].as_str().unwrap_or_default();
        let next = match (step, status) {
            ("finalize" | "send", "draft") | ("send", "open") => "open",
            ("pay", "draft" | "open") => "paid",
            ("void", "open") => "void",
            ("finalize" | "send" | "pay" | "void", status) => {
                let message = format!("This invoice is {status}; it cannot be asked to {step}.");
                return Err(wrong_state(&message));
            }
            _ => {
                return Err(error(
                    404,
                    "invalid_request_error",
                    None,
                    None,
                    "Unrecognized request URL.",
                ));
            }
        };
        // Nothing to pay is paid at once.
        let nothing = next == "open" && invoice["total"] == 0;
        invoice["status"] = json!(if nothing { "paid" } else { next });
        if invoice["number"].is_null() {
            let digits = id.trim_start_matches("in_");
            invoice["number"] = json!(format!("DEMO-{digits}"));
            invoice["hosted_invoice_url"] = json!(format!("https://invoice.stripe.example/{id}"));
            invoice["finalized_at"] = json!(seconds);
        }
        if invoice["status"] == "paid" {
            invoice["amount_paid"] = invoice["total"].clone();
            invoice["amount_remaining"] = json!(0);
        }
        Ok(invoice.clone())
    }

    pub(super) fn create_item(&mut self, params: &Params, seconds: i64) -> Reply {
        let customer = params.needed("customer")?.to_owned();
        self.tables.get(Kind::Customer, &customer)?;
        let Some(amount) = params.whole("amount")? else {
            return Err(super::missing("amount"));
        };
        let invoice = params.text("invoice").map(str::to_owned);
        if let Some(id) = &invoice
            && self.tables.get(Kind::Invoice, id)?["status"] != "draft"
        {
            return Err(wrong_state("This invoice is no longer a draft."));
        }
        let mut item = json!({
            "customer": customer, "amount": amount, "currency": params.text("currency").unwrap_or("usd"),
            "invoice": invoice, "description": null, "metadata": {},
        });
        params.copy_into(&mut item, &["description"]);
        params.merge_metadata(&mut item);
        let item = self.tables.add(Kind::InvoiceItem, item, seconds);
        if let Some(id) = invoice {
            self.count_up(&id)?;
        }
        Ok(item)
    }

    /// Puts the items onto an invoice and adds them up.
    fn count_up(&mut self, id: &str) -> Reply {
        let items: Vec<Value> = self
            .tables
            .all(Kind::InvoiceItem)
            .iter()
            .filter(|item| item["invoice"] == id)
            .cloned()
            .collect();
        let total: i64 = items
            .iter()
            .filter_map(|item| item["amount"].as_i64())
            .sum();
        let invoice = self.tables.get_mut(Kind::Invoice, id)?;
        invoice["lines"]["data"] = json!(items);
        for name in ["total", "subtotal", "amount_due", "amount_remaining"] {
            invoice[name] = json!(total);
        }
        invoice["amount_paid"] = json!(0);
        Ok(invoice.clone())
    }
}

fn wrong_state(message: &str) -> super::Answer {
    error(
        400,
        "invalid_request_error",
        Some("invoice_not_editable"),
        None,
        message,
    )
}
