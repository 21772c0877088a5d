//! The Prometheus page, read as strictly as its format is
//! (prometheus.io/docs/instrumenting/exposition_formats, text format 0.0.4).

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use crate::bus::BusStatus;
use crate::control::{ConfigStatus, OwnUse, Status};
use crate::model::Batch;
use crate::runner::Quiet;
use crate::sink::prometheus;

/// The page of these batches: each family and each sample once, each sample in its family.
pub(crate) fn assert_well_formed(batches: &[Arc<Batch>]) {
    let page = prometheus::page(batches, &idle()).text;
    assert!(page.ends_with('\n'));
    let (mut families, mut samples) = (BTreeMap::new(), HashSet::new());
    let mut lines = page.lines().peekable();
    while let Some(mut line) = lines.next() {
        // Samples of others may have no description.
        let helped = line.strip_prefix("# HELP ").and_then(|line| line.split_once(' '));
        if let Some((_, help)) = helped {
            assert!(!help.is_empty() && !help.replace("\\\\", "").contains('\\'), "{line:?}");
            line = lines.next().unwrap_or_default();
        }
        let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|line| line.split_once(' '))
        else {
            unreachable!("no TYPE: {line:?}");
        };
        assert!(helped.is_none_or(|(helped, _)| helped == name), "{line:?}");
        assert!(is_name(name, true) && families.insert(name, parts(kind)).is_none(), "{line:?}");
        let mut some = false;
        while let Some(line) = lines.next_if(|line| !line.starts_with('#')) {
            assert!(samples.insert(sample(name, parts(kind), line)), "twice: {line:?}");
            some = true;
        }
        assert!(some, "an empty family: {name}");
    }
    for (name, parts) in &families {
        for part in *parts {
            let taken = !part.is_empty() && families.contains_key(format!("{name}{part}").as_str());
            assert!(!taken, "{name}{part} is a family and a part of one");
        }
    }
}

/// What may follow a family's name in those of its samples.
fn parts(kind: &str) -> &'static [&'static str] {
    match kind {
        "counter" | "gauge" | "untyped" => &[""],
        "histogram" => &["_bucket", "_sum", "_count"],
        "summary" => &["_sum", "_count", ""],
        other => unreachable!("the type {other:?}"),
    }
}

/// What tells a sample from others: its name and its labels.
fn sample<'a>(family: &str, parts: &[&str], line: &'a str) -> (&'a str, BTreeMap<&'a str, String>) {
    let name = line.split(['{', ' ']).next().unwrap_or_default();
    let part = name.strip_prefix(family);
    assert!(part.is_some_and(|part| parts.contains(&part)), "not of {family}: {line:?}");
    let mut rest = &line[name.len()..];
    let mut labels = BTreeMap::new();
    if let Some(mut inside) = rest.strip_prefix('{') {
        loop {
            let (name, quoted) = inside.split_once("=\"").unwrap_or_default();
            let (value, after) = unquote(quoted);
            assert!(is_name(name, false) && !name.starts_with("__"), "{line:?}");
            assert_eq!(labels.insert(name, value), None, "{line:?}");
            match after.strip_prefix(',') {
                Some(next) => inside = next,
                None => {
                    rest = after.strip_prefix('}').unwrap_or_default();
                    break;
                }
            }
        }
    }
    let bound = match parts {
        ["_bucket", ..] => labels.get("le"),
        ["_sum", ..] => labels.get("quantile"),
        _ => None,
    };
    assert!(bound.is_none_or(|bound| bound.parse::<f64>().is_ok()), "{line:?}");
    let value = rest.strip_prefix(' ').and_then(|value| value.parse::<f64>().ok());
    assert!(value.is_some_and(f64::is_finite), "{line:?}");
    labels.retain(|_, value| !value.is_empty()); // as if it were not there
    (name, labels)
}

/// The text up to the closing quote, and what follows it.
fn unquote(quoted: &str) -> (String, &str) {
    let mut value = String::new();
    let mut characters = quoted.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return (value, &quoted[at + 1..]),
            '\\' => match characters.next() {
                Some((_, 'n')) => value.push('\n'),
                Some((_, character @ ('\\' | '"'))) => value.push(character),
                other => unreachable!("escape {other:?} in {quoted:?}"),
            },
            character => value.push(character),
        }
    }
    unreachable!("no end in {quoted:?}")
}

fn is_name(name: &str, colons: bool) -> bool {
    let good = |c: char| c.is_ascii_alphanumeric() || c == '_' || (colons && c == ':');
    !name.is_empty() && name.chars().all(good) && !name.starts_with(|c: char| c.is_ascii_digit())
}

/// A host that has nothing yet.
fn idle() -> Status {
    Status {
        history: None,
        host: OwnUse::default(),
        otlp: None,
        plugins: Vec::new(),
        collectors: Vec::new(),
        config: ConfigStatus::default(),
        bus: BusStatus {
            reads: 0,
            reads_saved: 0,
            cache_hits: 0,
            coalesced: 0,
            overflowed: 0,
            streams: Vec::new(),
            subscriptions: Vec::new(),
            subscription_totals: Vec::new(),
        },
        libraries: (&Quiet::default()).into(),
    }
}
