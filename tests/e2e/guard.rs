//! The HTTP API against pages of other sites, and against requests that are too much.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use dropsonde_tests::{Agent, PATIENCE, fixture};
use serde_json::Value;

fn steady(config: &str) -> Agent {
    let config = format!("{config}\n[defaults]\ninterval = \"50ms\"\n");
    let agent = Agent::with_plugins(&config, &[&fixture("steady_v1")]);
    agent.running("steady");
    agent
}

/// The code and the body of an answer to what is sent as it is.
fn raw(agent: &Agent, request: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(agent.address()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let _ = stream.write_all(request.as_bytes()); // it may be refused before it is whole
    let mut answer = String::new();
    let _ = stream.read_to_string(&mut answer);
    let code = answer.split(' ').nth(1).and_then(|code| code.parse().ok());
    (code.unwrap_or(0), answer)
}

/// With the token that the page carries, or another.
fn post(agent: &Agent, path: &str, headers: &str) -> (u16, String) {
    let address = agent.address();
    let head = format!("POST {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n");
    raw(agent, &format!("{head}{headers}\r\n"))
}

fn token(agent: &Agent) -> String {
    let page = agent.page("/").1;
    let after = page.split("name=\"dropsonde-token\" content=\"").nth(1).unwrap();
    after.split('"').next().unwrap().to_owned()
}

#[test]
fn a_name_that_is_not_the_machines_is_refused_by_every_page() {
    let agent = steady("[host]\nallowed_hosts = [\"box.example.com\"]\n");
    let get = |path: &str, host: &str| {
        raw(&agent, &format!("GET {path} HTTP/1.1\r\n{host}Connection: close\r\n\r\n"))
    };
    for path in ["/", "/metrics", "/api/v1/status", "/ws", "/healthz", "/nothing"] {
        let (code, answer) = get(path, "Host: rebound.evil.example:9811\r\n");
        assert!(code == 421 && answer.contains("host.allowed_hosts"), "{path}: {answer}");
    }
    let machine = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    for host in ["localhost:80", "127.0.0.1", "[::1]", "BOX.example.com", machine.trim()] {
        assert_eq!(get("/healthz", &format!("Host: {host}\r\n")).0, 200, "{host}");
    }
    let two = "Host: localhost\r\nHost: rebound.evil.example\r\n";
    assert_ne!(get("/healthz", two).0, 200);
    let (code, _) = get("http://rebound.evil.example/healthz", "Host: localhost\r\n");
    assert_eq!(code, 421);
}

#[test]
fn a_page_of_another_site_opens_no_web_socket() {
    let agent = steady("");
    let own = format!("http://{}", agent.address());
    assert!(agent.try_web_socket("", &[("origin", &own)]).is_ok());
    for headers in [
        ("origin", "http://evil.example"),
        ("origin", "http://127.0.0.1:1"),
        ("origin", "null"),
        ("sec-fetch-site", "cross-site"),
    ] {
        let (code, body) = agent.try_web_socket("", &[headers]).err().unwrap();
        assert!(code == 403 && body.contains("can't use this"), "{headers:?}: {code} {body}");
    }
    let host = [("host", "rebound.evil.example"), ("origin", "http://rebound.evil.example")];
    assert_eq!(agent.try_web_socket("", &host).err().unwrap().0, 421);
}

#[test]
fn collectors_are_steered_by_the_page_of_this_agent_alone() {
    let agent = steady("");
    let restart = "/api/v1/collectors/steady/restart";
    let steady = || agent.collector("steady").unwrap();
    let good = format!("X-Dropsonde-Token: {}\r\n", token(&agent));
    for (headers, code, text) in [
        (String::new(), 403, "X-Dropsonde-Token is missing"),
        ("X-Dropsonde-Token: 00\r\n".to_owned(), 403, "is not that of this start"),
        (format!("{good}Origin: http://evil.example\r\n"), 403, "another origin"),
        (format!("{good}Sec-Fetch-Site: cross-site\r\n"), 403, "other sites"),
        (format!("{good}Content-Length: 5\r\n"), 413, "no body"),
        (format!("{good}Transfer-Encoding: chunked\r\n"), 413, "no body"),
    ] {
        let (found, answer) = post(&agent, restart, &headers);
        assert!(found == code && answer.contains(text), "{headers}: {answer}");
    }
    assert_eq!(agent.page(restart).0, 405, "a link does nothing");
    let started = agent.log().iter().filter(|line| line.contains("to=\"starting\"")).count();
    assert_eq!((steady()["phase"].as_str(), started), (Some("running"), 1), "nothing happened");
    for (path, code, text) in [
        ("/api/v1/collectors/stead/restart", 404, "did you mean `steady`?"),
        ("/api/v1/collectors/steady/reboot", 404, "no such action: `reboot`"),
    ] {
        let (found, answer) = post(&agent, path, &good);
        assert!(found == code && answer.contains(text), "{path}: {answer}");
    }

    let (code, answer) = post(&agent, "/api/v1/collectors/steady/disable", &good);
    assert!(code == 200 && answer.contains("\"changed\":true"), "{answer}");
    agent.until("steady", "disabled", |collector| {
        collector["phase"] == "stopped" && collector["disabled"] == true
    });
    let (code, answer) = post(&agent, restart, &good);
    assert!(code == 409 && answer.contains("enable it first"), "{answer}");
    assert_eq!(post(&agent, "/api/v1/collectors/steady/enable", &good).0, 200);
    agent.running("steady");
    assert_eq!(post(&agent, restart, &good).0, 200);
    agent.running("steady");
}

#[test]
fn the_page_takes_nothing_from_elsewhere_and_is_in_nobodys_frame() {
    let agent = steady("");
    for path in ["/", "/assets/app.js", "/assets/app.css"] {
        let address = agent.address();
        let request =
            format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
        let (code, answer) = raw(&agent, &request);
        assert_eq!(code, 200, "{answer}");
        for header in [
            "content-security-policy: default-src 'none'; script-src 'self'; style-src 'self';",
            "frame-ancestors 'none'",
            "x-content-type-options: nosniff",
            "x-frame-options: DENY",
            "referrer-policy: no-referrer",
            "cache-control: no-store",
        ] {
            assert!(answer.contains(header), "{path}: {header}: {answer}");
        }
        assert!(!answer.contains("access-control-allow-origin"), "{answer}");
    }
    assert_ne!(token(&agent), token(&steady("")), "each start has its own");
    assert_eq!(agent.page("/assets/nothing.js").0, 404);
}

#[test]
fn what_is_too_much_is_refused_and_what_is_too_slow_keeps_nobody_waiting() {
    let agent = steady("");
    let address = agent.address();
    let huge = format!("GET /{} HTTP/1.1\r\nHost: {address}\r\n\r\n", "x".repeat(100_000));
    let (code, answer) = raw(&agent, &huge);
    assert!(code == 414 || code == 431, "{answer}");
    let lines = "X-Filler: 1\r\n".repeat(200);
    let (code, answer) = raw(&agent, &format!("GET / HTTP/1.1\r\nHost: {address}\r\n{lines}\r\n"));
    assert_eq!(code, 431, "{answer}");
    assert_eq!(raw(&agent, "nonsense\r\n\r\n").0, 400);
    // A head that never ends, and a body that never comes.
    let slow: Vec<TcpStream> = (0..100)
        .map(|index| {
            let mut slow = TcpStream::connect(&address).unwrap();
            let body = "X-Dropsonde-Token: 1\r\nContent-Length: 1000\r\n\r\n";
            let rest = if index % 2 == 0 { "" } else { body };
            let head =
                format!("POST /api/v1/collectors/steady/disable HTTP/1.1\r\nHost: {address}\r\n");
            slow.write_all(format!("{head}{rest}").as_bytes()).unwrap();
            slow
        })
        .collect();
    let start = std::time::Instant::now();
    let (code, page) = agent.page("/api/v1/collectors");
    assert!(code == 200 && start.elapsed() < Duration::from_secs(5), "{code}");
    let collectors: Value = serde_json::from_str(&page).unwrap();
    assert_eq!(collectors[0]["phase"], "running", "{page}");
    drop(slow);
}
