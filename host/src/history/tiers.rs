//! Down-sampling: minutes are made of raw records, hours of minutes, each as soon as it is
//! complete. All of it is in the tables, so that a restart goes on where it was.

use rusqlite::{Connection, params};

use super::error::StoreError;
use super::id::{self, HOUR_MS, MINUTE_MS};
use super::layout::Tier;
use super::store::Store;
use super::streams::{self, Tables};

/// Most that are made of a stream at once; the rest next time.
const AT_ONCE: usize = 240;

/// How far a tier has come; milliseconds since 1970.
struct Progress {
    /// The end of what was made.
    made: i64,
    /// Nothing before this is left to be made.
    complete: i64,
}

impl Store {
    /// Makes the minutes and hours that are complete at `now`, in milliseconds since 1970.
    pub(crate) fn roll_up(&mut self, now: i64) -> Result<(), StoreError> {
        let path = self.path.clone();
        self.roll_up_all(now).map_err(|cause| StoreError::Sqlite { path, cause })
    }

    fn roll_up_all(&mut self, now: i64) -> rusqlite::Result<()> {
        let transaction = self.connection.unchecked_transaction()?;
        let mut rolled = Vec::new();
        for tables in streams::all(&transaction)? {
            let minutes = roll(&transaction, &tables, Tier::Minute, tables.minute_from, now)?;
            let until = minutes.complete;
            let hours = roll(&transaction, &tables, Tier::Hour, tables.hour_from, until)?;
            if (minutes.made, hours.made) != (tables.minute_from, tables.hour_from) {
                let sql = "UPDATE _streams SET minute_from = ?, hour_from = ? WHERE base = ?";
                let mut update = transaction.prepare_cached(sql)?;
                update.execute(params![minutes.made, hours.made, tables.base])?;
                rolled.push((tables.base, minutes.made, hours.made));
            }
        }
        transaction.commit()?;
        for (base, minutes, hours) in rolled {
            self.set_made(&base, minutes, hours);
        }
        Ok(())
    }
}

/// Makes the units of a tier that lie from `from` on and end at `until` or before.
fn roll(
    connection: &Connection,
    tables: &Tables,
    to: Tier,
    from: i64,
    until: i64,
) -> rusqlite::Result<Progress> {
    let (source, unit) =
        if to == Tier::Hour { (Tier::Minute, HOUR_MS) } else { (Tier::Raw, MINUTE_MS) };
    let until = until - until.rem_euclid(unit);
    let mut made = from;
    let insert = tables.layout.roll_up(&tables.base, to);
    let delete = format!("DELETE FROM {} WHERE _id >= ?1 AND _id < ?2", tables.of(to));
    for _ in 0..AT_ONCE {
        let next = tables.first(connection, source, id::first(made))?.map(id::ms_of);
        let Some(start) = next.map(|ms| ms - ms % unit).filter(|start| *start < until) else {
            return Ok(Progress { made, complete: made.max(until) });
        };
        let ids = [id::first(start), id::first(start + unit)];
        connection.prepare_cached(&delete)?.execute(ids)?; // it may be made anew
        connection.prepare_cached(&insert)?.execute(ids)?;
        made = start + unit;
    }
    Ok(Progress { made, complete: made })
}
