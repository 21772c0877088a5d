//! What settings come to: a plugin's, and those of the collector that it is checked as.

use super::*;

#[test]
fn keys_counters_and_settings_are_looked_at() {
    let directory = tempfile::tempdir().unwrap();
    let fault = directory.path().join("fault");
    let nonsense = |text: &str| {
        fs::write(&fault, text).unwrap();
        let settings = format!("fault_file = \"{}\"", fault.display());
        Found::of(&fixture("nonsense"), &["--settings", &settings])
    };
    nonsense("same_key_twice").fails("streams.key", "two records with the same keys");
    nonsense("backwards").fails("collect.counters", "`count` of the main stream fell");
    let good = nonsense("");
    assert_eq!(good.ids("fail"), [""; 0]);
    good.came_out("pass", "settings.type", "refused by name: `fault_file`");
    good.came_out("pass", "settings.unknown", "refused by its name");
    let without = Found::of(&fixture("nonsense"), &[]);
    without.fails("trial.create", "missing field `fault_file`");
    without.came_out("pass", "settings.default", "it needs some, and says so");
}

#[test]
fn settings_that_are_refused_tell_nothing_of_others() {
    let found = Found::of(&plugin("process"), &["--settings", "by = \"cup\""]);
    assert_eq!(found.code, Some(78));
    assert_eq!(found.ids("fail"), ["trial.create"]);
    found.came_out("pass", "settings.default", "it runs without");
    for id in ["settings.unknown", "settings.type"] {
        found.came_out("skip", id, "since it refused the settings that it was given");
    }
}

#[test]
fn nested_settings_of_a_plugin_in_c_are_tried() {
    let found = Found::of(&compile("tests/fixtures/faulty.c", "checked_faulty", &[]), &[]);
    found.came_out("pass", "settings.type", "refused by name: `deep`, `fault`");
}

#[test]
fn settings_and_the_collector_come_from_a_configuration_too() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("dropsonde.toml");
    let text = "[collectors.one]\nplugin = \"faulty\"\n\
                [collectors.two]\nplugin = \"faulty\"\n[collectors.two.settings]\nfault = \"error\"\n";
    fs::write(&path, text).unwrap();
    let with = |name: &str| {
        let arguments = ["--config", path.to_str().unwrap(), "--collector", name];
        check(&[&fixture("faulty")], &arguments)
    };
    assert_eq!(with("one").status.code(), Some(0));
    assert_eq!(with("two").status.code(), Some(1));
    let unknown = with("too");
    assert_eq!(unknown.status.code(), Some(78));
    let text = String::from_utf8_lossy(&unknown.stderr).into_owned();
    assert!(text.contains("there is no collector `too`; did you mean `two`?"), "{text}");
}

#[test]
fn a_configuration_does_not_let_it_out_of_the_sandbox() {
    let directory = tempfile::tempdir().unwrap();
    let there = directory.path().join("there");
    fs::write(&there, "").unwrap();
    let path = directory.path().join("dropsonde.toml");
    let text = format!(
        "[collectors.faulty]\nsandbox = false\n\
         [collectors.faulty.settings]\nfault = \"write_file\"\nwhile_file = \"{}\"\n",
        there.display()
    );
    fs::write(&path, text).unwrap();
    let arguments = ["--rounds", "5", "--reloads", "3", "--config", path.to_str().unwrap()];
    Found::by(
        command(&[&fixture("faulty")], &arguments).env("DROPSONDE__DEFAULTS__SANDBOX", "false"),
    )
    .came_out("warn", "sandbox.denied", "no capability allows it");
    assert!(!there.with_extension("written").exists(), "it was sandboxed all the time");
}
