//! The socket itself: whose it is, and what comes in by it.

use std::io::Write;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixStream;

use dropsonde_tests::{Python, skipped, workspace};

use super::*;

#[test]
fn the_socket_is_this_user_s_alone_and_gone_at_the_end() {
    let mut agent = Agent::steady();
    let meta = fs::symlink_metadata(agent.control()).unwrap();
    assert!(meta.file_type().is_socket());
    assert_eq!(meta.permissions().mode() & 0o777, 0o600);
    assert!(agent.terminate().success());
    assert!(!agent.control().exists());
}

#[test]
fn a_socket_that_another_agent_has_is_a_clear_error_and_the_default_one_none() {
    let agent = Agent::steady();
    let run = |control: &str| {
        let mut command = Command::new(binary());
        command.args(["run", "--listen", "127.0.0.1:0", "--control", control, "--plugins"]);
        command.arg(agent.root().join("plugins")).stdin(Stdio::null());
        command.output().unwrap()
    };
    let output = run(agent.control().to_str().unwrap());
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("another process listens there; choose another --control"), "{text}");
    agent.told(&["list"]);
}

/// What is no gRPC, or half of it, is let go or waits for nobody; the agent goes on.
#[test]
fn nonsense_on_the_socket_concerns_nobody_else() {
    let agent = Agent::steady();
    let settled =
        |agent: &Agent| fs::read_dir(format!("/proc/{}/fd", agent.pid())).unwrap().count();
    let before = settled(&agent);
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    let noise: Vec<u8> = (0..200_000_u32).map(|index| (index * 31 % 251) as u8).collect();
    let sent: [&[u8]; 4] = [b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", &noise, &preface[..9], preface];
    let open: Vec<UnixStream> = sent
        .iter()
        .cycle()
        .take(40)
        .map(|bytes| {
            let mut socket = UnixStream::connect(agent.control()).unwrap();
            let _ = socket.write_all(bytes); // it may be let go in the middle
            socket
        })
        .collect();
    agent.told(&["list"]);
    drop(open);
    wait_for("their descriptors back", || (settled(&agent) <= before).then_some(()));
    agent.told(&["get", "steady"]);
}

/// Whoever asks for what can't be is answered at once, in words that reach it.
#[test]
fn a_name_without_end_delays_nobody() {
    let agent = Agent::steady();
    let name = "y".repeat(100_000);
    for arguments in [&["get", &name][..], &["describe", &name], &["explain", &name]] {
        let refusal = agent.refused(1, arguments);
        assert!(refusal.contains("it has 100000 bytes; a name has 512 at most"), "{refusal}");
    }
    for arguments in [&["restart", &name][..], &["pace", &name, "1s"], &["log", &name]] {
        let refusal = agent.refused(1, arguments);
        assert!(refusal.contains("collector: it has 100000 bytes"), "{refusal}");
    }
    let refusal = agent.refused(1, &["tap", &name]);
    assert!(refusal.contains("a topic has 512 at most"), "{refusal}");
    let refusal = agent.refused(1, &["tap", "--where", &name]);
    assert!(refusal.contains("a predicate has 1024 bytes at most"), "{refusal}");
    let refusal = agent.refused(1, &["get", &name[..500]]);
    assert!(refusal.contains("a name has 128 bytes at most"), "{refusal}");
}

/// In a directory that others may write to, or may have made, the socket may be anybody's. (That
/// root trusts one of another user's where only root can have made it is shown under systemd, in
/// `debian`.)
#[test]
fn a_default_socket_in_a_directory_of_others_is_not_trusted() {
    let directory = tempfile::tempdir().unwrap();
    let refused = || {
        let output = Command::new(binary())
            .args(["get", "cpu"])
            .env("RUNTIME_DIRECTORY", directory.path())
            .output()
            .unwrap();
        let text = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(69), "{text}");
        assert!(text.contains("is not this user's alone; name the socket by --control"), "{text}");
    };
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o777)).unwrap();
    refused();
    if rustix::process::geteuid().is_root() {
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
        std::os::unix::fs::chown(directory.path(), Some(65534), None).unwrap();
        refused();
    }
}

#[test]
fn a_client_in_another_language_needs_only_reflection() {
    let packages = ["grpcio", "grpcio-reflection", "protobuf"];
    let python = match Python::with("grpc", &packages, "grpc, grpc_reflection") {
        Ok(python) => python,
        Err(why) => return skipped(format!("no gRPC for Python: {why}")),
    };
    let agent = Agent::steady();
    let script = workspace().join("tests/e2e/asks_by_grpc.py");
    let output = python.command().arg(script).arg(agent.control()).output().unwrap();
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{complaint}");
    let seen = json(&String::from_utf8(output.stdout).unwrap());
    for service in ["dropsonde.v1.Control", "grpc.health.v1.Health"] {
        assert!(seen["services"].as_array().unwrap().contains(&service.into()), "{seen:#}");
    }
    assert_eq!(seen["health"]["status"], "SERVING");
    assert_eq!(seen["status"]["collectors"][0]["name"], "steady");
    let batches = seen["batches"].as_array().unwrap();
    assert_eq!(batches.len(), 2, "{seen:#}");
    assert_eq!(batches[0]["batch"]["topic"], "metrics.steady");
    let expected = "there is no stream `stead`; did you mean `steady`?";
    assert_eq!(seen["refusal"], serde_json::json!(["NOT_FOUND", expected]));
}
