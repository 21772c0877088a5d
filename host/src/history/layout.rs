//! How the records of a stream are laid out in tables: all of it is derived from the schema.

use std::fmt::Write;

use dropsonde_plugin_api::schema::{ColumnSchema, Role, StreamSchema, ValueType};

use super::id::TIMESTAMP_SQL;

/// A resolution in which a stream is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Tier {
    Raw,
    Minute,
    Hour,
}

impl Tier {
    pub(super) const ALL: [Self; 3] = [Self::Raw, Self::Minute, Self::Hour];

    /// The name of its table, by that of the stream's.
    pub(super) fn table(self, base: &str) -> String {
        let suffix = match self {
            Self::Raw => "",
            Self::Minute => "_1m",
            Self::Hour => "_1h",
        };
        format!("{base}{suffix}")
    }
}

/// What becomes of a column in the tiers above the raw one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// It tells records apart.
    Key,
    /// Average, least and most.
    Average,
    /// The value of the last record.
    Last,
}

/// One column of a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Stored {
    pub(super) name: String,
    pub(super) fate: Fate,
    pub(super) value: ValueType,
    /// What its least and most are called in the tiers above; empty unless it is averaged.
    pub(super) low: String,
    pub(super) high: String,
}

/// The columns of a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Layout {
    pub(super) columns: Vec<Stored>,
}

/// Columns that history adds.
const OWN: [&str; 3] = ["_id", "_timestamp", "_count"];
/// SQLite's limit on the columns of a table (limits.html, "Maximum Number Of Columns").
const MOST_COLUMNS: usize = 2000;

impl Layout {
    /// The error says why a stream of this schema can't be stored.
    pub(super) fn of(schema: &StreamSchema) -> Result<Self, String> {
        let taken: Vec<&str> = schema.columns.iter().map(|column| &*column.name).collect();
        if let Some(own) = OWN.iter().find(|own| taken.contains(own)) {
            return Err(format!("it has a column `{own}`, which history has for itself"));
        }
        let made: Vec<[String; 2]> = schema
            .columns
            .iter()
            .map(|column| ["min", "max"].map(|what| free(column, what, &taken)))
            .collect();
        let columns = schema.columns.iter().zip(made);
        let columns: Vec<Stored> = columns.map(|(column, made)| stored(column, made)).collect();
        let averaged = columns.iter().filter(|column| column.fate == Fate::Average).count();
        let width = OWN.len() + columns.len() + 2 * averaged;
        if width > MOST_COLUMNS {
            return Err(format!(
                "its tables would have {width} columns, and SQLite allows {MOST_COLUMNS}"
            ));
        }
        Ok(Self { columns })
    }

    /// Its columns in the tables of a tier: name and type.
    pub(super) fn in_tier(&self, tier: Tier) -> Vec<(String, &'static str)> {
        let mut columns = Vec::new();
        for column in &self.columns {
            match (tier, column.fate) {
                (Tier::Minute | Tier::Hour, Fate::Average) => {
                    columns.push((column.name.clone(), "REAL"));
                    columns.push((column.low.clone(), column.sql_type()));
                    columns.push((column.high.clone(), column.sql_type()));
                }
                _ => columns.push((column.name.clone(), column.sql_type())),
            }
        }
        columns
    }

    pub(super) fn create(&self, base: &str, tier: Tier) -> String {
        let mut sql = format!(
            "CREATE TABLE {} (_id INTEGER PRIMARY KEY, \
             _timestamp REAL GENERATED ALWAYS AS ({TIMESTAMP_SQL}) VIRTUAL",
            quoted(&tier.table(base))
        );
        if tier != Tier::Raw {
            sql.push_str(", _count INTEGER");
        }
        for (name, sql_type) in self.in_tier(tier) {
            let _ = write!(sql, ", {} {sql_type}", quoted(&name)); // to memory
        }
        sql + ")"
    }

    /// Inserts one record of these columns.
    pub(super) fn insert(&self, base: &str, columns: &[ColumnSchema]) -> String {
        let names: Vec<String> = columns.iter().map(|column| quoted(&column.name)).collect();
        let comma = if names.is_empty() { "" } else { ", " };
        format!(
            "INSERT INTO {} (_id{comma}{}) VALUES (?{})",
            quoted(&Tier::Raw.table(base)),
            names.join(", "),
            ", ?".repeat(names.len())
        )
    }

    /// Makes the records of a minute or an hour from those of the tier below: ids from `?1` and
    /// below `?2`.
    pub(super) fn roll_up(&self, base: &str, to: Tier) -> String {
        let from = if to == Tier::Hour { Tier::Minute } else { Tier::Raw };
        let weight = if from == Tier::Raw { "count(*)" } else { "sum(_count)" };
        let (mut inner, mut outer) = (String::new(), String::new());
        let mut keys = Vec::new();
        for (index, column) in self.columns.iter().enumerate() {
            let name = quoted(&column.name);
            match column.fate {
                Fate::Average => {
                    let average = match from {
                        Tier::Raw => format!("avg({name})"),
                        _ => format!(
                            "sum({name} * _count) / sum(CASE WHEN {name} IS NOT NULL THEN _count END)"
                        ),
                    };
                    let (low, high) = match from {
                        Tier::Raw => (name.clone(), name),
                        _ => (quoted(&column.low), quoted(&column.high)),
                    };
                    let _ = write!(
                        inner,
                        ", {average} AS a{index}, min({low}) AS l{index}, max({high}) AS h{index}"
                    );
                    let _ = write!(outer, ", a{index}, l{index}, h{index}");
                }
                Fate::Key | Fate::Last => {
                    let _ = write!(outer, ", r.{name}");
                    if column.fate == Fate::Key {
                        keys.push(name);
                    }
                }
            }
        }
        let group =
            if keys.is_empty() { String::new() } else { format!(" GROUP BY {}", keys.join(", ")) };
        let names: Vec<String> =
            self.in_tier(to).iter().map(|(name, _)| format!(", {}", quoted(name))).collect();
        let source = quoted(&from.table(base));
        format!(
            "INSERT INTO {} (_id, _count{}) \
             SELECT ?1 + row_number() OVER (ORDER BY last) - 1, n{outer} \
             FROM (SELECT max(_id) AS last, {weight} AS n{inner} FROM {source} \
             WHERE _id >= ?1 AND _id < ?2{group}) AS s JOIN {source} AS r ON r._id = s.last",
            quoted(&to.table(base)),
            names.concat()
        )
    }
}

impl Stored {
    fn sql_type(&self) -> &'static str {
        match self.value {
            ValueType::U64 | ValueType::I64 | ValueType::Bool => "INTEGER",
            ValueType::F64 => "REAL",
            ValueType::Text | ValueType::TextList => "TEXT",
        }
    }
}

fn stored(column: &ColumnSchema, [low, high]: [String; 2]) -> Stored {
    let fate = match (column.role, column.value) {
        (Role::Key, _) => Fate::Key,
        (Role::Gauge, ValueType::U64 | ValueType::I64 | ValueType::F64 | ValueType::Bool) => {
            Fate::Average
        }
        _ => Fate::Last,
    };
    let (low, high) = if fate == Fate::Average { (low, high) } else { Default::default() };
    Stored { name: column.name.clone(), fate, value: column.value, low, high }
}

/// `x_min`, with `_` after it for as long as a column is called so.
fn free(column: &ColumnSchema, what: &str, taken: &[&str]) -> String {
    let mut name = format!("{}_{what}", column.name);
    while taken.contains(&&*name) {
        name.push('_');
    }
    name
}

/// A stream's name as a table's: dots and hyphens are underscores, as in queries over the live
/// streams.
pub(super) fn base_name(stream: &str) -> String {
    let base = stream.replace(['.', '-'], "_");
    // SQLite has such names for itself.
    if base.starts_with("sqlite_") { format!("_{base}") } else { base }
}

/// An identifier in SQL.
pub(super) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// What a stream that goes on with another schema needs.
pub(super) enum Change {
    /// Nothing.
    None,
    /// These columns are new.
    Add(Vec<ColumnSchema>),
    /// What is stored means something else.
    SetAside,
}

/// Compares what is stored of a stream with what it is now. Columns that are gone stay, empty.
pub(super) fn change(stored: &StreamSchema, now: &StreamSchema) -> Change {
    let mut added = Vec::new();
    for column in &now.columns {
        match stored.columns.iter().find(|known| known.name == column.name) {
            Some(known) if known.role == column.role && known.value == column.value => {}
            Some(_) => return Change::SetAside,
            None => added.push(column.clone()),
        }
    }
    if added.iter().any(|column| column.role == Role::Key) || stored.kind != now.kind {
        return Change::SetAside; // records are told apart otherwise
    }
    // A new column may be called as the least of an older one is in the tiers.
    let mut merged = stored.clone();
    merged.columns.extend(added.iter().cloned());
    let (before, after) = (Layout::of(stored), Layout::of(&merged));
    match (before, after) {
        (Ok(before), Ok(after)) if after.columns.starts_with(&before.columns) => {}
        _ => return Change::SetAside,
    }
    if added.is_empty() { Change::None } else { Change::Add(added) }
}
