//! What history tells of itself.

use super::{Page, label_set};
use crate::history::HistoryStatus;

impl Page {
    pub(super) fn history(&mut self, status: &HistoryStatus) {
        for (name, help, value) in [
            ("rows", "Records that were stored.", status.rows as f64),
            ("batches", "Batches that were stored.", status.batches as f64),
            ("flushes", "Transactions that stored something.", status.flushes as f64),
            ("flush_seconds", "Time that these took.", status.flush_seconds),
            (
                "damaged_files",
                "Damaged history files that were set aside.",
                status.damaged_files as f64,
            ),
        ] {
            let name = format!("dropsonde_history_{name}_total");
            self.add(&name, "counter", help, "", value);
        }
        for (cause, count) in &status.lost_rows {
            let help = "Records that could not be stored, by cause.";
            let labels = label_set([("cause", *cause)]);
            let name = "dropsonde_history_lost_rows_total";
            self.add(name, "counter", help, &labels, *count as f64);
        }
        for (name, help, value) in [
            ("waiting_rows", "Records that wait to be stored.", status.waiting_rows),
            ("size_bytes", "Size of the history file.", status.size_bytes),
            ("used_bytes", "What of it is in use.", status.used_bytes),
            (
                "storing",
                "Whether the history file can be written.",
                u64::from(status.state == "storing"),
            ),
        ] {
            let name = format!("dropsonde_history_{name}");
            self.add(&name, "gauge", help, "", value as f64);
        }
        if let Some(oldest) = status.oldest_seconds {
            let help = "Time of the oldest record that is stored.";
            self.add("dropsonde_history_oldest_timestamp_seconds", "gauge", help, "", oldest);
        }
    }
}
