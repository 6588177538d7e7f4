//! GitHub's and Stripe's deliveries. Neither is tried a second time by itself: GitHub never does, Stripe only after an hour.

use super::{Delivery, Sender, sign, slack::random};
use crate::{
    domain::Timestamp,
    sandbox::fields::{BadField, Fields},
};
use serde_json::{Value, json};
use std::time::Duration;
use uuid::Uuid;

/// An answer that takes longer is a failure to both.
const TIMEOUT_MS: u64 = 10_000;
const LONGEST_TIMEOUT_MS: u64 = 10 * 60 * 1_000;

/// Ready to be sent, with the id that the answer shows.
pub(super) struct Webhook {
    id: String,
    delivery: Delivery,
}

impl Webhook {
    pub const GITHUB_FIELDS: [&'static str; 6] = [
        "url",
        "secret",
        "event",
        "payload",
        "delivery",
        "timeout_ms",
    ];
    pub const STRIPE_FIELDS: [&'static str; 9] = [
        "url",
        "secret",
        "secrets",
        "type",
        "object",
        "event_id",
        "account",
        "timestamp",
        "timeout_ms",
    ];

    /// `POST /github/deliver`; the same `delivery` is what GitHub sends when somebody asks for it again.
    pub fn github(fields: &Fields) -> Result<Self, BadField> {
        let payload = needed_object(fields, "payload")?;
        let body = payload.to_string();
        let given = fields.text("delivery")?.map(str::to_owned);
        let id = given.unwrap_or_else(|| Uuid::new_v4().to_string());
        let mut headers = vec![
            ("x-github-event", fields.needed("event")?.to_owned()),
            ("x-github-delivery", id.clone()),
            ("x-github-hook-id", "1".into()),
            (
                "x-github-hook-installation-target-type",
                "repository".into(),
            ),
            ("user-agent", "GitHub-Hookshot/sandbox".into()),
        ];
        if let Some(secret) = fields.text("secret")? {
            headers.push(("x-hub-signature-256", sign::github(secret, &body)));
        }
        Ok(Self {
            id,
            delivery: delivery(fields, headers, body)?,
        })
    }

    /// `POST /stripe/deliver`; several secrets sign while one replaces the other.
    pub fn stripe(fields: &Fields, at: Timestamp) -> Result<Self, BadField> {
        let now = u64::try_from(at.micros() / 1_000_000).unwrap_or(0);
        let seconds = fields.whole("timestamp", 0, i64::MAX as u64)?;
        let seconds = seconds.unwrap_or(now) as i64;
        let given = fields.text("event_id")?.map(str::to_owned);
        let id = given.unwrap_or_else(|| format!("evt_{}", random()));
        let mut event = json!({
            "id": id, "object": "event", "api_version": "2025-09-30.clover", "created": seconds, "livemode": false,
            "pending_webhooks": 1, "request": {"id": null, "idempotency_key": null},
            "type": fields.needed("type")?, "data": {"object": needed_object(fields, "object")?},
        });
        if let Some(account) = fields.text("account")? {
            event["account"] = json!(account);
        }
        let body = event.to_string();
        let signature = sign::stripe(&secrets(fields)?, seconds, &body);
        let headers = vec![
            ("stripe-signature", signature),
            (
                "user-agent",
                "Stripe/1.0 (+https://stripe.com/docs/webhooks)".into(),
            ),
        ];
        Ok(Self {
            id,
            delivery: delivery(fields, headers, body)?,
        })
    }

    pub async fn send(self, sender: &Sender) -> Value {
        let attempt = sender.send(&self.delivery, &[]).await;
        json!({"id": self.id, "delivered": attempt.is_good(), "attempts": [attempt]})
    }
}

fn delivery(
    fields: &Fields,
    headers: Vec<(&'static str, String)>,
    body: String,
) -> Result<Delivery, BadField> {
    let timeout = fields.whole("timeout_ms", 1, LONGEST_TIMEOUT_MS)?;
    Ok(Delivery {
        url: fields.needed("url")?.to_owned(),
        content_type: "application/json",
        headers,
        body,
        timeout: Duration::from_millis(timeout.unwrap_or(TIMEOUT_MS)),
    })
}

fn needed_object<'a>(fields: &Fields<'a>, name: &str) -> Result<&'a Value, BadField> {
    let value = fields.value(name).filter(|value| value.is_object());
    value.ok_or_else(|| BadField::new(name, "must be an object"))
}

fn secrets(fields: &Fields) -> Result<Vec<String>, BadField> {
    let Some(list) = fields.value("secrets") else {
        return Ok(vec![fields.needed("secret")?.to_owned()]);
    };
    serde_json::from_value(list.clone())
        .map_err(|_| BadField::new("secrets", "must be a list of texts"))
}
