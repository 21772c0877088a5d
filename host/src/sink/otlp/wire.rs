//! The parts of OTLP's messages that are written into bytes as they are, and kept: what stands in
//! every request is not made anew for each value. Tags are those of `opentelemetry/proto`.

use prost::Message;
use prost::encoding::{WireType, encode_key, encode_varint};

use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::common::v1::{AnyValue, ArrayValue, KeyValue};

use crate::model::Value;

/// A field that holds text, bytes or a message.
pub(super) fn field(tag: u32, contents: &[u8], out: &mut Vec<u8>) {
    head(tag, contents.len(), out);
    out.extend_from_slice(contents);
}

/// What stands before the contents of such a field.
pub(super) fn head(tag: u32, length: usize, out: &mut Vec<u8>) {
    encode_key(tag, WireType::LengthDelimited, out);
    encode_varint(length as u64, out);
}

/// The same, unless there is nothing in it.
pub(super) fn text(tag: u32, text: &str, out: &mut Vec<u8>) {
    if !text.is_empty() {
        field(tag, text.as_bytes(), out);
    }
}

pub(super) fn varint(tag: u32, value: u64, out: &mut Vec<u8>) {
    encode_key(tag, WireType::Varint, out);
    encode_varint(value, out);
}

/// A fixed-width number: its key has one byte for tags below 16.
pub(super) fn fixed64(tag: u32, bits: u64, out: &mut Vec<u8>) {
    encode_key(tag, WireType::SixtyFourBit, out);
    out.extend_from_slice(&bits.to_le_bytes());
}

/// An attribute as a field of what it belongs to; nothing if the value is missing.
pub(super) fn attribute(tag: u32, name: &str, value: Value<'_>, out: &mut Vec<u8>) {
    if let Some(attribute) = key_value(name, value) {
        head(tag, attribute.encoded_len(), out);
        let _ = attribute.encode(out); // to memory, which takes everything
    }
}

pub(super) fn key_value(name: &str, value: Value<'_>) -> Option<KeyValue> {
    let value = Some(AnyValue { value: Some(any(value)?) });
    Some(KeyValue { key: name.to_owned(), value, ..KeyValue::default() })
}

/// OTLP has no unsigned numbers: one that does not fit is a float.
fn any(value: Value<'_>) -> Option<Any> {
    Some(match value {
        Value::Null => return None,
        Value::U64(value) => match i64::try_from(value) {
            Ok(value) => Any::IntValue(value),
            Err(_) => Any::DoubleValue(value as f64),
        },
        Value::I64(value) => Any::IntValue(value),
        Value::F64(value) => Any::DoubleValue(value),
        Value::Bool(value) => Any::BoolValue(value),
        Value::Text(text) => Any::StringValue(text.to_owned()),
        Value::List(items) => {
            let item = |item: &str| AnyValue { value: Some(Any::StringValue(item.to_owned())) };
            let values = items.split_terminator('\0').map(item).collect();
            Any::ArrayValue(ArrayValue { values })
        }
    })
}
