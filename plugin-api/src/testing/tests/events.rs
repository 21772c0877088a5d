use std::time::{Duration, Instant};

use crate::prelude::*;
use crate::testing::{EventHarness, json};

/// A beat.
#[derive(Record)]
#[record(stream = "beat", kind = "event")]
struct Beat {
    /// When, since the start.
    #[attribute]
    at_ms: u64,
}

#[settings]
struct Settings {
    /// Pause between two.
    every_ms: u64,
    /// What happens at the third.
    #[serde(default)]
    third: String,
    /// Never waits.
    #[serde(default)]
    busy: bool,
}

struct Pulse(Settings, Host);

impl EventSource for Pulse {
    type Settings = Settings;
    type Streams = (Beat,);

    fn create(settings: Settings, host: Host) -> Result<Self> {
        assert_ne!(settings.third, "before it", "as the test wants it");
        if settings.every_ms == 0 { Err(Error::msg("0 ms")) } else { Ok(Self(settings, host)) }
    }

    fn run(&mut self, out: &mut Emitter<'_>) -> Result<()> {
        while self.0.busy && !out.stopped() {
            out.emit(Beat { at_ms: 0 })?;
            out.flush()?;
            std::thread::sleep(Duration::from_millis(1));
        }
        let mut number = 0;
        while !out.wait(Duration::from_millis(self.0.every_ms))? {
            number += 1;
            match (number, self.0.third.as_str()) {
                (3, "error") => {
                    out.emit(Beat { at_ms: 3 })?;
                    return Err(Error::msg("the third fails"));
                }
                (3, "panic") => panic!("as the test wants it"),
                (3, "return") => return Ok(()),
                _ => out.emit(Beat { at_ms: self.1.elapsed().as_millis() as u64 })?,
            }
        }
        out.emit(Beat { at_ms: u64::MAX }) // the last
    }
}

fn beats(times: impl IntoIterator<Item = u64>) -> Vec<Beat> {
    times.into_iter().map(|at_ms| Beat { at_ms }).collect()
}

#[test]
fn hours_pass_in_no_time_and_each_wait_sees_its_own() {
    let start = Instant::now();
    let hour = Duration::from_secs(3600);
    let mut pulse = EventHarness::<Pulse>::start(json!({ "every_ms": 3_600_000 })).unwrap();
    pulse.advance(hour / 2).unwrap().assert_records(beats([]));
    pulse.advance(hour / 2).unwrap().assert_records(beats([3_600_000]));
    let hours = (2..=26).map(|hour| hour * 3_600_000);
    pulse.advance(25 * hour).unwrap().assert_records(beats(hours));
    pulse.stop().unwrap().assert_records(beats([u64::MAX]));
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
}

#[test]
fn the_end_of_a_source_is_told_as_it_was() {
    let cases = [
        ("error", 3, "the third fails"), // what it had emitted is not lost
        ("panic", 2, "the event source panicked"),
        ("return", 2, "the event source returned by itself"),
    ];
    for (third, beats, message) in cases {
        let settings = json!({ "every_ms": 10, "third": third });
        let mut pulse = EventHarness::<Pulse>::start(settings).unwrap();
        let error = pulse.advance(Duration::from_secs(1)).unwrap_err();
        assert_eq!(error.message(), message);
        // Nobody waits for one that can't come.
        assert!(pulse.emitted("beat", beats).is_ok());
        let error = pulse.emitted("beat", 1).unwrap_err();
        assert_eq!(error.message(), "the event source returned by itself");
    }
}

#[test]
fn a_source_that_is_not_made_says_why() {
    let refused = |settings| EventHarness::<Pulse>::start(settings).err().unwrap().to_string();
    assert_eq!(refused(json!({ "every_ms": 0 })), "0 ms");
    assert!(refused(json!({ "every": 1 })).contains("unknown field `every`"));
    assert_eq!(refused(json!({ "every_ms": 1, "third": "before it" })), "create panicked");
}

#[test]
fn a_source_that_never_waits_is_followed_by_the_machines_clock() {
    let mut busy = EventHarness::<Pulse>::start(json!({ "every_ms": 1, "busy": true })).unwrap();
    let glance = Duration::from_millis(20);
    let error = busy.advance_within(glance, Duration::from_secs(1)).unwrap_err();
    assert!(error.message().contains("did not call Emitter::wait within 20ms"), "{error}");
    assert!(busy.emitted("beat", 5).unwrap().records::<Beat>().len() >= 5);
    busy.stop().unwrap();
}

#[test]
fn a_stream_that_is_not_declared_fails_the_test_at_once() {
    let start = Instant::now();
    let mut pulse = EventHarness::<Pulse>::start(json!({ "every_ms": 10 })).unwrap();
    let round = pulse.advance(Duration::from_millis(10)).unwrap();
    let wait = std::panic::AssertUnwindSafe(|| pulse.emitted("beats", 1));
    let panic = std::panic::catch_unwind(wait).unwrap_err();
    let message = panic.downcast_ref::<String>().unwrap();
    assert_eq!(message, "the plugin does not declare `beats`, only `beat`");
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    let look = std::panic::AssertUnwindSafe(|| assert!(round.rows("beats").is_empty()));
    assert!(std::panic::catch_unwind(look).is_err());
}

crate::contract_test!(events = Pulse, settings = { "every_ms": 300 });
