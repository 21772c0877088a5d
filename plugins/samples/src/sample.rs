//! One sample, as the host gets it.

use std::collections::BTreeMap;
use std::result::Result;
use std::sync::Arc;

use dropsonde_plugin_api::Record;

use crate::Labels;
use crate::fault::Fault;
use crate::names::check_metric;

/// The value of one series of a metric: as the program that it came from calls it.
#[derive(Debug, Clone, PartialEq, Record)]
#[record(stream = "samples")]
pub struct Sample {
    /// The metric's name; of a histogram or summary with `_bucket`, `_sum` or `_count`.
    #[key]
    pub metric: String,
    /// What tells the series from others of the metric: `disk="sda",state="ok"`, in order of name.
    #[key]
    pub labels: String,
    /// `counter`, `gauge`, `histogram`, `summary`, or `unknown` if nobody told.
    #[attribute]
    pub r#type: &'static str,
    /// What the metric is, if that was told.
    #[attribute]
    pub help: Option<Arc<str>>, // of many samples, one text
    /// Its unit, if that was told.
    #[attribute]
    pub unit: Option<Arc<str>>,
    /// The value, of what only counts up.
    #[counter(unit = "1")]
    pub total: Option<f64>,
    /// The value, of all else.
    #[gauge(unit = "1")]
    pub value: Option<f64>,
}

/// What a metric is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[allow(missing_docs)] // the words of Prometheus
pub enum Kind {
    Counter,
    Gauge,
    Histogram,
    Summary,
    #[default]
    Unknown,
}

impl Kind {
    /// By the word for it. `untyped` is what text 0.0.4 calls unknown; what OpenMetrics has
    /// besides is a gauge by what it says, or can't be told in the older format.
    pub(crate) fn named(word: &str) -> Option<Self> {
        Some(match word {
            "counter" => Self::Counter,
            "gauge" | "info" | "stateset" => Self::Gauge,
            "histogram" => Self::Histogram,
            "summary" => Self::Summary,
            "unknown" | "untyped" | "gaugehistogram" => Self::Unknown,
            _ => return None,
        })
    }

    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
            Self::Summary => "summary",
            Self::Unknown => "unknown",
        }
    }

    /// Whether a sample of this name counts up, if it can belong to a metric of this kind at all.
    fn counts(self, metric: &str, labels: &Labels) -> Result<bool, Fault> {
        let part = |family, rule| Fault::Part { family, name: metric.to_owned(), rule };
        match self {
            Self::Counter => Ok(true),
            Self::Gauge | Self::Unknown => Ok(false),
            Self::Histogram if metric.ends_with("_bucket") && labels.get("le").is_some() => {
                Ok(true)
            }
            Self::Histogram if metric.ends_with("_sum") || metric.ends_with("_count") => Ok(true),
            Self::Histogram => {
                Err(part("histogram", "`_bucket` with the label `le`, `_sum` and `_count`"))
            }
            Self::Summary if labels.get("quantile").is_some() => Ok(false),
            Self::Summary if metric.ends_with("_sum") || metric.ends_with("_count") => Ok(true),
            Self::Summary => {
                Err(part("summary", "itself with the label `quantile`, `_sum` and `_count`"))
            }
        }
    }
}

impl Sample {
    /// Puts a sample together, if it can be one of its kind. What is no finite number has no
    /// value: it is there, and says nothing.
    pub fn new(metric: &str, labels: Labels, kind: Kind, number: f64) -> Result<Self, Fault> {
        check_metric(metric)?;
        let counts = kind.counts(metric, &labels)?;
        if kind == Kind::Counter && number < 0.0 {
            return Err(Fault::NegativeCounter(number.to_string()));
        }
        // The sum of a histogram of negative values goes down.
        let counts = counts && number >= 0.0;
        Ok(Self {
            metric: metric.to_owned(),
            labels: labels.into_text(),
            r#type: kind.word(),
            help: None,
            unit: None,
            total: Some(number).filter(|number| counts && number.is_finite()),
            value: Some(number).filter(|number| !counts && number.is_finite()),
        })
    }

    pub(crate) fn add_labels(
        &mut self,
        own: &BTreeMap<String, String>,
        honored: bool,
    ) -> Result<(), Fault> {
        let mut labels = Labels::from_text(&self.labels)?;
        for (name, value) in own {
            labels.add_own(name, value, honored)?;
        }
        self.labels = labels.into_text();
        Ok(())
    }

    /// The series as Prometheus writes it.
    pub fn series(&self) -> String {
        if self.labels.is_empty() {
            self.metric.clone()
        } else {
            format!("{}{{{}}}", self.metric, self.labels)
        }
    }
}
