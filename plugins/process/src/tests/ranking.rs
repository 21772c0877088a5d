//! Which processes are shown, and in which order.

use super::*;

/// Four processes, each the greatest in one respect.
fn tree() -> Tree {
    let tree = Tree::new(1000);
    tree.put(1, Fields { cpu: 900, ..Fields::default() });
    tree.put(2, Fields { cpu: 10, pages: 800, ..Fields::default() });
    tree.put(3, Fields { cpu: 20, threads: 70, ..Fields::default() });
    tree.put(4, Fields { cpu: 30, ..Fields::default() });
    for (pid, bytes) in [(1, 50), (2, 0), (3, 60), (4, 7000)] {
        tree.io(pid, bytes, bytes);
    }
    tree
}

#[test]
fn at_first_those_come_that_used_most_since_they_started() {
    let tree = tree();
    let first = |by| pids(&collector(tree.root(), json!({ "by": by })).collect().unwrap());
    assert_eq!(first("cpu"), [1, 4, 3, 2]);
    assert_eq!(first("memory"), [2, 1, 4, 3]);
    assert_eq!(first("io"), [4, 3, 1, 2]);
    assert_eq!(first("threads"), [3, 1, 4, 2]);
}

#[test]
fn then_those_come_that_used_most_since_the_last_round() {
    let tree = tree();
    let mut by_cpu = collector(tree.root(), json!({ "top": 2 }));
    let mut by_io = collector(tree.root(), json!({ "top": 2, "by": "io" }));
    assert_eq!(
        (pids(&by_cpu.collect().unwrap()), pids(&by_io.collect().unwrap())),
        (vec![1, 4], vec![4, 3])
    );
    tree.tick(1200);
    tree.put(2, Fields { cpu: 60, pages: 800, ..Fields::default() });
    tree.put(4, Fields { cpu: 31, ..Fields::default() });
    tree.io(2, 3000, 0);
    assert_eq!(pids(&by_cpu.collect().unwrap()), [2, 4]);
    assert_eq!(pids(&by_io.collect().unwrap()), [2, 1], "of those that did nothing, as by CPU");
}

#[test]
fn the_share_is_that_of_all_cpus_and_is_there_for_a_process_that_is_new_in_the_list() {
    let tree = tree();
    let mut process = collector(tree.root(), json!({ "top": 2 }));
    let share = |round: &Round, pid: u64| round.row("processes", "pid", pid)["cpu_percent"].clone();
    assert_eq!(share(&process.collect().unwrap(), 1), Value::Null, "since when?");
    tree.tick(1200);
    tree.put(2, Fields { cpu: 60, ..Fields::default() }); // was not shown
    tree.put(5, Fields { cpu: 20, start: 1100, ..Fields::default() }); // was not there
    let round = process.collect().unwrap();
    assert_eq!(pids(&round), [2, 5]);
    assert_eq!((share(&round, 2), share(&round, 5)), (json!(25.0), json!(10.0)));
    // The CPUs did not go on.
    assert_eq!(share(&process.collect().unwrap(), 1), Value::Null);
}

#[test]
fn a_pid_that_is_used_again_is_a_process_of_its_own() {
    let tree = Tree::new(1000);
    tree.put(7, Fields { cpu: 500, start: 100, ..Fields::default() });
    let mut process = collector(tree.root(), json!({}));
    process.collect().unwrap();
    tree.tick(1100);
    tree.put(7, Fields { cpu: 510, start: 900, ..Fields::default() });
    let round = process.collect().unwrap();
    let row = round.row("processes", "pid", 7);
    assert_eq!(row["cpu_percent"], 100.0, "all 510 ticks are its own");
    assert_eq!(row["started_ms"], 9000);
}

#[test]
fn those_that_did_nothing_keep_their_places() {
    let tree = Tree::new(1000);
    for pid in 1..=200 {
        tree.put(pid, Fields { cpu: u64::from(pid % 7), ..Fields::default() });
    }
    let mut process = collector(tree.root(), json!({}));
    let first = pids(&process.collect().unwrap());
    assert_eq!(first.len(), 50);
    for round in 1..5 {
        tree.tick(1000 + 10 * round);
        assert_eq!(pids(&process.collect().unwrap()), first);
    }
}

#[test]
fn all_shows_more_than_the_top() {
    let tree = Tree::new(1000);
    for pid in 1..=60 {
        tree.put(pid, Fields::default());
    }
    assert_eq!(pids(&collector(tree.root(), json!({})).collect().unwrap()).len(), 50);
    let more = json!({ "all": true, "top": 3 });
    assert_eq!(pids(&collector(tree.root(), more).collect().unwrap()).len(), 60);
}

#[test]
fn whose_io_is_not_known_comes_last() {
    let tree = tree();
    tree.lose(4, "io");
    let round = collector(tree.root(), json!({ "by": "io" })).collect().unwrap();
    assert_eq!(pids(&round), [3, 1, 2, 4]);
    assert_eq!(round.row("processes", "pid", 4)["read_bytes"], Value::Null);
    assert_eq!(round.row("processes", "pid", 2)["read_bytes"], 0);
}
