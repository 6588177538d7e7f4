//! `tenure doctor`: looks at a service from outside and says what is wrong with it, and what to do.

use super::{
    client::{Client, ClientError},
    exit::{Exit, Failure},
    output::{Format, Output, text_at},
    remote::{RemoteArgs, hint},
};
use serde::Serialize;
use serde_json::{Value, json};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  tenure doctor
  tenure doctor --url https://tenure.example --key tnk_… --json
  tenure doctor --alive --url http://127.0.0.1:7117

Exit code 0 if nothing is wrong (warnings are not), 1 if something is, 5 if the service does not answer.")]
pub struct DoctorArgs {
    /// Only see whether the process answers, as a container's health check does; needs no key
    #[arg(long, requires = "url")]
    alive: bool,
    #[command(flatten)]
    remote: RemoteArgs,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Health {
    Ok,
    /// A person may want to look.
    Warning,
    Failed,
}

/// One thing that was looked at.
#[derive(Debug, Serialize)]
struct Finding {
    check: &'static str,
    health: Health,
    detail: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    advice: Option<String>,
}

impl Finding {
    fn ok(check: &'static str, detail: impl Into<String>) -> Self {
        Self {
            check,
            health: Health::Ok,
            detail: detail.into(),
            advice: None,
        }
    }
    fn warning(check: &'static str, detail: impl Into<String>, advice: impl Into<String>) -> Self {
        Self {
            health: Health::Warning,
            advice: Some(advice.into()),
            ..Self::ok(check, detail)
        }
    }
    fn failed(check: &'static str, error: &ClientError) -> Self {
        Self {
            health: Health::Failed,
            advice: hint(error).map(str::to_owned),
            ..Self::ok(check, error.to_string())
        }
    }
}

/// # Errors
/// Something is wrong with the service.
pub async fn run(args: DoctorArgs, out: Output) -> anyhow::Result<()> {
    if args.alive {
        let url = args.remote.url.as_deref().unwrap_or_default();
        let health = Client::new(url, None)?.get("/healthz", &[]).await?;
        return Ok(out.thing(&health, "status", "alive")?);
    }
    let client = args.remote.client()?;
    let mut findings = Vec::new();
    let reached = service(&client, &mut findings).await;
    if reached {
        findings.push(ready(&client).await);
        let key = key(&client).await;
        let is_key_valid = key.health == Health::Ok;
        findings.push(key);
        if is_key_valid {
            findings.push(unfinished(&client).await);
            findings.push(approvals(&client).await);
            findings.push(ambiguous(&client).await);
            findings.push(quarantined(&client).await);
        }
        findings.extend(stranded(&client).await);
        if let Some(url) = args.remote.sandbox_url() {
            findings.push(sandbox(&url).await);
        }
    }
    print(&findings, out)?;
    let failed = findings
        .iter()
        .any(|finding| finding.health == Health::Failed);
    match (reached, failed) {
        (false, _) => Err(Failure::with(
            Exit::Unreachable,
            "the service does not answer",
        )),
        (_, true) => Err(Failure::failed("something is wrong")),
        _ => Ok(()),
    }
}

fn print(findings: &[Finding], out: Output) -> std::io::Result<()> {
    if out.format == Format::Json {
        return out.json(&json!({ "items": findings }));
    }
    for finding in findings {
        let mark = match finding.health {
            Health::Ok => "ok     ",
            Health::Warning => "look   ",
            Health::Failed => "FAILED ",
        };
        if out.format == Format::Ids && finding.health == Health::Ok {
            continue;
        }
        out.line(format!("{mark}{:<19}{}", finding.check, finding.detail))?;
        if let Some(advice) = &finding.advice {
            out.line(out.dim(&format!("{:26}{advice}", "")))?;
        }
    }
    Ok(())
}

async fn service(client: &Client, findings: &mut Vec<Finding>) -> bool {
    let health = client.get("/healthz", &[]).await;
    let reached = !matches!(health, Err(ClientError::Unreachable { .. }));
    findings.push(match health {
        Ok(_) => Finding::ok("service", format!("answers at {}", client.base())),
        Err(error) => Finding::failed("service", &error),
    });
    reached
}

/// Readiness includes the database.
async fn ready(client: &Client) -> Finding {
    match client.get("/readyz", &[]).await {
        Ok(_) => Finding::ok("ready", "takes work, the database answers"),
        Err(error) => Finding::failed("ready", &error),
    }
}

async fn key(client: &Client) -> Finding {
    match client.get("/v1/employees", &[("limit", "1")]).await {
        Ok(_) => Finding::ok("key", "is valid"),
        Err(error) => Finding::failed("key", &error),
    }
}

async fn unfinished(client: &Client) -> Finding {
    const CHECK: &str = "unfinished runs";
    let mut counts = Vec::new();
    for status in ["accepted", "running", "waiting"] {
        match count(client, "/v1/runs", &[("status", status)]).await {
            Ok(number) => counts.push(format!("{number} {status}")),
            Err(error) => return Finding::failed(CHECK, &error),
        }
    }
    Finding::ok(CHECK, counts.join(", "))
}

async fn approvals(client: &Client) -> Finding {
    const CHECK: &str = "approvals";
    match count(client, "/v1/approvals", &[("status", "pending")]).await {
        Ok(number) if number.is_none() => Finding::ok(CHECK, "none waits"),
        Ok(number) => Finding::warning(
            CHECK,
            format!("{number} wait"),
            "`tenure approve` lists them",
        ),
        Err(error) => Finding::failed(CHECK, &error),
    }
}

async fn ambiguous(client: &Client) -> Finding {
    const CHECK: &str = "ambiguous effects";
    match count(client, "/v1/effects", &[("status", "ambiguous")]).await {
        Ok(number) if number.is_none() => Finding::ok(CHECK, "none"),
        Ok(number) => Finding::warning(
            CHECK,
            format!("{number}: nobody knows whether they happened"),
            "look at the provider, then POST /v1/effects/{id}/reconcile; GET /v1/effects?status=ambiguous lists them",
        ),
        Err(error) => Finding::failed(CHECK, &error),
    }
}

async fn quarantined(client: &Client) -> Finding {
    const CHECK: &str = "quarantine";
    match count(client, "/v1/employees", &[("status", "quarantined")]).await {
        Ok(number) if number.is_none() => Finding::ok(CHECK, "nobody"),
        Ok(number) => Finding::warning(
            CHECK,
            format!("{number} employees crashed too often and are held; their triggers are kept"),
            "find out why with `tenure show`, then POST /v1/employees/{id}/release",
        ),
        Err(error) => Finding::failed(CHECK, &error),
    }
}

/// From the metrics, since it is about all orgs. Nothing if there are none.
async fn stranded(client: &Client) -> Option<Finding> {
    const CHECK: &str = "stranded runs";
    let metrics = client.text("/metrics").await.ok()?;
    let number = gauge(&metrics, "tenure_runs_stranded").unwrap_or(0.0);
    Some(if number == 0.0 {
        Finding::ok(CHECK, "none")
    } else {
        Finding::warning(
            CHECK,
            format!("{number} runs had nothing that would wake them"),
            "the sweeper repairs them by itself; if the number stays, please report it",
        )
    })
}

async fn sandbox(url: &str) -> Finding {
    let asked = async {
        let sandbox = Client::new(url, None)?;
        sandbox.get("/record", &[("integration", "slack")]).await
    };
    match asked.await {
        Ok(_) => Finding::ok("sandbox", format!("answers at {url}")),
        Err(error) => Finding::failed("sandbox", &error),
    }
}

fn gauge(metrics: &str, name: &str) -> Option<f64> {
    metrics
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok())
}

/// How many there are, as far as one page says.
struct Count {
    number: usize,
    is_more: bool,
}

impl Count {
    fn is_none(&self) -> bool {
        self.number == 0
    }
}

impl std::fmt::Display for Count {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let more = if self.is_more { "+" } else { "" };
        write!(f, "{}{more}", self.number)
    }
}

async fn count(client: &Client, path: &str, filter: &[(&str, &str)]) -> Result<Count, ClientError> {
    let mut query = filter.to_vec();
    query.push(("limit", "200"));
    let page = client.get(path, &query).await?;
    Ok(Count {
        number: page["items"].as_array().map_or(0, Vec::len),
        is_more: !matches!(page["next"], Value::Null) && !text_at(&page, "next").is_empty(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gauge_is_found_by_its_whole_name() {
        let metrics =
            "# TYPE tenure_runs_stranded gauge\ntenure_runs_stranded_x 7\ntenure_runs_stranded 2\n";
        assert_eq!(gauge(metrics, "tenure_runs_stranded"), Some(2.0));
        assert_eq!(gauge(metrics, "tenure_runs"), None);
    }
}
