//! What a round shows of the processes that are there.

use dropsonde_plugin_api::Record;
use dropsonde_plugin_api::schema::Role;

use super::*;
use crate::records::{Process, Summary};
use crate::survey::Survey;

#[test]
fn every_column_is_the_kernels_number_in_its_unit() {
    let round = fixture(json!({ "statm": true })).collect().unwrap();
    assert!(round.partial.is_empty(), "{:?}", round.partial);
    let page = rustix::param::page_size() as u64;
    let expected = json!({
        "pid": 1,
        "started_ms": 240,
        "ppid": 0,
        "name": "systemd",
        "state": "sleeping",
        "cpu_percent": null,
        "user_seconds": 6.42,
        "system_seconds": 4.58,
        "resident_bytes": 4100 * page,
        "shared_bytes": 2100 * page,
        "virtual_bytes": 49_401_856,
        "threads": 1,
        "read_bytes": 4_096_000,
        "write_bytes": 81_920,
        "read_count": 1200,
        "write_count": 340,
        "start_time_seconds": 1_763_700_000.24,
    });
    assert_eq!(Value::Object(round.row("processes", "pid", 1).clone()), expected);
    // Without `statm`, the memory is that of `stat`.
    let round = fixture(json!({})).collect().unwrap();
    let row = round.row("processes", "pid", 1);
    assert_eq!((&row["resident_bytes"], &row["shared_bytes"]), (&json!(3989 * page), &Value::Null));
}

#[test]
fn the_summary_counts_processes_by_state_and_threads() {
    let round = fixture(json!({})).collect().unwrap();
    let expected = json!({
        "count": 5,
        "running": 1,
        "sleeping": 2,
        "blocked": 0,
        "stopped": 0,
        "zombie": 1,
        "idle": 1,
        "unknown": 0,
        "threads": 8,
        "created": 26442,
    });
    assert_eq!(round.rows("").len(), 1);
    assert_eq!(Value::Object(round.rows("")[0].clone()), expected);
}

#[test]
fn a_name_with_odd_bytes_is_shown() {
    let tree = Tree::new(100);
    let names: [&[u8]; 5] = [b"(sd-pam)", b") R 1 (", b"tmux: server (1)", b"two\nlines", b"\xffx"];
    for (pid, name) in (1..).zip(names) {
        tree.put(pid, Fields { name, ..Fields::default() });
    }
    let round = collector(tree.root(), json!({})).collect().unwrap();
    assert!(round.partial.is_empty(), "{:?}", round.partial);
    for (pid, name) in (1..).zip(names) {
        let row = round.row("processes", "pid", pid);
        assert_eq!(row["name"], String::from_utf8_lossy(name).as_ref());
        assert_eq!((&row["state"], &row["ppid"]), (&json!("sleeping"), &json!(1)));
    }
}

#[test]
fn include_and_exclude_choose_by_name_and_pattern() {
    let shown = |more| {
        let mut shown = pids(&fixture(more).collect().unwrap());
        shown.sort_unstable();
        shown
    };
    assert_eq!(shown(json!({ "include": ["sys*", "sh"] })), [1, 901]);
    assert_eq!(shown(json!({ "exclude": ["k*", "sh"] })), [1, 812]);
    assert_eq!(shown(json!({ "include": ["*(1)"], "exclude": ["tmux*"] })), [0; 0]);
    assert_eq!(shown(json!({ "kernel_threads": false })), [1, 812, 901]);
}

#[test]
fn what_is_not_shown_is_counted_all_the_same() {
    let more = json!({ "exclude": ["*"], "kernel_threads": false });
    let round = fixture(more).collect().unwrap();
    assert_eq!(round.rows("")[0]["count"], 5);
    assert_eq!(round.streams().collect::<Vec<_>>(), ["", "processes"], "an empty list is news");
}

#[test]
fn only_the_wanted_stream_is_pushed_and_without_any_nothing_is_read() {
    let streams = |round: Round| round.streams().map(str::to_owned).collect::<Vec<_>>();
    let mut process = fixture(json!({}));
    assert_eq!(streams(process.collect_only(&[""]).unwrap()), [""]);
    assert_eq!(streams(process.collect_only(&["processes"]).unwrap()), ["processes"]);
    let mut nowhere = collector("/nowhere", json!({}));
    assert!(streams(nowhere.collect_only(&[]).unwrap()).is_empty());
    let error = nowhere.collect().unwrap_err();
    assert!(error.message().starts_with("/nowhere: No such file"), "{error}");
}

#[test]
fn for_the_summary_alone_nothing_but_stat_is_read_of_a_process() {
    let tree = Tree::new(100);
    tree.put(7, Fields::default());
    tree.io(7, 1, 1);
    let mut survey = Survey::new(tree.root(), everything());
    for rows in [true, true, false] {
        survey.run(rows).unwrap();
        assert_eq!(survey.seen()[0].is_whole, rows);
    }
}

#[test]
fn without_what_the_machine_counts_only_that_is_missing() {
    let tree = Tree::new(100);
    tree.put(7, Fields { cpu: 50, ..Fields::default() });
    std::fs::remove_file(tree.root().join("stat")).unwrap(); // as with subset=pid
    let mut process = collector(tree.root(), json!({}));
    process.collect().unwrap();
    let round = process.collect().unwrap();
    assert!(round.partial.is_empty(), "{:?}", round.partial);
    let row = round.row("processes", "pid", 7);
    assert_eq!((&row["cpu_percent"], &row["start_time_seconds"]), (&Value::Null, &Value::Null));
    assert_eq!(row["user_seconds"], 0.5);
    assert_eq!(
        (&round.rows("")[0]["created"], &round.rows("")[0]["count"]),
        (&Value::Null, &json!(1))
    );
}

#[test]
fn a_malformed_line_costs_its_process_and_no_other() {
    let tree = Tree::new(100);
    tree.put(7, Fields::default());
    for pid in [8, 9] {
        tree.file(pid, "stat", "8 (cut) S 1");
    }
    let round = collector(tree.root(), json!({})).collect().unwrap();
    assert_eq!(pids(&round), [7]);
    assert_eq!(round.partial, ["8/stat: not what it should be, and 1 more"]);
}

#[test]
fn a_wrong_setting_is_an_error_that_names_it() {
    let refused = |more| Harness::<ProcessCollector>::new(more).err().unwrap();
    let error = refused(json!({ "top": 0 }));
    assert_eq!((error.path(), error.message().contains("all = true")), ("top", true), "{error}");
    let error = refused(json!({ "by": "io", "io": false }));
    assert_eq!((error.path(), error.message().contains("io = false")), ("by", true), "{error}");
    let error = refused(json!({ "by": "age" }));
    assert!(error.message().contains("`cpu`, `memory`, `io`, `threads`"), "{error}");
    assert!(refused(json!({ "tops": 5 })).message().contains("tops"));
}

#[test]
fn each_metric_has_its_name_and_the_start_is_part_of_the_key() {
    let named = |columns: Vec<dropsonde_plugin_api::schema::ColumnSchema>| {
        let metrics = columns.into_iter().filter(|column| !column.otel.is_empty());
        metrics.map(|column| (column.name, column.otel)).collect::<Vec<_>>()
    };
    let has = |of: &[(String, String)], name: &str, otel: &str| {
        assert!(of.contains(&(name.to_owned(), otel.to_owned())), "{name}: {of:?}");
    };
    let process = named(Process::schema().columns);
    has(&process, "pid", "process.pid");
    has(&process, "user_seconds", "process.cpu.time");
    has(&process, "resident_bytes", "process.memory.usage");
    has(&process, "virtual_bytes", "process.memory.virtual");
    has(&process, "write_bytes", "process.disk.io");
    has(&process, "threads", "process.threads");
    has(&named(Summary::schema().columns), "zombie", "system.processes.count");
    let keys = Process::schema().columns.into_iter().filter(|column| column.role == Role::Key);
    assert_eq!(keys.map(|column| column.name).collect::<Vec<_>>(), ["pid", "started_ms"]);
}
