//! Makes streams and batches of bytes: most fit each other, some don't.

use dropsonde_plugin_api::schema::{
    ColumnSchema, Role, Share, StreamKind, StreamSchema, ValueType,
};

use crate::model::{ColumnData, Data, RawBatch};

/// Bytes that are used up from the front; zeros follow them.
pub(super) struct Feed<'a>(pub(super) &'a [u8]);

const STREAMS: [&str; 2] = ["", "s"];
/// Few, so that they often meet; a column is called by its index, or seldom by any of them.
const NAMES: [&str; 8] = ["a", "b", "a_per_sec", "part", "whole", "timestamp", "s", ""];
const UNITS: [&str; 8] = ["", "1", "By", "s", "%", "{packet}", "Cel", "By/s"];
const OTEL: [&str; 4] = ["", "system.io", "system.io.total", "9.utilization"];
const ROLES: [Role; 4] = [Role::Key, Role::Counter, Role::Gauge, Role::Attribute];
const VALUES: [ValueType; 6] = [
    ValueType::U64,
    ValueType::I64,
    ValueType::F64,
    ValueType::Bool,
    ValueType::Text,
    ValueType::TextList,
];

impl Feed<'_> {
    pub(super) fn byte(&mut self) -> u8 {
        self.bytes(1).first().copied().unwrap_or_default()
    }

    fn bytes(&mut self, most: usize) -> Vec<u8> {
        let (taken, rest) = self.0.split_at(most.min(self.0.len()));
        self.0 = rest;
        taken.to_vec()
    }

    fn below(&mut self, limit: usize) -> usize {
        usize::from(self.byte()) % limit
    }

    fn one_of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len())]
    }

    fn seldom(&mut self) -> bool {
        self.byte() >= 0xf0
    }

    /// Eight bytes; small and close numbers are as likely as any.
    fn number(&mut self) -> u64 {
        match self.byte() {
            0xf0.. => {
                let mut bytes = self.bytes(8);
                bytes.resize(8, 0);
                bytes.iter().fold(0, |number, byte| (number << 8) | u64::from(*byte))
            }
            byte @ 0xe0.. => u64::MAX << (byte & 0x0f),
            byte => u64::from(byte),
        }
    }

    /// Up to 15 characters, any of them.
    fn text(&mut self) -> String {
        let length = self.below(16);
        String::from_utf8_lossy(&self.bytes(length)).into_owned()
    }

    fn word(&mut self, known: &[&str]) -> String {
        if self.seldom() { self.text() } else { self.one_of(known).to_owned() }
    }

    pub(super) fn schema(&mut self) -> StreamSchema {
        StreamSchema {
            name: self.word(&STREAMS),
            kind: self.one_of(&[StreamKind::Snapshot, StreamKind::Event]),
            description: self.text(),
            columns: (0..=self.below(6)).map(|index| self.column(index)).collect(),
        }
    }

    fn column(&mut self, index: usize) -> ColumnSchema {
        let role = self.one_of(&ROLES);
        let fitting: &[ValueType] = match role {
            Role::Key => &[ValueType::Text, ValueType::U64, ValueType::I64],
            Role::Counter => &VALUES[..3],
            Role::Gauge => &VALUES[..4],
            Role::Attribute => &VALUES,
        };
        ColumnSchema {
            name: if self.seldom() { self.word(&NAMES) } else { NAMES[index].to_owned() },
            role,
            value: self.value(fitting),
            unit: self.word(&UNITS),
            description: self.text(),
            otel: self.word(&OTEL),
            attributes: (0..self.below(3)).map(|_| (self.text(), self.text())).collect(),
            share: self.seldom().then(|| Share {
                name: self.word(&NAMES),
                of: self.word(&NAMES),
                otel: self.word(&OTEL),
            }),
        }
    }

    fn value(&mut self, fitting: &[ValueType]) -> ValueType {
        if self.seldom() { self.one_of(&VALUES) } else { self.one_of(fitting) }
    }

    /// Of the stream at `index`, or nearly so.
    pub(super) fn batch(&mut self, index: usize, schema: &StreamSchema) -> RawBatch {
        let rows = self.below(6);
        let mut columns: Vec<ColumnData> =
            schema.columns.iter().map(|column| self.data(column.value, rows)).collect();
        if self.seldom() {
            columns.truncate(self.below(8));
        }
        let rows = if self.seldom() { self.number() as usize } else { rows };
        let stream = if self.seldom() { self.number() as u32 } else { index as u32 };
        RawBatch { stream, rows, monotonic_ns: self.number(), columns }
    }

    fn data(&mut self, value: ValueType, rows: usize) -> ColumnData {
        let value = self.value(&[value]);
        let rows = if self.seldom() { self.below(6) } else { rows };
        let data = match value {
            ValueType::U64 => Data::U64((0..rows).map(|_| self.number()).collect()),
            ValueType::I64 => Data::I64((0..rows).map(|_| self.number() as i64).collect()),
            ValueType::F64 => Data::F64((0..rows).map(|_| self.float()).collect()),
            ValueType::Bool => Data::Bool((0..rows).map(|_| self.byte()).collect()),
            ValueType::Text => self.texts(rows, &[]),
            ValueType::TextList => self.texts(rows, &[0]),
        };
        let validity = match self.byte() {
            0xf0.. => self.below(6),
            0xc0.. => rows,
            _ => 0,
        };
        ColumnData { data, validity: (0..validity).map(|_| self.byte() & 3).collect() }
    }

    fn float(&mut self) -> f64 {
        match self.byte() {
            byte @ 0xe0.. => {
                const ODD: [f64; 8] = [
                    f64::NAN,
                    f64::INFINITY,
                    f64::NEG_INFINITY,
                    f64::MAX,
                    f64::MIN,
                    -0.0,
                    5e-324,
                    1e15,
                ];
                ODD[usize::from(byte) % 8]
            }
            byte @ 0xc0.. => f64::from_bits(self.number() ^ (u64::from(byte) << 56)),
            byte => f64::from(byte),
        }
    }

    fn texts(&mut self, rows: usize, end: &[u8]) -> Data {
        let (mut ends, mut bytes) = (Vec::new(), Vec::new());
        for _ in 0..rows {
            let length = self.below(8);
            let text = self.bytes(length);
            if self.seldom() {
                bytes.extend(text); // as it came
            } else {
                bytes.extend(String::from_utf8_lossy(&text).as_bytes());
            }
            bytes.extend(end);
            let shift = if self.seldom() { self.number() as u32 } else { 0 };
            ends.push((bytes.len() as u32).wrapping_add(shift));
        }
        Data::Text { ends, bytes }
    }
}
