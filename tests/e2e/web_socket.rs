//! `/ws`: subscriptions over a WebSocket, and clients that are slow, many, or talk nonsense.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use dropsonde_tests::{Agent, Footprint, PATIENCE, Socket, fixture, wait_for};
use serde_json::{Value, json};
use tungstenite::Message;

/// An agent whose one collector is read each 50 ms, and more often if somebody asks.
fn steady() -> Agent {
    let agent = Agent::with_plugins("[defaults]\ninterval = \"50ms\"\n", &[&fixture("steady_v1")]);
    agent.running("steady");
    agent
}

fn subscriptions(agent: &Agent) -> Vec<Value> {
    agent.json("/api/v1/status")["bus"]["subscriptions"].as_array().unwrap().clone()
}

fn has(id: u64) -> impl Fn(&Value) -> bool {
    move |frame| frame["id"] == id && frame["records"].is_array()
}

#[test]
fn a_client_subscribes_and_unsubscribes_at_rates_of_its_own() {
    let agent = steady();
    let mut socket = agent.web_socket("");
    socket.say(&json!({"subscribe": {"topic": "metrics.steady", "name": "fast"}, "id": 1}));
    assert_eq!(socket.frame(), json!({"subscribed": 1}));
    let first = socket.frame();
    assert_eq!((&first["id"], &first["topic"]), (&json!(1), &json!("metrics.steady")));
    assert!(first["records"][0]["elapsed"].is_number(), "{first}");
    let slow = json!({"topic": "metrics.*", "every": "400ms", "name": "slow"});
    socket.say(&json!({"subscribe": slow, "id": 2}));
    socket.until("the answer", |frame| *frame == json!({"subscribed": 2}));
    let frames = socket.during(Duration::from_secs(2));
    let of = |id: u64| frames.iter().filter(|frame| frame["id"] == id).count();
    assert!(of(1) >= 3 * of(2) && of(2) >= 4, "{} and {}", of(1), of(2));
    assert_eq!(of(1) + of(2), frames.len(), "nothing was lost: {frames:?}");

    socket.say(&json!({"unsubscribe": 1}));
    socket.until("the answer", |frame| *frame == json!({"unsubscribed": 1}));
    let frames = socket.during(Duration::from_secs(1));
    assert!(frames.iter().all(|frame| frame["id"] == 2), "{frames:?}");
    wait_for("the end of the subscription", || {
        let left = subscriptions(&agent);
        (left.len() == 1 && left[0]["name"] == "slow").then_some(())
    });
    drop(socket);
    wait_for("the end of both", || subscriptions(&agent).is_empty().then_some(()));
}

#[test]
fn the_address_asks_as_that_of_a_stream_does() {
    let agent = steady();
    let mut socket = agent.web_socket("?topic=metrics.steady&every=100ms&limit=3");
    let frames = [socket.frame(), socket.frame(), socket.frame()];
    assert!(frames.iter().all(has(0)), "{frames:?}");
    assert_eq!(socket.frame(), json!({"unsubscribed": 0}), "after its limit");
    for (query, code, text) in [
        ("?topic=metrics.stead", 404, "there is no stream `metrics.stead`; did you mean"),
        ("?topic=metrics..x", 400, "topic: `metrics..x` has an empty token"),
        ("?every=1ms", 400, "every: the shortest interval is 10ms"),
        ("?topics=x", 400, "unknown field `topics`"),
        ("?room=3", 400, "room goes with drop-oldest"),
    ] {
        let (found, body) = agent.try_web_socket(query, &[]).err().unwrap();
        assert!(found == code && body.contains(text), "{query}: {found} {body}");
    }
    let (code, body) = agent.page("/ws");
    assert!(code == 400 && body.contains("/ws is for WebSockets"), "{code} {body}");
}

#[test]
fn a_message_that_makes_no_sense_is_told_why_and_changes_nothing() {
    let agent = steady();
    let mut socket = agent.web_socket("");
    let answer =
        |socket: &mut Socket| socket.until("an answer", |frame| frame["records"].is_null());
    socket.say(&json!({"subscribe": {"topic": "metrics.steady", "every": "1h"}, "id": 1}));
    socket.until("the first batch", has(1));
    for (message, id, text) in [
        ("hello", Value::Null, "expected value at line 1"),
        (r#"{"subscribe":{"topic":"metrics.stead"},"id":2}"#, json!(2), "did you mean"),
        (r#"{"subscribe":{"every":"soon"},"id":2}"#, json!(2), "every: expected number"),
        (r#"{"subscribe":{"where":"x ="},"id":2}"#, json!(2), "where: the end where a value"),
        (r#"{"subscribe":{},"id":1}"#, json!(1), "the id 1 is in use"),
        (r#"{"subscribe":{}}"#, Value::Null, "subscribe needs an id"),
        (r#"{"unsubscribe":2}"#, json!(2), "there is no subscription 2"),
    ] {
        socket.send(Message::text(message));
        let answer = answer(&mut socket);
        let error = answer["error"].as_str().unwrap();
        assert!(answer["id"] == id && error.contains(text), "{message}: {answer}");
    }
    socket.send(Message::binary(vec![1, 2, 3]));
    assert_eq!(answer(&mut socket), json!({"error": "messages are text, of JSON"}));
    assert_eq!(subscriptions(&agent).len(), 1);
    for id in 2..=32 {
        socket.say(&json!({"subscribe": {"topic": "host.>"}, "id": id}));
        assert_eq!(answer(&mut socket), json!({"subscribed": id}));
    }
    socket.say(&json!({"subscribe": {"topic": "host.>"}, "id": 33}));
    let answer = answer(&mut socket);
    assert!(answer["error"].as_str().unwrap().contains("32 subscriptions"), "{answer}");

    socket.send(Message::text("x".repeat(20_000)));
    let frame = socket.closed().expect("it says why");
    assert!(frame.reason.contains("too long"), "{frame:?}");
    wait_for("the end of all", || subscriptions(&agent).is_empty().then_some(()));
}

/// Twenty thousand rows 20 times a second, and clients that take none of them: the agent keeps one
/// batch of each stream for them, and others get theirs.
#[test]
fn a_client_that_never_reads_is_down_sampled_and_costs_nobody_anything() {
    let agent = Agent::with_plugins(
        "[collectors.faulty]\ninterval = \"50ms\"\nlimits = { rows = 20000 }\n\
         [collectors.faulty.settings]\nfault = \"many_rows\"\n",
        &[&fixture("faulty")],
    );
    agent.until("faulty", "delivering", |collector| collector["batches"].as_u64() > Some(4));
    let mut good = agent.web_socket("?topic=metrics.faulty&name=good");
    good.frame();
    let rounds = || agent.collector("faulty").unwrap()["rounds"].as_u64().unwrap();
    let stuck: Vec<Socket> =
        (0..8).map(|_| agent.web_socket("?topic=metrics.faulty.*&name=stuck")).collect();
    let lost = || {
        let all = subscriptions(&agent);
        let stuck = all.iter().filter(|one| one["name"] == "stuck");
        stuck.map(|one| one["lost"]["replaced"].as_u64().unwrap()).min().unwrap()
    };
    wait_for("all of them to be behind", || (lost() > 5).then_some(()));
    let before = (Footprint::of(agent.pid()).resident_kib, lost(), rounds());
    wait_for("more rounds", || (rounds() > before.2 + 40).then_some(()));
    let after = Footprint::of(agent.pid()).resident_kib;
    assert!(lost() > before.1 + 10, "they lose what they don't take");
    // A batch is about 600 KiB of JSON; without a bound, each client would hold 40 more.
    assert!(after < before.0 + 8 * 1024, "from {} to {after} KiB", before.0);
    let waiting = subscriptions(&agent).iter().map(|one| one["waiting"].as_u64().unwrap()).max();
    assert!(waiting <= Some(1), "{waiting:?}");
    let frames: Vec<_> = (0..40).map(|_| good.frame()).collect();
    assert!(frames.iter().all(|frame| frame["lost"].is_null()), "the others lost nothing");

    let mut slow = stuck.into_iter().next().unwrap();
    let told = slow.until("of losses", |frame| frame["lost"]["replaced"].as_u64() > Some(0));
    assert_eq!(told["id"], 0, "{told}");
    let next = slow.frame();
    assert!(has(0)(&next), "what is new comes after it: {next}");
}

/// More connections than the agent takes, each of which wants a WebSocket and says no more.
#[test]
fn a_thousand_idle_web_sockets_keep_nobody_else_out() {
    let config = "[defaults]\ninterval = \"200ms\"\n";
    let agent = Agent::with_plugins(config, &[&fixture("steady_v1")]);
    agent.running("steady");
    let ask = format!(
        "GET /ws HTTP/1.1\r\nHost: {}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n",
        agent.address()
    );
    let missed = || agent.collector("steady").unwrap()["missed_ticks"].as_u64().unwrap();
    let before = missed();
    let mut idle: Vec<TcpStream> = (0..1000)
        .map(|_| {
            let mut idle = TcpStream::connect(agent.address()).unwrap();
            idle.set_read_timeout(Some(PATIENCE)).unwrap();
            idle.write_all(ask.as_bytes()).unwrap();
            idle
        })
        .collect();
    let mut codes = std::collections::BTreeMap::new();
    for idle in &mut idle {
        let mut head = [0; 12];
        idle.read_exact(&mut head).unwrap();
        *codes.entry(String::from_utf8(head[9..].to_vec()).unwrap()).or_insert(0) += 1;
    }
    assert_eq!(codes, [("101".to_owned(), 256), ("503".to_owned(), 744)].into());
    let mut refused = String::new();
    idle[999].read_to_string(&mut refused).unwrap();
    assert!(refused.contains("256 WebSockets are open"), "{refused}");
    for _ in 0..50 {
        let (code, page) = agent.page("/metrics");
        assert!(code == 200 && page.contains("dropsonde_collector"), "{code}");
    }
    let rounds = agent.collector("steady").unwrap()["rounds"].as_u64().unwrap();
    agent.until("steady", "collecting on", |collector| {
        collector["rounds"].as_u64() > Some(rounds + 10)
    });
    assert!(missed() <= before + 1, "{} ticks are missed", missed() - before);
    drop(idle);
    wait_for("a place to be free again", || agent.try_web_socket("", &[]).ok());
}

#[test]
fn a_client_is_told_that_the_agent_ends() {
    let mut agent = steady();
    let mut socket = agent.web_socket("?topic=metrics.steady");
    socket.frame();
    assert!(agent.terminate().success());
    let frame = socket.closed().expect("it says why");
    assert_eq!(frame.reason.as_str(), "the agent is ending");
}
