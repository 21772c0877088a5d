//! The check of batches, and all that is made of a checked one.

use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use dropsonde_plugin_api::schema::{Role, StreamSchema};
use serde_json::Value as Json;

use super::feed::Feed;
use super::{assert_one_line, otlp, page, rates};
use crate::model::{Batch, Data, RawBatch, Read, StreamInfo, Value, check, check_schemas};
use crate::sink::json;

/// After the check every access within the batch succeeds, no float is other than finite, and
/// JSON, Prometheus text and OTLP requests of it are well-formed.
pub fn batch(bytes: &[u8]) -> bool {
    let mut feed = Feed(bytes);
    let schemas: Vec<StreamSchema> = (0..=feed.byte() % 2).map(|_| feed.schema()).collect();
    if let Err(error) = check_schemas(&schemas) {
        assert!(error.to_string().len() < 1000);
        return false;
    }
    let rounds = [(); 2].map(|()| {
        let index = feed.byte() as usize % schemas.len();
        checked(&schemas, feed.batch(index, &schemas[index]))
    });
    let plugin: Arc<str> = if feed.byte() % 2 == 0 { "c" } else { "p" }.into();
    let infos: Vec<Arc<StreamInfo>> = schemas
        .into_iter()
        .map(|schema| Arc::new(StreamInfo::new(&"c".into(), &plugin, schema)))
        .collect();
    let batches: Vec<Arc<Batch>> = match &rounds {
        [Some(first), Some(second)] if first.stream == second.stream => {
            vec![finish(&infos, first, second)]
        }
        some => some.iter().flatten().map(|raw| finish(&infos, raw, raw)).collect(),
    };
    page::assert_well_formed(&batches);
    otlp::assert_decodes(&batches);
    let whole = json::snapshot(&batches, UNIX_EPOCH).to_string();
    assert!(serde_json::from_str::<Json>(&whole).is_ok(), "{whole}");
    !batches.is_empty()
}

/// The batch, if the check lets it pass.
fn checked(schemas: &[StreamSchema], mut raw: RawBatch) -> Option<RawBatch> {
    if let Err(error) = check(schemas, &mut raw) {
        assert_one_line(&error.to_string());
        return None;
    }
    assert_complete(&schemas[raw.stream as usize], &raw);
    let mut again = raw.clone();
    assert_eq!(check(schemas, &mut again), Ok(()));
    assert_eq!(again, raw, "a second check changes nothing");
    for most in 0..=raw.rows + 1 {
        let mut cut = raw.clone();
        assert_eq!(cut.truncate(most), raw.rows.saturating_sub(most));
        assert_eq!(check(schemas, &mut cut), Ok(()), "cut to {most} of {raw:?}");
        assert_complete(&schemas[raw.stream as usize], &cut);
    }
    Some(raw)
}

fn assert_complete(schema: &StreamSchema, raw: &RawBatch) {
    assert_eq!(schema.columns.len(), raw.columns.len());
    for (column, data) in schema.columns.iter().zip(&raw.columns) {
        let length = match &data.data {
            Data::U64(values) => values.len(),
            Data::I64(values) => values.len(),
            Data::F64(values) => {
                assert!(values.iter().all(|value| value.is_finite()), "{values:?}");
                values.len()
            }
            Data::Bool(values) => values.len(),
            Data::Text { ends, bytes } => {
                assert_eq!(ends.last().map_or(0, |end| *end as usize), bytes.len());
                ends.len()
            }
        };
        assert_eq!(length, raw.rows, "values of {}", column.name);
        assert!([0, raw.rows].contains(&data.validity.len()), "validity of {}", column.name);
        let complete = (0..raw.rows).all(|row| data.is_valid(row));
        assert!(column.role != Role::Key || complete, "a missing key in {}", column.name);
    }
}

/// As the slot finishes a batch of the second round, with the checks of what is made of it.
fn finish(infos: &[Arc<StreamInfo>], first: &RawBatch, second: &RawBatch) -> Arc<Batch> {
    let info = &infos[second.stream as usize];
    let mut columns = second.columns.clone();
    columns.extend(rates::derive(info, first, second));
    let monotonic = Duration::from_nanos(second.monotonic_ns);
    let read = Read { generation: 1, sequence: 1, wall: UNIX_EPOCH, monotonic, due: monotonic };
    let batch = Arc::new(Batch::new(info.clone(), read, second.rows, columns));
    assert_values(second, &batch);
    assert_json(&batch);
    assert_snapshot(&batch);
    batch
}

/// A value is missing only where the batch says so.
fn assert_values(raw: &RawBatch, batch: &Batch) {
    for (index, data) in raw.columns.iter().enumerate() {
        for row in 0..raw.rows {
            let value = batch.value(row, index);
            assert_eq!(value == Value::Null, !data.is_valid(row), "row {row} of column {index}");
        }
        assert_eq!(batch.value(raw.rows, index), Value::Null, "beyond the last row");
    }
}

/// A line with as many records as rows, each with every column once.
fn assert_json(batch: &Batch) {
    let line = batch.json();
    assert!(!line.contains('\n'), "{line}");
    let parsed: Json = serde_json::from_str(&line).unwrap_or_default();
    let records = parsed["records"].as_array().map(Vec::as_slice).unwrap_or_default();
    assert_eq!(records.len(), batch.rows(), "{line}");
    let columns = &batch.stream.schema.columns;
    for (row, record) in records.iter().enumerate() {
        assert_eq!(record.as_object().map(serde_json::Map::len), Some(columns.len()), "{line}");
        for (index, column) in columns.iter().enumerate() {
            assert_same(batch.value(row, index), &record[&column.name]);
        }
    }
}

fn assert_same(value: Value<'_>, json: &Json) {
    let same = match value {
        Value::Null => json.is_null(),
        Value::U64(value) => json.as_u64() == Some(value),
        Value::I64(value) => json.as_i64() == Some(value),
        Value::F64(_) => json.as_f64().is_some_and(f64::is_finite), // the last digit may differ
        Value::Bool(value) => json.as_bool() == Some(value),
        Value::Text(value) => json.as_str() == Some(value),
        Value::List(items) => {
            json.as_array().is_some_and(|list| list.len() == items.matches('\0').count())
        }
    };
    assert!(same, "{value:?} as {json}");
}

/// Each record stands at its keys; of two with the same keys, the later one.
fn assert_snapshot(batch: &Arc<Batch>) {
    let snapshot = json::snapshot(std::slice::from_ref(batch), UNIX_EPOCH);
    let info = &batch.stream;
    let keys: Vec<usize> = info.keys().collect();
    let rows = if keys.is_empty() { batch.rows().min(1) } else { batch.rows() };
    let path = |row: usize| -> Vec<String> {
        let names = info.name.split('.').map(str::to_owned);
        let key = |key: &usize| match batch.value(row, *key) {
            Value::U64(value) => value.to_string(),
            Value::I64(value) => value.to_string(),
            Value::Text(text) => text.to_owned(),
            other => format!("{other:?} is no key"),
        };
        names.chain(keys.iter().map(key)).collect()
    };
    for row in 0..rows {
        let steps = path(row);
        let place = steps.iter().try_fold(&snapshot, |place, step| place.get(step));
        assert!(place.is_some_and(Json::is_object), "no {steps:?} in {snapshot}");
        let is_last = (row + 1..rows).all(|later| path(later) != steps);
        for (index, column) in info.schema.columns.iter().enumerate() {
            if let Some(place) = place
                && is_last
                && column.role != Role::Key
            {
                assert_same(batch.value(row, index), &place[&column.name]);
            }
        }
    }
}
