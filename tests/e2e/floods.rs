//! More events than a subscriber takes: it loses its own, counted, and nobody else notices.

use dropsonde_tests::{Agent, Footprint, Options, fixture, wait_for};
use serde_json::Value;

/// Events by the hundred thousand a second, beside a healthy collector; nobody reads them.
fn flooded(isolation: &str) -> Agent {
    Agent::with(Options {
        config: format!(
            "[defaults]\ninterval = \"50ms\"\nisolation = \"{isolation}\"\n\
             [collectors.pulse.settings]\nevery_ms = 1\nburst = 200\n"
        ),
        plugins: vec![
            (fixture("pulse"), "pulse.so".into()),
            (fixture("steady_v1"), "steady.so".into()),
        ],
        arguments: vec!["--output".into(), "ndjson".into()],
        unread_stdout: true,
        ..Options::default()
    })
}

fn of_stdout(agent: &Agent) -> Value {
    let subscriptions = agent.json("/api/v1/status")["bus"]["subscriptions"].clone();
    let all = subscriptions.as_array().unwrap();
    all.iter().find(|subscription| subscription["name"] == "stdout").unwrap().clone()
}

#[test]
fn a_subscriber_that_does_not_read_loses_its_own_events_and_each_is_counted() {
    for isolation in ["process", "thread"] {
        let mut agent = flooded(isolation);
        agent.running("steady");
        agent.running_or_started("pulse");
        let lost = |more: u64| {
            wait_for(&format!("{more} lost batches"), || {
                let stdout = of_stdout(&agent);
                (stdout["lost"]["overflow"].as_u64() > Some(more)).then_some(stdout)
            })
        };
        lost(10_000);
        let before = Footprint::of(agent.pid()).resident_kib;
        let stdout = lost(100_000);
        let after = Footprint::of(agent.pid()).resident_kib;
        println!("{isolation}: {before} KiB, after 90,000 more lost batches {after} KiB: {stdout}");
        assert!(after < before + 8192, "{isolation}: {before} KiB, then {after} KiB");
        assert_eq!(stdout["waiting"], 4096);
        // The healthy collector goes on beside it.
        let batches = agent.collector("steady").unwrap()["batches"].as_u64();
        let steady = agent.until("steady", "going on", |now| {
            now["batches"].as_u64() > batches.map(|batches| batches + 10)
        });
        assert_eq!((&steady["restarts"], &steady["failed_rounds"]), (&0.into(), &0.into()));
        // What does arrive is in order, and nothing arrives twice.
        agent.read_stdout();
        let numbers = wait_for("some thousand events", || {
            let numbers = agent.beats();
            (numbers.len() > 5_000).then_some(numbers)
        });
        assert!(numbers.is_sorted_by(|a, b| a < b), "{isolation}");
        assert!(numbers.last().unwrap() - numbers[0] > numbers.len() as u64, "some are missing");
        assert!(agent.terminate().success());
    }
}
