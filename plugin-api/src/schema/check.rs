//! What the host asks of a plugin's declaration.

use std::collections::HashSet;
use std::fmt;

use super::{ColumnSchema, MAX_STREAMS, Role, StreamSchema, ValueType, derived};

/// Most columns of one stream.
const MAX_COLUMNS: usize = 256;
/// Longest name of a stream or column, bytes.
const MAX_NAME: usize = 64;

/// Why a plugin's declaration of its streams was refused.
#[derive(Debug, PartialEq, Eq, Clone)]
pub struct SchemaError {
    /// The stream.
    pub stream: String,
    /// What is wrong.
    pub what: String,
}

impl fmt::Display for SchemaError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "stream `{}`: {}", self.stream, self.what)
    }
}

impl std::error::Error for SchemaError {}

/// Checks what a plugin declares, before anything is made of it: the host refuses a plugin whose
/// streams don't pass.
pub fn check(schemas: &[StreamSchema]) -> Result<(), SchemaError> {
    let mut streams = HashSet::new();
    for stream in schemas {
        let fail = |what: String| Err(SchemaError { stream: stream.name.clone(), what });
        if schemas.len() > MAX_STREAMS {
            return fail(format!("more than {MAX_STREAMS} streams"));
        }
        if !stream.name.is_empty() && !is_name(&stream.name) {
            return fail("a name has only a-z, 0-9 and `_`, 64 at most".into());
        }
        if !streams.insert(stream.name.as_str()) {
            return fail("declared twice; name one with #[record(stream = \"…\")]".into());
        }
        if stream.columns.is_empty() || stream.columns.len() > MAX_COLUMNS {
            return fail(format!("a stream has 1 to {MAX_COLUMNS} columns"));
        }
        check_columns(&stream.columns).or_else(fail)?;
        let declared = stream.columns.iter().map(|column| column.name.clone());
        let mut names: HashSet<String> = declared.collect();
        if let Some(name) = derived_names(stream).find(|name| !names.insert(name.clone())) {
            return fail(format!("the host derives a column `{name}` too; rename yours"));
        }
    }
    let main = schemas.iter().find(|stream| stream.name.is_empty());
    let columns: HashSet<String> = main
        .into_iter()
        .flat_map(|main| main.columns.iter().map(|column| column.name.clone()))
        .chain(main.into_iter().flat_map(derived_names))
        .collect();
    match schemas.iter().find(|stream| columns.contains(&stream.name)) {
        Some(shadowed) => {
            let what = "the main stream has a column of this name; rename one".into();
            Err(SchemaError { stream: shadowed.name.clone(), what })
        }
        None => Ok(()),
    }
}

fn check_columns(columns: &[ColumnSchema]) -> Result<(), String> {
    let mut names = HashSet::new();
    for column in columns {
        let share = column.share.as_ref().map(|share| &share.name);
        for name in share.into_iter().chain([&column.name]) {
            if !is_name(name) {
                return Err(format!("the column name `{name}` is not valid"));
            }
        }
        if !names.insert(column.name.as_str()) {
            return Err(format!("the column `{}` is declared twice", column.name));
        }
        let number = matches!(column.value, ValueType::U64 | ValueType::I64 | ValueType::F64);
        let fits = match column.role {
            Role::Key => matches!(column.value, ValueType::Text | ValueType::U64 | ValueType::I64),
            Role::Counter => number,
            Role::Gauge => number || column.value == ValueType::Bool,
            Role::Attribute => true,
        };
        if !fits {
            return Err(format!("the column `{}` can't have its type", column.name));
        }
    }
    Ok(())
}

/// Names of the columns that the host adds.
fn derived_names(stream: &StreamSchema) -> impl Iterator<Item = String> {
    derived(stream).into_iter().map(|(_, column)| column.name)
}

fn is_name(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= MAX_NAME
        && name
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
}
