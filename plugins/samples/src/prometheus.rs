//! The Prometheus text format, version 0.0.4 (prometheus.io, "Exposition formats"), and of
//! OpenMetrics 1.0 what is the same or differs in names only: the family of `x_total` may be told
//! as `x`, there are `# UNIT` and `# EOF`, and an exemplar may follow a sample. Times and exemplars
//! are left out: a batch has one time, that of the read.
//!
//! A line is refused for itself, and the last one too if it does not end. Words are set apart by blanks and tabs.

use std::collections::HashMap;
use std::sync::Arc;

use crate::fault::shown;
use crate::names::{check_metric, label_length, metric_length};
use crate::{Fault, Kind, Labels, Reading, Sample, cut, ended_lines};

pub(crate) fn read(bytes: &[u8]) -> Reading {
    let mut reading = Reading::default();
    let mut families = Families::default();
    for (number, line) in ended_lines(bytes) {
        if line.as_deref().map(str::trim) == Ok("# EOF") {
            break; // OpenMetrics: nothing may follow
        }
        let taken = line.and_then(|line| take(line, &mut families, &mut reading));
        if let Err(fault) = taken {
            reading.refuse(format_args!("line {number}"), fault);
        }
    }
    reading
}

fn take<'a>(
    line: &'a str,
    families: &mut Families<'a>,
    reading: &mut Reading,
) -> Result<(), Fault> {
    let line = line.trim_matches(BLANK);
    if line.is_empty() {
        return Ok(());
    }
    if let Some(comment) = line.strip_prefix('#') {
        return families.learn(comment);
    }
    let (metric, labels, number) = sample(line)?;
    let (family, part) = families.of(metric);
    let mut sample = Sample::new(metric, labels, part.unwrap_or(family.kind), number)?;
    family.has_samples = true;
    sample.help.clone_from(&family.help);
    sample.unit.clone_from(&family.unit);
    reading.add(sample)
}

const BLANK: [char; 2] = [' ', '\t'];

/// The first word, and what follows.
fn word(text: &str) -> (&str, &str) {
    let text = text.trim_start_matches(BLANK);
    text.split_once(BLANK).unwrap_or((text, ""))
}

/// `name{label="value",…} value time`, the time and all labels may be missing.
fn sample(line: &str) -> Result<(&str, Labels, f64), Fault> {
    let (metric, rest) = line.split_at(metric_length(line));
    if metric.is_empty() || !(rest.is_empty() || rest.starts_with(['{', ' ', '\t'])) {
        return Err(Fault::Metric(shown(word(line).0)));
    }
    let rest = rest.trim_start_matches(BLANK);
    let (labels, rest) = match rest.strip_prefix('{') {
        Some(inside) => labels(inside)?,
        None => (Labels::default(), rest),
    };
    let (value, rest) = word(rest);
    if value.is_empty() {
        return Err(Fault::NoValue);
    }
    let number: f64 = value.parse().map_err(|_| Fault::Value(shown(value)))?;
    let (time, rest) = match word(rest) {
        (exemplar, _) if exemplar.starts_with('#') => ("", ""),
        other => other,
    };
    if !time.is_empty() && time.parse::<f64>().is_err() {
        return Err(Fault::Time(shown(time)));
    }
    let rest = rest.trim_start_matches(BLANK);
    if !rest.is_empty() && !rest.starts_with('#') {
        return Err(Fault::Rest(shown(rest)));
    }
    Ok((metric, labels, number))
}

/// What stands behind `{`, and what follows behind `}`. A comma may follow the last label.
pub(crate) fn labels(mut text: &str) -> Result<(Labels, &str), Fault> {
    let mut labels = Labels::default();
    loop {
        text = text.trim_start_matches(BLANK);
        if let Some(rest) = text.strip_prefix('}') {
            return Ok((labels, rest));
        }
        let (name, rest) = text.split_at(label_length(text));
        let wrong = || Fault::Labels(shown(text));
        let rest = rest.trim_start_matches(BLANK).strip_prefix('=').ok_or_else(wrong)?;
        let rest = rest.trim_start_matches(BLANK).strip_prefix('"').ok_or_else(wrong)?;
        let (value, rest) = quoted(rest)?;
        labels.add(name, &value)?;
        text = rest.trim_start_matches(BLANK);
        match text.strip_prefix(',') {
            Some(rest) => text = rest,
            None if text.starts_with('}') => {}
            None => return Err(Fault::Labels(shown(text))),
        }
    }
}

/// A value up to its closing quote, and what follows.
fn quoted(text: &str) -> Result<(String, &str), Fault> {
    let mut value = String::new();
    let mut characters = text.char_indices();
    while let Some((index, character)) = characters.next() {
        match character {
            '"' => return Ok((value, text.get(index + 1..).unwrap_or_default())),
            '\\' => value.push(match characters.next().map(|(_, escaped)| escaped) {
                Some('n') => '\n',
                Some(same @ ('\\' | '"')) => same,
                Some(other) => return Err(Fault::Escape(other)),
                None => return Err(Fault::OpenQuote),
            }),
            other => value.push(other),
        }
    }
    Err(Fault::OpenQuote)
}

/// What was told of metrics, by the name that it was told of.
#[derive(Default)]
struct Families<'a>(HashMap<&'a str, Family>);

#[derive(Default)]
struct Family {
    kind: Kind,
    typed: bool,
    help: Option<Arc<str>>,
    unit: Option<Arc<str>>,
    has_samples: bool,
}

/// What may follow the name of a family in those of its samples, and what such a sample is if it
/// is not what its family is.
const PARTS: [(&str, &[Kind], Option<Kind>); 6] = [
    ("_bucket", &[Kind::Histogram], None),
    ("_sum", &[Kind::Histogram, Kind::Summary], None),
    ("_count", &[Kind::Histogram, Kind::Summary], None),
    ("_total", &[Kind::Counter], None),
    ("_info", &[Kind::Gauge], None),
    ("_created", &[Kind::Counter, Kind::Histogram, Kind::Summary], Some(Kind::Gauge)),
];

impl<'a> Families<'a> {
    /// Takes what stands behind `#`; a comment is nobody's fault.
    fn learn(&mut self, comment: &'a str) -> Result<(), Fault> {
        let (what, rest) = word(comment);
        if !comment.starts_with(BLANK) || !matches!(what, "HELP" | "TYPE" | "UNIT") {
            return Ok(());
        }
        let (metric, rest) = word(rest);
        check_metric(metric)?;
        let rest = rest.trim_start_matches(BLANK);
        let family = self.0.entry(metric).or_default();
        let twice = |what| Fault::ToldTwice { what, metric: metric.to_owned() };
        match what {
            "HELP" if family.help.is_some() => return Err(twice("HELP")),
            "HELP" => family.help = Some(description(rest)),
            "UNIT" if family.unit.is_some() => return Err(twice("UNIT")),
            "UNIT" => family.unit = Some(cut(rest)),
            _ if family.typed => return Err(twice("TYPE")),
            _ if family.has_samples => return Err(Fault::LateType(metric.to_owned())),
            _ => {
                family.kind = Kind::named(rest).ok_or_else(|| Fault::Type(shown(rest)))?;
                family.typed = true;
            }
        }
        Ok(())
    }

    /// The family of a sample, and what the sample is if it is not what its family is.
    fn of(&mut self, metric: &'a str) -> (&mut Family, Option<Kind>) {
        // One of its own name, if that has a type: then it is no part of another.
        let mut found = (metric, None);
        if !self.0.get(metric).is_some_and(|family| family.typed) {
            for (suffix, kinds, part) in PARTS {
                let Some(name) = metric.strip_suffix(suffix) else { continue };
                if self.0.get(name).is_some_and(|family| kinds.contains(&family.kind)) {
                    found = (name, part);
                }
            }
        }
        (self.0.entry(found.0).or_default(), found.1)
    }
}

/// `\\` and `\n` are escapes in a description; any other backslash is one.
fn description(text: &str) -> Arc<str> {
    let mut plain = String::with_capacity(text.len());
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        let escaped = (character == '\\').then(|| characters.peek().copied()).flatten();
        plain.push(match escaped {
            Some('n') => '\n',
            Some('\\') => '\\',
            _ => character,
        });
        if matches!(escaped, Some('n' | '\\')) {
            characters.next();
        }
    }
    cut(&plain)
}
