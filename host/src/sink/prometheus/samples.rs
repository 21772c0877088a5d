//! Streams of samples on the page: by their own names, labels, descriptions and types.
//!
//! They come last, since the agent's own names stand as they are. Where a series of a metric
//! stands elsewhere too, all samples that the collector has of this metric get the label
//! `collector`: on some only, sums over them would be of both. A metric that can't stand beside
//! what is there already is left out and counted.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::fmt::Write;

use super::Page;
use crate::model::Batch;
use crate::sink::samples::{Kind, Labels, Sample, Shape};

/// What is known of the page only when all else stands on it.
const KNOWN_LAST: [&str; 2] = ["dropsonde_duplicate_samples", "dropsonde_unfit_samples"];

/// The samples of one collector's stream.
struct Source<'a> {
    collector: &'a str,
    samples: Vec<Sample<'a>>,
}

impl Page {
    /// Adds the samples of these batches, and how many samples are left out of the page.
    pub(super) fn samples<'a>(&mut self, batches: impl Iterator<Item = (&'a Batch, Shape)>) {
        let mut sources = Vec::new();
        for (batch, shape) in batches {
            let rows = (0..batch.rows()).map(|row| shape.sample(batch, row));
            let samples: Vec<_> = rows.flatten().collect();
            self.unfit += (batch.rows() - samples.len()) as u64;
            sources.push(Source { collector: &batch.stream.collector, samples });
        }
        let shared = self.shared(&sources);
        for (nth, source) in sources.iter().enumerate() {
            for sample in &source.samples {
                let is_shared = shared.contains(&(nth, sample.family().0));
                self.sample_of(sample, is_shared.then_some(source.collector));
            }
        }
        let [duplicates, unfit] = KNOWN_LAST;
        let help = "Samples left out of this page because another has their name and labels.";
        self.add(duplicates, "gauge", help, "", self.duplicates as f64);
        let help = "Samples left out of this page because their metric can't stand beside others.";
        self.add(unfit, "gauge", help, "", self.unfit as f64);
    }

    /// The metrics of which a series stands elsewhere too, by source.
    fn shared<'a>(&self, sources: &[Source<'a>]) -> HashSet<(usize, &'a str)> {
        let mut shared = HashSet::new();
        let mut first: HashMap<(&str, &str), usize> = HashMap::new();
        for (nth, source) in sources.iter().enumerate() {
            for sample in &source.samples {
                let (family, part) = sample.family();
                let other = *first.entry((sample.metric, sample.labels.text)).or_insert(nth);
                if other != nth {
                    shared.extend([(nth, family), (other, family)]);
                } else if self.has(family, part, sample.labels.text) {
                    shared.insert((nth, family));
                }
            }
        }
        shared
    }

    fn has(&self, family: &str, part: &str, labels: &str) -> bool {
        let family_is_there = self.by_name.get(family).and_then(|index| self.families.get(*index));
        KNOWN_LAST.contains(&family)
            || family_is_there.is_some_and(|family| {
                let text = format!("{part}{}", in_braces(labels));
                family.seen.contains(text.as_str())
            })
    }

    fn sample_of(&mut self, sample: &Sample<'_>, collector: Option<&str>) {
        let Some(number) = sample.number else { return };
        let (name, part) = sample.family();
        let Some(kind) = self.kind_beside(name, sample.kind) else {
            self.unfit += 1;
            return;
        };
        let family = self.family(name, kind, sample.help);
        if let Some(family) = self.families.get_mut(family).filter(|one| one.help.is_empty()) {
            sample.help.clone_into(&mut family.help);
        }
        let labels = match collector {
            Some(collector) => Cow::Owned(with_collector(&sample.labels, collector)),
            None => in_braces(sample.labels.text),
        };
        self.put(family, (name, part), kind, &labels, number);
    }

    /// As what a metric stands beside what is there; `None` if it can't. One that is a plain
    /// number takes the type of the first of its name. The parts of a histogram or summary have
    /// names that no other may have.
    fn kind_beside(&self, name: &str, kind: Kind) -> Option<&'static str> {
        let there = self.kind_of(name);
        let plain = kind.parts().is_empty();
        if let Some(there) = there {
            let is_plain = !matches!(there, "histogram" | "summary");
            return (there == word(kind) || (plain && is_plain)).then_some(there);
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
        (!clashes).then(|| word(kind))
    }

    /// The type of a metric that stands on the page with a value.
    fn kind_of(&self, name: &str) -> Option<&'static str> {
        let family = self.families.get(*self.by_name.get(name)?)?;
        (!family.samples.is_empty()).then_some(family.kind)
    }
}

/// The type as the page calls it.
fn word(kind: Kind) -> &'static str {
    match kind {
        Kind::Counter => "counter",
        Kind::Gauge => "gauge",
        Kind::Histogram => "histogram",
        Kind::Summary => "summary",
        Kind::Unknown => "untyped",
    }
}

fn in_braces(labels: &str) -> Cow<'_, str> {
    if labels.is_empty() { Cow::Borrowed("") } else { Cow::Owned(format!("{{{labels}}}")) }
}

/// With the label `collector`; one that was there is renamed, as Prometheus does it.
fn with_collector(labels: &Labels<'_>, collector: &str) -> String {
    let taken = |name: &str| labels.pairs.iter().any(|(other, _)| *other == name);
    let own = labels.pairs.iter().map(|(name, value)| {
        let mut name = Cow::Borrowed(*name);
        if name == "collector" {
            while taken(&name) {
                name.to_mut().insert_str(0, "exported_");
            }
        }
        (name, *value)
    });
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
