//! Where nothing can be counted, the collector says why.

use rustix::io::Errno;

use super::fake::Fake;
use super::*;

fn unavailable(fake: &Fake, settings: Value) -> Value {
    let round = fake.collector(settings, 1000).collect().unwrap();
    assert!(round.rows("events").is_empty());
    let overview = overview(&round);
    assert_eq!(overview["available"], false);
    overview
}

#[test]
fn a_refusal_names_the_sysctl_and_the_capability() {
    let fake = Fake::default();
    fake.fails("cycles", 0, Errno::NOENT);
    fake.fails("cpu-clock", 0, Errno::ACCESS);
    let overview = unavailable(&fake, settings(&["cycles", "cpu-clock"]));
    let reason = "perf_event_open is refused: Permission denied (os error 13); \
                  kernel.perf_event_paranoid is 4, counting all processes needs 0 or less, \
                  or the capability CAP_PERFMON";
    assert_eq!(overview["reason"], reason);
    assert_eq!(overview["missing_events"], json!(["cpu-clock"]));
    assert_eq!(overview["unsupported_events"], json!(["cycles"]));
}

#[test]
fn a_refusal_is_told_from_other_errors_and_a_missing_sysctl_is_no_trouble() {
    let fake = Fake::default();
    fake.fails("cycles", 0, Errno::MFILE);
    let mut settings = settings(&["cycles"]);
    let overview = unavailable(&fake, settings.clone());
    assert_eq!(overview["reason"], "perf_event_open failed: Too many open files (os error 24)");
    fake.fails("cycles", 0, Errno::PERM);
    settings["proc_root"] = json!("/nonexistent");
    let reason = unavailable(&fake, settings)["reason"].to_string();
    assert!(reason.contains("perf_event_paranoid is unreadable"), "{reason}");
}

#[test]
fn where_no_event_exists_the_reason_names_them() {
    let fake = Fake::default();
    fake.fails("cycles", 0, Errno::NODEV);
    fake.fails("cycles", 1, Errno::NODEV);
    fake.fails("dTLB-loads", 0, Errno::OPNOTSUPP);
    let overview = unavailable(&fake, settings(&["cycles", "dTLB-loads"]));
    let reason = "neither the machine nor the kernel has these events: cycles, dTLB-loads";
    assert_eq!(overview["reason"], reason);
    assert_eq!(overview["missing_events"], json!([]));
}

#[test]
fn a_process_that_is_not_there_is_said_to_be_so() {
    let mut settings = settings(&["cycles"]);
    settings["pid"] = json!(i32::MAX);
    let overview = unavailable(&Fake::default(), settings);
    assert_eq!(overview["reason"], "there is no process 2147483647, or it is hidden");
    assert_eq!(overview["missing_events"], json!(["cycles"]));
}
