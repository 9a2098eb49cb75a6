//! One log event and one count per request, also for those whose client leaves.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use hyper::header::{HeaderMap, HeaderValue};
use hyper::{Method, Request};

use super::path::Target;
use super::{Reply, Rest};
use crate::metrics::Subject;
use crate::models::ServedModel;

/// Name of the header that carries a request's id.
pub(super) const REQUEST_ID: &str = "x-request-id";
/// Longest id that is taken over from a client.
const MAX_ID: usize = 128;
/// Status of a request whose client left before the answer, as nginx counts it.
const CLIENT_LEFT: u16 = 499;

/// A request in flight; counted and logged when dropped.
pub(super) struct Access<'r> {
    rest: &'r Rest,
    pub(super) started: Instant,
    method: Method,
    template: &'r str,
    api: &'static str,
    names_model: bool,
    model: Option<Arc<ServedModel>>,
    id: HeaderValue,
    status: u16,
    bytes: usize,
}

impl<'r> Access<'r> {
    pub(super) fn begin<B>(rest: &'r Rest, request: &Request<B>) -> Self {
        rest.in_flight.fetch_add(1, Ordering::Relaxed);
        Self {
            rest,
            started: Instant::now(),
            method: request.method().clone(),
            template: "",
            api: "none",
            names_model: false,
            model: None,
            id: request_id(request.headers()).unwrap_or_else(|| rest.new_id()),
            status: CLIENT_LEFT,
            bytes: 0,
        }
    }

    /// Notes what is asked.
    pub(super) fn target(&mut self, target: &Target<'_>) {
        self.template = target.template(&self.rest.routes);
        self.api = target.api();
        self.names_model = matches!(target, Target::Model { .. } | Target::Alias(_));
    }

    /// Notes which model answers.
    pub(super) fn model(&mut self, model: &Arc<ServedModel>) {
        self.model = Some(Arc::clone(model));
    }

    /// Notes the answer, and gives the request's id.
    pub(super) fn finish(mut self, reply: &Reply) -> HeaderValue {
        self.status = reply.status.as_u16();
        self.bytes = reply.body.len();
        self.rest.answered.fetch_add(1, Ordering::Relaxed);
        self.id.clone()
    }
}

impl Drop for Access<'_> {
    fn drop(&mut self) {
        let took = self.started.elapsed();
        let subject = match &self.model {
            Some(model) => Subject::Model(model),
            None if self.names_model => Subject::Unknown,
            None => Subject::Server,
        };
        self.rest.service.metrics().answered(subject, self.api, self.status, took);
        self.rest.in_flight.fetch_sub(1, Ordering::Relaxed);
        tracing::info!(
            target: "luthier_serve::access",
            method = self.method.as_str(),
            route = self.template,
            model = self.model.as_ref().map(|model| &*model.name),
            version = self.model.as_ref().map(|model| model.version),
            status = self.status,
            bytes = self.bytes,
            duration_us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX),
            request_id = self.id.to_str().unwrap_or_default(),
            "request"
        );
    }
}

/// The client's id, where it is short and of harmless characters.
fn request_id(headers: &HeaderMap) -> Option<HeaderValue> {
    let id = headers.get(REQUEST_ID)?;
    let plain = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b':');
    ((1..=MAX_ID).contains(&id.len()) && id.as_bytes().iter().all(plain)).then(|| id.clone())
}
