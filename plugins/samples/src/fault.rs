//! Why a line is not taken.

use thiserror::Error;

use crate::{MAX_LABELS, MAX_LINE, MAX_NAME, MAX_SAMPLES};

/// What is wrong with a line, or with one item of a JSON document.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Fault {
    /// Other bytes than text.
    #[error("it is not UTF-8")]
    NotText,
    /// Too long a line.
    #[error("it has {0} bytes, allowed are {MAX_LINE}")]
    LongLine(usize),
    /// There are enough.
    #[error("there are more than {MAX_SAMPLES} samples")]
    TooManySamples,
    /// Not a metric's name.
    #[error("`{0}` is no name of a metric: letters, digits, `_` and `:`, no digit first")]
    Metric(String),
    /// Not a label's name.
    #[error("`{0}` is no name of a label: letters, digits and `_`, no digit first")]
    Label(String),
    /// Too long a name.
    #[error("a name of {0} bytes, allowed are {MAX_NAME}")]
    LongName(usize),
    /// The same label again.
    #[error("the label `{0}` stands twice")]
    LabelTwice(String),
    /// Too much text in labels.
    #[error("labels of more than {MAX_LABELS} bytes")]
    LongLabels,
    /// The labels are not as they should be.
    #[error("labels are written {{name=\"value\",…}}, and here is `{0}`")]
    Labels(String),
    /// A quote that does not end.
    #[error("a quote is not closed")]
    OpenQuote,
    /// An escape that does not exist.
    #[error("`\\{0}` is no escape; there are \\\\, \\\" and \\n")]
    Escape(char),
    /// Not a number.
    #[error("the value `{0}` is no number")]
    Value(String),
    /// A sample without a value.
    #[error("a value is missing")]
    NoValue,
    /// Not a time.
    #[error("the time `{0}` is no number")]
    Time(String),
    /// Something behind the sample.
    #[error("`{0}` stands behind the sample")]
    Rest(String),
    /// Not a type of metric.
    #[error("`{0}` is no type of a metric")]
    Type(String),
    /// The type or description is told again.
    #[error("{what} of `{metric}` was told before")]
    ToldTwice {
        /// `TYPE`, `HELP` or `UNIT`.
        what: &'static str,
        /// Which metric's.
        metric: String,
    },
    /// The type is told when it is too late.
    #[error("the type of `{0}` must be told before its samples")]
    LateType(String),
    /// What a counter can't be.
    #[error("a counter is never below 0, and this is {0}")]
    NegativeCounter(String),
    /// A sample that its family can't have.
    #[error("a {family} has no sample like `{name}`: {rule}")]
    Part {
        /// `histogram` or `summary`.
        family: &'static str,
        /// The sample's name.
        name: String,
        /// What it has.
        rule: &'static str,
    },
    /// The same series again.
    #[error("`{0}` stands twice; the first one counts")]
    SeriesTwice(String),
    /// A line of Influx protocol that lacks its fields.
    #[error("fields are written name=value,…, and here is `{0}`")]
    Fields(String),
    /// A line of Influx protocol with bad tags.
    #[error("tags are written name=value,…, and here is `{0}`")]
    Tags(String),
    /// Not JSON.
    #[error("it is not JSON: {0}")]
    Json(String),
    /// A JSON sample that is none.
    #[error("it is no sample: {0}")]
    JsonSample(String),
}

/// Text of a fault: enough to find the place by.
pub(crate) fn shown(text: &str) -> String {
    const MOST: usize = 40;
    let mut shown: String = text.chars().take(MOST).collect();
    if shown.len() < text.len() {
        shown.push('…');
    }
    shown
}
