//! Reading request bodies, within a size and a time.

use std::future::poll_fn;
use std::pin::Pin;
use std::time::{Duration, Instant};

use hyper::body::{Body, Bytes, Incoming};
use hyper::header::{EXPECT, HeaderMap};
use tokio::time::{timeout, timeout_at};

/// Longest time that is spent on reading a body which is too large, so that the client sees the
/// answer and not a reset connection.
const DISCARD_TIME: Duration = Duration::from_secs(1);

/// Why there is no whole body.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum UploadError {
    #[error("Request body is larger than {limit} bytes")]
    TooLarge { limit: usize },
    #[error("Request body did not arrive in time")]
    Slow,
    #[error("Request body could not be read")]
    Broken,
}

/// The whole body, at most `limit` bytes; as it arrived where it came in one piece.
pub(crate) async fn read(
    headers: &HeaderMap,
    mut body: Incoming,
    limit: usize,
    deadline: Instant,
) -> Result<Bytes, UploadError> {
    let read = timeout_at(deadline.into(), read_all(&mut body, limit)).await;
    let read = read.unwrap_or(Err(UploadError::Slow));
    // A client that waits for leave to send its body has sent none of it.
    if matches!(read, Err(UploadError::TooLarge { .. })) && !headers.contains_key(EXPECT) {
        let _ = timeout(DISCARD_TIME, discard(&mut body, limit)).await;
    }
    read
}

async fn read_all(body: &mut Incoming, limit: usize) -> Result<Bytes, UploadError> {
    let announced = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
    if announced > limit {
        return Err(UploadError::TooLarge { limit });
    }
    let Some(first) = next_data(body).await? else { return Ok(Bytes::new()) };
    if body.is_end_stream() && first.len() <= limit {
        return Ok(first);
    }
    let mut whole = Vec::with_capacity(announced.max(first.len()));
    let mut next = Some(first);
    while let Some(data) = next {
        if whole.len() + data.len() > limit {
            return Err(UploadError::TooLarge { limit });
        }
        whole.extend_from_slice(&data);
        next = next_data(body).await?;
    }
    Ok(whole.into())
}

/// The next piece of a body, `None` at its end.
async fn next_data(body: &mut Incoming) -> Result<Option<Bytes>, UploadError> {
    loop {
        match poll_fn(|context| Pin::new(&mut *body).poll_frame(context)).await {
            None => return Ok(None),
            Some(Err(_)) => return Err(UploadError::Broken),
            Some(Ok(frame)) => {
                // Trailers say nothing that is needed.
                if let Ok(data) = frame.into_data() {
                    return Ok(Some(data));
                }
            }
        }
    }
}

/// Reads up to `limit` bytes of a body and forgets them.
async fn discard(body: &mut Incoming, limit: usize) {
    let mut left = limit;
    while let Ok(Some(data)) = next_data(body).await {
        match left.checked_sub(data.len()) {
            Some(less) => left = less,
            None => break,
        }
    }
}
