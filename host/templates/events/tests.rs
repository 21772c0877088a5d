use std::time::Duration;

use dropsonde_plugin_api::contract_test;
use dropsonde_plugin_api::testing::{EventHarness, Fixture, json};

use crate::{Change, Watcher};

/// The pause between two looks. In a test it takes no time.
const PAUSE: Duration = Duration::from_secs(3600);

fn watch(directory: &Fixture) -> EventHarness<Watcher> {
    let path = directory.root().join("file");
    let settings = json!({ "paths": [path], "every_ms": PAUSE.as_millis() as u64 });
    EventHarness::start(settings).unwrap()
}

fn change(directory: &Fixture, what: &'static str, length_bytes: Option<u64>) -> Change {
    let path = directory.root().join("file").display().to_string();
    Change {
        path,
        what,
        length_bytes,
    }
}

#[test]
fn what_happens_to_a_file_is_told_once() {
    let directory = Fixture::new();
    let mut watcher = watch(&directory);
    watcher.advance(PAUSE).unwrap().assert_records::<Change>([]);

    directory.write("file", "one");
    let round = watcher.advance(PAUSE).unwrap();
    round.assert_records([change(&directory, "appeared", Some(3))]);

    directory.write("file", "three");
    let round = watcher.advance(3 * PAUSE).unwrap();
    round.assert_records([change(&directory, "changed", Some(5))]);

    directory.remove("file");
    let round = watcher.advance(PAUSE).unwrap();
    round.assert_records([change(&directory, "removed", None)]);
    watcher.stop().unwrap().assert_records::<Change>([]);
}

#[test]
fn a_file_that_was_there_before_is_no_change() {
    let directory = Fixture::new().file("file", "old");
    let mut watcher = watch(&directory);
    watcher
        .advance(2 * PAUSE)
        .unwrap()
        .assert_records::<Change>([]);
}

#[test]
fn a_file_that_can_not_be_looked_at_costs_no_other() {
    let directory = Fixture::new().file("no_directory", "");
    let paths = ["no_directory/file", "file"].map(|path| directory.root().join(path));
    let settings = json!({ "paths": paths, "every_ms": PAUSE.as_millis() as u64 });
    let mut watcher = EventHarness::<Watcher>::start(settings).unwrap();
    watcher.advance(PAUSE).unwrap().assert_records::<Change>([]);
    directory.write("file", "one");
    let round = watcher.advance(PAUSE).unwrap();
    round.assert_records([change(&directory, "appeared", Some(3))]);
    watcher.stop().unwrap();
}

#[test]
fn a_pause_of_nothing_is_refused() {
    let error = EventHarness::<Watcher>::start(json!({ "every_ms": 0 }))
        .err()
        .unwrap();
    assert_eq!(error.path(), "every_ms");
}

contract_test!(events = Watcher, streams = "streams.txt");
