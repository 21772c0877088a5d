//! Processes that a plugin leaves behind: found, told of and killed. An orphan falls to this
//! process, so none gets away by leaving its group or its session.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::time::Duration;

use rustix::process::{Pid, Signal, getpid, kill_process};
use tokio::time::{Instant, sleep};

use super::report::Check;

/// What was killed, or is ending by itself, is given so long to be gone.
const GOING: Duration = Duration::from_millis(500);
const LOOK: Duration = Duration::from_millis(5);
/// Most looks for what those that were killed had started themselves.
const MAX_LOOKS: u32 = 100;

/// The processes that fall to this one.
pub(crate) struct Strays {
    /// Children of whoever became this program: none of a plugin's.
    others: BTreeSet<i32>,
}

impl Strays {
    /// From now on orphans of this process's children become its own. Reads `/proc`.
    pub(crate) fn adopt() -> io::Result<Self> {
        rustix::process::set_child_subreaper(Some(getpid()))?;
        let others = children(getpid()).into_iter().map(|child| child.pid).collect();
        Ok(Self { others })
    }

    /// Kills what is left, and returns the names of it. To be called while no runner is at work.
    pub(super) async fn end(&self) -> Vec<String> {
        let by = Instant::now() + GOING;
        while !self.running().is_empty() && Instant::now() < by {
            sleep(LOOK).await;
        }
        let mut hunt = Hunt::default();
        while hunt.goes_on(self) {
            sleep(LOOK).await;
        }
        hunt.killed.into_values().collect()
    }

    /// Kills what is left, runners included. Blocks: for milliseconds as a rule, a second at most.
    pub(crate) fn kill_all(&self) {
        let mut hunt = Hunt::default();
        while hunt.goes_on(self) {
            std::thread::sleep(LOOK);
        }
    }

    /// Kills the children that are running now; their numbers and names. Those that it killed
    /// are zombies until this process ends.
    fn kill(&self) -> Vec<(i32, String)> {
        let running = self.running();
        for pid in running.iter().filter_map(|child| Pid::from_raw(child.pid)) {
            let _ = kill_process(pid, Signal::KILL); // it may have ended
        }
        running.into_iter().map(|child| (child.pid, child.name)).collect()
    }

    fn running(&self) -> Vec<Process> {
        let mut all = children(getpid());
        all.retain(|child| !child.is_over && !self.others.contains(&child.pid));
        all
    }
}

/// Looks again and again: what those that were killed had started falls to this process only once
/// they are gone.
#[derive(Default)]
struct Hunt {
    killed: BTreeMap<i32, String>,
    looks: u32,
    /// Looks since one found something: a single one may miss what changes its parent meanwhile.
    in_vain: u32,
}

impl Hunt {
    /// Looks once more; false if that was the last time.
    fn goes_on(&mut self, strays: &Strays) -> bool {
        let killed = strays.kill();
        self.looks += 1;
        self.in_vain = if killed.is_empty() { self.in_vain + 1 } else { 0 };
        self.killed.extend(killed);
        self.in_vain < 2 && self.looks < MAX_LOOKS
    }
}

/// What the check of this id has to say of those that were left.
pub(super) fn found(id: &'static str, names: &[String]) -> Option<Check> {
    let name = names.first()?;
    let found = format!("left {} processes running, such as `{name}`", names.len());
    Some(Check::fail(id, found, "end and wait for the processes that it starts, in its `drop`"))
}

#[derive(Debug, PartialEq, Eq)]
struct Process {
    pid: i32,
    parent: i32,
    name: String,
    /// A zombie.
    is_over: bool,
}

fn children(of: Pid) -> Vec<Process> {
    let of = of.as_raw_nonzero().get();
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let numbers = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    numbers
        .filter_map(|pid| process(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?))
        .filter(|process| process.parent == of)
        .collect()
}

/// The text of `/proc/PID/stat` (proc(5)). The name may have anything in it.
fn process(stat: &str) -> Option<Process> {
    let (pid, rest) = stat.split_once(" (")?;
    let (name, rest) = rest.rsplit_once(") ")?;
    let mut rest = rest.split(' ');
    let is_over = matches!(rest.next()?, "Z" | "X");
    let parent = rest.next()?.parse().ok()?;
    Some(Process { pid: pid.parse().ok()?, parent, name: name.to_owned(), is_over })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_told_by_its_stat_whatever_its_name() {
        let of = |stat| process(stat).unwrap();
        let odd = of("12 (a) Z (b) S 7 12 12 0");
        assert_eq!(odd, Process { pid: 12, parent: 7, name: "a) Z (b".into(), is_over: false });
        assert!(of("12 (sh) Z 7 12 12 0").is_over);
        assert_eq!(process("12 (sh"), None);
    }

    #[test]
    fn those_that_were_left_are_counted_and_one_is_named() {
        assert_eq!(found("collect.processes", &[]), None);
        let check = found("collect.processes", &["sleep".into(), "sh".into()]).unwrap();
        assert_eq!(check.findings[0].found, "left 2 processes running, such as `sleep`");
    }

    #[test]
    fn a_child_is_found_and_one_that_was_there_before_is_left_alone() {
        let mut child = std::process::Command::new("sleep").arg("3600").spawn().unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        let is_it = |process: &Process| process.pid == pid;
        assert!(Strays { others: BTreeSet::new() }.running().iter().any(is_it));
        assert!(!Strays { others: BTreeSet::from([pid]) }.running().iter().any(is_it));
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
