//! `dropsonde top`, through a pseudo-terminal.

use std::process::{Command, Stdio};

use dropsonde_tests::{Agent, binary, fixture, wait_for};
use serde_json::Value;

use crate::terminal::Terminal;

fn bundled() -> Agent {
    Agent::bundled(&["cpu", "memory", "network", "disk"], "")
}

fn top(agent: &Agent) -> Terminal {
    Terminal::start(&agent.command(&["top", "--every", "200ms"]), 24, 80)
}

/// The line of the screen that begins with this.
fn line<'a>(text: &'a str, begin: &str) -> Option<&'a str> {
    text.lines().find(|line| line.starts_with(begin))
}

#[test]
fn it_draws_the_machine_with_figures_that_change() {
    let agent = bundled();
    let top = top(&agent);
    for part in ["CPU ", "cpu0  [", "load ", "memory  ", " of ", "Network", "lo ", "Disk", "MiB"] {
        top.shows(part);
    }
    top.shows("pressure not available: no collector of"); // its plugin is not there
    let reads = |text: &str| {
        let after = text.split("reads ").nth(1)?;
        after.split_whitespace().next()?.parse::<u64>().ok()
    };
    let before = top.until("reads", reads);
    top.until("more reads", |text| reads(text).filter(|now| *now > before));
    for name in ["cpu", "disk", "memory", "network"] {
        top.until(name, |text| line(text, &format!("{name:<16}  running")).map(drop));
    }
}

#[test]
fn a_missing_collector_leaves_a_reason_where_its_figures_were() {
    let agent = bundled();
    let top = top(&agent);
    top.shows("swap ");
    agent.told(&["disable", "memory"]);
    top.shows("not available: `memory` is disabled");
    top.until("disabled", |text| line(text, "memory            disabled").map(drop));
    agent.told(&["enable", "memory"]);
    top.shows("swap ");
}

#[test]
fn a_crashed_collector_is_shown_with_its_error_and_restarted_by_r_and_y() {
    let config = "[restart]\nlimit = 1\n[collectors.faulty.settings]\nfault = \"segfault\"\nround = 3\n\
                  [collectors.faulty]\ninterval = \"50ms\"\n";
    let plugins = [fixture("faulty"), fixture("steady_v1")];
    let agent = Agent::with_plugins(config, &[&plugins[0], &plugins[1]]);
    agent.until("faulty", "quarantined", |faulty| faulty["phase"] == "quarantined");
    let steady = agent.running("steady");
    let top = top(&agent);
    top.until("quarantined", |text| line(text, "faulty            quarantined").map(drop));
    top.shows("faulty, last error: "); // the selected one's in full
    top.shows("SIGSEGV");
    // Restarted, it crashes again at its third round.
    let failures = |agent: &Agent| -> u64 {
        let causes = agent.collector("faulty").unwrap()["failures"].clone();
        causes.as_object().unwrap().values().filter_map(Value::as_u64).sum()
    };
    let before = failures(&agent);
    assert!(before > 0);
    top.types("r");
    top.shows("restart faulty? y/n");
    top.types("n");
    top.shows("faulty: not restarted");
    assert_eq!(failures(&agent), before);
    top.types("ry");
    top.shows("faulty: restarted");
    wait_for("another crash", || (failures(&agent) > before).then_some(()));
    assert_eq!(agent.collector("steady").unwrap()["generation"], steady["generation"]);
}

#[test]
fn keys_disable_enable_and_restart_and_a_refusal_is_shown_in_the_agent_s_words() {
    let agent = Agent::steady();
    let top = top(&agent);
    top.until("running", |text| line(text, "steady            running").map(drop));
    let runner = agent.children();
    top.types("ry");
    top.shows("steady: restarted");
    wait_for("another runner", || {
        let now = agent.children();
        (now.len() == 1 && now != runner).then_some(())
    });
    top.types("dy");
    top.shows("steady: disabled");
    top.until("disabled", |text| line(text, "steady            disabled").map(drop));
    top.types("ry");
    top.shows("steady: not restarted: the collector `steady` is disabled; enable it first");
    top.types("ey");
    top.shows("steady: enabled");
    agent.running("steady");
}

#[test]
fn enter_looks_into_a_collector_its_streams_and_its_log() {
    let agent = Agent::steady();
    let top = Terminal::start(&agent.command(&["top", "--every", "200ms"]), 40, 120);
    top.until("running", |text| line(text, "steady            running").map(drop));
    top.types("\r");
    top.shows("plugin steady");
    top.shows("Stream 1 of 2: metrics.steady");
    top.shows("elapsed");
    top.shows("running, was starting");
    let rounds = |text: &str| {
        let after = text.split("rounds ").nth(1)?;
        after.split_whitespace().next()?.parse::<u64>().ok()
    };
    let before = top.until("rounds", rounds);
    top.until("more rounds", |text| rounds(text).filter(|now| *now > before));
    top.types("\t");
    top.shows("Stream 2 of 2: metrics.steady.parts");
    top.shows("PART");
    top.types("l");
    top.until("the log alone", |text| (!text.contains("Stream 2")).then_some(()));
    agent.told(&["restart", "steady"]);
    top.until("new lines of the log", |text| {
        (text.matches("running, was ").count() > 1 || text.contains("restart")).then_some(())
    });
    top.types("\x1b");
    top.shows("COLLECTOR");
}

#[test]
fn the_agent_goes_and_comes_back_and_the_screen_with_it() {
    let agent = bundled();
    let mut top = top(&agent);
    top.shows("connected");
    top.shows("cpu0  [");
    let pid = agent.pid();
    top.shows(&format!("pid {pid} "));
    agent.signal("KILL");
    top.shows("the agent has gone");
    assert!(top.text().contains("cpu0  ["), "{}", top.text());
    let agent = agent.ended().start_again();
    top.shows(&format!("pid {} ", agent.pid()));
    top.shows("connected");
    agent.running("cpu");
    top.shows("cpu0  [");
    // It is subscribed again, once.
    wait_for("its subscription", || {
        let status = agent.json("/api/v1/status");
        let all = status["bus"]["subscriptions"].as_array()?.clone();
        (all.iter().filter(|one| one["name"] == "top").count() == 1).then_some(())
    });
    top.types("q");
    assert_eq!(top.ended().code(), Some(0));
}

#[test]
fn any_size_will_do() {
    let agent = bundled();
    let mut top = top(&agent);
    top.shows("cpu0  [");
    top.resize(10, 40);
    top.until("without panels", |text| {
        (!text.contains("Network") && text.contains("COLLECTOR")).then_some(())
    });
    top.resize(3, 10);
    top.shows("too small"); // a key that comes with the signal would wait for the next one
    top.types("??\r"); // the help comes and goes, unseen
    top.resize(24, 80);
    top.shows("Stream 1 of");
    top.types("\x1b");
    top.shows("COLLECTOR");
    top.resize(60, 200);
    top.until("the whole width", |text| {
        let head = line(text, "COLLECTOR")?;
        let beside = text.lines().any(|line| line.contains("CPU") && line.contains("Disk"));
        (head.contains("ROUNDS") && head.contains("ISOLATION") && beside).then_some(())
    });
    top.resize(1, 1);
    top.resize(24, 80);
    top.shows("COLLECTOR");
    top.types("q");
    assert_eq!(top.ended().code(), Some(0));
}

#[test]
fn q_and_ctrl_c_and_signals_give_the_terminal_back() {
    let agent = Agent::steady();
    for (keys, signal, code) in [
        (Some("q"), None, 0),
        (Some("\x03"), None, 0),
        (None, Some("TERM"), 143),
        (None, Some("HUP"), 129),
        (None, Some("INT"), 130),
    ] {
        let mut top = top(&agent);
        top.until("running", |text| line(text, "steady            running").map(drop));
        assert!(top.look(|screen| screen.alternate_screen() && screen.hide_cursor()));
        if let Some(keys) = keys {
            top.types(keys);
        }
        if let Some(signal) = signal {
            let pid = top.pid().to_string();
            assert!(Command::new("kill").args(["-s", signal, &pid]).status().unwrap().success());
        }
        assert_eq!(top.ended().code(), Some(code), "{keys:?} {signal:?}");
        top.is_restored();
    }
}

#[test]
fn a_terminal_that_is_closed_ends_it() {
    let agent = Agent::steady();
    let mut top = top(&agent);
    top.shows("connected");
    top.hang_up();
    let status = top.ended();
    assert_eq!(status.code(), Some(129), "{status:?}");
}

#[test]
fn pausing_keeps_the_figures() {
    let agent = Agent::steady();
    let top = top(&agent);
    let reads = |text: &str| Some(text.split("reads ").nth(1)?.split(' ').next()?.to_owned());
    top.until("running", |text| line(text, "steady            running").map(drop));
    top.types("p");
    top.shows("PAUSED");
    let kept = top.until("reads", reads);
    // The agent's counts go on; what is drawn for a new size has the kept ones.
    let count = || agent.collector("steady").unwrap()["batches"].as_u64();
    let before = count();
    wait_for("more batches", || (count() > before.map(|before| before + 3)).then_some(()));
    top.resize(24, 90);
    top.shows("PAUSED");
    assert_eq!(reads(&top.text()), Some(kept));
    top.types("p");
    top.until("going on", |text| (!text.contains("PAUSED")).then_some(()));
}

#[test]
fn no_color_means_none() {
    let agent = Agent::steady();
    let coloured = |variable: Option<&str>| {
        let mut command = agent.command(&["top", "--every", "200ms"]);
        command.env("NO_COLOR", variable.unwrap_or_default());
        let top = Terminal::start(&command, 24, 80);
        top.until("running", |text| line(text, "steady            running").map(drop));
        top.look(|screen| {
            let cells = (0..24).flat_map(|row| (0..80).map(move |column| (row, column)));
            cells
                .filter_map(|(row, column)| screen.cell(row, column))
                .any(|cell| cell.fgcolor() != vt100::Color::Default)
        })
    };
    assert!(coloured(None));
    assert!(!coloured(Some("1")));
}

#[test]
fn without_an_agent_or_a_terminal_it_says_so_before_it_draws() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("none.sock");
    let mut command = Command::new(binary());
    command.args(["top", "--control"]).arg(&socket);
    let mut top = Terminal::start(&command, 24, 80);
    assert_eq!(top.ended().code(), Some(69));
    top.shows("no agent answers at");
    top.is_restored();

    let output = command.stdin(Stdio::null()).output().unwrap();
    let complaint = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{complaint}");
    assert!(complaint.contains("standard output is no terminal"), "{complaint}");
    assert!(output.stdout.is_empty());

    let output = Command::new(binary()).args(["top", "--every", "99ms"]).output().unwrap();
    let complaint = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{complaint}");
    assert!(complaint.contains("the shortest is 100ms"), "{complaint}");
}
