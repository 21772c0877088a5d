//! Processes that end while they are read, and pids that are used again meanwhile.

use std::process::{Command, Stdio};

use rustix::io::Errno;

use super::*;
use crate::procfs::{Procfs, Unread};
use crate::survey::Survey;

fn shown(survey: &Survey) -> Vec<u32> {
    survey.shown().map(|seen| seen.pid).collect()
}

#[test]
fn a_process_without_its_files_is_left_out_and_nothing_is_said() {
    let tree = Tree::new(100);
    tree.put(7, Fields::default());
    tree.put(8, Fields::default());
    let mut process = collector(tree.root(), json!({ "statm": true }));
    assert_eq!(pids(&process.collect().unwrap()), [7, 8]);
    tree.lose(7, "stat"); // listed, and gone when it is opened
    let round = process.collect().unwrap();
    assert_eq!((pids(&round), &round.rows("")[0]["count"]), (vec![8], &json!(1)));
    assert!(round.partial.is_empty(), "{:?}", round.partial);
    tree.end(7);
    tree.end(8);
    let round = process.collect().unwrap();
    assert!(round.rows("processes").is_empty() && round.partial.is_empty());
    assert_eq!(round.rows("")[0]["count"], 0);
}

#[test]
fn one_that_vanishes_between_two_looks_is_not_shown() {
    let tree = Tree::new(100);
    for pid in [7, 8, 9] {
        tree.put(pid, Fields::default());
        tree.io(pid, 5, 5);
    }
    let mut survey = Survey::new(tree.root(), everything());
    survey.look(true).unwrap();
    survey.choose();
    assert_eq!(shown(&survey), [7, 8, 9]);
    tree.end(7);
    tree.lose(8, "stat");
    survey.complete();
    assert_eq!(shown(&survey), [9]);
    assert_eq!(survey.seen().len(), 3, "they were there");
}

#[test]
fn one_whose_pid_is_used_again_between_two_looks_is_not_shown_with_what_is_another_s() {
    let tree = Tree::new(100);
    for pid in [7, 8] {
        tree.put(pid, Fields { start: 100, ..Fields::default() });
    }
    let mut survey = Survey::new(tree.root(), everything());
    survey.look(true).unwrap();
    survey.choose();
    tree.put(7, Fields { start: 200, ..Fields::default() });
    tree.io(7, 1_000_000, 0);
    tree.io(8, 3, 0);
    survey.complete();
    assert_eq!(shown(&survey), [8]);
    assert_eq!(survey.shown().next().unwrap().io.unwrap().read_bytes, Some(3));
    // In the next round it is there, and only its own bytes count.
    survey.run(true).unwrap();
    assert_eq!(shown(&survey), [7, 8]);
    assert_eq!(survey.shown().next().unwrap().io_growth(), Some(1_000_000));
}

#[test]
fn a_file_that_the_kernel_does_not_have_is_missing_and_its_process_is_shown() {
    let tree = Tree::new(100);
    tree.put(7, Fields { pages: 3, ..Fields::default() });
    let round = collector(tree.root(), json!({ "statm": true })).collect().unwrap();
    let row = round.row("processes", "pid", 7);
    assert_eq!((&row["read_bytes"], &row["shared_bytes"]), (&Value::Null, &Value::Null));
    assert_eq!(row["resident_bytes"], 3 * rustix::param::page_size());
}

#[test]
fn whose_io_was_refused_is_asked_again_only_after_a_while() {
    let tree = Tree::new(100);
    tree.put(7, Fields::default());
    let mut survey = Survey::new(tree.root(), everything());
    survey.run(true).unwrap();
    tree.io(7, 5, 5);
    let rounds = (1..100).take_while(|_| {
        survey.run(true).unwrap();
        survey.shown().next().unwrap().io.is_none()
    });
    assert_eq!(rounds.count(), 58, "it is round 60 that asks");
    survey.run(true).unwrap();
    assert!(survey.shown().next().unwrap().io.is_some(), "what was answered is asked each time");
}

#[test]
fn what_was_opened_of_a_process_is_never_of_another() {
    let mut child = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
    let mut procfs = Procfs::new("/proc".as_ref());
    procfs.list(&mut Vec::new()).unwrap();
    let process = procfs.open(child.id()).unwrap();
    assert!(procfs.read_in(&process, "stat").is_ok() && process.is_alive());
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(procfs.read_in(&process, "stat").unwrap_err(), Unread::Vanished);
    assert_eq!(procfs.read(child.id(), "stat").unwrap_err(), Unread::Vanished);
    assert!(!process.is_alive());
}

#[test]
fn an_error_of_the_kernel_s_is_understood() {
    let kinds = [
        (Errno::NOENT, Unread::Vanished), // open(2) of what is gone
        (Errno::SRCH, Unread::Vanished),  // read(2) of what is gone
        (Errno::ACCESS, Unread::Closed),  // Landlock, or another user's
        (Errno::PERM, Unread::Closed),    // hidepid=1
        (Errno::MFILE, Unread::Failed(Errno::MFILE)),
    ];
    for (error, kind) in kinds {
        assert_eq!(Unread::from(error), kind, "{error}");
    }
}
