//! What a command writes, read without waiting for it.

use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::process::{Child, ExitStatus};
use std::time::Instant;

use dropsonde_plugin_api::Host;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use crate::complaints::Complaints;

/// Room in the pipe of a command's output, so that it need not wait between two rounds. As much
/// as anybody may have (pipe(7)).
const PIPE: usize = 1 << 20;

/// A started command, and our ends of its pipes.
/// The command is killed when they are dropped.
pub(crate) struct Pipes {
    child: Child,
    /// Readable when it has ended; `None` once that was seen.
    ended: Option<OwnedFd>,
    /// `None` once it was closed.
    output: Option<std::process::ChildStdout>,
    errors: Option<std::process::ChildStderr>,
    pub(crate) complaints: Complaints,
}

impl Pipes {
    pub(crate) fn new(mut child: Child, host: &Host) -> io::Result<Self> {
        let (output, errors) = (child.stdout.take(), child.stderr.take());
        let complaints = Complaints::new(host.clone());
        let mut new = Self { child, ended: None, output, errors, complaints };
        let (output, errors) = (new.output.iter(), new.errors.iter());
        for pipe in output.map(AsFd::as_fd).chain(errors.map(AsFd::as_fd)) {
            rustix::io::ioctl_fionbio(pipe, true)?;
        }
        if let Some(output) = &new.output {
            let _ = rustix::pipe::fcntl_setpipe_size(output, PIPE); // less serves too
        }
        new.ended = Some(pidfd_open(Pid::from_child(&new.child), PidfdFlags::empty())?);
        Ok(new)
    }

    /// Waits until something was written, it has ended, or it is `until`. Tells how it ended, once.
    pub(crate) fn wait(&mut self, until: Instant) -> io::Result<Option<ExitStatus>> {
        let left = until.saturating_duration_since(Instant::now());
        let time = Timespec {
            tv_sec: left.as_secs().try_into().unwrap_or(i64::MAX),
            tv_nsec: left.subsec_nanos().into(),
        };
        let ended = self.ended.iter().map(|ended| PollFd::new(ended, PollFlags::IN));
        let mut places: Vec<_> = ended.collect();
        places.extend(self.output.iter().map(|pipe| PollFd::new(pipe, PollFlags::IN)));
        places.extend(self.errors.iter().map(|pipe| PollFd::new(pipe, PollFlags::IN)));
        match poll(&mut places, Some(&time)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let first = places.first().is_some_and(|ended| !ended.revents().is_empty());
        if !first || self.ended.is_none() {
            return Ok(None);
        }
        self.ended = None;
        self.child.wait().map(Some)
    }

    /// Takes what was written so far, in parts; `take` says whether it wants more.
    pub(crate) fn read(&mut self, mut take: impl FnMut(&[u8]) -> bool) -> io::Result<()> {
        let complaints = &mut self.complaints;
        drain(&mut self.errors, |part| complaints.take(part))?;
        drain(&mut self.output, &mut take)
    }

    /// Both pipes were closed at the other end.
    pub(crate) fn are_closed(&self) -> bool {
        self.output.is_none() && self.errors.is_none()
    }
}

impl Drop for Pipes {
    fn drop(&mut self) {
        let _ = self.child.kill(); // has ended
        let _ = self.child.wait();
    }
}

fn drain(pipe: &mut Option<impl Read>, mut take: impl FnMut(&[u8]) -> bool) -> io::Result<()> {
    let mut part = [0; 16 << 10];
    while let Some(open) = pipe {
        match open.read(&mut part) {
            Ok(0) => *pipe = None,
            Ok(length) if take(part.get(..length).unwrap_or_default()) => {}
            Ok(_) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
