//! Workload W1 as requests and answers: a trigger with 512 bytes of JSON whose finished run is waited for.

use super::{
    client::Client,
    graphs::{STEPS, filler},
    http::{Answer, write_request},
    load::{self, Load},
};
use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use serde_json::Value;
use std::{
    cell::{Cell, RefCell},
    net::SocketAddr,
    time::{Duration, Instant},
};

const PAYLOAD_BYTES: usize = 512;
/// Digits of the number by which an answer is known to belong to its request.
const SEQ_DIGITS: usize = 10;
const SEQ: &[u8] = b"\"seq\":\"";
/// How long one run may take before the server answers without it.
const PREFER: &str = "wait=30";
/// How many runs of a load are read again afterwards.
const READ_AGAIN: usize = 20;

/// W1 for one employee, or for several that take turns.
pub struct W1 {
    /// The request to each of them, with zeros as its number.
    requests: Vec<Request>,
    /// So that no two payloads are the same, over all loads.
    first: Cell<u64>,
}

struct Request {
    bytes: Vec<u8>,
    /// Where the digits of the number begin.
    seq: usize,
}

/// The fields of a finished run that are held against the request.
#[derive(Deserialize)]
struct FinishedRun<'a> {
    execution_id: &'a str,
    status: &'a str,
    #[serde(borrow)]
    result: Option<Output<'a>>,
}

#[derive(Deserialize)]
struct Output<'a> {
    seq: &'a str,
    step: &'a str,
    got: u64,
}

impl W1 {
    pub fn new(server: &Client, employee: &str) -> Self {
        Self::of_all(server, [employee])
    }

    /// Each next request is for the next employee.
    pub fn of_all<'a>(server: &Client, employees: impl IntoIterator<Item = &'a str>) -> Self {
        let head = |employee| {
            let path = format!("/v1/employees/{employee}/triggers");
            server.head("POST", &path, Some(PREFER))
        };
        Self::with_heads(employees.into_iter().map(head))
    }

    fn with_heads(heads: impl Iterator<Item = String>) -> Self {
        let body = format!("{{\"payload\":{}}}", payload());
        let requests = heads.map(|head| Request::new(&head, &body)).collect();
        Self {
            requests,
            first: Cell::new(0),
        }
    }

    /// Appends the request with this number.
    pub fn write(&self, number: u64, out: &mut Vec<u8>) {
        let request = &self.requests[number as usize % self.requests.len()];
        let begin = out.len() + request.seq;
        out.extend_from_slice(&request.bytes);
        let mut rest = number;
        for digit in out[begin..begin + SEQ_DIGITS].iter_mut().rev() {
            *digit = b'0' + (rest % 10) as u8;
            rest /= 10;
        }
    }

    /// Whether this is the answer to the request with this number; gives the id of its run.
    ///
    /// # Errors
    /// The run did not complete, or has another result than its request asked for.
    pub fn accept<'a>(&self, number: u64, answer: Answer<'a>) -> Result<&'a str> {
        answer.expect(200)?;
        check(answer.body, number)
    }

    /// Keeps `in_flight` runs going for `time` and lets the last ones end. Reads some of them again, to see that results are kept.
    ///
    /// # Errors
    /// The first run that did not complete, or has another result than its request asked for.
    pub async fn run(&self, server: &mut Client, in_flight: usize, time: Duration) -> Result<Load> {
        let address = server.address;
        self.run_over(&[address], server, in_flight, time).await
    }

    /// The same over several servers; what is read again is asked of one of them.
    ///
    /// # Errors
    /// As [`W1::run`].
    pub async fn run_over(
        &self,
        addresses: &[SocketAddr],
        reader: &mut Client,
        in_flight: usize,
        time: Duration,
    ) -> Result<Load> {
        let first = self.first.get();
        let last = Cell::new(first);
        let sampled = RefCell::new(Vec::new());
        let end = Instant::now() + time;
        let write = |number: u64, out: &mut Vec<u8>| {
            last.set(last.get().max(first + number + 1));
            self.write(first + number, out);
            Instant::now() < end
        };
        let accept = |number: u64, answer: Answer<'_>| {
            let execution = self.accept(first + number, answer)?;
            let mut sampled = sampled.borrow_mut();
            if sampled.len() < READ_AGAIN {
                sampled.push((first + number, execution.to_string()));
            }
            Ok(())
        };
        let deadline = time + Duration::from_secs(60);
        let load = load::run_over(addresses, in_flight, deadline, write, accept).await?;
        self.first.set(last.get());
        for (number, execution) in sampled.into_inner() {
            let run: Value = reader.get(&format!("/v1/runs/{execution}")).await?;
            check(run.to_string().as_bytes(), number).context("read again")?;
        }
        Ok(load)
    }

    /// One run over a connection that is open already; gives the time from the request to the answer.
    ///
    /// # Errors
    /// As [`W1::run`].
    pub async fn once(&self, connection: &mut super::http::Connection) -> Result<Duration> {
        let number = self.first.replace(self.first.get() + 1);
        let mut request = Vec::new();
        self.write(number, &mut request);
        let begin = Instant::now();
        let answer = connection.exchange(&request).await?;
        let took = begin.elapsed();
        self.accept(number, answer)?;
        Ok(took)
    }
}

impl Request {
    fn new(head: &str, body: &str) -> Self {
        let mut bytes = Vec::new();
        write_request(&mut bytes, head, body.as_bytes());
        let seq = bytes
            .windows(SEQ.len())
            .position(|part| part == SEQ)
            .map_or(0, |place| place + SEQ.len());
        Self { bytes, seq }
    }
}

/// 512 bytes of JSON with a place for the number.
fn payload() -> String {
    let begin = format!(
        "{{\"seq\":\"{}\",\"customer\":\"cus_4711\",\"amount\":1250.5,\"text\":\"",
        "0".repeat(SEQ_DIGITS)
    );
    let end = "\"}";
    let text = filler(PAYLOAD_BYTES - begin.len() - end.len());
    format!("{begin}{text}{end}")
}

/// The result must come from the last step, have counted the steps before it, and carry the request's number.
fn check(body: &[u8], number: u64) -> Result<&str> {
    let run: FinishedRun<'_> = serde_json::from_slice(body).with_context(|| {
        let shown = String::from_utf8_lossy(&body[..body.len().min(500)]);
        format!("answer of another shape: {shown}")
    })?;
    ensure!(
        run.status == "completed",
        "run {} is {}, not completed",
        run.execution_id,
        run.status
    );
    let output = run.result.context("a completed run without a result")?;
    // The first step counts the four fields of the trigger.
    let expected = (format!("step_{}", STEPS - 1), 4 + STEPS as u64 - 1);
    ensure!(
        output.seq == format!("{number:010}") && (output.step.to_string(), output.got) == expected,
        "run {} has a wrong result: seq {}, step {}, got {} where seq {number:010}, step {}, got {} were expected",
        run.execution_id,
        output.seq,
        output.step,
        output.got,
        expected.0,
        expected.1
    );
    Ok(run.execution_id)
}

#[cfg(test)]
mod tests {
    use super::{super::http::request_head, *};
    use serde_json::json;

    #[test]
    fn a_payload_has_the_size_of_the_workload() {
        assert_eq!(payload().len(), PAYLOAD_BYTES);
        serde_json::from_str::<Value>(&payload()).unwrap();
    }

    #[test]
    fn every_request_has_its_number() {
        let w1 = W1::with_heads([request_head("POST", "/x", "key", Some(PREFER))].into_iter());
        let mut out = Vec::new();
        w1.write(9_876_543_210, &mut out);
        let text = String::from_utf8(out).unwrap();
        assert!(text.contains("{\"payload\":{\"seq\":\"9876543210\",\"customer\""));
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.ends_with(&format!("content-length: {}", body.len())));
    }

    #[test]
    fn employees_take_turns() {
        let head = |path| request_head("POST", path, "key", Some(PREFER));
        let w1 = W1::with_heads(["/a", "/long"].into_iter().map(head));
        let mut out = Vec::new();
        (0..3).for_each(|number| w1.write(number, &mut out));
        let text = String::from_utf8(out).unwrap();
        let paths: Vec<&str> = text
            .split("POST ")
            .filter_map(|one| one.split(' ').next())
            .collect();
        assert_eq!(paths[1..], ["/a", "/long", "/a"]);
        for number in 0..3 {
            assert!(text.contains(&format!("\"seq\":\"{number:010}\"")));
        }
    }

    #[test]
    fn another_answer_is_refused() {
        let run = |number: &str, got: u64, status: &str| {
            let result = json!({"seq": number, "step": "step_5", "got": got, "text": "x"});
            json!({"execution_id": "e", "status": status, "result": result}).to_string()
        };
        let good = run("0000000007", 9, "completed");
        assert_eq!(check(good.as_bytes(), 7).unwrap(), "e");
        assert!(check(good.as_bytes(), 8).is_err());
        assert!(check(run("0000000007", 8, "completed").as_bytes(), 7).is_err());
        assert!(check(run("0000000007", 9, "running").as_bytes(), 7).is_err());
    }
}
