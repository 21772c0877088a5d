//! Storing records: CPU per record, beside SQLite alone with the same values.

use std::sync::Arc;

use dropsonde::Batch;
use dropsonde::bench::{Stored, batch_at, stream};
use dropsonde_plugin_api::schema::StreamKind;
use rusqlite::Connection;
use tempfile::TempDir;

use crate::Effort;
use crate::measure::{in_turn, per_call};
use crate::table::{Figure, Row};

/// Records of one batch, and batches of one transaction: as some interfaces or disks each second
/// give them in a flush of 10 s.
const RECORDS: usize = 20;
const BATCHES: usize = 10;
/// Transactions of one repetition.
const TRANSACTIONS: u64 = 200;

pub(crate) fn rows(effort: Effort) -> Vec<Row> {
    let transactions = TRANSACTIONS / u64::from(effort.haste);
    let info = stream("metrics.bench", StreamKind::Snapshot);
    let batches: Vec<Arc<Batch>> =
        (0..transactions * BATCHES as u64).map(|second| batch_at(&info, second, RECORDS)).collect();
    let records = transactions * (RECORDS * BATCHES) as u64;
    let store = |roll_up: bool| {
        let directory = TempDir::new().unwrap();
        let mut store = Stored::create(&directory.path().join("history.db")).unwrap();
        per_call(records, || {
            for some in batches.chunks(BATCHES) {
                store.write(some).unwrap();
            }
            if roll_up {
                store.roll_up().unwrap();
            }
        })
    };
    let [bare, stored, rolled] =
        in_turn(effort, [&mut || bare(transactions), &mut || store(false), &mut || store(true)]);
    let figures = [
        ("record of ten numbers stored", stored),
        ("the same, and made into minutes and hours", rolled),
    ];
    let reference = "SQLite alone, the same values, as many in a transaction";
    let row = |(work, figure)| {
        Row::new(work, Figure::Nanoseconds(figure), reference, Figure::Nanoseconds(bare))
    };
    figures.map(row).into()
}

/// A table with rowid, a prepared statement, the same settings.
fn bare(transactions: u64) -> f64 {
    let directory = TempDir::new().unwrap();
    let connection = Connection::open(directory.path().join("bare.db")).unwrap();
    connection.pragma_update(None, "page_size", 8192).unwrap();
    connection.pragma_update(None, "journal_mode", "WAL").unwrap();
    connection.pragma_update(None, "synchronous", "NORMAL").unwrap();
    connection.pragma_update(None, "wal_autocheckpoint", 512).unwrap();
    let columns: Vec<String> = (0..10).map(|index| format!("number_{index} INTEGER")).collect();
    let table = format!("CREATE TABLE bare (time INTEGER PRIMARY KEY, {})", columns.join(", "));
    connection.execute(&table, []).unwrap();
    let insert = format!("INSERT INTO bare VALUES (?{})", ", ?".repeat(10));
    let mut insert = connection.prepare(&insert).unwrap();
    let mut time = 1_763_000_000_000_i64 << 20;
    let records = (RECORDS * BATCHES) as u64;
    per_call(transactions * records, || {
        for _ in 0..transactions {
            let transaction = connection.unchecked_transaction().unwrap();
            for _ in 0..records {
                time += 1;
                insert.raw_bind_parameter(1, time).unwrap();
                for index in 0..10_i64 {
                    insert.raw_bind_parameter(index as usize + 2, index).unwrap();
                }
                insert.raw_execute().unwrap();
            }
            transaction.commit().unwrap();
        }
    })
}
