//! Names by the OpenTelemetry semantic conventions: lower case, namespaces with dots, words with
//! `_` ("Naming", and "Metrics semantic conventions", of their general part).

use std::collections::BTreeMap;

use dropsonde_plugin_api::schema::{Role, StreamSchema};

use super::{each, place};
use crate::check::report::Check;

const ID: &str = "streams.otel";

/// Words at the end of a metric's name that say what its unit says already.
const UNIT_WORDS: [&str; 7] =
    ["bytes", "seconds", "milliseconds", "percent", "ratio", "total", "celsius"];

pub(super) fn check(streams: &[StreamSchema]) -> Check {
    let mut problems = Vec::new();
    let mut units: BTreeMap<&str, &str> = BTreeMap::new();
    let mut named = 0;
    for (stream, column) in each(streams) {
        let place = place(stream, column);
        let metric = matches!(column.role, Role::Counter | Role::Gauge);
        for (key, _) in &column.attributes {
            if !is_formed(key) {
                let found =
                    format!("{place}: the attribute `{key}` is not lower case with dots and `_`");
                problems.push(Check::fail(ID, found, "write it as in `network.io.direction`"));
            }
        }
        let share = column.share.as_ref().map(|share| share.otel.as_str());
        for name in share.into_iter().chain([column.otel.as_str()]).filter(|name| !name.is_empty())
        {
            named += 1;
            problems.extend(one(&place, name, metric));
        }
        if !metric || column.otel.is_empty() {
            continue;
        }
        let unit = units.entry(&column.otel).or_insert(&column.unit);
        if *unit != column.unit {
            let found = format!(
                "the metric `{}` has the units `{unit}` and `{}`",
                column.otel, column.unit
            );
            problems.push(Check::fail(ID, found, "give all columns of one metric one unit"));
        }
    }
    Check::of(ID, problems, format!("{named} names, well formed"))
}

fn one(place: &str, name: &str, metric: bool) -> Option<Check> {
    if !is_formed(name) {
        let found = format!("{place}: `{name}` is not lower case with dots and `_`");
        return Some(Check::fail(ID, found, "write it as in `system.network.io`"));
    }
    if name.starts_with("otel.") {
        let found =
            format!("{place}: `{name}` is in a namespace that OpenTelemetry keeps for itself");
        return Some(Check::fail(ID, found, "name it in a namespace of your own"));
    }
    if metric && !name.contains('.') {
        let found = format!("{place}: the metric `{name}` has no namespace");
        return Some(Check::fail(
            ID,
            found,
            "put what it belongs to before it: `system.`, or your own",
        ));
    }
    let last = name.rsplit(['.', '_']).next().unwrap_or(name);
    (metric && UNIT_WORDS.contains(&last)).then(|| {
        let found = format!("{place}: the metric `{name}` has `{last}` in its name");
        Check::warn(ID, found, "leave it out: the unit and the kind say it, and exporters add it")
    })
}

/// Segments between dots, of words between `_`, of lower-case letters and digits; a letter first.
fn is_formed(name: &str) -> bool {
    let word = |word: &str| {
        !word.is_empty()
            && word.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
    };
    name.starts_with(|first: char| first.is_ascii_lowercase()) && name.split(['.', '_']).all(word)
}

#[cfg(test)]
mod tests {
    use super::super::tests::{stream, texts};
    use super::*;
    use crate::check::report::Outcome;

    fn metric(name: &str) -> Outcome {
        check(&[stream(&[("x", Role::Gauge, "1", name)])]).outcome
    }

    #[test]
    fn names_of_the_conventions_are_good_and_others_are_not() {
        for name in ["system.network.io", "system.cpu.load_average.1m", "hw.gpu.usage", ""] {
            assert_eq!(metric(name), Outcome::Pass, "{name}");
        }
        for name in [
            "System.cpu",
            "system..cpu",
            "system.cpu.",
            "system.CPU",
            "1m.load",
            "uptime",
            "a.b__c",
            "otel.mine",
        ] {
            assert_eq!(metric(name), Outcome::Fail, "{name}");
        }
        assert_eq!(metric("system.io.bytes"), Outcome::Warn);
        let key = check(&[stream(&[("x", Role::Key, "", "device")])]);
        assert_eq!(key.outcome, Outcome::Pass, "attributes have no namespace of need");
    }

    #[test]
    fn one_metric_has_one_unit() {
        let mixed = stream(&[
            ("a", Role::Gauge, "By", "system.io"),
            ("b", Role::Gauge, "KiBy", "system.io"),
        ]);
        let found = check(&[mixed]);
        assert_eq!(found.outcome, Outcome::Fail);
        assert!(texts(&found).contains("has the units `By` and `KiBy`"));
    }
}
