use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use crate::prelude::*;
use crate::testing::{Fixture, Harness, Round, assert_streams, json, streams};

/// A file's first line.
#[derive(Record)]
struct Line {
    /// Which file.
    #[key]
    file: String,
    /// Its length.
    #[gauge(unit = "By", otel = "file.size")]
    length: Option<u64>,
    /// Since it was last read.
    #[gauge(unit = "s")]
    since_seconds: f64,
}

struct Reader {
    root: PathBuf,
    host: Host,
}

#[settings]
struct Settings {
    root: PathBuf,
}

impl Collector for Reader {
    type Settings = Settings;
    type Streams = (Line,);

    fn create(settings: Settings, host: Host) -> Result<Self> {
        Ok(Self { root: settings.root, host })
    }

    fn collect(&mut self, out: &mut Batch) -> Result<()> {
        let text = std::fs::read_to_string(self.root.join("line"))?;
        let length = if text.is_empty() { None } else { Some(text.len() as u64) };
        let since_seconds = self.host.elapsed().as_secs_f64();
        out.push(Line { file: "line".to_owned(), length, since_seconds })?;
        if let Some(age) = self.host.wall().duration_since(SystemTime::UNIX_EPOCH).ok()
            && age > Duration::from_secs(2_000_000_000)
        {
            out.partial("the future");
        }
        Ok(())
    }
}

fn line(length: Option<u64>, since_seconds: f64) -> Line {
    Line { file: "line".to_owned(), length, since_seconds }
}

fn reader(fixture: &Fixture) -> Harness<Reader> {
    Harness::new(json!({ "root": fixture.root() })).unwrap()
}

/// What a failed comparison says.
fn panic_of(compare: impl FnOnce()) -> String {
    let compare = std::panic::AssertUnwindSafe(compare);
    let panic = std::panic::catch_unwind(compare).unwrap_err();
    panic.downcast_ref::<String>().unwrap().clone()
}

fn complaint(round: &Round, expected: Vec<Line>) -> String {
    panic_of(|| round.assert_records(expected))
}

#[test]
fn each_round_reads_the_fixture_as_it_is_then() {
    let fixture = Fixture::new().file("line", "four");
    let mut reader = reader(&fixture);
    reader.collect().unwrap().assert_records([line(Some(4), 0.0)]);
    fixture.write("line", "");
    reader.collect().unwrap().assert_records([line(None, 0.0)]);
    fixture.remove("line");
    assert!(reader.collect().unwrap_err().message().contains("No such file"));
}

#[test]
fn time_stands_still_until_the_test_moves_it() {
    let fixture = Fixture::new().file("line", "four");
    let mut reader = reader(&fixture);
    reader.advance(Duration::from_secs(90));
    let round = reader.collect().unwrap();
    round.assert_records([line(Some(4), 90.0)]);
    assert_eq!(round.partial.len(), 0, "it is 2020");
    reader.set_wall(SystemTime::UNIX_EPOCH + Duration::from_secs(2_000_000_001));
    let round = reader.collect().unwrap();
    round.assert_records([line(Some(4), 90.0)]);
    assert_eq!(round.partial, ["the future"]);
}

#[test]
fn what_differs_is_said_column_by_column() {
    let fixture = Fixture::new().file("line", "four");
    let round = reader(&fixture).collect().unwrap();
    assert_eq!(
        complaint(&round, vec![line(None, 1.0)]),
        "the records of the main stream differ:\n  record 0: length is 4, expected null\n  \
         record 0: since_seconds is 0.0, expected 1.0\n"
    );
    assert_eq!(
        complaint(&round, vec![]),
        "the records of the main stream differ:\n  record 0 was not expected: \
         {\"file\":\"line\",\"length\":4,\"since_seconds\":0.0}\n"
    );
    assert!(
        complaint(&round, vec![line(Some(4), 0.0), line(None, 2.5)])
            .contains("record 1 is missing")
    );
}

#[test]
fn a_record_is_found_by_its_type_and_key() {
    let fixture = Fixture::new().file("line", "four");
    let round = reader(&fixture).collect().unwrap();
    assert_eq!(round.record::<Line>("file", "line")["length"], 4);
    assert_eq!(round.records::<Line>().len(), 1);
}

#[test]
fn a_stream_that_is_not_declared_fails_the_test() {
    let fixture = Fixture::new().file("line", "four");
    let mut reader = reader(&fixture);
    let round = reader.collect().unwrap();
    assert_eq!(round.rows("").len(), 1);
    let none = "the plugin does not declare `lines`, only the main stream";
    assert_eq!(panic_of(|| assert!(round.rows("lines").is_empty())), none);
    assert_eq!(panic_of(|| drop(round.row("lines", "file", "line").clone())), none);
    assert_eq!(panic_of(|| drop(reader.collect_only(&["lines"]))), none);
    assert_eq!(reader.collect_only(&[""]).unwrap().rows("").len(), 1);
}

#[test]
fn a_fixture_is_gone_when_it_is_dropped_and_nothing_lies_beside_it() {
    let fixture = Fixture::new().file("a/b/c", "text");
    let root = fixture.root().to_owned();
    assert!(root.join("a/b/c").exists());
    for outside in ["/etc/passwd", "../elsewhere", "a/../../elsewhere"] {
        let write = std::panic::AssertUnwindSafe(|| fixture.write(outside, ""));
        assert!(std::panic::catch_unwind(write).is_err(), "{outside}");
    }
    drop(fixture);
    assert!(!root.exists());
}

#[test]
fn streams_are_a_line_for_each_column() {
    assert_eq!(
        streams::<(Line,)>(),
        "main stream, snapshot: A file's first line.\n\
         \x20   file: key, text: Which file.\n\
         \x20   length: gauge, u64, By, file.size: Its length.\n\
         \x20   since_seconds: gauge, f64, s: Since it was last read.\n"
    );
}

#[test]
fn streams_that_changed_are_shown_line_by_line() {
    let now = streams::<(Line,)>();
    let fixture =
        Fixture::new().file("same", &now).file("other", now.replace("u64, By", "u64, kBy"));
    let path = |name| fixture.root().join(name);
    assert_streams::<(Line,)>(path("same"));
    let complaint = panic_of(|| assert_streams::<(Line,)>(path("other")));
    let shown = "-     length: gauge, u64, kBy, file.size: Its length.\n\
                 +     length: gauge, u64, By, file.size: Its length.\n";
    assert!(complaint.contains(shown), "{complaint}");
    let twice = Fixture::new().file("twice", format!("{now}{}", now.lines().last().unwrap()));
    let complaint = panic_of(|| assert_streams::<(Line,)>(twice.root().join("twice")));
    assert!(complaint.contains("-     since_seconds:"), "{complaint}");
    let complaint = panic_of(|| assert_streams::<(Line,)>(path("missing")));
    assert!(complaint.ends_with("DROPSONDE_BLESS=1 cargo test writes it"), "{complaint}");
}

crate::contract_test!(
    collector = Reader,
    let fixture = Fixture::new().file("line", "four"),
    settings = { "root": fixture.root() },
);
