//! A machine whose first process is systemd, in namespaces of its own.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use dropsonde_tests::{skipped, wait_for, workspace};
use tempfile::TempDir;

/// Killed when dropped, with everything in it.
pub(crate) struct Machine {
    /// unshare(1), which waits for the first process.
    outside: Child,
    /// That process, as seen from here.
    first: u32,
    directory: TempDir,
}

impl Machine {
    /// Boots it. `None`, with the reason on standard error, where that can't be done.
    pub(crate) fn boot() -> Option<Self> {
        let lacks = lacking();
        if !lacks.is_empty() {
            skipped(format!("no systemd can be started in a container: {}", lacks.join(", ")));
            return None;
        }
        let directory = TempDir::new().unwrap();
        let log = fs::File::create(directory.path().join("boot.log")).unwrap();
        let here = directory.path().join("machine");
        fs::create_dir(&here).unwrap();
        let outside = Command::new("unshare")
            .args(["--mount", "--pid", "--uts", "--ipc", "--net", "--cgroup", "--fork"])
            .args(["--kill-child", "sh"])
            .arg(workspace().join("tests/e2e/debian/machine.sh"))
            .arg(&here)
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        let mut machine = Self { outside, first: 0, directory };
        machine.first = wait_for("the first process", || machine.child_of_unshare());
        wait_for("the end of the boot", || {
            let ended = machine.outside.try_wait().unwrap();
            assert!(ended.is_none(), "it ended: {ended:?}\n{}", machine.log());
            let state = machine.run(&["systemctl", "is-system-running"]);
            let state = String::from_utf8_lossy(&state.stdout).trim().to_owned();
            // A unit of this machine's that fails in a container is nobody's concern here.
            ["running", "degraded"].contains(&state.as_str()).then_some(())
        });
        Some(machine)
    }

    fn child_of_unshare(&self) -> Option<u32> {
        let pid = self.outside.id();
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).ok()?;
        children.split_whitespace().next()?.parse().ok()
    }

    /// What systemd said.
    fn log(&self) -> String {
        fs::read_to_string(self.directory.path().join("boot.log")).unwrap()
    }

    /// A file of the machine, as a path outside.
    pub(crate) fn path(&self, inside: &str) -> std::path::PathBuf {
        Path::new(&format!("/proc/{}/root{inside}", self.first)).to_owned()
    }

    /// Runs a command in it, as root.
    pub(crate) fn run(&self, command: &[&str]) -> Output {
        Command::new("nsenter")
            .args(["--target", &self.first.to_string(), "--all", "--root", "--wdns=/"])
            .args(command)
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .env("DEBIAN_FRONTEND", "noninteractive")
            .stdin(Stdio::null())
            .output()
            .unwrap()
    }

    /// The same, which must end well; its standard output.
    #[track_caller]
    pub(crate) fn told(&self, command: &[&str]) -> String {
        let output = self.run(command);
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        assert!(
            output.status.success(),
            "{command:?}: {:?}: {}{}",
            output.status,
            text(&output.stdout),
            text(&output.stderr),
        );
        text(&output.stdout)
    }

    /// A property of the service.
    pub(crate) fn property(&self, name: &str) -> String {
        let shown = self.told(&["systemctl", "show", "--value", "--property", name, "dropsonde"]);
        shown.trim().to_owned()
    }

    /// What the service has logged.
    pub(crate) fn journal(&self) -> String {
        self.told(&["journalctl", "--no-pager", "--output=cat", "--unit=dropsonde"])
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!(
                "--- journal ---\n{}",
                String::from_utf8_lossy(&self.run(&["journalctl", "-u", "dropsonde"]).stdout)
            );
        }
        let _ = self.outside.kill(); // and with it the first process, and with that all others
        let _ = self.outside.wait();
    }
}

/// What is not here of what it takes.
fn lacking() -> Vec<&'static str> {
    let mut lacks = Vec::new();
    if !rustix::process::geteuid().is_root() {
        lacks.push("it takes root");
    }
    if !Path::new("/lib/systemd/systemd").exists() {
        lacks.push("systemd is not installed");
    }
    if !Path::new("/var/lib/dpkg/status").exists() {
        lacks.push("this is no Debian");
    }
    lacks
}
