//! JSON, in one of two ways.
//!
//! * Samples, one or an array of them: `{"metric": "queue_length", "labels": {"queue": "in"},
//!   "type": "gauge", "help": "…", "unit": "…", "value": 3}`; only `metric` and `value` must be.
//!   In an array one item with a `metric` is enough: the others are refused if they are no samples.
//! * Any other document: each number in it is a sample, called by the keys that lead to it
//!   (`{"pool": {"size": 4}}` is `pool_size`), in arrays by their index; true is 1, false 0. Text
//!   and null are left out.
//!
//! Of more than one line, each may be a document of its own; a later one gives a series anew.

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::fault::shown;
use crate::names::{made_valid, made_valid_within};
use crate::{Fault, Kind, Labels, MAX_NAME, Reading, Sample, cut, lines};

pub(crate) fn read(bytes: &[u8]) -> Reading {
    let mut reading = Reading::default();
    match serde_json::from_slice(bytes) {
        Ok(document) => take(document, "", &mut reading),
        Err(_) if is_document_per_line(bytes) => each_line(bytes, &mut reading),
        Err(_) if bytes.trim_ascii().is_empty() => {}
        Err(error) => reading.refuse("the document", Fault::Json(error.to_string())),
    }
    reading
}

/// Whether the first line that has something is a document.
fn is_document_per_line(bytes: &[u8]) -> bool {
    let mut lines = bytes.split(|byte| *byte == b'\n').filter(|line| !line.trim_ascii().is_empty());
    let first = lines.next().map(serde_json::from_slice::<serde::de::IgnoredAny>);
    matches!(first, Some(Ok(_)))
}

fn each_line(bytes: &[u8], reading: &mut Reading) {
    for (number, line) in lines(bytes) {
        let place = format!("line {number}");
        let document = match line {
            Ok(line) if line.trim().is_empty() => continue,
            Ok(line) => serde_json::from_str(line).map_err(|error| Fault::Json(error.to_string())),
            Err(fault) => Err(fault),
        };
        match document {
            Ok(document) => {
                reading.begin_document();
                take(document, &format!("{place}, "), reading);
            }
            Err(fault) => reading.refuse(place, fault),
        }
    }
}

/// `before` is what a place within begins with.
fn take(document: Value, before: &str, reading: &mut Reading) {
    match document {
        Value::Array(items) if items.iter().any(has_metric) => {
            for (index, item) in items.into_iter().enumerate() {
                let added = one(item).and_then(|sample| reading.add(sample));
                if let Err(fault) = added {
                    reading.refuse(format_args!("{before}item {}", index + 1), fault);
                }
            }
        }
        sample if has_metric(&sample) && sample.get("value").is_some() => {
            if let Err(fault) = one(sample).and_then(|sample| reading.add(sample)) {
                reading.refuse(format_args!("{before}the sample"), fault);
            }
        }
        other => numbers(&other, &mut String::new(), before, reading),
    }
}

fn has_metric(value: &Value) -> bool {
    value.get("metric").is_some_and(Value::is_string)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct JsonSample {
    metric: String,
    #[serde(default)]
    labels: Map<String, Value>,
    r#type: Option<String>,
    help: Option<String>,
    unit: Option<String>,
    value: Value,
}

fn one(value: Value) -> Result<Sample, Fault> {
    let from: JsonSample =
        serde_json::from_value(value).map_err(|error| Fault::JsonSample(error.to_string()))?;
    let kind = match &from.r#type {
        Some(word) => Kind::named(word).ok_or_else(|| Fault::Type(shown(word)))?,
        None => Kind::Unknown,
    };
    let mut labels = Labels::default();
    for (name, value) in &from.labels {
        let value = match value {
            Value::String(text) => text.clone(),
            Value::Number(_) | Value::Bool(_) => value.to_string(),
            _ => return Err(Fault::Labels(shown(&value.to_string()))),
        };
        labels.add(name, &value)?;
    }
    let number = match &from.value {
        Value::Null => f64::NAN, // there, and without a value
        other => number(other).ok_or_else(|| Fault::Value(shown(&other.to_string())))?,
    };
    let sample = Sample::new(&from.metric, labels, kind, number)?;
    let (help, unit) = (from.help.as_deref().map(cut), from.unit.as_deref().map(cut));
    Ok(Sample { help, unit, ..sample })
}

fn number(value: &Value) -> Option<f64> {
    match value {
        Value::Number(number) => number.as_f64(),
        Value::Bool(flag) => Some(f64::from(u8::from(*flag))),
        _ => None,
    }
}

/// Adds each number below a value; `path` is what leads to it, as far as a name may be long, and
/// is left as it was. No deeper than documents are read.
fn numbers(value: &Value, path: &mut String, before: &str, reading: &mut Reading) {
    let length = path.len();
    let mut step = |key: &str, value: &Value, reading: &mut Reading| {
        if !path.is_empty() {
            path.push('_');
        }
        let room = (MAX_NAME + 1).saturating_sub(path.len()); // one beyond is too long
        path.extend(made_valid_within(key).take(room));
        numbers(value, path, before, reading);
        path.truncate(length);
    };
    match value {
        Value::Object(object) => object.iter().for_each(|(key, value)| step(key, value, reading)),
        Value::Array(items) => {
            let items = items.iter().enumerate();
            items.for_each(|(index, value)| step(&index.to_string(), value, reading));
        }
        leaf => {
            let Some(number) = number(leaf) else { return };
            let sample = Sample::new(&made_valid(path), Labels::default(), Kind::Unknown, number);
            if let Err(fault) = sample.and_then(|sample| reading.add(sample)) {
                reading.refuse(format_args!("{before}a number"), fault);
            }
        }
    }
}
