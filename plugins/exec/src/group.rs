//! A process group that ends with this process, however that ends.
//!
//! Its leader is a shell that waits at a pipe of which this process alone has the other end. When
//! that closes, by SIGKILL too, the leader kills the group, and with it whatever the command has
//! started and left running. PR_SET_PDEATHSIG would reach the command only. What leaves the group by setsid(2) is left to the cgroup.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process_group};

use crate::signals::unblocked;

/// Killed when dropped.
pub(crate) struct Group {
    leader: Child,
}

impl Group {
    pub(crate) fn new() -> io::Result<Self> {
        let mut shell = Command::new("/bin/sh");
        let leader = unblocked(&mut shell)
            .args(["-c", "read -r _; kill -s KILL 0"])
            .env_clear()
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()?;
        Ok(Self { leader })
    }

    /// Starts a command in the group.
    pub(crate) fn spawn(&self, mut command: Command) -> io::Result<Child> {
        let group = Pid::from_child(&self.leader).as_raw_nonzero().get();
        unblocked(&mut command).process_group(group).spawn()
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // The leader was not waited for yet, so the number is still its own.
        let _ = kill_process_group(Pid::from_child(&self.leader), Signal::KILL);
        let _ = self.leader.wait();
    }
}
