//! What a service manager hears: the agent is told of one by NOTIFY_SOCKET, as systemd does.

use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use dropsonde_tests::{Agent, Options, PATIENCE, fixture};
use tempfile::TempDir;

/// A service manager's end of the socket.
struct Manager {
    socket: UnixDatagram,
    directory: TempDir,
}

impl Manager {
    fn new() -> Self {
        let directory = TempDir::new().unwrap();
        let socket = UnixDatagram::bind(directory.path().join("notify")).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Self { socket, directory }
    }

    fn start(&self, more: &[(&str, &str)]) -> Agent {
        let path = self.directory.path().join("notify").display().to_string();
        let mut environment = vec![("NOTIFY_SOCKET".to_owned(), path)];
        environment.extend(more.iter().map(|(name, value)| (name.to_string(), value.to_string())));
        Agent::with(Options {
            config: "[defaults]\ninterval = \"50ms\"\n".into(),
            plugins: vec![(fixture("steady_v1"), "steady.so".into())],
            environment,
            ..Options::default()
        })
    }

    fn hear(&self) -> String {
        let mut bytes = [0; 4096];
        let length = self.socket.recv(&mut bytes).unwrap();
        String::from_utf8(bytes[..length].to_vec()).unwrap()
    }

    fn hear_no_more_than(&self, time: Duration) -> Option<String> {
        self.socket.set_read_timeout(Some(time)).unwrap();
        let mut bytes = [0; 4096];
        let length = self.socket.recv(&mut bytes).ok()?;
        Some(String::from_utf8_lossy(&bytes[..length]).into_owned())
    }
}

#[test]
fn a_service_manager_hears_ready_reloading_and_stopping() {
    let manager = Manager::new();
    let mut agent = manager.start(&[]);
    assert_eq!(manager.hear(), "READY=1\n");
    // Ready means that every plugin file was looked at, and every collector has delivered.
    assert_eq!(agent.collector("steady").unwrap()["phase"], "running");
    agent.signal("HUP");
    let reloading = manager.hear();
    assert!(reloading.starts_with("RELOADING=1\nMONOTONIC_USEC="), "{reloading}");
    assert_eq!(manager.hear(), "READY=1\n");
    assert!(agent.terminate().success());
    assert_eq!(manager.hear(), "STOPPING=1\n");
}

#[test]
fn a_watchdog_of_no_time_and_a_manager_that_is_gone_do_no_harm() {
    for (socket, time) in [("/nonexistent/notify", "0"), ("/nonexistent/notify", "1")] {
        let mut agent = Agent::with(Options {
            plugins: vec![(fixture("steady_v1"), "steady.so".into())],
            environment: vec![
                ("NOTIFY_SOCKET".into(), socket.into()),
                ("WATCHDOG_USEC".into(), time.into()),
            ],
            ..Options::default()
        });
        agent.running("steady");
        agent.logged("the service manager can't be notified: No such file");
        assert!(agent.terminate().success());
        let said = agent.log().iter().filter(|line| line.contains("can't be notified")).count();
        assert_eq!(said, 1, "once is enough");
    }
}

#[test]
fn the_watchdog_is_fed_while_the_agent_makes_progress_and_not_while_it_stands_still() {
    let manager = Manager::new();
    let mut agent = manager.start(&[("WATCHDOG_USEC", "1000000")]);
    assert_eq!(manager.hear(), "READY=1\n");
    for _ in 0..3 {
        assert_eq!(manager.hear(), "WATCHDOG=1\n");
    }
    agent.signal("STOP");
    while manager.hear_no_more_than(Duration::from_secs(2)).is_some() {}
    agent.signal("CONT");
    assert_eq!(manager.hear_no_more_than(PATIENCE).as_deref(), Some("WATCHDOG=1\n"));
    assert!(agent.terminate().success());
}
