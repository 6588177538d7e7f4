//! Bodies that have to move: what a request brings must come fast enough, and what an answer gives is noted.

use super::{
    answer_room::Held,
    meter::{Meter, Progress},
};
use axum::{
    body::{Body as AxumBody, Bytes},
    http::Response,
};
use hyper::body::{Body, Frame, Incoming, SizeHint};
use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};
use tokio::time::{Instant, Sleep, sleep_until};

/// How fast a body has to come.
#[derive(Clone, Copy, Debug)]
struct Pace {
    /// The longest pause within it.
    gap: Duration,
    /// Nobody is measured before this.
    grace: Duration,
    /// Bytes a second that it must bring on average after that.
    floor: u64,
}

const PACE: Pace = Pace {
    gap: Duration::from_secs(10),
    grace: Duration::from_secs(10),
    floor: 4 * 1024,
};

impl Pace {
    /// When a body is too slow that began then and has brought so much, if nothing comes from now until then; and how.
    fn deadline(&self, began: Instant, bytes: u64, now: Instant) -> (Instant, TooSlow) {
        let floor = began + self.grace + Duration::from_secs(bytes / self.floor);
        if now + self.gap <= floor {
            (now + self.gap, TooSlow::Gap)
        } else {
            (floor, TooSlow::Floor)
        }
    }
}

/// Bytes of an answer that are passed on at once: a frame of HTTP/2.
const PART: usize = 16 * 1024;

/// The body of a request came too slowly.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TooSlow {
    #[error("nothing of the body came for {}s", PACE.gap.as_secs())]
    Gap,
    #[error("the body came with fewer than {} bytes a second", PACE.floor)]
    Floor,
}

/// A request's body that ends with [`TooSlow`] when it dribbles. It is measured only while somebody waits for it.
pub struct Paced<B = Incoming> {
    body: B,
    pace: Pace,
    began: Option<Instant>,
    bytes: u64,
    /// While nothing comes: until when something has to, and what it is called if not.
    timer: Option<(Pin<Box<Sleep>>, TooSlow)>,
}

impl<B> Paced<B> {
    pub fn new(body: B) -> Self {
        Self {
            body,
            pace: PACE,
            began: None,
            bytes: 0,
            timer: None,
        }
    }
}

impl<B: Body<Data = Bytes, Error: Into<axum::BoxError>> + Unpin> Body for Paced<B> {
    type Data = Bytes;
    type Error = axum::BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::BoxError>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(cx) {
            self.timer = None;
            if let Some(Ok(frame)) = &frame {
                self.bytes += frame.data_ref().map_or(0, |data| data.len() as u64);
            }
            return Poll::Ready(frame.map(|frame| frame.map_err(Into::into)));
        }
        if self.timer.is_none() {
            let now = Instant::now();
            let began = *self.began.get_or_insert(now);
            let (deadline, why) = self.pace.deadline(began, self.bytes, now);
            self.timer = Some((Box::pin(sleep_until(deadline)), why));
        }
        match &mut self.timer {
            Some((timer, why)) => {
                let why = *why;
                ready!(timer.as_mut().poll(cx));
                Poll::Ready(Some(Err(why.into())))
            }
            None => Poll::Pending,
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }
    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A request under way: counted from its head to the end of its answer's body, or until it is given up.
pub struct UnderWay {
    meter: Arc<Meter>,
    room: Option<Held>,
}

impl UnderWay {
    /// `room`: what it holds of the room for answers; `None`: there was none, and it is being refused.
    pub fn new(meter: &Arc<Meter>, room: Option<Held>) -> Self {
        meter.request_began();
        Self {
            meter: meter.clone(),
            room,
        }
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.meter.request_ended();
    }
}

/// The body of an answer, which notes when it is asked and when it gives.
pub struct Watched {
    body: AxumBody,
    /// What it gave and is passed on in parts: the next part is asked for only when there is room for it, so that a body is here, and counted
    /// as under way, until nearly all of it is taken. HTTP/2 would keep a whole one that nobody takes.
    rest: Bytes,
    progress: Option<Arc<Progress>>,
    _under_way: UnderWay,
}

impl Watched {
    pub fn new(answer: Response<AxumBody>, mut under_way: UnderWay) -> Response<Self> {
        if let Some(room) = &mut under_way.room {
            room.answers_with(&answer);
        }
        answer.map(|body| Self {
            progress: under_way.meter.answer_begins(),
            body,
            rest: Bytes::new(),
            _under_way: under_way,
        })
    }

    fn asked(&self) {
        if let Some(progress) = &self.progress {
            progress.asked();
        }
    }

    fn given(&self, bytes: usize) {
        if let Some(progress) = &self.progress {
            progress.given(bytes);
        }
    }
}

impl Body for Watched {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        self.asked();
        if self.rest.is_empty() {
            let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
            match frame.map(|frame| frame.map(Frame::into_data)) {
                Some(Ok(Ok(data))) => self.rest = data,
                other => {
                    self.given(0);
                    let as_it_is = |frame: Result<_, Frame<Bytes>>| match frame {
                        Ok(data) => Frame::data(data),
                        Err(frame) => frame,
                    };
                    return Poll::Ready(other.map(|frame| frame.map(as_it_is)));
                }
            }
        }
        let length = self.rest.len().min(PART);
        self.given(length);
        let part = self.rest.split_to(length);
        Poll::Ready(Some(Ok(Frame::data(part))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }
    fn size_hint(&self) -> SizeHint {
        let (mut hint, rest) = (self.body.size_hint(), self.rest.len() as u64);
        if let Some(upper) = hint.upper() {
            hint.set_upper(upper + rest);
        }
        hint.set_lower(hint.lower() + rest);
        hint
    }
}

#[cfg(test)]
mod tests {
    use super::{super::answer_room::AnswerRoom, *};
    use http_body_util::{BodyExt, StreamBody};

    #[tokio::test]
    async fn answer_is_passed_on_in_parts_and_holds_its_room_until_then() {
        for follows in [true, false] {
            passed_on(follows).await;
        }
    }

    async fn passed_on(follows: bool) {
        let meter = Arc::new(Meter::default());
        if follows {
            meter.follow_answers();
        }
        let room = AnswerRoom::new();
        let held = room.admit(None).expect("room");
        let answer = Response::new(AxumBody::from(vec![b'x'; 40_000]));
        let mut body = Watched::new(answer, UnderWay::new(&meter, Some(held))).into_body();
        let mut lengths = Vec::new();
        while let Some(frame) = body.frame().await {
            let data = frame.expect("a frame").into_data().expect("data");
            lengths.push(data.len());
            let left = 40_000 - lengths.iter().sum::<usize>();
            assert_eq!(body.size_hint().exact(), Some(left as u64));
            assert_eq!(body.is_end_stream(), left == 0);
            assert!(meter.at_rest().is_none());
            assert!(room.taken() >= 40_000);
        }
        assert_eq!(lengths, [PART, PART, 40_000 - 2 * PART]);
        drop(body);
        assert!(meter.at_rest().is_some());
        assert_eq!(room.taken(), 0);
    }

    /// What becomes of a body that brings `bytes` every `pause`, up to a megabyte.
    fn fate(bytes: u64, pause: Duration) -> Option<TooSlow> {
        let began = Instant::now();
        let (mut now, mut brought) = (began, 0);
        while brought < 1_000_000 {
            let (deadline, why) = PACE.deadline(began, brought, now);
            now += pause;
            if now > deadline {
                return Some(why);
            }
            brought += bytes;
        }
        None
    }

    #[test]
    fn body_that_pauses_or_dribbles_is_too_slow_and_that_of_a_slow_line_is_not() {
        let (gap, floor) = (Some(TooSlow::Gap), Some(TooSlow::Floor));
        for (bytes, millis, expected) in [
            (1_000_000, 11_000, gap),
            (400_000, 11_000, gap),
            (1, 100, floor),
            (1, 9_000, floor),
            (100, 1_000, floor),
            (3_000, 1_000, floor),
            (40_000, 9_990, floor),
            (5_000, 1_000, None),
            (50_000, 9_990, None),
            (1_460, 10, None),
        ] {
            let fate = fate(bytes, Duration::from_millis(millis));
            assert_eq!(fate, expected, "{bytes} bytes every {millis} ms");
        }
    }

    #[tokio::test]
    async fn body_that_does_not_come_ends_and_says_why() {
        let (mut body, soon) = (
            Paced::new(StreamBody::new(futures::stream::pending::<
                Result<Frame<Bytes>, std::io::Error>,
            >())),
            Duration::from_millis(20),
        );
        body.pace = Pace {
            gap: soon,
            grace: 2 * soon,
            floor: 1,
        };
        let error = body.collect().await.expect_err("nothing comes");
        assert_eq!(error.downcast_ref(), Some(&TooSlow::Gap));
    }
}
