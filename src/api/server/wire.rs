//! The socket of a connection, as hyper reads and writes it: notes what moves, and gives back what was read too early.

use super::meter::Meter;
use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf},
    net::TcpStream,
};

/// What an HTTP/2 connection begins with (RFC 9113, section 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    Http1,
    Http2,
}

pub struct Wire {
    stream: TcpStream,
    /// Read before; comes first.
    again: Vec<u8>,
    meter: Arc<Meter>,
}

impl Wire {
    pub fn new(stream: TcpStream, meter: Arc<Meter>) -> Self {
        Self {
            stream,
            again: Vec::new(),
            meter,
        }
    }

    /// Bytes that are to be read once more, before all others.
    pub fn read_again(&mut self, bytes: &[u8]) {
        debug_assert!(self.again.is_empty());
        self.again = bytes.to_vec();
    }

    /// Waits until there is something to read, or the end; holds no buffer meanwhile.
    ///
    /// # Errors
    /// The socket is broken.
    pub async fn readable(&self) -> io::Result<()> {
        match self.again.is_empty() {
            true => self.stream.readable().await,
            false => Ok(()),
        }
    }

    /// What the client speaks. Whoever sends nothing, or half a preface, keeps this waiting: the caller bounds it.
    ///
    /// # Errors
    /// The socket is broken.
    pub async fn version(&mut self) -> io::Result<Version> {
        let (mut seen, mut filled) = ([0; PREFACE.len()], 0);
        let version = loop {
            let read = self.stream.read(&mut seen[filled..]).await?;
            filled += read;
            if read == 0 || seen[..filled] != PREFACE[..filled] {
                break Version::Http1;
            }
            if filled == PREFACE.len() {
                break Version::Http2;
            }
        };
        self.read_again(&seen[..filled]);
        Ok(version)
    }

    fn moved(&self, written: &Poll<io::Result<usize>>) {
        match written {
            Poll::Ready(Ok(bytes @ 1..)) => self.meter.wrote(*bytes),
            Poll::Ready(_) => {}
            Poll::Pending => self.meter.write_is_blocked(),
        }
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.again.is_empty() {
            let length = self.again.len().min(buffer.remaining());
            buffer.put_slice(&self.again[..length]);
            self.again.drain(..length);
            self.meter.read();
            return Poll::Ready(Ok(()));
        }
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buffer);
        if buffer.filled().len() > before {
            self.meter.read();
        }
        read
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.moved(&written);
        written
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, parts);
        self.moved(&written);
        written
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
