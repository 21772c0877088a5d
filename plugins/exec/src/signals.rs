//! A command has no signal blocked, whatever the thread has that starts it: on a thread of the
//! agent all are but the deadly ones, and a command would inherit that (signal(7)). It could not
//! be ended by SIGTERM, nor end what it started.

use std::io;
use std::mem::MaybeUninit;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::ptr;

/// Has the command start with no signal blocked.
pub(crate) fn unblocked(command: &mut Command) -> &mut Command {
    // SAFETY: between fork(2) and execve(2) it makes calls that are safe there
    // (signal-safety(7)), allocates nothing and touches nothing that is shared.
    unsafe { command.pre_exec(unblock) }
}

fn unblock() -> io::Result<()> {
    let mut none = MaybeUninit::uninit();
    // SAFETY: the set is filled before it is used.
    let outcome = unsafe {
        libc::sigemptyset(none.as_mut_ptr());
        libc::sigprocmask(libc::SIG_SETMASK, none.as_ptr(), ptr::null_mut())
    };
    if outcome == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
