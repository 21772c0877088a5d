//! Thread mode: what a plugin does to the host that it runs in is contained, or found and moved
//! to a process; a crash ends the host once.

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::Command;

use dropsonde_tests::{Agent, Remains, fixture, plugin, wait_for};
use serde_json::Value;

/// A healthy collector and one that goes wrong from its third round on, both on threads. Not at
/// the same time: then it would be both, or none, that changed something.
fn agent(fault: &str, more: &str) -> Agent {
    let config = format!(
        "[defaults]\ninterval = \"50ms\"\nisolation = \"thread\"\n\
         [restart]\ninitial = \"50ms\"\nmax = \"200ms\"\nlimit = 1000\n\
         [collectors.steady]\ninterval = \"70ms\"\n[collectors.faulty]\n{more}\n\
         [collectors.faulty.settings]\nfault = \"{fault}\"\nround = 3\n\
         while_file = \"{{root}}/run/fault\"\n"
    );
    let agent = Agent::with_plugins(&config, &[&fixture("faulty"), &fixture("steady_v1")]);
    for name in ["steady", "faulty"] {
        assert_eq!(agent.running(name)["isolation"], "thread");
    }
    agent
}

fn go_wrong(agent: &Agent) {
    fs::write(agent.root().join("run/fault"), "").unwrap();
}

/// The collector was moved with this reason, the healthy one noticed nothing.
#[track_caller]
fn is_moved(agent: &mut Agent, why: &str) -> Value {
    let moved = agent.until("faulty", &format!("moved: {why}"), |now| {
        now["isolation"] == "process"
            && now["moved"].as_str().is_some_and(|moved| moved.contains(why))
    });
    let before = agent.collector("steady").unwrap()["batches"].as_u64();
    let steady = agent.until("steady", "going on", |now| now["batches"].as_u64() > before);
    assert_eq!((&steady["restarts"], &steady["isolation"]), (&0.into(), &"thread".into()));
    assert_eq!((&steady["failed_rounds"], &steady["moved"]), (&0.into(), &Value::Null));
    assert!(agent.is_alive());
    moved
}

/// It was found, a process took over without a lost tick, and the collector is well once the
/// fault is gone.
#[track_caller]
fn is_found_and_moved(fault: &str, more: &str, why: &str) -> Agent {
    let mut agent = agent(fault, more);
    let before = agent.collector("faulty").unwrap()["batches"].as_u64();
    go_wrong(&agent);
    let moved = is_moved(&mut agent, why);
    assert_eq!(moved["restarts"], 0, "it was replaced, not restarted: {moved}");
    assert_eq!(moved["failures"]["strayed"], 1, "{moved}");
    fs::remove_file(agent.root().join("run/fault")).unwrap();
    agent.until("faulty", "well again", |now| {
        now["phase"] == "running" && now["batches"].as_u64() > before.map(|before| before + 10)
    });
    agent
}

#[test]
fn a_changed_signal_handler_is_put_back_and_its_collector_moved() {
    let mut agent = is_found_and_moved(
        "signal_handler",
        "",
        "it changed the host's handler of SIGTERM, which was put back",
    );
    assert!(agent.terminate().success(), "SIGTERM still drains");
}

#[test]
fn a_changed_directory_is_its_thread_s_own_and_its_collector_moved() {
    let agent = is_found_and_moved("chdir", "", "it changed its working directory");
    let host = fs::read_link(format!("/proc/{}/cwd", agent.pid())).unwrap();
    assert_eq!(host, std::env::current_dir().unwrap());
}

#[test]
fn a_changed_umask_is_its_thread_s_own_and_its_collector_moved() {
    let agent = agent("umask", "");
    let before = umask(&agent);
    drop(agent);
    let agent = is_found_and_moved("umask", "", "it changed its umask");
    assert_eq!(umask(&agent), before);
}

fn umask(agent: &Agent) -> String {
    let status = fs::read_to_string(format!("/proc/{}/status", agent.pid())).unwrap();
    status.lines().find(|line| line.starts_with("Umask")).unwrap().to_owned()
}

#[test]
fn a_changed_environment_is_found_and_its_collector_moved() {
    is_found_and_moved("environment", "", "it changed the host's environment");
}

#[test]
fn a_leak_past_the_memory_limit_is_moved_and_given_back() {
    let agent = is_found_and_moved(
        "slow_leak",
        "limits.memory = \"64MiB\"",
        "memory limit 64 MiB exceeded",
    );
    wait_for("the memory that the instance held", || {
        (resident_mib(agent.pid()) < 64).then_some(())
    });
}

fn resident_mib(pid: u32) -> u64 {
    let statm = fs::read_to_string(format!("/proc/{pid}/statm")).unwrap();
    statm.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4 / 1024
}

#[test]
fn a_call_that_takes_memory_and_does_not_return_is_abandoned_before_its_deadline() {
    let mut agent = agent("stuck_bomb", "limits.memory = \"64MiB\"\ndeadline = \"60s\"");
    go_wrong(&agent);
    agent.until("faulty", "abandoned", |now| now["moved"].is_string());
    fs::remove_file(agent.root().join("run/fault")).unwrap();
    let moved = is_moved(&mut agent, "memory limit 64 MiB exceeded on a thread of the host");
    assert_eq!(moved["failures"]["limit"], 1, "{moved}");
    agent.running("faulty");
    assert!(agent.terminate().success());
}

/// Nothing in the kernel bounds one thread's memory: the host dies of it, once.
#[test]
fn a_call_that_takes_all_memory_ends_the_host_once_at_most() {
    let agent = agent("memory_bomb", "limits.memory = \"64MiB\"\ndeadline = \"60s\"");
    let limit = "--data=1500000000";
    let limited = Command::new("prlimit").args(["--pid", &agent.pid().to_string(), limit]).status();
    assert!(limited.unwrap().success());
    go_wrong(&agent);
    let remains = agent.ended();
    assert!(!remains.status.success());
    let mut again = remains.start_again();
    let moved = again.until("faulty", "restarted", |now| now["restarts"].as_u64() > Some(1));
    assert_eq!(moved["isolation"], "process", "{moved}");
    assert!(moved["last_error"].as_str().unwrap().contains("memory limit 64 MiB"), "{moved}");
    assert!(again.is_alive());
}

/// In a process of its own a plugin may do to that process what it likes.
#[test]
fn in_process_mode_nothing_of_that_reaches_the_host() {
    for fault in ["signal_handler", "chdir", "umask", "environment", "leave_open", "thread"] {
        let config = format!(
            "[defaults]\ninterval = \"50ms\"\n[collectors.faulty.limits]\nprocesses = 4096\n\
             [collectors.faulty.settings]\nfault = \"{fault}\"\nround = 3\n"
        );
        let mut agent = Agent::with_plugins(&config, &[&fixture("faulty"), &fixture("steady_v1")]);
        let (descriptors, umask_before) = (descriptors(agent.pid()), umask(&agent));
        agent.until("faulty", "past the fault", |now| now["rounds"].as_u64() > Some(20));
        let (faulty, steady) = (agent.running("faulty"), agent.running("steady"));
        assert_eq!((&faulty["restarts"], &steady["restarts"]), (&0.into(), &0.into()), "{fault}");
        let directory = fs::read_link(format!("/proc/{}/cwd", agent.pid())).unwrap();
        assert_eq!(directory, std::env::current_dir().unwrap(), "{fault}");
        assert_eq!(umask(&agent), umask_before, "{fault}");
        assert!(self::descriptors(agent.pid()) <= descriptors + 12, "{fault}");
        assert!(agent.terminate().success(), "{fault}");
    }
}

#[test]
fn files_left_open_are_closed_with_the_thread() {
    let open = |agent: &Agent| descriptors(agent.pid());
    let agent = is_found_and_moved(
        "leave_open",
        "limits.open_files = 256",
        "open files limit 256 exceeded",
    );
    // One more than before: the socket to the process that it runs in now, and its output.
    wait_for("the host's own descriptors alone", || (open(&agent) < 60).then_some(()));
}

fn descriptors(pid: u32) -> usize {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).unwrap().flatten();
    let open = tasks.map(|task| fs::read_dir(task.path().join("fd")).map_or(0, Iterator::count));
    open.max().unwrap()
}

#[test]
fn a_plugin_that_closes_all_files_closes_none_of_the_host_s() {
    let mut agent = agent("close_all", "");
    go_wrong(&agent);
    is_moved(&mut agent, "it closed files that are the host's");
    fs::remove_file(agent.root().join("run/fault")).unwrap();
    agent.running("faulty");
    assert!(agent.terminate().success());
}

#[test]
fn a_thread_that_was_left_behind_moves_its_collector() {
    let agent = agent("thread", "");
    go_wrong(&agent);
    let before = agent.collector("faulty").unwrap()["rounds"].as_u64();
    agent.until("faulty", "past the fault", |now| {
        now["rounds"].as_u64() > before.map(|before| before + 3)
    });
    let mut other = fs::read(fixture("faulty")).unwrap();
    other.push(0); // another file, the same plugin: the old instance ends
    agent.put("libfaulty.so", &other);
    let moved = agent.until("faulty", "moved", |now| now["isolation"] == "process");
    let why = moved["moved"].as_str().unwrap();
    assert!(why.contains("it left a thread running in the host"), "{why}");
    assert_eq!(moved["restarts"], 0);
}

#[test]
fn many_threads_move_their_collector() {
    let agent = agent("thread", "limits.processes = 16");
    go_wrong(&agent);
    let moved = agent.until("faulty", "moved", |now| now["isolation"] == "process");
    let why = moved["moved"].as_str().unwrap();
    assert!(why.contains("processes limit 16 exceeded"), "{why}");
}

#[test]
fn a_file_past_the_limit_moves_its_collector() {
    let mut agent = agent("disk", "limits.file_size = \"1MiB\"\ndeadline = \"60s\"");
    go_wrong(&agent);
    agent.until("faulty", "moved", |now| now["moved"].is_string());
    let moved = is_moved(&mut agent, "file size limit 1 MiB exceeded");
    assert!(moved["failures"]["limit"].as_u64() >= Some(1), "{moved}");
}

#[test]
fn a_busy_loop_and_a_deadlock_are_abandoned_and_moved() {
    for fault in ["busy", "deadlock"] {
        let mut agent = agent(fault, "deadline = \"300ms\"");
        go_wrong(&agent);
        is_moved(&mut agent, "deadline 300ms exceeded on a thread of the host");
        assert!(agent.terminate().success());
    }
}

#[test]
fn a_hang_is_remembered_by_the_next_host() {
    let mut agent = agent("hang", "deadline = \"300ms\"");
    go_wrong(&agent);
    is_moved(&mut agent, "deadline 300ms exceeded");
    agent.signal("TERM");
    let remains = agent.ended();
    fs::remove_file(remains.root().join("run/fault")).unwrap();
    let again = remains.start_again();
    let moved = again.running("faulty");
    assert_eq!(moved["isolation"], "process");
    assert!(moved["moved"].as_str().unwrap().contains("deadline 300ms exceeded"), "{moved}");
}

/// The host died of the collector, once; from then on the collector runs in a process.
#[track_caller]
fn crashes_once(fault: &str, signal: Option<i32>, cause: &str) {
    let agent = agent(fault, "");
    go_wrong(&agent);
    let remains = agent.ended();
    assert_eq!(remains.status.signal(), signal, "{fault}");
    assert_eq!(trails(remains.root()), 1, "{fault}: it left a trail");
    let mut again = remains.start_again();
    again.logged("ended the host that ran before");
    // The fault is still there, and now it ends a process at a time.
    let moved = again.until("faulty", "restarted", |now| now["restarts"].as_u64() > Some(1));
    assert_eq!(moved["isolation"], "process", "{fault}");
    let why = moved["moved"].as_str().unwrap();
    assert!(why.contains(cause), "{fault}: {why}");
    assert_eq!(again.collector("steady").unwrap()["isolation"], "thread", "not the other one");
    assert!(again.is_alive());
    // A host that ends well keeps it in mind, and so does a third.
    again.signal("TERM");
    let remains: Remains = again.ended();
    assert!(remains.status.success());
    assert_eq!(trails(remains.root()), 0, "{fault}: nobody crashed this one");
    fs::remove_file(remains.root().join("run/fault")).unwrap();
    let third = remains.start_again();
    assert_eq!(third.running("faulty")["isolation"], "process");
    // Another file may try again.
    let mut other = fs::read(fixture("faulty")).unwrap();
    other.push(0);
    third.put("libfaulty.so", &other);
    third.until("faulty", "on a thread", |now| {
        now["isolation"] == "thread" && now["generation"] == 2 && now["moved"].is_null()
    });
}

fn trails(root: &Path) -> usize {
    let entries = fs::read_dir(root.join("state/crashes")).into_iter().flatten().flatten();
    entries.filter(|entry| entry.file_name().to_string_lossy().starts_with("trail-")).count()
}

#[test]
fn a_segmentation_fault_ends_the_host_once() {
    crashes_once("segfault", Some(11), "it crashed the host: SIGSEGV");
}

#[test]
fn an_abort_ends_the_host_once() {
    crashes_once("abort", Some(6), "it crashed the host: SIGABRT");
}

#[test]
fn a_stack_overflow_ends_the_host_once() {
    crashes_once("stack_overflow", Some(6), "it crashed the host: SIG");
}

#[test]
fn an_illegal_instruction_ends_the_host_once() {
    crashes_once("illegal_instruction", Some(4), "it crashed the host: SIGILL");
}

#[test]
fn an_exit_ends_the_host_once() {
    crashes_once("exit", None, "it ended the host by exit(3)");
}

#[test]
fn a_host_that_is_killed_accuses_nobody() {
    let agent = agent("", "");
    agent.signal("KILL");
    let again = agent.ended().start_again();
    for name in ["steady", "faulty"] {
        let running = again.running(name);
        assert_eq!((&running["isolation"], &running["moved"]), (&"thread".into(), &Value::Null));
    }
}

/// The collector's thread has them blocked; its children must be able to be ended.
#[test]
fn a_command_that_a_thread_starts_has_no_signal_blocked() {
    let script = r#"echo "blocked $((0x$(sed -n 's/SigBlk:.//p' /proc/self/status)))""#;
    let config = format!(
        "[collectors.exec]\nisolation = \"thread\"\nallow = [\"exec\"]\ninterval = \"100ms\"\n\
         [collectors.exec.settings]\ncommand = [\"sh\", \"-c\", {script:?}]\n"
    );
    let agent = Agent::with_plugins(&config, &[&plugin("exec")]);
    assert_eq!(agent.running("exec")["isolation"], "thread");
    wait_for("its sample", || {
        let (_, page) = agent.page("/metrics");
        let sample = page.lines().find(|line| line.starts_with("blocked"))?.to_owned();
        assert!(sample.ends_with(" 0"), "{sample}");
        Some(())
    });
}
