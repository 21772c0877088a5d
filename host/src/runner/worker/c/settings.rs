//! The user's settings, as a plugin in C asks for them. A key that it does not ask for is one
//! that it does not know.

use std::collections::BTreeSet;
use std::ffi::{CStr, CString, c_char};
use std::sync::{Mutex, MutexGuard, PoisonError};

use dropsonde_plugin_api::abi::c::CSettings;
use serde_json::{Map, Value};

use crate::config::suggestion;
use crate::runner::Failure;

/// Settings, and what was asked of them in one call.
pub(super) struct Asked {
    settings: Value,
    json: CString,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// What was asked for, key by key: one in quotes may have a dot.
    paths: BTreeSet<Vec<String>>,
    /// All of them were asked for at once.
    whole: bool,
    /// The first value that is not what was asked for: its path, and why.
    wrong: Option<(String, String)>,
    /// Texts that were lent.
    texts: Vec<CString>,
}

impl Asked {
    pub(super) fn new(json: &str) -> Result<Self, Failure> {
        let wrong = |message: String| Failure::Settings { path: String::new(), message };
        let settings = serde_json::from_str(json).map_err(|error| wrong(error.to_string()))?;
        let json = CString::new(json).map_err(|error| wrong(error.to_string()))?;
        Ok(Self { settings, json, state: Mutex::default() })
    }

    /// Lends them for one call.
    pub(super) fn lend<T>(&self, call: impl FnOnce(*const CSettings) -> T) -> T {
        let context = (&raw const *self).cast();
        call(&CSettings { context, text, integer, number, flag, json })
    }

    /// How the call ended in which they were asked for.
    pub(super) fn outcome(&self, result: Result<(), Failure>) -> Result<(), Failure> {
        if let Some((path, message)) = self.state().wrong.clone() {
            return Err(Failure::Settings { path, message });
        }
        result?;
        self.finish()
    }

    /// An error if there is a key that was not asked for, or no table where one should be.
    pub(super) fn finish(&self) -> Result<(), Failure> {
        let state = self.state();
        let Value::Object(settings) = &self.settings else { return Ok(()) };
        if state.whole {
            return Ok(());
        }
        misfit(settings, &[], &state.paths).map_or(Ok(()), |(path, message)| {
            Err(Failure::Settings { path: path.join("."), message })
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The value at a path, if it is there and what was asked for.
    fn value<T>(
        &self,
        path: &str,
        expected: &str,
        read: impl FnOnce(&Value) -> Option<T>,
    ) -> Option<T> {
        let mut state = self.state();
        state.paths.insert(path.split('.').map(str::to_owned).collect());
        let mut value = &self.settings;
        for key in path.split('.') {
            value = value.get(key)?;
        }
        let found = read(value);
        if found.is_none() {
            let message = format!("expected {expected}, found {value}");
            state.wrong.get_or_insert_with(|| (path.to_owned(), message));
        }
        found
    }
}

/// The first key of a table that does not fit what was asked for: its path, and why.
fn misfit(
    table: &Map<String, Value>,
    before: &[String],
    asked: &BTreeSet<Vec<String>>,
) -> Option<(Vec<String>, String)> {
    table.iter().find_map(|(key, value)| {
        let path = [before, std::slice::from_ref(key)].concat();
        if asked.contains(&path) {
            return None;
        }
        let is_table = asked.iter().any(|known| known.starts_with(&path));
        match value {
            Value::Object(table) if is_table => misfit(table, &path, asked),
            other if is_table => Some((path, format!("expected a table, found {other}"))),
            _ => Some((path, format!("unknown key `{key}`; {}", hint(key, before, asked)))),
        }
    })
}

/// The right key, of those that were asked for in the same table.
fn hint(key: &str, table: &[String], asked: &BTreeSet<Vec<String>>) -> String {
    let known: BTreeSet<&str> = asked
        .iter()
        .filter_map(|path| path.strip_prefix(table)?.first())
        .map(String::as_str)
        .collect();
    match Vec::from_iter(known).as_slice() {
        [] => "it has no settings".to_owned(),
        known => suggestion(key, known),
    }
}

/// # Safety
/// The settings are those that `lend` lends, within its call, and the path ends with NUL.
unsafe fn asked<'a>(settings: *const CSettings, path: *const c_char) -> (&'a Asked, String) {
    // SAFETY: as the caller has it.
    let asked = unsafe { &*(*settings).context.cast::<Asked>() };
    let path = if path.is_null() {
        String::new()
    } else {
        // SAFETY: as the caller has it.
        unsafe { CStr::from_ptr(path) }.to_string_lossy().into_owned()
    };
    (asked, path)
}

unsafe extern "C" fn text(
    settings: *const CSettings,
    path: *const c_char,
    otherwise: *const c_char,
) -> *const c_char {
    // SAFETY: the plugin passes what it was lent, and a path that ends with NUL.
    let (asked, path) = unsafe { asked(settings, path) };
    let text = |value: &Value| CString::new(value.as_str()?).ok();
    let Some(text) = asked.value(&path, "a text without NUL", text) else { return otherwise };
    let mut state = asked.state();
    state.texts.push(text);
    state.texts.last().map_or(otherwise, |text| text.as_ptr())
}

unsafe extern "C" fn integer(
    settings: *const CSettings,
    path: *const c_char,
    otherwise: i64,
) -> i64 {
    // SAFETY: as in `text`.
    let (asked, path) = unsafe { asked(settings, path) };
    asked.value(&path, "a whole number", Value::as_i64).unwrap_or(otherwise)
}

unsafe extern "C" fn number(
    settings: *const CSettings,
    path: *const c_char,
    otherwise: f64,
) -> f64 {
    // SAFETY: as in `text`.
    let (asked, path) = unsafe { asked(settings, path) };
    asked.value(&path, "a number", Value::as_f64).unwrap_or(otherwise)
}

unsafe extern "C" fn flag(settings: *const CSettings, path: *const c_char, otherwise: i32) -> i32 {
    // SAFETY: as in `text`.
    let (asked, path) = unsafe { asked(settings, path) };
    asked.value(&path, "true or false", Value::as_bool).map_or(otherwise, i32::from)
}

unsafe extern "C" fn json(settings: *const CSettings) -> *const c_char {
    // SAFETY: as in `text`.
    let asked = unsafe { &*(*settings).context.cast::<Asked>() };
    asked.state().whole = true;
    asked.json.as_ptr()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(json: &str, ask: impl FnOnce(*const CSettings)) -> Result<(), (String, String)> {
        let asked = Asked::new(json).unwrap();
        asked.lend(ask);
        asked.outcome(Ok(())).map_err(|failure| match failure {
            Failure::Settings { path, message } => (path, message),
            other => panic!("{other}"),
        })
    }

    fn wrong(path: &str, message: &str) -> Result<(), (String, String)> {
        Err((path.to_owned(), message.to_owned()))
    }

    #[test]
    fn what_is_there_is_given_and_what_is_not_is_otherwise() {
        let json = r#"{"root": "/p", "most": 5, "share": 0.5, "deep": {"on": true}}"#;
        // SAFETY: the settings live as long as the call, and each name and text ends with NUL.
        let result = outcome(json, |settings| unsafe {
            let root = text(settings, c"root".as_ptr(), c"/proc".as_ptr());
            assert_eq!(CStr::from_ptr(root), c"/p");
            let other = text(settings, c"other".as_ptr(), c"/proc".as_ptr());
            assert_eq!(CStr::from_ptr(other), c"/proc");
            assert_eq!(integer(settings, c"most".as_ptr(), 1), 5);
            assert_eq!(integer(settings, c"least".as_ptr(), 1), 1);
            assert_eq!(number(settings, c"share".as_ptr(), 1.0), 0.5);
            assert_eq!(flag(settings, c"deep.on".as_ptr(), 0), 1);
        });
        assert_eq!(result, Ok(()));
    }

    #[test]
    fn a_key_that_was_not_asked_for_is_unknown() {
        // SAFETY: the settings live as long as the call, and each name and text ends with NUL.
        let ask = |settings| unsafe {
            flag(settings, c"deep.on".as_ptr(), 0);
            text(settings, c"exclude".as_ptr(), c"".as_ptr());
        };
        let near = "unknown key `exlude`; did you mean `exclude`?";
        assert_eq!(outcome(r#"{"exlude": "a"}"#, ask), wrong("exlude", near));
        let deep = wrong("deep.off", "unknown key `off`; known are on");
        assert_eq!(outcome(r#"{"deep": {"off": true}}"#, ask), deep);
        let none = wrong("a", "unknown key `a`; it has no settings");
        assert_eq!(outcome(r#"{"a": 1}"#, |_| {}), none);
        // SAFETY: the settings live as long as the call, and each name and text ends with NUL.
        let whole = |settings| unsafe {
            assert_eq!(CStr::from_ptr(json(settings)), cr#"{"a": 1}"#);
        };
        assert_eq!(outcome(r#"{"a": 1}"#, whole), Ok(()));
    }

    #[test]
    fn a_key_of_one_table_is_none_of_another() {
        // SAFETY: the settings live as long as the call, and the name ends with NUL.
        let ask = |settings| unsafe {
            assert_eq!(flag(settings, c"deep.on".as_ptr(), 0), 0);
        };
        let error = wrong("on", "unknown key `on`; known are deep");
        assert_eq!(outcome(r#"{"on": true}"#, ask), error);
        let error = wrong("deep.on", "unknown key `deep.on`; did you mean `deep`?");
        assert_eq!(outcome(r#"{"deep.on": true}"#, ask), error);
        let error = wrong("deep", "expected a table, found 5");
        assert_eq!(outcome(r#"{"deep": 5}"#, ask), error);
        assert_eq!(outcome(r#"{"deep": {}}"#, ask), Ok(()));
    }

    #[test]
    fn a_value_of_another_type_names_its_path() {
        // SAFETY: the settings live as long as the call, and each name and text ends with NUL.
        let ask = |settings| unsafe {
            assert_eq!(integer(settings, c"most".as_ptr(), 7), 7);
        };
        let error = wrong("most", "expected a whole number, found \"5\"");
        assert_eq!(outcome(r#"{"most": "5"}"#, ask), error);
        let error = wrong("most", "expected a whole number, found 0.5");
        assert_eq!(outcome(r#"{"most": 0.5}"#, ask), error);
    }
}
