//! Giving money back.

use super::{Params, Reply, Stripe, error, invalid, tables::Kind};
use serde_json::{Value, json};

const REASONS: [&str; 3] = ["duplicate", "fraudulent", "requested_by_customer"];

impl Stripe {
    /// Of a charge, or of the charge of a payment intent; all that is left if no amount is given.
    pub(super) fn create_refund(&mut self, params: &Params, seconds: i64) -> Reply {
        let (name, field, id) = match (params.text("charge"), params.text("payment_intent")) {
            (Some(id), None) => ("charge", "id", id.to_owned()),
            (None, Some(id)) => ("payment_intent", "payment_intent", id.to_owned()),
            (Some(_), Some(_)) => {
                let message = "Only one of `charge` and `payment_intent` can be given.";
                return Err(invalid(None, message));
            }
            (None, None) => {
                let message =
                    "One of the following params should be provided: payment_intent or charge.";
                return Err(invalid(None, message));
            }
        };
        let reason = params.text("reason");
        if reason.is_some_and(|reason| !REASONS.contains(&reason)) {
            return Err(invalid(Some("reason"), "Invalid reason."));
        }
        let amount = params.whole("amount")?;
        let charge = self
            .tables
            .all_mut(Kind::Charge)
            .find(|charge| charge[field] == id.as_str());
        let charge = charge.ok_or_else(|| {
            let message = format!("No such {name}: '{id}'");
            error(
                404,
                "invalid_request_error",
                Some("resource_missing"),
                Some(name),
                &message,
            )
        })?;
        let amount = take(charge, amount)?;
        let mut refund = json!({
            "amount": amount, "currency": charge["currency"], "charge": charge["id"],
            "payment_intent": charge["payment_intent"], "reason": reason, "status": "succeeded", "metadata": {},
        });
        params.merge_metadata(&mut refund);
        Ok(self.tables.add(Kind::Refund, refund, seconds))
    }

    pub(super) fn update_refund(&mut self, id: &str, params: &Params) -> Reply {
        let refund = self.tables.get_mut(Kind::Refund, id)?;
        params.merge_metadata(refund);
        Ok(refund.clone())
    }
}

/// Takes an amount, or the rest, from what is left of a charge.
fn take(charge: &mut Value, amount: Option<i64>) -> Result<i64, super::Answer> {
    let refunded = charge["amount_refunded"].as_i64().unwrap_or(0);
    let left = charge["amount"].as_i64().unwrap_or(0) - refunded;
    if left == 0 {
        let id = charge["id"].as_str().unwrap_or_default();
        let message = format!("Charge {id} has already been refunded.");
        let code = Some("charge_already_refunded");
        return Err(error(400, "invalid_request_error", code, None, &message));
    }
    let amount = amount.unwrap_or(left);
    if amount < 1 || amount > left {
        let message = format!(
            "Refund amount ({amount}) is greater than unrefunded amount on charge ({left}), or less than 1."
        );
        return Err(invalid(Some("amount"), &message));
    }
    charge["amount_refunded"] = json!(refunded + amount);
    charge["refunded"] = json!(amount == left);
    Ok(amount)
}
