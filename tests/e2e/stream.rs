//! Streams over HTTP: rates, filters, sampling, gathering, and what a slow client loses.

use std::collections::BTreeMap;

use dropsonde_tests::{Agent, Footprint, Options, fixture, plugin, wait_for};
use serde_json::Value;

fn pulse(settings: &str) -> Agent {
    let agent = Agent::with_plugins(
        &format!("[collectors.pulse.settings]\n{settings}\n"),
        &[&fixture("pulse")],
    );
    agent.running_or_started("pulse");
    agent
}

fn numbers(lines: &[Value]) -> Vec<u64> {
    lines
        .iter()
        .flat_map(|line| line["records"].as_array().cloned().unwrap_or_default())
        .map(|record| record["number"].as_u64().unwrap())
        .collect()
}

fn subscription(agent: &Agent, name: &str) -> Option<Value> {
    let status = agent.json("/api/v1/status");
    let all = status["bus"]["subscriptions"].as_array().unwrap();
    all.iter().find(|one| one["name"] == name).cloned()
}

#[test]
fn clients_get_one_stream_at_the_rate_that_each_asks_for() {
    let agent = Agent::with_plugins("[defaults]\ninterval = \"1h\"\n", &[&fixture("steady_v1")]);
    agent.running("steady");
    let fast = agent.follow("topic=metrics.steady&every=20ms&name=fast");
    let slow = agent.follow("topic=metrics.steady&every=200ms&name=slow");
    let slow = slow.at_least(4);
    let fast = fast.lines();
    let due = |line: &Value| {
        let text = line["due"].as_str().unwrap();
        let seconds: f64 = text[17..23].parse().unwrap();
        (seconds * 1000.0).round() as u64
    };
    assert!(fast.iter().all(|line| due(line) % 20 == 0), "on the grid of 20 ms");
    assert!(fast.len() > 3 * slow.len(), "{} and {}", fast.len(), slow.len());
    let sequences: Vec<_> = fast.iter().map(|line| line["sequence"].as_u64().unwrap()).collect();
    assert!(sequences.windows(2).all(|two| two[1] == two[0] + 1), "{sequences:?}");
    // What the slow one got is of the same reads.
    let cells: Vec<_> = slow.iter().map(|line| due(line) / 200).collect();
    assert!(cells.windows(2).all(|two| two[0] != two[1]), "one for each 200 ms: {cells:?}");
}

#[test]
fn a_filter_leaves_out_records_and_counts_them() {
    let agent = Agent::with(Options {
        config: "[defaults]\ninterval = \"50ms\"\n".into(),
        plugins: vec![(plugin("network"), "network.so".into())],
        ..Options::default()
    });
    agent.running("network");
    let query = "topic=metrics.network.interfaces&where=interface = 'lo' and bytes_recv >= 0";
    let only = agent.follow(&format!("{query}&name=only"));
    for line in only.at_least(3) {
        let records = line["records"].as_array().unwrap();
        assert_eq!(records.len(), 1, "{line}");
        assert_eq!(records[0]["interface"], "lo");
    }
    let none = "topic=metrics.network.interfaces&where=interface like 'lo_' or bytes_recv < 0";
    let none = agent.follow(&format!("{none}&name=none&limit=3"));
    let lines = none.to_the_end();
    assert_eq!(lines.len(), 3, "the answer ends after its limit");
    assert!(lines.iter().all(|line| line["records"] == serde_json::json!([])), "{lines:?}");
    wait_for("the end of its subscription", || {
        subscription(&agent, "none").is_none().then_some(())
    });
    let page = agent.page("/metrics").1;
    assert!(page.contains("dropsonde_subscription_filter_records_total{subscription=\"only\"}"));
    // The same is told by `explain`.
    let told = agent.json("/api/v1/explain?of=network.interfaces.bytes_recv");
    let filter = &told[0]["subscriptions"][0]["filter"];
    assert_eq!(filter, "interface = 'lo' and bytes_recv >= 0", "{told}");
}

#[test]
fn of_a_flood_of_events_one_in_so_many_arrives_and_the_rest_is_counted() {
    for isolation in ["process", "thread"] {
        let agent = Agent::with_plugins(
            &format!(
                "[defaults]\nisolation = \"{isolation}\"\n\
                 [collectors.pulse.settings]\nevery_ms = 1\nburst = 100\n"
            ),
            &[&fixture("pulse")],
        );
        agent.running_or_started("pulse");
        let follow = agent.follow("topic=events.pulse.beat&sample=250&name=some");
        let got = wait_for("some events", || {
            let got = numbers(&follow.lines());
            (got.len() >= 40).then_some(got)
        });
        assert!(got.windows(2).all(|two| two[1] == two[0] + 250), "{isolation}: {got:?}");
        let some = subscription(&agent, "some").unwrap();
        let left_out = some["left_out"]["sample_records"].as_u64().unwrap();
        assert!(left_out >= 39 * 249, "{some}");
        assert_eq!(some["lost"]["overflow"], 0);
    }
}

#[test]
fn events_that_are_gathered_come_by_the_number_or_by_the_time() {
    let agent = pulse("every_ms = 5\nburst = 1");
    // By number: each batch that the plugin sends has one event; none is taken before fifty wait.
    let follow = agent.follow("topic=events.pulse.beat&gather=50&within=1h&name=many");
    let taken = wait_for("the first that are taken", || {
        let taken = subscription(&agent, "many").unwrap()["delivered"].as_u64();
        taken.filter(|taken| *taken > 0)
    });
    assert!(taken >= 50, "{taken}");
    let got = numbers(&follow.at_least(100));
    assert!(got.windows(2).all(|two| two[1] == two[0] + 1), "{got:?}");
    // By time: a thousand would take five seconds.
    let follow = agent.follow("topic=events.pulse.beat&gather=100000&within=100ms");
    follow.at_least(1);
}

/// What arrived and what it was told that it lost are together what was published.
#[test]
fn a_client_that_does_not_read_is_told_how_much_it_lost() {
    for (policy, cause) in [("drop-oldest&room=16", "overflow"), ("latest", "replaced")] {
        let agent = pulse("every_ms = 1\nburst = 200");
        let query = format!("topic=events.pulse.beat&name=slow&overflow={policy}");
        let mut follow = agent.follow_without_reading(&query);
        wait_for("losses", || {
            let slow = subscription(&agent, "slow").unwrap();
            (slow["lost"][cause].as_u64() > Some(500)).then_some(())
        });
        let page = agent.page("/metrics").1;
        let start = format!(
            "dropsonde_subscription_lost_total{{cause=\"{cause}\",subscription=\"slow\"}} "
        );
        assert!(page.contains(&start), "{page}");
        follow.read();
        let lines = wait_for("what came after the losses", || {
            let lines = follow.lines();
            let told = lines.iter().position(|line| line.get("lost").is_some())?;
            (lines.len() > told + 50).then_some(lines)
        });
        let (mut expected, mut lost) = (None, 0);
        for line in &lines {
            if let Some(told) = line.get("lost") {
                let told: BTreeMap<String, u64> = serde_json::from_value(told.clone()).unwrap();
                assert_eq!(told[cause], told.values().sum::<u64>(), "{told:?}");
                lost += told[cause];
                continue;
            }
            let sequence = line["sequence"].as_u64().unwrap();
            if let Some(expected) = expected {
                assert!(sequence >= expected, "{policy}: in order, and none twice");
                let missing = sequence - expected;
                assert!(missing <= lost, "{policy}: {missing} missing, {lost} told");
                lost -= missing;
            }
            expected = Some(sequence + 1);
        }
        assert!(lines.iter().any(|line| line.get("lost").is_some()));
    }
}

#[test]
fn a_stream_ends_with_the_agent_and_what_was_published_has_arrived() {
    let mut agent = pulse("every_ms = 5\nburst = 3");
    let follow = agent.follow("topic=events.pulse.beat");
    follow.at_least(5);
    assert!(agent.terminate().success());
    let lines = follow.to_the_end();
    assert!(lines.iter().all(Value::is_object), "no line is cut: {:?}", lines.last());
    let got = numbers(&lines);
    assert!(got.windows(2).all(|two| two[1] == two[0] + 1), "{got:?}");
}

#[test]
fn a_request_that_makes_no_sense_says_why_and_subscribes_nobody() {
    let agent = Agent::with(Options {
        config: "[defaults]\ninterval = \"50ms\"\n".into(),
        plugins: vec![(plugin("network"), "network.so".into())],
        ..Options::default()
    });
    agent.running("network");
    for (query, code, text) in [
        ("topic=metrics..x", 400, "topic: `metrics..x` has an empty token"),
        ("topic=", 400, "topic: `` has an empty token"),
        (
            "topic=metrics.network.interface",
            404,
            "there is no stream `metrics.network.interface`; did you mean `metrics.network.interfaces`?",
        ),
        ("topic=metrics.>,metrics.nothing", 404, "there is no stream `metrics.nothing`"),
        ("every=1", 400, "every: time unit needed"),
        ("every=1ms", 400, "every: the shortest interval is 10ms"),
        ("where=interface%20=", 400, "where: the end where a value was expected at character 12"),
        (
            "topic=metrics.network.interfaces&where=interfase='lo'",
            400,
            "where: `metrics.network.interfaces` has no column `interfase`; did you mean `interface`?",
        ),
        ("sample=0", 400, "sample: one in 0 events is none"),
        ("sample=-1", 400, "sample: invalid digit"),
        ("within=1s", 400, "within goes with gather"),
        ("gather=5&within=soon", 400, "within: expected number"),
        ("room=0", 400, "room: between 1 and 65536 batches"),
        ("room=65537", 400, "room: between 1 and 65536 batches"),
        ("overflow=latest&room=3", 400, "room goes with drop-oldest"),
        ("overflow=block", 400, "overflow: a client of the HTTP API can't hold collectors up"),
        ("overflow=oldest", 400, "overflow: `oldest` is not drop-oldest or latest"),
        ("name=", 400, "name: it has between 1 and 64 characters"),
        ("name=%1b%5b31m", 400, "name: it has between 1 and 64 characters, none of control"),
        (
            "topic=metrics.network.interfaces&where=interface=1",
            400,
            "where: `interface` of `metrics.network.interfaces` is text, and is compared with 1",
        ),
        (
            "topic=metrics.network.interfaces&where=not%20(errin%20in%20(1,'2'))",
            400,
            "where: `errin` of `metrics.network.interfaces` is a number, and is compared with '2'",
        ),
        (
            "topic=metrics.network.interfaces&where=errin",
            400,
            "where: `errin` of `metrics.network.interfaces` is a number, and is compared with true",
        ),
        ("topics=x", 400, "unknown field `topics`"),
        ("topic=a&topic=b", 400, "duplicate field `topic`"),
    ] {
        let query = query.replace('>', "%3E").replace('\'', "%27");
        let (found, body) = agent.page(&format!("/api/v1/stream?{query}"));
        let error: Value = serde_json::from_str(&body).unwrap();
        let error = error["error"].as_str().unwrap();
        assert!(found == code && error.contains(text), "{query}: {found} {error}");
    }
    let status = agent.json("/api/v1/status");
    assert_eq!(status["bus"]["subscriptions"], serde_json::json!([]));
}

/// Prometheus takes a counter that falls for one that began anew.
#[test]
fn what_a_client_took_and_lost_is_still_counted_when_it_has_left() {
    let agent = pulse("every_ms = 1\nburst = 200");
    let total = |what: &str| {
        let page = agent.page("/metrics").1;
        let start = format!("dropsonde_subscription_{what}");
        let line = page.lines().find(|line| line.starts_with(&start)).map(str::to_owned);
        line.map_or(0.0, |line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap())
    };
    let lost = "lost_total{cause=\"overflow\",subscription=\"wall\"}";
    let delivered = "delivered_total{subscription=\"wall\"}";
    let query = "topic=events.pulse.beat&name=wall&room=16";
    let slow = agent.follow_without_reading(query);
    let quick = agent.follow(query);
    wait_for("losses", || (total(lost) > 500.0).then_some(()));
    wait_for("deliveries", || (total(delivered) > 500.0).then_some(()));
    let before = (total(lost), total(delivered));
    drop((slow, quick));
    wait_for("both to have left", || subscription(&agent, "wall").is_none().then_some(()));
    let after = (total(lost), total(delivered));
    assert!(after.0 >= before.0 && after.1 >= before.1, "{before:?}, then {after:?}");
}

/// What is published as it happens is not thinned out: a client would believe the last state but
/// one for ever.
#[test]
fn a_rate_does_not_hide_the_state_that_a_collector_came_to() {
    let agent = Agent::with_plugins("[defaults]\ninterval = \"50ms\"\n", &[&fixture("steady_v1")]);
    agent.running("steady");
    let follow = agent.follow("topic=health.steady,metrics.steady&every=1h");
    let fixture = fixture("steady_v1");
    let bytes = std::fs::read(&fixture).unwrap();
    let name = fixture.file_name().unwrap().to_str().unwrap();
    std::fs::remove_file(agent.path(name)).unwrap();
    wait_for("its end", || agent.collector("steady").is_none().then_some(()));
    agent.put("steady_again.so", &bytes);
    agent.running("steady");
    wait_for("the state that it came to", || {
        let lines = follow.lines();
        let health = lines.iter().rfind(|line| line["topic"] == "health.steady")?;
        (health["records"][0]["phase"] == "running").then_some(())
    });
}

/// Clients that had much waiting have left: what they had goes back to the kernel.
#[test]
fn memory_of_clients_that_have_left_is_given_back() {
    let agent = pulse("every_ms = 1\nburst = 200");
    let resident = || Footprint::of(agent.pid()).resident_kib;
    let before = resident();
    let clients: Vec<_> = (0..80)
        .map(|_| agent.follow_without_reading("topic=events.pulse.beat&name=full&room=4096"))
        .collect();
    let full = wait_for("their queues to fill", || {
        let status = agent.json("/api/v1/status");
        let all = status["bus"]["subscriptions"].as_array().unwrap();
        let full = |one: &&Value| one["lost"]["overflow"].as_u64() > Some(0);
        (all.iter().filter(full).count() == 80).then(resident)
    });
    drop(clients);
    wait_for("memory to be given back", || {
        let now = resident();
        (now < before + (full.saturating_sub(before)) / 2 + 2048).then_some(())
    });
}

/// A predicate is looked at for each record on the thread that serves everybody.
#[test]
fn predicates_of_all_clients_together_are_bounded_and_room_comes_back() {
    let agent = Agent::with(Options {
        config: "[defaults]\ninterval = \"50ms\"\n".into(),
        plugins: vec![(plugin("network"), "network.so".into())],
        ..Options::default()
    });
    agent.running("network");
    let predicate = vec!["interface != 'xxxxxxxxxxxx'"; 31].join(" and ");
    assert!((970..1024).contains(&predicate.len()), "{}", predicate.len());
    let query = format!("topic=metrics.network.interfaces&where={predicate}");
    let clients: Vec<_> = (0..16).map(|_| agent.follow(&query)).collect();
    clients.iter().for_each(|client| drop(client.at_least(1)));
    let page = format!("/api/v1/stream?{}", query.replace(' ', "%20"));
    wait_for("a refusal", || {
        let (code, body) = agent.page(&format!("{page}&limit=1"));
        assert!(code == 200 || body.contains("the predicates of all clients have at most 16384"));
        (code == 503).then_some(())
    });
    // Who has no predicate is not concerned.
    assert_eq!(agent.page("/api/v1/stream?topic=metrics.network.interfaces&limit=1").0, 200);
    drop(clients);
    wait_for("room", || (agent.page(&format!("{page}&limit=1")).0 == 200).then_some(()));
}
