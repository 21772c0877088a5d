//! The bundled plugins see what psutil sees, field by field.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use dropsonde_tests::{Python, binary, plugin, skipped, wait_for, workspace};
use serde_json::{Map, Value};
use tempfile::TempDir;

fn psutil() -> Result<Python, String> {
    Python::with("psutil", &["psutil"], "psutil")
}

#[track_caller]
fn json_of(command: &mut Command) -> Value {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Fields, each with value and tolerance, by their place in the snapshot.
fn seen_by_psutil(python: &Python, script: &str, arguments: &[String]) -> Map<String, Value> {
    let script = workspace().join("tests/e2e").join(script);
    match json_of(python.command().arg(script).args(arguments)) {
        Value::Object(fields) => fields,
        other => panic!("not an object: {other}"),
    }
}

fn seen_by_dropsonde(root: &Path) -> Value {
    let mut dropsonde = Command::new(binary());
    dropsonde
        .args(["run", "--once", "--wait", "0s", "--config"])
        .arg(root.join("dropsonde.toml"))
        .arg("--plugins")
        .arg(root)
        .env("DROPSONDE__HOST__RUNTIME_DIR", root)
        .env("DROPSONDE__HOST__STATE_DIR", root.join("state"));
    json_of(&mut dropsonde)
}

/// What does not lie between the values that psutil saw before and after.
fn differences(
    before: &Map<String, Value>,
    ours: &Value,
    after: &Map<String, Value>,
) -> Vec<String> {
    let differs = |(field, seen): (&String, &Value)| {
        let (before, after) = (&seen[0], &after.get(field)?[0]); // it may have gone
        let value = ours.pointer(field).unwrap_or(&Value::Null);
        let fits = match (before.as_f64(), value.as_f64(), after.as_f64()) {
            (Some(before), Some(value), Some(after)) => {
                let tolerance = seen[1].as_f64().unwrap_or_default();
                before.min(after) - tolerance <= value && value <= before.max(after) + tolerance
            }
            _ => value == before || value == after,
        };
        (!fits).then(|| format!("{field}: {value}, psutil saw {before} before, {after} after"))
    };
    before.iter().filter_map(differs).collect()
}

/// Puts plugins and a configuration into a directory and compares. Another process may take and
/// give back more in between than is tolerated; a field that means something else differs each
/// time.
fn compare(plugins: &[&str], config: &str, script: &str, arguments: &[String]) {
    let python = match psutil() {
        Ok(python) => python,
        Err(why) => {
            // Past the capture of the test's output: a person shall see it.
            skipped(format!("no psutil to compare with: {why}"));
            return;
        }
    };
    let directory = TempDir::new().unwrap();
    let root = directory.path();
    fs::write(root.join("dropsonde.toml"), config).unwrap();
    for name in plugins {
        fs::copy(plugin(name), root.join(format!("{name}.so"))).unwrap();
    }
    let mut wrong = Vec::new();
    for _ in 0..20 {
        let before = seen_by_psutil(&python, script, arguments);
        let ours = seen_by_dropsonde(root);
        let after = seen_by_psutil(&python, script, arguments);
        assert!(before.len() > 50, "{before:?}");
        wrong = differences(&before, &ours, &after);
        if wrong.is_empty() {
            return;
        }
    }
    panic!("{}", wrong.join("\n"));
}

#[test]
fn each_field_lies_between_what_psutil_sees_before_and_after() {
    compare(&["cpu", "memory", "network", "disk"], "", "seen_by_psutil.py", &[]);
}

/// A child that is ended with the test.
struct Quiet(Child);

impl Quiet {
    fn start(program: &str, arguments: &[&str]) -> Self {
        Self(Command::new(program).args(arguments).stdin(Stdio::null()).spawn().unwrap())
    }

    /// Waits until the kernel says that it is in this state.
    fn is(self, state: char) -> Self {
        let path = format!("/proc/{}/stat", self.0.id());
        wait_for("a child's state", || {
            fs::read_to_string(&path).unwrap().contains(&format!(") {state} ")).then_some(())
        });
        self
    }
}

impl Drop for Quiet {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn each_process_is_as_psutil_sees_it() {
    let stopped = Quiet::start("sleep", &["1000"]);
    let stop = Command::new("kill").args(["-s", "STOP", &stopped.0.id().to_string()]).status();
    assert!(stop.unwrap().success());
    let children = [
        Quiet::start("sleep", &["1000"]).is('S'),
        Quiet::start("true", &[]).is('Z'),
        stopped.is('T'),
    ];
    let config = "[collectors.process]\nallow = [\"inspect\"]\n\
                  [collectors.process.settings]\nall = true\nstatm = true\n";
    let quiet = children.each_ref().map(|child| child.0.id().to_string());
    compare(&["process"], config, "processes_by_psutil.py", &quiet);
}
