//! Replacing, removing and putting back a plugin's file.

use std::fs;
use std::io::Write;

use dropsonde_tests::{Agent, Options, fixture, wait_for};
use serde_json::Value;

use crate::c_plugins::compile;

fn bytes(fixture_name: &str) -> Vec<u8> {
    fs::read(fixture(fixture_name)).unwrap()
}

fn agent(isolation: &str) -> Agent {
    let config = format!("[defaults]\nisolation = \"{isolation}\"\ninterval = \"100ms\"\n");
    let agent = Agent::with(Options {
        config,
        plugins: vec![(fixture("steady_v1"), "steady.so".into())],
        arguments: vec!["--output".into(), "ndjson".into()],
        ..Options::default()
    });
    agent.running("steady");
    agent
}

fn until_build(agent: &Agent, build: u64) {
    wait_for(&format!("build {build}"), || {
        (agent.snapshot()["steady"]["build"] == build).then_some(())
    });
}

/// No tick was missed, none came twice, and every rate is there.
fn assert_seamless(agent: &Agent) {
    let batches = agent.published("metrics.steady");
    let generations: Vec<u64> =
        batches.iter().map(|batch| batch["generation"].as_u64().unwrap()).collect();
    assert!(generations.is_sorted(), "{generations:?}");
    assert!(generations.first() < generations.last(), "{generations:?}");
    for (index, batch) in batches.iter().enumerate() {
        assert_eq!(batch["sequence"].as_u64(), Some(index as u64 + 1), "order is kept");
        let rate = &batch["records"][0]["elapsed_per_sec"];
        if index > 0 {
            // A clock of milliseconds grows by 1,000 a second.
            let rate = rate.as_f64().unwrap_or_else(|| panic!("batch {index} lost its rate"));
            assert!((500.0..2000.0).contains(&rate), "batch {index}: {rate}");
        }
    }
    let status = agent.collector("steady").unwrap();
    assert_eq!(status["missed_ticks"], 0);
    assert_eq!(status["restarts"], 0);
}

fn is_replaced_by(isolation: &str, replace: impl FnOnce(&Agent)) {
    let agent = agent(isolation);
    let before = agent.published("metrics.steady").len();
    replace(&agent);
    until_build(&agent, 2);
    wait_for("batches of the new one", || {
        (agent.published("metrics.steady").len() > before + 5).then_some(())
    });
    assert_eq!(agent.collector("steady").unwrap()["generation"], 2);
    assert_eq!(agent.collector("steady").unwrap()["isolation"], isolation);
    assert_seamless(&agent);
}

#[test]
fn a_rename_swaps_generations_without_a_missed_tick() {
    is_replaced_by("process", |agent| agent.put("steady.so", &bytes("steady_v2")));
    is_replaced_by("thread", |agent| agent.put("steady.so", &bytes("steady_v2")));
}

#[test]
fn a_copy_over_the_file_swaps_generations_without_a_missed_tick() {
    for isolation in ["process", "thread"] {
        is_replaced_by(isolation, |agent| {
            fs::copy(fixture("steady_v2"), agent.path("steady.so")).unwrap();
        });
    }
}

#[test]
fn a_slow_partial_copy_is_awaited_and_then_swapped_in() {
    is_replaced_by("process", |agent| {
        let whole = bytes("steady_v2");
        let mut file = fs::File::create(agent.path("steady.so")).unwrap();
        for part in whole.chunks(whole.len() / 8 + 1) {
            file.write_all(part).unwrap();
            let published = agent.published("metrics.steady").len();
            wait_for("a tick meanwhile", || {
                (agent.published("metrics.steady").len() > published).then_some(())
            });
        }
        assert_eq!(agent.plugin("steady.so").unwrap()["rejections"], 0, "it was left alone");
    });
}

#[test]
fn a_copy_in_several_sittings_is_rejected_until_it_is_whole() {
    is_replaced_by("process", |agent| {
        let whole = bytes("steady_v2");
        fs::write(agent.path("steady.so"), &whole[..whole.len() / 2]).unwrap();
        assert!(agent.rejected("steady.so").contains("is cut short"));
        assert_eq!(agent.snapshot()["steady"]["build"], 1);
        let mut file = fs::OpenOptions::new().append(true).open(agent.path("steady.so")).unwrap();
        file.write_all(&whole[whole.len() / 2..]).unwrap();
    });
}

#[test]
fn a_bad_replacement_leaves_the_old_one_running_and_says_so() {
    for isolation in ["process", "thread"] {
        let agent = agent(isolation);
        for bad in [bytes("crashing_constructor"), bytes("steady_v2")[..5000].to_vec()] {
            let before = agent.plugin("steady.so").unwrap()["rejections"].as_u64();
            agent.put("steady.so", &bad);
            let plugin = wait_for("the rejection", || {
                let plugin = agent.plugin("steady.so")?;
                (plugin["rejections"].as_u64() > before).then_some(plugin)
            });
            assert_eq!((&plugin["state"], &plugin["generation"]), (&"rejected".into(), &1.into()));
            agent.logged("the generation that was there goes on");
        }
        let published = agent.published("metrics.steady").len();
        wait_for("ticks of the old one", || {
            (agent.published("metrics.steady").len() > published + 3).then_some(())
        });
        assert_eq!(agent.snapshot()["steady"]["build"], 1);
        let status = agent.collector("steady").unwrap();
        assert_eq!((&status["restarts"], &status["missed_ticks"]), (&0.into(), &0.into()));
        // And a good one after all.
        agent.put("steady.so", &bytes("steady_v2"));
        until_build(&agent, 2);
        assert_eq!(agent.plugin("steady.so").unwrap()["rejection"], Value::Null);
    }
}

/// What would not deliver takes nobody's place, whether its instance stands and its first round
/// fails, or it could not run without a setting that nobody has made.
#[test]
fn a_replacement_that_does_not_deliver_leaves_the_old_one_running() {
    let source = "tests/fixtures/faulty.c";
    let good = compile(source, "replaced_good", &["-g"]);
    let fails = compile(source, "replaced_fails", &["-DDEFAULT_FAULT=\"failed\""]);
    let lacks = compile(source, "replaced_lacks", &["-DDEFAULT_FAULT=NULL"]);
    for isolation in ["process", "thread"] {
        let agent = Agent::with(Options {
            config: format!("[defaults]\nisolation = \"{isolation}\"\ninterval = \"100ms\"\n"),
            plugins: vec![(good.clone(), "libfaulty.so".into())],
            ..Options::default()
        });
        agent.running("faulty_c");
        let goes_on = || {
            let batches = || agent.collector("faulty_c").unwrap()["batches"].as_u64().unwrap();
            let before = batches();
            wait_for("batches of the old one", || (batches() > before + 3).then_some(()));
            let now = agent.collector("faulty_c").unwrap();
            let shown = (&now["generation"], &now["restarts"], &now["missed_ticks"]);
            assert_eq!(shown, (&1.into(), &0.into(), &0.into()), "{now}");
        };
        agent.put("libfaulty.so", &fs::read(&fails).unwrap());
        agent.logged("generation 2 was refused, the old one goes on: failed: the end of 1");
        goes_on();
        agent.put("libfaulty.so", &fs::read(&lacks).unwrap());
        let why = agent.rejected("libfaulty.so");
        assert!(why.contains("is needed"), "{why}");
        // Nothing that is then applied ends it either.
        agent.configure(&format!("[defaults]\nisolation = \"{isolation}\"\ninterval = \"50ms\"\n"));
        agent.logged("the configuration was applied");
        goes_on();
    }
}

#[test]
fn overwriting_a_file_whose_plugin_is_loaded_harms_nothing() {
    for isolation in ["process", "thread"] {
        let mut agent = agent(isolation);
        let path = agent.path("steady.so");
        // In place, the same inode: what ends other hosts with SIGBUS or SIGSEGV.
        fs::write(&path, b"garbage").unwrap();
        agent.rejected("steady.so");
        fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(0).unwrap();
        let published = agent.published("metrics.steady").len();
        wait_for("ticks", || {
            (agent.published("metrics.steady").len() > published + 3).then_some(())
        });
        assert!(agent.is_alive());
        assert_eq!(agent.collector("steady").unwrap()["restarts"], 0);
    }
}

#[test]
fn removing_the_file_stops_its_collectors_and_putting_it_back_starts_them() {
    for isolation in ["process", "thread"] {
        let agent = agent(isolation);
        fs::remove_file(agent.path("steady.so")).unwrap();
        wait_for("its end", || agent.collector("steady").is_none().then_some(()));
        wait_for("the end of its streams", || agent.snapshot()["steady"].is_null().then_some(()));
        wait_for("the end of its process", || agent.children().is_empty().then_some(()));
        agent.put("steady.so", &bytes("steady_v1"));
        assert_eq!(agent.running("steady")["generation"], 2, "generations count up");
    }
}

#[test]
fn a_plugin_directory_may_be_replaced_while_the_host_runs() {
    let agent = agent("process");
    let directory = agent.root().join("plugins");
    fs::rename(&directory, agent.root().join("old")).unwrap();
    wait_for("its end", || agent.collector("steady").is_none().then_some(()));
    fs::create_dir(&directory).unwrap();
    agent.put("steady.so", &bytes("steady_v2"));
    agent.running("steady");
    agent.put("steady.so", &bytes("steady_v1"));
    until_build(&agent, 1);
}

#[test]
fn the_same_bytes_again_change_nothing() {
    let agent = agent("process");
    let runner = agent.children();
    agent.put("steady.so", &bytes("steady_v1"));
    agent.put("marker.so", b"rejected, and so seen");
    agent.rejected("marker.so");
    let published = agent.published("metrics.steady").len();
    wait_for("ticks", || (agent.published("metrics.steady").len() > published + 2).then_some(()));
    assert_eq!(agent.collector("steady").unwrap()["generation"], 1);
    assert_eq!(agent.children(), runner, "the runner is the same process");
}

#[test]
fn reloads_in_thread_mode_unload_the_old_library() {
    let agent = agent("thread");
    for round in 1..=10_u64 {
        let mut file = bytes(if round % 2 == 0 { "steady_v1" } else { "steady_v2" });
        file.extend(round.to_le_bytes());
        agent.put("steady.so", &file);
        agent.until("steady", "replaced", |now| now["generation"] == round + 1);
    }
    let libraries = wait_for("the old libraries to be closed", || {
        let libraries = agent.json("/api/v1/status")["libraries"].clone();
        (libraries["closed"] == 10).then_some(libraries)
    });
    assert_eq!(libraries["left_mapped"], 0);
    let maps = fs::read_to_string(format!("/proc/{}/maps", agent.pid())).unwrap();
    let mapped: std::collections::HashSet<&str> = maps
        .lines()
        .filter_map(|line| line.split_whitespace().nth(5))
        .filter(|path| path.ends_with("steady.so"))
        .collect();
    assert_eq!(mapped.len(), 1, "{mapped:?}");
}
