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
        self.round(u64::MAX)
    }

    /// One round in which only the named streams are wanted: none if none is named.
    ///
    /// # Panics
    /// If the plugin declares no such stream.
    #[track_caller]
    pub fn collect_only(&mut self, wanted: &[&str]) -> Result<Round> {
        let streams = C::Streams::schemas();
        let round = Round::new(&streams);
        for stream in wanted {
            round.must_declare(stream);
        }
        let is_wanted = |index: &usize| wanted.contains(&streams[*index].name.as_str());
        self.round((0..streams.len()).filter(is_wanted).fold(0, |mask, index| mask | (1 << index)))
    }

    fn round(&mut self, wanted: u64) -> Result<Round> {
        self.batch.begin(wanted);
        self.collector.collect(&mut self.batch)?;
        let mut round = Round::new(&C::Streams::schemas());
        round.add(&mut self.batch);
        Ok(round)
    }
}
