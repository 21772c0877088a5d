//! Forgetting: by age, and the oldest first where the file would grow beyond its size.

use std::time::SystemTime;

use rusqlite::Connection;

use super::error::StoreError;
use super::id;
use super::layout::Tier;
use super::store::Store;
use super::streams::{self, Tables};
use crate::config::Keep;

/// Records that are deleted at once.
const CHUNK: u64 = 1000;
/// Pages that are given back at once.
const PAGES: u32 = 512;

impl Store {
    /// Deletes what is too old at `now` (milliseconds since 1970), and the oldest of what does not
    /// fit: no more than so many records, the rest next time. Says whether there is a rest.
    pub(super) fn forget(&mut self, keep: &Keep, now: i64, most: u64) -> Result<bool, StoreError> {
        let path = self.path.clone();
        let forgotten = self.forget_all(keep, now, most);
        forgotten.map_err(|cause| StoreError::Sqlite { path, cause })
    }

    fn forget_all(&mut self, keep: &Keep, now: i64, most: u64) -> rusqlite::Result<bool> {
        let transaction = self.connection.unchecked_transaction()?;
        let all = streams::all(&transaction)?;
        let mut left = most;
        for tables in &all {
            for (tier, age) in
                [(Tier::Raw, keep.raw), (Tier::Minute, keep.minute), (Tier::Hour, keep.hour)]
            {
                let age = i64::try_from(age.as_millis()).unwrap_or(i64::MAX);
                // What the next tier is not made of yet stays until it is.
                let before = now.saturating_sub(age).min(tables.made(tier));
                left -= delete_oldest(&transaction, tables, tier, before, left)?;
            }
            let is_over = tables.set_aside || !self.is_written(&tables.base);
            if is_over && tables.are_empty(&transaction)? {
                tables.remove(&transaction)?;
            }
        }
        while left > 0 && self.size()?.0 > fits(keep.size) {
            let all = streams::all(&transaction)?;
            match delete_first(&transaction, &all, left.min(CHUNK))? {
                0 => break,
                deleted => left -= deleted,
            }
        }
        transaction.commit()?;
        self.give_back(keep.size)?;
        Ok(left == 0)
    }

    /// Gives pages back to the file system where many are free, or the file is too large. A few
    /// free ones stay: the next records need them.
    fn give_back(&self, most: u64) -> rusqlite::Result<()> {
        let (used, whole) = self.size()?;
        if whole > most || (whole - used) > whole / 4 {
            let sql = format!("PRAGMA incremental_vacuum({PAGES})");
            let mut statement = self.connection.prepare(&sql)?;
            let mut pages = statement.query([])?;
            while pages.next()?.is_some() {}
        }
        Ok(())
    }

    /// The time of the oldest record of any tier, if there is one.
    pub(super) fn oldest(&self) -> rusqlite::Result<Option<SystemTime>> {
        let mut oldest: Option<i64> = None;
        for tables in streams::all(&self.connection)? {
            for tier in Tier::ALL {
                let first = tables.first(&self.connection, tier, 0)?;
                oldest = [oldest, first].into_iter().flatten().min();
            }
        }
        Ok(oldest.map(id::time_of))
    }
}

/// What may be used of a file of this size: the rest is for what comes before the next look.
fn fits(size: u64) -> u64 {
    size - size / 16
}

impl Tables {
    /// Up to where the next tier is made of this one; milliseconds since 1970.
    fn made(&self, tier: Tier) -> i64 {
        match tier {
            Tier::Raw => self.minute_from,
            Tier::Minute => self.hour_from,
            Tier::Hour => i64::MAX,
        }
    }

    fn are_empty(&self, connection: &Connection) -> rusqlite::Result<bool> {
        let mut empty = true;
        for tier in Tier::ALL {
            empty &= self.first(connection, tier, 0)?.is_none();
        }
        Ok(empty)
    }
}

/// Deletes the oldest records of a tier that lie before a millisecond; says how many.
fn delete_oldest(
    connection: &Connection,
    tables: &Tables,
    tier: Tier,
    before: i64,
    most: u64,
) -> rusqlite::Result<u64> {
    let table = tables.of(tier);
    let sql = format!(
        "DELETE FROM {table} WHERE _id <= (SELECT max(_id) FROM \
         (SELECT _id FROM {table} WHERE _id < ?1 ORDER BY _id LIMIT ?2))"
    );
    let mut delete = connection.prepare_cached(&sql)?;
    let most = i64::try_from(most).unwrap_or(i64::MAX);
    delete.execute([id::first(before), most]).map(|deleted| deleted as u64)
}

/// Deletes the oldest records of the finest tier that has some: raw ones first, then minutes,
/// then hours; those of which the next tier is not made yet at the very last.
fn delete_first(connection: &Connection, all: &[Tables], most: u64) -> rusqlite::Result<u64> {
    for made_only in [true, false] {
        for tier in Tier::ALL {
            let mut oldest: Option<(i64, &Tables, i64)> = None;
            for tables in all {
                let before = if made_only { tables.made(tier) } else { i64::MAX };
                let first = tables.first(connection, tier, 0)?;
                if let Some(first) = first.filter(|first| *first < id::first(before))
                    && oldest.as_ref().is_none_or(|(oldest, ..)| first < *oldest)
                {
                    oldest = Some((first, tables, before));
                }
            }
            if let Some((_, tables, before)) = oldest {
                return delete_oldest(connection, tables, tier, before, most);
            }
        }
    }
    Ok(0)
}
