//! The Prometheus page (text format 0.0.4).
//!
//! A column with an OpenTelemetry name is called as the collector's Prometheus exporter would
//! call it: dots become underscores, the unit follows, counters end in `_total`; its fixed
//! attributes, the record's keys and those of its attributes that have an OpenTelemetry name are
//! labels. A column without one is called
//! `dropsonde_<stream>_<column>`. Rates are left out: Prometheus makes its own; shares are
//! given as ratios where they have an OpenTelemetry name. Text has no place here.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashSet};
use std::fmt::Write;
use std::sync::Arc;

use dropsonde_plugin_api::schema::{ColumnSchema, Role};

use crate::bus::{BusStatus, StreamStatus};
use crate::control::{OwnUse, Status};
use crate::model::{Batch, Histogram, StreamInfo, Value};

/// Longest text of an error in a label, in characters.
const MAX_ERROR: usize = 200;

/// Families by name, so that each has its `HELP` and `TYPE` once.
#[derive(Default)]
struct Page {
    families: Vec<Family>,
    by_name: BTreeMap<String, usize>,
    /// Samples that were left out since Prometheus refuses a page on which one stands twice.
    duplicates: u64,
}

struct Family {
    kind: &'static str,
    help: String,
    samples: String,
    /// What follows the family's name in each sample: the rest of the name, and the labels.
    seen: HashSet<Box<str>>,
}

/// The page of these batches and of the host itself.
pub(crate) fn page(batches: &[Arc<Batch>], status: &Status) -> String {
    let mut page = Page::default();
    for batch in batches {
        page.batch(batch);
    }
    page.host(status);
    page.render()
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
                self.put(*family, (&naming.name, ""), naming.kind, &labels, value * naming.scale);
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
        self.put(family, (name, suffix), kind, labels, value);
    }

    fn family(&mut self, name: &str, kind: &'static str, help: &str) -> usize {
        if let Some(family) = self.by_name.get(name) {
            return *family;
        }
        let family = self.families.len();
        self.by_name.insert(name.to_owned(), family);
        self.families.push(Family {
            kind,
            help: help.to_owned(),
            samples: String::new(),
            seen: HashSet::new(),
        });
        family
    }

    fn put(
        &mut self,
        family: usize,
        (name, suffix): (&str, &str),
        kind: &'static str,
        labels: &str,
        value: f64,
    ) {
        let Some(family) = self.families.get_mut(family) else { return };
        if family.samples.is_empty() {
            family.kind = kind; // whoever named it before has no value
        }
        let start = family.samples.len();
        family.samples.extend([name, suffix, labels]);
        let told_apart_by = &family.samples[start + name.len()..];
        if family.seen.contains(told_apart_by) {
            self.duplicates += 1;
            family.samples.truncate(start);
            return;
        }
        if family.kind != kind {
            family.samples.truncate(start);
            return; // two plugins mean different things by one name: the first one stands
        }
        family.seen.insert(told_apart_by.into());
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
        let help = "Samples left out of this page because another has their name and labels.";
        self.add("dropsonde_duplicate_samples", "gauge", help, "", self.duplicates as f64);
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
            let help = family.help.replace('\\', "\\\\").replace('\n', " ");
            let _ = writeln!(text, "# HELP {name} {help}");
            let _ = writeln!(text, "# TYPE {name} {}", family.kind);
            text.push_str(&family.samples);
        }
        text
    }
}

struct Naming {
    name: String,
    kind: &'static str,
    help: String,
    attributes: Vec<(String, String)>,
    scale: f64,
}

/// What a column is called on the page, if it stands there.
pub(super) fn name_of(info: &StreamInfo, index: usize) -> Option<String> {
    naming(info, index, info.schema.columns.get(index)?).map(|naming| naming.name)
}

fn naming(info: &StreamInfo, index: usize, column: &ColumnSchema) -> Option<Naming> {
    let derived = index >= info.declared;
    if !matches!(column.role, Role::Counter | Role::Gauge) || (derived && column.otel.is_empty()) {
        return None;
    }
    let counter = column.role == Role::Counter;
    // Percentages that carry a conventional name are ratios there.
    let ratio = column.unit == "%" && !column.otel.is_empty();
    let base = if column.otel.is_empty() {
        format!("dropsonde_{}_{}", info.name, column.name)
    } else {
        column.otel.clone()
    };
    let mut name = sanitize(&base);
    let suffix = if ratio { "ratio" } else { unit_suffix(&column.unit, counter) };
    let (bare, total) = match name.strip_suffix("_total") {
        Some(bare) if counter => (bare.to_owned(), true),
        _ => (name, counter),
    };
    name = bare;
    if !suffix.is_empty() && !name.split('_').any(|word| word == suffix) {
        let _ = write!(name, "_{suffix}");
    }
    if total {
        name.push_str("_total");
    }
    let help = if column.otel.is_empty() {
        column.description.clone()
    } else {
        // Several columns share the family; the description of one would be wrong for others.
        format!("{} ({}).", column.otel, if ratio { "1" } else { &column.unit })
    };
    let attributes =
        column.attributes.iter().map(|(key, value)| (sanitize(key), value.clone())).collect();
    let scale = if ratio { 0.01 } else { 1.0 };
    Some(Naming { name, kind: if counter { "counter" } else { "gauge" }, help, attributes, scale })
}

/// The unit as the OpenTelemetry specification's "Prometheus and OpenMetrics Compatibility" has
/// it: annotations in braces have none.
fn unit_suffix(unit: &str, counter: bool) -> &'static str {
    match unit {
        "By" => "bytes",
        "KiBy" => "kibibytes",
        "s" => "seconds",
        "ms" => "milliseconds",
        "ns" => "nanoseconds",
        "%" => "percent",
        "Hz" => "hertz",
        "MHz" => "mhz",
        "Cel" => "celsius",
        "1" if !counter => "ratio",
        _ => "",
    }
}

/// What tells a record from others, and what the conventions have said of it.
/// The columns that are labels, and as what.
fn labelled(info: &StreamInfo) -> Vec<(usize, String)> {
    let columns = info.schema.columns.iter().enumerate();
    let labels = columns.filter_map(|(index, column)| {
        let name = match (column.role, column.otel.is_empty()) {
            (Role::Key, true) => &column.name,
            (Role::Key | Role::Attribute, false) => &column.otel,
            _ => return None,
        };
        Some((index, sanitize(name)))
    });
    labels.collect()
}

fn own_labels<'a>(
    batch: &'a Batch,
    row: usize,
    labelled: &'a [(usize, String)],
    own: &mut Vec<(&'a str, Cow<'a, str>)>,
) {
    own.clear();
    own.extend(labelled.iter().filter_map(|(index, name)| {
        let value = match batch.value(row, *index) {
            Value::Text(text) => Cow::Borrowed(text),
            Value::U64(value) => Cow::Owned(value.to_string()),
            Value::I64(value) => Cow::Owned(value.to_string()),
            Value::Bool(value) => Cow::Borrowed(if value { "true" } else { "false" }),
            Value::Null | Value::F64(_) | Value::List(_) => return None,
        };
        Some((name.as_str(), value))
    }));
}

/// A collector that is not called as its plugin says so in a label: there may be several.
fn labels(
    info: &StreamInfo,
    attributes: &[(String, String)],
    own: &[(&str, Cow<'_, str>)],
) -> String {
    let collector = (info.collector != info.plugin).then_some(("collector", &*info.collector));
    let attributes = attributes.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    let own = own.iter().map(|(name, value)| (*name, &**value));
    label_set(attributes.chain(own).chain(collector))
}

/// In order of name, and without empty ones, which are to Prometheus as if they were not there: so
/// what tells samples apart there tells them apart as text.
fn label_set<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    let mut labels: Vec<(Cow<'a, str>, &str)> = Vec::new();
    for (name, value) in pairs.into_iter().filter(|(_, value)| !value.is_empty()) {
        // A label that is there already is renamed, as Prometheus does with its own.
        let mut name = Cow::Borrowed(name);
        while labels.iter().any(|(other, _)| *other == name) {
            name.to_mut().insert_str(0, "exported_");
        }
        labels.push((name, value));
    }
    labels.sort_unstable();
    let mut text = String::with_capacity(64);
    for (name, value) in labels {
        text.push(if text.is_empty() { '{' } else { ',' });
        text.extend([&*name, "=\""]);
        for character in value.chars() {
            match character {
                '\\' => text.push_str("\\\\"),
                '"' => text.push_str("\\\""),
                '\n' => text.push_str("\\n"),
                other => text.push(other),
            }
        }
        text.push('"');
    }
    if !text.is_empty() {
        text.push('}');
    }
    text
}

/// A name as Prometheus takes it: no digit first, and `__` is its own.
fn sanitize(name: &str) -> String {
    let plain = |character: char| if character.is_ascii_alphanumeric() { character } else { '_' };
    let name: String = name.chars().map(plain).collect();
    let mut name = name.trim_start_matches('_').to_owned();
    if name.is_empty() || name.starts_with(|first: char| first.is_ascii_digit()) {
        name.insert(0, '_');
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(stream: &str, name: &str, role: Role, unit: &str, otel: &str) -> Option<String> {
        use dropsonde_plugin_api::schema::{StreamKind, StreamSchema, ValueType};
        let column = ColumnSchema {
            name: name.into(),
            role,
            value: ValueType::U64,
            unit: unit.into(),
            description: String::new(),
            otel: otel.into(),
            attributes: Vec::new(),
            share: None,
        };
        let plugin: Arc<str> = "network".into();
        let schema = StreamSchema {
            name: stream.into(),
            kind: StreamKind::Snapshot,
            description: String::new(),
            columns: vec![column.clone()],
        };
        let info = StreamInfo::new(&plugin, &plugin, schema);
        naming(&info, 0, &column).map(|naming| naming.name)
    }

    #[test]
    fn names_follow_the_conventions() {
        let cases = [
            (
                Role::Counter,
                "bytes_recv",
                "By",
                "system.network.io",
                "system_network_io_bytes_total",
            ),
            (
                Role::Counter,
                "errin",
                "{error}",
                "system.network.errors",
                "system_network_errors_total",
            ),
            (Role::Counter, "user", "s", "system.cpu.time", "system_cpu_time_seconds_total"),
            (Role::Gauge, "used_bytes", "By", "", "dropsonde_network_used_bytes"),
            (Role::Counter, "bytes_sent", "By", "", "dropsonde_network_bytes_sent_total"),
            (Role::Gauge, "percent", "%", "", "dropsonde_network_percent"),
            (Role::Gauge, "user", "%", "system.cpu.utilization", "system_cpu_utilization_ratio"),
        ];
        for (role, column, unit, otel, expected) in cases {
            assert_eq!(named("", column, role, unit, otel).as_deref(), Some(expected));
        }
        assert_eq!(named("", "reason", Role::Attribute, "", ""), None);
    }

    #[test]
    fn names_and_labels_are_what_prometheus_takes() {
        assert_eq!(sanitize("9lives.left"), "_9lives_left");
        assert_eq!(sanitize("__name__"), "name__");
        assert_eq!(sanitize("..name"), "name");
        assert_eq!(sanitize(".."), "_");
        assert_eq!(label_set([("a", "1"), ("a", "2")]), "{a=\"1\",exported_a=\"2\"}");
        assert_eq!(label_set([("b", "1"), ("a", "2"), ("c", "")]), "{a=\"2\",b=\"1\"}");
        let mut page = Page::default();
        page.add("a", "gauge", "A.", "{b=\"c\"}", 1.0);
        page.add("a", "gauge", "A.", "{b=\"c\"}", 2.0);
        assert_eq!(page.duplicates, 1);
        assert_eq!(page.render(), "# HELP a A.\n# TYPE a gauge\na{b=\"c\"} 1\n");
    }

    #[test]
    fn keys_and_attributes_with_a_conventional_name_are_labels() {
        use std::time::Duration;

        use dropsonde_plugin_api::schema::{StreamKind, StreamSchema, ValueType};

        use crate::model::{ColumnData, Data, Read};

        let column = |name: &str, role, value, otel: &str| ColumnSchema {
            name: name.into(),
            role,
            value,
            unit: "By".into(),
            description: "A column.".into(),
            otel: otel.into(),
            attributes: Vec::new(),
            share: None,
        };
        let schema = StreamSchema {
            name: "processes".into(),
            kind: StreamKind::Snapshot,
            description: String::new(),
            columns: vec![
                column("pid", Role::Key, ValueType::U64, "process.pid"),
                column("started", Role::Key, ValueType::U64, ""),
                column("name", Role::Attribute, ValueType::Text, "process.executable.name"),
                column("state", Role::Attribute, ValueType::Text, ""),
                column("bytes", Role::Gauge, ValueType::U64, "process.memory.usage"),
            ],
        };
        let numbers = |values| ColumnData { data: Data::U64(values), validity: Vec::new() };
        let texts = |text: &str, end, validity| ColumnData {
            data: Data::Text { ends: vec![end, end], bytes: text.into() },
            validity,
        };
        let columns = vec![
            numbers(vec![7, 8]),
            numbers(vec![1, 2]),
            texts("sh", 2, vec![1, 0]),
            texts("idle", 4, Vec::new()),
            numbers(vec![64, 65]),
        ];
        let name: Arc<str> = "process".into();
        let info = Arc::new(StreamInfo::new(&name, &name, schema));
        let (wall, now) = (std::time::UNIX_EPOCH, Duration::ZERO);
        let read = Read { generation: 1, sequence: 1, wall, monotonic: now, due: now };
        let mut page = Page::default();
        page.batch(&Batch::new(info, read, 2, columns));
        assert_eq!(
            page.render(),
            "# HELP process_memory_usage_bytes process.memory.usage (By).\n\
             # TYPE process_memory_usage_bytes gauge\n\
             process_memory_usage_bytes{process_executable_name=\"sh\",process_pid=\"7\",started=\"1\"} 64\n\
             process_memory_usage_bytes{process_pid=\"8\",started=\"2\"} 65\n"
        );
    }

    #[test]
    fn label_values_are_escaped() {
        assert_eq!(label_set([("a", "x\"y\\z\nw")]), "{a=\"x\\\"y\\\\z\\nw\"}");
    }
}
