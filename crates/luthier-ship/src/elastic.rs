//! Where logs go: the index template of their data stream.

use serde_json::{Map, Value, json};

/// The fields of the log, with their types in Elastic Common Schema 9; `luthier.*` are our own.
const FIELDS: [(&str, &str); 22] = [
    ("@timestamp", "date"),
    ("message", "match_only_text"),
    ("labels", "object"),
    ("ecs.version", "keyword"),
    ("error.message", "match_only_text"),
    ("event.action", "keyword"),
    ("event.category", "keyword"),
    ("event.dataset", "keyword"),
    ("event.duration", "long"),
    ("event.kind", "keyword"),
    ("event.outcome", "keyword"),
    ("event.type", "keyword"),
    ("http.request.id", "keyword"),
    ("http.request.method", "keyword"),
    ("http.response.body.bytes", "long"),
    ("http.response.status_code", "long"),
    ("http.version", "keyword"),
    ("log.level", "keyword"),
    ("log.logger", "keyword"),
    ("service.name", "keyword"),
    ("service.version", "keyword"),
    ("trace.id", "keyword"),
];
/// Fields that are more than a type.
const URL_PATH: &str = "url.path";

/// Mappings and settings of the data streams `logs-luthier-*`.
pub(crate) fn index_template() -> String {
    let mut properties = Map::new();
    for (name, kind) in FIELDS {
        let mapping = match kind {
            "keyword" => json!({ "type": "keyword", "ignore_above": 1024 }),
            _ => json!({ "type": kind }),
        };
        put(&mut properties, name, mapping);
    }
    put(&mut properties, URL_PATH, json!({ "type": "wildcard" }));
    // Names of models and routes are words to filter by, whatever they look like.
    put(&mut properties, "luthier", json!({ "type": "object", "dynamic": true }));
    let template = json!({
        "index_patterns": ["logs-luthier-*"],
        "priority": 200,
        "data_stream": {},
        "template": {
            "settings": {
                "index": { "mapping": { "ignore_malformed": true, "total_fields": { "limit": 500 } } }
            },
            "mappings": {
                "date_detection": false,
                "dynamic_templates": [{
                    "texts": {
                        "match_mapping_type": "string",
                        "mapping": { "type": "keyword", "ignore_above": 1024 }
                    }
                }],
                "properties": properties,
            }
        },
        "_meta": { "description": "Logs of luthier, in Elastic Common Schema" }
    });
    format!("{template:#}\n")
}

/// Puts `mapping` at a dotted name, in the objects that it needs.
fn put(properties: &mut Map<String, Value>, name: &str, mapping: Value) {
    let Some((head, tail)) = name.split_once('.') else {
        properties.insert(name.to_owned(), mapping);
        return;
    };
    let object = properties.entry(head).or_insert_with(|| json!({ "properties": {} }));
    if let Some(inner) = object.get_mut("properties").and_then(Value::as_object_mut) {
        put(inner, tail, mapping);
    }
}
