//! What several plugins have among their settings; durations and sizes are written as in the
//! agent's own configuration.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::de::{Error, Expected, Visitor};
use serde::{Deserialize, Deserializer};

use crate::names::{check_label, check_metric};

/// A duration above 0, 100 years at most: `"500ms"`, `"5s"`, `"1min"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span(pub Duration);

/// Longest duration that means anything: clocks have room for it.
const LONGEST: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_str(SpanText)
    }
}

struct SpanText;

impl Visitor<'_> for SpanText {
    type Value = Span;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a duration such as \"500ms\", \"5s\" or \"1h\"")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Span, E> {
        match humantime::parse_duration(text) {
            Ok(duration) if duration.is_zero() => Err(E::custom("the duration must be above 0")),
            Ok(duration) if duration > LONGEST => {
                Err(E::custom("the duration must be 100 years at most"))
            }
            Ok(duration) => Ok(Span(duration)),
            Err(error) => {
                Err(E::custom(format_args!("expected {}: {error}", &self as &dyn Expected)))
            }
        }
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        humantime::format_duration(self.0).fmt(f)
    }
}

/// What the names of metrics begin with; nothing, unless it was set.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Prefix(pub String);

impl<'de> Deserialize<'de> for Prefix {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        if !text.is_empty() {
            check_metric(&text).map_err(D::Error::custom)?;
        }
        Ok(Self(text))
    }
}

/// Labels that are added to each sample.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OwnLabels(pub BTreeMap<String, String>);

impl<'de> Deserialize<'de> for OwnLabels {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let labels = BTreeMap::<String, String>::deserialize(from)?;
        labels.keys().try_for_each(|name| check_label(name)).map_err(D::Error::custom)?;
        Ok(Self(labels))
    }
}

/// A number of bytes above 0: `"64KiB"`, `"1MiB"`, or a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size(pub usize);

/// Largest size that makes sense: a runner process has some hundred megabytes.
const LARGEST: usize = 64 << 20;

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Written {
            Number(usize),
            Text(String),
        }
        let bytes = match Written::deserialize(from) {
            Ok(Written::Number(bytes)) => Some(bytes),
            Ok(Written::Text(text)) => bytes(&text),
            Err(_) => None,
        };
        let fits = bytes.filter(|bytes| (1..=LARGEST).contains(bytes));
        fits.map(Self).ok_or_else(|| {
            D::Error::custom("expected a size such as \"64KiB\" or \"1MiB\", 64MiB at most")
        })
    }
}

fn bytes(text: &str) -> Option<usize> {
    let digits = text.find(|character: char| !character.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let unit: usize = match unit.trim() {
        "" | "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        _ => return None,
    };
    number.parse::<usize>().ok()?.checked_mul(unit)
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            bytes if bytes.is_multiple_of(1 << 20) => write!(f, "{} MiB", bytes >> 20),
            bytes if bytes.is_multiple_of(1 << 10) => write!(f, "{} KiB", bytes >> 10),
            bytes => write!(f, "{bytes} B"),
        }
    }
}
