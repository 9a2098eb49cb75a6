//! One file over HTTP: redirects, retries, resuming and checking.
//!
//! The hub's answer, which may be a redirect to where large files are kept, has the commit, the size
//! and an entity tag that is a digest (`X-Repo-Commit`, `X-Linked-Size`, `X-Linked-Etag` or `ETag`).
//! What comes is kept under the digest until all is there, so that a later attempt can go on, even
//! one of another process.

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom, Write};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ureq::http::{HeaderMap, Response, Uri};
use ureq::tls::{Certificate, RootCerts, TlsConfig};
use ureq::{Agent, Body};

use crate::digest::Digest;
use crate::{HubError, Progress, Reference, Report, Settings};

/// Redirects that are followed.
const MAX_REDIRECTS: u32 = 5;
/// Bytes that are read at once.
const CHUNK: usize = 1 << 16;
/// The longest pause that a server may ask for.
const MAX_PAUSE: Duration = Duration::from_secs(60);
/// What the hub names as its reason (`X-Error-Code`) where a file is not the only thing missing.
const NO_REPOSITORY: &str = "RepoNotFound";
const NO_REVISION: &str = "RevisionNotFound";
/// How often the report is asked during a pause.
const TICK: Duration = Duration::from_millis(100);
const USER_AGENT: &str = concat!("luthier/", env!("CARGO_PKG_VERSION"));

/// Fetches files from one endpoint.
pub(crate) struct Client {
    settings: Settings,
    agent: Agent,
}

/// A file of a repository.
pub(crate) struct Request<'a> {
    pub(crate) reference: &'a Reference,
    /// The commit where it is known, else the reference's revision.
    pub(crate) revision: &'a str,
    pub(crate) file: &'a str,
    /// Folder of what broken downloads left.
    pub(crate) partials: &'a Path,
}

/// What came.
pub(crate) struct Fetched {
    /// The commit that the server named.
    pub(crate) commit: Option<String>,
    /// The whole file, if the repository has it.
    pub(crate) path: Option<PathBuf>,
}

/// What the hub says of a file.
#[derive(Default)]
struct Facts {
    commit: Option<String>,
    digest: Option<Digest>,
    size: Option<u64>,
}

/// Why an attempt failed.
enum Trouble {
    /// Another attempt would fail as well.
    Lasting(HubError),
    /// Another one may do better.
    Passing(Box<Break>),
}

/// Where an attempt broke.
struct Break {
    error: HubError,
    /// Bytes that are here.
    done: u64,
    /// What to wait, where it is not for the client to say.
    pause: Option<Duration>,
}

impl From<HubError> for Trouble {
    fn from(error: HubError) -> Self {
        Self::Lasting(error)
    }
}

impl Client {
    pub(crate) fn new(settings: &Settings) -> Self {
        let certificates = rustls_native_certs::load_native_certs().certs;
        let roots = certificates.iter().map(|der| Certificate::from_der(der.as_ref()).to_owned());
        let tls = TlsConfig::builder()
            .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .root_certs(RootCerts::from(roots))
            .build();
        let agent = Agent::config_builder()
            .tls_config(tls)
            .http_status_as_error(false)
            // Redirects are followed here: headers on the way matter, and the token must not leave.
            .max_redirects(0)
            .user_agent(USER_AGENT)
            .timeout_connect(Some(settings.timeout))
            .timeout_recv_response(Some(settings.timeout))
            .timeout_per_read(Some(settings.timeout))
            .timeout_per_write(Some(settings.timeout))
            .build()
            .new_agent();
        Self { settings: settings.clone(), agent }
    }

    /// Fetches a file, with as many attempts as it takes while they get on.
    pub(crate) fn fetch(
        &self,
        request: &Request<'_>,
        report: &mut Report<'_>,
    ) -> Result<Fetched, HubError> {
        let (mut most, mut failures) = (0, 0);
        loop {
            let attempt = Attempt::new(self, request)?;
            let Break { error, done, pause } = match attempt.run(report) {
                Ok(fetched) => return Ok(fetched),
                Err(Trouble::Lasting(error)) => return Err(error),
                Err(Trouble::Passing(broken)) => *broken,
            };
            failures = if done > most { 1 } else { failures + 1 };
            most = most.max(done);
            if failures >= self.settings.attempts {
                return Err(error);
            }
            let growing = self.settings.pause.saturating_mul(1 << (failures - 1).min(16));
            wait(pause.unwrap_or(growing).min(MAX_PAUSE), &mut || {
                report(Progress::Retrying { file: request.file, failures })
            })?;
        }
    }
}

/// One attempt at a file.
struct Attempt<'a> {
    client: &'a Client,
    request: &'a Request<'a>,
    /// What the endpoint said so far.
    facts: Facts,
    /// What is asked next.
    url: Uri,
    /// The endpoint.
    home: Origin,
}

impl<'a> Attempt<'a> {
    fn new(client: &'a Client, request: &'a Request<'a>) -> Result<Self, HubError> {
        let Request { reference, revision, file, .. } = request;
        let (endpoint, revision) = (&client.settings.endpoint, revision.replace('/', "%2F"));
        let (owner, name) = (reference.owner(), reference.name());
        let url = format!("{endpoint}/{owner}/{name}/resolve/{revision}/{file}");
        let url: Uri =
            url.parse().map_err(|_| HubError::Endpoint { endpoint: endpoint.clone() })?;
        Ok(Self { client, request, facts: Facts::default(), home: origin(&url), url })
    }

    fn run(mut self, report: &mut Report<'_>) -> Result<Fetched, Trouble> {
        for _ in 0..=MAX_REDIRECTS {
            let here = self.here();
            if here > 0 && self.facts.size == Some(here) {
                return self.finish(here);
            }
            let response = self.get(here)?;
            if self.is_home() {
                self.facts.note(response.headers());
            }
            match response.status().as_u16() {
                // The digest is known only now, and some of the file is here.
                200 if here == 0 && self.here() > 0 => {}
                200 => return self.receive(0, response, report),
                206 => return self.receive(here, response, report),
                301 | 302 | 303 | 307 | 308 => self.url = target(&self.url, &response)?,
                404 if self.is_home() && !is_named(&response, &[NO_REPOSITORY, NO_REVISION]) => {
                    return Ok(Fetched { commit: self.facts.commit, path: None });
                }
                _ => return Err(self.refusal(&response)),
            }
        }
        Err(answer(&self.url, "redirects too often").into())
    }

    /// Whether the endpoint itself is asked.
    fn is_home(&self) -> bool {
        origin(&self.url) == self.home
    }

    /// Where the file is until it is whole. One without a digest cannot be told from others.
    fn partial(&self) -> PathBuf {
        let name = self.facts.digest.as_ref().map_or("nameless", Digest::hex);
        self.request.partials.join(name)
    }

    /// Bytes of the file that earlier attempts left.
    fn here(&self) -> u64 {
        match self.facts.digest {
            Some(_) => fs::metadata(self.partial()).map_or(0, |metadata| metadata.len()),
            None => 0,
        }
    }

    fn get(&self, from: u64) -> Result<Response<Body>, Trouble> {
        let mut request = self.client.agent.get(&self.url).header("accept-encoding", "identity");
        if let Some(token) = self.client.settings.token.as_ref().filter(|_| self.is_home()) {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        if from > 0 {
            request = request.header("range", format!("bytes={from}-"));
        }
        request.call().map_err(|error| self.broken(&error.to_string(), from))
    }

    /// What an answer without a file means.
    fn refusal(&self, response: &Response<Body>) -> Trouble {
        let reference = self.request.reference.clone();
        let has_token = self.client.settings.token.is_some();
        let status = response.status().as_u16();
        let reason = format!("the server answers with status {status}");
        match status {
            _ if is_named(response, &[NO_REPOSITORY]) => {
                HubError::NoRepository { reference, has_token }.into()
            }
            _ if is_named(response, &[NO_REVISION]) => HubError::NoRevision { reference }.into(),
            401 | 403 if self.is_home() => HubError::Denied { reference, status, has_token }.into(),
            // Elsewhere, these are links that have expired; the endpoint gives new ones.
            401 | 403 | 404 | 408 | 410 | 429 | 500..=599 => {
                let pause = header(response.headers(), "retry-after");
                let pause = pause.and_then(|seconds| seconds.parse().ok());
                let error = network(&self.url, &reason);
                let pause = pause.map(Duration::from_secs);
                Trouble::Passing(Box::new(Break { error, done: 0, pause }))
            }
            416 => match fs::remove_file(self.partial()) {
                Ok(()) => self.broken("the server has less than is here", 0),
                Err(error) => io(&self.partial())(error).into(),
            },
            _ => answer(&self.url, &reason).into(),
        }
    }

    /// Writes a file from byte `from` on.
    fn receive(
        self,
        from: u64,
        response: Response<Body>,
        report: &mut Report<'_>,
    ) -> Result<Fetched, Trouble> {
        if from > 0 && !starts_at(response.headers(), from) {
            return Err(answer(&self.url, "gives another part than was asked for").into());
        }
        let total = self.total(from, response.headers())?;
        let path = self.partial();
        let mut file = open(&path, from).map_err(io(&path))?;
        let mut body = response.into_body().into_reader();
        let mut buffer = vec![0; CHUNK];
        let mut done = from;
        loop {
            let progress = Progress::Fetching { file: self.request.file, done, total };
            if report(progress).is_break() {
                return Err(HubError::Stopped.into());
            }
            let count = match body.read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => count,
                Err(error) => return Err(self.broken(&error.to_string(), done)),
            };
            done += count as u64;
            if done > total.unwrap_or(self.client.settings.max_bytes) {
                fs::remove_file(&path).map_err(io(&path))?;
                return Err(self.too_long(total, done).into());
            }
            file.write_all(&buffer[..count]).map_err(io(&path))?;
        }
        file.sync_all().map_err(io(&path))?;
        match total.is_some_and(|total| done < total) {
            true => Err(self.broken("the connection was closed too early", done)),
            false => self.finish(from),
        }
    }

    /// The size of the file, as far as it is known.
    fn total(&self, from: u64, headers: &HeaderMap) -> Result<Option<u64>, HubError> {
        let rest = header(headers, "content-length").and_then(|length| length.parse::<u64>().ok());
        let total = self.facts.size.or(rest.map(|rest| rest.saturating_add(from)));
        match total.filter(|total| *total > self.client.settings.max_bytes) {
            Some(total) => Err(self.too_long(None, total)),
            None => Ok(total),
        }
    }

    /// More came, or is announced, than there may be.
    fn too_long(&self, announced: Option<u64>, size: u64) -> HubError {
        match announced {
            Some(_) => answer(&self.url, "gives more than it announced"),
            None => HubError::TooLarge {
                reference: self.request.reference.clone(),
                file: self.request.file.to_owned(),
                size,
                most: self.client.settings.max_bytes,
            },
        }
    }

    /// Checks a file that is all here, of which the first `resumed` bytes came earlier.
    fn finish(self, resumed: u64) -> Result<Fetched, Trouble> {
        let path = self.partial();
        if let Some(expected) = &self.facts.digest {
            let found = expected.found(&path).map_err(io(&path))?;
            if found != expected.hex() {
                fs::remove_file(&path).map_err(io(&path))?;
                let error = HubError::Digest {
                    reference: self.request.reference.clone(),
                    file: self.request.file.to_owned(),
                    expected: expected.hex().to_owned(),
                    found,
                };
                let pause = Some(Duration::ZERO);
                return Err(match resumed {
                    0 => Trouble::Lasting(error),
                    _ => Trouble::Passing(Box::new(Break { error, done: 0, pause })),
                });
            }
        }
        match (self.request.reference.commit(), self.facts.commit) {
            (Some(asked), Some(given)) if asked != given => {
                Err(answer(&self.url, &format!("is of commit {given}")).into())
            }
            (_, commit) => Ok(Fetched { commit, path: Some(path) }),
        }
    }

    fn broken(&self, reason: &str, done: u64) -> Trouble {
        let error = network(&self.url, reason);
        Trouble::Passing(Box::new(Break { error, done, pause: None }))
    }
}

impl Facts {
    /// Takes what an answer of the hub says and no earlier one did.
    fn note(&mut self, headers: &HeaderMap) {
        let commit = header(headers, "x-repo-commit").filter(|c| crate::reference::is_commit(c));
        self.commit = self.commit.take().or(commit.map(str::to_owned));
        let tag = header(headers, "x-linked-etag").or_else(|| header(headers, "etag"));
        self.digest = self.digest.take().or(tag.and_then(Digest::of_tag));
        let size = header(headers, "x-linked-size").and_then(|size| size.parse().ok());
        self.size = self.size.or(size);
    }
}

fn header<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

/// Whether the hub gives one of these reasons for its answer.
fn is_named(response: &Response<Body>, codes: &[&str]) -> bool {
    header(response.headers(), "x-error-code").is_some_and(|code| codes.contains(&code))
}

/// Whether a part of a file begins at byte `from`.
fn starts_at(headers: &HeaderMap, from: u64) -> bool {
    let range = header(headers, "content-range").and_then(|range| range.strip_prefix("bytes "));
    range.and_then(|range| range.split_once('-')).is_some_and(|(at, _)| at.parse() == Ok(from))
}

/// Scheme, host and port: who sees what is sent.
type Origin = (Option<String>, Option<String>);

fn origin(url: &Uri) -> Origin {
    let lower = |text: &str| text.to_ascii_lowercase();
    (url.scheme_str().map(lower), url.authority().map(|authority| lower(authority.as_str())))
}

/// Where a redirect leads.
fn target(from: &Uri, response: &Response<Body>) -> Result<Uri, HubError> {
    let location = header(response.headers(), "location").unwrap_or_default();
    let (scheme, authority) = (from.scheme_str().unwrap_or("https"), from.authority());
    let authority = authority.map_or("", |authority| authority.as_str());
    let target = match location {
        other_host if other_host.starts_with("//") => format!("{scheme}:{other_host}"),
        path if path.starts_with('/') => format!("{scheme}://{authority}{path}"),
        url => url.to_owned(),
    };
    let wrong = || answer(from, &format!("redirects to `{location}`"));
    let url: Uri = target.parse().map_err(|_| wrong())?;
    match (scheme, url.scheme_str()) {
        (_, Some("https")) | ("http", Some("http")) => Ok(url),
        _ => Err(wrong()),
    }
}

/// Opens a file to write from byte `from` on.
fn open(path: &Path, from: u64) -> std::io::Result<File> {
    let mut file = File::options().create(true).truncate(false).write(true).open(path)?;
    file.set_len(from)?;
    file.seek(SeekFrom::End(0))?;
    Ok(file)
}

/// Sleeps, unless `report` breaks.
fn wait(pause: Duration, report: &mut dyn FnMut() -> ControlFlow<()>) -> Result<(), HubError> {
    let end = Instant::now() + pause;
    loop {
        if report().is_break() {
            return Err(HubError::Stopped);
        }
        let rest = end.saturating_duration_since(Instant::now());
        if rest.is_zero() {
            return Ok(());
        }
        std::thread::sleep(rest.min(TICK));
    }
}

/// Addresses of files may carry a signature that opens them, which errors are not to show.
fn plain(url: &Uri) -> String {
    let (scheme, authority) = origin(url);
    format!("{}://{}{}", scheme.unwrap_or_default(), authority.unwrap_or_default(), url.path())
}

fn answer(url: &Uri, reason: &str) -> HubError {
    HubError::Answer { url: plain(url), reason: reason.to_owned() }
}

fn network(url: &Uri, reason: &str) -> HubError {
    HubError::Network { url: plain(url), reason: reason.to_owned() }
}

fn io(path: &Path) -> impl Fn(std::io::Error) -> HubError + '_ {
    |source| HubError::Io { path: path.to_owned(), source }
}
