//! The load generator. [`run`] is a closed loop: so many connections, each with one request in flight. [`paced`] is an open one: a request
//! is due every so often whether or not the ones before it were answered, and its latency counts from then.

use super::http::{Answer, Connection};
use anyhow::{Context, Result};
use futures::future::try_join_all;
use std::{
    cell::Cell,
    net::SocketAddr,
    thread,
    time::{Duration, Instant},
};
use tokio::sync::{Mutex, mpsc};

/// What a load measured.
#[derive(Debug)]
pub struct Load {
    /// One for each request, sorted, microseconds.
    latencies_us: Vec<u32>,
    /// From the first request to the last answer.
    pub took: Duration,
}

impl Load {
    pub fn count(&self) -> usize {
        self.latencies_us.len()
    }

    pub fn per_second(&self) -> f64 {
        self.count() as f64 / self.took.as_secs_f64()
    }

    /// Milliseconds below which the `share` (0 to 1) of all answers stayed.
    pub fn quantile_ms(&self, share: f64) -> f64 {
        let last = self.latencies_us.len().saturating_sub(1);
        let place = (share * last as f64).round() as usize;
        self.latencies_us
            .get(place)
            .map_or(f64::NAN, |us| f64::from(*us) / 1e3)
    }
}

/// Sends requests to one server; see [`run_over`].
///
/// # Errors
/// As [`run_over`].
pub async fn run<W, A>(
    address: SocketAddr,
    in_flight: usize,
    deadline: Duration,
    write: W,
    accept: A,
) -> Result<Load>
where
    W: Fn(u64, &mut Vec<u8>) -> bool,
    A: Fn(u64, Answer<'_>) -> Result<()>,
{
    run_over(&[address], in_flight, deadline, write, accept).await
}

/// Sends requests over `in_flight` connections, which are spread evenly over the servers, until `write` has no more. Everything runs in the
/// calling task.
///
/// `write` appends the request with this number to the buffer and says whether there is one; `accept` checks its answer.
///
/// # Errors
/// The first answer that `accept` refuses, a broken connection, or that all took longer than `deadline`.
pub async fn run_over<W, A>(
    addresses: &[SocketAddr],
    in_flight: usize,
    deadline: Duration,
    write: W,
    accept: A,
) -> Result<Load>
where
    W: Fn(u64, &mut Vec<u8>) -> bool,
    A: Fn(u64, Answer<'_>) -> Result<()>,
{
    let open = addresses
        .iter()
        .cycle()
        .take(in_flight)
        .map(|address| Connection::open(*address));
    let connections = try_join_all(open).await?;
    let next = Cell::new(0);
    let begin = Instant::now();
    let lanes = connections
        .into_iter()
        .map(|connection| lane(connection, &next, &write, &accept));
    let latencies = tokio::time::timeout(deadline, try_join_all(lanes))
        .await
        .with_context(|| format!("the load was not done after {deadline:?}"))??;
    let took = begin.elapsed();
    let mut latencies_us = latencies.concat();
    latencies_us.sort_unstable();
    Ok(Load { latencies_us, took })
}

async fn lane<W, A>(
    mut connection: Connection,
    next: &Cell<u64>,
    write: &W,
    accept: &A,
) -> Result<Vec<u32>>
where
    W: Fn(u64, &mut Vec<u8>) -> bool,
    A: Fn(u64, Answer<'_>) -> Result<()>,
{
    let mut request = Vec::with_capacity(2 * 1024);
    let mut latencies = Vec::new();
    loop {
        let number = next.get();
        next.set(number + 1);
        request.clear();
        if !write(number, &mut request) {
            return Ok(latencies);
        }
        let begin = Instant::now();
        let answer = connection.exchange(&request).await?;
        let micros = u32::try_from(begin.elapsed().as_micros()).unwrap_or(u32::MAX);
        accept(number, answer)?;
        latencies.push(micros);
    }
}

/// Between opening the connections and the first request.
const LEAD: Duration = Duration::from_millis(20);

/// Sends `per_second` requests for `time`, over `connections` connections; one that finds none free waits, and its latency with it.
///
/// # Errors
/// As [`run`].
pub async fn paced<W, A>(
    address: SocketAddr,
    connections: usize,
    (per_second, time): (u32, Duration),
    write: W,
    accept: A,
) -> Result<Load>
where
    W: Fn(u64, &mut Vec<u8>),
    A: Fn(u64, Answer<'_>) -> Result<()>,
{
    let opened = try_join_all((0..connections).map(|_| Connection::open(address))).await?;
    let begin = Instant::now() + LEAD;
    let due = Mutex::new(pacer(begin, per_second, time)?);
    let lanes = opened
        .into_iter()
        .map(|connection| paced_lane(connection, &due, &write, &accept));
    let deadline = time + Duration::from_secs(60);
    let latencies = tokio::time::timeout(deadline, try_join_all(lanes))
        .await
        .with_context(|| format!("the load was not done after {deadline:?}"))??;
    let took = begin.elapsed();
    let mut latencies_us = latencies.concat();
    latencies_us.sort_unstable();
    Ok(Load { latencies_us, took })
}

/// Tells the number and the time of each request when it is due. A thread: the runtime's timers are no finer than a millisecond, which is
/// as much as what is to be measured.
fn pacer(
    begin: Instant,
    per_second: u32,
    time: Duration,
) -> Result<mpsc::UnboundedReceiver<(u64, Instant)>> {
    let (tell, due) = mpsc::unbounded_channel();
    let pause = Duration::from_secs(1) / per_second;
    thread::Builder::new().name("pacer".into()).spawn(move || {
        let mut number = 0;
        loop {
            let at = begin + pause * number;
            if at >= begin + time {
                return;
            }
            thread::sleep(at.saturating_duration_since(Instant::now()));
            if tell.send((u64::from(number), at)).is_err() {
                return;
            }
            number += 1;
        }
    })?;
    Ok(due)
}

async fn paced_lane<W, A>(
    mut connection: Connection,
    due: &Mutex<mpsc::UnboundedReceiver<(u64, Instant)>>,
    write: &W,
    accept: &A,
) -> Result<Vec<u32>>
where
    W: Fn(u64, &mut Vec<u8>),
    A: Fn(u64, Answer<'_>) -> Result<()>,
{
    let mut request = Vec::with_capacity(2 * 1024);
    let mut latencies = Vec::new();
    loop {
        let Some((number, at)) = due.lock().await.recv().await else {
            return Ok(latencies);
        };
        request.clear();
        write(number, &mut request);
        let answer = connection.exchange(&request).await?;
        let micros = u32::try_from(at.elapsed().as_micros()).unwrap_or(u32::MAX);
        accept(number, answer)?;
        latencies.push(micros);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::ensure;
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpListener,
    };

    /// Answers every request with its last byte.
    async fn echo(listener: TcpListener) {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut request = [0; 64];
                while let Ok(read @ 1..) = stream.read(&mut request).await {
                    let head = b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n";
                    let _ = stream.write_all(head).await;
                    let _ = stream.write_all(&request[read - 1..read]).await;
                }
            });
        }
    }

    #[tokio::test]
    async fn every_request_is_sent_once_and_its_answer_checked() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(echo(listener));
        let write = |number: u64, out: &mut Vec<u8>| {
            out.extend_from_slice(b"GET / ");
            out.push(number as u8);
            number < 100
        };
        let sum = Cell::new(0);
        let accept = |number: u64, answer: Answer<'_>| {
            ensure!(answer.body == [number as u8]);
            sum.set(sum.get() + number);
            Ok(())
        };
        let minute = Duration::from_secs(60);
        let load = run(address, 8, minute, write, accept).await.unwrap();
        assert_eq!((load.count(), sum.get()), (100, 4_950));
        assert!(load.quantile_ms(0.5) <= load.quantile_ms(1.0));
        let refuse = |_: u64, answer: Answer<'_>| answer.expect(404);
        assert!(run(address, 8, minute, write, refuse).await.is_err());
    }
    #[tokio::test]
    async fn an_open_loop_sends_what_is_due_and_no_more() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(echo(listener));
        let write = |number: u64, out: &mut Vec<u8>| {
            out.extend_from_slice(b"GET / ");
            out.push(number as u8);
        };
        let accept = |number: u64, answer: Answer<'_>| {
            ensure!(answer.body == [number as u8]);
            Ok(())
        };
        let pace = (1_000, Duration::from_millis(100));
        let load = paced(address, 4, pace, write, accept).await.unwrap();
        assert_eq!(load.count(), 100);
    }
}
