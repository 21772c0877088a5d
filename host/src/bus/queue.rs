//! Batches that wait for a subscriber.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::model::Batch;

#[derive(Default)]
pub(super) struct Queue {
    entries: VecDeque<Waiting>,
    /// Batches, not entries.
    batches: usize,
    /// Records in them.
    records: usize,
}

enum Waiting {
    One(Arc<Batch>),
    /// A list that subscribers share, from this index on.
    List(Arc<[Arc<Batch>]>, usize),
}

impl Waiting {
    fn batches(&self) -> &[Arc<Batch>] {
        match self {
            Self::One(batch) => std::slice::from_ref(batch),
            Self::List(list, next) => list.get(*next..).unwrap_or_default(),
        }
    }
}

impl Queue {
    pub(super) fn batches(&self) -> usize {
        self.batches
    }

    pub(super) fn records(&self) -> usize {
        self.records
    }

    pub(super) fn push(&mut self, batch: Arc<Batch>) {
        self.batches += 1;
        self.records += batch.rows();
        self.entries.push_back(Waiting::One(batch));
    }

    /// `records` is the sum of the list's.
    pub(super) fn push_list(&mut self, list: Arc<[Arc<Batch>]>, records: usize) {
        self.batches += list.len();
        self.records += records;
        self.entries.push_back(Waiting::List(list, 0));
    }

    /// The oldest.
    pub(super) fn pop(&mut self) -> Option<Arc<Batch>> {
        let batch = match self.entries.front_mut()? {
            Waiting::List(list, next) if *next + 1 < list.len() => {
                let batch = list[*next].clone();
                *next += 1;
                batch
            }
            _ => match self.entries.pop_front()? {
                Waiting::One(batch) => batch,
                Waiting::List(list, next) => list.get(next)?.clone(),
            },
        };
        self.batches -= 1;
        self.records -= batch.rows();
        Some(batch)
    }

    /// Puts a batch in the place of an older one of its stream; false if there is none.
    pub(super) fn replace(&mut self, batch: &Arc<Batch>) -> bool {
        let older = self.entries.iter_mut().find_map(|entry| match entry {
            Waiting::One(older) if Arc::ptr_eq(&older.stream, &batch.stream) => Some(older),
            _ => None,
        });
        let Some(older) = older else { return false };
        self.records = self.records - older.rows() + batch.rows();
        *older = batch.clone();
        true
    }
}

/// Batches that were taken together, oldest first.
pub struct Batches(pub(super) Queue);

impl Batches {
    /// Looks at each. Cheaper than taking each by itself: nothing is counted up or down.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Batch>> {
        self.0.entries.iter().flat_map(Waiting::batches)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.batches
    }

    /// Records in all of them.
    pub fn records(&self) -> usize {
        self.0.records
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.batches == 0
    }
}
