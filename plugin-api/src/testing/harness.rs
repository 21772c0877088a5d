//! A polled collector under test.

use std::time::{Duration, SystemTime};

use serde_json::Value;

use super::clock::HandClock;
use super::fixture::Scratch;
use super::{Round, host};
use crate::abi::parse_settings;
use crate::collector::{Batch, Collector, Streams};
use crate::error::Result;

/// A collector under test. Its clock stands still until the test moves it; its state directory is
/// removed with it.
pub struct Harness<C> {
    collector: C,
    batch: Batch,
    clock: HandClock,
    _state: Scratch,
}

impl<C: Collector> Harness<C> {
    /// Makes the collector from settings, as the host would from TOML.
    pub fn new(settings: Value) -> Result<Self> {
        let (clock, state) = (HandClock::new(), Scratch::new("state"));
        let settings = parse_settings(&settings.to_string())?;
        let collector = C::create(settings, host(&state.0, &clock))?;
        Ok(Self { collector, batch: Batch::new(C::Streams::schemas()), clock, _state: state })
    }

    /// The collector itself.
    pub fn collector(&mut self) -> &mut C {
        &mut self.collector
    }

    /// Moves [`Host::elapsed`](crate::Host::elapsed) and [`Host::wall`](crate::Host::wall) on.
    /// Takes no time.
    pub fn advance(&mut self, by: Duration) {
        self.clock.advance(by);
    }

    /// Sets [`Host::wall`](crate::Host::wall), which begins at 2020-01-01T00:00:00Z.
    pub fn set_wall(&mut self, time: SystemTime) {
        self.clock.set_wall(time);
    }

    /// One round in which every stream is wanted.
    pub fn collect(&mut self) -> Result<Round> {
        self.collect_only(&[])
    }

    /// One round in which only the named streams are wanted; all of them if none is named.
    pub fn collect_only(&mut self, wanted: &[&str]) -> Result<Round> {
        let mask = self.batch.streams.iter().enumerate().fold(0, |mask, (index, stream)| {
            let is_wanted = wanted.is_empty() || wanted.contains(&stream.schema.name.as_str());
            if is_wanted { mask | (1 << index) } else { mask }
        });
        self.batch.begin(mask);
        self.collector.collect(&mut self.batch)?;
        let mut round = Round::new(&C::Streams::schemas());
        round.add(&mut self.batch);
        Ok(round)
    }
}
