//! The HTTP API is for this machine, and by a Unix socket for this user, unless told otherwise.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{Receiver, channel};

use dropsonde_tests::{PATIENCE, binary, fixture, wait_for};
use tempfile::TempDir;

/// A directory with one plugin, and room for a socket.
fn directory() -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    fs::create_dir(directory.path().join("plugins")).unwrap();
    fs::copy(fixture("steady_v1"), directory.path().join("plugins/a.so")).unwrap();
    directory
}

fn command(root: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(binary());
    command.args(arguments).arg("--plugins").arg(root.join("plugins"));
    command
        .env("DROPSONDE__HOST__CONTROL", root.join("control.sock"))
        .env("DROPSONDE__HOST__RUNTIME_DIR", root)
        .env("DROPSONDE__HOST__STATE_DIR", root)
        .stdin(Stdio::null());
    command
}

/// An agent that ends with the test.
struct Running {
    child: Child,
    log: Receiver<String>,
}

impl Running {
    fn start(root: &Path, listen: &str) -> Self {
        Self::spawn(command(root, &["run", "--listen", listen]))
    }

    fn spawn(mut command: Command) -> Self {
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let (lines, log) = channel();
        std::thread::spawn(move || {
            stderr.lines().map_while(Result::ok).try_for_each(|line| lines.send(line))
        });
        Self { child, log }
    }

    #[track_caller]
    fn logged(&self, text: &str) -> String {
        loop {
            match self.log.recv_timeout(PATIENCE) {
                Ok(line) if line.contains(text) => return line,
                Ok(_) => {}
                Err(error) => panic!("no line `{text}`: {error}"),
            }
        }
    }

    fn signal(&mut self, name: &str) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-s", name, &pid]).status().unwrap().success());
        wait_for("its end", || self.child.try_wait().unwrap());
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn get(socket: &Path, path: &str) -> String {
    let mut stream = UnixStream::connect(socket).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(stream, "GET {path} HTTP/1.0\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

fn refused(root: &Path, listen: &str) -> String {
    let Output { status, stderr, .. } =
        command(root, &["run", "--listen", listen]).output().unwrap();
    assert_eq!(status.code(), Some(1));
    String::from_utf8(stderr).unwrap()
}

#[test]
fn a_unix_socket_serves_this_user_alone_and_is_gone_at_the_end() {
    let directory = directory();
    let socket = directory.path().join("api.sock");
    let listen = format!("unix:{}", socket.display());
    let mut agent = Running::start(directory.path(), &listen);
    agent.logged(&format!("listening on {listen}"));
    let meta = fs::symlink_metadata(&socket).unwrap();
    assert!(meta.file_type().is_socket());
    assert_eq!(meta.permissions().mode() & 0o777, 0o600);
    let answer = get(&socket, "/healthz");
    assert!(answer.starts_with("HTTP/1.0 200") && answer.ends_with("ok\n"), "{answer}");

    let text = wait_for("the collector in the list", || {
        let output = command(directory.path(), &["list"]).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        text.contains("running").then_some(text)
    });
    assert!(text.starts_with("agent at "), "{text}");

    agent.signal("TERM");
    assert!(!socket.exists());
}

#[test]
fn a_socket_that_a_killed_host_left_is_taken_over() {
    let directory = directory();
    let socket = directory.path().join("api.sock");
    let listen = format!("unix:{}", socket.display());
    let mut killed = Running::start(directory.path(), &listen);
    killed.logged("listening on unix:");
    killed.signal("KILL");
    assert!(socket.exists());
    let agent = Running::start(directory.path(), &listen);
    agent.logged("listening on unix:");
    assert!(get(&socket, "/healthz").contains("200"));
}

#[test]
fn a_socket_that_is_in_use_and_a_file_that_is_none_are_left_alone() {
    let directory = directory();
    let socket = directory.path().join("api.sock");
    let _listener = UnixListener::bind(&socket).unwrap();
    let why = refused(directory.path(), &format!("unix:{}", socket.display()));
    assert!(why.contains("another process listens there; choose another --listen"), "{why}");
    assert!(socket.exists());

    let file = directory.path().join("notes.txt");
    fs::write(&file, "precious").unwrap();
    let why = refused(directory.path(), &format!("unix:{}", file.display()));
    assert!(why.contains("something is there that is no socket"), "{why}");
    assert_eq!(fs::read_to_string(&file).unwrap(), "precious");
}

#[test]
fn an_address_that_other_machines_reach_is_warned_of() {
    let directory = directory();
    let exposed = Running::start(directory.path(), "0.0.0.0:0");
    let line = exposed.logged("other machines can reach http://0.0.0.0:");
    assert!(line.contains("WARN") && line.contains("the API has no authentication"), "{line}");

    let directory = self::directory();
    let local = Running::start(directory.path(), "127.0.0.1:0");
    loop {
        let line = local.logged("");
        assert!(!line.contains("other machines"), "{line}");
        if line.contains("admitted") {
            break;
        }
    }
}

#[test]
fn other_machines_steer_collectors_only_if_the_configuration_says_so() {
    for (actions, code) in [(None, 403), (Some("true"), 404), (Some("false"), 403)] {
        let directory = directory();
        let mut command = command(directory.path(), &["run", "--listen", "0.0.0.0:0"]);
        command.envs(actions.map(|actions| ("DROPSONDE__HOST__ACTIONS", actions)));
        let agent = Running::spawn(command);
        let line = agent.logged("listening on http://0.0.0.0:");
        let address = line.split("http://0.0.0.0").nth(1).unwrap();
        let page = ureq::get(format!("http://127.0.0.1{address}/")).call().unwrap();
        let page = page.into_body().read_to_string().unwrap();
        let token = page.split("name=\"dropsonde-token\" content=\"").nth(1).unwrap();
        let token = token.split('"').next().unwrap();
        assert_eq!(token.is_empty(), code == 403, "{actions:?}");
        let client: ureq::Agent =
            ureq::Agent::config_builder().http_status_as_error(false).build().into();
        // Scrapers elsewhere have names of their own for this machine.
        for (path, code) in
            [("/metrics", 200), ("/readyz", 200), ("/", 421), ("/api/v1/status", 421)]
        {
            let url = format!("http://127.0.0.1{address}{path}");
            let answer = client.get(url).header("Host", "node1.example.com").call().unwrap();
            assert_eq!(answer.status(), code, "{path}");
        }
        let answer = client
            .post(format!("http://127.0.0.1{address}/api/v1/collectors/none/restart"))
            .header("X-Dropsonde-Token", token)
            .send_empty()
            .unwrap();
        assert_eq!(answer.status(), code, "{actions:?}");
        let text = answer.into_body().read_to_string().unwrap();
        assert!(code == 404 || text.contains("host.actions"), "{actions:?}: {text}");
    }
}

/// Many clients that connect and say nothing, or half of something: the agent keeps descriptors
/// for itself, takes a new plugin meanwhile, and answers once they have gone.
#[test]
fn idle_connections_leave_the_agent_its_descriptors() {
    for isolation in ["process", "thread"] {
        let directory = directory();
        let (root, socket) = (directory.path(), directory.path().join("api.sock"));
        let listen = format!("unix:{}", socket.display());
        let inner = command(root, &["run", "--listen", &listen]);
        let mut limited = Command::new("sh");
        limited.args(["-c", "ulimit -n 120; exec \"$@\"", "sh"]).arg(inner.get_program());
        limited.args(inner.get_args()).stdin(Stdio::null());
        for (name, value) in inner.get_envs() {
            limited.env(name, value.unwrap());
        }
        limited.env("DROPSONDE__DEFAULTS__ISOLATION", isolation);
        let agent = Running::spawn(limited);
        agent.logged(&format!("listening on {listen}"));
        agent.logged("admitted");
        let idle: Vec<UnixStream> = (0..200)
            .map(|index| {
                let mut idle = UnixStream::connect(&socket).unwrap();
                let half = if index % 2 == 0 { "" } else { "GET /healthz HTTP/1.1\r\nHost: x\r\n" };
                idle.write_all(half.as_bytes()).unwrap();
                idle
            })
            .collect();
        let open = || fs::read_dir(format!("/proc/{}/fd", agent.child.id())).unwrap().count();
        wait_for("the connections that it takes", || (open() >= 35).then_some(()));
        fs::copy(fixture("steady_v2"), root.join("plugins/b.tmp")).unwrap();
        fs::rename(root.join("plugins/b.tmp"), root.join("plugins/a.so")).unwrap();
        agent.logged("admitted");
        assert!(open() < 90, "{} of 120 descriptors are open", open());
        drop(idle);
        let text = wait_for("the new generation in the list", || {
            let output = command(root, &["list"]).output().unwrap();
            let text = String::from_utf8(output.stdout).unwrap();
            text.contains("running").then_some(text)
        });
        assert!(!text.contains("rejected"), "{text}");
    }
}
