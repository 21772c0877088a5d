use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::{Duration, SystemTime};

use dropsonde_plugin_api::testing::{Fixture, Harness, Round};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::Textfile;

fn reader(directory: &Path, more: Value) -> Harness<Textfile> {
    let mut settings = json!({ "directory": directory });
    settings.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    Harness::new(settings).unwrap()
}

fn value(round: &Round, metric: &str) -> Option<f64> {
    let rows = round.rows("samples");
    rows.iter().find(|row| row["metric"] == metric)?["value"].as_f64()
}

#[test]
fn files_come_change_and_go() {
    let directory = TempDir::new().unwrap();
    let path = |name: &str| directory.path().join(name);
    let mut reader = reader(directory.path(), json!({}));
    let round = reader.collect().unwrap();
    assert_eq!((round.partial.len(), round.rows("samples").len()), (0, 0));
    fs::write(path("a.prom"), "a 1\n").unwrap();
    fs::write(path("b.prom.tmp"), "b 1\n").unwrap();
    fs::write(path("c.txt"), "c 1\n").unwrap();
    let round = reader.collect().unwrap();
    assert_eq!((value(&round, "a"), round.rows("samples").len()), (Some(1.0), 1));
    let file = round.row("files", "file", path("a.prom").to_str().unwrap());
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs_f64();
    assert!((now - file["mtime_seconds"].as_f64().unwrap()).abs() < 60.0);
    fs::rename(path("b.prom.tmp"), path("b.prom")).unwrap();
    fs::write(path("a.prom"), "a 2\n").unwrap();
    let round = reader.collect().unwrap();
    assert_eq!((value(&round, "a"), value(&round, "b")), (Some(2.0), Some(1.0)));
    fs::remove_file(path("a.prom")).unwrap();
    let round = reader.collect().unwrap();
    assert_eq!((value(&round, "a"), value(&round, "b")), (None, Some(1.0)));
    assert_eq!(round.rows("")[0]["scrape_error"], false);
}

#[test]
fn what_was_not_written_for_too_long_vanishes_and_comes_back() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("a.prom");
    fs::write(&path, "a 1\n").unwrap();
    fs::write(directory.path().join("b.prom"), "b 1\n").unwrap();
    let written = |time: SystemTime| File::open(&path).unwrap().set_modified(time).unwrap();
    written(SystemTime::now() - Duration::from_secs(7200));
    let mut reader = reader(directory.path(), json!({ "max_age": "1h" }));
    let round = reader.collect().unwrap();
    assert_eq!((value(&round, "a"), value(&round, "b")), (None, Some(1.0)));
    assert_eq!(round.row("files", "file", path.to_str().unwrap())["stale"], true);
    assert_eq!(round.rows("")[0]["scrape_error"], true);
    let text = &round.partial[0];
    assert!(text.contains("a.prom: was not written for 7200 s, and `max_age` is 1h"), "{text}");
    written(SystemTime::now());
    let round = reader.collect().unwrap();
    assert_eq!((value(&round, "a"), round.partial.len()), (Some(1.0), 0));
}

#[test]
fn what_can_not_be_read_loses_no_other_file() {
    let directory = TempDir::new().unwrap();
    let path = |name: &str| directory.path().join(name);
    fs::write(path("a.prom"), "a 1\n?\nb 2\n").unwrap();
    fs::write(path("b.prom"), "a 3\nc 4\n").unwrap();
    fs::write(path("large.prom"), "x 1\n".repeat(300)).unwrap();
    fs::create_dir(path("directory.prom")).unwrap();
    symlink("/dev/zero", path("endless.prom")).unwrap();
    symlink("nowhere", path("broken.prom")).unwrap();
    symlink("c.text", path("link.prom")).unwrap();
    fs::write(path("c.text"), "linked 1\n").unwrap();
    let fifo = std::process::Command::new("mkfifo").arg(path("fifo.prom")).status();
    assert!(fifo.unwrap().success());
    let mut reader = reader(directory.path(), json!({ "max_file": 1000 }));
    let round = reader.collect().unwrap();
    let values = ["a", "b", "c", "linked"].map(|metric| value(&round, metric));
    assert_eq!(values, [1.0, 2.0, 4.0, 1.0].map(Some));
    assert_eq!(round.rows("samples").len(), 4);
    let all = round.partial.join("\n");
    for fault in [
        "a.prom: line 2: no name",
        "b.prom: a series stands twice",
        "large.prom: has 1200 bytes, and `max_file` is 1000 B",
        "directory.prom: is no plain file",
        "endless.prom: is no plain file",
        "fifo.prom: is no plain file",
        "broken.prom: is a link to nothing",
    ] {
        assert!(all.contains(fault), "{fault}: {all}");
    }
    assert_eq!(round.partial.len(), 7, "{all}");
    assert_eq!(round.rows("")[0]["scrape_error"], true);
}

#[test]
fn a_link_whose_file_is_gone_is_reported() {
    let directory = TempDir::new().unwrap();
    let path = |name: &str| directory.path().join(name);
    fs::write(path("a.text"), "a 1\n").unwrap();
    symlink("a.text", path("a.prom")).unwrap();
    let mut reader = reader(directory.path(), json!({}));
    assert_eq!(value(&reader.collect().unwrap(), "a"), Some(1.0));
    fs::remove_file(path("a.text")).unwrap();
    let round = reader.collect().unwrap();
    assert_eq!((value(&round, "a"), round.partial.len()), (None, 1));
    assert!(round.partial[0].ends_with("a.prom: is a link to nothing"), "{round:?}");
    assert_eq!(round.rows("")[0]["scrape_error"], true);
}

#[test]
fn a_link_is_followed_if_it_is_roots_or_the_file_owners() {
    let directory = TempDir::new().unwrap();
    let path = |name: &str| directory.path().join(name);
    let nobody = Some(65534);
    fs::write(path("secret"), "a 1\n").unwrap();
    if let Err(error) = std::os::unix::fs::chown(path("secret"), nobody, None) {
        return eprintln!("SKIPPED: can't give a file to another user: {error}");
    }
    let link = |name: &str, to: &str, owner: Option<u32>| {
        symlink(to, path(name)).unwrap();
        std::os::unix::fs::lchown(path(name), owner, None).unwrap();
    };
    fs::write(path("roots"), "b 1\n").unwrap();
    link("roots_link.prom", "secret", Some(0));
    link("own_link.prom", "secret", nobody);
    link("strange_link.prom", "roots", nobody);
    let round = reader(directory.path(), json!({})).collect().unwrap();
    assert_eq!((value(&round, "a"), value(&round, "b")), (Some(1.0), None));
    let all = round.partial.join("\n");
    let fault = "strange_link.prom: is a link of user 65534 to a file of user 0; it is followed if";
    assert!(all.contains(fault) && round.rows("files").len() == 2, "{all}");
}

#[test]
fn no_more_samples_are_kept_than_can_be_published() {
    let directory = TempDir::new().unwrap();
    let path = |name: &str| directory.path().join(name);
    let samples = |name: &str, count: usize| -> String {
        (0..count).map(|index| format!("{name}{index} 1\n")).collect()
    };
    fs::write(path("a.prom"), samples("a", 60_000)).unwrap();
    fs::write(path("b.prom"), samples("b", 60_000)).unwrap();
    fs::write(path("c.prom"), "c 1\n").unwrap();
    let mut reader = reader(directory.path(), json!({}));
    for _ in 0..2 {
        let round = reader.collect().unwrap();
        assert_eq!(round.rows("samples").len(), 60_001);
        assert!(round.partial[0].contains("b.prom: its 60000 samples are left out"), "{round:?}");
        assert_eq!((round.partial.len(), round.rows("files").len()), (1, 3));
        assert_eq!(round.rows("")[0]["scrape_error"], true);
    }
    fs::write(path("a.prom"), "a 1\n").unwrap();
    let round = reader.collect().unwrap();
    assert_eq!((round.rows("samples").len(), round.partial.len()), (60_002, 0));
}

#[test]
fn what_is_too_old_takes_no_room_from_what_is_fresh() {
    let directory = TempDir::new().unwrap();
    let path = |name: &str| directory.path().join(name);
    let written = |name: &str, time: SystemTime| {
        File::open(path(name)).unwrap().set_modified(time).unwrap();
    };
    for name in ["a", "b"] {
        let text: String = (0..60_000).map(|index| format!("{name}{index} 1\n")).collect();
        fs::write(path(name).with_extension("prom"), text).unwrap();
    }
    written("a.prom", SystemTime::now() - Duration::from_secs(7200));
    let mut reader = reader(directory.path(), json!({ "max_age": "1h" }));
    for _ in 0..2 {
        let round = reader.collect().unwrap();
        assert_eq!((value(&round, "a0"), value(&round, "b0")), (None, Some(1.0)));
        let old = round.row("files", "file", path("a.prom").to_str().unwrap());
        assert_eq!((&old["stale"], &old["sample_count"]), (&json!(true), &json!(0)));
        assert_eq!((round.partial.len(), round.rows("samples").len()), (1, 60_000));
    }
    written("a.prom", SystemTime::now());
    let round = reader.collect().unwrap();
    assert_eq!((value(&round, "a0"), value(&round, "b0")), (Some(1.0), None));
    assert!(round.partial[0].contains("b.prom: its 60000 samples are left out"), "{round:?}");
}

#[test]
fn a_writer_that_pauses_within_a_number_writes_none() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("slow.prom");
    fs::write(&path, "slow_a 1\nslow_b 123").unwrap();
    let mut reader = reader(directory.path(), json!({}));
    let round = reader.collect().unwrap();
    assert_eq!((value(&round, "slow_a"), value(&round, "slow_b")), (Some(1.0), None));
    assert!(round.partial[0].ends_with("line 2: it does not end: the text was cut"), "{round:?}");
    fs::write(&path, "slow_a 1\nslow_b 123456\n").unwrap();
    let round = reader.collect().unwrap();
    assert_eq!((value(&round, "slow_b"), round.partial.len()), (Some(123_456.0), 0));
}

#[test]
fn settings_that_can_not_be_say_what_to_write() {
    let settings = json!({ "directory": "/", "max_age": 3600 });
    let error = serde_json::from_value::<crate::Settings>(settings).unwrap_err().to_string();
    assert!(error.ends_with("expected a duration such as \"500ms\", \"5s\" or \"1h\""), "{error}");
}

#[test]
fn a_directory_that_is_not_there_is_said_so() {
    let directory = TempDir::new().unwrap();
    let round = reader(&directory.path().join("none"), json!({})).collect().unwrap();
    assert!(round.partial[0].ends_with("none: No such file or directory (os error 2)"));
    assert_eq!(round.rows("")[0]["scrape_error"], true);
}

dropsonde_plugin_api::contract_test!(
    collector = Textfile,
    let files = Fixture::new().file("a.prom", "a 1\n"),
    settings = { "directory": files.root() },
    streams = "streams.txt",
);
