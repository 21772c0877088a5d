//! Influx line protocol (docs.influxdata.com, "Line protocol"):
//!
//! ```text
//! measurement,tag=value,… field=value,… time
//! ```
//!
//! A field is a metric `measurement_field`, or `measurement` if it is called `value`, as Telegraf
//! shows them to Prometheus; tags are labels. Nothing says what counts up: the type is unknown.
//! Text is no sample and is left out, and so are times. Of two lines about one series the later one
//! counts; of two fields of a line that become one name the first one does, and the other is
//! refused. A line ends where it ends: text that holds a line break is refused, so that a quote
//! which is not closed loses its own line only.

use crate::fault::shown;
use crate::names::made_valid;
use crate::{Fault, Kind, Labels, Reading, Sample, ended_lines};

pub(crate) fn read(bytes: &[u8]) -> Reading {
    let mut reading = Reading::default();
    for (number, line) in ended_lines(bytes) {
        reading.begin_document();
        let added = line.and_then(take).map(|samples| {
            samples.into_iter().filter_map(|sample| reading.add(sample).err()).collect()
        });
        for fault in added.unwrap_or_else(|fault| vec![fault]) {
            reading.refuse(format_args!("line {number}"), fault);
        }
    }
    reading
}

/// The samples of a line: all of its numbers, or none.
fn take(line: &str) -> Result<Vec<Sample>, Fault> {
    let line = line.trim();
    if line.is_empty() || line.starts_with('#') {
        return Ok(Vec::new());
    }
    let (measurement, rest) = name(line, &[',', ' ']);
    if measurement.is_empty() {
        return Err(Fault::Metric(shown(line)));
    }
    let (labels, rest) = tags(rest)?;
    let mut numbers = Vec::new();
    let time = fields(rest, &mut numbers)?;
    if !time.is_empty() && time.parse::<i64>().is_err() {
        return Err(Fault::Time(shown(time)));
    }
    let measurement = made_valid(&measurement);
    let sample = |(field, number): (String, f64)| {
        let metric = match field.as_str() {
            "value" => measurement.clone(),
            field => format!("{measurement}_{}", field_part(field)),
        };
        Sample::new(&metric, labels.clone(), Kind::Unknown, number)
    };
    numbers.into_iter().map(sample).collect()
}

/// A name within a name may begin with a digit.
fn field_part(field: &str) -> String {
    let made = made_valid(field);
    let digit_first = field.starts_with(|first: char| first.is_ascii_digit());
    if digit_first { made[1..].to_owned() } else { made }
}

/// A name up to one of `ends`, and from there on. What would end it, or `=`, is escaped by `\`.
fn name<'a>(text: &'a str, ends: &[char]) -> (String, &'a str) {
    let mut name = String::new();
    let mut characters = text.char_indices().peekable();
    while let Some((index, character)) = characters.next() {
        match (character, characters.peek()) {
            ('\\', Some((_, escaped @ (',' | '=' | ' ')))) => {
                name.push(*escaped);
                characters.next();
            }
            (end, _) if ends.contains(&end) => {
                return (name, text.get(index..).unwrap_or_default());
            }
            (other, _) => name.push(other),
        }
    }
    (name, "")
}

/// `,name=value,… `, or nothing, up to the fields.
fn tags(mut text: &str) -> Result<(Labels, &str), Fault> {
    let mut labels = Labels::default();
    while let Some(rest) = text.strip_prefix(',') {
        let wrong = || Fault::Tags(shown(rest));
        let (key, after) = name(rest, &['=', ',', ' ']);
        let after = after.strip_prefix('=').ok_or_else(wrong)?;
        let (value, after) = name(after, &['=', ',', ' ']);
        if key.is_empty() || value.is_empty() || after.starts_with('=') {
            return Err(wrong());
        }
        labels.add(&made_valid(&key), &value)?;
        text = after;
    }
    let fields = text.trim_start_matches(' ');
    if fields.is_empty() { Err(Fault::Fields(String::new())) } else { Ok((labels, fields)) }
}

/// `name=value,…`: adds those that are numbers; what follows.
fn fields<'a>(mut text: &'a str, numbers: &mut Vec<(String, f64)>) -> Result<&'a str, Fault> {
    loop {
        let (key, rest) = name(text, &['=', ',', ' ']);
        let value = rest.strip_prefix('=').filter(|_| !key.is_empty());
        let value = value.ok_or_else(|| Fault::Fields(shown(text)))?;
        let rest = match value.strip_prefix('"') {
            Some(inside) => behind_quote(inside)?,
            None => {
                let end = value.find([',', ' ']).unwrap_or(value.len());
                let (value, rest) = value.split_at(end);
                numbers.push((key, number(value)?));
                rest
            }
        };
        match rest.strip_prefix(',') {
            Some(next) => text = next,
            None if rest.is_empty() || rest.starts_with(' ') => return Ok(rest.trim()),
            None => return Err(Fault::Rest(shown(rest))),
        }
    }
}

/// What stands behind the quote that closes a text; `\"` does not.
fn behind_quote(text: &str) -> Result<&str, Fault> {
    let mut characters = text.char_indices();
    while let Some((index, character)) = characters.next() {
        match character {
            '"' => return Ok(text.get(index + 1..).unwrap_or_default()),
            '\\' => drop(characters.next()),
            _ => {}
        }
    }
    Err(Fault::OpenQuote)
}

fn number(value: &str) -> Result<f64, Fault> {
    let wrong = || Fault::Value(shown(value));
    let number = match value {
        "t" | "T" | "true" | "True" | "TRUE" => 1.0,
        "f" | "F" | "false" | "False" | "FALSE" => 0.0,
        _ => match (value.strip_suffix('i'), value.strip_suffix('u')) {
            (Some(whole), _) => whole.parse::<i64>().map_err(|_| wrong())? as f64,
            (_, Some(whole)) => whole.parse::<u64>().map_err(|_| wrong())? as f64,
            _ => value.parse().map_err(|_| wrong())?,
        },
    };
    // The protocol has no word for what is not finite.
    if number.is_finite() { Ok(number) } else { Err(wrong()) }
}
