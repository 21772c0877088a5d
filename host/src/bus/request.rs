//! What a subscriber asks for.

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use super::filter::{Filter, FilterError};
use super::topic::{Pattern, PatternError};

/// What happens when a subscriber does not keep up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Overflow {
    /// Only the newest batch of each stream waits.
    Latest,
    /// So many batches wait; the oldest gives way.
    DropOldest(usize),
    /// So many batches wait; then the publisher of a stream waits, at most so long, and the
    /// newest is lost. For those who must not lose: it delays the collectors concerned.
    Block(usize, Duration),
}

/// A request for batches.
///
/// What a batch goes through on its way to the subscriber, in this order: the interval (one
/// batch of a snapshot stream per interval), the filter (records), sampling (records of events),
/// the overflow policy (batches).
#[derive(Debug, Clone)]
pub struct Subscribe {
    pub(super) name: String,
    pub(super) patterns: Vec<Pattern>,
    pub(super) interval: Option<Duration>,
    /// The interval only thins out: nothing is read for it.
    pub(super) passive: bool,
    pub(super) filter: Option<Arc<Filter>>,
    pub(super) sample: u64,
    pub(super) gather: Option<(usize, Duration)>,
    pub(super) overflow: Overflow,
}

impl Subscribe {
    /// Asks for all streams whose topic a pattern selects, those that appear later included;
    /// every batch, of which the newest 1,024 wait.
    pub fn to(pattern: &str) -> Result<Self, PatternError> {
        Ok(Self {
            name: pattern.to_owned(),
            patterns: vec![pattern.parse()?],
            interval: None,
            passive: false,
            filter: None,
            sample: 1,
            gather: None,
            overflow: Overflow::DropOldest(1024),
        })
    }

    /// The same for all of these patterns; `None` if there are none.
    pub(crate) fn to_all(patterns: &[Pattern]) -> Option<Self> {
        let mut request = Self::to(&patterns.first()?.to_string()).ok()?;
        request.patterns = patterns.to_vec();
        Some(request)
    }

    /// Asks for more streams.
    pub fn and(mut self, pattern: &str) -> Result<Self, PatternError> {
        self.patterns.push(pattern.parse()?);
        Ok(self)
    }

    /// Names the subscriber, for the counts of what it lost.
    #[must_use]
    pub fn named(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// Asks for one batch of each stream per interval: a stream that is collected more slowly is
    /// sped up, one that is collected faster is thinned out. What is published as it happens never
    /// is: events, and the host's own `health.*` and `host.*`.
    #[must_use]
    pub fn every(mut self, interval: Duration) -> Self {
        (self.interval, self.passive) = (Some(interval), false);
        self
    }

    /// Asks for no more than one batch of each stream per interval, and has nothing read for it:
    /// as [`every`](Self::every), but a stream that is collected more slowly stays so.
    #[must_use]
    pub fn at_most_every(mut self, interval: Duration) -> Self {
        (self.interval, self.passive) = (Some(interval), true);
        self
    }

    /// Asks only for the records for which a predicate is true: see [`Filter`] for how it is
    /// written. A snapshot without such a record arrives empty, events without one don't arrive,
    /// nor does anything of a stream that lacks a column which the predicate names.
    pub fn filter(mut self, predicate: &str) -> Result<Self, FilterError> {
        self.filter = Some(Arc::new(predicate.parse()?));
        Ok(self)
    }

    /// Asks for one in so many events, counted by record, the first included; the rest is
    /// counted. 0 and 1 ask for all. Snapshots are never sampled.
    #[must_use]
    pub fn sample(mut self, one_in: u64) -> Self {
        self.sample = one_in.max(1);
        self
    }

    /// Has [`recv_many`](super::Subscription::recv_many) wait until so many records have come, or
    /// the queue is full, or the first of them has waited so long: fewer wake-ups and larger
    /// writes.
    #[must_use]
    pub fn gather(mut self, records: usize, within: Duration) -> Self {
        self.gather = Some((records, within));
        self
    }

    /// Says what happens when the subscriber does not keep up.
    #[must_use]
    pub fn overflow(mut self, overflow: Overflow) -> Self {
        self.overflow = overflow;
        self
    }

    /// The patterns that it asks by.
    pub fn patterns(&self) -> &[Pattern] {
        &self.patterns
    }

    /// The predicate that it asks by.
    pub fn predicate(&self) -> Option<&Filter> {
        self.filter.as_deref()
    }

    /// How often it wants streams to be read.
    pub(super) fn demand(&self) -> Option<Duration> {
        self.interval.filter(|_| !self.passive)
    }

    pub(super) fn selects(&self, topic: &str) -> bool {
        self.patterns.iter().any(|pattern| pattern.matches(topic))
    }

    /// Subscribers of which this is the same get the same batches. `None`: what one gets depends
    /// on the time, on chance, or on what it has taken already.
    pub(super) fn group(&self) -> Option<String> {
        if self.interval.is_some() || self.sample > 1 {
            return None;
        }
        let Overflow::DropOldest(_) = self.overflow else { return None };
        let mut patterns: Vec<String> = self.patterns.iter().map(Pattern::to_string).collect();
        patterns.sort();
        patterns.dedup();
        let filter = self.filter.as_ref().map(|filter| format!(" where {filter}"));
        Some(patterns.join(" ") + &filter.unwrap_or_default())
    }
}
