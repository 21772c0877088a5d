//! Event sources, in both modes.

use std::fs;

use dropsonde_tests::{Agent, Options, fixture, wait_for};

fn agent(config: &str) -> Agent {
    Agent::with(Options {
        config: config.into(),
        plugins: vec![(fixture("pulse"), "pulse.so".into())],
        arguments: vec!["--output".into(), "ndjson".into()],
        ..Options::default()
    })
}

#[test]
fn every_event_arrives_once_and_in_order() {
    for isolation in ["process", "thread"] {
        let agent = agent(&format!("[defaults]\nisolation = \"{isolation}\"\n"));
        let numbers = wait_for("fifty events", || {
            let numbers = agent.beats();
            (numbers.len() >= 50).then_some(numbers)
        });
        let expected: Vec<u64> = (1..=numbers.len() as u64).collect();
        assert_eq!(numbers, expected, "{isolation}");
        assert_eq!(agent.collector("pulse").unwrap()["isolation"], isolation);
    }
}

#[test]
fn an_event_source_stops_when_it_is_told_to() {
    for isolation in ["process", "thread"] {
        let mut agent = agent(&format!("[defaults]\nisolation = \"{isolation}\"\n"));
        wait_for("events", || (agent.beats().len() > 5).then_some(()));
        fs::remove_file(agent.path("pulse.so")).unwrap();
        wait_for("its end", || agent.collector("pulse").is_none().then_some(()));
        wait_for("the end of its process", || agent.children().is_empty().then_some(()));
        assert!(agent.terminate().success());
    }
}

#[test]
fn an_event_source_that_returns_by_itself_is_started_anew() {
    let agent =
        agent("[restart]\ninitial = \"50ms\"\n[collectors.pulse.settings]\nend_after = 3\n");
    let back = agent.until("pulse", "back", |now| now["restarts"].as_u64() > Some(1));
    let error = back["last_error"].as_str().unwrap();
    assert!(error.contains("the event source returned by itself"), "{error}");
}

#[test]
fn an_event_source_whose_batches_were_cut_is_well_again_when_they_are_not() {
    for isolation in ["process", "thread"] {
        let agent = agent(&format!(
            "[defaults]\nisolation = \"{isolation}\"\n[collectors.pulse.settings]\nburst = 10\n\
             gather_until = 100\n[collectors.pulse.limits]\nrows = 5\n"
        ));
        let degraded = agent.until("pulse", "degraded", |now| now["phase"] == "degraded");
        let error = degraded["last_error"].as_str().unwrap();
        assert!(error.contains("5 rows of `beat` beyond limits.rows = 5 were left out"), "{error}");
        agent.until("pulse", "well again", |now| now["phase"] == "running");
        assert_eq!(agent.collector("pulse").unwrap()["restarts"], 0);
    }
}

#[test]
fn an_event_source_is_replaced_without_a_gap() {
    let agent = agent("");
    wait_for("events", || (agent.beats().len() > 5).then_some(()));
    let mut other = fs::read(fixture("pulse")).unwrap();
    other.push(0); // another file, the same plugin
    agent.put("pulse.so", &other);
    agent.until("pulse", "replaced", |now| now["generation"] == 2);
    let before = agent.beats().len();
    wait_for("more events", || (agent.beats().len() > before + 5).then_some(()));
    assert_eq!(agent.collector("pulse").unwrap()["restarts"], 0);
}
