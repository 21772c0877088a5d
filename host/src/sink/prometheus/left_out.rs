//! What does not stand on the page, and why.

use super::Page;
use crate::sink::samples::Unfit;

/// Longest name of a metric in the log, in characters.
const MAX_NAME: usize = 100;

/// Samples of a collector that do not stand on the page: for one wrong line, Prometheus refuses all.
#[derive(Debug, Default, Clone)]
pub(crate) struct LeftOut {
    /// Those whose name and labels another has.
    pub(crate) duplicates: u64,
    /// Those that are none, or can't stand beside what is there.
    pub(crate) unfit: u64,
    /// The metric of the first of them, and why.
    pub(crate) first: Option<(String, Unfit)>,
}

impl Page {
    pub(super) fn leave_out(&mut self, collector: &str, metric: &str, why: Unfit) {
        if !self.left_out.contains_key(collector) {
            self.left_out.insert(collector.to_owned(), LeftOut::default());
        }
        let Some(left_out) = self.left_out.get_mut(collector) else { return };
        let count =
            if why == Unfit::Twice { &mut left_out.duplicates } else { &mut left_out.unfit };
        *count += 1;
        left_out.first.get_or_insert_with(|| {
            (metric.chars().take(MAX_NAME).flat_map(char::escape_debug).collect(), why)
        });
    }
}
