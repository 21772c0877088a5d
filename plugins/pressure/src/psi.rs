//! Reads a file of `/proc/pressure`.

use dropsonde_plugin_api::{Error, Result};

/// One line: shares of time in percent, and the time since boot in seconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Line {
    pub(crate) avg10: f64,
    pub(crate) avg60: f64,
    pub(crate) avg300: f64,
    pub(crate) seconds: f64,
}

/// The lines "some" and "full", as far as they are there: `irq` has no "some", and `cpu` has no
/// "full" on kernels before 5.13.
pub(crate) fn parse(text: &str) -> Result<(Option<Line>, Option<Line>)> {
    let (mut some, mut full) = (None, None);
    for line in text.lines() {
        let unreadable = || {
            let expected = "some avg10=0.00 avg60=0.00 avg300=0.00 total=0";
            Error::msg(format_args!("the line `{line}` is not as `{expected}`"))
        };
        let (kind, rest) = line.split_once(' ').ok_or_else(unreadable)?;
        let place = match kind {
            "some" => &mut some,
            "full" => &mut full,
            _ => continue,
        };
        *place = Some(values(rest).ok_or_else(unreadable)?);
    }
    match (some, full) {
        (None, None) => Err(Error::msg("there is neither a line `some` nor a line `full`")),
        both => Ok(both),
    }
}

fn values(rest: &str) -> Option<Line> {
    let number = |name: &str| {
        let mut words = rest.split(' ');
        let value = words.find_map(|word| word.strip_prefix(name)?.strip_prefix('='))?;
        value.parse::<f64>().ok().filter(|number| number.is_finite() && *number >= 0.0)
    };
    Some(Line {
        avg10: number("avg10")?,
        avg60: number("avg60")?,
        avg300: number("avg300")?,
        seconds: number("total")? / 1e6, // microseconds
    })
}
