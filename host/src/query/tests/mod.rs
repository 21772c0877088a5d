//! Queries on a bus without a host.

mod bounds;
mod reading;
mod refusing;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, UNIX_EPOCH};

use dropsonde_plugin_api::{Column, Record};
use tokio::sync::{RwLock, RwLockReadGuard, RwLockWriteGuard};

use super::{Cell, Engine, Query, QueryError};
use crate::bus::{Bus, Publisher};
use crate::model::{Batch, ColumnData, Read, StreamInfo};

/// A record of the tests.
#[derive(Record, Default, Clone)]
struct Item {
    /// Its name.
    #[key]
    name: String,
    /// A number that may be missing.
    #[gauge(unit = "1")]
    number: Option<u64>,
    /// A signed one.
    #[gauge(unit = "1")]
    signed: i64,
    /// A float.
    #[gauge(unit = "1")]
    float: f64,
    /// A flag.
    #[gauge(unit = "1")]
    flag: bool,
    /// Several texts.
    #[attribute]
    list: Vec<String>,
}

/// A bus with streams of items on it, and an engine.
struct World {
    /// Memory counts for all queries of the process together: who uses much is alone.
    _company: Company,
    bus: Bus,
    engine: Engine,
    history: Option<std::path::PathBuf>,
    publishers: Vec<Publisher>,
    /// How often streams were read for a query.
    reads: Arc<AtomicUsize>,
}

static COMPANY: RwLock<()> = RwLock::const_new(());

enum Company {
    Any { _guard: RwLockReadGuard<'static, ()> },
    None { _guard: RwLockWriteGuard<'static, ()> },
}

impl World {
    async fn new() -> Self {
        Self::with(Company::Any { _guard: COMPANY.read().await })
    }

    /// While no other query runs in this process.
    async fn alone() -> Self {
        Self::with(Company::None { _guard: COMPANY.write().await })
    }

    fn with(company: Company) -> Self {
        let (bus, engine) = (Bus::new(), Engine::new());
        let (publishers, reads) = (Vec::new(), Arc::default());
        Self { _company: company, bus, engine, history: None, publishers, reads }
    }

    /// With one stream, `items`, of so many rows whose number is that of the row.
    async fn with_items(rows: u64) -> Self {
        let mut world = Self::new().await;
        world.publish("items", &numbered(rows)).await;
        world
    }

    /// Puts a stream of this name on the bus, with one batch.
    async fn publish(&mut self, name: &str, items: &[Item]) {
        let (host, mut schema): (Arc<str>, _) = ("test".into(), Item::schema());
        schema.name = String::new();
        let info = StreamInfo::new(&name.into(), &host, schema);
        let info = StreamInfo { name: name.to_owned(), ..info };
        let publisher = self.bus.publisher(Arc::new(info));
        publisher.publish(batch(publisher.info(), items, 1)).await;
        self.publishers.push(publisher);
        for _ in 0..20 {
            tokio::task::yield_now().await; // the dispatcher notes the last batch
        }
    }

    async fn start(&self, query: Query) -> Result<super::Rows, QueryError> {
        let read = |streams: Vec<Arc<StreamInfo>>, _| {
            self.reads.fetch_add(streams.len(), Ordering::Relaxed);
            let last = |stream: &Arc<StreamInfo>| self.bus.latest(&stream.topic);
            std::future::ready(streams.iter().filter_map(last).collect())
        };
        let (streams, history) = (self.bus.streams(), self.history.clone());
        self.engine.run(query, streams, self.bus.clone(), history, read).await
    }

    /// All rows of an answer.
    async fn ask(&self, query: Query) -> Result<Vec<Vec<Cell>>, QueryError> {
        let mut rows = self.start(query).await?;
        let mut all = Vec::new();
        while let Some(more) = rows.next().await? {
            all.extend(more);
        }
        Ok(all)
    }

    /// All rows, as text with `|` between the values.
    async fn rows(&self, sql: &str) -> Vec<String> {
        let rows = self.ask(patient(sql)).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
        rows.iter().map(|row| row.iter().map(text).collect::<Vec<_>>().join("|")).collect()
    }

    /// Waits until no query runs.
    async fn idle(&self) {
        let places = (super::TURNS + super::WAITING) as u32;
        let all = self.engine.places.acquire_many(places);
        let all = tokio::time::timeout(Duration::from_secs(10), all).await;
        assert!(all.is_ok(), "a query still runs");
    }

    async fn error(&self, sql: &str) -> QueryError {
        match self.ask(patient(sql)).await {
            Ok(rows) => panic!("{sql}: {rows:?}"),
            Err(error) => error,
        }
    }
}

/// With as much time as there is, for a busy machine.
fn patient(sql: &str) -> Query {
    Query { timeout: super::LONGEST, ..Query::new(sql) }
}

fn text(cell: &Cell) -> String {
    match cell {
        Cell::Null => "NULL".into(),
        Cell::Integer(value) => value.to_string(),
        Cell::Real(value) => format!("{value:?}"),
        Cell::Text(text) => text.clone(),
        Cell::Blob(bytes) => format!("{bytes:?}"),
    }
}

fn item(name: &str) -> Item {
    Item { name: name.into(), ..Item::default() }
}

fn numbered(rows: u64) -> Vec<Item> {
    (0..rows).map(|number| Item { number: Some(number), ..item(&format!("n{number}")) }).collect()
}

fn batch(info: &Arc<StreamInfo>, items: &[Item], sequence: u64) -> Arc<Batch> {
    let schema = info.schema.columns.iter();
    let mut columns: Vec<Column> = schema.map(|column| Column::new(column.value)).collect();
    items.iter().for_each(|item| item.append(&mut columns));
    let since = Duration::from_millis(1_500);
    let read =
        Read { generation: 3, sequence, wall: UNIX_EPOCH + since, monotonic: since, due: since };
    let columns = columns.iter().map(ColumnData::from).collect();
    Arc::new(Batch::new(info.clone(), read, items.len(), columns))
}
