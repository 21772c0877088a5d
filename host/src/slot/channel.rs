//! Where a slot publishes: its streams outlive the generations that fill them.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use dropsonde_plugin_api::schema::StreamSchema;

use crate::bus::{Bus, Publisher};
use crate::clock;
use crate::model::{Batch, Rates, RawBatch, Read, StreamInfo};

/// The streams of one collector, in the order of the generation that serves.
#[derive(Default)]
pub(super) struct Channels {
    channels: Vec<Channel>,
}

struct Channel {
    publisher: Publisher,
    rates: Rates,
    sequence: u64,
}

impl Channels {
    /// Makes the streams fit a generation. A stream that stays the same keeps its publisher, its
    /// rates and its sequence; one that changes keeps its sequence.
    pub(super) fn install(
        &mut self,
        bus: &Bus,
        collector: &Arc<str>,
        plugin: &Arc<str>,
        schemas: &[StreamSchema],
    ) {
        let old = self.channels.drain(..);
        let mut old: HashMap<String, Channel> =
            old.map(|channel| (channel.publisher.info().topic.clone(), channel)).collect();
        self.channels = schemas
            .iter()
            .map(|schema| {
                let info = StreamInfo::new(collector, plugin, schema.clone());
                match old.remove(&info.topic) {
                    Some(same) if **same.publisher.info() == info => same,
                    other => Channel {
                        sequence: other.map_or(0, |channel| channel.sequence),
                        publisher: bus.publisher(Arc::new(info)),
                        rates: Rates::default(),
                    },
                }
            })
            .collect();
    }

    /// Notes where a new generation's counters begin; see [`Rates::rebase`].
    pub(super) fn rebase(&mut self, raw: &RawBatch) {
        if let Some(channel) = self.channels.get_mut(raw.stream as usize) {
            channel.rates.rebase(channel.publisher.info(), raw);
        }
    }

    pub(super) fn topics(&self) -> impl Iterator<Item = &str> {
        self.channels.iter().map(|channel| channel.publisher.info().topic.as_str())
    }

    /// Publishes a checked batch. Waits only for subscribers that asked to block.
    pub(super) async fn publish(&mut self, raw: RawBatch, generation: u32, due: Duration) {
        let Some(channel) = self.channels.get_mut(raw.stream as usize) else { return };
        let info = channel.publisher.info().clone();
        let derived = channel.rates.derive(&info, &raw);
        let monotonic = Duration::from_nanos(raw.monotonic_ns);
        let age = clock::monotonic().saturating_sub(monotonic);
        channel.sequence += 1;
        let wall = clock::wall();
        let read = Read {
            generation,
            sequence: channel.sequence,
            wall: wall.checked_sub(age).unwrap_or(wall),
            monotonic,
            due,
        };
        let rows = raw.rows;
        let columns = raw.columns.into_iter().chain(derived).collect();
        let batch = Arc::new(Batch::new(info, read, rows, columns));
        channel.publisher.publish(batch).await;
    }
}
