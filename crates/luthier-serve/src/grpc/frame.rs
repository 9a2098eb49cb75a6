//! Messages on the wire: a flag, a length, and the message, which may be compressed.

use std::io::Read;

use flate2::read::{GzDecoder, ZlibDecoder};
use hyper::body::Bytes;
use hyper::header::HeaderMap;

use crate::service::Code;

/// Bytes before a message: whether it is compressed, and its length.
pub(crate) const PREFIX: usize = 5;
/// Name of the header with the compression of a message.
const ENCODING: &str = "grpc-encoding";
/// What [`message`] can decompress, as gRPC names it.
pub(super) const ENCODINGS: &str = "identity,deflate,gzip";

/// Why a body is no message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum FrameError {
    #[error("expected one message, found {found}")]
    Count { found: &'static str },
    #[error("the message ends early")]
    Truncated,
    #[error("the flag before the message is {flag}")]
    Flag { flag: u8 },
    #[error("the message is compressed and {ENCODING} does not say how")]
    NoEncoding,
    #[error("{ENCODING} {name} is not supported, send one of {ENCODINGS}")]
    Encoding { name: String },
    #[error("the message cannot be decompressed")]
    Compression,
    #[error("Received message larger than max ({limit} bytes)")]
    TooLarge { limit: usize },
}

/// `message` with its prefix; it has at most 4 GiB.
pub(super) fn framed(message: &impl prost::Message) -> Vec<u8> {
    let mut bytes = prefix(message.encoded_len());
    message.encode_raw(&mut bytes);
    bytes
}

/// What comes before a message of this length, with room for it.
pub(crate) fn prefix(length: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(PREFIX + length);
    bytes.push(0);
    bytes.extend_from_slice(&u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes());
    bytes
}

/// Whether the message in `body` is compressed.
pub(super) fn is_compressed(body: &[u8]) -> bool {
    body.first() == Some(&1)
}

/// The one message in `body`, of at most `limit` bytes.
pub(crate) fn message(
    headers: &HeaderMap,
    body: &Bytes,
    limit: usize,
) -> Result<Bytes, FrameError> {
    if body.is_empty() {
        return Err(FrameError::Count { found: "none" });
    }
    let (prefix, rest) = body.split_first_chunk().ok_or(FrameError::Truncated)?;
    let [flag, length @ ..]: [u8; PREFIX] = *prefix;
    let length = u32::from_be_bytes(length) as usize;
    if length > rest.len() {
        return Err(FrameError::Truncated);
    }
    if length < rest.len() {
        return Err(FrameError::Count { found: "more" });
    }
    match flag {
        0 if length > limit => Err(FrameError::TooLarge { limit }),
        0 => Ok(body.slice(PREFIX..)),
        1 => decompressed(headers, rest, limit),
        flag => Err(FrameError::Flag { flag }),
    }
}

fn decompressed(headers: &HeaderMap, bytes: &[u8], limit: usize) -> Result<Bytes, FrameError> {
    let name = headers.get(ENCODING).map_or(b"identity".as_slice(), |value| value.as_bytes());
    match name {
        b"gzip" => read(GzDecoder::new(bytes), limit),
        b"deflate" => read(ZlibDecoder::new(bytes), limit),
        b"identity" => Err(FrameError::NoEncoding),
        other => Err(FrameError::Encoding { name: String::from_utf8_lossy(other).into_owned() }),
    }
}

fn read(decoder: impl Read, limit: usize) -> Result<Bytes, FrameError> {
    let mut bytes = Vec::new();
    let bound = u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1);
    decoder.take(bound).read_to_end(&mut bytes).map_err(|_| FrameError::Compression)?;
    if bytes.len() > limit {
        return Err(FrameError::TooLarge { limit });
    }
    Ok(bytes.into())
}

impl FrameError {
    /// Its kind, as gRPC's libraries have it (`doc/statuscodes.md`).
    pub(crate) fn code(&self) -> Code {
        match self {
            Self::Count { .. } | Self::Encoding { .. } => Code::Unimplemented,
            Self::TooLarge { .. } => Code::ResourceExhausted,
            _ => Code::Internal,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::{GzEncoder, ZlibEncoder};

    use super::*;

    const LIMIT: usize = 1000;

    fn frame(flag: u8, bytes: &[u8]) -> Vec<u8> {
        [&[flag], &(bytes.len() as u32).to_be_bytes()[..], bytes].concat()
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn read_as(encoding: &str, body: Vec<u8>) -> Result<Bytes, FrameError> {
        let mut headers = HeaderMap::new();
        headers.insert(ENCODING, encoding.parse().unwrap());
        message(&headers, &body.into(), LIMIT)
    }

    #[test]
    fn messages() {
        let mut zlib = ZlibEncoder::new(Vec::new(), Compression::default());
        zlib.write_all(b"abc").unwrap();
        assert_eq!(read_as("identity", frame(0, b"abc")), Ok("abc".into()));
        assert_eq!(read_as("gzip", frame(0, b"abc")), Ok("abc".into()));
        assert_eq!(read_as("gzip", frame(0, b"")), Ok(Bytes::new()));
        assert_eq!(read_as("gzip", frame(1, &gzip(b"abc"))), Ok("abc".into()));
        assert_eq!(read_as("deflate", frame(1, &zlib.finish().unwrap())), Ok("abc".into()));
        assert_eq!(read_as("gzip", frame(1, &gzip(&[7; LIMIT]))), Ok(vec![7; LIMIT].into()));
    }

    #[test]
    fn what_is_no_message() {
        let check = |encoding: &str, body: Vec<u8>, expected: FrameError, code: Code| {
            assert_eq!(expected.code(), code, "{expected}");
            assert_eq!(read_as(encoding, body), Err(expected));
        };
        let none = FrameError::Count { found: "none" };
        check("gzip", Vec::new(), none, Code::Unimplemented);
        let two = [frame(0, b"a"), frame(0, b"b")].concat();
        check("gzip", two, FrameError::Count { found: "more" }, Code::Unimplemented);
        for length in [1, 4, 5, 7] {
            let mut body = frame(0, b"abc");
            body.truncate(length);
            check("gzip", body, FrameError::Truncated, Code::Internal);
        }
        check("gzip", vec![0, 255, 255, 255, 255], FrameError::Truncated, Code::Internal);
        check("gzip", frame(2, b"abc"), FrameError::Flag { flag: 2 }, Code::Internal);
        check("identity", frame(1, b"abc"), FrameError::NoEncoding, Code::Internal);
        let unknown = FrameError::Encoding { name: "snappy".to_owned() };
        check("snappy", frame(1, b"abc"), unknown, Code::Unimplemented);
        check("gzip", frame(1, b"abc"), FrameError::Compression, Code::Internal);
        let mut cut = gzip(b"abcdefgh");
        cut.truncate(cut.len() - 9);
        check("gzip", frame(1, &cut), FrameError::Compression, Code::Internal);
        let large = || FrameError::TooLarge { limit: LIMIT };
        check("gzip", frame(0, &[7; LIMIT + 1]), large(), Code::ResourceExhausted);
        check("gzip", frame(1, &gzip(&[7; LIMIT + 1])), large(), Code::ResourceExhausted);
        check("gzip", frame(1, &gzip(&[7; 1 << 22])), large(), Code::ResourceExhausted);
    }
}
