//! Leaves a trail when the process is about to die of a plugin: which collectors ran on threads,
//! and on which thread it died. The next host reads it (see `accused`).
//!
//! A line `thread SERIAL SHA256 COLLECTOR` for each collector's thread is written by the host as
//! it starts. `crash SIGNAL SERIAL NAME` and `exit SERIAL NAME` are written by the thread that
//! dies, by means that are safe in a signal handler (signal-safety(7)).
#![allow(unsafe_code)] // sigaction(2), atexit(3) and what runs in them

use std::cell::Cell;
use std::ffi::{c_int, c_void};
use std::fs::{self, File};
use std::io::{self, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, RawFd};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};

use rustix::fs::{FlockOperation, flock};

use super::separate::FATAL;

/// First part of the name of a trail; the second is the host's process id.
const PREFIX: &str = "trail-";

/// Where the dying thread writes; -1 where there is no trail.
static FILE: AtomicI32 = AtomicI32::new(-1);
/// What the fatal signals did before.
static BEFORE: OnceLock<[libc::sigaction; FATAL.len()]> = OnceLock::new();

thread_local! {
    /// The collector's thread that this is, or 0.
    static SERIAL: Cell<u32> = const { Cell::new(0) };
}

/// The trail of this process. Removed when dropped: a host that ends well leaves none.
#[derive(Debug)]
pub(super) struct Trail {
    file: File,
    path: PathBuf,
}

impl Trail {
    /// Makes the file, and catches the signals that a crash comes with.
    pub(super) fn start(directory: &Path) -> io::Result<Self> {
        fs::create_dir_all(directory)?;
        let path = directory.join(format!("{PREFIX}{}", std::process::id()));
        // Locked before it has the name that others look for.
        let unnamed = tempfile::Builder::new().prefix(".new-").tempfile_in(directory)?;
        flock(unnamed.as_file(), FlockOperation::NonBlockingLockExclusive)?;
        let file = unnamed.persist(&path).map_err(|error| error.error)?;
        FILE.store(file.as_raw_fd(), Ordering::Relaxed);
        catch();
        Ok(Self { file, path })
    }

    /// Notes that a collector is about to start on a thread.
    pub(super) fn note(&self, serial: u32, hash: &str, collector: &str) -> io::Result<()> {
        (&self.file).write_all(format!("thread {serial} {hash} {collector}\n").as_bytes())
    }

    /// Its descriptor, which a collector's thread must keep.
    pub(super) fn descriptor(&self) -> RawFd {
        self.file.as_raw_fd()
    }
}

impl Drop for Trail {
    fn drop(&mut self) {
        FILE.store(-1, Ordering::Relaxed);
        let _ = fs::remove_file(&self.path);
    }
}

/// The trails of hosts that are gone, which are removed. A living host holds the lock of its own.
pub(super) fn left_behind(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let is_trail = |entry: &fs::DirEntry| {
        entry.file_name().to_str().is_some_and(|name| name.starts_with(PREFIX))
    };
    entries
        .filter(is_trail)
        .filter_map(|entry| {
            let file = File::open(entry.path()).ok()?;
            flock(&file, FlockOperation::NonBlockingLockExclusive).ok()?;
            let text = fs::read(entry.path()).ok()?;
            fs::remove_file(entry.path()).ok()?;
            Some(String::from_utf8_lossy(&text).into_owned())
        })
        .collect()
}

/// Says that the calling thread is a collector's.
pub(super) fn enter(serial: u32) {
    SERIAL.set(serial);
}

/// Catches the fatal signals and the end of the process, once in its life.
fn catch() {
    BEFORE.get_or_init(|| {
        // SAFETY: `on_signal` has the signature that SA_SIGINFO asks for and does only what is
        // safe in a handler; the actions are filled by the calls. SA_ONSTACK: the stack that
        // overflowed can't be used.
        unsafe {
            libc::atexit(on_exit);
            FATAL.map(|signal| {
                let mut ours = MaybeUninit::<libc::sigaction>::zeroed().assume_init();
                ours.sa_sigaction =
                    on_signal as extern "C" fn(c_int, *mut libc::siginfo_t, *mut c_void) as usize;
                ours.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
                let mut before = MaybeUninit::<libc::sigaction>::zeroed().assume_init();
                libc::sigaction(signal, &ours, &mut before);
                before
            })
        }
    });
}

extern "C" fn on_signal(signal: c_int, info: *mut libc::siginfo_t, _context: *mut c_void) {
    write_end(Some(signal));
    let before = FATAL.iter().position(|fatal| *fatal == signal);
    // What was there before takes over: Rust's own handler tells a stack overflow, otherwise
    // the default ends the process.
    if let (Some(index), Some(before)) = (before, BEFORE.get()) {
        // SAFETY: the action is what sigaction(2) gave for this signal.
        unsafe { libc::sigaction(signal, &before[index], std::ptr::null_mut()) };
    }
    // SAFETY: SA_SIGINFO promises the pointer.
    let sent = unsafe { (*info).si_code } <= 0;
    if sent || matches!(signal, libc::SIGTRAP | libc::SIGSYS) {
        // Nothing will cause it again: it is delivered once more when this handler returns.
        // SAFETY: raise(3) is safe in a handler.
        unsafe { libc::raise(signal) };
    }
}

extern "C" fn on_exit() {
    write_end(None);
}

/// Writes how and on which thread the process ends, the first time. The main thread is the
/// host's own.
fn write_end(signal: Option<c_int>) {
    static WRITTEN: AtomicBool = AtomicBool::new(false);
    let file = FILE.load(Ordering::Relaxed);
    // SAFETY: two calls without arguments.
    let is_main = unsafe { libc::gettid() == libc::getpid() };
    if file < 0 || is_main || WRITTEN.swap(true, Ordering::Relaxed) {
        return;
    }
    let mut line = Line::default();
    match signal {
        Some(signal) => {
            line.text(b"crash ");
            line.number(signal.unsigned_abs());
        }
        None => line.text(b"exit"),
    }
    line.text(b" ");
    line.number(SERIAL.get());
    line.text(b" ");
    let mut name = [0_u8; 16];
    // SAFETY: PR_GET_NAME fills 16 bytes.
    unsafe { libc::prctl(libc::PR_GET_NAME, name.as_mut_ptr()) };
    line.text(name.split(|byte| *byte == 0).next().unwrap_or_default());
    line.text(b"\n");
    // SAFETY: the buffer has that many bytes.
    unsafe { libc::write(file, line.bytes.as_ptr().cast(), line.length) };
}

/// A line that is made without an allocator.
struct Line {
    bytes: [u8; 64],
    length: usize,
}

impl Default for Line {
    fn default() -> Self {
        Self { bytes: [0; 64], length: 0 }
    }
}

impl Line {
    fn text(&mut self, text: &[u8]) {
        for byte in text {
            if let Some(place) = self.bytes.get_mut(self.length) {
                *place = *byte;
                self.length += 1;
            }
        }
    }

    fn number(&mut self, mut number: u32) {
        let mut digits = [0; 10];
        let mut at = digits.len();
        loop {
            at -= 1;
            digits[at] = b'0' + (number % 10) as u8;
            number /= 10;
            if number == 0 || at == 0 {
                break;
            }
        }
        self.text(&digits[at..]);
    }
}
