//! What every plugin must keep, checked on one. [`contract_test!`](crate::contract_test) makes a
//! test of it.
//!
//! * What it declares is accepted by the host; every stream and column is described, every
//!   number has a unit that is one of UCUM's and not a word.
//! * The settings make an instance; a key that no field takes is refused, and named.
//! * A collector delivers [`ROUNDS`] rounds; it delivers each stream also where that alone is
//!   wanted; a second instance lives beside the first. Each call of it returns within the host's
//!   default deadline of 10 s; one that does not is left behind on its thread.
//! * A batch has no more records than the host keeps; keys tell the records of a snapshot apart;
//!   a counter does not fall.
//! * An event source waits, or at least goes on, and returns when it is told to stop.
//! * Nothing of it panics.

mod deadline;

use std::collections::HashMap;
use std::time::Duration;

use serde_json::{Map, Value};

use super::round::shown;
use super::{EventHarness, Harness, Round};
use crate::collector::{Collector, EventSource, Streams};
use crate::error::Error;
use crate::schema::{DEFAULT_ROWS, Role, StreamKind, StreamSchema, check, check_unit};
use deadline::{Calls, watched};

/// How many rounds a collector is asked for, and how many seconds an event source is given.
pub const ROUNDS: u32 = 10;

/// The host's default.
const DEADLINE: Duration = Duration::from_secs(10);
/// Longest that an event source is waited for that may never wait itself.
const GLANCE: Duration = Duration::from_millis(500);
/// No plugin has such a setting.
const UNKNOWN: &str = "no_plugin_has_this_setting";

/// What of the contract a [`Collector`] with these settings breaks: nothing, or a line for each.
pub fn collector<C: Collector + 'static>(settings: Value) -> Vec<String> {
    collector_within::<C>(DEADLINE, settings)
}

/// The same; each call may take this long.
pub(super) fn collector_within<C: Collector + 'static>(
    deadline: Duration,
    settings: Value,
) -> Vec<String> {
    watched(deadline, move |calls| life_of::<C>(settings, calls))
}

/// The calls of a collector, one after another.
fn life_of<C: Collector>(settings: Value, calls: &mut Calls) {
    calls.broken.extend(declaration(&C::Streams::schemas()));
    calls.begin("create with a setting that it does not have");
    calls.broken.extend(unknown_key(&settings, |settings| Harness::<C>::new(settings).err()));
    calls.begin("create");
    let first = Harness::<C>::new(settings.clone());
    calls.begin("create of a second instance");
    let broken = match (first, Harness::<C>::new(settings)) {
        (Ok(mut first), Ok(mut second)) => {
            rounds(&mut first, calls);
            calls.begin("the end of the first instance");
            drop(first);
            calls.begin("a round of the second instance");
            let failed = second.collect().err();
            calls.begin("the end of the second instance");
            drop(second);
            failed.map(|error| format!("a second instance beside the first fails: {error}"))
        }
        (Err(error), _) => Some(format!("it can't be made with these settings: {error}")),
        (_, Err(error)) => {
            Some(format!("a second instance can't be made beside the first: {error}"))
        }
    };
    calls.broken.extend(broken);
}

/// The same of an [`EventSource`].
pub fn events<E: EventSource + 'static>(settings: Value) -> Vec<String> {
    let schemas = E::Streams::schemas();
    let mut broken = declaration(&schemas);
    broken.extend(unknown_key(&settings, |settings| EventHarness::<E>::start(settings).err()));
    let mut source = match EventHarness::<E>::start(settings) {
        Ok(source) => source,
        Err(error) => {
            broken.push(format!("it can't be made with these settings: {error}"));
            return broken;
        }
    };
    for _ in 0..ROUNDS {
        match source.advance_within(GLANCE, Duration::from_secs(1)) {
            Ok(round) => broken.extend(records(&schemas, &round)),
            Err(error) if source.has_ended() => {
                broken.push(error.to_string());
                return broken;
            }
            Err(_) => break, // it waits for the kernel, not in Emitter::wait
        }
    }
    match source.stop() {
        Ok(round) => broken.extend(records(&schemas, &round)),
        Err(error) => broken.push(error.to_string()),
    }
    broken
}

/// Fails a test that breaks the contract; for the macro.
#[doc(hidden)]
#[track_caller]
#[allow(clippy::panic)] // a test's assertion
pub fn assert_kept(broken: &[String]) {
    if !broken.is_empty() {
        panic!("the plugin breaks its contract:\n  {}", broken.join("\n  "));
    }
}

fn declaration(schemas: &[StreamSchema]) -> Vec<String> {
    let mut broken: Vec<String> =
        check(schemas).err().map(|error| error.to_string()).into_iter().collect();
    for schema in schemas {
        let stream = shown(&schema.name);
        if schema.description.is_empty() {
            broken.push(format!("{stream} has no description"));
        }
        for column in &schema.columns {
            let name = &column.name;
            if column.description.is_empty() {
                broken.push(format!("`{name}` of {stream} has no description"));
            }
            let number = matches!(column.role, Role::Counter | Role::Gauge);
            if let Some(error) = check_unit(&column.unit).err().filter(|_| number) {
                broken.push(format!("`{name}` of {stream} {error}; {}", error.mend()));
            }
        }
    }
    broken
}

/// A key that no field takes must be refused, by a message or path that names it.
fn unknown_key(settings: &Value, make: impl FnOnce(Value) -> Option<Error>) -> Option<String> {
    let mut settings = settings.clone();
    match &mut settings {
        Value::Object(keys) => keys.insert(UNKNOWN.to_owned(), Value::Bool(true)),
        _ => return Some("settings are a table of keys and values".to_owned()),
    };
    match make(settings) {
        None => Some("a setting that it does not have is taken without a word".to_owned()),
        Some(error) => {
            let named = error.message().contains(UNKNOWN) || error.path().contains(UNKNOWN);
            (!named).then(|| format!("a setting that it does not have is not named: {error}"))
        }
    }
}

fn rounds<C: Collector>(harness: &mut Harness<C>, calls: &mut Calls) {
    let schemas = C::Streams::schemas();
    let mut counters = Counters::default();
    for number in 1..=ROUNDS {
        calls.begin(format!("round {number}"));
        let round = match harness.collect() {
            Ok(round) => round,
            Err(error) => return calls.broken.push(format!("round {number} fails: {error}")),
        };
        calls.broken.extend(records(&schemas, &round));
        calls.broken.extend(counters.fallen(&schemas, &round));
        if !calls.broken.is_empty() {
            return; // the next round would say the same again
        }
        harness.advance(Duration::from_secs(1));
    }
    for schema in &schemas {
        let stream = shown(&schema.name);
        calls.begin(format!("a round where {stream} alone is wanted"));
        if let Err(error) = harness.collect_only(&[&schema.name]) {
            calls.broken.push(format!("it fails where {stream} alone is wanted: {error}"));
        }
    }
}

/// What is wrong with the records of one round.
fn records(schemas: &[StreamSchema], round: &Round) -> Vec<String> {
    let mut broken = Vec::new();
    for schema in schemas {
        let (stream, rows) = (shown(&schema.name), round.rows(&schema.name));
        if rows.len() as u64 > DEFAULT_ROWS {
            broken.push(format!(
                "{} records of {stream}; the host keeps {DEFAULT_ROWS} of a batch",
                rows.len()
            ));
        }
        if schema.kind == StreamKind::Event {
            continue; // each happened once
        }
        let mut seen = HashMap::new();
        for (index, row) in rows.iter().enumerate() {
            if let Some(first) = seen.insert(key(schema, row), index) {
                let key = key(schema, row);
                broken.push(match key.is_empty() {
                    true => format!(
                        "{} records of {stream}, which has no #[key] that tells them apart",
                        rows.len()
                    ),
                    false => format!("records {first} and {index} of {stream} have one key: {key}"),
                });
                break;
            }
        }
    }
    broken
}

/// The key of a record as text; empty if its stream has none.
fn key(schema: &StreamSchema, row: &Map<String, Value>) -> String {
    let keys = schema.columns.iter().filter(|column| column.role == Role::Key);
    let values = keys.map(|column| row.get(&column.name).unwrap_or(&Value::Null).to_string());
    values.collect::<Vec<_>>().join(", ")
}

/// The last values of all counters, by stream, key and column.
#[derive(Default)]
struct Counters(HashMap<(String, String, String), Value>);

impl Counters {
    /// What fell since the last round.
    fn fallen(&mut self, schemas: &[StreamSchema], round: &Round) -> Vec<String> {
        let mut broken = Vec::new();
        for schema in schemas.iter().filter(|schema| schema.kind == StreamKind::Snapshot) {
            let counters = || schema.columns.iter().filter(|column| column.role == Role::Counter);
            for row in round.rows(&schema.name) {
                let key = key(schema, row);
                for column in counters() {
                    let now = row.get(&column.name).unwrap_or(&Value::Null);
                    let place = (schema.name.clone(), key.clone(), column.name.clone());
                    let before = self.0.insert(place, now.clone()).unwrap_or(Value::Null);
                    if is_less(now, &before) {
                        let (name, stream) = (&column.name, shown(&schema.name));
                        broken.push(format!(
                            "the counter `{name}` of {stream} fell from {before} to {now} ({key})"
                        ));
                    }
                }
            }
        }
        broken
    }
}

/// Of two numbers; a missing value is neither less nor more.
fn is_less(one: &Value, other: &Value) -> bool {
    match (one.as_u64().zip(other.as_u64()), one.as_f64().zip(other.as_f64())) {
        (Some((one, other)), _) => one < other,
        (None, Some((one, other))) => one < other,
        (None, None) => false,
    }
}
