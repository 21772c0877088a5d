//! What the plugin declares: names, units, descriptions, keys, OpenTelemetry names, and what
//! becomes of them on the Prometheus page.

mod otel;
mod prometheus;
mod unit;

use dropsonde_plugin_api::schema::{ColumnSchema, Role, StreamSchema};

use super::report::Check;
use super::series::Seen;
use crate::model::shown;

/// All checks of what was declared, and of keys as they came.
pub(super) fn checks(plugin: &str, seen: &[Seen]) -> Vec<Check> {
    let streams: Vec<StreamSchema> = seen.iter().map(|seen| seen.schema.clone()).collect();
    let columns: usize = streams.iter().map(|stream| stream.columns.len()).sum();
    let s = |count: usize| if count == 1 { "" } else { "s" };
    let (count, plural) = (streams.len(), s(streams.len()));
    let declared = format!("{count} stream{plural}, {columns} column{}", s(columns));
    vec![
        Check::pass("streams.declared", declared)
            .figure("streams", streams.len())
            .figure("columns", columns),
        names(&streams),
        unit::check(&streams),
        descriptions(&streams),
        keys(seen),
        otel::check(&streams),
        prometheus::check(plugin, &streams),
    ]
}

/// A column as findings call it.
fn place(stream: &StreamSchema, column: &ColumnSchema) -> String {
    format!("`{}` of {}", column.name, shown(&stream.name))
}

fn each(streams: &[StreamSchema]) -> impl Iterator<Item = (&StreamSchema, &ColumnSchema)> {
    streams.iter().flat_map(|stream| stream.columns.iter().map(move |column| (stream, column)))
}

fn names(streams: &[StreamSchema]) -> Check {
    const ID: &str = "streams.name";
    let plain = |name: &str| {
        !name.starts_with(|first: char| first == '_' || first.is_ascii_digit())
            && !name.ends_with('_')
            && !name.contains("__")
    };
    let odd = |name: &str, what: String| {
        let found = format!("{what} is called `{name}`");
        Check::warn(ID, found, "let a name begin with a letter, with single `_` between its words")
    };
    let mut problems = Vec::new();
    for stream in streams.iter().filter(|stream| !stream.name.is_empty() && !plain(&stream.name)) {
        problems.push(odd(&stream.name, "a stream".to_owned()));
    }
    for (stream, column) in each(streams) {
        if !plain(&column.name) {
            problems.push(odd(&column.name, format!("a column of {}", shown(&stream.name))));
        }
        if let Some(expected) = unit::misnamed(column) {
            let found = format!(
                "{} has the unit `{}`, and its name says `{expected}`",
                place(stream, column),
                column.unit
            );
            problems.push(Check::fail(ID, found, "let name and unit say the same"));
        }
        if column.role == Role::Gauge && column.name.ends_with("_total") {
            let found = format!("the gauge {} is called as counters are", place(stream, column));
            let mend = "make it a #[counter] if it only grows, or drop `_total`";
            problems.push(Check::warn(ID, found, mend));
        }
        if column.role == Role::Counter && column.name.ends_with("_per_sec") {
            let found = format!("the counter {} is called as rates are", place(stream, column));
            let mend = "drop `_per_sec`: the host derives the rate of each counter under that name";
            problems.push(Check::warn(ID, found, mend));
        }
    }
    Check::of(ID, problems, "all plain, and as their units")
}

fn descriptions(streams: &[StreamSchema]) -> Check {
    const ID: &str = "streams.description";
    let own = streams.iter().map(|stream| (shown(&stream.name), stream.description.trim()));
    let all: Vec<(String, &str)> = own
        .chain(
            each(streams)
                .map(|(stream, column)| (place(stream, column), column.description.trim())),
        )
        .collect();
    let mut problems: Vec<Check> = all
        .iter()
        .filter(|(_, text)| text.is_empty())
        .map(|(what, _)| {
            let mend = "say in a doc comment what one record, or the column, means";
            Check::fail(ID, format!("{what} has no description"), mend)
        })
        .collect();
    let described = all.iter().filter(|(_, text)| !text.is_empty());
    let (stopped, bare): (Vec<_>, Vec<_>) =
        described.partition(|(_, text)| text.ends_with(['.', '!', '?']));
    if !stopped.is_empty() && !bare.is_empty() {
        let (few, how, mend) = if bare.len() <= stopped.len() {
            (bare, "no full stop", "end them with a full stop, as the others")
        } else {
            (stopped, "a full stop", "leave the full stop out, as with the others")
        };
        let names: Vec<&str> = few.iter().map(|(what, _)| what.as_str()).take(5).collect();
        let more = few.len().saturating_sub(names.len());
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        let found = format!(
            "of {} descriptions {} end with {how}: {}{more}",
            all.len(),
            few.len(),
            names.join(", ")
        );
        problems.push(Check::warn(ID, found, mend));
    }
    Check::of(ID, problems, format!("{} descriptions", all.len()))
}

fn keys(seen: &[Seen]) -> Check {
    const ID: &str = "streams.key";
    let snapshots = seen.iter().filter(|seen| !seen.is_event());
    let problem = |seen: &Seen| {
        let name = shown(&seen.schema.name);
        let (_, most, _) = seen.rows?;
        if !seen.has_key() && most > 1 {
            let found = format!("{name} had {most} records in one batch, and has no key");
            let mend = "mark what tells records apart with #[key]";
            return Some(Check::fail(ID, found, mend));
        }
        seen.twin.then(|| {
            let found = format!("{name} had two records with the same keys in one batch");
            let mend = "add what tells them apart as another #[key]";
            Check::fail(ID, found, mend)
        })
    };
    let problems = snapshots.filter_map(problem).collect();
    Check::of(ID, problems, "each record of a batch has keys of its own")
}

#[cfg(test)]
pub(super) mod tests {
    use dropsonde_plugin_api::schema::{StreamKind, ValueType};

    use super::*;
    use crate::check::report::Outcome;

    /// A stream of these columns: name, role, unit, OpenTelemetry name.
    pub(in crate::check) fn stream(columns: &[(&str, Role, &str, &str)]) -> StreamSchema {
        let column = |(name, role, unit, otel): &(&str, Role, &str, &str)| ColumnSchema {
            name: (*name).to_owned(),
            role: *role,
            value: if *role == Role::Key { ValueType::Text } else { ValueType::U64 },
            unit: (*unit).to_owned(),
            description: "Said.".to_owned(),
            otel: (*otel).to_owned(),
            attributes: Vec::new(),
            share: None,
        };
        StreamSchema {
            name: String::new(),
            kind: StreamKind::Snapshot,
            description: "Said.".to_owned(),
            columns: columns.iter().map(column).collect(),
        }
    }

    pub(in crate::check) fn texts(check: &Check) -> String {
        check.findings.iter().map(|finding| finding.found.clone()).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn names_that_lie_about_their_unit_fail_and_ugly_ones_are_warned_of() {
        let good =
            stream(&[("read_bytes", Role::Counter, "By", ""), ("load_1m", Role::Gauge, "1", "")]);
        assert_eq!(names(&[good]).outcome, Outcome::Pass);
        let lies = names(&[stream(&[("read_bytes", Role::Counter, "KiBy", "")])]);
        assert_eq!(lies.outcome, Outcome::Fail);
        assert!(texts(&lies).contains("`read_bytes` of the main stream has the unit `KiBy`"));
        for (name, role) in
            [("a__b", Role::Gauge), ("jobs_total", Role::Gauge), ("reads_per_sec", Role::Counter)]
        {
            assert_eq!(names(&[stream(&[(name, role, "1", "")])]).outcome, Outcome::Warn, "{name}");
        }
    }

    #[test]
    fn what_is_not_described_fails_and_two_styles_are_warned_of() {
        let mut described = stream(&[("a", Role::Gauge, "1", ""), ("b", Role::Gauge, "1", "")]);
        assert_eq!(descriptions(std::slice::from_ref(&described)).outcome, Outcome::Pass);
        described.columns[1].description = "No stop".into();
        let mixed = descriptions(std::slice::from_ref(&described));
        assert_eq!(mixed.outcome, Outcome::Warn);
        assert!(texts(&mixed).contains("1 end with no full stop: `b` of the main stream"));
        described.columns[1].description.clear();
        assert_eq!(descriptions(&[described]).outcome, Outcome::Fail);
    }
}
