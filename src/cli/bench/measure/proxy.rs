//! Calls by proxy against the sandbox: what one costs over a direct call at a steady pace, how many a second there are at most, and what
//! connections hold in memory that nobody uses.
//!
//! Direct and proxied calls go to the same sandbox, one after the other in each repetition, so that what the machine does beside hits both.

use super::Ask;
use crate::cli::bench::{
    bulk::post_all,
    http::{Answer, write_request},
    load::{self, Load},
    place::Place,
    processes::{Cpu, cpu_used},
    report::{Aim, Measurement},
    sandbox::Sandbox,
    server::Server,
};
use anyhow::{Result, ensure};
use secrecy::ExposeSecret;
use serde_json::{Value, json};
use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

/// Nobody falls asleep during a measurement of time.
const STAY: Duration = Duration::from_secs(600);
const DEADLINE: Duration = Duration::from_secs(120);
/// At this pace the aims for the overhead hold.
const PER_SECOND: u32 = 500;
/// Enough for the pace; one more call than these waits for a connection, and its latency with it.
const CONNECTIONS: usize = 32;
const IN_FLIGHT: usize = 128;
const EMAIL: &str = "maya@demo.example";
/// In every good answer, direct or proxied.
const PROOF: &[u8] = b"U0MAYA";
const POSTED: &[u8] = b"\"ts\":";
/// What is left of a connection must be less than this to count as nothing; see `parked`.
const NOTHING: f64 = 256.0;

/// # Errors
/// If a call does not give what it should.
pub async fn measure(ask: &mut Ask<'_>) -> Result<()> {
    let place = ask.places.make(ask.database).await?;
    let sandbox = Sandbox::start(&place).await?;
    let server = Server::start(&place, STAY).await?;
    connect(&server, &sandbox, ["bench".into()]).await?;
    time(ask, &server, &sandbox).await?;
    server.kill().await?;
    idle(ask, &place, &sandbox).await?;
    sandbox.kill().await?;
    ask.places.remove(place).await
}

/// Connections to the sandbox's Slack with these names, whose quota is no bound here.
async fn connect(
    server: &Server,
    sandbox: &Sandbox,
    names: impl IntoIterator<Item = String>,
) -> Result<()> {
    let slack = sandbox.account("slack")?;
    let quota = json!({"requests": 1_000_000, "per_seconds": 1, "burst": 1_000_000});
    let requests = names.into_iter().map(|name| {
        let body = json!({
            "integration": "slack",
            "name": name,
            "token": slack.token.expose_secret(),
            "account": {"base_url": slack.base_url, "data": slack.data, "quota": quota},
        });
        ("/v1/connections".into(), body)
    });
    post_all::<Value>(server, requests, 201).await?;
    Ok(())
}

/// A request and where it goes, sent over and over.
struct Target {
    address: SocketAddr,
    request: Vec<u8>,
    proof: &'static [u8],
}

impl Target {
    fn check(&self, answer: Answer<'_>) -> Result<()> {
        answer.expect(200)?;
        let mut parts = answer.body.windows(self.proof.len());
        ensure!(
            parts.any(|part| part == self.proof),
            "an answer is not what was asked for: {}",
            String::from_utf8_lossy(answer.body)
        );
        Ok(())
    }

    async fn paced(&self, time: Duration) -> Result<Load> {
        let write = |_, out: &mut Vec<u8>| out.extend_from_slice(&self.request);
        let accept = |_, answer: Answer<'_>| self.check(answer);
        load::paced(self.address, CONNECTIONS, (PER_SECOND, time), write, accept).await
    }

    async fn saturated(&self, time: Duration) -> Result<Load> {
        let end = Instant::now() + time;
        let write = |_, out: &mut Vec<u8>| {
            out.extend_from_slice(&self.request);
            Instant::now() < end
        };
        let accept = |_, answer: Answer<'_>| self.check(answer);
        let deadline = time + Duration::from_secs(60);
        load::run(self.address, IN_FLIGHT, deadline, write, accept).await
    }
}

fn direct_read(sandbox: &Sandbox) -> Result<Target> {
    let path = format!("/slack/api/users.lookupByEmail?email={EMAIL}");
    Ok(Target {
        address: sandbox.address,
        request: sandbox.request(sandbox.account("slack")?, "GET", &path, ""),
        proof: PROOF,
    })
}

fn direct_write(sandbox: &Sandbox) -> Result<Target> {
    let slack = sandbox.account("slack")?;
    let body = message().to_string();
    Ok(Target {
        address: sandbox.address,
        request: sandbox.request(slack, "POST", "/slack/api/chat.postMessage", &body),
        proof: POSTED,
    })
}

fn proxied(server: &Server, capability: &str, input: &Value, proof: &'static [u8]) -> Target {
    let head = server.head("POST", &format!("/proxy/{capability}"), None);
    let body = json!({"input": input, "connection": "bench"}).to_string();
    let mut request = Vec::new();
    write_request(&mut request, &head, body.as_bytes());
    Target {
        address: server.address,
        request,
        proof,
    }
}

fn message() -> Value {
    json!({"channel": "C0FINANCE", "text": "the reminder to Alder Books has gone out"})
}

async fn time(ask: &mut Ask<'_>, server: &Server, sandbox: &Sandbox) -> Result<()> {
    let lookup = json!({"email": EMAIL});
    let read = (
        direct_read(sandbox)?,
        proxied(server, "slack.users.lookupByEmail", &lookup, PROOF),
    );
    let write = (
        direct_write(sandbox)?,
        proxied(server, "slack.chat.post", &message(), POSTED),
    );
    for (what, judged, (direct, proxied)) in [("reads", true, read), ("writes", false, write)] {
        let of = format!("proxy/{}/{what}", ask.database);
        sandbox.forget().await?;
        for target in [&direct, &proxied] {
            target.saturated(ask.sizes.warm_up).await?;
        }
        overhead(ask, &of, judged, sandbox, (&direct, &proxied)).await?;
        saturation(ask, &of, judged, sandbox, (&direct, &proxied)).await?;
    }
    Ok(())
}

/// The same pace for both, and the difference of what they took.
async fn overhead(
    ask: &mut Ask<'_>,
    of: &str,
    judged: bool,
    sandbox: &Sandbox,
    (direct, proxied): (&Target, &Target),
) -> Result<()> {
    let mut loads = Vec::new();
    for _ in 0..ask.sizes.repeat {
        ask.progress(&format!("{of}: {PER_SECOND} calls/s, direct and by proxy"));
        sandbox.forget().await?;
        let alone = direct.paced(ask.sizes.time).await?;
        loads.push((alone, proxied.paced(ask.sizes.time).await?));
    }
    let each = |value: &dyn Fn(&(Load, Load)) -> f64| loads.iter().map(value).collect::<Vec<_>>();
    let more = |share: f64| {
        each(&move |(direct, proxied)| proxied.quantile_ms(share) - direct.quantile_ms(share))
    };
    let aim = |ask: &Ask<'_>, most: f64| ask.aim(Aim::AtMost(most)).filter(|_| judged);
    let answers = [
        Measurement::new(
            of,
            "direct call, p50",
            "ms",
            each(&|(direct, _)| direct.quantile_ms(0.5)),
        ),
        Measurement::new(
            of,
            "direct call, p99",
            "ms",
            each(&|(direct, _)| direct.quantile_ms(0.99)),
        ),
        Measurement::new(of, "overhead of the proxy, p50", "ms", more(0.5))
            .aim(aim(ask, 1.0))
            .note(OVERHEAD),
        Measurement::new(of, "overhead of the proxy, p99", "ms", more(0.99))
            .aim(aim(ask, 5.0))
            .note(OVERHEAD),
    ];
    ask.answers.extend(answers);
    Ok(())
}

const OVERHEAD: &str = "500 calls/s, each due at its time whether or not the ones before it were answered, latency from then; the same \
     request straight to the sandbox and by proxy, one after the other; the difference of the two quantiles";

async fn saturation(
    ask: &mut Ask<'_>,
    of: &str,
    judged: bool,
    sandbox: &Sandbox,
    (direct, proxied): (&Target, &Target),
) -> Result<()> {
    let mut alone = Vec::new();
    let mut loads: Vec<(Load, Cpu)> = Vec::new();
    for _ in 0..ask.sizes.repeat {
        ask.progress(&format!("{of}: {IN_FLIGHT} in flight"));
        sandbox.forget().await?;
        alone.push(direct.saturated(ask.sizes.time).await?.per_second());
        sandbox.forget().await?;
        let cpu = cpu_used()?;
        let load = proxied.saturated(ask.sizes.time).await?;
        loads.push((load, cpu_used()?.since(cpu)));
    }
    let all = |value: fn(&(Load, Cpu)) -> f64| loads.iter().map(value).collect::<Vec<_>>();
    let aim = ask.aim(Aim::AtLeast(6_000.0)).filter(|_| judged);
    ask.answers.extend([
        Measurement::new(of, "direct calls at saturation", "calls/s", alone),
        Measurement::new(of, "proxied calls at saturation", "calls/s", all(|(load, _)| load.per_second())).aim(aim),
        Measurement::new(of, "p50 at saturation", "ms", all(|(load, _)| load.quantile_ms(0.5))),
        Measurement::new(of, "p99 at saturation", "ms", all(|(load, _)| load.quantile_ms(0.99))),
        Measurement::new(of, "CPU per call", "ms", all(|(load, cpu)| each_ms(cpu.all, load)))
            .note("user and system time of all processes: server, database, sandbox, and this load generator"),
        Measurement::new(of, "of it load generator", "ms", all(|(load, cpu)| each_ms(cpu.own, load))),
    ]);
    Ok(())
}

fn each_ms(time: Duration, load: &Load) -> f64 {
    time.as_secs_f64() * 1e3 / load.count().max(1) as f64
}

/// Many connections, each used once: what they hold while their connectors are awake, and when nobody uses them any more.
async fn idle(ask: &mut Ask<'_>, place: &Place, sandbox: &Sandbox) -> Result<()> {
    let count = ask.sizes.connections;
    let of = format!("proxy/{}/idle", ask.database);
    ask.progress(&format!("{count} connections, each used once"));
    // Long enough that the first one is awake when the last one was used.
    let stay = Duration::from_secs(if count > 100 { 10 } else { 2 });
    let mut server = Server::start(place, stay).await?;
    // The first one pays for sockets and caches.
    call_each(&server, ["bench".into()]).await?;
    server.wait_until_none("connector", DEADLINE).await?;
    tokio::time::sleep(ask.sizes.settle).await;
    let before = server.heap_bytes().await?;
    let names: Vec<String> = (0..count).map(|number| format!("idle-{number}")).collect();
    connect(&server, sandbox, names.clone()).await?;
    call_each(&server, names).await?;
    let awake = server.heap_bytes().await?;
    let connectors = server.list::<Value>("/v1/actors?kind=connector").await?;
    server.wait_until_none("connector", DEADLINE).await?;
    tokio::time::sleep(ask.sizes.settle).await;
    let asleep = server.heap_bytes().await?;
    server.kill().await?;
    let each = |heap: f64, of: usize| (heap - before) / of.max(1) as f64;
    ask.answers.extend([
        Measurement::once(&of, "per connection, awake", "B", each(awake, connectors.len()))
            .note(format!("heap in use; {} of {count} connectors were awake", connectors.len())),
        Measurement::once(&of, "per connection, asleep", "B", each(asleep, count))
            .aim(ask.aim(Aim::AtMost(NOTHING)))
            .note("heap in use after every connection was used once and its connector has gone, against the same server before; below 256 B counts as none"),
    ]);
    Ok(())
}

async fn call_each(server: &Server, names: impl IntoIterator<Item = String>) -> Result<()> {
    let requests = names.into_iter().map(|name| {
        let body = json!({"input": {"email": EMAIL}, "connection": name});
        ("/proxy/slack.users.lookupByEmail".into(), body)
    });
    post_all::<Value>(server, requests, 200).await?;
    Ok(())
}
