//! A running agent.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use crate::{binary, wait_for};

const ANY_PORT: &str = "127.0.0.1:0";

/// How to start an agent.
#[derive(Default)]
pub struct Options {
    /// The configuration file's text; `{root}` in it stands for the agent's directory.
    pub config: String,
    /// Files that lie in the plugin directory from the start, and their names there.
    pub plugins: Vec<(PathBuf, String)>,
    pub arguments: Vec<String>,
    pub environment: Vec<(String, String)>,
    /// Its standard output is not read before [`Agent::read_stdout`].
    pub unread_stdout: bool,
    /// Another host than the workspace's.
    pub binary: Option<PathBuf>,
}

/// What an agent that has ended left behind.
pub struct Remains {
    directory: TempDir,
    address: String,
    binary: PathBuf,
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
    /// How it ended, and what it logged.
    pub status: ExitStatus,
    pub log: Vec<String>,
}

impl Remains {
    /// Starts another agent in the same place.
    pub fn start_again(self) -> Agent {
        self.start_at(ANY_PORT)
    }

    /// The same, on the port that it had.
    pub fn start_again_there(self) -> Agent {
        let address = self.address.clone();
        self.start_at(&address)
    }

    fn start_at(self, listen: &str) -> Agent {
        let Self { directory, binary, arguments, environment, .. } = self;
        let mut agent = Agent::run(directory, listen, binary, arguments, environment);
        agent.read_stdout();
        agent
    }

    pub fn root(&self) -> &Path {
        self.directory.path()
    }
}

/// An agent with a plugin directory and a configuration of its own. Killed when dropped.
pub struct Agent {
    child: Child,
    address: String,
    directory: Option<TempDir>,
    binary: PathBuf,
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
    log: Arc<Mutex<Vec<String>>>,
    pub stdout: Arc<Mutex<Vec<String>>>,
}

impl Agent {
    /// Starts an agent whose plugin directory is empty.
    pub fn start(config: &str) -> Self {
        Self::with(Options { config: config.to_owned(), ..Options::default() })
    }

    /// Starts an agent in whose plugin directory these files lie.
    pub fn with_plugins(config: &str, plugins: &[&Path]) -> Self {
        let named = |path: &&Path| {
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            (path.to_path_buf(), name)
        };
        Self::with(Options {
            config: config.to_owned(),
            plugins: plugins.iter().map(named).collect(),
            ..Options::default()
        })
    }

    pub fn with(options: Options) -> Self {
        let directory = TempDir::new().unwrap();
        let root = directory.path();
        for sub in ["plugins", "run", "state"] {
            fs::create_dir(root.join(sub)).unwrap();
        }
        for (from, name) in &options.plugins {
            fs::copy(from, root.join("plugins").join(name)).unwrap();
        }
        let config = options.config.replace("{root}", root.to_str().unwrap());
        fs::write(root.join("dropsonde.toml"), config).unwrap();
        let binary = options.binary.unwrap_or_else(binary);
        let (arguments, environment) = (options.arguments, options.environment);
        let mut agent = Self::run(directory, ANY_PORT, binary, arguments, environment);
        if !options.unread_stdout {
            agent.read_stdout();
        }
        agent
    }

    fn run(
        directory: TempDir,
        listen: &str,
        binary: PathBuf,
        arguments: Vec<String>,
        environment: Vec<(String, String)>,
    ) -> Self {
        let root = directory.path();
        let mut child = Command::new(&binary)
            .args(["run", "--log", "debug", "--listen", listen, "--plugins"])
            .arg(root.join("plugins"))
            .arg("--config")
            .arg(root.join("dropsonde.toml"))
            .args(&arguments)
            // A backtrace of a panic on a thread keeps megabytes of symbols for each library.
            .env("RUST_BACKTRACE", "0")
            .env("DROPSONDE__HOST__RUNTIME_DIR", root.join("run"))
            .env("DROPSONDE__HOST__STATE_DIR", root.join("state"))
            .env("DROPSONDE__HOST__CONTROL", root.join("control.sock"))
            .envs(environment.clone())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let log = gather(child.stderr.take().unwrap());
        let address = wait_for("the listen address", || {
            let lines = log.lock().unwrap();
            // In the log; a line of its own there is only where any port was asked for.
            let at = lines.iter().find_map(|line| Some(line.split_once("listening on http://")?.1));
            assert!(at.is_some() || child.try_wait().unwrap().is_none(), "it ended: {lines:#?}");
            at.map(str::to_owned)
        });
        let directory = Some(directory);
        let stdout = Arc::default();
        Self { child, address, directory, binary, arguments, environment, log, stdout }
    }

    /// Reads its standard output from now on, into `stdout`.
    pub fn read_stdout(&mut self) {
        if let Some(stdout) = self.child.stdout.take() {
            self.stdout = gather(stdout);
        }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Host and port of its HTTP API.
    pub fn address(&self) -> String {
        self.address.clone()
    }

    pub fn root(&self) -> &Path {
        self.directory.as_ref().unwrap().path()
    }

    /// Its control socket.
    pub fn control(&self) -> PathBuf {
        self.root().join("control.sock")
    }

    /// A command that asks it.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.binary);
        let (subcommand, rest) = arguments.split_first().unwrap();
        command.arg(subcommand).arg("--control").arg(self.control()).args(rest);
        command.stdin(Stdio::null());
        command
    }

    /// The same, run to its end.
    pub fn ask(&self, arguments: &[&str]) -> std::process::Output {
        self.command(arguments).output().unwrap()
    }

    /// The same, which must end well; its standard output.
    #[track_caller]
    pub fn told(&self, arguments: &[&str]) -> String {
        let output = self.ask(arguments);
        let complaint = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?}: {:?}: {complaint}", output.status);
        String::from_utf8(output.stdout).unwrap()
    }

    /// The same, which must be refused with an exit code; its standard error.
    #[track_caller]
    pub fn refused(&self, code: i32, arguments: &[&str]) -> String {
        let output = self.ask(arguments);
        let complaint = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {complaint}");
        complaint
    }

    /// The path of a file in the plugin directory.
    pub fn path(&self, name: &str) -> PathBuf {
        self.root().join("plugins").join(name)
    }

    /// Puts a file into the plugin directory as careful tools do: written elsewhere, renamed.
    pub fn put(&self, name: &str, bytes: &[u8]) {
        let temporary = self.path(&format!(".{name}.tmp"));
        fs::write(&temporary, bytes).unwrap();
        fs::rename(temporary, self.path(name)).unwrap();
    }

    pub fn configure(&self, text: &str) {
        fs::write(self.root().join("dropsonde.toml"), text).unwrap();
    }

    /// The body of a page, and its status code.
    pub fn page(&self, path: &str) -> (u16, String) {
        let agent: ureq::Agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(Duration::from_secs(20)))
            .build()
            .into();
        let mut response = agent
            .get(format!("http://{}{path}", self.address))
            .call()
            .unwrap_or_else(|error| panic!("{path}: {error}\n{}", self.log().join("\n")));
        (response.status().as_u16(), response.body_mut().read_to_string().unwrap())
    }

    pub fn json(&self, path: &str) -> Value {
        let (_, text) = self.page(path);
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{path}: {error}: {text}"))
    }

    /// What `/api/v1/collectors` says of one.
    pub fn collector(&self, name: &str) -> Option<Value> {
        let all = self.json("/api/v1/collectors");
        all.as_array().unwrap().iter().find(|collector| collector["name"] == name).cloned()
    }

    /// What `/api/v1/plugins` says of one file.
    pub fn plugin(&self, file: &str) -> Option<Value> {
        let path = self.path(file).display().to_string();
        let all = self.json("/api/v1/plugins");
        all.as_array().unwrap().iter().find(|plugin| plugin["file"] == path.as_str()).cloned()
    }

    /// Waits until a collector is as `is` wants it.
    #[track_caller]
    pub fn until(&self, name: &str, what: &str, is: impl Fn(&Value) -> bool) -> Value {
        let mut last = Value::Null;
        let start = std::time::Instant::now();
        while start.elapsed() < crate::PATIENCE {
            if let Some(collector) = self.collector(name) {
                if is(&collector) {
                    return collector;
                }
                last = collector;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("`{name}` never was {what}; last: {last:#}\n{}", self.log().join("\n"));
    }

    /// Waits until a collector has published in this phase.
    #[track_caller]
    pub fn running(&self, name: &str) -> Value {
        self.until(name, "running", |collector| {
            collector["phase"] == "running" && collector["batches"].as_u64() > Some(0)
        })
    }

    /// As [`running`](Self::running), for an event source that may have had no event yet.
    #[track_caller]
    pub fn running_or_started(&self, name: &str) -> Value {
        self.until(name, "running", |collector| collector["phase"] == "running")
    }

    /// Waits until a file was rejected, and returns why.
    #[track_caller]
    pub fn rejected(&self, file: &str) -> String {
        wait_for(&format!("the rejection of {file}"), || {
            self.plugin(file)?["rejection"].as_str().map(str::to_owned)
        })
    }

    pub fn snapshot(&self) -> Value {
        self.json("/api/v1/snapshot")
    }

    pub fn log(&self) -> Vec<String> {
        self.log.lock().unwrap().clone()
    }

    /// Stops reading its standard error: from its next line on, writing there fails.
    pub fn close_log(&self) {
        self.log.lock().unwrap().push(CLOSE.to_owned());
    }

    #[track_caller]
    pub fn logged(&self, text: &str) -> String {
        wait_for(&format!("the log line `{text}`"), || {
            self.log().into_iter().find(|line| line.contains(text))
        })
    }

    pub fn is_alive(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Sends a signal by name: TERM, HUP, KILL.
    pub fn signal(&self, name: &str) {
        let status =
            Command::new("kill").args(["-s", name, &self.pid().to_string()]).status().unwrap();
        assert!(status.success());
    }

    /// The processes that are children of the agent.
    pub fn children(&self) -> Vec<u32> {
        children(self.pid())
    }

    /// Waits until it has ended by itself.
    #[track_caller]
    pub fn ended(mut self) -> Remains {
        let status = wait_for("its end", || self.child.try_wait().unwrap());
        Remains {
            directory: self.directory.take().unwrap(),
            address: self.address.clone(),
            binary: self.binary.clone(),
            arguments: self.arguments.clone(),
            environment: self.environment.clone(),
            status,
            log: self.log(),
        }
    }

    /// Asks it to end, and waits.
    pub fn terminate(&mut self) -> ExitStatus {
        self.signal("TERM");
        wait_for("its end", || self.child.try_wait().unwrap())
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("--- log of the agent ---\n{}", self.log().join("\n"));
        }
    }
}

/// The processes whose parent is `pid`: /proc/PID/task/TID/children (proc(5)).
fn children(pid: u32) -> Vec<u32> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    tasks
        .filter_map(|task| fs::read_to_string(task.path().join("children")).ok())
        .flat_map(|line| {
            line.split_whitespace().filter_map(|pid| pid.parse().ok()).collect::<Vec<u32>>()
        })
        .collect()
}

/// Gathers lines until there are no more, or until somebody says `CLOSE`.
fn gather(source: impl std::io::Read + Send + 'static) -> Arc<Mutex<Vec<String>>> {
    let lines = Arc::new(Mutex::new(Vec::new()));
    let gathered = lines.clone();
    std::thread::spawn(move || {
        for line in BufReader::new(source).lines().map_while(Result::ok) {
            let mut lines = gathered.lock().unwrap();
            if lines.last().is_some_and(|last: &String| last == CLOSE) {
                return;
            }
            lines.push(line);
        }
    });
    lines
}

const CLOSE: &str = "(nobody reads on)";

/// A process that has ended and was not waited for yet is not running.
pub fn is_running(pid: u32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat"))
        .is_ok_and(|stat| !stat.rsplit(')').next().unwrap().trim_start().starts_with('Z'))
}
