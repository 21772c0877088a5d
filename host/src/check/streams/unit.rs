//! Units by the Unified Code for Units of Measure (UCUM), as far as a small list goes, and the
//! words of names that go with them.

use dropsonde_plugin_api::schema::{ColumnSchema, Role, StreamSchema, check_unit};

use super::{each, place};
use crate::check::report::Check;

/// Units that metrics have. Others are UCUM's too, and are warned of.
const UNITS: [&str; 62] = [
    "1", "%", "By", "kBy", "MBy", "GBy", "TBy", "KiBy", "MiBy", "GiBy", "TiBy", "bit", "kbit",
    "Mbit", "Gbit", "Kibit", "Mibit", "Gibit", "s", "ms", "us", "ns", "min", "h", "d", "wk", "mo",
    "a", "Hz", "kHz", "MHz", "GHz", "Cel", "K", "[degF]", "V", "mV", "uV", "kV", "A", "mA", "uA",
    "W", "mW", "uW", "kW", "VA", "J", "mJ", "uJ", "kJ", "Pa", "hPa", "kPa", "bar", "mbar", "m",
    "mm", "g", "kg", "deg", "dB",
];

/// The last words of names, and the unit that goes with each.
const WORDS: [(&str, &str); 24] = [
    ("bytes", "By"),
    ("kib", "KiBy"),
    ("mib", "MiBy"),
    ("bits", "bit"),
    ("seconds", "s"),
    ("milliseconds", "ms"),
    ("ms", "ms"),
    ("microseconds", "us"),
    ("us", "us"),
    ("nanoseconds", "ns"),
    ("ns", "ns"),
    ("percent", "%"),
    ("ratio", "1"),
    ("hertz", "Hz"),
    ("hz", "Hz"),
    ("khz", "kHz"),
    ("mhz", "MHz"),
    ("ghz", "GHz"),
    ("celsius", "Cel"),
    ("volts", "V"),
    ("amperes", "A"),
    ("watts", "W"),
    ("joules", "J"),
    ("pascals", "Pa"),
];

/// Each number has one that UCUM has.
pub(super) fn check(streams: &[StreamSchema]) -> Check {
    const ID: &str = "streams.unit";
    let mut problems = Vec::new();
    for (stream, column) in each(streams) {
        let place = place(stream, column);
        if !matches!(column.role, Role::Counter | Role::Gauge) {
            if !column.unit.is_empty() {
                let found = format!("{place} is no number, and has the unit `{}`", column.unit);
                problems.push(Check::fail(ID, found, "leave the unit out"));
            }
            continue;
        }
        let unit = column.unit.as_str();
        if let Err(error) = check_unit(unit) {
            problems.push(Check::fail(ID, format!("{place} {error}"), &error.mend()));
        } else if let Some(part) = parts(unit).find(|part| !is_known(part)) {
            let mend = "see whether UCUM has it; what is counted stands in braces: `{packet}`";
            problems.push(Check::warn(ID, format!("{place}: `{part}` is a rare unit"), mend));
        }
        if column.role == Role::Counter && unit == "%" {
            let found = format!("{place} is a counter of per cent, which can't add up");
            problems.push(Check::fail(ID, found, "make it a #[gauge]"));
        }
    }
    Check::of(ID, problems, "all of UCUM")
}

/// The word of its name that says another unit than it has.
pub(super) fn misnamed(column: &ColumnSchema) -> Option<&'static str> {
    if column.unit.is_empty() {
        return None;
    }
    // `speed_bits_per_second`: of its words `bits` tells the unit, and it is a rate.
    let name = &column.name;
    let rate = ["_per_second", "_per_sec"].iter().find_map(|end| name.strip_suffix(end));
    let last = rate.unwrap_or(name).rsplit('_').next()?;
    let (word, expected) = WORDS.iter().find(|(word, _)| *word == last)?;
    let unit = match rate {
        Some(_) => column.unit.strip_suffix("/s").unwrap_or(""),
        None => &column.unit,
    };
    (unit != *expected).then_some(*word)
}

fn parts(unit: &str) -> impl Iterator<Item = &str> {
    unit.split(['/', '.']).filter(|part| !part.is_empty())
}

/// An annotation in braces stands for itself, or follows a unit.
fn is_known(part: &str) -> bool {
    let bare = part.split('{').next().unwrap_or(part);
    bare.is_empty() || UNITS.contains(&bare)
}

#[cfg(test)]
mod tests {
    use super::super::tests::{stream, texts};
    use super::*;
    use crate::check::report::Outcome;

    fn outcome(unit: &str) -> Outcome {
        check(&[stream(&[("x", Role::Gauge, unit, "")])]).outcome
    }

    #[test]
    fn units_that_metrics_have_are_good() {
        for unit in
            ["By", "%", "1", "{packet}", "{packet}/s", "bit/s", "By{compressed}", "KiBy", "/s"]
        {
            assert_eq!(outcome(unit), Outcome::Pass, "{unit}");
        }
    }

    #[test]
    fn mistakes_fail_with_the_right_unit_and_rare_ones_are_warned_of() {
        for unit in ["bytes", "", "{", "By/", "{a}{b}", "m s", "°C", "{}"] {
            assert_eq!(outcome(unit), Outcome::Fail, "{unit}");
        }
        let bytes = check(&[stream(&[("x", Role::Gauge, "bytes", "")])]);
        assert_eq!(bytes.findings[0].mend.as_deref(), Some("write unit = \"By\""));
        assert_eq!(outcome("cd"), Outcome::Warn);
        let percent = check(&[stream(&[("x", Role::Counter, "%", "")])]);
        assert!(texts(&percent).contains("a counter of per cent"));
    }

    #[test]
    fn a_name_goes_with_its_unit() {
        let misnamed = |name, unit| misnamed(&stream(&[(name, Role::Gauge, unit, "")]).columns[0]);
        for (name, unit) in [
            ("size_bytes", "By"),
            ("bytes_recv", "By"),
            ("frequency_mhz", "MHz"),
            ("speed_bits_per_second", "bit/s"),
            ("value", "By"),
        ] {
            assert_eq!(misnamed(name, unit), None, "{name}");
        }
        assert_eq!(misnamed("took_seconds", "ms"), Some("seconds"));
        assert_eq!(misnamed("used_percent", "1"), Some("percent"));
        assert_eq!(misnamed("read_bytes_per_sec", "By"), Some("bytes"));
    }
}
