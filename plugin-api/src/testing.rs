//! Runs a collector inside a unit test, without a host: give it settings (a fixture `/proc`
//! root, say), collect, and look at the records.
//!
//! ```
//! use dropsonde_plugin_api::prelude::*;
//! use dropsonde_plugin_api::testing::Harness;
//!
//! # /// A number.
//! # #[derive(Record)]
//! # struct Answer {
//! #     /// The number.
//! #     #[gauge(unit = "1")]
//! #     answer: u64,
//! # }
//! # struct Oracle;
//! # impl Collector for Oracle {
//! #     type Settings = NoSettings;
//! #     type Streams = (Answer,);
//! #     fn create(_: NoSettings, _: Host) -> Result<Self> { Ok(Self) }
//! #     fn collect(&mut self, out: &mut Batch) -> Result<()> { out.push(Answer { answer: 42 }) }
//! # }
//! let mut oracle = Harness::<Oracle>::new(serde_json::json!({})).unwrap();
//! let round = oracle.collect().unwrap();
//! assert_eq!(round.rows("")[0]["answer"], 42);
//! ```

use std::collections::BTreeMap;
use std::ffi::c_void;

use abi_stable::std_types::RStr;
use serde_json::{Map, Value};

use crate::abi::{AbiHost, HostLink, parse_settings};
use crate::collector::{Batch, Collector, Streams};
use crate::column::{Column, Values};
use crate::error::Result;
use crate::host::Host;
use crate::schema::{StreamSchema, ValueType};

/// A collector under test.
pub struct Harness<C> {
    collector: C,
    batch: Batch,
}

/// What one round produced.
#[derive(Debug)]
pub struct Round {
    streams: BTreeMap<String, Vec<Map<String, Value>>>,
    /// What was reported as unreadable, in order.
    pub partial: Vec<String>,
}

impl<C: Collector> Harness<C> {
    /// Makes the collector from settings, as the host would from TOML.
    pub fn new(settings: Value) -> Result<Self> {
        let settings = parse_settings(&settings.to_string())?;
        let collector = C::create(settings, host())?;
        Ok(Self { collector, batch: Batch::new(C::Streams::schemas()) })
    }

    /// The collector itself.
    pub fn collector(&mut self) -> &mut C {
        &mut self.collector
    }

    /// One round in which every stream is wanted.
    pub fn collect(&mut self) -> Result<Round> {
        self.collect_only(&[])
    }

    /// One round in which only the named streams are wanted; all of them if none is named.
    pub fn collect_only(&mut self, wanted: &[&str]) -> Result<Round> {
        let mask = self.batch.streams.iter().enumerate().fold(0, |mask, (index, stream)| {
            let is_wanted = wanted.is_empty() || wanted.contains(&stream.schema.name.as_str());
            if is_wanted { mask | (1 << index) } else { mask }
        });
        self.batch.begin(mask);
        self.collector.collect(&mut self.batch)?;
        let streams = self
            .batch
            .streams
            .iter()
            .filter(|stream| stream.touched)
            .map(|stream| {
                let row = |row| row_of(&stream.schema, &stream.columns, row);
                (stream.schema.name.clone(), (0..stream.rows).map(row).collect())
            })
            .collect();
        Ok(Round { streams, partial: std::mem::take(&mut self.batch.partial) })
    }
}

impl Round {
    /// The records of a stream, in the order in which they were pushed; none if nothing was.
    /// A missing value is `null`.
    pub fn rows(&self, stream: &str) -> &[Map<String, Value>] {
        self.streams.get(stream).map_or(&[], Vec::as_slice)
    }

    /// The one record whose column has this value.
    ///
    /// # Panics
    /// If there is none.
    #[allow(clippy::panic)] // a test's assertion
    pub fn row(&self, stream: &str, column: &str, value: impl Into<Value>) -> &Map<String, Value> {
        let value = value.into();
        self.rows(stream)
            .iter()
            .find(|row| row.get(column) == Some(&value))
            .unwrap_or_else(|| panic!("no record of `{stream}` has {column} = {value}: {self:?}"))
    }

    /// The names of the streams that got records.
    pub fn streams(&self) -> impl Iterator<Item = &str> {
        self.streams.keys().map(String::as_str)
    }
}

fn row_of(schema: &StreamSchema, columns: &[Column], row: usize) -> Map<String, Value> {
    schema
        .columns
        .iter()
        .zip(columns)
        .map(|(column, data)| (column.name.clone(), value_of(column.value, data, row)))
        .collect()
}

fn value_of(kind: ValueType, column: &Column, row: usize) -> Value {
    if !column.is_valid(row) {
        return Value::Null;
    }
    match column.values() {
        Values::U64(values) => values[row].into(),
        Values::I64(values) => values[row].into(),
        Values::F64(values) => values[row].into(),
        Values::Bool(values) => (values[row] != 0).into(),
        Values::Text { ends, bytes } => {
            let start = row.checked_sub(1).map_or(0, |before| ends[before]) as usize;
            let text = String::from_utf8_lossy(&bytes[start..ends[row] as usize]);
            match kind {
                ValueType::TextList => text.split_terminator('\0').collect(),
                _ => text.into(),
            }
        }
    }
}

fn host() -> Host {
    extern "C" fn count(_: *const c_void) {}
    extern "C" fn log(_: *const c_void, level: u8, message: RStr<'_>) {
        eprintln!("[{level}] {message}");
    }
    let state = std::env::temp_dir().join(format!("dropsonde-harness-{}", std::process::id()));
    Host {
        link: HostLink::new(AbiHost {
            context: std::ptr::null(),
            retain: count,
            release: count,
            log,
            collector: "under_test".into(),
            state_dir: state.to_string_lossy().into_owned().into(),
        }),
    }
}
