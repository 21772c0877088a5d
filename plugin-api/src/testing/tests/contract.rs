//! Each way in which a plugin can break its contract is seen, and said in a line.

use std::time::Duration;

use crate::prelude::*;
use crate::testing::{contract, json};

/// Something counted.
#[derive(Record)]
struct Counted {
    /// Which thing.
    #[key]
    thing: String,
    /// How often.
    #[counter(unit = "1")]
    times: u64,
}

/// Another number.
#[derive(Record)]
#[record(stream = "other")]
struct Other {
    /// A number.
    #[gauge(unit = "bytes")]
    number: u64,
}

#[settings]
struct Settings {
    /// What to do wrong.
    #[serde(default)]
    fault: String,
}

struct Faulty {
    fault: String,
    rounds: u64,
}

impl Collector for Faulty {
    type Settings = Settings;
    type Streams = (Counted,);

    fn create(settings: Settings, _: Host) -> Result<Self> {
        if settings.fault == "not made" {
            return Err(Error::msg("as the test wants it"));
        }
        if settings.fault == "hangs when made" {
            std::thread::sleep(Duration::MAX);
        }
        Ok(Self { fault: settings.fault, rounds: 0 })
    }

    fn collect(&mut self, out: &mut Batch) -> Result<()> {
        self.rounds += 1;
        let mut push = |thing: &str, times| out.push(Counted { thing: thing.to_owned(), times });
        match (self.fault.as_str(), self.rounds) {
            ("falls", 7) => push("one", 3),
            ("hangs", 3) => loop {
                std::thread::sleep(Duration::MAX);
            },
            ("panics", 4) => panic!("as the test wants it"),
            ("error", 10) => Err(Error::msg("the tenth fails")),
            ("twice", _) => push("one", 1).and_then(|()| push("one", 2)),
            ("many", _) => (0..10_001).try_for_each(|thing| push(&thing.to_string(), 1)),
            (_, round) => push("one", round),
        }
    }
}

#[track_caller]
fn breaks(fault: &str, message: &str) {
    assert_eq!(contract::collector::<Faulty>(json!({ "fault": fault })), [message]);
}

#[test]
fn a_good_collector_keeps_it() {
    assert_eq!(contract::collector::<Faulty>(json!({})), [""; 0]);
}

#[test]
fn a_round_that_fails_is_named() {
    breaks("error", "round 10 fails: the tenth fails");
    breaks("not made", "it can't be made with these settings: as the test wants it");
}

#[test]
fn a_call_that_does_not_return_is_named_and_not_waited_for() {
    let broken = |fault| {
        let settings = json!({ "fault": fault });
        contract::collector_within::<Faulty>(Duration::from_millis(300), settings)
    };
    assert_eq!(broken("hangs"), ["round 3 did not return within 300ms"]);
    assert_eq!(broken("hangs when made"), ["create did not return within 300ms"]);
}

#[test]
fn a_call_that_panics_is_named() {
    breaks("panics", "round 4 panicked");
}

/// Neither it nor what it holds can go to another thread.
struct Pinned(std::rc::Rc<u64>);

impl Collector for Pinned {
    type Settings = NoSettings;
    type Streams = (Counted,);

    fn create(_: NoSettings, _: Host) -> Result<Self> {
        Ok(Self(std::rc::Rc::new(1)))
    }

    fn collect(&mut self, out: &mut Batch) -> Result<()> {
        out.push(Counted { thing: "one".to_owned(), times: *self.0 })
    }
}

#[test]
fn a_collector_is_called_on_the_thread_that_made_it() {
    assert_eq!(contract::collector::<Pinned>(json!({})), [""; 0]);
}

#[test]
fn a_counter_that_falls_is_named_with_its_record() {
    breaks("falls", "the counter `times` of the main stream fell from 6 to 3 (\"one\")");
}

#[test]
fn records_that_can_not_be_told_apart_are_named() {
    breaks("twice", "records 0 and 1 of the main stream have one key: \"one\"");
    breaks("many", "10001 records of the main stream; the host keeps 10000 of a batch");
}

/// Two streams, of which one has neither key nor a unit, and settings that take anything.
struct Lax;

impl Collector for Lax {
    type Settings = Anything;
    type Streams = (Counted, Other, Counted);

    fn create(_: Self::Settings, _: Host) -> Result<Self> {
        Ok(Self)
    }

    fn collect(&mut self, out: &mut Batch) -> Result<()> {
        out.push(Other { number: 1 })?;
        out.push(Other { number: 2 })
    }
}

/// Takes every key.
#[derive(serde::Deserialize)]
struct Anything {
    #[serde(flatten)]
    _all: std::collections::BTreeMap<String, crate::testing::Value>,
}

impl crate::Settings for Anything {}

#[test]
fn everything_that_is_wrong_is_said_at_once() {
    assert_eq!(
        contract::collector::<Lax>(json!({})),
        [
            "stream ``: declared twice; name one with #[record(stream = \"…\")]",
            "`number` of `other` has the unit `bytes`, which is not UCUM; write unit = \"By\"",
            "a setting that it does not have is taken without a word",
            "2 records of `other`, which has no #[key] that tells them apart",
        ]
    );
}

/// An event.
#[derive(Record)]
#[record(stream = "event", kind = "event")]
struct Event {
    /// Its number.
    #[attribute]
    number: u64,
}

struct Source(String);

impl EventSource for Source {
    type Settings = Settings;
    type Streams = (Event,);

    fn create(settings: Settings, _: Host) -> Result<Self> {
        Ok(Self(settings.fault))
    }

    fn run(&mut self, out: &mut Emitter<'_>) -> Result<()> {
        let mut number = 0;
        while !out.wait(Duration::from_millis(100))? {
            number += 1;
            match (self.0.as_str(), number) {
                ("error", 15) => return Err(Error::msg("the fifteenth fails")),
                ("panic", 15) => panic!("as the test wants it"),
                _ => out.emit(Event { number })?,
            }
        }
        Ok(())
    }
}

#[test]
fn an_event_source_is_run_and_stopped() {
    let broken = |fault: &str| contract::events::<Source>(json!({ "fault": fault }));
    assert_eq!(broken(""), [""; 0]);
    assert_eq!(broken("error"), ["the fifteenth fails"]);
    assert_eq!(broken("panic"), ["the event source panicked"]);
}

crate::contract_test!(collector = Faulty, settings = { "fault": "" });
