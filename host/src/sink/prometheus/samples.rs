//! Streams of samples on the page: by their own names, labels, descriptions and types.
//!
//! Each says by the label `collector` whose it is, whoever else is there: what a series is called
//! must not hang on others. So a collector speaks for itself alone, and what is the agent's own
//! stays as it is: it comes first, and samples come last. What can't stand beside what is there
//! already is left out and counted.

use std::borrow::Cow;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt::Write;

use super::naming::label_set;
use super::{LeftOut, Page};
use crate::model::Batch;
use crate::sink::samples::{Kind, Labels, Sample, Shape, Unfit};

/// A family's name and description, and what it counts.
type Count = (&'static str, &'static str, fn(&LeftOut) -> u64);

/// What is known of the page only when all else stands on it; by collector.
const KNOWN_LAST: [Count; 2] = [
    (
        "dropsonde_duplicate_samples",
        "Samples left out of this page because another has their name and labels.",
        |left_out| left_out.duplicates,
    ),
    (
        "dropsonde_unfit_samples",
        "Samples left out of this page because they are none, or can't stand beside others.",
        |left_out| left_out.unfit,
    ),
];

/// The label of what came through two other agents already.
const FAR: &str = "exported_exported_collector";

/// The samples of one collector's stream.
struct Source<'a> {
    collector: &'a str,
    samples: Vec<Sample<'a>>,
}

/// The types of metrics that are plain numbers and not the agent's own.
type Types<'a> = HashMap<&'a str, &'static str>;

impl Source<'_> {
    /// Whether this is the page of the agent that started then: its own process, and among its
    /// collectors the one that reads the page.
    fn is_own_page(&self, started: Option<f64>) -> bool {
        let is_start = |sample: &Sample<'_>| {
            sample.metric == "process_start_time_seconds"
                && sample.labels.get("collector").is_none()
                && sample.number.map(f64::to_bits) == started.map(f64::to_bits)
        };
        let is_reader = |sample: &Sample<'_>| {
            sample.metric == "dropsonde_collector_generation"
                && sample.labels.get("collector") == Some(self.collector)
        };
        started.is_some() && self.samples.iter().any(is_start) && self.samples.iter().any(is_reader)
    }
}

impl Page {
    /// Adds the samples of these batches, and how many samples are left out of the page. When the
    /// agent started is in seconds since 1970.
    pub(super) fn samples<'a>(
        &mut self,
        batches: impl Iterator<Item = (&'a Batch, Shape)>,
        started: Option<f64>,
    ) {
        let mut sources = Vec::new();
        for (batch, shape) in batches {
            let collector = &*batch.stream.collector;
            self.left_out.entry(collector.to_owned()).or_default();
            let mut source = Source { collector, samples: Vec::with_capacity(batch.rows()) };
            for row in 0..batch.rows() {
                match shape.sample(batch, row) {
                    Ok(sample) if sample.labels.get(FAR).is_some() => {
                        self.leave_out(collector, sample.metric, Unfit::Far);
                    }
                    Ok(sample) => source.samples.push(sample),
                    Err(why) => self.leave_out(collector, shape.metric(batch, row), why),
                }
            }
            if source.is_own_page(started) {
                for sample in source.samples.drain(..) {
                    self.leave_out(collector, sample.metric, Unfit::OwnPage);
                }
            }
            sources.push(source);
        }
        self.keep_places();
        let types = self.types(&sources);
        for source in &sources {
            for sample in &source.samples {
                if let Err(why) = self.sample_of(sample, &types, source.collector) {
                    self.leave_out(source.collector, sample.metric, why);
                }
            }
        }
        self.counts();
    }

    /// So that nobody else's sample stands where the agent's own will.
    fn keep_places(&mut self) {
        let labels: Vec<String> = self.left_out.keys().map(|name| whose(name)).collect();
        for (name, help, _) in KNOWN_LAST {
            let family = self.family(name, "gauge", help);
            if let Some(family) = self.families.get_mut(family) {
                family.kept.extend(labels.iter().cloned());
            }
        }
    }

    fn counts(&mut self) {
        for (name, help, count) in KNOWN_LAST {
            let family = self.family(name, "gauge", help);
            let counts: Vec<(String, u64)> =
                self.left_out.iter().map(|(name, one)| (whose(name), count(one))).collect();
            for (labels, count) in counts {
                if let Some(family) = self.families.get_mut(family) {
                    family.kept.remove(&labels);
                }
                self.add(name, "gauge", help, &labels, count as f64);
            }
        }
    }

    /// The types of metrics that are plain numbers: `untyped` where not all say the same. Those of
    /// the agent are left out, since they have theirs.
    fn types<'a>(&self, sources: &[Source<'a>]) -> Types<'a> {
        let mut types = Types::new();
        let samples = sources.iter().flat_map(|source| &source.samples);
        let plain = samples.filter(|sample| sample.kind.parts().is_empty());
        for sample in plain.filter(|sample| sample.number.is_some()) {
            match types.entry(sample.metric) {
                Entry::Vacant(entry) if self.kind_of(sample.metric).is_none() => {
                    entry.insert(word(sample.kind));
                }
                Entry::Occupied(mut entry) if *entry.get() != word(sample.kind) => {
                    entry.insert(word(Kind::Unknown));
                }
                Entry::Vacant(_) | Entry::Occupied(_) => {}
            }
        }
        types
    }

    fn sample_of(
        &mut self,
        sample: &Sample<'_>,
        types: &Types<'_>,
        collector: &str,
    ) -> Result<(), Unfit> {
        let Some(number) = sample.number else { return Ok(()) };
        let (name, part) = sample.family();
        let kind = self.kind_beside(name, sample.kind, types).ok_or(Unfit::Type)?;
        let family = self.family(name, kind, sample.help);
        if let Some(family) = self.families.get_mut(family).filter(|one| one.help.is_empty()) {
            sample.help.clone_into(&mut family.help);
        }
        let labels = with_collector(&sample.labels, collector);
        self.put(family, (name, part), kind, &labels, number)
    }

    /// As what a metric stands beside what is there; `None` if it can't. Beside one of the agent
    /// stands what has its type, or says none and is beside a gauge. The parts of a histogram or
    /// summary have names that no other may have.
    fn kind_beside(&self, name: &str, kind: Kind, types: &Types<'_>) -> Option<&'static str> {
        let common = types.get(name).filter(|_| kind.parts().is_empty());
        let wanted = common.copied().unwrap_or_else(|| word(kind));
        if let Some(there) = self.kind_of(name) {
            let says_none = common.is_none() && kind == Kind::Unknown && there == "gauge";
            return (there == wanted || says_none).then_some(there);
        }
        let is_part_of = |(kind, part): (Kind, &&str)| {
            let whole = name.strip_suffix(part);
            whole.is_some_and(|whole| self.kind_of(whole) == Some(word(kind)))
        };
        let complex = [Kind::Histogram, Kind::Summary].into_iter();
        let mut parts = complex.flat_map(|kind| kind.parts().iter().map(move |part| (kind, part)));
        let mut own_parts = kind.parts().iter();
        let clashes = parts.any(is_part_of)
            || own_parts.any(|part| self.kind_of(&format!("{name}{part}")).is_some());
        (!clashes).then_some(wanted)
    }

    /// The type of a metric that stands on the page with a value, or will.
    fn kind_of(&self, name: &str) -> Option<&'static str> {
        let family = self.families.get(*self.by_name.get(name)?)?;
        family.is_taken().then_some(family.kind)
    }
}

/// The type as the page calls it.
pub(in crate::sink) fn word(kind: Kind) -> &'static str {
    match kind {
        Kind::Counter => "counter",
        Kind::Gauge => "gauge",
        Kind::Histogram => "histogram",
        Kind::Summary => "summary",
        Kind::Unknown => "untyped",
    }
}

/// The labels of the agent's own counts of a collector.
fn whose(collector: &str) -> String {
    label_set([("collector", collector)])
}

/// With the label `collector`; one that was there is renamed, as Prometheus does it.
fn with_collector(labels: &Labels<'_>, collector: &str) -> String {
    let own = labels.pairs.iter().map(|(name, value)| (labels.beside_collector(name), *value));
    let mut pairs: Vec<_> = own.chain([(Cow::Borrowed("collector"), collector)]).collect();
    pairs.sort_unstable();
    let mut text = String::with_capacity(labels.text.len() + 64);
    for (name, value) in pairs {
        let before = if text.is_empty() { '{' } else { ',' };
        let _ = write!(text, "{before}{name}=\"{value}\"");
    }
    text.push('}');
    text
}

#[cfg(test)]
mod tests;
