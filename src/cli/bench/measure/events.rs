//! Events at the Slack endpoint: how many a second are durable before their answer, with nobody who listens and with a run for each.

use super::Ask;
use crate::{
    cli::bench::{
        bulk::{hire_all, post_all},
        graphs::{self, Durability},
        http::Answer,
        load,
        processes::cpu_used,
        report::{Aim, Measurement},
        server::Server,
    },
    connect::webhook::sign_slack,
    domain::Timestamp,
};
use anyhow::{Context, Result};
use secrecy::SecretString;
use serde::Deserialize;
use serde_json::json;
use std::{
    cell::Cell,
    time::{Duration, Instant},
};

const IDLE: Duration = Duration::from_secs(600);
const IN_FLIGHT: usize = 256;
const SECRET: &str = "8f742231b10e8888abcd99yyyzzz85a5";
/// Until the last event has its verdict.
const DRAIN: Duration = Duration::from_secs(300);

#[derive(Deserialize)]
struct Hook {
    path: String,
}

/// # Errors
/// If an event is not taken.
pub async fn measure(ask: &mut Ask<'_>) -> Result<()> {
    for (mode, listens) in [("nobody listens", false), ("a run each", true)] {
        let place = ask.places.make(ask.database).await?;
        let mut server = Server::start(&place, IDLE).await?;
        let hook = json!({"source": "slack", "scheme": "slack", "secret": SECRET});
        let (_, hooks) = post_all::<Hook>(&server, [("/v1/hooks".into(), hook)], 201).await?;
        let path = hooks.into_iter().next().context("a hook")?.path;
        if listens {
            let listener = |name: &str| {
                let mut employee = graphs::w1(name, Durability::Default);
                employee["subscriptions"] = json!([{"source": "hook:slack", "event": "message"}]);
                employee
            };
            hire_all(&server, 1, listener).await?;
        }
        let first = Cell::new(0);
        send(&server, &path, &first, ask.sizes.warm_up).await?;
        let (mut rates, mut p99, mut cpu_each, mut drained) = (vec![], vec![], vec![], vec![]);
        for _ in 0..ask.sizes.repeat {
            ask.progress(&format!("Slack events, {mode}, {IN_FLIGHT} in flight"));
            let cpu = cpu_used()?;
            let load = send(&server, &path, &first, ask.sizes.time).await?;
            let begin = Instant::now();
            server
                .wait_until_empty(&["/v1/inbox?verdict=pending"], DRAIN)
                .await?;
            let used = cpu_used()?.since(cpu).all;
            drained.push(begin.elapsed().as_secs_f64());
            rates.push(load.per_second());
            p99.push(load.quantile_ms(0.99));
            cpu_each.push(used.as_secs_f64() * 1e3 / load.count().max(1) as f64);
        }
        let of = format!("slack events/{}/{mode}", ask.database);
        ask.answers.extend([
            Measurement::new(&of, "durable before the answer", "events/s", rates)
                .aim(ask.aim(Aim::AtLeast(4_000.0)).filter(|_| !listens)),
            Measurement::new(&of, "p99 of the answer", "ms", p99),
            Measurement::new(&of, "until all have their verdict", "s", drained),
            Measurement::new(&of, "CPU per event", "ms", cpu_each).note(
                "user and system time of all processes, what follows from the event included",
            ),
        ]);
        server.kill().await?;
        ask.places.remove(place).await?;
    }
    Ok(())
}

async fn send(
    server: &Server,
    path: &str,
    first: &Cell<u64>,
    time: Duration,
) -> Result<load::Load> {
    let secret = SecretString::from(SECRET);
    let end = Instant::now() + time;
    let begin = first.get();
    let write = |number: u64, out: &mut Vec<u8>| {
        first.set(first.get().max(begin + number + 1));
        let number = begin + number;
        let body = format!(
            "{{\"token\":\"x\",\"team_id\":\"T061EG9R6\",\"api_app_id\":\"A0PNCHHK2\",\"type\":\"event_callback\",\"event_id\":\"Ev{number:010}\",\
             \"event_time\":1700000000,\"authorizations\":[{{\"team_id\":\"T061EG9R6\",\"user_id\":\"U0BOT\",\"is_bot\":true}}],\
             \"event\":{{\"type\":\"message\",\"channel\":\"C061EG9SL\",\"channel_type\":\"channel\",\"user\":\"U061F7AUR\",\
             \"seq\":\"{number:010}\",\"text\":\"how much does Alder Books still owe us, and since when?\",\"ts\":\"17{number:08}.000100\"}}}}"
        );
        let now = Timestamp::from(chrono::Utc::now());
        let signature = sign_slack(&secret, now, body.as_bytes());
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: bench\r\ncontent-type: application/json\r\nx-slack-request-timestamp: {}\r\n\
             x-slack-signature: {signature}\r\ncontent-length: {}\r\n\r\n",
            now.micros() / 1_000_000,
            body.len()
        );
        out.extend_from_slice(head.as_bytes());
        out.extend_from_slice(body.as_bytes());
        Instant::now() < end
    };
    let accept = |_: u64, answer: Answer<'_>| answer.expect(200);
    let deadline = time + Duration::from_secs(60);
    load::run(server.address, IN_FLIGHT, deadline, write, accept).await
}
