//! Log events: JSON in Elastic Common Schema 9 for machines, readable lines on a terminal.

use std::fmt;
use std::io::IsTerminal;

use serde::Serialize;
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

use crate::failure::Failure;

/// Version of the schema.
const ECS: &str = "9.5.0";
/// Where events of requests come from.
const ACCESS: &str = "luthier_serve::access";

/// Logs the events that `filter` lets pass to standard error: one JSON document a line, or readable
/// lines on a terminal.
pub(crate) fn log_events(filter: &str) -> Result<(), Failure> {
    let filter = EnvFilter::try_new(filter).map_err(|error| {
        Failure::input(format!("--log: {error}")).hint("use a level such as `info` or `warn`")
    })?;
    let events = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let set = match std::io::stderr().is_terminal() {
        true => events.compact().with_target(false).try_init(),
        false => events.event_format(Ecs).try_init(),
    };
    set.map_err(|error| Failure::fault(format!("cannot log: {error}")))
}

/// One JSON document a line. Fields whose names have dots are the schema's; `error` is its
/// `error.message`; all others are our own, below `luthier`.
struct Ecs;

impl<S, N> FormatEvent<S, N> for Ecs
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut time = String::new();
        SystemTime.format_time(&mut Writer::new(&mut time))?;
        let metadata = event.metadata();
        let mut document = Document::default();
        document.put("@timestamp", &time);
        document.put("log.level", &metadata.level().as_str().to_ascii_lowercase());
        // The message comes first among the fields of an event, and so third as the schema asks.
        event.record(&mut document);
        document.put("log.logger", metadata.target());
        if metadata.target() == ACCESS {
            document.put("event.dataset", "luthier.access");
            document.put("event.category", &["web"]);
            document.put("event.type", &["access"]);
        } else {
            document.put("event.dataset", "luthier.log");
        }
        document.put("event.kind", "event");
        document.put("service.name", "luthier");
        document.put("service.version", env!("CARGO_PKG_VERSION"));
        document.put("ecs.version", ECS);
        writeln!(writer, "{{{}}}", String::from_utf8_lossy(&document.0))
    }
}

/// The inside of a JSON object, written field by field: requests are logged while others wait.
#[derive(Default)]
struct Document(Vec<u8>);

impl Document {
    fn put<T: Serialize + ?Sized>(&mut self, name: &str, value: &T) {
        if !self.0.is_empty() {
            self.0.push(b',');
        }
        // Writing to memory does not fail, and names and values are texts and numbers.
        let _ = serde_json::to_writer(&mut self.0, name);
        self.0.push(b':');
        let _ = serde_json::to_writer(&mut self.0, value);
    }

    fn record<T: Serialize + ?Sized>(&mut self, field: &Field, value: &T) {
        match field.name() {
            "error" => self.put("error.message", value),
            name if name == "message" || name.contains('.') => self.put(name, value),
            name => self.put(&format!("luthier.{name}"), value),
        }
    }
}

impl Visit for Document {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.record(field, &value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.record(field, &value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.record(field, &value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.record(field, &value);
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.record(field, value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.record(field, &format!("{value:?}"));
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};

    use serde_json::{Value, json};

    use super::Ecs;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// The documents of the events in `act`, and whether each has a time of its own.
    fn logged(act: impl FnOnce()) -> Vec<Value> {
        let lines = Lines::default();
        let writer = lines.clone();
        let events = tracing_subscriber::fmt().event_format(Ecs);
        let subscriber = events.with_writer(move || writer.clone()).finish();
        tracing::subscriber::with_default(subscriber, act);
        let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
        let document = |line: &str| {
            let mut document: Value = serde_json::from_str(line).unwrap();
            let time = document.as_object_mut().unwrap().shift_remove("@timestamp").unwrap();
            assert!(time.as_str().is_some_and(|t| t.ends_with('Z') && t.len() == 27), "{time}");
            let names: Vec<_> = document.as_object().unwrap().keys().take(2).collect();
            assert_eq!(names, ["log.level", "message"], "the names that people look for first");
            document
        };
        text.lines().map(document).collect()
    }

    #[test]
    fn events_are_documents_of_the_schema() {
        let absent: Option<&str> = None;
        let documents = logged(|| {
            tracing::info!(
                target: "luthier_serve::access",
                model = "mood",
                "http.request.method" = "GET",
                "http.response.status_code" = 200_u16,
                "trace.id" = absent,
                "request"
            );
            tracing::warn!(target: "a", error = %io::Error::other("no\n\"disk\""), n = 1, "two\nlines");
        });
        let own = |target: &str, dataset: &str, level: &str, message: &str| {
            json!({
                "log.level": level, "message": message, "ecs.version": "9.5.0",
                "service.name": "luthier", "service.version": env!("CARGO_PKG_VERSION"),
                "log.logger": target, "event.dataset": dataset, "event.kind": "event",
            })
        };
        let mut request = own("luthier_serve::access", "luthier.access", "info", "request");
        request["event.category"] = json!(["web"]);
        request["event.type"] = json!(["access"]);
        request["http.request.method"] = json!("GET");
        request["http.response.status_code"] = json!(200);
        request["luthier.model"] = json!("mood");
        let mut warning = own("a", "luthier.log", "warn", "two\nlines");
        warning["error.message"] = json!("no\n\"disk\"");
        warning["luthier.n"] = json!(1);
        assert_eq!(documents, [request, warning]);
    }
}
