//! The Prometheus page (text format 0.0.4).
//!
//! A column with an OpenTelemetry name is called as the collector's Prometheus exporter would
//! call it: dots become underscores, the unit follows, counters end in `_total`; its fixed
//! attributes, the record's keys and those of its attributes that have an OpenTelemetry name are
//! labels. A column without one is called
//! `dropsonde_<stream>_<column>`. Rates are left out: Prometheus makes its own; shares are
//! given as ratios where they have an OpenTelemetry name. Text has no place here. Streams of
//! samples have names of their own.

mod family;
mod history;
mod left_out;
mod naming;
mod otlp;
mod samples;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;

use family::Family;

pub(crate) use left_out::LeftOut;
pub(super) use naming::name_of;
use naming::{Naming, label_set, labelled, labels, naming, own_labels};
pub(crate) use naming::{Place, place};
pub(super) use samples::word;

use super::samples::{Shape, Unfit};
use crate::bus::{BusStatus, StreamStatus};
use crate::control::{OwnUse, Status};
use crate::model::{Batch, Histogram, Value};

/// Longest text of an error in a label, in characters.
const MAX_ERROR: usize = 200;

/// Families by name, so that each has its `HELP` and `TYPE` once.
#[derive(Default)]
struct Page {
    families: Vec<Family>,
    by_name: BTreeMap<String, usize>,
    /// By collector; those of the agent itself under the empty name.
    left_out: BTreeMap<String, LeftOut>,
}

/// A page, and what is not on it.
pub(crate) struct Made {
    /// The page itself.
    pub(crate) text: String,
    /// By collector: those of which something was left out, and all with a stream of samples.
    pub(crate) left_out: BTreeMap<String, LeftOut>,
}

/// The page of these batches and of the host itself.
pub(crate) fn page(batches: &[Arc<Batch>], status: &Status) -> Made {
    let mut page = Page::default();
    let shape = |batch: &Arc<Batch>| Shape::of(&batch.stream);
    for batch in batches.iter().filter(|batch| shape(batch).is_none()) {
        page.batch(batch);
    }
    page.host(status);
    let samples = batches.iter().filter_map(|batch| Some((&**batch, shape(batch)?)));
    page.samples(samples, status.host.start_time_seconds);
    let left_out = std::mem::take(&mut page.left_out);
    Made { text: page.render(), left_out }
}

impl Page {
    fn batch(&mut self, batch: &Batch) {
        let info = &batch.stream;
        let mut columns: Vec<(usize, Naming, usize)> = Vec::new();
        for (index, column) in info.schema.columns.iter().enumerate() {
            if let Some(naming) = naming(info, index, column) {
                let family = self.family(&naming.name, naming.kind, &naming.help);
                columns.push((index, naming, family));
            }
        }
        let labelled = labelled(info);
        let (mut labels, mut own) = (String::new(), Vec::new());
        for row in 0..batch.rows() {
            own_labels(batch, row, &labelled, &mut own);
            let mut of: Option<&Naming> = None;
            for (index, naming, family) in &columns {
                let value = match batch.value(row, *index) {
                    Value::U64(value) => value as f64,
                    Value::I64(value) => value as f64,
                    Value::F64(value) => value,
                    Value::Bool(value) => f64::from(u8::from(value)),
                    Value::Null | Value::Text(_) | Value::List(_) => continue,
                };
                if of.is_none_or(|before| before.attributes != naming.attributes) {
                    labels = self::labels(info, &naming.attributes, &own);
                    of = Some(naming);
                }
                let (kind, value) = (naming.kind, value * naming.scale);
                if let Err(why) = self.put(*family, (&naming.name, ""), kind, &labels, value) {
                    self.leave_out(&info.collector, &naming.name, why);
                }
            }
        }
    }

    fn add(&mut self, name: &str, kind: &'static str, help: &str, labels: &str, value: f64) {
        self.sample(name, "", kind, help, labels, value);
    }

    /// `suffix` is of the sample's name, beyond that of its family.
    fn sample(
        &mut self,
        name: &str,
        suffix: &str,
        kind: &'static str,
        help: &str,
        labels: &str,
        value: f64,
    ) {
        let family = self.family(name, kind, help);
        if let Err(why) = self.put(family, (name, suffix), kind, labels, value) {
            self.leave_out("", name, why);
        }
    }

    fn family(&mut self, name: &str, kind: &'static str, help: &str) -> usize {
        if let Some(family) = self.by_name.get(name) {
            return *family;
        }
        let family = self.families.len();
        self.by_name.insert(name.to_owned(), family);
        self.families.push(Family::new(kind, help));
        family
    }

    fn put(
        &mut self,
        family: usize,
        (name, suffix): (&str, &str),
        kind: &'static str,
        labels: &str,
        value: f64,
    ) -> Result<(), Unfit> {
        let Some(family) = self.families.get_mut(family) else { return Ok(()) };
        if !family.is_taken() {
            family.kind = kind; // whoever named it before has no value
        }
        if family.kind != kind {
            return Err(Unfit::Type); // two mean different things by one name: the first one stands
        }
        let start = family.samples.len();
        family.samples.extend([name, suffix, labels]);
        let place = start + name.len()..family.samples.len();
        if !family.take(place) {
            family.samples.truncate(start);
            return Err(Unfit::Twice);
        }
        // The same text either way; a whole number is written faster as one.
        let whole = value as i64;
        let _ = if whole as f64 == value
            && value.abs() < 1e15
            && !(value == 0.0 && value.is_sign_negative())
        {
            writeln!(family.samples, " {whole}")
        } else {
            writeln!(family.samples, " {value}")
        };
        Ok(())
    }

    fn histogram(&mut self, name: &str, help: &str, collector: &str, histogram: &Histogram) {
        let labels = label_set([("collector", collector)]);
        for (bound, count) in histogram.buckets() {
            let bound = if bound.is_finite() { bound.to_string() } else { "+Inf".to_owned() };
            let labels = label_set([("collector", collector), ("le", &bound)]);
            self.sample(name, "_bucket", "histogram", help, &labels, count as f64);
        }
        self.sample(name, "_sum", "histogram", help, &labels, histogram.sum());
        self.sample(name, "_count", "histogram", help, &labels, histogram.count() as f64);
    }

    /// The host's own process, by the names that Prometheus clients use for theirs.
    fn process(&mut self, own: &OwnUse) {
        let gauge = "gauge";
        let help = "CPU time of the host, user and system.";
        self.add("process_cpu_seconds_total", "counter", help, "", own.cpu_seconds);
        let help = "Memory of the host that is in RAM.";
        self.add("process_resident_memory_bytes", gauge, help, "", own.resident_bytes as f64);
        let help = "Address space of the host.";
        self.add("process_virtual_memory_bytes", gauge, help, "", own.virtual_bytes as f64);
        let help = "Open descriptors of the host.";
        self.add("process_open_fds", gauge, help, "", own.open_files as f64);
        if let Some(max) = own.max_open_files {
            let help = "How many descriptors the host may have open.";
            self.add("process_max_fds", gauge, help, "", max as f64);
        }
        let help = "Threads of the host.";
        self.add("dropsonde_threads", gauge, help, "", own.threads as f64);
        if let Some(start) = own.start_time_seconds {
            let help = "When the host was started, in seconds since 1970.";
            self.add("process_start_time_seconds", gauge, help, "", start);
        }
    }

    fn host(&mut self, status: &Status) {
        self.process(&status.host);
        let collectors = &status.collectors;
        for collector in collectors {
            let labels = label_set([("collector", collector.name.as_str())]);
            let mut gauge = |name, help, value| self.add(name, "gauge", help, &labels, value);
            let ready = f64::from(u8::from(collector.ready));
            gauge(
                "dropsonde_collector_ready",
                "Whether the collector delivers, and on time.",
                ready,
            );
            if let Some(age) = collector.last_batch_age_seconds {
                let help = "Age of the collector's last batch.";
                gauge("dropsonde_collector_last_batch_age_seconds", help, age);
            }
            let generation = f64::from(collector.generation);
            gauge("dropsonde_collector_generation", "Image of the plugin that serves.", generation);
            let moved = f64::from(u8::from(collector.moved.is_some()));
            let help = "Whether it runs in a process though a thread was asked for.";
            gauge("dropsonde_collector_moved", help, moved);
            let phase = collector.phase.name();
            let labels = label_set([("collector", collector.name.as_str()), ("phase", phase)]);
            let help = "The phase that the collector is in.";
            self.add("dropsonde_collector_phase", "gauge", help, &labels, 1.0);
            if let Some(error) = &collector.last_error {
                let error: String = error.chars().take(MAX_ERROR).collect();
                let labels = label_set([("collector", collector.name.as_str()), ("error", &error)]);
                let help = "The collector's last failure, even if it is over.";
                self.add("dropsonde_collector_last_error_info", "gauge", help, &labels, 1.0);
            }
            for (cause, count) in &collector.failures {
                let labels = label_set([("collector", collector.name.as_str()), ("cause", cause)]);
                let help = "Failures of the collector, by cause.";
                let name = "dropsonde_collector_failures_total";
                self.add(name, "counter", help, &labels, *count as f64);
            }
            let name = "dropsonde_collector_round_duration_seconds";
            let help = "How long rounds took, from the request to the last batch.";
            self.histogram(name, help, &collector.name, &collector.round_duration);
            let labels = label_set([("collector", collector.name.as_str())]);
            let name = "dropsonde_collector_cpu_seconds_total";
            let help = "CPU time of the plugin's own calls.";
            self.add(name, "counter", help, &labels, collector.cpu_seconds);
            for (name, help, value) in [
                ("restarts", "Runners started anew after a failure.", collector.restarts),
                ("rounds", "Rounds that went well.", collector.rounds),
                (
                    "failed_rounds",
                    "Rounds that failed in whole or in part.",
                    collector.failed_rounds,
                ),
                ("missed_ticks", "Ticks that were missed.", collector.missed_ticks),
                ("batches", "Batches published.", collector.batches),
                ("rows_left_out", "Rows left out: there were too many.", collector.rows_left_out),
            ] {
                let name = format!("dropsonde_collector_{name}_total");
                self.add(&name, "counter", help, &labels, value as f64);
            }
        }
        let rejections: u64 = status.plugins.iter().map(|plugin| plugin.rejections).sum();
        for (name, help, value) in [
            ("dropsonde_plugin_rejections_total", "Plugin files that were rejected.", rejections),
            ("dropsonde_reads_total", "Batches published: each is one read.", status.bus.reads),
            (
                "dropsonde_reads_saved_total",
                "Reads not needed because a batch served more than one.",
                status.bus.reads_saved,
            ),
            (
                "dropsonde_bus_overflowed_total",
                "Batches lost to all because the bus was full.",
                status.bus.overflowed,
            ),
        ] {
            self.add(name, "counter", help, "", value as f64);
        }
        for (name, help, value) in [
            (
                "dropsonde_cache_hits_total",
                "Requests answered from the last batch.",
                status.bus.cache_hits,
            ),
            (
                "dropsonde_coalesced_reads_total",
                "Requests that joined a read that was under way.",
                status.bus.coalesced,
            ),
        ] {
            self.add(name, "counter", help, "", value as f64);
        }
        status.otlp.iter().for_each(|otlp| self.otlp(otlp));
        if let Some(history) = &status.history {
            self.history(history);
        }
        self.streams(&status.bus.streams);
        self.subscriptions(&status.bus);
    }

    fn streams(&mut self, streams: &[StreamStatus]) {
        for stream in streams {
            let topic = stream.topic.as_str();
            let labels = label_set([("collector", stream.collector.as_str()), ("topic", topic)]);
            for (name, help, count) in [
                ("batches", "Batches of the stream: each is one read.", stream.batches),
                ("records", "Records in the stream's batches.", stream.records),
                (
                    "cache_hits",
                    "Requests answered from the stream's last batch.",
                    stream.cache_hits,
                ),
                (
                    "coalesced_reads",
                    "Requests that joined a read of the stream that was under way.",
                    stream.coalesced,
                ),
            ] {
                let name = format!("dropsonde_stream_{name}_total");
                self.add(&name, "counter", help, &labels, count as f64);
            }
            let help = "Subscribers that the stream serves.";
            let subscribers = stream.subscribers as f64;
            self.add("dropsonde_stream_subscribers", "gauge", help, &labels, subscribers);
        }
    }

    fn subscriptions(&mut self, bus: &BusStatus) {
        for total in &bus.subscription_totals {
            for (cause, count) in total.lost.by_cause() {
                let labels = label_set([("subscription", &*total.name), ("cause", cause)]);
                let help = "Batches that subscriptions of this name lost, by cause.";
                let name = "dropsonde_subscription_lost_total";
                self.add(name, "counter", help, &labels, count as f64);
            }
            let labels = label_set([("subscription", &*total.name)]);
            let left_out = total.left_out;
            for (name, help, count) in [
                ("delivered", "Batches that subscriptions of this name took.", total.delivered),
                (
                    "interval_batches",
                    "Batches that they did not want: more than one per interval.",
                    left_out.interval_batches,
                ),
                ("filter_records", "Records that their filters left out.", left_out.filter_records),
                ("sample_records", "Events that their sampling left out.", left_out.sample_records),
            ] {
                let name = format!("dropsonde_subscription_{name}_total");
                self.add(&name, "counter", help, &labels, count as f64);
            }
        }
        // Several may have one name.
        let mut waiting: BTreeMap<&str, usize> = BTreeMap::new();
        for subscription in &bus.subscriptions {
            *waiting.entry(&subscription.name).or_default() += subscription.waiting;
        }
        for (name, waiting) in waiting {
            let help = "Batches that wait for subscriptions of this name.";
            let labels = label_set([("subscription", name)]);
            self.add("dropsonde_subscription_waiting", "gauge", help, &labels, waiting as f64);
        }
    }

    fn render(self) -> String {
        let length = self.families.iter().map(|family| family.samples.len() + 256).sum();
        let mut text = String::with_capacity(length);
        for (name, family) in self.by_name {
            let Some(family) = self.families.get(family).filter(|one| !one.samples.is_empty())
            else {
                continue;
            };
            if !family.help.is_empty() {
                let help = family.help.replace('\\', "\\\\").replace('\n', " ");
                let _ = writeln!(text, "# HELP {name} {help}");
            }
            let _ = writeln!(text, "# TYPE {name} {}", family.kind);
            text.push_str(&family.samples);
        }
        text
    }
}
