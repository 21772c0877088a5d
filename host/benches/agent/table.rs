//! The table that is printed.

use std::fmt;

/// One measured figure.
#[derive(Clone, Copy)]
pub(crate) enum Figure {
    Nanoseconds(f64),
    Microseconds(f64),
    Milliseconds(f64),
    KiB(f64),
    Number(f64),
}

/// Some work, and what it is compared with.
pub(crate) struct Row {
    pub(crate) work: String,
    pub(crate) measured: Figure,
    pub(crate) reference: &'static str,
    pub(crate) floor: Option<Figure>,
}

impl Row {
    pub(crate) fn new(
        work: impl Into<String>,
        measured: Figure,
        reference: &'static str,
        floor: Figure,
    ) -> Self {
        Self { work: work.into(), measured, reference, floor: Some(floor) }
    }

    /// A figure that stands for itself.
    pub(crate) fn alone(work: impl Into<String>, measured: Figure) -> Self {
        Self { work: work.into(), measured, reference: "–", floor: None }
    }
}

/// Prints the head of the table.
pub(crate) fn head() {
    println!("| work | measured | reference | its figure | ratio |");
    println!("| --- | ---: | --- | ---: | ---: |");
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { work, measured, reference, floor } = self;
        match floor {
            Some(floor) => {
                let ratio = measured.value() / floor.value();
                write!(f, "| {work} | {measured} | {reference} | {floor} | {ratio:.2} |")
            }
            None => write!(f, "| {work} | {measured} | {reference} | – | – |"),
        }
    }
}

impl Figure {
    fn value(self) -> f64 {
        match self {
            Self::Nanoseconds(value) | Self::KiB(value) | Self::Number(value) => value,
            Self::Microseconds(value) => value * 1e3,
            Self::Milliseconds(value) => value * 1e6,
        }
    }
}

impl fmt::Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (value, unit) = match *self {
            Self::Nanoseconds(value) => (value, " ns"),
            Self::Microseconds(value) => (value, " µs"),
            Self::Milliseconds(value) => (value, " ms"),
            Self::KiB(value) => (value, " KiB"),
            Self::Number(value) => (value, ""),
        };
        let decimals = usize::from(value.abs() < 100.0 && value.fract() != 0.0);
        write!(f, "{value:.decimals$}{unit}")
    }
}
