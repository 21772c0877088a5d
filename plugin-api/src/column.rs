//! Where a plugin's values wait until the host copies them. The buffers are kept from round to
//! round, so a round that is no larger than the last allocates nothing here.

use crate::record::Field;
use crate::schema::ValueType;

/// The values of one column.
#[derive(Debug, Clone)]
pub struct Column {
    pub(crate) values: Values,
    /// One byte a row, 0 where the value is missing; empty while none is.
    pub(crate) validity: Vec<u8>,
    pub(crate) rows: usize,
}

/// Storage of a column by its [`ValueType`].
#[derive(Debug, Clone)]
pub enum Values {
    /// Unsigned integers.
    U64(Vec<u64>),
    /// Signed integers.
    I64(Vec<i64>),
    /// Floats.
    F64(Vec<f64>),
    /// Booleans, one byte each.
    Bool(Vec<u8>),
    /// Text or lists of text: all bytes, and where each row ends.
    Text {
        /// End of each row in `bytes`.
        ends: Vec<u32>,
        /// All rows, one after the other.
        bytes: Vec<u8>,
    },
}

impl Column {
    /// An empty column.
    pub fn new(value: ValueType) -> Self {
        let values = match value {
            ValueType::U64 => Values::U64(Vec::new()),
            ValueType::I64 => Values::I64(Vec::new()),
            ValueType::F64 => Values::F64(Vec::new()),
            ValueType::Bool => Values::Bool(Vec::new()),
            ValueType::Text | ValueType::TextList => {
                Values::Text { ends: Vec::new(), bytes: Vec::new() }
            }
        };
        Self { values, validity: Vec::new(), rows: 0 }
    }

    /// Forgets the rows, keeps the buffers.
    pub(crate) fn clear(&mut self) {
        match &mut self.values {
            Values::U64(values) => values.clear(),
            Values::I64(values) => values.clear(),
            Values::F64(values) => values.clear(),
            Values::Bool(values) => values.clear(),
            Values::Text { ends, bytes } => {
                ends.clear();
                bytes.clear();
            }
        }
        self.validity.clear();
        self.rows = 0;
    }

    /// The values, and a byte for each row: 0 where it is missing; none if none is.
    pub fn into_parts(self) -> (Values, Vec<u8>) {
        (self.values, self.validity)
    }

    /// The stored values.
    pub fn values(&self) -> &Values {
        &self.values
    }

    /// One byte a row, 0 where the value is missing; empty if none is.
    pub fn validity(&self) -> &[u8] {
        &self.validity
    }

    /// Whether the value of `row` is present.
    pub fn is_valid(&self, row: usize) -> bool {
        self.validity.get(row).is_none_or(|valid| *valid != 0)
    }

    /// Adds a missing value.
    pub fn push_null(&mut self) {
        match &mut self.values {
            Values::U64(values) => values.push(0),
            Values::I64(values) => values.push(0),
            Values::F64(values) => values.push(0.0),
            Values::Bool(values) => values.push(0),
            Values::Text { ends, bytes } => ends.push(bytes.len() as u32),
        }
        if self.validity.is_empty() {
            self.validity.resize(self.rows, 1);
        }
        self.validity.push(0);
        self.rows += 1;
    }

    fn present(&mut self) {
        if !self.validity.is_empty() {
            self.validity.push(1);
        }
        self.rows += 1;
    }

    /// Adds a value to a column of unsigned integers.
    pub fn push_u64(&mut self, value: u64) {
        if let Values::U64(values) = &mut self.values {
            values.push(value);
            self.present();
        }
    }

    /// Adds a value to a column of signed integers.
    pub fn push_i64(&mut self, value: i64) {
        if let Values::I64(values) = &mut self.values {
            values.push(value);
            self.present();
        }
    }

    /// Adds a value to a column of floats. A value that is not a finite number is stored as
    /// missing.
    pub fn push_f64(&mut self, value: f64) {
        if !value.is_finite() {
            return self.push_null();
        }
        if let Values::F64(values) = &mut self.values {
            values.push(value);
            self.present();
        }
    }

    /// Adds a value to a column of booleans.
    pub fn push_bool(&mut self, value: bool) {
        if let Values::Bool(values) = &mut self.values {
            values.push(u8::from(value));
            self.present();
        }
    }

    /// Adds a value to a column of text.
    pub fn push_text(&mut self, value: &str) {
        if let Values::Text { ends, bytes } = &mut self.values {
            bytes.extend_from_slice(value.as_bytes());
            ends.push(bytes.len() as u32);
            self.present();
        }
    }

    /// Adds a value to a column of text lists. A NUL inside an item would split it and is left
    /// out.
    pub fn push_list<'a>(&mut self, items: impl IntoIterator<Item = &'a str>) {
        if let Values::Text { ends, bytes } = &mut self.values {
            for item in items {
                bytes.extend(item.bytes().filter(|byte| *byte != 0));
                bytes.push(0);
            }
            ends.push(bytes.len() as u32);
            self.present();
        }
    }
}

/// Appends one field of a record to its column; the derive macro calls it.
#[doc(hidden)]
pub fn push_field<F: Field>(field: &F, column: &mut Column) {
    field.push(column);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(column: &Column) -> &[f64] {
        match column.values() {
            Values::F64(values) => values,
            other => panic!("not floats: {other:?}"),
        }
    }

    fn texts(column: &Column) -> Vec<String> {
        let Values::Text { ends, bytes } = column.values() else { panic!("not text: {column:?}") };
        let starts = std::iter::once(&0).chain(ends);
        let rows = starts.zip(ends).map(|(start, end)| &bytes[*start as usize..*end as usize]);
        rows.map(|row| String::from_utf8_lossy(row).into_owned()).collect()
    }

    #[test]
    fn a_column_without_gaps_keeps_no_validity() {
        let mut column = Column::new(ValueType::F64);
        column.push_f64(1.0);
        column.push_f64(2.0);
        assert_eq!((numbers(&column), column.validity()), ([1.0, 2.0].as_slice(), [].as_slice()));
        assert!(column.is_valid(0) && column.is_valid(1));
    }

    #[test]
    fn a_missing_value_marks_only_its_own_row() {
        let types = [
            ValueType::U64,
            ValueType::I64,
            ValueType::F64,
            ValueType::Bool,
            ValueType::Text,
            ValueType::TextList,
        ];
        for value in types {
            let mut column = Column::new(value);
            let push = |column: &mut Column| match value {
                ValueType::U64 => column.push_u64(u64::MAX),
                ValueType::I64 => column.push_i64(i64::MIN),
                ValueType::F64 => column.push_f64(-0.5),
                ValueType::Bool => column.push_bool(true),
                ValueType::Text => column.push_text("text"),
                ValueType::TextList => column.push_list(["an", "item"]),
            };
            push(&mut column);
            column.push_null();
            push(&mut column);
            assert_eq!((column.validity(), column.rows), ([1, 0, 1].as_slice(), 3), "{value:?}");
            assert!(column.is_valid(0) && !column.is_valid(1) && column.is_valid(2));
        }
    }

    #[test]
    fn what_is_no_finite_number_is_missing() {
        let mut column = Column::new(ValueType::F64);
        for value in [1.5, f64::NAN, f64::INFINITY, f64::NEG_INFINITY, f64::MIN] {
            column.push_f64(value);
        }
        assert_eq!(column.validity(), [1, 0, 0, 0, 1]);
        assert_eq!(numbers(&column), [1.5, 0.0, 0.0, 0.0, f64::MIN]);
    }

    #[test]
    fn an_option_is_its_value_or_missing() {
        let mut column = Column::new(ValueType::U64);
        push_field(&Some(7_u64), &mut column);
        push_field(&None::<u64>, &mut column);
        assert_eq!(column.validity(), [1, 0]);
    }

    #[test]
    fn each_text_ends_where_it_was_said_to() {
        let mut column = Column::new(ValueType::Text);
        for text in ["größe", "", "b"] {
            column.push_text(text);
        }
        column.push_null();
        assert_eq!(texts(&column), ["größe", "", "b", ""]);
        assert!(column.is_valid(1) && !column.is_valid(3), "empty is not missing");
    }

    #[test]
    fn a_nul_inside_an_item_does_not_split_it() {
        let mut column = Column::new(ValueType::TextList);
        column.push_list(["a\0b", "c"]);
        column.push_list([]);
        assert_eq!(texts(&column), ["ab\0c\0", ""]);
    }

    #[test]
    fn a_cleared_column_has_forgotten_its_gaps() {
        let mut column = Column::new(ValueType::Bool);
        column.push_null();
        column.clear();
        column.push_bool(true);
        assert_eq!((column.validity(), column.rows), ([].as_slice(), 1));
    }
}
