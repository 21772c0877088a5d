//! The bundled plugins see what psutil sees, field by field.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use dropsonde_tests::{binary, plugin, target_dir, workspace};
use serde_json::{Map, Value};
use tempfile::TempDir;

/// Where psutil lies; it is fetched if it is not there yet.
fn psutil() -> Result<PathBuf, String> {
    let site = target_dir().join("psutil");
    let import = python(&site).args(["-c", "import psutil"]).output();
    if import.map_err(|error| format!("python3: {error}"))?.status.success() {
        return Ok(site);
    }
    let install = python(&site)
        .args(["-m", "pip", "install", "--quiet", "--no-input", "--disable-pip-version-check"])
        .args(["--timeout", "10", "--retries", "1", "--upgrade", "--target"])
        .arg(&site)
        .arg("psutil")
        .output()
        .map_err(|error| error.to_string())?;
    if install.status.success() { Ok(site) } else { Err(last_line(&install)) }
}

fn python(site: &Path) -> Command {
    let mut python = Command::new("python3");
    python.env("PYTHONPATH", site);
    python
}

fn last_line(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stderr);
    text.lines().last().unwrap_or_default().to_owned()
}

#[track_caller]
fn json_of(command: &mut Command) -> Value {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Fields, each with value and tolerance, by their place in the snapshot.
fn seen_by_psutil(site: &Path) -> Map<String, Value> {
    let script = workspace().join("tests/e2e/seen_by_psutil.py");
    match json_of(python(site).arg(script)) {
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

#[test]
fn each_field_lies_between_what_psutil_sees_before_and_after() {
    let site = match psutil() {
        Ok(site) => site,
        Err(why) => {
            // Past the capture of the test's output: a person shall see it.
            let _ = writeln!(std::io::stderr(), "SKIPPED: no psutil to compare with: {why}");
            return;
        }
    };
    let directory = TempDir::new().unwrap();
    let root = directory.path();
    fs::write(root.join("dropsonde.toml"), "").unwrap();
    for name in ["cpu", "memory", "network", "disk"] {
        fs::copy(plugin(name), root.join(format!("{name}.so"))).unwrap();
    }
    // Another process may take and give back more memory in between than is tolerated; a field
    // that means something else differs each time.
    let mut wrong = Vec::new();
    for _ in 0..20 {
        let before = seen_by_psutil(&site);
        let ours = seen_by_dropsonde(root);
        let after = seen_by_psutil(&site);
        assert!(before.len() > 50, "{before:?}");
        wrong = differences(&before, &ours, &after);
        if wrong.is_empty() {
            return;
        }
    }
    panic!("{}", wrong.join("\n"));
}
