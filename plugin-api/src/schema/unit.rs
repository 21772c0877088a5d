//! Units by the Unified Code for Units of Measure (UCUM): what is none of them.

use std::fmt;

/// What people write by mistake, and what UCUM has for what they mean. Some are other units of
/// UCUM (`B` is the bel), of which no collector has been seen to count any.
const MISTAKES: [(&str, &str); 23] = [
    ("bytes", "By"),
    ("byte", "By"),
    ("B", "By"),
    ("KB", "kBy"),
    ("kB", "kBy"),
    ("KiB", "KiBy"),
    ("MB", "MBy"),
    ("MiB", "MiBy"),
    ("GB", "GBy"),
    ("GiB", "GiBy"),
    ("bits", "bit"),
    ("sec", "s"),
    ("seconds", "s"),
    ("second", "s"),
    ("milliseconds", "ms"),
    ("µs", "us"),
    ("minutes", "min"),
    ("hours", "h"),
    ("percent", "%"),
    ("celsius", "Cel"),
    ("°C", "Cel"),
    ("C", "Cel"),
    ("hertz", "Hz"),
];

/// Why a number's unit is none.
#[derive(Debug, PartialEq, Eq, Clone)]
pub enum UnitError {
    /// There is none.
    Missing,
    /// A word or symbol that people write for another one.
    Mistaken {
        /// What was written.
        unit: String,
        /// What UCUM has.
        right: &'static str,
    },
    /// Spaces, letters beyond ASCII, or braces that don't fit.
    Malformed(String),
}

impl UnitError {
    /// What to do about it.
    pub fn mend(&self) -> String {
        match self {
            Self::Missing => "give it one: `By`, `s`, `%`, `{packet}` for a count of packets, `1` for a plain number".to_owned(),
            Self::Mistaken { right, .. } => format!("write unit = \"{right}\""),
            Self::Malformed(_) => "write units of UCUM, such as `By/s`, and what is counted in braces: `{packet}`".to_owned(),
        }
    }
}

impl fmt::Display for UnitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => f.write_str("has no unit"),
            Self::Mistaken { unit, .. } | Self::Malformed(unit) => {
                write!(f, "has the unit `{unit}`, which is not UCUM")
            }
        }
    }
}

impl std::error::Error for UnitError {}

/// Whether a number may have this unit. One that passes need not be known to UCUM; one that does
/// not is no unit, or almost certainly not the one that was meant.
pub fn check_unit(unit: &str) -> Result<(), UnitError> {
    if unit.is_empty() {
        return Err(UnitError::Missing);
    }
    if let Some((_, right)) = MISTAKES.iter().find(|(wrong, _)| *wrong == unit) {
        return Err(UnitError::Mistaken { unit: unit.to_owned(), right });
    }
    if is_formed(unit) { Ok(()) } else { Err(UnitError::Malformed(unit.to_owned())) }
}

/// Parts between `/` and `.`, each of printable ASCII, with at most one annotation at its end, in
/// which everything but braces may stand.
fn is_formed(unit: &str) -> bool {
    let formed = |part: &str| match part.split_once('{') {
        None => !part.is_empty() && !part.contains('}'),
        Some((_, rest)) => {
            let inside = rest.strip_suffix('}');
            inside.is_some_and(|inside| !inside.is_empty() && !inside.contains(['{', '}']))
        }
    };
    let mut is_inside = false;
    let mut parts = unit.split(|letter| {
        is_inside = letter == '{' || is_inside && letter != '}';
        !is_inside && matches!(letter, '/' | '.')
    });
    let leading = unit.starts_with('/'); // `/s` is per second
    if leading {
        parts.next();
    }
    unit.bytes().all(|byte| byte.is_ascii_graphic()) && parts.all(formed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_in_braces_is_free_and_what_people_write_by_mistake_is_told() {
        for good in ["By", "By/s", "/s", "1", "%", "{packet}/s", "{req/s}", "{I/O}", "m.s{v1.2}"] {
            assert_eq!(check_unit(good), Ok(()), "{good}");
        }
        for bad in ["/", "By/", "a b", "{}", "{a", "a}", "{a{b}}", "{a}b", "µ"] {
            assert!(matches!(check_unit(bad), Err(UnitError::Malformed(_))), "{bad}");
        }
        let mend = |unit| check_unit(unit).unwrap_err().mend();
        assert_eq!(mend("bytes"), "write unit = \"By\"");
    }
}
