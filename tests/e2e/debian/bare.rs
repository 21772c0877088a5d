//! A root with the package and the C library, and nothing else.

use std::fs;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};

use dropsonde_tests::{skipped, wait_for, workspace};
use tempfile::TempDir;

/// Who is nobody else: owns no file of the package.
const NOBODY: u32 = 65534;

/// What its user may write to, in the root.
const OWN: [&str; 3] = ["run/dropsonde", "var/lib/dropsonde", "tmp"];

/// An agent that is run there is killed when it is dropped.
pub(crate) struct Bare {
    directory: TempDir,
    agent: Option<Child>,
}

impl Bare {
    /// Unpacks a package. `None`, with the reason on standard error, where no root can be made.
    pub(crate) fn install(package: &Path) -> Option<Self> {
        let directory = TempDir::new().unwrap();
        let bare = Self { directory, agent: None };
        let root = bare.root();
        for path in OWN.into_iter().chain(["proc", "sys", "dev"]) {
            fs::create_dir_all(root.join(path)).unwrap();
        }
        for path in OWN.map(|own| bare.directory.path().join("own").join(own)) {
            fs::create_dir_all(&path).unwrap();
            if is_root() {
                chown(&path, Some(NOBODY), Some(NOBODY)).unwrap();
            }
        }
        let unpacked = Command::new("dpkg-deb").arg("-x").arg(package).arg(&root).status().unwrap();
        assert!(unpacked.success());
        for library in libraries(&root.join("usr/bin/dropsonde")) {
            let to = root.join(library.strip_prefix("/").unwrap());
            fs::create_dir_all(to.parent().unwrap()).unwrap();
            fs::copy(library, to).unwrap();
        }
        let tried = bare.command(&["--version"]).output().unwrap();
        if !tried.status.success() {
            let why = String::from_utf8_lossy(&tried.stderr).into_owned();
            assert!(!is_root(), "{why}");
            skipped(format!("no root can be made in a user namespace here: {why}"));
            return None;
        }
        Some(bare)
    }

    fn root(&self) -> PathBuf {
        self.directory.path().join("root")
    }

    /// `dropsonde` with these arguments, by its installed path, as the unit has it started.
    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("unshare");
        command.arg("--mount").args((!is_root()).then_some("--map-root-user"));
        let user = if is_root() { NOBODY } else { 0 }; // root of a user namespace is still nobody
        command
            .arg("sh")
            .arg(workspace().join("tests/e2e/debian/bare.sh"))
            .arg(self.root())
            .arg(user.to_string())
            .arg("/usr/bin/dropsonde")
            .args(arguments)
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .env("RUNTIME_DIRECTORY", "/run/dropsonde")
            .env("STATE_DIRECTORY", "/var/lib/dropsonde")
            .env("DROPSONDE__HOST__LISTEN", "127.0.0.1:0") // somebody may have the default port
            .stdin(Stdio::null());
        command
    }

    pub(crate) fn start(&mut self) {
        let log = fs::File::create(self.directory.path().join("log")).unwrap();
        self.agent = Some(self.command(&["run"]).stderr(log).spawn().unwrap());
    }

    fn ask(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    /// What a command prints, if it ends well.
    pub(crate) fn answer(&self, arguments: &[&str]) -> Option<String> {
        let output = self.ask(arguments);
        output.status.success().then(|| String::from_utf8(output.stdout).unwrap())
    }

    /// The same of one that must end well.
    #[track_caller]
    pub(crate) fn told(&self, arguments: &[&str]) -> String {
        let output = self.ask(arguments);
        let complaint = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?}: {:?}: {complaint}", output.status);
        String::from_utf8(output.stdout).unwrap()
    }

    fn log(&self) -> String {
        fs::read_to_string(self.directory.path().join("log")).unwrap_or_default()
    }

    #[track_caller]
    pub(crate) fn logged(&self, text: &str) {
        wait_for(&format!("the log line `{text}`"), || self.log().contains(text).then_some(()));
    }

    /// Sends the agent a signal by name.
    pub(crate) fn signal(&self, name: &str) {
        let pid = self.agent.as_ref().unwrap().id().to_string();
        assert!(Command::new("kill").args(["-s", name, &pid]).status().unwrap().success());
    }

    /// Asks it to end, and waits.
    pub(crate) fn terminate(&mut self) -> ExitStatus {
        self.signal("TERM");
        let agent = self.agent.as_mut().unwrap();
        wait_for("its end", || agent.try_wait().unwrap())
    }
}

impl Drop for Bare {
    fn drop(&mut self) {
        if let Some(agent) = &mut self.agent {
            let _ = agent.kill();
            let _ = agent.wait();
        }
        if std::thread::panicking() {
            eprintln!("--- log of the agent ---\n{}", self.log());
        }
    }
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// The libraries that a program is linked with, and the linker.
fn libraries(program: &Path) -> Vec<PathBuf> {
    let output = Command::new("ldd").arg(program).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let words = text.split_whitespace().filter(|word| word.starts_with('/'));
    words.map(PathBuf::from).collect()
}
