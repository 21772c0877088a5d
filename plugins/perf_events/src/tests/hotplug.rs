//! CPUs that come and go.

use std::fs;
use std::path::PathBuf;

use rustix::io::Errno;

use super::fake::Fake;
use super::*;

struct Machine {
    directory: tempfile::TempDir,
}

impl Machine {
    fn with(online: &str) -> Self {
        let machine = Self { directory: tempfile::tempdir().unwrap() };
        fs::create_dir_all(machine.file().parent().unwrap()).unwrap();
        machine.set(online);
        machine
    }

    fn file(&self) -> PathBuf {
        self.directory.path().join("sys/devices/system/cpu/online")
    }

    /// Into the same file, which the collector holds open.
    fn set(&self, online: &str) {
        fs::write(self.file(), online).unwrap();
    }

    fn collector(&self, fake: &Fake) -> Harness<PerfEvents> {
        let root = self.directory.path().to_str().unwrap();
        fake.collector(settings_at(root, &["cycles"]), 1000)
    }
}

#[test]
fn a_cpu_that_goes_offline_is_reported_and_its_counts_stay_in_the_sum() {
    let (machine, fake) = (Machine::with("0-1\n"), Fake::default());
    let mut perf = machine.collector(&fake);
    fake.counts("cycles", 0, 10, 1_000_000_000, 1_000_000_000);
    fake.counts("cycles", 1, 20, 1_000_000_000, 1_000_000_000);
    assert_eq!(event(&perf.collect().unwrap(), "cycles")["value"], 30);

    fake.counts("cycles", 1, 25, 2_000_000_000, 2_000_000_000);
    machine.set("0\n");
    let round = perf.collect().unwrap();
    assert_eq!(round.partial, ["CPU 1 went offline: its counts end here"]);
    assert_eq!(event(&round, "cycles")["value"], 35);
    assert_eq!(event(&round, "cycles")["time_enabled_seconds"], 3.0);
    assert_eq!(overview(&round)["cpu_cores"], 1);
    assert_eq!(fake.open_now(), 1);

    let round = perf.collect().unwrap();
    assert!(round.partial.is_empty(), "{:?}", round.partial);
    assert_eq!(event(&round, "cycles")["value"], 35);
}

#[test]
fn a_cpu_that_comes_online_is_counted_from_then_on() {
    let (machine, fake) = (Machine::with("0\n"), Fake::default());
    let mut perf = machine.collector(&fake);
    fake.counts("cycles", 0, 10, 1, 1);
    assert_eq!(event(&perf.collect().unwrap(), "cycles")["value"], 10);
    fake.counts("cycles", 1, 5, 1, 1);
    machine.set("0-1\n");
    let round = perf.collect().unwrap();
    assert!(round.partial.is_empty(), "{:?}", round.partial);
    assert_eq!(event(&round, "cycles")["value"], 15);
    // Off and on again: a new counter starts at zero, and the sum goes on.
    machine.set("0\n");
    perf.collect().unwrap();
    fake.counts("cycles", 1, 2, 1, 1);
    machine.set("0-1\n");
    assert_eq!(event(&perf.collect().unwrap(), "cycles")["value"], 17);
    assert_eq!((fake.opened(), fake.open_now()), (3, 2));
}

#[test]
fn the_sum_is_null_as_long_as_an_online_cpu_can_not_be_counted() {
    let (machine, fake) = (Machine::with("0\n"), Fake::default());
    let mut perf = machine.collector(&fake);
    fake.fails("cycles", 1, Errno::NODEV);
    machine.set("0-1\n");
    let round = perf.collect().unwrap();
    assert_eq!(event(&round, "cycles")["value"], Value::Null);
    assert!(round.partial[0].starts_with("cycles on CPU 1: "), "{:?}", round.partial);
    fake.counts("cycles", 1, 3, 1, 1);
    assert_eq!(event(&perf.collect().unwrap(), "cycles")["value"], 3);
}

#[test]
fn a_list_of_cpus_that_can_not_be_read_any_more_costs_only_their_number() {
    let (machine, fake) = (Machine::with("0-1\n"), Fake::default());
    let mut perf = machine.collector(&fake);
    fake.counts("cycles", 0, 10, 1, 1);
    machine.set("?\n");
    let round = perf.collect().unwrap();
    assert_eq!(overview(&round)["cpu_cores"], Value::Null);
    assert_eq!(event(&round, "cycles")["value"], 10);
    assert!(round.partial[0].ends_with("malformed list of CPUs"), "{:?}", round.partial);
}
