//! Other agents that do the same job, each with a configuration of its own in a private
//! directory.

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
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

    /// collectd that writes nowhere. `None`: it is not installed.
    pub(crate) fn collectd() -> Option<Self> {
        let directory = TempDir::new().unwrap();
        let child = start(collectd(directory.path(), "").stdout(Stdio::null()))?;
        Some(Self { name: "collectd", child, page: None, _directory: directory })
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

/// Milliseconds from the start of collectd to its first value. `None`: it is not installed.
pub(crate) fn first_value_of_collectd() -> Option<f64> {
    let directory = TempDir::new().unwrap();
    let to_stdout = "LoadPlugin csv\n<Plugin csv>\n  DataDir \"stdout\"\n</Plugin>\n";
    let begun = Instant::now();
    let mut child = start(collectd(directory.path(), to_stdout).stdout(Stdio::piped()))?;
    let milliseconds = until_line(&mut child, "PUTVAL ", begun);
    let _ = child.kill();
    let _ = child.wait();
    Some(milliseconds)
}

/// Milliseconds until a child prints a line that begins so.
pub(crate) fn until_line(child: &mut Child, begin: &str, begun: Instant) -> f64 {
    let lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    let found = lines.into_iter().any(|line| line.starts_with(begin));
    assert!(found, "it ended without {begin}");
    begun.elapsed().as_secs_f64() * 1e3
}

fn collectd(root: &Path, more: &str) -> Command {
    let text = format!("{}{more}", include_str!("collectd.conf"));
    let mut command = Command::new("collectd");
    command.arg("-f").arg("-C").arg(configure(root, &text));
    command
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
