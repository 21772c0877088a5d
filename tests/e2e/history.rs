//! What is stored is what was read: it survives SIGKILL, full disks and damaged files, and delays
//! nobody.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use dropsonde_tests::{Agent, Options, fixture, skipped, thread_names, wait_for};
use rusqlite::{Connection, OpenFlags};
use serde_json::Value;
use tempfile::TempDir;

fn agent(config: &str, plugins: &[&str]) -> Agent {
    Agent::with(Options {
        config: config.into(),
        plugins: plugins.iter().map(|name| (fixture(name), format!("{name}.so"))).collect(),
        arguments: vec!["--output".into(), "ndjson".into()],
        ..Options::default()
    })
}

fn status(agent: &Agent) -> Value {
    agent.json("/api/v1/status")["history"].clone()
}

fn rows(agent: &Agent) -> u64 {
    status(agent)["rows"].as_u64().unwrap()
}

#[track_caller]
fn until(agent: &Agent, what: &str, is: impl Fn(&Value) -> bool) -> Value {
    wait_for(what, || {
        let status = status(agent);
        is(&status).then_some(status)
    })
}

fn file(root: &Path) -> PathBuf {
    root.join("state/history/history.db")
}

/// Whether it has the thread that writes.
fn writes(agent: &Agent) -> bool {
    thread_names(agent.pid()).iter().any(|name| name.trim() == "dropsonde-store")
}

/// The values of a query with one column.
fn column<T: rusqlite::types::FromSql>(file: &Path, sql: &str) -> Vec<T> {
    let connection = Connection::open_with_flags(file, OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
    let mut statement = connection.prepare(sql).unwrap();
    statement.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
}

const PULSE: &str = "[history]\nstreams = [\"events.>\"]\nflush = \"100ms\"\n";

#[test]
fn what_is_read_is_stored_and_served_by_series_and_step() {
    let agent = agent(
        "[defaults]\ninterval = \"50ms\"\n\
         [history]\nstreams = [\"metrics.>\", \"health.>\"]\ninterval = \"100ms\"\nflush = \"200ms\"\n",
        &["steady_v1"],
    );
    until(&agent, "thirty rows", |status| status["rows"].as_u64() >= Some(30));
    let answer = agent.json("/api/v1/history?stream=steady.parts&step=1s&columns=reads");
    assert_eq!(answer["columns"][0]["name"], "reads", "{answer}");
    assert_eq!(answer["step_seconds"], 1.0);
    let series = answer["series"].as_array().unwrap();
    let keys: Vec<_> = series.iter().map(|series| &series["key"]["part"]).collect();
    assert_eq!(keys, ["a", "b"]);
    let reads: Vec<u64> =
        series[0]["rows"].as_array().unwrap().iter().map(|row| row[1].as_u64().unwrap()).collect();
    assert!(!reads.is_empty() && reads.is_sorted(), "{answer}");
    // One batch of two is stored, each as it was published.
    let stored: Vec<i64> = column(&file(agent.root()), "SELECT elapsed FROM steady ORDER BY _id");
    let published = wait_for("all that are stored among those that were published", || {
        let batches = agent.published("metrics.steady");
        let elapsed = |batch: &Value| batch["records"][0]["elapsed"].as_i64().unwrap();
        let published: Vec<i64> = batches.iter().map(elapsed).collect();
        stored.iter().all(|value| published.contains(value)).then_some(published)
    });
    assert!(stored.len() <= published.len() / 2 + 2, "{} of {}", stored.len(), published.len());
    let health = agent.json("/api/v1/history?stream=health.steady&where=ready&columns=phase");
    assert_eq!(health["series"][0]["key"]["collector"], "steady", "{health}");
    for (query, code, expected) in [
        (
            "stream=steady.prts",
            404,
            "no stream `steady.prts` is stored; did you mean `steady.parts`?",
        ),
        ("stream=steady&step=0", 400, "step: `0` is no duration of 1 ms or more"),
        ("stream=steady&from=yesterday", 400, "from: `yesterday` is no time"),
        ("stream=steady&from=-1h&to=-2h", 400, "from: it must be before `to`"),
        ("stream=steady&columns=labl", 400, "did you mean `label`?"),
        ("stream=steady&where=labl%3D1", 400, "did you mean `label`?"),
        ("steam=steady", 400, "?stream=network.interfaces"),
    ] {
        let (found, text) = agent.page(&format!("/api/v1/history?{query}"));
        assert_eq!(found, code, "{query}: {text}");
        assert!(text.contains(expected), "{query}: {text}");
    }
    let (_, page) = agent.page("/metrics");
    for family in ["rows_total", "flushes_total", "lost_rows_total{cause=\"full\"} 0", "storing 1"]
    {
        assert!(page.contains(&format!("\ndropsonde_history_{family}")), "{family}");
    }
}

#[test]
fn without_a_word_in_the_configuration_nothing_is_stored_and_nothing_runs_for_it() {
    let agent = agent("", &["steady_v1"]);
    agent.running("steady");
    assert_eq!(status(&agent), Value::Null);
    assert!(!file(agent.root()).exists());
    assert!(!writes(&agent));
    let (code, text) = agent.page("/api/v1/history?stream=steady");
    assert_eq!(code, 404);
    assert!(text.contains("history.streams"), "{text}");
}

#[test]
fn nothing_is_read_for_history_that_would_not_be_read_without() {
    let agent = agent(
        "[defaults]\ninterval = \"1h\"\n\
         [history]\nstreams = [\"metrics.>\", \"events.>\"]\ninterval = \"50ms\"\nflush = \"50ms\"\n",
        &["steady_v1", "pulse"],
    );
    agent.running("steady");
    let steady = "SELECT count(*) FROM sqlite_master WHERE name = 'steady'";
    until(&agent, "twenty beats, and a read of the other", |status| {
        status["rows"].as_u64() > Some(20) && column::<i64>(&file(agent.root()), steady) == [1]
    });
    assert_eq!(agent.collector("steady").unwrap()["batches"], 2, "of two streams, one each");
}

#[test]
fn queries_join_what_was_stored_with_what_is_live_and_never_write_it() {
    let agent = agent(
        "[defaults]\ninterval = \"50ms\"\n[history]\nstreams = [\"metrics.>\"]\n\
         interval = \"50ms\"\nflush = \"50ms\"\n",
        &["steady_v1"],
    );
    until(&agent, "rows", |status| status["rows"].as_u64() > Some(30));
    let ask = |sql: &str| {
        let answer = agent.told(&["query", "--json", sql]);
        serde_json::from_str::<Value>(answer.lines().next().unwrap()).unwrap()
    };
    let found = ask("select count(*) as stored, max(live.reads) >= max(old.reads) as later \
                     from history.steady_parts as old join steady_parts as live using (part) \
                     where old._id >= (unixepoch() - 600) * 1000 << 20");
    assert!(found["stored"].as_u64() > Some(10), "{found}");
    let minutes = ask("select count(*) as minutes from history.steady_parts_1m");
    assert!(minutes["minutes"].is_u64(), "{minutes}");
    let refused = agent.command(&["query", "delete from history.steady_parts"]).output().unwrap();
    assert!(!refused.status.success());
    let before = rows(&agent);
    until(&agent, "it is written on", |status| status["rows"].as_u64() > Some(before + 10));
}

/// What was on standard output before a time, by number.
fn beats_before(agent: &Agent, time: SystemTime) -> Vec<i64> {
    let batches = agent.published("events.pulse.beat").into_iter();
    let beats = batches.filter(|batch| {
        humantime::parse_rfc3339(batch["timestamp"].as_str().unwrap()).unwrap() < time
    });
    beats
        .flat_map(|batch| batch["records"].as_array().unwrap().clone())
        .map(|record| record["number"].as_i64().unwrap())
        .collect()
}

#[test]
fn a_sigkill_at_any_moment_loses_nothing_beyond_the_last_flush() {
    let config = format!(
        "{PULSE}[collectors.pulse.settings]\nevery_ms = 1\nburst = 20\ngather_until = 1000000000\n"
    );
    let mut agent = agent(&config, &["pulse"]);
    let mut expected: Vec<i64> = Vec::new();
    for round in 1..=4 {
        until(&agent, "some flushes", |status| status["flushes"].as_u64() >= Some(3));
        std::thread::sleep(Duration::from_millis(37 * round));
        let flushed = status(&agent);
        agent.signal("KILL");
        let last = flushed["last_flush"].as_str().unwrap();
        let last = humantime::parse_rfc3339(last).unwrap() - Duration::from_millis(200);
        let certain = beats_before(&agent, last);
        let remains = agent.ended();
        let file = file(remains.root());
        let all: Vec<i64> = column(&file, "SELECT number FROM pulse_beat ORDER BY _id");
        assert_eq!(all[..expected.len()], expected, "what was there is there");
        let new = &all[expected.len()..];
        let whole: Vec<i64> = (1..=new.len() as i64).collect();
        assert_eq!(new, whole, "in order, none twice, none missing");
        assert!(
            new.len() as u64 >= flushed["rows"].as_u64().unwrap(),
            "what was said to be stored"
        );
        assert!(!certain.is_empty() && new.len() >= certain.len(), "what was older than the flush");
        assert_eq!(column::<String>(&file, "PRAGMA integrity_check"), ["ok"]);
        expected = all;
        agent = remains.start_again();
    }
    until(&agent, "it goes on", |status| status["rows"].as_u64() > Some(0));
    assert_eq!(status(&agent)["damaged_files"], 0);
}

#[test]
fn sigterm_loses_nothing_at_all() {
    let slow = PULSE.replace("100ms", "10min");
    let mut agent = agent(&slow, &["pulse"]);
    wait_for("beats", || (beats_before(&agent, SystemTime::now()).len() > 20).then_some(()));
    assert_eq!(rows(&agent), 0, "the flush is far");
    let file = file(agent.root());
    assert!(agent.terminate().success());
    let published = beats_before(&agent, SystemTime::now());
    let stored: Vec<i64> = column(&file, "SELECT number FROM pulse_beat ORDER BY _id");
    assert!(stored.len() >= 20 && stored.starts_with(&published[..20]), "{stored:?}");
    assert_eq!(stored, (1..=stored.len() as i64).collect::<Vec<_>>());
}

/// A file system of its own; unmounted at the end.
struct Small(TempDir);

impl Small {
    fn mount(size: &str) -> Option<Self> {
        let directory = TempDir::new().unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={size}"), "history-test"])
            .arg(directory.path())
            .output();
        match mounted {
            Ok(output) if output.status.success() => Some(Self(directory)),
            Ok(output) => {
                let error = String::from_utf8_lossy(&output.stderr).into_owned();
                skipped(format!("a file system to fill can't be mounted: {error}"));
                None
            }
            Err(error) => {
                skipped(format!("mount(8) can't be run: {error}"));
                None
            }
        }
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}

#[test]
fn a_full_disk_stops_no_collector_and_its_losses_are_counted_until_there_is_space() {
    let Some(small) = Small::mount("16m") else { return };
    let path = small.0.path().join("history.db");
    let config = format!(
        "[history]\nstreams = [\"events.>\", \"metrics.>\"]\nflush = \"100ms\"\npath = \"{}\"\n\
         [collectors.steady]\ninterval = \"200ms\"\n\
         [collectors.pulse.settings]\nevery_ms = 20\nburst = 1000\ngather_until = 1000000000\n",
        path.display()
    );
    let agent = agent(&config, &["steady_v1", "pulse"]);
    agent.running("steady");
    until(&agent, "rows", |status| status["rows"].as_u64() > Some(1000));
    let before = agent.collector("steady").unwrap();
    let ballast = small.0.path().join("ballast");
    let mut file = fs::File::create(&ballast).unwrap();
    let error = std::io::copy(&mut std::io::repeat(7), &mut file).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::StorageFull);
    let full = until(&agent, "losses", |status| {
        status["state"] == "failing" && status["lost_rows"]["full"].as_u64() > Some(0)
    });
    assert!(full["waiting_rows"].as_u64() <= Some(50_000), "{full}");
    assert!(full["last_error"].as_str().unwrap().contains("make room"), "{full}");
    let batches = before["batches"].as_u64().unwrap();
    let after = agent
        .until("steady", "still collecting", |now| now["batches"].as_u64() > Some(batches + 16));
    assert_eq!(after["missed_ticks"], before["missed_ticks"], "no tick is missed for it");
    let errors = agent.log().iter().filter(|line| line.contains("collection goes on")).count();
    assert_eq!(errors, 1, "it is said once");
    drop(file);
    fs::remove_file(ballast).unwrap();
    let rows = full["rows"].as_u64().unwrap();
    until(&agent, "recovery", |status| {
        status["state"] == "storing" && status["rows"].as_u64() > Some(rows)
    });
    agent.logged("history: stored again; ");
    assert_eq!(column::<String>(&path, "PRAGMA quick_check"), ["ok"]);
    let numbers: Vec<i64> = column(&path, "SELECT number FROM pulse_beat ORDER BY _id");
    assert!(numbers.is_sorted_by(|a, b| a < b), "in order, none twice");
}

#[test]
fn a_damaged_file_is_set_aside_and_a_new_one_begun() {
    let mut agent = agent(PULSE, &["pulse"]);
    until(&agent, "rows", |status| status["rows"].as_u64() > Some(20));
    let path = file(agent.root());
    assert!(agent.terminate().success());
    let mut bytes = fs::read(&path).unwrap();
    assert!(bytes.len() > 20_000, "it was copied back at the end: {}", bytes.len());
    bytes[8192..].fill(0x5A);
    fs::write(&path, &bytes).unwrap();
    let agent = agent.ended().start_again();
    agent.logged("it was set aside as ");
    let now = until(&agent, "new rows", |status| status["rows"].as_u64() > Some(0));
    assert_eq!((now["damaged_files"].as_u64(), &now["state"]), (Some(1), &"storing".into()));
    assert_eq!(column::<String>(&path, "PRAGMA integrity_check"), ["ok"]);
    let names = fs::read_dir(path.parent().unwrap()).unwrap();
    let aside: Vec<PathBuf> = names
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.to_string_lossy().contains(".corrupt-"))
        .collect();
    assert_eq!(aside.len(), 1, "{aside:?}");
    assert_eq!(fs::read(&aside[0]).unwrap(), bytes, "as it was found");
}

#[test]
fn a_file_that_was_removed_is_made_anew() {
    let agent = agent(PULSE, &["pulse"]);
    until(&agent, "rows", |status| status["rows"].as_u64() > Some(20));
    let path = file(agent.root());
    fs::remove_file(&path).unwrap();
    wait_for("the new file", || {
        let count = "SELECT count(*) FROM sqlite_master WHERE name = 'pulse_beat'";
        (path.exists() && column::<i64>(&path, count) == [1]).then_some(())
    });
    let rows = rows(&agent);
    until(&agent, "rows in it", |status| status["rows"].as_u64() > Some(rows + 10));
    let numbers: Vec<i64> = column(&path, "SELECT number FROM pulse_beat ORDER BY _id");
    let first = numbers[0];
    assert!(first > 1, "what was in the old one is gone with it");
    assert_eq!(numbers, (first..first + numbers.len() as i64).collect::<Vec<_>>());
    assert_eq!(column::<String>(&path, "PRAGMA integrity_check"), ["ok"]);
}

#[test]
fn a_file_that_is_in_use_or_of_a_newer_agent_is_left_alone_and_the_agent_goes_on() {
    let first = agent(PULSE, &["pulse"]);
    until(&first, "rows", |status| status["rows"].as_u64() > Some(0));
    let path = file(first.root());
    let config = format!("{PULSE}path = \"{}\"\n", path.display());
    let second = agent(&config, &["pulse", "steady_v1"]);
    second.logged("is in use by another agent");
    second.running("steady");
    assert_eq!(status(&second)["state"], "failing");
    let mut first = first;
    assert!(first.terminate().success());
    until(&second, "its turn", |status| status["rows"].as_u64() > Some(0));
    let mut second = second;
    assert!(second.terminate().success());
    let connection = Connection::open(&path).unwrap();
    connection.pragma_update(None, "user_version", 7).unwrap();
    drop(connection);
    let before = fs::read(&path).unwrap();
    let third = agent(&config, &["steady_v1"]);
    third.running("steady");
    third.logged("was written by a newer version (layout 7, this one knows 1)");
    assert_eq!(status(&third)["state"], "refused");
    assert_eq!(fs::read(&path).unwrap(), before);
}

#[test]
fn a_reload_changes_what_is_stored_without_a_gap_and_ends_it() {
    let agent = agent(PULSE, &["pulse", "steady_v1"]);
    until(&agent, "rows", |status| status["rows"].as_u64() > Some(10));
    assert!(writes(&agent));
    agent.configure(
        "[history]\nstreams = [\"events.>\", \"metrics.steady\"]\nflush = \"50ms\"\n\
         interval = \"10ms\"\n",
    );
    let path = file(agent.root());
    let count = "SELECT count(*) FROM sqlite_master WHERE name = 'steady'";
    wait_for("the other stream", || (column::<i64>(&path, count) == [1]).then_some(()));
    let rows = rows(&agent);
    until(&agent, "more rows", |status| status["rows"].as_u64() > Some(rows + 10));
    let numbers: Vec<i64> = column(&path, "SELECT number FROM pulse_beat ORDER BY _id");
    assert_eq!(numbers, (1..=numbers.len() as i64).collect::<Vec<_>>(), "no gap, none twice");
    agent.configure("[history]\nstreams = [\"events..\"]\n");
    agent.logged("history.streams[0]: `events..` has an empty token");
    until(&agent, "the old one goes on", |status| status["state"] == "storing");
    agent.configure("[history]\nstreams = []\n");
    wait_for("its end", || (!writes(&agent)).then_some(()));
    assert_eq!(status(&agent), Value::Null);
    assert!(!path.with_extension("db-wal").exists(), "it was closed");
}
