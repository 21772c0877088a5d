//! Records and the types that their fields may have.

use std::borrow::Cow;
use std::sync::Arc;

use crate::column::Column;
use crate::schema::{StreamSchema, ValueType};

/// One row of a stream. Derive it: `#[derive(Record)]`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a record",
    label = "not a record",
    note = "put #[derive(Record)] on `{Self}` and give every field a role: #[key], #[counter(unit = \"By\")], #[gauge(unit = \"s\")] or #[attribute]"
)]
pub trait Record {
    /// Name of the stream below the collector's; empty for its main stream.
    const STREAM: &'static str;

    /// Everything a subscriber needs to know about the stream.
    fn schema() -> StreamSchema;

    /// Appends the record, one value to each column.
    fn append(&self, columns: &mut [Column]);
}

/// A type that a field of a record may have.
#[diagnostic::on_unimplemented(
    message = "`{Self}` can't be a field of a record",
    label = "not a field type",
    note = "use u8…u64, usize, i8…i64, f32, f64, bool, String, &str, Vec<String>, or an Option of one of them"
)]
pub trait Field {
    /// How the values are stored.
    const VALUE: ValueType;

    /// Appends the value to its column.
    fn push(&self, column: &mut Column);
}

/// A type that says what a record is about: text or an integer, never missing.
#[diagnostic::on_unimplemented(
    message = "`{Self}` can't be a #[key]",
    label = "not a key type",
    note = "a key says which thing the record is about: use String, &str or an integer; it can't be missing"
)]
pub trait KeyField: Field {}

/// A type that counts.
#[diagnostic::on_unimplemented(
    message = "`{Self}` can't be a #[counter]",
    label = "not a counter type",
    note = "a counter only grows: use u8…u64, usize or f64, or an Option of one; use #[gauge] for what goes up and down, #[attribute] for text; for a Duration, as_secs_f64() and unit \"s\""
)]
pub trait CounterField: Field {}

/// A type that measures.
#[diagnostic::on_unimplemented(
    message = "`{Self}` can't be a #[gauge]",
    label = "not a gauge type",
    note = "a gauge is a number or a bool, or an Option of one; use #[attribute] for text; for a Duration, as_secs_f64() and unit \"s\""
)]
pub trait GaugeField: Field {}

/// A type that describes: text, a flag, or a number that names something, such as a parent's pid.
#[diagnostic::on_unimplemented(
    message = "`{Self}` can't be an #[attribute]",
    label = "not an attribute type",
    note = "an attribute is text, a bool, a Vec<String> or an integer that names something, or an Option of one; use #[gauge] for what is measured"
)]
pub trait AttributeField: Field {}

/// Take a type if it fits a role; the derive macro calls them.
#[doc(hidden)]
#[allow(unreachable_pub)] // reached through `private`
pub mod checks {
    use super::{AttributeField, CounterField, GaugeField, KeyField};

    pub fn key<T: KeyField>() {}
    pub fn counter<T: CounterField>() {}
    pub fn gauge<T: GaugeField>() {}
    pub fn attribute<T: AttributeField>() {}
}

macro_rules! integer {
    ($value:ident, $push:ident, $as:ty: $($type:ty)*) => {$(
        impl Field for $type {
            const VALUE: ValueType = ValueType::$value;
            fn push(&self, column: &mut Column) {
                column.$push(*self as $as);
            }
        }
        impl GaugeField for $type {}
    )*};
}
integer!(U64, push_u64, u64: u8 u16 u32 u64 usize);
integer!(I64, push_i64, i64: i8 i16 i32 i64);
integer!(F64, push_f64, f64: f32 f64);

macro_rules! marks {
    ($mark:ident: $($type:ty)*) => {$( impl $mark for $type {} )*};
}
marks!(KeyField: u8 u16 u32 u64 usize i8 i16 i32 i64 String &str);
marks!(CounterField: u8 u16 u32 u64 usize f64);
marks!(GaugeField: bool);
marks!(AttributeField: bool u8 u16 u32 u64 usize i8 i16 i32 i64 String &str Vec<String>);

impl KeyField for Cow<'_, str> {}
impl AttributeField for Cow<'_, str> {}
impl AttributeField for Arc<str> {}

impl Field for bool {
    const VALUE: ValueType = ValueType::Bool;
    fn push(&self, column: &mut Column) {
        column.push_bool(*self);
    }
}

impl Field for &str {
    const VALUE: ValueType = ValueType::Text;
    fn push(&self, column: &mut Column) {
        column.push_text(self);
    }
}

impl Field for String {
    const VALUE: ValueType = ValueType::Text;
    fn push(&self, column: &mut Column) {
        column.push_text(self);
    }
}

impl Field for Cow<'_, str> {
    const VALUE: ValueType = ValueType::Text;
    fn push(&self, column: &mut Column) {
        column.push_text(self);
    }
}

impl Field for Arc<str> {
    const VALUE: ValueType = ValueType::Text;
    fn push(&self, column: &mut Column) {
        column.push_text(self);
    }
}

impl Field for Vec<String> {
    const VALUE: ValueType = ValueType::TextList;
    fn push(&self, column: &mut Column) {
        column.push_list(self.iter().map(String::as_str));
    }
}

impl<F: Field> Field for Option<F> {
    const VALUE: ValueType = F::VALUE;
    fn push(&self, column: &mut Column) {
        match self {
            Some(value) => value.push(column),
            None => column.push_null(),
        }
    }
}
impl<F: CounterField> CounterField for Option<F> {}
impl<F: GaugeField> GaugeField for Option<F> {}
impl<F: AttributeField> AttributeField for Option<F> {}
