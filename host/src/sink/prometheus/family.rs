//! The samples of one metric.

use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};
use std::ops::Range;

use hashbrown::HashTable;

pub(super) struct Family {
    pub(super) kind: &'static str,
    pub(super) help: String,
    pub(super) samples: String,
    /// What tells the samples apart, by its hash: what follows the family's name in each, which
    /// is the rest of the name, and the labels.
    seen: HashTable<(u64, Range<usize>)>,
    /// The same of samples that will come, in whose place nobody else's may stand.
    pub(super) kept: HashSet<String>,
    hasher: RandomState,
}

impl Family {
    pub(super) fn new(kind: &'static str, help: &str) -> Self {
        Self {
            kind,
            help: help.to_owned(),
            samples: String::new(),
            seen: HashTable::new(),
            kept: HashSet::new(),
            hasher: RandomState::new(),
        }
    }

    /// Whether a sample stands in it, or will.
    pub(super) fn is_taken(&self) -> bool {
        !(self.seen.is_empty() && self.kept.is_empty())
    }

    /// Notes what tells a sample apart, by its place in `samples`. False if another has it.
    pub(super) fn take(&mut self, place: Range<usize>) -> bool {
        let told_apart_by = &self.samples[place.clone()];
        let hash = self.hasher.hash_one(told_apart_by);
        let is_it =
            |(_, other): &(u64, Range<usize>)| self.samples[other.clone()] == *told_apart_by;
        if self.seen.find(hash, is_it).is_some()
            || (!self.kept.is_empty() && self.kept.contains(told_apart_by))
        {
            return false;
        }
        self.seen.insert_unique(hash, (hash, place), |(hash, _)| *hash);
        true
    }
}
