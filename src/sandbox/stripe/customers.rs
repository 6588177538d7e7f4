//! Customers.

use super::{Params, Reply, Stripe, tables::Kind};
use serde_json::json;

const FIELDS: [&str; 5] = ["email", "name", "description", "phone", "address"];

impl Stripe {
    pub(super) fn create_customer(&mut self, params: &Params, seconds: i64) -> Reply {
        let mut customer = json!({
            "email": null, "name": null, "description": null, "phone": null, "address": null, "balance": 0,
            "currency": null, "delinquent": false, "metadata": {},
        });
        params.copy_into(&mut customer, &FIELDS);
        params.merge_metadata(&mut customer);
        Ok(self.tables.add(Kind::Customer, customer, seconds))
    }

    pub(super) fn update_customer(&mut self, id: &str, params: &Params) -> Reply {
        let customer = self.tables.get_mut(Kind::Customer, id)?;
        params.copy_into(customer, &FIELDS);
        params.merge_metadata(customer);
        Ok(customer.clone())
    }

    pub(super) fn delete_customer(&mut self, id: &str) -> Reply {
        self.tables.remove(Kind::Customer, id)
    }
}
