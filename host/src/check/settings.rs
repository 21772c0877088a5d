//! Settings: what the plugin says to none, to a key that it does not know, and to values of the
//! wrong type. Each is asked in a process of its own that creates nothing.

use serde_json::{Map, Value as Json, json};
use tokio::time::Instant;

use super::NO_TIME;
use super::report::Check;
use crate::admission::{Image, check_settings};
use crate::config::CollectorSpec;
use crate::control::Services;
use crate::runner::Failure;

/// A key that no plugin has.
const UNKNOWN: &str = "dropsonde_check_unknown_key";
/// Most keys whose type is tried.
const MAX_KEYS: usize = 32;

/// What is asked of a plugin.
pub(super) struct Asked<'a> {
    pub(super) services: &'a Services,
    pub(super) image: &'a Image,
    pub(super) spec: &'a CollectorSpec,
    /// Nothing more is asked after this.
    pub(super) until: Instant,
}

impl Asked<'_> {
    /// Whether it refused the settings that it was given: `refused`. What it would say to others
    /// beside them can't be told.
    pub(super) async fn checks(&self, refused: bool) -> Vec<Check> {
        let mut checks = vec![self.without().await];
        if refused {
            let why = "not tried, since it refused the settings that it was given";
            checks.extend(["settings.unknown", "settings.type"].map(|id| Check::skip(id, why)));
        } else {
            checks.extend(self.beside_given().await);
        }
        checks
    }

    fn is_late(&self) -> bool {
        Instant::now() > self.until
    }

    async fn without(&self) -> Check {
        if self.is_late() {
            return Check::skip("settings.default", NO_TIME);
        }
        without(self.with(&json!({})).await)
    }

    /// What is tried with the settings that it was given, and more.
    async fn beside_given(&self) -> [Check; 2] {
        if self.is_late() {
            return ["settings.unknown", "settings.type"].map(|id| Check::skip(id, NO_TIME));
        }
        let given: Map<String, Json> =
            serde_json::from_str(&self.spec.settings_json()).unwrap_or_default();
        let mut with_unknown = given.clone();
        with_unknown.insert(UNKNOWN.to_owned(), true.into());
        let unknown = self.with(&with_unknown.into()).await;
        let keys = known_keys(&unknown, &given);
        [unknown_key(&unknown), self.types(keys, &given).await]
    }

    async fn with(&self, settings: &Json) -> Result<(), Failure> {
        let spec = self.spec.clone().with_settings(settings);
        check_settings(self.services, self.image, &spec).await
    }

    async fn types(&self, keys: Option<Vec<String>>, given: &Map<String, Json>) -> Check {
        const ID: &str = "settings.type";
        let Some(keys) = keys else {
            return Check::skip(
                ID,
                "its refusal of an unknown key does not tell which keys it has",
            );
        };
        if keys.is_empty() {
            return Check::pass(ID, "it has no settings");
        }
        let mut problems = Vec::new();
        for key in keys.iter().take(MAX_KEYS) {
            if self.is_late() {
                problems.push(Check::skip(ID, NO_TIME));
                break;
            }
            let mut settings = given.clone();
            // No number, text, flag or list of these.
            settings.insert(key.clone(), json!([[null]]));
            let outcome = self.with(&settings.into()).await;
            problems.extend(wrong_type(key, &outcome));
            if matches!(outcome, Err(Failure::Deadline(_))) {
                break; // it would with each
            }
        }
        let names: Vec<String> = keys.iter().map(|key| format!("`{key}`")).collect();
        Check::of(ID, problems, format!("refused by name: {}", names.join(", ")))
    }
}

/// What is wrong with the answer to a value of the wrong type.
fn wrong_type(key: &str, outcome: &Result<(), Failure>) -> Option<Check> {
    const ID: &str = "settings.type";
    match outcome {
        Err(Failure::Settings { message, .. }) if is_of_unknown(message) => Some(Check::fail(
            ID,
            format!("`{key}` can't be tried: {message}"),
            "let the refusal of an unknown key name those that there are",
        )),
        Err(Failure::Settings { path, .. }) if is_at(path, key) => None,
        Err(Failure::Settings { message, .. }) if message.contains(key) => None,
        Err(Failure::Settings { message, .. }) => {
            let found = format!("a wrong value of `{key}` is refused without its name: {message}");
            Some(Check::fail(ID, found, "name the key: Error::setting(\"KEY\", …)"))
        }
        Err(other) => Some(Check::fail(
            ID,
            format!("a wrong value of `{key}`: {other}"),
            "return Error::setting(\"KEY\", …) for a value that can't be used",
        )),
        Ok(()) => Some(Check::warn(
            ID,
            format!("`{key}` takes `[[null]]`, and so anything"),
            "give the setting a type",
        )),
    }
}

/// Whether a refusal is of a key that there is not: by serde, or by the host of a plugin in C.
fn is_of_unknown(message: &str) -> bool {
    message.starts_with("unknown field ") || message.starts_with("unknown key ")
}

fn is_at(path: &str, key: &str) -> bool {
    path.strip_prefix(key).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
}

fn without(outcome: Result<(), Failure>) -> Check {
    const ID: &str = "settings.default";
    match outcome {
        Ok(()) => Check::pass(ID, "it runs without"),
        Err(Failure::Settings { path, message }) if !path.is_empty() || message.contains('`') => {
            Check::pass(ID, format!("it needs some, and says so: {message}"))
        }
        Err(other) => Check::fail(
            ID,
            format!("without settings: {other}"),
            "give each setting a default (#[serde(default)]), or let the error name the key",
        ),
    }
}

fn unknown_key(outcome: &Result<(), Failure>) -> Check {
    const ID: &str = "settings.unknown";
    match outcome {
        Err(Failure::Settings { path, message })
            if path.contains(UNKNOWN) || message.contains(UNKNOWN) =>
        {
            Check::pass(ID, "refused by its name")
        }
        Ok(()) => Check::fail(
            ID,
            "an unknown key is ignored, so that a person's typing error is too",
            "mark the settings with #[settings], which refuses unknown keys",
        ),
        Err(other) => Check::fail(
            ID,
            format!("an unknown key is not named: {other}"),
            "let the error name the key: Error::setting(\"KEY\", …)",
        ),
    }
}

/// The keys that it has, of its refusal of one that it has not, and of what it was given.
fn known_keys(refusal: &Result<(), Failure>, given: &Map<String, Json>) -> Option<Vec<String>> {
    let told = match refusal {
        Err(Failure::Settings { message, .. }) => keys_in(message),
        _ => None,
    };
    let mut keys = told.or_else(|| (!given.is_empty()).then(Vec::new))?;
    for key in given.keys() {
        if !keys.contains(key) {
            keys.push(key.clone());
        }
    }
    Some(keys)
}

/// As serde writes it: "unknown field `x`, expected one of `a`, `b`"; or as the host does of a
/// plugin in C: "unknown key `x`; known are a, b".
fn keys_in(message: &str) -> Option<Vec<String>> {
    if !is_of_unknown(message) {
        return None;
    }
    if message.contains("there are no fields") || message.ends_with("it has no settings") {
        return Some(Vec::new());
    }
    if let Some((_, known)) = message.split_once("; known are ") {
        return Some(known.split(", ").map(str::to_owned).collect());
    }
    let (_, expected) = message.split_once(", expected ")?;
    Some(expected.split('`').skip(1).step_by(2).map(str::to_owned).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::report::Outcome;

    fn refusal(path: &str, message: &str) -> Result<(), Failure> {
        Err(Failure::Settings { path: path.into(), message: message.into() })
    }

    #[test]
    fn the_keys_are_those_that_serde_lists_and_those_that_were_given() {
        let given = json!({"b": 1, "c": 2}).as_object().cloned().unwrap();
        let told = refusal(UNKNOWN, "unknown field `x`, expected one of `a`, `b`");
        assert_eq!(known_keys(&told, &given).unwrap(), ["a", "b", "c"]);
        let one = refusal("", "unknown field `x`, expected `a`");
        assert_eq!(known_keys(&one, &Map::new()).unwrap(), ["a"]);
        let none = refusal("", "unknown field `x`, there are no fields");
        assert!(known_keys(&none, &Map::new()).unwrap().is_empty());
        assert_eq!(known_keys(&refusal("", "no"), &Map::new()), None);
        let variants = refusal("by", "unknown variant `cup`, expected one of `cpu`, `io`");
        assert_eq!(known_keys(&variants, &Map::new()), None);
        let in_c = refusal("x", "unknown key `x`; known are a, b");
        assert_eq!(known_keys(&in_c, &Map::new()).unwrap(), ["a", "b"]);
    }

    #[test]
    fn a_refusal_must_name_what_it_refuses() {
        assert_eq!(unknown_key(&Ok(())).outcome, Outcome::Fail);
        assert_eq!(unknown_key(&refusal("", "something is wrong")).outcome, Outcome::Fail);
        assert_eq!(unknown_key(&refusal(UNKNOWN, "unknown")).outcome, Outcome::Pass);
        assert_eq!(without(refusal("", "missing field `file`")).outcome, Outcome::Pass);
        assert_eq!(without(refusal("", "no")).outcome, Outcome::Fail);
        assert_eq!(without(Err(Failure::Panicked("x".into()))).outcome, Outcome::Fail);
        let wrong = |path, message| wrong_type("on", &refusal(path, message));
        assert_eq!(wrong("on", "expected true or false, found [[null]]"), None);
        assert_eq!(wrong("on", "unknown key `on`; known are deep").unwrap().outcome, Outcome::Fail);
        assert!(is_at("rules[2].name", "rules") && is_at("a", "a") && !is_at("ab", "a"));
    }
}
