//! Limits of a runner by cgroup, version 1 or 2, where the host may make cgroups below its own.
//!
//! Sources: Documentation/admin-guide/cgroup-v1/{memory,pids}.rst and cgroup-v2.rst,
//! Documentation/scheduler/sched-bwc.rst.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use super::limits::show_bytes;
use crate::config::Limits;

const PREFIX: &str = "dropsonde-";
const CONTROLLERS: [&str; 3] = ["memory", "pids", "cpu"];
/// The period over which CPU time is shared out, microseconds: the kernel's default.
const CPU_PERIOD: u64 = 100_000;

/// Where this host makes cgroups. Removed when dropped.
#[derive(Debug, Default)]
pub(crate) struct Cgroups {
    version: Version,
    /// The host's directory, by controller. In version 2 all are the same.
    roots: BTreeMap<&'static str, PathBuf>,
    serial: AtomicU64,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Version {
    #[default]
    One,
    Two,
}

/// The cgroup of one runner. Everything in it is killed when it is dropped.
#[derive(Debug)]
pub(super) struct Cgroup {
    version: Version,
    directories: BTreeMap<&'static str, PathBuf>,
    limits: Limits,
}

impl Cgroups {
    /// Finds out what this host may use, and makes a directory of its own there.
    pub(crate) fn discover() -> Self {
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
        let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        let name = format!("{PREFIX}{}", std::process::id());
        let mut roots = BTreeMap::new();
        for controller in CONTROLLERS {
            let Some(parent) = find_v1(&mounts, &own, controller) else { continue };
            remove_leftovers(&parent);
            let root = parent.join(&name);
            if fs::create_dir(&root).is_ok() {
                roots.insert(controller, root);
            }
        }
        let version = if roots.is_empty() { Version::Two } else { Version::One };
        if let Some(root) = find_v2(&mounts, &own).filter(|_| version == Version::Two) {
            remove_leftovers(&root);
            for controller in delegated(&root) {
                roots.insert(controller, root.clone());
            }
        }
        Self { version, roots, serial: AtomicU64::new(0) }
    }

    /// The controllers that can't be used here.
    pub(crate) fn lacking(&self) -> Vec<&'static str> {
        CONTROLLERS.into_iter().filter(|name| !self.roots.contains_key(name)).collect()
    }

    /// Makes the cgroup of one runner; `None` where none may be made. Blocks on the kernel.
    pub(super) fn make(&self, collector: &str, limits: Limits) -> Option<Cgroup> {
        let serial = self.serial.fetch_add(1, Ordering::Relaxed);
        let own = match self.version {
            Version::One => String::new(),
            Version::Two => format!("{PREFIX}{}-", std::process::id()),
        };
        let mut directories = BTreeMap::new();
        for (controller, root) in &self.roots {
            let directory = root.join(format!("{own}{serial}-{collector}"));
            match fs::create_dir(&directory) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => continue,
                _ => directories.insert(*controller, directory),
            };
        }
        let cgroup = Cgroup { version: self.version, directories, limits };
        (!cgroup.directories.is_empty()).then(|| {
            cgroup.set();
            cgroup
        })
    }
}

impl Drop for Cgroups {
    fn drop(&mut self) {
        if self.version == Version::One {
            // A runner on trial, or one that is retiring, may still be there.
            let runners: Vec<PathBuf> =
                self.roots.values().flat_map(|root| subdirectories(root)).collect();
            kill(&runners);
            self.roots.values().for_each(|root| remove(root));
        }
    }
}

impl Cgroup {
    fn set(&self) {
        let Limits { memory, processes, cpu_percent, .. } = self.limits;
        let quota = cpu_percent * CPU_PERIOD / 100;
        let values = match self.version {
            Version::One => [
                ("memory", "memory.limit_in_bytes", memory.to_string()),
                ("pids", "pids.max", processes.to_string()),
                ("cpu", "cpu.cfs_quota_us", quota.to_string()),
            ],
            Version::Two => [
                ("memory", "memory.max", memory.to_string()),
                ("pids", "pids.max", processes.to_string()),
                ("cpu", "cpu.max", format!("{quota} {CPU_PERIOD}")),
            ],
        };
        for (controller, file, value) in values {
            if let Some(directory) = self.directories.get(controller)
                && let Err(error) = fs::write(directory.join(file), value)
            {
                tracing::debug!(controller, "the cgroup's limit was refused: {error}");
            }
        }
    }

    /// Puts a process into it.
    pub(super) fn enter(&self, pid: u32) {
        for directory in self.unique() {
            if let Err(error) = fs::write(directory.join("cgroup.procs"), pid.to_string()) {
                tracing::debug!(pid, "can't enter {}: {error}", directory.display());
            }
        }
    }

    /// Which limit was hit, if one was.
    pub(super) fn exceeded(&self) -> Option<String> {
        let memory = match self.version {
            Version::One => self.count("memory", "memory.oom_control", "oom_kill"),
            Version::Two => self.count("memory", "memory.events", "oom_kill"),
        };
        if memory > 0 {
            return Some(format!("memory limit {}", show_bytes(self.limits.memory)));
        }
        let refused = self.count("pids", "pids.events", "max");
        (refused > 0).then(|| format!("processes limit {}", self.limits.processes))
    }

    fn count(&self, controller: &str, file: &str, key: &str) -> u64 {
        let Some(directory) = self.directories.get(controller) else { return 0 };
        let text = fs::read_to_string(directory.join(file)).unwrap_or_default();
        let value = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' '));
        value.and_then(|value| value.trim().parse().ok()).unwrap_or(0)
    }

    fn unique(&self) -> impl Iterator<Item = &PathBuf> {
        let all = self.directories.values();
        all.take(if self.version == Version::Two { 1 } else { usize::MAX })
    }

    /// Ends everything in it: what a plugin started, wherever it has hidden.
    fn kill(&self) {
        if self.version == Version::Two
            && let Some(directory) = self.unique().next()
            && fs::write(directory.join("cgroup.kill"), "1").is_ok()
        {
            return;
        }
        kill(&self.unique().cloned().collect::<Vec<_>>());
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        self.kill();
        self.unique().for_each(|directory| remove(directory));
    }
}

/// Ends everything in these directories. A process that forks faster than it is found is stopped
/// by the limit on processes.
fn kill(directories: &[PathBuf]) {
    for _ in 0..8 {
        let found: Vec<Pid> = directories.iter().flat_map(|directory| members(directory)).collect();
        if found.is_empty() {
            return;
        }
        for pid in found {
            let _ = kill_process(pid, Signal::KILL);
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn members(directory: &Path) -> Vec<Pid> {
    let text = fs::read_to_string(directory.join("cgroup.procs")).unwrap_or_default();
    text.lines().filter_map(|line| Pid::from_raw(line.parse().ok()?)).collect()
}

/// Removes a cgroup and those below it. One whose processes are still ending is left to the
/// next host of this user, which looks for leftovers.
fn remove(directory: &Path) {
    subdirectories(directory).iter().for_each(|below| remove(below));
    for _ in 0..20 {
        match fs::remove_dir(directory) {
            Err(error) if error.kind() == io::ErrorKind::ResourceBusy => {
                std::thread::sleep(Duration::from_millis(1));
            }
            _ => return,
        }
    }
}

fn subdirectories(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .map(|entry| entry.path())
        .collect()
}

fn remove_leftovers(parent: &Path) {
    for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let pid = name
            .to_str()
            .and_then(|name| name.strip_prefix(PREFIX)?.split('-').next()?.parse::<u32>().ok());
        if pid.is_some_and(|pid| !Path::new("/proc").join(pid.to_string()).exists()) {
            remove(&entry.path());
        }
    }
}

/// The directory of this process in a controller of version 1.
fn find_v1(mounts: &str, own: &str, controller: &str) -> Option<PathBuf> {
    let has = |list: &str| list.split(',').any(|name| name == controller);
    let mount = mounts.lines().find_map(|line| {
        let fields: Vec<&str> = line.split(' ').collect();
        let [_, at, "cgroup", options, ..] = fields[..] else { return None };
        has(options).then_some(at)
    })?;
    let path = own.lines().find_map(|line| {
        let (_, rest) = line.split_once(':')?;
        let (controllers, path) = rest.split_once(':')?;
        has(controllers).then_some(path)
    })?;
    let directory = Path::new(mount).join(path.trim_start_matches('/'));
    directory.is_dir().then_some(directory)
}

/// The directory of this process in version 2, unless that is the root of all.
fn find_v2(mounts: &str, own: &str) -> Option<PathBuf> {
    let mount = mounts.lines().find_map(|line| {
        let fields: Vec<&str> = line.split(' ').collect();
        let [_, at, "cgroup2", ..] = fields[..] else { return None };
        Some(at)
    })?;
    let path = own.lines().find_map(|line| line.strip_prefix("0::"))?;
    (path != "/").then(|| Path::new(mount).join(path.trim_start_matches('/')))
}

/// Takes the controllers of a subtree that was delegated (systemd: `Delegate=yes`). A cgroup
/// with processes of its own can't hand controllers down, so the host moves to a leaf first; a
/// cgroup that others share refuses, and all stays as it was.
fn delegated(root: &Path) -> Vec<&'static str> {
    let available = fs::read_to_string(root.join("cgroup.controllers")).unwrap_or_default();
    let wanted: Vec<&'static str> = CONTROLLERS
        .into_iter()
        .filter(|name| available.split_whitespace().any(|controller| controller == *name))
        .collect();
    let leaf = root.join(format!("{PREFIX}{}-host", std::process::id()));
    if wanted.is_empty() || fs::create_dir(&leaf).is_err() {
        return Vec::new();
    }
    let me = std::process::id().to_string();
    let list: Vec<String> = wanted.iter().map(|name| format!("+{name}")).collect();
    let taken = fs::write(leaf.join("cgroup.procs"), &me)
        .and_then(|()| fs::write(root.join("cgroup.subtree_control"), list.join(" ")));
    match taken {
        Ok(()) => wanted,
        Err(error) => {
            tracing::debug!("the cgroup {} is not ours to divide: {error}", root.display());
            let _ = fs::write(root.join("cgroup.procs"), &me);
            let _ = fs::remove_dir(&leaf);
            Vec::new()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_own_directory_is_found_by_mount_and_path() {
        let directory = tempfile::tempdir().unwrap();
        let at = directory.path().display();
        fs::create_dir_all(directory.path().join("a/b")).unwrap();
        let mounts = format!(
            "proc /proc proc rw 0 0\ncgroup {at} cgroup rw,relatime,cpu,cpuacct 0 0\ncgroup2 {at} cgroup2 rw 0 0\n"
        );
        let own = "5:cpu,cpuacct:/a/b\n0::/a\n";
        assert_eq!(find_v1(&mounts, own, "cpu"), Some(directory.path().join("a/b")));
        assert_eq!(find_v1(&mounts, own, "memory"), None);
        assert_eq!(find_v2(&mounts, own), Some(directory.path().join("a")));
        assert_eq!(find_v2(&mounts, "0::/\n"), None, "the root is nobody's to divide");
    }
}
