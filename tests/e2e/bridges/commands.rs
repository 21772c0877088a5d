//! Commands that go wrong, and those that live long.

use std::path::Path;

use super::*;

#[test]
fn what_a_command_does_wrong_is_said_and_bounded() {
    let config = [
        shell(
            "slow",
            "echo $$ > $STATE_DIRECTORY/pid; echo 'a 1'; sleep 300",
            "timeout = \"200ms\"",
        ),
        shell("loud", "yes 'a 1'", "max_output = \"64KiB\""),
        shell("sick", "echo 'a 1'; echo 'disk on fire' >&2; exit 7", ""),
        shell("odd", "echo 'good 1'; echo '!'; head -c 100 /dev/urandom; echo; echo 'fine 2'", ""),
        "[collectors.none]\nplugin = \"exec\"\n[collectors.none.settings]\ncommand = [\"/no/x\"]\n"
            .to_owned(),
        shell_in("allow = []", "denied", "echo 'a 1'", ""),
        shell("writes", "echo x > /tmp/dropsonde-must-not-be && echo 'a 1'", ""),
    ];
    let agent = agent(&config.concat(), &["exec"]);
    fails(&agent, "slow", "took longer than 200ms, and was killed");
    fails(&agent, "loud", "wrote more than 64 KiB, and was killed");
    fails(
        &agent,
        "sick",
        "ended with exit status: 7; the log has what it wrote to its standard error",
    );
    fails(&agent, "odd", "line 2: no name of a metric");
    fails(&agent, "none", "`/no/x` can't be started: No such file");
    let denied = fails(&agent, "denied", "can't be started: Operation not permitted");
    assert!(denied["last_error"].as_str().unwrap().contains("allow = [\"exec\"]"), "{denied}");
    agent.logged("standard error: disk on fire");
    let page = has_line(&agent, "dropsonde_exec_exit_code{collector=\"sick\"} 7");
    assert!(!page.lines().any(|line| line.starts_with("a{")), "{page}");
    for line in [
        "good{collector=\"odd\"} 1",
        "fine{collector=\"odd\"} 2",
        "dropsonde_exec_up{collector=\"sick\"} 0",
    ] {
        has_line(&agent, line);
    }
    let denied = &agent.collector("writes").unwrap()["sandbox"]["in_force"];
    if denied.to_string().contains("writes only to its state directory") {
        fails(&agent, "writes", "ended with exit status: 2; the log has what it wrote");
        agent.logged("cannot create /tmp/dropsonde-must-not-be: Permission denied");
        assert!(!Path::new("/tmp/dropsonde-must-not-be").exists());
    }
    // Nobody is restarted for what a command does.
    for name in ["slow", "loud", "sick", "odd", "none", "denied"] {
        assert_eq!(agent.collector(name).unwrap()["restarts"], 0, "{name}");
    }
    let first = pid_of(&agent, "slow", "pid");
    wait_for("the next run", || (pid_of(&agent, "slow", "pid") != first).then_some(()));
    ends(first);
}

#[test]
fn a_command_beyond_its_deadline_is_no_fault_of_the_others() {
    let endless = "timeout = \"5min\"";
    let config = [
        shell_in("deadline = \"300ms\"", "a", "sleep 302", endless),
        shell_in("deadline = \"300ms\"", "b", "sleep 302", endless),
        shell("well", "echo 'a 1'", ""),
    ];
    let agent = agent(&config.concat(), &["exec"]);
    has_line(&agent, "a{collector=\"well\"} 1");
    for name in ["a", "b"] {
        agent.until(name, "late", |now| now["failures"]["deadline"].as_u64() > Some(0));
    }
    assert_eq!(agent.running("well")["restarts"], 0);
    assert_eq!(agent.plugin("libdropsonde_exec.so").unwrap()["rejections"], 0);
}

#[test]
fn of_a_long_lived_command_the_last_block_is_shown_and_it_is_started_again() {
    let script = "echo $$ > $STATE_DIRECTORY/pid; i=0; while :; do i=$((i + 1)); \
                  printf 'blocks %s\\n\\n' $i; echo 'incomplete 1'; sleep 0.05; done";
    let agent = agent(&shell("lasting", script, "mode = \"stream\""), &["exec"]);
    let blocks = || {
        let (page, start) = (metrics(&agent), "blocks{collector=\"lasting\"} ");
        page.lines().find_map(|line| line.strip_prefix(start)?.parse::<u64>().ok())
    };
    let first = wait_for("a block", blocks);
    wait_for("a later one", || blocks().filter(|now| *now > first + 20));
    let before = pid_of(&agent, "lasting", "pid");
    let killed = std::process::Command::new("kill").args(["-9", &before.to_string()]).status();
    assert!(killed.unwrap().success());
    fails(&agent, "lasting", "ended with signal: 9 (SIGKILL); it is started again in 1s");
    wait_for("no values meanwhile", || blocks().is_none().then_some(()));
    wait_for("values of the next", blocks);
    assert_ne!(pid_of(&agent, "lasting", "pid"), before);
    has_line(&agent, "dropsonde_exec_restarts_total{collector=\"lasting\"} 1");
    assert_eq!(agent.collector("lasting").unwrap()["restarts"], 0, "the runner went on");
}

/// Commands that are at work, and what they have started: all are killed with the agent, and when
/// their collector ends.
#[test]
fn nothing_that_a_command_started_outlives_its_collector_or_a_killed_agent() {
    let script =
        "sleep 301 & echo $! > $STATE_DIRECTORY/child; echo $$ > $STATE_DIRECTORY/pid; wait";
    // The trial is of the first by name, and waits for its round.
    let config = [
        shell("disabled", script, "mode = \"stream\""),
        shell_in("deadline = \"10min\"", "round", script, "timeout = \"5min\""),
        shell("stream", script, "mode = \"stream\""),
        shell_in("isolation = \"thread\"", "thread", script, "mode = \"stream\""),
    ];
    let mut agent = agent(&config.concat(), &["exec"]);
    let both = |name| ["pid", "child"].map(|file| pid_of(&agent, name, file));
    let stopped = both("disabled");
    let left = ["round", "stream", "thread"].map(both).concat();
    assert!(left.iter().chain(&stopped).all(|pid| is_running(*pid)));
    agent.told(&["disable", "disabled"]);
    stopped.into_iter().for_each(ends);
    assert!(left.iter().all(|pid| is_running(*pid)));
    agent.signal("KILL");
    wait_for("the agent's end", || (!agent.is_alive()).then_some(()));
    left.into_iter().for_each(ends);
}
