//! What belongs to the whole process, and a plugin on a thread could change for everybody:
//! signal handlers and the environment.
#![allow(unsafe_code)] // sigaction(2), dladdr(3) and `environ`: no safe function does

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{c_char, c_int, c_void};
use std::mem::MaybeUninit;
use std::sync::{Mutex, PoisonError};

use crate::runner::process::signal_name;

/// The signals whose handlers the host, its runtime or a debugger may rely on.
const WATCHED: [c_int; 18] = [
    libc::SIGHUP,
    libc::SIGINT,
    libc::SIGQUIT,
    libc::SIGILL,
    libc::SIGTRAP,
    libc::SIGABRT,
    libc::SIGBUS,
    libc::SIGFPE,
    libc::SIGUSR1,
    libc::SIGUSR2,
    libc::SIGSEGV,
    libc::SIGPIPE,
    libc::SIGALRM,
    libc::SIGTERM,
    libc::SIGCHLD,
    libc::SIGPROF,
    libc::SIGWINCH,
    libc::SIGSYS,
];

/// How things should be.
struct State {
    handlers: Vec<Handler>,
    environment: u64,
}

struct Handler {
    signal: c_int,
    action: libc::sigaction,
}

static AS_IT_SHOULD_BE: Mutex<Option<State>> = Mutex::new(None);
static SUSPECTS: Mutex<Suspects> = Mutex::new(Suspects::new());

/// Notes how things are, before the first plugin can change them.
pub(super) fn note() {
    let mut state = AS_IT_SHOULD_BE.lock().unwrap_or_else(PoisonError::into_inner);
    state.get_or_insert_with(|| State {
        handlers: WATCHED
            .into_iter()
            .filter_map(|signal| Some(Handler { signal, action: action(signal)? }))
            .collect(),
        environment: environment(),
    });
}

/// A collector's thread goes into its plugin.
pub(super) fn before_call(thread: u32) {
    SUSPECTS.lock().unwrap_or_else(PoisonError::into_inner).in_call.insert(thread);
}

/// It has come back: what it changed, or may have changed.
pub(super) fn after_call(thread: u32) -> Option<String> {
    let mut suspects = SUSPECTS.lock().unwrap_or_else(PoisonError::into_inner);
    suspects.after_call(thread, changed)
}

/// Its call does not come back, or there will be no more.
pub(super) fn forget(thread: u32) {
    let mut suspects = SUSPECTS.lock().unwrap_or_else(PoisonError::into_inner);
    suspects.in_call.remove(&thread);
    suspects.blamed.remove(&thread);
}

/// Who may have done it: whoever was in a call when it was found.
struct Suspects {
    in_call: BTreeSet<u32>,
    /// Found while they were in a call, and not told yet.
    blamed: BTreeMap<u32, String>,
}

impl Suspects {
    const fn new() -> Self {
        Self { in_call: BTreeSet::new(), blamed: BTreeMap::new() }
    }

    fn after_call(
        &mut self,
        thread: u32,
        changed: impl FnOnce() -> Option<String>,
    ) -> Option<String> {
        self.in_call.remove(&thread);
        let found = changed();
        if let Some(what) = &found {
            let may = format!("{what}, or another did that ran at the same time");
            let others = self.in_call.iter().map(|other| (*other, may.clone()));
            self.blamed.extend(others);
            if !self.in_call.is_empty() {
                return Some(may);
            }
        }
        self.blamed.remove(&thread).or(found)
    }
}

/// What was changed since, by somebody who is not the host. A handler is put back; the
/// environment can't be.
fn changed() -> Option<String> {
    let mut state = AS_IT_SHOULD_BE.lock().unwrap_or_else(PoisonError::into_inner);
    let state = state.as_mut()?;
    for known in &mut state.handlers {
        let Some(now) = action(known.signal) else { continue };
        if now.sa_sigaction == known.action.sa_sigaction && now.sa_flags == known.action.sa_flags {
            continue;
        }
        if is_own(now.sa_sigaction) {
            known.action = now; // the runtime took one more signal
            continue;
        }
        // SAFETY: the action is one that the kernel gave for this very signal.
        unsafe { libc::sigaction(known.signal, &known.action, std::ptr::null_mut()) };
        let name = signal_name(known.signal);
        return Some(format!("it changed the host's handler of {name}, which was put back"));
    }
    let environment = environment();
    if environment != state.environment {
        state.environment = environment;
        return Some("it changed the host's environment".to_owned());
    }
    None
}

fn action(signal: c_int) -> Option<libc::sigaction> {
    let mut action = MaybeUninit::uninit();
    // SAFETY: asks only; the action is filled if the call succeeds.
    unsafe {
        let asked = libc::sigaction(signal, std::ptr::null(), action.as_mut_ptr());
        (asked == 0).then(|| action.assume_init())
    }
}

/// Whether a handler is code of this program itself, not of something that it loaded.
fn is_own(handler: usize) -> bool {
    let base = |address: *const c_void| {
        let mut info = MaybeUninit::<libc::Dl_info>::uninit();
        // SAFETY: any address may be asked for; the answer is filled if there is one.
        unsafe {
            (libc::dladdr(address, info.as_mut_ptr()) != 0).then(|| info.assume_init().dli_fbase)
        }
    };
    let own = base(is_own as fn(usize) -> bool as *const c_void);
    handler > 1 && own.is_some() && base(handler as *const c_void) == own
}

/// A number that changes when a variable is set or removed: a mark of the addresses, since the
/// texts themselves are never changed in place by setenv(3).
fn environment() -> u64 {
    unsafe extern "C" {
        static environ: *const *const c_char;
    }
    let mut mark = 0xcbf2_9ce4_8422_2325_u64;
    // SAFETY: `environ` is null, or an array that ends with null. Whoever changes it at this
    // very moment breaks every reader of it in the process, getenv(3) too; this one reads
    // addresses only and follows none.
    unsafe {
        let mut at = environ;
        while !at.is_null() && !(*at).is_null() {
            mark = (mark ^ *at as u64).wrapping_mul(0x100_0000_01b3);
            at = at.add(1);
        }
    }
    mark
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_one_that_was_in_its_call_is_blamed_and_of_several_all() {
        let mut suspects = Suspects::new();
        let done = || Some("it did it".to_owned());
        suspects.in_call.extend([1, 2]);
        assert_eq!(suspects.after_call(2, || None), None);
        assert_eq!(suspects.after_call(1, done).as_deref(), Some("it did it"));
        suspects.in_call.extend([1, 2, 3]);
        let found = suspects.after_call(1, done).unwrap();
        assert_eq!(found, "it did it, or another did that ran at the same time");
        assert_eq!(suspects.after_call(2, || None), Some(found.clone()));
        assert_eq!(suspects.after_call(3, || None), Some(found));
        assert_eq!(suspects.after_call(1, || None), None);
    }
}
