//! JSON: one line for a batch, one object for a snapshot.
//!
//! In a snapshot each stream stands at its name (`network.interfaces` within `network`). A
//! stream without keys is one object; one with keys is an object of objects by key.

use std::sync::Arc;
use std::time::SystemTime;

use dropsonde_plugin_api::schema::Role;
use serde_json::{Map, Value as Json, json};

use crate::model::{Batch, Value};

/// A batch as one line: `{"topic":…,"timestamp":…,"due":…,"collector":…,"generation":…,
/// "sequence":…,"records":[…]}`.
pub(crate) fn line(batch: &Batch) -> String {
    let head = json!({
        "topic": batch.stream.topic,
        "timestamp": timestamp(batch.wall),
        "due": timestamp(SystemTime::UNIX_EPOCH + batch.due),
        "collector": &*batch.stream.collector,
        "generation": batch.generation,
        "sequence": batch.sequence,
    });
    // Written as it goes: a tree of each record would cost several times as much.
    let mut line = head.to_string().into_bytes();
    line.pop();
    line.extend(b",\"records\":[");
    let columns = batch.stream.schema.columns.iter();
    let names: Vec<String> = columns.map(|column| format!("{}:", json!(column.name))).collect();
    for row in 0..batch.rows() {
        line.extend(if row == 0 { "{" } else { ",{" }.as_bytes());
        for (index, name) in names.iter().enumerate() {
            line.extend(if index == 0 { "" } else { "," }.as_bytes());
            line.extend(name.as_bytes());
            write(&mut line, batch.value(row, index));
        }
        line.push(b'}');
    }
    line.extend(b"]}");
    String::from_utf8(line)
        .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
}

/// To memory, which takes everything.
fn write(line: &mut Vec<u8>, value: Value<'_>) {
    let _ = match value {
        Value::Null => serde_json::to_writer(line, &()),
        Value::U64(value) => serde_json::to_writer(line, &value),
        Value::I64(value) => serde_json::to_writer(line, &value),
        Value::F64(value) => serde_json::to_writer(line, &value),
        Value::Bool(value) => serde_json::to_writer(line, &value),
        Value::Text(value) => serde_json::to_writer(line, value),
        list @ Value::List(_) => serde_json::to_writer(line, &to_json(list)),
    };
}

/// The latest of several streams as one object, with the time at which it was put together.
pub(crate) fn snapshot(batches: &[Arc<Batch>], now: SystemTime) -> Json {
    let mut root = Map::new();
    root.insert("timestamp".into(), timestamp(now).into());
    // Parents come before what lies within them.
    let mut batches: Vec<_> = batches.iter().collect();
    batches.sort_by(|a, b| a.stream.name.cmp(&b.stream.name));
    for batch in batches {
        let steps = batch.stream.name.split('.').map(str::to_owned);
        fill(descend(&mut root, steps), batch);
    }
    Json::Object(root)
}

/// The object at a path, made where it is not there yet.
fn descend(
    root: &mut Map<String, Json>,
    steps: impl Iterator<Item = String>,
) -> &mut Map<String, Json> {
    let mut place = root;
    for step in steps {
        let next = place.entry(step).or_insert(Json::Null);
        if !next.is_object() {
            *next = Json::Object(Map::new()); // a stream wins over a column of its name
        }
        place = next.as_object_mut().unwrap_or_else(|| unreachable!("it was made an object"));
    }
    place
}

fn fill(place: &mut Map<String, Json>, batch: &Batch) {
    let keys: Vec<usize> = batch.stream.keys().collect();
    let rows = if keys.is_empty() { batch.rows().min(1) } else { batch.rows() };
    for row in 0..rows {
        let steps = keys.iter().map(|key| match batch.value(row, *key) {
            Value::Text(text) => text.to_owned(),
            other => to_json(other).to_string(),
        });
        descend(place, steps).extend(record(batch, row));
    }
}

/// Without its keys.
fn record(batch: &Batch, row: usize) -> Map<String, Json> {
    batch
        .stream
        .schema
        .columns
        .iter()
        .enumerate()
        .filter(|(_, column)| column.role != Role::Key)
        .map(|(index, column)| (column.name.clone(), to_json(batch.value(row, index))))
        .collect()
}

pub(super) fn to_json(value: Value<'_>) -> Json {
    match value {
        Value::Null => Json::Null,
        Value::U64(value) => value.into(),
        Value::I64(value) => value.into(),
        Value::F64(value) => value.into(),
        Value::Bool(value) => value.into(),
        Value::Text(value) => value.into(),
        Value::List(items) => items.split_terminator('\0').collect(),
    }
}

/// RFC 3339, UTC, milliseconds.
pub(crate) fn timestamp(time: SystemTime) -> String {
    humantime::format_rfc3339_millis(time).to_string()
}
