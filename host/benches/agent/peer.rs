//! Other agents that do the same job, each with a configuration of its own in a private
//! directory.

use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

const PATIENCE: Duration = Duration::from_secs(20);

/// A running agent of others; killed when dropped.
pub(crate) struct Peer {
    pub(crate) name: &'static str,
    child: Child,
    /// The Prometheus page, of one that has it.
    pub(crate) page: Option<String>,
    _directory: TempDir,
}

impl Peer {
    /// netdata with its database in memory. `None`: it is not installed.
    pub(crate) fn netdata() -> Option<Self> {
        let directory = TempDir::new().unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let text = include_str!("netdata.conf").replace("PORT", &port.to_string());
        let mut command = Command::new("netdata");
        command.arg("-D").arg("-c").arg(configure(directory.path(), &text));
        if rustix::process::geteuid().is_root() {
            command.args(["-u", "root"]); // it would give its directory away otherwise
        }
        let page = format!("http://127.0.0.1:{port}/api/v1/allmetrics?format=prometheus");
        let peer = Self {
            name: "netdata",
            child: start(command.stdout(Stdio::null()))?,
            page: Some(page),
            _directory: directory,
        };
        peer.wait_until_it_serves("netdata_disk_space");
        Some(peer)
    }

    /// collectd with this beyond its configuration; without, it writes nowhere. `None`: it is not
    /// installed.
    pub(crate) fn collectd(more: &str) -> Option<Self> {
        let directory = TempDir::new().unwrap();
        let text = format!("{}{more}", include_str!("collectd.conf"));
        let mut command = Command::new("collectd");
        command.arg("-f").arg("-C").arg(configure(directory.path(), &text));
        let child = start(command.stdout(Stdio::piped()))?;
        Some(Self { name: "collectd", child, page: None, _directory: directory })
    }

    /// What it writes to its standard output.
    pub(crate) fn output(&mut self) -> ChildStdout {
        self.child.stdout.take().unwrap()
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    fn wait_until_it_serves(&self, what: &str) {
        let start = Instant::now();
        while !self.page.as_ref().is_some_and(|page| text_of(page).contains(what)) {
            assert!(start.elapsed() < PATIENCE, "{} does not serve {what}", self.name);
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.child.kill(); // its helper ends with it
        let _ = self.child.wait();
    }
}

/// The body of a page; empty if it could not be had.
pub(crate) fn text_of(page: &str) -> String {
    let answer = ureq::get(page).call().ok();
    answer.and_then(|mut answer| answer.body_mut().read_to_string().ok()).unwrap_or_default()
}

/// Writes the configuration.
fn configure(root: &Path, text: &str) -> std::path::PathBuf {
    let path = root.join("conf");
    std::fs::write(&path, text.replace("ROOT", &root.to_string_lossy())).unwrap();
    path
}

/// `None`: there is no such program.
fn start(command: &mut Command) -> Option<Child> {
    match command.stdin(Stdio::null()).stderr(Stdio::null()).spawn() {
        Ok(child) => Some(child),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        Err(error) => panic!("{error}"),
    }
}
