//! The catalogue: which streams are stored, in which tables, and what their columns mean.

use dropsonde_plugin_api::schema::{ColumnSchema, StreamSchema};
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::id::{self, ms};
use super::layout::{Change, Layout, Tier, base_name, change, quoted};
use crate::clock;
use crate::model::StreamInfo;

/// The tables of one stream.
#[derive(Debug)]
pub(super) struct Tables {
    pub(super) topic: String,
    pub(super) stream: String,
    /// What they are called by, but for the tier.
    pub(super) base: String,
    pub(super) schema: StreamSchema,
    pub(super) layout: Layout,
    /// Minutes before this one are made; milliseconds since 1970.
    pub(super) minute_from: i64,
    /// Hours before this one are made.
    pub(super) hour_from: i64,
    /// The stream goes on in other tables, by another schema.
    pub(super) set_aside: bool,
}

const COLUMNS: &str = "topic, stream, base, schema, minute_from, hour_from, set_aside";
/// Before the first record.
const NEVER: i64 = i64::MAX;

impl Tables {
    fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        let read = serde_json::from_str::<StreamSchema>(&row.get::<_, String>(3)?).ok();
        let readable = read.is_some();
        let schema = read.unwrap_or_else(|| StreamSchema {
            name: String::new(),
            kind: dropsonde_plugin_api::schema::StreamKind::Event,
            description: String::new(),
            columns: Vec::new(),
        });
        let layout = Layout::of(&schema).unwrap_or(Layout { columns: Vec::new() });
        Ok(Self {
            topic: row.get(0)?,
            stream: row.get(1)?,
            base: row.get(2)?,
            schema,
            layout,
            minute_from: row.get(4)?,
            hour_from: row.get(5)?,
            set_aside: row.get::<_, bool>(6)? || !readable,
        })
    }

    /// The table of a tier, for SQL.
    pub(super) fn of(&self, tier: Tier) -> String {
        quoted(&tier.table(&self.base))
    }

    pub(super) fn raw(&self) -> String {
        self.of(Tier::Raw)
    }

    /// The highest id of its records; below all ids if there is none.
    pub(super) fn last(&self, connection: &Connection) -> rusqlite::Result<i64> {
        let sql = format!("SELECT max(_id) FROM {}", self.raw());
        let last: Option<i64> = connection.query_row(&sql, [], |row| row.get(0))?;
        Ok(last.unwrap_or(-1))
    }

    /// The lowest id of a tier's records from one on.
    pub(super) fn first(
        &self,
        connection: &Connection,
        tier: Tier,
        from: i64,
    ) -> rusqlite::Result<Option<i64>> {
        let sql = format!("SELECT min(_id) FROM {} WHERE _id >= ?", self.of(tier));
        connection.prepare_cached(&sql)?.query_row([from], |row| row.get(0))
    }

    /// From where on each tier is the one to read, if none coarser than `coarsest` is wanted:
    /// milliseconds from which the minutes, and from which the raw records count. What a finer
    /// tier no longer has comes from the next coarser one, and what is not made yet from the next
    /// finer one.
    pub(super) fn cuts(
        &self,
        connection: &Connection,
        coarsest: Tier,
    ) -> rusqlite::Result<(i64, i64)> {
        let goes_back_to = |tier, unit: i64, coarser| {
            let start = |tier| -> rusqlite::Result<Option<i64>> {
                Ok(self.first(connection, tier, 0)?.map(id::ms_of))
            };
            let (fine, coarse) = (start(tier)?, start(coarser)?);
            Ok::<_, rusqlite::Error>(match (fine, coarse) {
                // The first may be there in part: from the next one on, all of it is.
                (Some(fine), Some(coarse)) if coarse < fine - fine % unit => {
                    fine - fine % unit + if fine % unit == 0 { 0 } else { unit }
                }
                (None, Some(_)) => i64::MAX,
                _ => 0,
            })
        };
        let raw_from = match coarsest {
            Tier::Raw => {
                goes_back_to(Tier::Raw, id::MINUTE_MS, Tier::Minute)?.min(self.minute_from)
            }
            Tier::Minute | Tier::Hour => self.minute_from,
        };
        let minute_from = match coarsest {
            Tier::Hour => self.hour_from,
            Tier::Raw | Tier::Minute => {
                goes_back_to(Tier::Minute, id::HOUR_MS, Tier::Hour)?.min(self.hour_from)
            }
        };
        Ok((minute_from.min(raw_from), raw_from))
    }
}

/// All that is stored, by topic; what was set aside last.
pub(super) fn all(connection: &Connection) -> rusqlite::Result<Vec<Tables>> {
    let sql = format!("SELECT {COLUMNS} FROM _streams ORDER BY set_aside, topic, id");
    let mut statement = connection.prepare_cached(&sql)?;
    statement.query_map([], Tables::read)?.collect()
}

/// The tables of a stream, made or changed where they have to be; whether what was stored by an
/// older schema was set aside.
pub(super) fn adopt(
    connection: &Connection,
    stream: &StreamInfo,
) -> rusqlite::Result<(Tables, bool)> {
    let sql = format!("SELECT {COLUMNS} FROM _streams WHERE topic = ? AND set_aside = 0");
    let known = connection.query_row(&sql, [&stream.topic], Tables::read).optional()?;
    let Some(mut tables) = known else { return Ok((create(connection, stream)?, false)) };
    let change =
        if tables.set_aside { Change::SetAside } else { change(&tables.schema, &stream.schema) };
    match change {
        Change::None => Ok((tables, false)),
        Change::Add(columns) => {
            tables.add(connection, columns)?;
            Ok((tables, false))
        }
        Change::SetAside => {
            tables.set_aside(connection)?;
            Ok((create(connection, stream)?, true))
        }
    }
}

fn create(connection: &Connection, stream: &StreamInfo) -> rusqlite::Result<Tables> {
    let layout = Layout::of(&stream.schema).unwrap_or(Layout { columns: Vec::new() });
    let base = free(connection, &base_name(&stream.name))?;
    for tier in Tier::ALL {
        connection.execute(&layout.create(&base, tier), [])?;
    }
    connection.execute(
        &format!("INSERT INTO _streams ({COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, 0)"),
        params![stream.topic, stream.name, base, json(&stream.schema), NEVER, NEVER],
    )?;
    let (topic, stream, schema) =
        (stream.topic.clone(), stream.name.clone(), stream.schema.clone());
    let (minute_from, hour_from) = (NEVER, NEVER);
    Ok(Tables { topic, stream, base, schema, layout, minute_from, hour_from, set_aside: false })
}

impl Tables {
    fn add(&mut self, connection: &Connection, columns: Vec<ColumnSchema>) -> rusqlite::Result<()> {
        let before = self.layout.clone();
        self.schema.columns.extend(columns);
        if let Ok(layout) = Layout::of(&self.schema) {
            self.layout = layout;
        }
        for tier in Tier::ALL {
            for (name, sql_type) in &self.layout.in_tier(tier)[before.in_tier(tier).len()..] {
                let table = self.of(tier);
                let sql = format!("ALTER TABLE {table} ADD COLUMN {} {sql_type}", quoted(name));
                connection.execute(&sql, [])?;
            }
        }
        let sql = "UPDATE _streams SET schema = ? WHERE base = ?";
        connection.execute(sql, params![json(&self.schema), self.base])?;
        Ok(())
    }

    /// Renames the tables, so that the stream can begin anew.
    fn set_aside(&self, connection: &Connection) -> rusqlite::Result<()> {
        let time = ms(clock::wall()) / 1000;
        let to = free(connection, &format!("{}_before_{time}", self.base))?;
        for tier in Tier::ALL {
            let new = quoted(&tier.table(&to));
            connection.execute(&format!("ALTER TABLE {} RENAME TO {new}", self.of(tier)), [])?;
        }
        let sql = "UPDATE _streams SET base = ?, set_aside = 1 WHERE base = ?";
        connection.execute(sql, params![to, self.base])?;
        Ok(())
    }

    /// Removes the tables, and the stream from the catalogue.
    pub(super) fn remove(&self, connection: &Connection) -> rusqlite::Result<()> {
        for tier in Tier::ALL {
            connection.execute(&format!("DROP TABLE {}", self.of(tier)), [])?;
        }
        connection.execute("DELETE FROM _streams WHERE base = ?", [&self.base])?;
        Ok(())
    }
}

/// A name that no table has, in any tier: two streams may differ in a dot and an underscore.
fn free(connection: &Connection, base: &str) -> rusqlite::Result<String> {
    let sql = "SELECT EXISTS (SELECT 1 FROM sqlite_master WHERE name = ? COLLATE NOCASE)";
    let mut taken = connection.prepare_cached(sql)?;
    let mut name = base.to_owned();
    for number in 2.. {
        let mut is_taken = false;
        for tier in Tier::ALL {
            is_taken |= taken.query_row([tier.table(&name)], |row| row.get::<_, bool>(0))?;
        }
        if !is_taken {
            break;
        }
        name = format!("{base}_{number}");
    }
    Ok(name)
}

fn json(schema: &StreamSchema) -> String {
    serde_json::json!(schema).to_string()
}
