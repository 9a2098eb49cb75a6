//! The bodies of answers.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use hyper::body::{Bytes, Frame, SizeHint};
use hyper::header::HeaderMap;

/// Bytes that are all there, and trailers.
#[derive(Debug, Default)]
pub(crate) struct Outgoing {
    data: Bytes,
    trailers: Option<HeaderMap>,
}

impl Outgoing {
    pub(crate) fn with_trailers(data: Bytes, trailers: HeaderMap) -> Self {
        Self { data, trailers: Some(trailers) }
    }

    /// Number of bytes.
    pub(crate) fn len(&self) -> usize {
        self.data.len()
    }
}

impl From<Bytes> for Outgoing {
    fn from(data: Bytes) -> Self {
        Self { data, trailers: None }
    }
}

impl hyper::body::Body for Outgoing {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let frame = match self.data.is_empty() {
            false => Some(Frame::data(std::mem::take(&mut self.data))),
            true => self.trailers.take().map(Frame::trailers),
        };
        Poll::Ready(frame.map(Ok))
    }

    fn is_end_stream(&self) -> bool {
        self.data.is_empty() && self.trailers.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        match self.trailers {
            // Nobody measures what has trailers.
            Some(_) => SizeHint::default(),
            None => SizeHint::with_exact(self.data.len() as u64),
        }
    }
}
