//! The configuration.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value as Json;

use crate::config::{CollectorSpec, Config, ConfigError, ConfigErrors, Limits, Origin, Sources};
use crate::schedule::MIN_INTERVAL;

const FILE: &str = "/d.toml";

/// Text of a file; after a NUL each, variables of the environment. An error names a place that
/// is there; what is accepted is within bounds, and the same when it is loaded again.
pub fn toml(bytes: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(bytes) else { return false };
    let mut parts = text.split('\0');
    let text = parts.next().unwrap_or_default();
    let environment: Vec<(String, String)> = parts
        .filter_map(|part| part.split_once('='))
        .map(|(name, value)| (format!("DROPSONDE__{name}"), value.to_owned()))
        .collect();
    let sources = Sources { file: Some(FILE.into()), environment, ..Sources::default() };
    match load(&sources, text) {
        Ok(config) => {
            assert_within_bounds(&config);
            assert_eq!(load(&sources, text).as_ref(), Ok(&config));
            let mut twice = Config::from_layers(&sources, vec![layer(text), layer(text)]);
            twice.iter_mut().for_each(|config| config.files.truncate(1));
            assert_eq!(twice.as_ref(), Ok(&config), "laid over itself");
            if !text.starts_with('\u{feff}') {
                let moved = load(&sources, &format!("# moved\n{text}"));
                assert_eq!(moved.as_ref(), Ok(&config), "places are no part of it");
            }
            for spec in config.collectors.values() {
                assert_settings(spec, &sources, text);
            }
            true
        }
        Err(ConfigErrors(errors)) => {
            assert!(!errors.is_empty());
            errors.iter().for_each(|error| assert_placed(error, &sources, text));
            false
        }
    }
}

fn load(sources: &Sources, text: &str) -> Result<Config, ConfigErrors> {
    Config::from_layers(sources, vec![layer(text)])
}

fn layer(text: &str) -> (PathBuf, io::Result<String>) {
    (FILE.into(), Ok(text.to_owned()))
}

/// The place of an error is one of the text, or a variable that was set.
fn assert_placed(error: &ConfigError, sources: &Sources, text: &str) {
    assert!(!error.message.is_empty(), "{error:?}");
    match &error.at {
        Origin::File { path, line, column } => {
            assert_eq!(&**path, Path::new(FILE));
            assert!(*line > 0 && *column > 0, "{error}");
            let found = text.split('\n').nth(*line - 1);
            let rest: Option<Vec<char>> =
                found.map(|line| line.chars().skip(*column - 1).collect());
            let inside = found.is_some_and(|line| line.chars().count() + 1 >= *column);
            assert!(inside, "{error}: in {text:?}");
            // What is wrong with a key or value points at it, not beside it.
            let first = rest.and_then(|rest| rest.first().copied());
            let points = first.is_some_and(|first| !first.is_whitespace());
            assert!(error.path.is_empty() || points, "{error}: in {text:?}");
        }
        Origin::Environment(name) => {
            assert!(sources.environment.iter().any(|(known, _)| known == name), "{error}");
        }
        Origin::Default | Origin::Flag(_) => unreachable!("{error}"),
    }
}

fn assert_within_bounds(config: &Config) {
    const YEAR: Duration = Duration::from_secs(366 * 24 * 3600);
    let bounded = |duration: Duration| assert!(!duration.is_zero() && duration <= YEAR);
    let restart = &config.restart;
    [restart.initial, restart.max, restart.window].into_iter().for_each(bounded);
    assert!(restart.initial <= restart.max && restart.limit > 0);
    let defaults = &config.defaults;
    let own = config.collectors.values().map(|spec| (spec.interval, spec.deadline, spec.limits));
    for (interval, deadline, limits) in
        own.chain([(defaults.interval, defaults.deadline, defaults.limits)])
    {
        bounded(deadline);
        interval.into_iter().for_each(|interval| {
            bounded(interval);
            assert!(interval >= MIN_INTERVAL);
        });
        let Limits { memory, open_files, processes, file_size, rows, cpu_percent } = limits;
        assert!(![memory, open_files, processes, file_size, rows, cpu_percent].contains(&0));
        let quota = cpu_percent.checked_mul(100_000); // microseconds of a cgroup's period
        assert!(quota.is_some(), "{cpu_percent} % of a CPU");
    }
    let paths = config.directories.iter().flatten().chain([&config.file]);
    assert!(paths.chain(&config.files).all(|path: &PathBuf| path.is_absolute()));
    for name in config.collectors.keys() {
        let good = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "_-".contains(c);
        assert!((1..=64).contains(&name.len()) && name.chars().all(good), "{name:?}");
    }
}

/// The plugin gets what the user wrote, and an error of the plugin's points into it.
fn assert_settings(spec: &CollectorSpec, sources: &Sources, text: &str) {
    let json = spec.settings_json();
    let parsed: Option<Json> = serde_json::from_str(&json).ok();
    assert!(parsed.as_ref().is_some_and(Json::is_object), "{json}");
    let parsed = parsed.unwrap_or_default();
    if sources.environment.is_empty()
        && let Ok(table) = text.parse::<::toml::Table>()
    {
        let written = table.get("collectors").and_then(|all| all.get(&*spec.name));
        match written.and_then(|collector| collector.get("settings")) {
            Some(written) => assert!(is_same(written, &parsed), "{written:?} became {json}"),
            None => assert_eq!(json, "{}"),
        }
    }
    let step = parsed.as_object().and_then(|table| table.keys().next());
    for path in ["", "a.b[0]", step.map_or("", |step| step)] {
        let error = spec.settings_error(path, "wrong");
        if error.at != Origin::Default {
            assert_placed(&error, sources, text);
        }
    }
}

fn is_same(written: &::toml::Value, json: &Json) -> bool {
    match written {
        ::toml::Value::String(text) => json.as_str() == Some(text),
        ::toml::Value::Integer(number) => json.as_i64() == Some(*number),
        // JSON has only finite ones, and the last digit may differ.
        ::toml::Value::Float(number) if number.is_finite() => json.is_f64(),
        ::toml::Value::Float(_) => json.is_string(),
        ::toml::Value::Boolean(flag) => json.as_bool() == Some(*flag),
        ::toml::Value::Datetime(time) => json.as_str() == Some(&time.to_string()),
        ::toml::Value::Array(items) => json.as_array().is_some_and(|list| {
            list.len() == items.len() && items.iter().zip(list).all(|(a, b)| is_same(a, b))
        }),
        ::toml::Value::Table(table) => json.as_object().is_some_and(|object| {
            let same = |(key, value)| object.get(key).is_some_and(|json| is_same(value, json));
            object.len() == table.len() && table.iter().all(same)
        }),
    }
}
