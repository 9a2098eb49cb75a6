//! A small HTTP/1.1 client that shows exactly what came over the wire.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// One connection.
pub(crate) struct Client {
    stream: TcpStream,
    received: Vec<u8>,
}

/// A response.
#[derive(Debug, Clone)]
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: String,
}

impl Response {
    /// The header called `name` in lower case, empty where absent.
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.iter().find(|(n, _)| n == name).map_or("", |(_, value)| value)
    }
}

impl Client {
    pub(crate) fn connect(addr: SocketAddr) -> Self {
        let stream = TcpStream::connect(addr).expect("the server accepts");
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        Self { stream, received: Vec::new() }
    }

    /// Sends bytes as they are; `false` if the server has closed the connection.
    pub(crate) fn send(&mut self, bytes: &[u8]) -> bool {
        self.stream.write_all(bytes).is_ok()
    }

    /// Reads one response; `None` at the end of the connection.
    pub(crate) fn receive(&mut self) -> Option<Response> {
        let head_end = loop {
            if let Some(at) = find(&self.received, b"\r\n\r\n") {
                break at + 4;
            }
            self.fill()?;
        };
        let head = String::from_utf8(self.received[..head_end].to_vec()).unwrap();
        let mut lines = head.lines();
        let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        let headers: Vec<(String, String)> = lines
            .filter_map(|line| line.split_once(": "))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
            .collect();
        let length = headers.iter().find(|(name, _)| name == "content-length");
        let length: usize = length.map_or(0, |(_, value)| value.parse().unwrap());
        while self.received.len() < head_end + length {
            self.fill()?;
        }
        let body = String::from_utf8(self.received[head_end..head_end + length].to_vec()).unwrap();
        self.received.drain(..head_end + length);
        Some(Response { status, headers, body })
    }

    /// Everything that comes until the server closes the connection.
    pub(crate) fn receive_all(&mut self) -> String {
        while self.fill().is_some() {}
        String::from_utf8(std::mem::take(&mut self.received)).unwrap()
    }

    /// Waits until the server closes the connection, whatever it says before.
    pub(crate) fn drained(&mut self) {
        while self.fill().is_some() {}
    }

    /// Whether the server closes the connection without a further byte.
    pub(crate) fn is_closed(&mut self) -> bool {
        self.received.is_empty() && self.fill().is_none()
    }

    /// Sends a request and reads its response.
    pub(crate) fn ask(&mut self, method: &str, path: &str, body: &str) -> Response {
        assert!(self.send(request(method, path, body).as_bytes()), "{method} {path}");
        self.receive().unwrap_or_else(|| panic!("no answer to {method} {path}"))
    }

    /// Says that nothing more will be sent.
    pub(crate) fn finish(&self) {
        let _ = self.stream.shutdown(std::net::Shutdown::Write);
    }

    fn fill(&mut self) -> Option<()> {
        let mut chunk = [0; 16 << 10];
        loop {
            match self.stream.read(&mut chunk) {
                Ok(0) => return None,
                Ok(count) => {
                    self.received.extend_from_slice(&chunk[..count]);
                    return Some(());
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::ConnectionReset => return None,
                Err(error) => panic!("reading from the server: {error}"),
            }
        }
    }
}

/// A request as text.
pub(crate) fn request(method: &str, path: &str, body: &str) -> String {
    let length = body.len();
    format!("{method} {path} HTTP/1.1\r\nHost: test\r\nContent-Length: {length}\r\n\r\n{body}")
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|window| window == wanted)
}
