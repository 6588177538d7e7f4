//! A provider with a tight quota and many employees that all want something of it: refusals after learning, and how equal the shares are.
//!
//! In real time, against the sandbox, which counts who was let through. One employee splits its work over fifty runs. The connection
//! begins with far too high an opinion of the provider, so that all has to be learned: from headers, or from refusals alone.

use super::{Ask, Sizes};
use crate::{
    cli::bench::{
        bulk::{Accepted, Hired, post_all},
        http::{Connection, request_head, write_request},
        report::{Aim, Measurement},
        server::Server,
    },
    sandbox::accounts_at,
};
use anyhow::{Context, Result, ensure};
use secrecy::ExposeSecret;
use serde::Deserialize;
use serde_json::{Value, json};
use std::{collections::BTreeMap, net::SocketAddr, time::Duration};

const IDLE: Duration = Duration::from_secs(600);
/// Runs that the one has at work at once.
const SPLIT: u32 = 50;
const CONNECTION: &str = "tight";
const NAME: &str = "bench";

/// What the sandbox has counted so far.
#[derive(Clone, Debug, Default)]
struct Counted {
    refused: u64,
    accepted: BTreeMap<String, u64>,
}

#[derive(Deserialize)]
struct Made {
    #[serde(rename = "id")]
    _id: String,
}

/// # Errors
/// If the sandbox or the service refuses something that it should take.
pub async fn measure(ask: &mut Ask<'_>) -> Result<()> {
    // Slack itself tells nothing before it refuses; the other style tells with every answer.
    for (style, learned_from) in [("github", "headers"), ("slack", "refusals")] {
        let place = ask.places.make(ask.database).await?;
        let server = Server::start(&place, IDLE).await?;
        let sizes = ask.sizes.clone();
        prepare(&server, &sizes, style).await?;
        ask.progress(&format!(
            "{} employees, {} calls in {} s, learned from {learned_from}",
            sizes.sharing,
            sizes.quota,
            sizes.quota_window.as_secs()
        ));
        hire_and_load(&server, &sizes).await?;
        tokio::time::sleep(sizes.quota_learning).await;
        let (mut refused, mut rates, mut spread, mut split) = (vec![], vec![], vec![], vec![]);
        let mut before = counted(server.sandbox).await?;
        for _ in 0..sizes.repeat {
            tokio::time::sleep(sizes.quota_time).await;
            let after = counted(server.sandbox).await?;
            let shares = shares(&before, &after, sizes.sharing)?;
            refused.push((after.refused - before.refused) as f64);
            rates.push(shares.all as f64 / sizes.quota_time.as_secs_f64());
            spread.push(shares.most as f64 / shares.least.max(1) as f64);
            split.push(shares.of_split as f64 / shares.most.max(1) as f64);
            before = after;
        }
        let of = format!("quota/{}/learned from {learned_from}", ask.database);
        let possible = sizes.quota as f64 / sizes.quota_window.as_secs_f64();
        ask.answers.extend([
            Measurement::new(&of, "refused after learning", "calls", refused)
                .aim(ask.aim(Aim::AtMost(0.0))),
            Measurement::new(&of, "let through", "calls/s", rates)
                .note(format!("the provider lets {possible} through")),
            Measurement::new(&of, "luckiest to unluckiest employee", "x", spread)
                .aim(ask.aim(Aim::AtMost(1.2))),
            Measurement::new(&of, "fifty runs to the luckiest with one", "x", split)
                .aim(ask.aim(Aim::AtMost(1.1)))
                .note("calls are whole: one more than others in ten rounds is 1.1"),
        ]);
        server.kill().await?;
        ask.places.remove(place).await?;
    }
    Ok(())
}

/// The provider's quota, and a connection that does not know it.
async fn prepare(server: &Server, sizes: &Sizes, style: &str) -> Result<()> {
    let window = sizes.quota_window.as_secs();
    let quota = json!({
        "integration": "slack", "path": "/api/chat.postMessage", "requests": sizes.quota, "per_seconds": window,
        "headers": style, "marker": "body:/text",
    });
    let created = sandbox(server.sandbox, "POST", "/quotas", &quota, 201).await?;
    ensure!(
        created["requests"] == sizes.quota,
        "the sandbox took another quota: {created}"
    );
    let slack = accounts_at(&format!("http://{}", server.sandbox))
        .into_iter()
        .find(|account| account.integration == "slack")
        .context("the sandbox has no slack")?;
    let opinion =
        json!({"requests": sizes.quota * 10, "per_seconds": window, "burst": sizes.quota * 2});
    let connection = json!({
        "integration": "slack", "name": CONNECTION, "token": slack.token.expose_secret(),
        "base_url": slack.account.base_url, "account": {"quota": opinion},
    });
    post_all::<Made>(server, [("/v1/connections".into(), connection)], 201).await?;
    Ok(())
}

/// Everybody gets more to do than will be done; one at a time, but for the first.
async fn hire_and_load(server: &Server, sizes: &Sizes) -> Result<()> {
    let hire = (0..sizes.sharing).map(|number| ("/v1/employees".into(), poster(number)));
    let (_, hired) = post_all::<Hired>(server, hire, 201).await?;
    let all = sizes.quota_learning + sizes.quota_time * u32::try_from(sizes.repeat)?;
    let calls = sizes.quota as f64 * all.as_secs_f64() / sizes.quota_window.as_secs_f64();
    // Half as many again, and what the beginning lets through.
    let each = (calls * 1.5 / sizes.sharing as f64).ceil() as usize + 5;
    let triggers = (0..each + SPLIT as usize).flat_map(|round| {
        let with_work = hired.iter().enumerate();
        with_work
            .filter(move |(number, _)| *number == 0 || round < each)
            .map(|(number, employee)| {
                let path = format!("/v1/employees/{}/triggers", employee.id);
                (path, json!({"payload": {"who": name(number)}}))
            })
    });
    post_all::<Accepted>(server, triggers, 202).await?;
    Ok(())
}

fn name(number: usize) -> String {
    format!("{NAME} {number}")
}

fn poster(number: usize) -> Value {
    let say = json!({
        "id": "say", "type": "action", "capability": "slack.chat.post", "connection": CONNECTION,
        "arguments": {"channel": "'#finance'", "text": "trigger.payload.who"},
    });
    json!({
        "name": name(number),
        "graph": {
            "graph_id": "bench_poster", "type": "employee", "edges": [],
            "nodes": [{"id": "post", "type": "skill", "skill_graph": "bench_post", "permissions": ["slack.chat.post"]}],
        },
        "skill_graphs": {"bench_post": {"graph_id": "bench_post", "type": "skill", "nodes": [say], "edges": []}},
        "concurrency": {"max_runs": if number == 0 { SPLIT } else { 1 }},
    })
}

struct Shares {
    all: u64,
    least: u64,
    most: u64,
    of_split: u64,
}

/// Who was let through how often in between. The first employee is the one that splits its work.
fn shares(before: &Counted, after: &Counted, employees: usize) -> Result<Shares> {
    let got = |number: usize| {
        let name = name(number);
        let at = |counted: &Counted| counted.accepted.get(&name).copied().unwrap_or(0);
        at(after).saturating_sub(at(before))
    };
    let of_split = got(0);
    let others: Vec<u64> = (1..employees).map(got).collect();
    let all = of_split + others.iter().sum::<u64>();
    ensure!(all > 0, "nobody was let through");
    Ok(Shares {
        all,
        least: others.iter().min().copied().unwrap_or_default(),
        most: others.iter().max().copied().unwrap_or_default(),
        of_split,
    })
}

async fn counted(address: SocketAddr) -> Result<Counted> {
    let quotas = sandbox(address, "GET", "/quotas", &Value::Null, 200).await?;
    let quota = &quotas["items"][0];
    let markers = quota["markers"]
        .as_array()
        .context("the sandbox counts no markers")?;
    let number = |value: &Value| value.as_u64().unwrap_or(0);
    Ok(Counted {
        refused: number(&quota["refused"]),
        accepted: markers
            .iter()
            .filter_map(|one| Some((one["marker"].as_str()?.to_owned(), number(&one["accepted"]))))
            .collect(),
    })
}

async fn sandbox(
    address: SocketAddr,
    method: &str,
    path: &str,
    body: &Value,
    expected: u16,
) -> Result<Value> {
    let body = match body {
        Value::Null => Vec::new(),
        body => serde_json::to_vec(body)?,
    };
    let mut request = Vec::new();
    write_request(
        &mut request,
        &request_head(method, path, "none", None),
        &body,
    );
    let mut connection = Connection::open(address).await?;
    let answer = connection.exchange(&request).await?;
    answer
        .expect(expected)
        .with_context(|| format!("{method} {path} at the sandbox"))?;
    Ok(serde_json::from_slice(answer.body)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_what_was_let_through_in_between() {
        let counted = |numbers: [u64; 3]| Counted {
            refused: 0,
            accepted: numbers
                .into_iter()
                .enumerate()
                .map(|(n, got)| (name(n), got))
                .collect(),
        };
        let shares = shares(&counted([3, 1, 1]), &counted([5, 3, 4]), 3).unwrap();
        assert_eq!(
            (shares.all, shares.least, shares.most, shares.of_split),
            (7, 2, 3, 2)
        );
    }
}
