//! Clients that begin something and do not go on with it.

use super::{PATIENCE, Service};
use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::{Request, client::conn::http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use std::time::Duration;
use tokio::time::{sleep, timeout};

#[tokio::test]
async fn half_a_head_ends_and_others_are_answered() {
    let service = Service::start(&[("HEADER_TIMEOUT", "1s")]).await;
    let whole = service.request("GET", "/v1/org", "");
    let mut halves = Vec::new();
    for start in [
        "G",
        "GET /v1/org HTTP/1.1\r\n",
        "GET /v1/org HTTP/1.1\r\nhost: a\r\nx: ",
        "P",
        "PRI * HTTP/2.0",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r",
        "\r\n",
        &whole[..whole.len() - 2],
    ] {
        for _ in 0..10 {
            let mut socket = service.connect().await;
            socket.send(start).await;
            halves.push(socket);
        }
    }
    service.others_are_answered().await;
    for socket in &mut halves {
        socket.until_the_end().await;
    }
    service.others_are_answered().await;
}

#[tokio::test]
async fn head_that_dribbles_ends() {
    let service = Service::start(&[("HEADER_TIMEOUT", "1s")]).await;
    let mut socket = service.connect().await;
    socket.send("GET /v1/org HTTP/1.1\r\nhost: a\r\n").await;
    let mut ended = false;
    for n in 0..600 {
        let line = format!("x-{n}: y\r\n");
        let sent = tokio::io::AsyncWriteExt::write_all(&mut socket.0, line.as_bytes()).await;
        if sent.is_err() {
            ended = true;
            break;
        }
        sleep(Duration::from_millis(100)).await;
        let mut byte = [0];
        // Nothing to read as long as the head is waited for.
        if !matches!(socket.0.try_read(&mut byte), Err(error) if error.kind() == std::io::ErrorKind::WouldBlock)
        {
            ended = true;
            break;
        }
    }
    assert!(ended, "a head may take as long as it likes");
}

#[tokio::test]
async fn head_that_is_too_large_is_refused() {
    let service = Service::start(&[]).await;
    let many: String = (0..200).map(|n| format!("x-{n}: y\r\n")).collect();
    let long = format!("x: {}\r\n", "y".repeat(200 * 1024));
    for more in [many, long] {
        let mut socket = service.connect().await;
        let request = service.request("GET", "/v1/org", &more);
        let _ = timeout(
            PATIENCE,
            tokio::io::AsyncWriteExt::write_all(&mut socket.0, request.as_bytes()),
        )
        .await;
        let answer = socket.until_the_end().await;
        assert!(
            answer.is_empty() || answer.starts_with("HTTP/1.1 431"),
            "{answer}"
        );
    }
    service.others_are_answered().await;
}

#[tokio::test]
async fn body_that_stops_or_dribbles_ends_with_a_problem() {
    let service = Service::start(&[]).await;
    let head = service.request(
        "POST",
        "/v1/keys",
        "content-type: application/json\r\ncontent-length: 40\r\n",
    );
    let (mut stopped, mut dribbling) = (service.connect().await, service.connect().await);
    stopped.send(&format!("{head}{{")).await;
    dribbling.send(&head).await;
    for byte in "                    ".chars() {
        let sent = tokio::io::AsyncWriteExt::write_all(&mut dribbling.0, &[byte as u8]).await;
        // Whoever goes on after the answer may never see it: the connection is reset.
        let answered = timeout(Duration::from_secs(1), dribbling.0.readable()).await;
        if sent.is_err() || answered.is_ok() {
            break;
        }
    }
    service.others_are_answered().await;
    for socket in [&mut stopped, &mut dribbling] {
        let answer = socket.until_the_end().await;
        assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
        assert!(answer.contains("body_timeout"), "{answer}");
    }
}

#[tokio::test]
async fn reader_that_takes_nothing_is_ended() {
    let service = Service::start(&[("STALL_TIMEOUT", "2s")]).await;
    let mut socket = service.connect().await;
    // More than sockets buffer.
    let requests = service.request("GET", "/v1/catalog", "").repeat(200);
    socket.send(&requests).await;
    // That it has ended is only seen by reading what had come before; whoever does not read for so long gets less than all.
    sleep(Duration::from_secs(6)).await;
    let read = socket.until_the_end().await;
    let answers = read.matches("HTTP/1.1 200").count();
    assert!(answers < 200, "all {answers} answers were kept for it");
    service.others_are_answered().await;
}

/// A connection of HTTP/2 with prior knowledge, and the task that drives it.
async fn http2(
    service: &Service,
    window: u32,
) -> (
    http2::SendRequest<Empty<Bytes>>,
    tokio::task::JoinHandle<hyper::Result<()>>,
) {
    let socket = service.connect().await;
    let (sender, connection) = http2::Builder::new(TokioExecutor::new())
        .initial_stream_window_size(window)
        .initial_connection_window_size(1 << 20)
        .handshake(TokioIo::new(socket.0))
        .await
        .expect("HTTP/2");
    (sender, tokio::spawn(connection))
}

fn get(service: &Service, path: &str) -> Request<Empty<Bytes>> {
    Request::get(format!("http://{}{path}", service.address))
        .header("authorization", format!("Bearer {}", service.key))
        .body(Empty::new())
        .expect("a request")
}

#[tokio::test]
async fn http2_is_spoken_with_prior_knowledge_and_ends_when_idle() {
    let service = Service::start(&[("KEEP_ALIVE_TIMEOUT", "2s")]).await;
    let (mut sender, driving) = http2(&service, 1 << 20).await;
    for _ in 0..20 {
        let answer = sender.send_request(get(&service, "/v1/org")).await;
        let answer = answer.expect("an answer");
        assert_eq!(answer.status(), 200);
        answer.into_body().collect().await.expect("its body");
    }
    let ended = timeout(PATIENCE, driving).await;
    assert!(ended.is_ok(), "an idle connection of HTTP/2 stays");
}

#[tokio::test]
async fn http2_reader_that_takes_nothing_is_ended() {
    let service = Service::start(&[("STALL_TIMEOUT", "2s")]).await;
    // Its window takes a little of the answer, and nobody reads, so no more is ever allowed.
    let (mut sender, driving) = http2(&service, 1_024).await;
    let answer = sender.send_request(get(&service, "/v1/catalog")).await;
    let _unread = answer.expect("an answer");
    let ended = timeout(PATIENCE, driving).await;
    assert!(ended.is_ok(), "an answer that nobody takes is kept");
    service.others_are_answered().await;
}

#[tokio::test]
async fn answers_that_one_address_does_not_read_are_bounded_and_others_are_answered() {
    let service = Service::start(&[("STALL_TIMEOUT", "300s")]).await;
    let before = service.memory();
    let (mut unread, mut refused) = (Vec::new(), 0);
    let mut driving = Vec::new();
    for _ in 0..20 {
        let (mut sender, task) = http2(&service, 1_024).await;
        driving.push(task);
        for _ in 0..100 {
            sender.ready().await.expect("it is open");
            let answer = sender.send_request(get(&service, "/v1/catalog"));
            let answer = timeout(PATIENCE, answer).await.expect("in time");
            let answer = answer.expect("an answer");
            match answer.status().as_u16() {
                200 => unread.push(answer),
                status => {
                    assert_eq!(status, 503);
                    refused += 1;
                }
            }
        }
    }
    assert!(refused > 0, "{} answers are kept", unread.len());
    let grown = service.memory().saturating_sub(before);
    assert!(
        grown < 96 << 20,
        "{grown} bytes for {} answers",
        unread.len()
    );
    service.others_are_answered().await;
    drop((unread, driving));
}
