//! `tenure call`: one capability through the org's connection, as an employee would use it.

use super::{
    client::segment,
    exit::{Exit, Failure},
    output::{Format, Output, text_at},
    progress::slow,
    remote::RemoteArgs,
};
use anyhow::Context;
use futures::{Stream, StreamExt, pin_mut};
use serde_json::{Map, Value};
use std::{
    fs,
    io::{self, Read, Write},
};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  tenure call slack.users.lookupByEmail --input '{\"email\":\"maya@demo.example\"}'
  tenure call slack.chat.post --input @message.json --idempotency-key greeting-1
  tenure call slack.conversations.history --input '{\"channel\":\"C0FINANCE\"}' --stream | head
  echo '{\"email\":\"maya@demo.example\"}' | tenure call slack.users.lookupByEmail --input @-

What a capability takes: tenure catalog --search NAME --json
The output is JSON; with --json it is the whole answer, with -q the execution id by which the ledger has a write. With --stream
a list is printed item by item, one JSON text a line, over all its pages, and a file as it is.
Exit code 4 if the call waits for an approval or nobody can tell whether it happened; 1 if the provider says no.")]
pub struct CallArgs {
    /// Id in the catalog, for example slack.chat.post
    capability: String,
    /// The arguments as JSON, or @FILE, or @- for stdin
    #[arg(long, value_name = "JSON", default_value = "{}")]
    input: String,
    /// Name or id of the connection, if not the oldest one
    #[arg(long, value_name = "NAME")]
    connection: Option<String>,
    /// The same key twice is one call
    #[arg(long, value_name = "KEY")]
    idempotency_key: Option<String>,
    /// Print what comes as it comes; reads only
    #[arg(long, conflicts_with = "idempotency_key")]
    stream: bool,
    #[command(flatten)]
    remote: RemoteArgs,
}

/// # Errors
/// The input is no JSON, or the call did not give an output.
pub async fn run(args: CallArgs, out: Output) -> anyhow::Result<()> {
    let body = Value::Object(body(&args)?);
    let client = args.remote.client()?;
    let path = format!("/proxy/{}", segment(&args.capability));
    if args.stream {
        let stream = client.stream(&format!("{path}?stream=true"), &body).await?;
        return print(stream).await;
    }
    let answer = slow("calling", client.post(&path, &[], &body)).await?;
    let execution = text_at(&answer, "execution_id");
    if answer.get("output").is_none() {
        return Err(waiting(&answer));
    }
    match out.format {
        Format::Json => out.json(&answer)?,
        Format::Ids => out.line(execution)?,
        Format::People => out.line(serde_json::to_string_pretty(&answer["output"])?)?,
    }
    Ok(())
}

fn body(args: &CallArgs) -> anyhow::Result<Map<String, Value>> {
    let mut body = Map::new();
    body.insert("input".into(), input(&args.input)?);
    let texts = [
        ("connection", &args.connection),
        ("idempotency_key", &args.idempotency_key),
    ];
    for (name, text) in texts {
        if let Some(text) = text {
            body.insert(name.into(), text.clone().into());
        }
    }
    Ok(body)
}

fn input(given: &str) -> anyhow::Result<Value> {
    let text = match given.strip_prefix('@') {
        None => given.to_owned(),
        Some("-") => {
            let mut text = String::new();
            io::stdin()
                .read_to_string(&mut text)
                .context("read stdin")?;
            text
        }
        Some(path) => fs::read_to_string(path)
            .map_err(|error| Failure::usage(format!("--input @{path}: {error}")))?,
    };
    let read = serde_json::from_str(&text);
    read.map_err(|error| Failure::usage(format!("--input is no JSON: {error}")))
}

/// An answer without an output: somebody has to decide first.
fn waiting(answer: &Value) -> anyhow::Error {
    let (approval, key) = (
        text_at(answer, "approval_id"),
        text_at(answer, "idempotency_key"),
    );
    let message = format!(
        "the call waits for an approval: tenure approve {approval}, and then the same call again with --idempotency-key {key}"
    );
    Failure::with(Exit::Refused, message)
}

async fn print<S, E>(stream: S) -> anyhow::Result<()>
where
    S: Stream<Item = Result<Vec<u8>, E>>,
    E: std::error::Error + Send + Sync + 'static,
{
    pin_mut!(stream);
    // The last line of a list that broke off says why.
    let mut tail = Vec::new();
    while let Some(piece) = stream.next().await {
        match piece {
            Ok(bytes) => {
                let mut out = io::stdout().lock();
                out.write_all(&bytes)?;
                out.flush()?;
                keep_last_line(&mut tail, &bytes);
            }
            Err(error) => return Err(broken_off(&tail, error)),
        }
    }
    Ok(())
}

/// More of a line than any problem has is not kept.
const LINE_MAX: usize = 64 * 1024;

/// `tail` has what followed the last line's end but one: a last line with its end, or what has come of it.
fn keep_last_line(tail: &mut Vec<u8>, bytes: &[u8]) {
    for line in bytes.split_inclusive(|byte| *byte == b'\n') {
        if tail.ends_with(b"\n") || tail.len() + line.len() > LINE_MAX {
            tail.clear();
        }
        tail.extend_from_slice(&line[..line.len().min(LINE_MAX)]);
    }
}

fn broken_off<E: std::error::Error + Send + Sync + 'static>(
    tail: &[u8],
    error: E,
) -> anyhow::Error {
    let last: Value = serde_json::from_slice(tail).unwrap_or_default();
    match last["problem"]["detail"].as_str() {
        Some(detail) => {
            let code = text_at(&last["problem"], "code");
            Failure::failed(format!("the list broke off: {detail} ({code})"))
        }
        None => Failure::failed(format!("the answer broke off: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_input_is_json_or_a_file_with_it() {
        assert_eq!(input("{\"a\":1}").unwrap()["a"], 1);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("input.json");
        fs::write(&path, "{\"b\":2}").unwrap();
        assert_eq!(input(&format!("@{}", path.display())).unwrap()["b"], 2);
        for wrong in ["{", "@/no/such/file"] {
            let error = input(wrong).unwrap_err();
            assert_eq!(super::super::exit::code_of(&error), Exit::Usage, "{error}");
        }
    }

    #[test]
    fn the_last_line_is_known_in_whatever_pieces_it_came() {
        let mut tail = Vec::new();
        for piece in ["{\"a\":1}\n{\"b\"", ":2}\n{\"prob", "lem\":3}\n"] {
            keep_last_line(&mut tail, piece.as_bytes());
        }
        assert_eq!(tail, b"{\"problem\":3}\n");
    }
}
