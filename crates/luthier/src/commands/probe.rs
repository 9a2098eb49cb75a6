//! `luthier probe`: one HTTP request whose answer is the exit code. Images without a shell check
//! their health with it.

use std::io::{ErrorKind, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::thread;
use std::time::{Duration, Instant};

use super::print;
use crate::cli::ProbeArgs;
use crate::failure::{Code, Failure};

/// Longest answer that is read, in bytes.
const MAX_ANSWER: u64 = 1 << 20;
/// Pause before a question is asked again.
const PAUSE: Duration = Duration::from_millis(200);
/// Longest time that can be asked for.
const MAX_TIME: Duration = Duration::from_secs(24 * 3600);

/// What came back.
pub(crate) struct Answer {
    /// Status of HTTP.
    pub(crate) status: u16,
    /// The body, as far as it is text.
    pub(crate) body: String,
}

/// `http://host:port/path` in its parts.
#[derive(Debug, PartialEq, Eq)]
struct Address<'u> {
    host: &'u str,
    path: &'u str,
}

pub(crate) fn probe(args: &ProbeArgs) -> Result<(), Failure> {
    let timeout = seconds("--timeout", args.timeout)?;
    let retry = args.retry.map(|retry| seconds("--retry", retry)).transpose()?;
    let answer = ask_until(args, timeout, Instant::now() + retry.unwrap_or_default())?;
    print(&format!("{}\n", answer.body.trim_end()))
}

fn seconds(name: &str, value: f64) -> Result<Duration, Failure> {
    match Duration::try_from_secs_f64(value) {
        Ok(duration) if !duration.is_zero() && duration <= MAX_TIME => Ok(duration),
        _ => Err(Failure::input(format!("{name} is {value}"))
            .hint(format!("give seconds above 0, at most {}", MAX_TIME.as_secs()))),
    }
}

/// Asks once, and until `end` again as long as that may help. Gives the first success, or why the
/// last answer is none.
fn ask_until(args: &ProbeArgs, timeout: Duration, end: Instant) -> Result<Answer, Failure> {
    loop {
        let failure = match ask(&args.url, args.data.as_deref(), timeout) {
            Ok(answer) if answer.is_success() => return Ok(answer),
            Ok(answer) => {
                let body = answer.body.trim_end();
                let failure = Failure::no(format!("{}: {} {body}", args.url, answer.status));
                if !answer.may_pass() {
                    return Err(failure);
                }
                failure
            }
            Err(failure) if failure.code == Code::Input => return Err(failure),
            Err(failure) => failure,
        };
        if Instant::now() + PAUSE > end {
            return Err(failure);
        }
        thread::sleep(PAUSE);
    }
}

/// GETs `url`, or POSTs `data` to it, and reads the answer within `timeout`.
pub(crate) fn ask(url: &str, data: Option<&str>, timeout: Duration) -> Result<Answer, Failure> {
    let address = Address::of(url).ok_or_else(|| {
        Failure::input(format!("`{url}` is no address"))
            .hint("give one such as http://127.0.0.1:8501/readyz")
    })?;
    let failed = |error: std::io::Error| match error.kind() {
        ErrorKind::WouldBlock | ErrorKind::TimedOut => {
            Failure::no(format!("{url}: no answer in {} s", timeout.as_secs_f64()))
        }
        _ => Failure::no(format!("{url}: {error}")),
    };
    let answer = exchange(&address, data, timeout).map_err(failed)?;
    parsed(&answer).ok_or_else(|| Failure::no(format!("{url}: the answer is no HTTP")))
}

fn exchange(
    address: &Address<'_>,
    data: Option<&str>,
    timeout: Duration,
) -> std::io::Result<Vec<u8>> {
    let end = Instant::now() + timeout;
    let left = || end.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
    let mut stream = connect(address, left)?;
    stream.set_write_timeout(Some(left()))?;
    let (method, body) = data.map_or(("GET", ""), |data| ("POST", data));
    let Address { host, path } = address;
    let length = body.len();
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nAccept: */*\r\n\
         Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
    )?;
    let mut answer = Vec::new();
    let mut piece = [0; 8192];
    loop {
        stream.set_read_timeout(Some(left()))?;
        let count = stream.read(&mut piece)?;
        answer.extend_from_slice(&piece[..count]);
        let is_late = Instant::now() >= end;
        if count == 0 || answer.len() as u64 > MAX_ANSWER {
            return Ok(answer);
        } else if is_late {
            return Err(ErrorKind::TimedOut.into());
        }
    }
}

/// The first of the host's addresses that accepts a connection.
fn connect(address: &Address<'_>, left: impl Fn() -> Duration) -> std::io::Result<TcpStream> {
    let mut refused = std::io::Error::from(ErrorKind::AddrNotAvailable);
    for address in address.with_port().to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, left()) {
            Ok(stream) => return Ok(stream),
            Err(error) => refused = error,
        }
    }
    Err(refused)
}

/// Status and body. The server says where its answers end, and closes: nothing is chunked.
fn parsed(answer: &[u8]) -> Option<Answer> {
    let text = String::from_utf8_lossy(answer);
    let (head, body) = text.split_once("\r\n\r\n")?;
    let status = head.strip_prefix("HTTP/1.")?.get(2..5)?.parse().ok()?;
    Some(Answer { status, body: body.to_owned() })
}

impl Answer {
    fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// Whether the same question may get another answer a while later: there is no such model yet
    /// (404), it is too busy (429) or not ready (503), or something on the way fails.
    fn may_pass(&self) -> bool {
        matches!(self.status, 404 | 408 | 425 | 429 | 500..)
    }
}

impl<'u> Address<'u> {
    fn of(url: &'u str) -> Option<Self> {
        let rest = url.strip_prefix("http://")?;
        let (host, path) = match rest.find('/') {
            Some(slash) => rest.split_at(slash),
            None => (rest, "/"),
        };
        let plain = |text: &str| text.bytes().all(|b| b.is_ascii_graphic());
        let sound = !host.is_empty() && !host.contains(['@', '?', '#']);
        (sound && plain(host) && plain(path)).then_some(Self { host, path })
    }

    /// Host and port, 80 where none is named.
    fn with_port(&self) -> String {
        let has_port = self.host.rsplit_once(':').is_some_and(|(_, port)| !port.contains(']'));
        if has_port { self.host.to_owned() } else { format!("{}:80", self.host) }
    }
}

#[cfg(test)]
mod tests {
    use super::{Address, parsed};

    #[test]
    fn addresses_come_apart() {
        let parts = |url| Address::of(url).map(|a| (a.with_port(), a.path.to_owned()));
        let is = |port: &str, path: &str| Some((port.to_owned(), path.to_owned()));
        assert_eq!(parts("http://a:8501/readyz"), is("a:8501", "/readyz"));
        assert_eq!(parts("http://a"), is("a:80", "/"));
        assert_eq!(parts("http://[::1]/x"), is("[::1]:80", "/x"));
        assert_eq!(parts("http://[::1]:1/x"), is("[::1]:1", "/x"));
        for bad in ["", "a:1", "https://a", "http://", "http:///x", "http://a/\r\nb", "http://u@a/"]
        {
            assert_eq!(parts(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn answers_come_apart() {
        let status = |answer: &str| parsed(answer.as_bytes()).map(|a| (a.status, a.body));
        assert_eq!(status("HTTP/1.1 200 OK\r\nA: b\r\n\r\nyes"), Some((200, "yes".to_owned())));
        assert_eq!(status("HTTP/1.0 503\r\n\r\n"), Some((503, String::new())));
        for bad in
            ["", "HTTP/1.1 200 OK", "HTTP/2 200\r\n\r\n", "SSH-2.0\r\n\r\n", "HTTP/1.\r\n\r\n"]
        {
            assert_eq!(status(bad), None, "{bad:?}");
        }
    }
}
