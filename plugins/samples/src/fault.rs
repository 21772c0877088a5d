//! Why a line is not taken.
//!
//! Everybody may read what is shown of a fault, over HTTP too; what was read may be a secret that
//! stands in the wrong file. So a fault is shown without the text that it is about, and
//! [`Fault::text`] gives that to the log.

use thiserror::Error;

use crate::{MAX_LABELS, MAX_LINE, MAX_NAME, MAX_SAMPLES};

/// What is wrong with a line, or with one item of a JSON document.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Fault {
    /// Other bytes than text.
    #[error("it is not UTF-8")]
    NotText,
    /// A last line without its end.
    #[error("it does not end: the text was cut")]
    Cut,
    /// Too long a line.
    #[error("it has {0} bytes, allowed are {MAX_LINE}")]
    LongLine(usize),
    /// There are enough.
    #[error("there are more than {MAX_SAMPLES} samples")]
    TooManySamples,
    /// Not a metric's name.
    #[error("no name of a metric: letters, digits, `_` and `:`, no digit first")]
    Metric(String),
    /// Not a label's name.
    #[error("no name of a label: letters, digits and `_`, no digit first")]
    Label(String),
    /// Too long a name.
    #[error("a name of more than {MAX_NAME} bytes")]
    LongName(String),
    /// The same label again.
    #[error("a label stands twice")]
    LabelTwice(String),
    /// Too much text in labels.
    #[error("labels of more than {MAX_LABELS} bytes")]
    LongLabels,
    /// The labels are not as they should be.
    #[error("labels are written {{name=\"value\",…}}")]
    Labels(String),
    /// A quote that does not end.
    #[error("a quote is not closed")]
    OpenQuote,
    /// An escape that does not exist.
    #[error("no escape; there are \\\\, \\\" and \\n")]
    Escape(char),
    /// Not a number.
    #[error("the value is no number")]
    Value(String),
    /// A sample without a value.
    #[error("a value is missing")]
    NoValue,
    /// Not a time.
    #[error("the time is no number")]
    Time(String),
    /// Something behind the sample.
    #[error("something stands behind the sample")]
    Rest(String),
    /// Not a type of metric.
    #[error("no type of a metric")]
    Type(String),
    /// The type or description is told again.
    #[error("{what} of this metric was told before")]
    ToldTwice {
        /// `TYPE`, `HELP` or `UNIT`.
        what: &'static str,
        /// Which metric's.
        metric: String,
    },
    /// The type is told when it is too late.
    #[error("the type must be told before the samples")]
    LateType(String),
    /// What a counter can't be.
    #[error("a counter is never below 0")]
    NegativeCounter(String),
    /// A sample that its family can't have.
    #[error("a {family} has no such sample: {rule}")]
    Part {
        /// `histogram` or `summary`.
        family: &'static str,
        /// The sample's name.
        name: String,
        /// What it has.
        rule: &'static str,
    },
    /// The same series again.
    #[error("a series stands twice; the first one counts")]
    SeriesTwice(String),
    /// A line of Influx protocol that lacks its fields.
    #[error("fields are written name=value,…")]
    Fields(String),
    /// A line of Influx protocol with bad tags.
    #[error("tags are written name=value,…")]
    Tags(String),
    /// Not JSON.
    #[error("it is not JSON: {0}")]
    Json(String),
    /// A JSON sample that is none.
    #[error("it is no sample: it has `metric`, `value`, and else what a sample may have")]
    JsonSample(String),
}

impl Fault {
    /// What was read there, if there is something: for who may read the source itself.
    pub fn text(&self) -> Option<String> {
        let text = match self {
            Self::Metric(text)
            | Self::Label(text)
            | Self::LongName(text)
            | Self::LabelTwice(text)
            | Self::Labels(text)
            | Self::Value(text)
            | Self::Time(text)
            | Self::Rest(text)
            | Self::Type(text)
            | Self::ToldTwice { metric: text, .. }
            | Self::LateType(text)
            | Self::NegativeCounter(text)
            | Self::Part { name: text, .. }
            | Self::SeriesTwice(text)
            | Self::Fields(text)
            | Self::Tags(text)
            | Self::JsonSample(text) => shown(text),
            Self::Escape(character) => format!("\\{character}"),
            Self::NotText
            | Self::Cut
            | Self::LongLine(_)
            | Self::TooManySamples
            | Self::LongLabels
            | Self::OpenQuote
            | Self::NoValue
            | Self::Json(_) => String::new(),
        };
        Some(text).filter(|text| !text.is_empty())
    }
}

/// Text of a fault: enough to find the place by.
pub(crate) fn shown(text: &str) -> String {
    const MOST: usize = 80;
    let mut shown: String = text.chars().take(MOST).collect();
    if shown.len() < text.len() {
        shown.push('…');
    }
    shown
}
