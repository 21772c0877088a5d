//! File systems that don't answer.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex};
use std::time::Instant;

use dropsonde_plugin_api::testing::Round;

use super::*;
use crate::prober::Answer;

/// Holds back the calls on some paths until they are released, and counts all calls.
#[derive(Default)]
struct Gate {
    state: Mutex<GateState>,
    opened: Condvar,
}

#[derive(Default)]
struct GateState {
    closed: Vec<PathBuf>,
    calls: HashMap<PathBuf, usize>,
}

impl Gate {
    fn closed_for(paths: &[&str]) -> Arc<Self> {
        let gate = Self::default();
        gate.state.lock().unwrap().closed = paths.iter().map(PathBuf::from).collect();
        Arc::new(gate)
    }

    fn call(&self, path: &Path) -> io::Result<Space> {
        let mut state = self.state.lock().unwrap();
        *state.calls.entry(path.to_owned()).or_default() += 1;
        let is_closed = |state: &mut GateState| state.closed.iter().any(|closed| closed == path);
        drop(self.opened.wait_while(state, is_closed).unwrap());
        room(path)
    }

    fn release(&self) {
        self.state.lock().unwrap().closed.clear();
        self.opened.notify_all();
    }

    fn calls(&self, path: &str) -> usize {
        self.state.lock().unwrap().calls.get(Path::new(path)).copied().unwrap_or_default()
    }
}

/// What a test waits out once for each round in which a call newly hangs.
const LIMIT: Duration = Duration::from_secs(2);

fn collector(gate: &Arc<Gate>, limit: Duration) -> Harness<DiskCollector> {
    let gate = Arc::clone(gate);
    collector_with(settings(&fixture()), limit, move |path| gate.call(path))
}

fn total_bytes(round: &Round, mount_point: &str) -> Value {
    round.row("partitions", "mount_point", mount_point)["total_bytes"].clone()
}

#[test]
fn a_hung_mount_is_null_costs_no_other_and_is_not_called_twice() {
    let gate = Gate::closed_for(&["/"]);
    let mut disk = collector(&gate, LIMIT);

    let round = disk.collect().unwrap();
    assert_eq!(total_bytes(&round, "/"), Value::Null);
    assert_eq!(total_bytes(&round, "/home"), 1_024_000);
    assert_eq!(total_bytes(&round, r"/media/My Disk\x"), 1_024_000);
    assert_eq!(round.partial, ["/: statvfs has not answered within 500 ms"]);
    assert_eq!(round.rows("devices").len(), 5);

    let round = disk.collect().unwrap();
    assert_eq!(total_bytes(&round, "/"), Value::Null);
    assert_eq!(total_bytes(&round, "/home"), 1_024_000);
    assert_eq!(round.partial, ["/: an earlier statvfs has still not answered"]);
    assert_eq!((gate.calls("/"), gate.calls("/home")), (1, 2));

    gate.release();
    let patience = Instant::now() + LONG;
    while total_bytes(&disk.collect().unwrap(), "/") != 1_024_000 {
        assert!(Instant::now() < patience, "no value after the call has returned");
    }
    assert_eq!(gate.calls("/"), 2);
}

#[test]
fn hung_mounts_take_no_more_than_a_bounded_number_of_threads() {
    let points: Vec<_> = (0..40).map(|number| format!("/hung/{number}")).collect();
    let gate = Gate::closed_for(&points.iter().map(String::as_str).collect::<Vec<_>>());
    let called = Arc::clone(&gate);
    let mut prober = Prober::new(LIMIT, Box::new(move |path: &Path| called.call(path)));
    let paths: Vec<Arc<Path>> = points.iter().map(|point| Arc::from(Path::new(point))).collect();

    let answers = prober.ask(paths.iter()).unwrap();
    assert!(!answers.iter().any(|answer| matches!(answer, Answer::Returned(_))));
    let called = points.iter().filter(|point| gate.calls(point) == 1).count();
    assert!((1..=16).contains(&called), "{called}");
    let not_reached = answers.iter().filter(|answer| matches!(answer, Answer::NotReached)).count();
    assert_eq!(not_reached, 40 - called);

    gate.release();
    let patience = Instant::now() + LONG;
    loop {
        let answers = prober.ask(paths.iter()).unwrap();
        if answers.iter().all(|answer| matches!(answer, Answer::Returned(Ok(_)))) {
            break;
        }
        assert!(Instant::now() < patience, "no values after the calls have returned");
    }
}

#[test]
fn no_thread_outlives_the_collector() {
    let gate = Gate::closed_for(&[]);
    let mut disk = collector(&gate, LONG);
    disk.collect().unwrap();
    disk.collect().unwrap();
    drop(disk);
    // Each thread holds the call, and with it the gate.
    assert_eq!(Arc::strong_count(&gate), 1);
}

#[test]
fn a_thread_inside_a_hung_call_ends_with_the_call() {
    let gate = Gate::closed_for(&["/"]);
    let mut disk = collector(&gate, LIMIT);
    disk.collect().unwrap();
    drop(disk); // does not wait for it
    assert_eq!(Arc::strong_count(&gate), 2);
    gate.release();
    let patience = Instant::now() + LONG;
    while Arc::strong_count(&gate) > 1 {
        assert!(Instant::now() < patience, "the thread has not ended");
        std::thread::yield_now();
    }
}
