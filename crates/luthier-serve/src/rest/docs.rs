//! `GET /openapi.json`, and `GET /docs`, a page that shows it.
//!
//! The page's files are in the binary and ask no other host for anything. It builds what it shows
//! from the document's texts alone, never from markup, and its policy lets no other script run: a
//! model or a label may be called anything.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use arc_swap::ArcSwapOption;
use hyper::StatusCode;
use hyper::body::Bytes;
use hyper::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, ETAG, HeaderMap, HeaderValue, IF_NONE_MATCH,
    REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};

use super::openapi::{self, Limits};
use super::path::PageFile;
use super::{JSON, Reply};
use crate::ServeConfig;
use crate::versions::Versions;

/// Media type of the page.
pub(super) const HTML: &str = "text/html; charset=utf-8";
/// Media type of its style.
pub(super) const STYLE: &str = "text/css; charset=utf-8";
/// Media type of its script.
pub(super) const SCRIPT: &str = "text/javascript; charset=utf-8";
/// What the page may do: be styled and run by its own files, and ask this server.
const POLICY: &str = "default-src 'none'; connect-src 'self'; img-src data:; script-src 'self'; \
                      style-src 'self'; base-uri 'none'; form-action 'none'; \
                      frame-ancestors 'none'";

/// The document and the page.
pub(crate) struct Docs {
    limits: Limits,
    /// The document, and the versions that it was made from.
    current: ArcSwapOption<(Weak<Versions>, File)>,
    /// Held while a document is made.
    making: Mutex<()>,
    html: File,
    style: File,
    script: File,
}

/// A file that a client may keep, and then asks whether it is still the same.
#[derive(Clone)]
pub(super) struct File {
    content_type: &'static str,
    bytes: Bytes,
    etag: HeaderValue,
}

impl Docs {
    /// Those of a server that is told `config`, and takes labels or does not.
    pub(crate) fn new(config: &ServeConfig, takes_labels: bool) -> Self {
        let file = |content_type, text: &'static str| File::new(content_type, text.into());
        Self {
            limits: Limits {
                max_body_bytes: config.max_body_bytes,
                queue_requests: config.queue_requests,
                request_timeout: config.request_timeout,
                takes_labels,
            },
            current: ArcSwapOption::empty(),
            making: Mutex::new(()),
            html: file(HTML, include_str!("docs/page.html")),
            style: file(STYLE, include_str!("docs/page.css")),
            script: file(SCRIPT, include_str!("docs/page.js")),
        }
    }

    /// Whether the document of `versions` is there already.
    pub(super) fn is_of(&self, versions: &Arc<Versions>) -> bool {
        self.made(versions).is_some()
    }

    /// The document of `versions`; made when it is first asked for.
    pub(super) fn document(&self, versions: &Arc<Versions>) -> File {
        if let Some(file) = self.made(versions) {
            return file;
        }
        let _making = self.making.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(file) = self.made(versions) {
            return file;
        }
        let document = openapi::document(versions, &self.limits).to_string();
        let file = File::new(JSON, document.into());
        // Kept weakly, since versions keep models in memory.
        self.current.store(Some(Arc::new((Arc::downgrade(versions), file.clone()))));
        file
    }

    fn made(&self, versions: &Arc<Versions>) -> Option<File> {
        let current = self.current.load();
        let (of, file) = &**current.as_ref()?;
        // While a weak reference is held, no other list takes its address.
        (of.as_ptr() == Arc::as_ptr(versions)).then(|| file.clone())
    }

    /// A file of the page.
    pub(super) fn page(&self, file: PageFile) -> &File {
        match file {
            PageFile::Html => &self.html,
            PageFile::Style => &self.style,
            PageFile::Script => &self.script,
        }
    }
}

impl File {
    fn new(content_type: &'static str, bytes: Bytes) -> Self {
        // Its keys are fixed, so that all processes of a release name the same bytes alike.
        let mut hasher = DefaultHasher::new();
        bytes.hash(&mut hasher);
        let etag = HeaderValue::from_str(&format!("\"{:016x}\"", hasher.finish()));
        let etag = etag.unwrap_or(HeaderValue::from_static("\"\""));
        Self { content_type, bytes, etag }
    }

    /// The file, or that the client has it, by the `headers` of the request.
    pub(super) fn reply(&self, headers: &HeaderMap) -> Reply {
        let mut reply = match self.is_kept(headers) {
            true => Reply { status: StatusCode::NOT_MODIFIED, ..Reply::ok(Bytes::new()) },
            false => Reply { content_type: self.content_type, ..Reply::ok(self.bytes.clone()) },
        };
        let own = &mut reply.headers;
        own.insert(ETAG, self.etag.clone());
        own.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        own.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        if self.content_type == HTML {
            own.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
            own.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
        }
        reply
    }

    /// Whether the client has the file (RFC 9110, section 13.1.2).
    fn is_kept(&self, headers: &HeaderMap) -> bool {
        let values = headers.get_all(IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
        let mut tags = values.flat_map(|value| value.split(',')).map(str::trim);
        tags.any(|tag| {
            tag == "*" || tag.trim_start_matches("W/").as_bytes() == self.etag.as_bytes()
        })
    }
}
