//! What a runner process may reach, in three layers: its descriptors, files (Landlock) and system
//! calls (seccomp, and with `inspect` files too). Applied while the process has one thread and before the plugin is loaded, so
//! that whatever it starts inherits all of it. It can't be taken off again.

mod calls;
mod descriptors;
mod files;
mod without_landlock;

use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use dropsonde_plugin_api::abi::Capability;
use serde::{Deserialize, Serialize};

use super::protocol::Begin;
pub(crate) use descriptors::close_inherited;

/// What holds a runner process back.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sandbox {
    /// What is in force.
    pub in_force: Vec<String>,
    /// What is not, and why: the kernel lacks it, or the configuration switches it off.
    pub missing: Vec<String>,
}

/// Applies all that this kernel has to the calling thread, which must be the only one. `closed`
/// is what [`close_inherited`] gave.
pub(crate) fn apply(begin: &Begin, closed: io::Result<()>) -> Sandbox {
    let mut sandbox = Sandbox::default();
    sandbox.note("no inherited descriptors", closed.map_err(|error| error.to_string()));
    if !begin.sandbox {
        sandbox.missing.push("files and system calls: switched off by the configuration".into());
        return sandbox;
    }
    let granted = &begin.capabilities;
    let filtered = calls::confine(granted);
    if granted.contains(&Capability::Inspect) && filtered.is_ok() {
        files::leave_out(granted, &mut sandbox);
    } else {
        // Also where `inspect` was granted and there is no filter to stand in.
        // A check of settings creates nothing.
        let state_dir = (!begin.check_only && !begin.state_dir.is_empty())
            .then_some(Path::new(&begin.state_dir))
            .filter(|path| make(path));
        files::confine(state_dir, granted, &mut sandbox);
    }
    sandbox.note("system calls are filtered", filtered);
    sandbox
}

/// Makes a state directory. Landlock takes no rule for a path that is not there, and whether a
/// plugin will ask for its directory can't be known, so each has one while it runs: the slot
/// removes it at its end if it is still empty. If it can't be made, nothing may be written; a
/// plugin that asks for it gets the error.
fn make(state_dir: &Path) -> bool {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(state_dir);
    made.is_ok() || state_dir.is_dir()
}

/// Removes a state directory that nothing was put into. Blocks no longer than rmdir(2).
pub(crate) fn remove_if_empty(state_dir: &Path) {
    let _ = std::fs::remove_dir(state_dir); // not there, or not empty
}

impl Sandbox {
    fn note(&mut self, what: &str, done: Result<(), String>) {
        match done {
            Ok(()) => self.in_force.push(what.to_owned()),
            Err(why) => self.missing.push(format!("{what}: {why}")),
        }
    }

    /// Says in the log what is missing, each thing once in a process's life.
    pub(crate) fn report_missing(&self) {
        static SAID: Mutex<Vec<String>> = Mutex::new(Vec::new());
        let mut said = SAID.lock().unwrap_or_else(PoisonError::into_inner);
        let new = self.missing.iter().filter(|missing| !said.contains(missing));
        let new: Vec<String> = new.cloned().collect();
        if !new.is_empty() {
            tracing::warn!("the sandbox of plugins is incomplete: {}", new.join("; "));
            said.extend(new);
        }
    }
}
