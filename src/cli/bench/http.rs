//! The smallest HTTP/1.1 client that can measure a server: one connection kept alive, requests as bytes that were made beforehand,
//! answers of which only status, length and body are read. A general client would cost more CPU than the server that it measures.

use anyhow::{Context, Result, bail, ensure};
use std::net::SocketAddr;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

/// Longest head of an answer, bytes.
const HEAD_MAX: usize = 16 * 1024;

/// What was answered; borrowed from the connection until its next exchange.
#[derive(Clone, Copy, Debug)]
pub struct Answer<'a> {
    pub status: u16,
    pub body: &'a [u8],
}

impl Answer<'_> {
    /// # Errors
    /// If the status is another one; the message shows the beginning of the body.
    pub fn expect(&self, status: u16) -> Result<()> {
        if self.status == status {
            return Ok(());
        }
        let body = String::from_utf8_lossy(&self.body[..self.body.len().min(500)]);
        bail!("answer {} where {status} was expected: {body}", self.status)
    }
}

/// A connection that is kept alive over its requests.
pub struct Connection {
    stream: TcpStream,
    inbox: Vec<u8>,
}

impl Connection {
    /// # Errors
    /// If nobody listens there.
    pub async fn open(address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(address)
            .await
            .with_context(|| format!("connect to {address}"))?;
        stream.set_nodelay(true)?;
        Ok(Self {
            stream,
            inbox: Vec::with_capacity(8 * 1024),
        })
    }

    /// Sends a whole request and reads the whole answer. No deadline of its own.
    ///
    /// # Errors
    /// If the connection ends, or the answer has no `content-length`.
    pub async fn exchange(&mut self, request: &[u8]) -> Result<Answer<'_>> {
        self.stream.write_all(request).await?;
        self.inbox.clear();
        let head = loop {
            if let Some(head) = Head::parse(&self.inbox)? {
                break head;
            }
            ensure!(
                self.inbox.len() < HEAD_MAX,
                "answer has a head above {HEAD_MAX} bytes"
            );
            self.fill().await?;
        };
        while self.inbox.len() < head.end + head.body {
            self.fill().await?;
        }
        Ok(Answer {
            status: head.status,
            body: &self.inbox[head.end..head.end + head.body],
        })
    }

    async fn fill(&mut self) -> Result<()> {
        let read = self.stream.read_buf(&mut self.inbox).await?;
        ensure!(read > 0, "the server closed the connection");
        Ok(())
    }
}

#[derive(Debug, PartialEq, Eq)]
struct Head {
    status: u16,
    /// Where the body begins.
    end: usize,
    /// Its length.
    body: usize,
}

impl Head {
    /// `None` if it is not complete yet.
    fn parse(bytes: &[u8]) -> Result<Option<Head>> {
        let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else {
            return Ok(None);
        };
        let head =
            std::str::from_utf8(&bytes[..end]).context("answer with a head that is no text")?;
        let mut lines = head.split("\r\n");
        let status: u16 = lines
            .next()
            .and_then(|line| line.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok())
            .context("answer is no HTTP/1.1")?;
        let length = lines
            .filter_map(|line| line.split_once(':'))
            .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
            .and_then(|(_, value)| value.trim().parse().ok());
        let body = match length {
            Some(length) => length,
            None if status == 204 => 0,
            None => bail!("answer {status} without a content-length"),
        };
        Ok(Some(Head {
            status,
            end: end + 4,
            body,
        }))
    }
}

/// Appends a request to `out`; `head` as [`request_head`] makes it.
pub fn write_request(out: &mut Vec<u8>, head: &str, body: &[u8]) {
    out.extend_from_slice(head.as_bytes());
    out.extend_from_slice(format!("content-length: {}\r\n\r\n", body.len()).as_bytes());
    out.extend_from_slice(body);
}

/// Request line and headers that do not depend on the body. `prefer`: value of the header `Prefer`.
pub fn request_head(method: &str, path: &str, key: &str, prefer: Option<&str>) -> String {
    let prefer = prefer.map_or_else(String::new, |value| format!("prefer: {value}\r\n"));
    format!(
        "{method} {path} HTTP/1.1\r\nhost: bench\r\nauthorization: Bearer {key}\r\ncontent-type: application/json\r\n{prefer}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_are_read_when_they_are_complete() {
        let text = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nx: y\r\n\r\n{}";
        for end in 0..text.len() - 2 {
            assert_eq!(Head::parse(&text[..end]).unwrap(), None);
        }
        let head = Head::parse(text).unwrap().unwrap();
        assert_eq!((head.status, &text[head.end..]), (200, b"{}".as_slice()));
        assert_eq!(head.body, 2);
    }

    #[test]
    fn answers_of_unknown_length_are_refused() {
        assert!(Head::parse(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").is_err());
        assert!(Head::parse(b"SSH-2.0\r\n\r\n").is_err());
        assert_eq!(
            Head::parse(b"HTTP/1.1 204 No Content\r\n\r\n")
                .unwrap()
                .unwrap()
                .body,
            0
        );
    }
}
