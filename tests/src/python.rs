//! Python with packages of other people's: independent clients and receivers to test against.

use std::path::PathBuf;
use std::process::{Command, Output};

use crate::target_dir;

/// A Python that finds some packages.
pub struct Python {
    site: PathBuf,
}

impl Python {
    /// With these packages, by the names that pip knows and that they are imported by; fetched
    /// into the build directory `name` if they are not there yet. An error says why not.
    pub fn with(name: &str, packages: &[&str], modules: &str) -> Result<Self, String> {
        let python = Self { site: target_dir().join(name) };
        let import = python.command().args(["-c", &format!("import {modules}")]).output();
        if import.map_err(|error| format!("python3: {error}"))?.status.success() {
            return Ok(python);
        }
        let install = python
            .command()
            .args(["-m", "pip", "install", "--quiet", "--no-input", "--disable-pip-version-check"])
            .args(["--timeout", "10", "--retries", "1", "--upgrade", "--target"])
            .arg(&python.site)
            .args(packages)
            .output()
            .map_err(|error| error.to_string())?;
        if install.status.success() { Ok(python) } else { Err(last_line(&install)) }
    }

    pub fn command(&self) -> Command {
        let mut python = Command::new("python3");
        python.env("PYTHONPATH", &self.site);
        python
    }
}

fn last_line(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stderr);
    text.lines().last().unwrap_or_default().to_owned()
}
