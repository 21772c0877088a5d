//! What became of what is exported by OTLP.

use super::Page;
use super::naming::label_set;
use crate::sink::otlp::{OtlpStatus, SignalStatus};

impl Page {
    pub(super) fn otlp(&mut self, status: &OtlpStatus) {
        self.signal("metrics", &status.metrics);
        self.signal("logs", &status.logs);
    }

    fn signal(&mut self, signal: &str, status: &SignalStatus) {
        let labels = label_set([("signal", signal)]);
        for (name, help, count) in [
            ("sent_requests", "Requests that the OTLP receiver took.", status.sent_requests),
            ("sent_items", "Data points or log records in them.", status.sent_items),
            (
                "rejected_items",
                "Of those, what it did not take all the same.",
                status.rejected_items,
            ),
        ] {
            let name = format!("dropsonde_otlp_{name}_total");
            self.add(&name, "counter", help, &labels, count as f64);
        }
        for (name, help, by_cause) in [
            ("failures", "Tries to export by OTLP that failed, by cause.", &status.failures),
            (
                "dropped_requests",
                "Requests for OTLP export that are lost, by cause.",
                &status.dropped_requests,
            ),
        ] {
            let name = format!("dropsonde_otlp_{name}_total");
            for (cause, count) in by_cause {
                let labels = label_set([("signal", signal), ("cause", cause)]);
                self.add(&name, "counter", help, &labels, *count as f64);
            }
        }
        let help = "Requests that wait for the OTLP receiver.";
        let queued = status.queued_requests as f64;
        self.add("dropsonde_otlp_queued_requests", "gauge", help, &labels, queued);
        let help = "Bytes of requests that wait for the OTLP receiver.";
        let queued = status.queued_bytes as f64;
        self.add("dropsonde_otlp_queued_bytes", "gauge", help, &labels, queued);
    }
}
