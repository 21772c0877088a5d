//! Editing the TOML: only what changed is touched, and a bad edit changes nothing.

use std::fs;
use std::process::Command;

use dropsonde_tests::{Agent, Options, binary, fixture, wait_for};
use serde_json::Value;

fn validate(text: &str, plugins: &[&str]) -> (Option<i32>, String) {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("d.toml");
    fs::write(&file, text).unwrap();
    for name in plugins {
        fs::copy(fixture(name), directory.path().join(format!("{name}.so"))).unwrap();
    }
    let output = Command::new(binary())
        .arg("validate")
        .arg(&file)
        .arg("--plugins")
        .arg(directory.path())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stderr).into_owned()
        + &String::from_utf8_lossy(&output.stdout);
    (output.status.code(), text.replace(directory.path().to_str().unwrap(), ""))
}

#[test]
fn an_edit_touches_only_what_it_changes() {
    let agent = Agent::with_plugins("", &[&fixture("steady_v1"), &fixture("faulty")]);
    let (steady, faulty) = (agent.running("steady"), agent.running("faulty"));
    let before = agent.children();
    agent.configure("[collectors.steady.settings]\nlabel = \"new\"\n");
    wait_for("the new label", || (agent.snapshot()["steady"]["label"] == "new").then_some(()));
    let after = agent.children();
    assert_eq!(before.iter().filter(|pid| after.contains(pid)).count(), 1, "one runner is new");
    assert_eq!(agent.collector("faulty").unwrap()["restarts"], faulty["restarts"]);
    assert_eq!(agent.collector("steady").unwrap()["restarts"], steady["restarts"]);
    agent.logged("the configuration was applied");
}

#[test]
fn a_new_interval_needs_no_new_runner() {
    let agent = Agent::with_plugins("", &[&fixture("steady_v1")]);
    agent.running("steady");
    let runners = agent.children();
    agent.configure("[collectors.steady]\ninterval = \"20ms\"\n");
    agent.until("steady", "faster", |now| now["interval_seconds"] == 0.02);
    let batches = agent.collector("steady").unwrap()["batches"].as_u64().unwrap();
    agent.until("steady", "fast", |now| now["batches"].as_u64() > Some(batches + 20));
    assert_eq!(agent.children(), runners);
}

#[test]
fn a_bad_edit_changes_nothing_and_says_where_it_is_wrong() {
    let agent = Agent::with_plugins(
        "[collectors.steady.settings]\nlabel = \"good\"\n",
        &[&fixture("steady_v1")],
    );
    agent.running("steady");
    let runners = agent.children();
    agent.configure("[collectors.steady]\nintervall = \"20ms\"\n");
    let line = agent.logged("the configuration was rejected, nothing changes");
    assert!(line.contains("dropsonde.toml:2:1: collectors.steady: unknown key `intervall`"));
    assert!(line.contains("did you mean `interval`?"), "{line}");
    let status = agent.json("/api/v1/status");
    assert_eq!(status["config"]["rejected"], 1);
    assert!(status["config"]["last_rejection"].as_str().unwrap().contains(":2:1:"));
    assert_eq!(agent.children(), runners);
    assert_eq!(agent.snapshot()["steady"]["label"], "good");
    // And a good edit afterwards.
    agent.configure("[collectors.steady.settings]\nlabel = \"better\"\n");
    wait_for("the new label", || (agent.snapshot()["steady"]["label"] == "better").then_some(()));
    assert_eq!(agent.json("/api/v1/status")["config"]["last_rejection"], Value::Null);
}

#[test]
fn bad_settings_leave_the_old_instance_running_and_point_at_the_line() {
    for isolation in ["process", "thread"] {
        let config = |settings: &str| {
            format!(
                "[collectors.steady]\nisolation = \"{isolation}\"\n[collectors.steady.settings]\n{settings}\n"
            )
        };
        let agent = Agent::with_plugins(&config("label = \"good\""), &[&fixture("steady_v1")]);
        agent.running("steady");
        agent.configure(&config("label = \"x\"\nlabal = \"y\""));
        let now = agent.until("steady", "refused", |now| now["last_error"].is_string());
        let error = now["last_error"].as_str().unwrap();
        assert!(
            error.contains("dropsonde.toml:5:1: collectors.steady.settings.labal: unknown key `labal`; did you mean `label`?"),
            "{error}"
        );
        assert_eq!(agent.snapshot()["steady"]["label"], "good");
        assert_eq!(now["phase"], "running");
    }
}

#[test]
fn a_collector_can_be_disabled_enabled_and_multiplied() {
    let agent = Agent::with_plugins("", &[&fixture("steady_v1")]);
    agent.running("steady");
    agent.configure("[collectors.steady]\nenabled = false\n");
    let disabled = agent.until("steady", "disabled", |collector| collector["disabled"] == true);
    assert_eq!(
        (&disabled["phase"], &disabled["reason"]),
        (&"stopped".into(), &"it is disabled".into())
    );
    agent.configure(
        "[collectors.one]\nplugin = \"steady\"\n[collectors.one.settings]\nlabel = \"1\"\n\
         [collectors.two]\nplugin = \"steady\"\n[collectors.two.settings]\nlabel = \"2\"\n",
    );
    agent.running("one");
    agent.running("two");
    let snapshot = agent.snapshot();
    assert_eq!((&snapshot["one"]["label"], &snapshot["two"]["label"]), (&"1".into(), &"2".into()));
    assert!(agent.collector("steady").is_none());
}

#[test]
fn a_collector_whose_plugin_is_not_there_says_so_and_starts_when_it_comes() {
    let agent = Agent::start("[collectors.steady]\nrequired = true\n");
    let absent = agent.until("steady", "listed", |_| true);
    assert!(absent["last_error"].as_str().unwrap().contains("there is no plugin `steady` in "));
    let (code, text) = agent.page("/readyz");
    assert_eq!(code, 503);
    assert!(text.contains("there is no plugin"), "{text}");
    agent.put("steady.so", &fs::read(fixture("steady_v1")).unwrap());
    agent.running("steady");
    let (code, text) = agent.page("/readyz");
    assert_eq!(code, 200);
    let listed = r#"{"collector":"steady","ready":true,"status":"StatusOK","phase":"running","reason":null}"#;
    assert!(text.contains(listed), "{text}");
}

#[test]
fn the_environment_and_conf_d_are_layers() {
    let agent = Agent::with(Options {
        config: "[collectors.steady.settings]\nlabel = \"file\"\n".into(),
        plugins: vec![(fixture("steady_v1"), "steady.so".into())],
        environment: vec![("DROPSONDE__COLLECTORS__STEADY__SETTINGS__LABEL".into(), "env".into())],
        ..Options::default()
    });
    agent.running("steady");
    assert_eq!(agent.snapshot()["steady"]["label"], "env");
}

#[test]
fn a_file_in_conf_d_is_applied_when_it_appears() {
    let agent = Agent::with_plugins("", &[&fixture("steady_v1")]);
    agent.running("steady");
    let parts = agent.root().join("conf.d");
    fs::create_dir(&parts).unwrap();
    fs::write(parts.join("10-steady.toml"), "[collectors.steady]\ninterval = \"30ms\"\n").unwrap();
    // The directory is new: a person says reload.
    agent.signal("HUP");
    agent.until("steady", "faster", |now| now["interval_seconds"] == 0.03);
    fs::write(parts.join("10-steady.toml"), "[collectors.steady]\ninterval = \"40ms\"\n").unwrap();
    agent.until("steady", "changed by the watch", |now| now["interval_seconds"] == 0.04);
}

#[test]
fn validate_checks_settings_against_the_plugin() {
    let (code, text) = validate(
        "[collectors.steady]\ninterval = \"1s\"\n[collectors.steady.settings]\nlabel = 5\n",
        &["steady_v1"],
    );
    assert_eq!(code, Some(78), "{text}");
    assert!(
        text.contains("/d.toml:4:1: collectors.steady.settings.label: invalid type: integer `5`"),
        "{text}"
    );
    let (code, text) = validate("[collectors.stedy]\n", &["steady_v1"]);
    assert_eq!(code, Some(78));
    assert!(text.contains("there is no plugin `stedy`") && text.contains("did you mean `steady`?"));
    let (code, text) = validate("[collectors.steady.settings]\nlabel = \"x\"\n", &["steady_v1"]);
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("good: 1 collectors configured"), "{text}");
}

#[test]
fn a_wrong_configuration_ends_the_start_with_78() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("d.toml");
    fs::write(&file, "[host\n").unwrap();
    let output = Command::new(binary()).args(["run", "--config"]).arg(&file).output().unwrap();
    assert_eq!(output.status.code(), Some(78));
    assert!(String::from_utf8_lossy(&output.stderr).contains("d.toml:1:6:"), "{output:?}");
    let output =
        Command::new(binary()).args(["run", "--plugins", "/nonexistent"]).output().unwrap();
    assert_eq!(output.status.code(), Some(78));
}
