//! A plugin that hands over nonsense at the boundary: refused by name, the rest of the round is
//! kept, and nobody is harmed, in both modes.

use std::fs;

use dropsonde_tests::{Agent, fixture, wait_for};
use serde_json::Value;

fn agent(isolation: &str, fault: &str) -> Agent {
    let agent = Agent::with_plugins(
        &format!(
            "[defaults]\ninterval = \"50ms\"\nisolation = \"{isolation}\"\n\
             [restart]\ninitial = \"50ms\"\nmax = \"100ms\"\n\
             [collectors.steady]\n[collectors.nonsense.settings]\n\
             fault_file = \"{{root}}/run/fault\"\n"
        ),
        &[&fixture("nonsense"), &fixture("steady_v1")],
    );
    for name in ["nonsense", "steady"] {
        agent.running(name);
    }
    go_wrong(&agent, fault);
    agent
}

fn go_wrong(agent: &Agent, fault: &str) {
    fs::write(agent.root().join("run/fault"), fault).unwrap();
}

/// The collector goes on, well, once the fault is gone; the other one never noticed.
#[track_caller]
fn recovers(agent: &mut Agent, fault: &str) {
    fs::remove_file(agent.root().join("run/fault")).unwrap();
    let rounds = agent.collector("nonsense").unwrap()["rounds"].as_u64();
    agent.until("nonsense", "well again", |now| {
        now["phase"] == "running" && now["rounds"].as_u64() > rounds.map(|rounds| rounds + 2)
    });
    let steady = agent.collector("steady").unwrap();
    assert_eq!((&steady["restarts"], &steady["failed_rounds"]), (&0.into(), &0.into()), "{fault}");
    assert!(agent.is_alive());
}

#[test]
fn a_bad_batch_is_refused_by_name_and_the_rest_of_the_round_is_kept() {
    let cases = [
        (
            "short_column",
            "column `count` of the main stream: the values have another length than the batch",
        ),
        (
            "long_column",
            "column `level` of the main stream: the values have another length than the batch",
        ),
        (
            "no_values",
            "column `flag` of the main stream: the values have another length than the batch",
        ),
        ("ends_descend", "column `name` of the main stream: text offsets that don't fit the text"),
        ("ends_beyond", "column `name` of the main stream: text offsets that don't fit the text"),
        (
            "text_left_over",
            "column `name` of the main stream: text offsets that don't fit the text",
        ),
        (
            "inside_a_character",
            "column `name` of the main stream: text offsets that don't fit the text",
        ),
        ("not_utf8", "column `name` of the main stream: text that is not UTF-8"),
        (
            "short_validity",
            "column `name` of the main stream: the validity has another length than the batch",
        ),
        ("missing_key", "column `name` of the main stream: a key is missing"),
        ("unknown_stream", "stream 99 was not declared; the plugin declares 2"),
        ("few_columns", "1 columns in a batch of the main stream, declared are 4"),
        ("many_columns", "5 columns in a batch of the main stream, declared are 4"),
        ("ten_million_rows", "10000000 rows in one batch of the main stream, allowed are 100000"),
        (
            "endless_rows",
            "18446744073709551615 rows in one batch of the main stream, allowed are 100000",
        ),
        ("huge_text", "column `name` of the main stream: more text than 16 MiB"),
    ];
    for isolation in ["process", "thread"] {
        let mut agent = agent(isolation, "short_column");
        for (fault, why) in cases {
            go_wrong(&agent, fault);
            let expected = format!("handed over a bad batch: {why}");
            let refused = agent.until("nonsense", &expected, |now| {
                now["phase"] == "degraded" && now["last_error"] == expected.as_str()
            });
            assert_eq!(
                (&refused["restarts"], &refused["isolation"]),
                (&0.into(), &isolation.into())
            );
            let good = |agent: &Agent| agent.snapshot()["nonsense"]["good"]["rounds"].as_u64();
            let before = good(&agent);
            wait_for("the good stream to go on", || (good(&agent) != before).then_some(()));
            recovers(&mut agent, fault);
        }
    }
}

#[test]
fn values_that_make_no_sense_are_missing_and_the_rest_is_kept() {
    for isolation in ["process", "thread"] {
        let mut agent = agent(isolation, "not_finite");
        wait_for("levels that are missing", || {
            let nonsense = &agent.snapshot()["nonsense"];
            (nonsense["one"]["level"].is_null() && nonsense["two"]["level"].is_null()).then_some(())
        });
        assert!(agent.snapshot()["nonsense"]["one"]["count"].is_u64());
        assert!(!agent.page("/metrics").1.to_lowercase().contains(" nan"));
        assert_eq!(agent.collector("nonsense").unwrap()["phase"], "running");
        recovers(&mut agent, "not_finite");
    }
}

#[test]
fn a_counter_that_goes_back_has_no_rate_and_no_negative_one() {
    for isolation in ["process", "thread"] {
        let mut agent = agent(isolation, "backwards");
        wait_for("counters that go back", || {
            let two = agent.snapshot()["nonsense"]["two"].clone();
            (two["count"].as_u64() < Some(1_000_000) && two["count_per_sec"].is_null())
                .then_some(())
        });
        assert_eq!(agent.snapshot()["nonsense"]["two"]["count_per_sec"], Value::Null);
        fs::remove_file(agent.root().join("run/fault")).unwrap();
        wait_for("rates", || {
            let two = agent.snapshot()["nonsense"]["two"].clone();
            two["count_per_sec"].as_f64().filter(|rate| (0.0..10_000.0).contains(rate))
        });
        go_wrong(&agent, "backwards");
        recovers(&mut agent, "backwards");
    }
}

#[test]
fn odd_words_are_made_readable_and_cut() {
    let cases = [
        ("odd_error", "degraded", "failed: f\u{fffd}\u{fffd}f"),
        ("odd_kind", "degraded", "failed: a kind that there is not"),
        ("endless_partial", "degraded", "partial: part 0; part 1; "),
    ];
    for isolation in ["process", "thread"] {
        for (fault, phase, start) in cases {
            let mut agent = agent(isolation, fault);
            let odd = agent.until("nonsense", start, |now| {
                let error = now["last_error"].as_str();
                now["phase"] == phase && error.is_some_and(|error| error.starts_with(start))
            });
            let error = odd["last_error"].as_str().unwrap();
            assert!(error.len() < 8192, "{isolation} {fault}: {} bytes", error.len());
            if fault == "endless_partial" {
                assert!(error.ends_with("and 199968 more"), "{error}");
            }
            recovers(&mut agent, fault);
        }
        let mut agent = agent(isolation, "odd_log");
        agent.logged("f\u{fffd}\u{fffd}f");
        recovers(&mut agent, "odd_log");
    }
}

#[test]
fn odd_flags_and_a_repeated_key_harm_nobody() {
    for isolation in ["process", "thread"] {
        for fault in ["odd_bool", "same_key_twice"] {
            let mut agent = agent(isolation, fault);
            let before = agent.collector("nonsense").unwrap()["batches"].as_u64();
            agent.until("nonsense", "going on", |now| {
                now["batches"].as_u64() > before.map(|before| before + 8)
            });
            let nonsense = agent.snapshot()["nonsense"].clone();
            assert!(nonsense["one"]["flag"].is_boolean(), "{nonsense}");
            let page = agent.page("/metrics").1;
            let lines: Vec<&str> = page.lines().filter(|line| !line.starts_with('#')).collect();
            let names: std::collections::HashSet<&str> =
                lines.iter().map(|line| line.rsplit_once(' ').unwrap().0).collect();
            assert_eq!(names.len(), lines.len(), "no sample stands twice");
            recovers(&mut agent, fault);
        }
    }
}
