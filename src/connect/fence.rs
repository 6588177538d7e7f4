//! The last look before something leaves: whether this node may still act.
//!
//! A node that was frozen goes on where it stood: with a name looked up, a connection just opened, a request handed over. So the deadline is
//! looked at where the bytes are written and not before: each time that a request is polled, before anything else is; when a connection is
//! there, before it is used; and when the body is asked for, which HTTP/1 does before the first byte of the head is flushed.

use bytes::Bytes;
use futures::future::BoxFuture;
use hyper::body::{Body, Frame, SizeHint};
use reqwest::{Client, Request, Response};
use std::{
    error::Error,
    fmt,
    future::poll_fn,
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, ready},
};
use tower::{Layer, Service};

/// Says whether something may leave now. By default always.
#[derive(Clone)]
pub struct SendFence(Arc<dyn Fn() -> bool + Send + Sync>);

impl SendFence {
    /// `may_send` is asked often and must not block.
    pub fn new(may_send: impl Fn() -> bool + Send + Sync + 'static) -> Self {
        Self(Arc::new(may_send))
    }

    pub(super) fn check(&self) -> Result<(), Fenced> {
        match (self.0)() {
            true => Ok(()),
            false => Err(Fenced),
        }
    }
}

impl Default for SendFence {
    fn default() -> Self {
        Self::new(|| true)
    }
}

impl fmt::Debug for SendFence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SendFence")
    }
}

#[derive(Debug, thiserror::Error)]
#[error("this node may not act any more")]
pub(super) struct Fenced;

type BoxError = Box<dyn Error + Send + Sync>;

/// Looks when a connection is there, before anything is written to it.
impl<S> Layer<S> for SendFence {
    type Service = Fencing<S>;
    fn layer(&self, inner: S) -> Fencing<S> {
        Fencing {
            inner,
            fence: self.clone(),
        }
    }
}

#[derive(Clone)]
pub struct Fencing<S> {
    inner: S,
    fence: SendFence,
}

impl<R, S> Service<R> for Fencing<S>
where
    S: Service<R, Error = BoxError>,
    S::Future: Send + 'static,
    S::Response: Send + 'static,
{
    type Response = S::Response;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<S::Response, BoxError>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: R) -> Self::Future {
        let (connecting, fence) = (self.inner.call(request), self.fence.clone());
        Box::pin(async move {
            let connection = connecting.await?;
            fence.check()?;
            Ok(connection)
        })
    }
}

/// The body of a request, which is given out only while the node may act.
pub(super) struct FencedBody {
    body: reqwest::Body,
    fence: SendFence,
    given_out: Arc<AtomicBool>,
}

impl Body for FencedBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        // Said before the look: whoever sees the fence fallen later than this look sees that it may have left.
        if !self.given_out.swap(true, Ordering::SeqCst)
            && let Err(fenced) = self.fence.check()
        {
            self.given_out.store(false, Ordering::SeqCst);
            return Poll::Ready(Some(Err(fenced.into())));
        }
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        Poll::Ready(frame.map(|frame| frame.map_err(Into::into)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// How a request ended that was held to the fence.
pub(super) enum Sent<T> {
    Answered(T),
    /// The node may not act any more. Whether anything of the request can have been written.
    Fenced {
        may_have_left: bool,
    },
}

impl SendFence {
    /// Sends the request and waits for the answer's head. The fence is looked at before each step, and before the body is given out.
    pub(super) async fn send(
        &self,
        client: &Client,
        mut request: Request,
    ) -> Sent<Result<Response, reqwest::Error>> {
        let (given_out, mut is_begun) = (Arc::new(AtomicBool::new(false)), false);
        let body = request.body_mut().take();
        let has_body = body.as_ref().is_some_and(|body| !body.is_end_stream());
        *request.body_mut() = body.map(|body| {
            reqwest::Body::wrap(FencedBody {
                body,
                fence: self.clone(),
                given_out: given_out.clone(),
            })
        });
        let mut sending = pin!(client.execute(request));
        poll_fn(|context| {
            if self.check().is_err() {
                let is_out = !has_body || given_out.load(Ordering::SeqCst);
                let may_have_left = is_begun && is_out;
                return Poll::Ready(Sent::Fenced { may_have_left });
            }
            is_begun = true;
            sending.as_mut().poll(context).map(Sent::Answered)
        })
        .await
    }
}

#[cfg(test)]
mod tests;
