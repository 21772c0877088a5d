//! Names as Prometheus has them (its "Data model" page): a metric is `[a-zA-Z_:][a-zA-Z0-9_:]*`, a
//! label the same without colons.

use crate::MAX_NAME;
use crate::fault::{Fault, shown};

/// How long the metric's name is with which a text begins; 0 if it begins with none.
pub(crate) fn metric_length(text: &str) -> usize {
    length(text, true)
}

/// The same, of a label's name.
pub(crate) fn label_length(text: &str) -> usize {
    length(text, false)
}

fn length(text: &str, colons: bool) -> usize {
    let fits = |(index, byte): (usize, &u8)| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'_' => true,
        b'0'..=b'9' => index > 0,
        b':' => colons,
        _ => false,
    };
    text.as_bytes().iter().enumerate().take_while(|one| fits(*one)).count()
}

/// Checks the name of a metric.
pub(crate) fn check_metric(name: &str) -> Result<(), Fault> {
    if name.is_empty() || metric_length(name) < name.len() {
        return Err(Fault::Metric(shown(name)));
    }
    check_length(name)
}

/// Checks the name of a label.
pub(crate) fn check_label(name: &str) -> Result<(), Fault> {
    // What a metric is called is no label.
    if name.is_empty() || label_length(name) < name.len() || name == "__name__" {
        return Err(Fault::Label(shown(name)));
    }
    check_length(name)
}

fn check_length(name: &str) -> Result<(), Fault> {
    if name.len() > MAX_NAME { Err(Fault::LongName(shown(name))) } else { Ok(()) }
}

/// What stands within a name, each character for itself.
pub(crate) fn made_valid_within(part: &str) -> impl Iterator<Item = char> {
    let fits = |one: char| one.is_ascii_alphanumeric() || one == '_';
    part.chars().map(move |one| if fits(one) { one } else { '_' })
}

/// A name of another world: what Prometheus does not take becomes `_`.
pub(crate) fn made_valid(name: &str) -> String {
    let mut made: String = made_valid_within(name).collect();
    if made.is_empty() || made.starts_with(|first: char| first.is_ascii_digit()) {
        made.insert(0, '_');
    }
    made
}
