use serde::Deserialize;

use super::*;

/// As an author writes it who forgot deny_unknown_fields.
#[derive(Debug, Deserialize)]
struct Lenient {
    label: String,
    #[serde(default)]
    limits: Option<Limits>,
    #[serde(default)]
    rules: Vec<Limits>,
}

#[derive(Debug, Deserialize)]
struct Limits {
    most: u64,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Strict {
    label: String,
}

#[track_caller]
fn refused<S: DeserializeOwned + std::fmt::Debug>(json: &str) -> (String, String) {
    let error = parse_settings::<S>(json).unwrap_err();
    (error.path().to_owned(), error.message().to_owned())
}

fn is(path: &str, message: &str) -> (String, String) {
    (path.to_owned(), message.to_owned())
}

#[test]
fn settings_that_fit_are_read() {
    let json = r#"{"label": "x", "limits": {"most": 3}, "rules": [{"most": 4}]}"#;
    let settings: Lenient = parse_settings(json).unwrap();
    let limits = settings.limits.map(|limits| limits.most);
    assert_eq!((settings.label.as_str(), limits, settings.rules[0].most), ("x", Some(3), 4));
    assert_eq!(parse_settings::<Strict>(r#"{"label": "x"}"#).unwrap().label, "x");
}

#[test]
fn an_unknown_key_is_refused_by_its_path_even_if_the_author_did_not_ask_for_it() {
    let cases = [
        (r#"{"label": "x", "lable": 1}"#, "lable", "lable"),
        (r#"{"label": "x", "limits": {"most": 1, "mots": 2}}"#, "limits.mots", "mots"),
        (
            r#"{"label": "x", "rules": [{"most": 1}, {"most": 1, "a.b": {}}]}"#,
            "rules[1].a.b",
            "a.b",
        ),
    ];
    for (json, path, key) in cases {
        assert_eq!(refused::<Lenient>(json), is(path, &format!("unknown key `{key}`")));
    }
}

#[test]
fn the_first_of_several_unknown_keys_is_named() {
    let json = r#"{"one": 1, "label": "x", "two": 2}"#;
    assert_eq!(refused::<Lenient>(json), is("one", "unknown key `one`"));
}

#[test]
fn an_unknown_key_of_strict_settings_comes_with_those_that_are_known() {
    let error = refused::<Strict>(r#"{"label": "x", "lable": 1}"#);
    assert_eq!(error, is("lable", "unknown field `lable`, expected `label`"));
    let error = refused::<crate::NoSettings>(r#"{"lable": 1}"#);
    assert_eq!(error, is("lable", "unknown field `lable`, there are no fields"));
}

#[test]
fn a_wrong_type_is_refused_by_its_path() {
    let cases = [
        (r#"{"label": 5}"#, "label", "invalid type: integer `5`, expected a string"),
        (
            r#"{"label": "x", "limits": {"most": "ten"}}"#,
            "limits.most",
            "invalid type: string \"ten\", expected u64",
        ),
        (
            r#"{"label": "x", "rules": [{"most": 1}, {"most": -1}]}"#,
            "rules[1].most",
            "invalid value: integer `-1`, expected u64",
        ),
    ];
    for (json, path, message) in cases {
        assert_eq!(refused::<Lenient>(json), is(path, message));
    }
}

#[test]
fn a_missing_key_is_named() {
    assert_eq!(refused::<Lenient>("{}"), is("", "missing field `label`"));
    let error = refused::<Lenient>(r#"{"label": "x", "limits": {}}"#);
    assert_eq!(error, is("limits", "missing field `most`"));
}
