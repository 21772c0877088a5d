//! What was read, and what was refused.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Display;

use dropsonde_plugin_api::{Batch, Host, Result};

use crate::fault::shown;
use crate::settings::Prefix;
use crate::{Fault, MAX_SAMPLES, Sample};

/// Most faults that are named; the rest is counted.
const MAX_NAMED: usize = 5;

/// The samples of one text.
#[derive(Debug, Clone, Default)]
pub struct Reading {
    /// In the order in which they stand; each series once.
    pub samples: Vec<Sample>,
    /// Lines, or items of JSON, that were refused.
    pub refused: u64,
    /// The first of them, with the reason.
    faults: Vec<Refused>,
    /// Where a series stands, while it is read.
    places: HashMap<String, Place>,
    /// Which document is read, of a text that is several.
    document: usize,
}

#[derive(Debug, Clone, Copy)]
struct Place {
    index: usize,
    document: usize,
}

#[derive(Debug, Clone)]
struct Refused {
    place: String,
    fault: Fault,
}

impl Reading {
    /// There was something, and nothing of it was taken.
    pub fn is_garbage(&self) -> bool {
        self.refused > 0 && self.samples.is_empty()
    }

    /// Samples that are there and have no value: what was read is no finite number.
    pub fn valueless(&self) -> usize {
        let is_valueless = |sample: &&Sample| sample.total.is_none() && sample.value.is_none();
        self.samples.iter().filter(is_valueless).count()
    }

    /// What was refused, in one line: `line 3: …; line 5: …; and 7 more`. `None`: nothing was.
    /// Shows nothing of what was read.
    pub fn faults(&self) -> Option<String> {
        let named = self.faults.iter().map(|Refused { place, fault }| format!("{place}: {fault}"));
        let named = named.collect::<Vec<_>>().join("; ");
        let more = self.refused - self.faults.len() as u64;
        match (self.faults.is_empty(), more) {
            (true, _) => None,
            (false, 0) => Some(named),
            (false, more) => Some(format!("{named}; and {more} more")),
        }
    }

    /// What was read where something was refused, in one line: `line 3: "…"`. `None`: nothing, or
    /// nothing that can be shown.
    pub fn texts(&self) -> Option<String> {
        let text = |one: &Refused| Some(format!("{}: {:?}", one.place, one.fault.text()?));
        let texts: Vec<String> = self.faults.iter().filter_map(text).collect();
        (!texts.is_empty()).then(|| texts.join("; "))
    }

    /// Whether something was refused that is not what was told last, which is replaced.
    pub fn is_news(&self, told: &mut Option<String>) -> bool {
        let texts = self.texts();
        let is_news = texts.is_some() && texts != *told;
        *told = texts;
        is_news
    }

    /// Reports what was refused of `source` in a round: to everybody what is wrong where, to the
    /// log what stands there, unless it was shown in a round before.
    pub fn report(&self, source: &str, is_new: bool, out: &mut Batch, host: &Host) {
        if let Some(faults) = self.faults() {
            out.partial(format_args!("{source}: {faults}"));
        }
        if let Some(texts) = self.texts().filter(|_| is_new) {
            host.info(format_args!("refused in {source}: {texts}"));
        }
    }

    /// Publishes the samples, and that there are none.
    pub fn publish(self, out: &mut Batch) -> Result<()> {
        out.publish_empty::<Sample>()?;
        self.samples.into_iter().try_for_each(|sample| out.push(sample))
    }

    /// With another beginning of each metric's name.
    #[must_use]
    pub fn prefixed(mut self, prefix: &Prefix) -> Self {
        if !prefix.0.is_empty() {
            self.samples.iter_mut().for_each(|sample| sample.metric.insert_str(0, &prefix.0));
        }
        self
    }

    /// With labels of whoever reads, as [`Labels::add_own`](crate::Labels::add_own) adds them. A
    /// series that then stands twice is refused.
    #[must_use]
    pub fn labelled(self, own: &BTreeMap<String, String>, honored: bool) -> Self {
        if own.is_empty() {
            return self;
        }
        let mut labelled = Self { refused: self.refused, faults: self.faults, ..Self::default() };
        for mut sample in self.samples {
            let added = sample.add_labels(own, honored).and_then(|()| labelled.add(sample));
            if let Err(fault) = added {
                labelled.refuse("a sample with labels of the settings", fault);
            }
        }
        labelled.finished()
    }

    /// Takes over the samples of another; what stands here already is refused there.
    pub fn merge(&mut self, other: &Self, source: &str) {
        for sample in &other.samples {
            if let Err(fault) = self.add(sample.clone()) {
                self.refuse(source, fault);
            }
        }
    }

    pub(crate) fn refuse(&mut self, place: impl Display, fault: Fault) {
        self.refused += 1;
        if self.faults.len() < MAX_NAMED {
            self.faults.push(Refused { place: place.to_string(), fault });
        }
    }

    /// Nothing is added any more: it keeps no more than the samples need.
    pub(crate) fn finished(mut self) -> Self {
        self.places = HashMap::new();
        self.samples.shrink_to_fit();
        self
    }

    /// What is added from here on is newer than what is there.
    pub(crate) fn begin_document(&mut self) {
        self.document += 1;
    }

    /// Adds a sample. One of the same series gives way if it is of an older document, and is the
    /// one that counts if it is of the same.
    pub(crate) fn add(&mut self, sample: Sample) -> std::result::Result<(), Fault> {
        let (series, document) = (sample.series(), self.document);
        if let Some(place) = self.places.get_mut(&series) {
            if place.document == document {
                return Err(Fault::SeriesTwice(shown(&series)));
            }
            place.document = document;
            if let Some(older) = self.samples.get_mut(place.index) {
                *older = sample;
            }
            return Ok(());
        }
        let index = self.samples.len();
        if index >= MAX_SAMPLES {
            return Err(Fault::TooManySamples);
        }
        self.places.insert(series, Place { index, document });
        self.samples.push(sample);
        Ok(())
    }
}
