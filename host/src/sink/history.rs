//! `/api/v1/history`: what was stored of a stream, one row for each step and series.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::http::failed;
use super::json::timestamp;
use crate::bus::Filter;
use crate::clock;
use crate::control::Host;
use crate::history::read::{Answer, Question, ReadError};

/// What a client may ask for.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Asked {
    /// Its name or topic.
    stream: String,
    /// RFC 3339, seconds since 1970, or before now: `-1h`.
    from: Option<String>,
    to: Option<String>,
    /// One row for so long.
    step: Option<String>,
    /// Names, with commas between them.
    columns: Option<String>,
    /// A predicate.
    r#where: Option<String>,
    /// Most rows.
    limit: Option<usize>,
}

/// Without `from`, so long before `to`.
const AN_HOUR: Duration = Duration::from_secs(3600);
/// Without `step`, no more rows of a series than these.
const POINTS: i64 = 500;
/// Steps that people think in, seconds.
const STEPS: [i64; 14] = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200];
/// What RFC 3339 can write, in milliseconds since 1970.
const END_OF_TIME: i64 = 253_402_300_799_000;
const LIMIT: usize = 50_000;
const MOST: usize = 200_000;

pub(super) async fn history(
    State(host): State<Host>,
    asked: Result<Query<Asked>, QueryRejection>,
) -> Response {
    let asked = match asked {
        Ok(Query(asked)) => asked,
        Err(error) => {
            let text = format!(
                "{}; write such as ?stream=network.interfaces&from=-1h&step=1m",
                error.body_text()
            );
            return failed(StatusCode::BAD_REQUEST, &text);
        }
    };
    let question = match asked.question(clock::wall()) {
        Ok(question) => question,
        Err(message) => return failed(StatusCode::BAD_REQUEST, &message),
    };
    let (from, to, step) = (question.from, question.to, question.step);
    match host.history(question).await {
        Some(Ok(answer)) => {
            // Megabytes of text: not on the thread that serves everybody.
            let text =
                tokio::task::spawn_blocking(move || body(answer, from, to, step).to_string());
            match text.await {
                Ok(text) => ([(header::CONTENT_TYPE, "application/json")], text).into_response(),
                Err(error) => failed(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()),
            }
        }
        Some(Err(error)) => {
            let code = match error {
                ReadError::Unknown(_) => StatusCode::NOT_FOUND,
                ReadError::Wrong(_) => StatusCode::BAD_REQUEST,
                ReadError::TooLong => StatusCode::SERVICE_UNAVAILABLE,
                ReadError::Sqlite { .. } => StatusCode::INTERNAL_SERVER_ERROR,
            };
            failed(code, &error.to_string())
        }
        None => {
            let text = "nothing is stored; name streams in history.streams, such as \
                        [history] streams = [\"metrics.cpu\", \"metrics.network.>\"]";
            failed(StatusCode::NOT_FOUND, text)
        }
    }
}

impl Asked {
    fn question(&self, now: SystemTime) -> Result<Question, String> {
        let to = match &self.to {
            Some(to) => time("to", to, now)?,
            None => now,
        };
        let from = match &self.from {
            Some(from) => time("from", from, now)?,
            None => to.checked_sub(AN_HOUR).unwrap_or(UNIX_EPOCH),
        };
        let (from, to) = (ms(from), ms(to));
        if to > END_OF_TIME {
            return Err("to: the last time is 9999-12-31T23:59:59Z".to_owned());
        }
        if from >= to {
            return Err("from: it must be before `to`, which is now if left out".to_owned());
        }
        let step = match &self.step {
            Some(step) => self::step(step)?,
            None => default_step(to - from),
        };
        let limit = self.limit.unwrap_or(LIMIT);
        if limit == 0 || limit > MOST {
            return Err(format!("limit: between 1 and {MOST} rows"));
        }
        let filter = self.r#where.as_deref().map(str::parse::<Filter>).transpose();
        let columns = self.columns.as_deref().map(|columns| columns.split(','));
        Ok(Question {
            stream: self.stream.clone(),
            from,
            to,
            step,
            columns: columns.map(|columns| columns.map(|name| name.trim().to_owned()).collect()),
            filter: filter.map_err(|error| format!("where: {error}"))?,
            limit,
        })
    }
}

fn ms(time: SystemTime) -> i64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

fn time(name: &str, text: &str, now: SystemTime) -> Result<SystemTime, String> {
    let expected = || {
        format!(
            "{name}: `{text}` is no time; write 2026-11-21T08:00:00Z, seconds since 1970, or \
             before now: -1h"
        )
    };
    if text == "now" {
        return Ok(now);
    }
    if let Ok(seconds) = text.parse::<f64>()
        && seconds >= 0.0
    {
        let since = Duration::try_from_secs_f64(seconds).map_err(|_| expected())?;
        return UNIX_EPOCH.checked_add(since).ok_or_else(expected);
    }
    if let Some(ago) = text.strip_prefix('-') {
        let ago = humantime::parse_duration(ago).map_err(|_| expected())?;
        return now.checked_sub(ago).ok_or_else(expected);
    }
    humantime::parse_rfc3339_weak(text).map_err(|_| expected())
}

fn step(text: &str) -> Result<i64, String> {
    let expected = || format!("step: `{text}` is no duration of 1 ms or more; write 10s, 1m or 1h");
    let parsed = match text.parse::<f64>() {
        Ok(seconds) => Duration::try_from_secs_f64(seconds).map_err(|_| expected())?,
        Err(_) => humantime::parse_duration(text).map_err(|_| expected())?,
    };
    i64::try_from(parsed.as_millis()).ok().filter(|step| *step > 0).ok_or_else(expected)
}

/// Milliseconds.
fn default_step(time: i64) -> i64 {
    let least = time.div_euclid(POINTS * 1000) + i64::from(time.rem_euclid(POINTS * 1000) > 0);
    let round = STEPS.into_iter().find(|step| *step >= least);
    let hours = || (least + 3599) / 3600 * 3600;
    round.unwrap_or_else(hours) * 1000
}

fn body(answer: Answer, from: i64, to: i64, step: i64) -> Value {
    let at = |ms: i64| timestamp(UNIX_EPOCH + Duration::from_millis(ms.unsigned_abs()));
    let columns: Vec<Value> = answer
        .columns
        .iter()
        .map(|column| json!({ "name": column.name, "unit": column.unit }))
        .collect();
    let series = answer.series.into_iter().map(|(key, series)| {
        let key: Map<String, Value> = answer.keys.iter().cloned().zip(key).collect();
        let rows = series.rows.into_iter().map(|(ms, mut values)| {
            values.insert(0, (ms as f64 / 1000.0).into());
            Value::Array(values)
        });
        json!({ "key": key, "rows": rows.collect::<Vec<_>>() })
    });
    let series: Vec<Value> = series.collect();
    json!({
        "stream": answer.stream,
        "topic": answer.topic,
        "from": at(from),
        "to": at(to),
        "step_seconds": step as f64 / 1000.0,
        "columns": columns,
        "series": series,
        "truncated": answer.truncated,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(from: &str, to: &str, step: &str) -> Result<Question, String> {
        let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        let (from, to, step) = (some(from), some(to), some(step));
        let asked = Asked { stream: "cpu".into(), from, to, step, ..Asked::default() };
        asked.question(UNIX_EPOCH + Duration::from_secs(1_000_000))
    }

    #[test]
    fn times_are_dates_seconds_or_before_now_and_the_step_follows_from_them() {
        for (from, to, step, expected) in [
            ("", "", "", (996_400_000, 1_000_000_000, 10_000)),
            ("-2h", "-1h", "1m", (992_800_000, 996_400_000, 60_000)),
            ("1970-01-12T00:00:00Z", "now", "0.5", (950_400_000, 1_000_000_000, 500)),
            ("999990.25", "1000000", "", (999_990_250, 1_000_000_000, 1000)),
            ("-7d", "", "", (395_200_000, 1_000_000_000, 1_800_000)),
            ("0", "", "365d", (0, 1_000_000_000, 31_536_000_000)),
        ] {
            let question = asked(from, to, step).unwrap();
            assert_eq!((question.from, question.to, question.step), expected, "{from} {to}");
        }
        assert_eq!(default_step(2 * 366 * 24 * 3_600_000), 36 * 3_600_000);
    }

    #[test]
    fn what_makes_no_sense_says_what_would() {
        for (from, to, step, expected) in [
            ("yesterday", "", "", "from: `yesterday` is no time; write 2026-"),
            ("-5 parsecs", "", "", "from: `-5 parsecs` is no time"),
            ("", "nan", "", "to: `nan` is no time"),
            ("1e300", "", "", "from: `1e300` is no time"),
            ("", "1e17", "", "to: the last time is 9999-12-31T23:59:59Z"),
            ("now", "-1h", "", "from: it must be before `to`"),
            ("", "", "0s", "step: `0s` is no duration of 1 ms or more"),
            ("", "", "-1", "step: `-1` is no duration"),
            ("", "", "soon", "step: `soon` is no duration"),
        ] {
            let error = asked(from, to, step).unwrap_err();
            assert!(error.starts_with(expected), "{error}");
        }
    }
}
