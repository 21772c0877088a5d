//! Gives a thread that runs plugin code what the kernel keeps by thread: a working directory and
//! a umask of its own, a table of open files of its own, and none of the host's signals.
#![allow(unsafe_code)] // unshare(2), close(2) by number, pthread_sigmask(3): no safe function does

use std::fs;
use std::mem::MaybeUninit;
use std::os::fd::RawFd;

use rustix::thread::UnshareFlags;

/// What the calling thread has for itself.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Separate {
    /// Working directory and umask.
    pub(super) directory: bool,
    /// The table of open files: what the plugin leaks ends with the thread, and what it closes
    /// was not the host's.
    pub(super) files: bool,
}

/// Signals that the thread itself causes; blocked, they would end the process without a word.
pub(super) const FATAL: [libc::c_int; 7] = [
    libc::SIGSEGV,
    libc::SIGBUS,
    libc::SIGILL,
    libc::SIGFPE,
    libc::SIGABRT,
    libc::SIGTRAP,
    libc::SIGSYS,
];

/// Separates the calling thread, and with it all that it starts. Of the open files it keeps the
/// standard three, `kept`, and the event counters by which the host's reactor is woken. A kernel
/// or a container that refuses leaves the thread with what it had.
pub(super) fn separate(kept: &[RawFd]) -> Separate {
    block_signals();
    // SAFETY: the directory and the umask of this thread alone become its own; nothing relies on
    // sharing them.
    let directory = unsafe { rustix::thread::unshare_unsafe(UnshareFlags::FS) }.is_ok();
    if open_files().is_none() {
        return Separate { directory, files: false };
    }
    // SAFETY: a copy of the table; every number means what it meant.
    if unsafe { rustix::thread::unshare_unsafe(UnshareFlags::FILES) }.is_err() {
        return Separate { directory, files: false };
    }
    for number in open_files().unwrap_or_default() {
        let standard = number <= 2;
        if standard || kept.contains(&number) || is_event_counter(number) {
            continue;
        }
        // SAFETY: this table is a copy that no other thread sees, and this thread has opened
        // nothing yet: whoever owns the descriptor owns it in the host's table, where it stays.
        unsafe { libc::close(number) };
    }
    Separate { directory, files: true }
}

fn open_files() -> Option<Vec<RawFd>> {
    let entries = fs::read_dir("/proc/thread-self/fd").ok()?;
    Some(entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect())
}

/// eventfd(2): what wakes a reactor.
fn is_event_counter(number: RawFd) -> bool {
    fs::read_link(format!("/proc/thread-self/fd/{number}"))
        .is_ok_and(|target| target.as_os_str() == "anon_inode:[eventfd]")
}

/// The host's handlers answer signals through descriptors that this thread does not have.
fn block_signals() {
    let mut set = MaybeUninit::uninit();
    // SAFETY: the set is filled before it is used, and each signal is one that exists.
    unsafe {
        libc::sigfillset(set.as_mut_ptr());
        for signal in FATAL {
            libc::sigdelset(set.as_mut_ptr(), signal);
        }
        libc::pthread_sigmask(libc::SIG_SETMASK, set.as_ptr(), std::ptr::null_mut());
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsRawFd;

    use super::*;

    #[test]
    fn a_separate_thread_neither_sees_nor_closes_the_host_s_files() {
        let file = fs::File::open("/dev/zero").unwrap();
        let number = file.as_raw_fd();
        let separated = std::thread::spawn(move || {
            let separated = separate(&[]);
            let seen = fs::read_link(format!("/proc/thread-self/fd/{number}"));
            let is_zero = seen.is_ok_and(|target| target.as_os_str() == "/dev/zero");
            std::mem::forget(fs::File::open("/dev/null")); // a leak
            std::env::set_current_dir("/").unwrap();
            (separated, is_zero)
        });
        let before = std::env::current_dir().unwrap();
        let (separated, is_zero) = separated.join().unwrap();
        if separated != (Separate { directory: true, files: true }) {
            eprintln!("SKIPPED: unshare(2) is refused here: {separated:?}");
            return;
        }
        assert!(!is_zero);
        assert_eq!(std::env::current_dir().unwrap(), before);
        let target = fs::read_link(format!("/proc/self/fd/{number}")).unwrap();
        assert_eq!(target.as_os_str(), "/dev/zero");
    }
}
