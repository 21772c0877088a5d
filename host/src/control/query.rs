//! SQL over everything live.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::Host;
use crate::model::{Batch, StreamInfo};
use crate::query::{Facts, Query, QueryError, Rows, is_system};

impl Host {
    /// Answers SQL from the bus: each snapshot stream is a table at its name, with `_` for what
    /// is no letter or digit (`network_interfaces`). The answer is of one read of each stream
    /// that the query names; nothing else is read. Rows come as they are found.
    pub async fn query(&self, query: Query) -> Result<Rows, QueryError> {
        let (bus, max_age) = (self.bus(), query.max_age.unwrap_or(Duration::MAX));
        let read = |streams, patience| self.read_tables(streams, max_age, patience);
        let history = self.services.history.file();
        self.services.queries.run(query, bus.streams(), bus.clone(), history, read).await
    }

    /// Tables no older than `max_age` where that can be had within `patience`, otherwise as they
    /// are: all collectors side by side, one round each.
    async fn read_tables(
        &self,
        tables: Vec<Arc<StreamInfo>>,
        max_age: Duration,
        patience: Duration,
    ) -> Vec<Arc<Batch>> {
        let (own, streams): (Vec<_>, Vec<_>) =
            tables.into_iter().partition(|table| is_system(table));
        let mut by_collector: BTreeMap<Arc<str>, Vec<Arc<StreamInfo>>> = BTreeMap::new();
        for stream in streams {
            by_collector.entry(stream.collector.clone()).or_default().push(stream);
        }
        let reads =
            by_collector.values().map(|streams| self.read_or_last(streams, max_age, patience));
        let mut batches = futures_util::future::join_all(reads).await.concat();
        if !own.is_empty() {
            let status = self.status();
            let (collectors, streams) = (status.collectors, self.bus().streams());
            let facts = Facts { collectors, bus: status.bus, streams };
            batches.extend(own.iter().map(|table| facts.read(table)));
        }
        batches
    }
}
