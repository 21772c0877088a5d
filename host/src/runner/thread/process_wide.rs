//! What belongs to the whole process, and a plugin on a thread could change for everybody:
//! signal handlers and the environment.
#![allow(unsafe_code)] // sigaction(2), dladdr(3) and `environ`: no safe function does

use std::collections::BTreeMap;
use std::ffi::{c_char, c_int, c_void};
use std::mem::MaybeUninit;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

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

/// A collector's thread goes into its plugin. `look`: compare things before and after.
pub(super) fn before_call(thread: u32, look: bool, now: Duration) {
    suspects().before_call(thread, look, now, changed);
}

/// It has come back: what it changed, or may have changed.
pub(super) fn after_call(thread: u32, now: Duration) -> Option<String> {
    suspects().after_call(thread, now, changed)
}

/// Its call does not come back, or there will be no more.
pub(super) fn forget(thread: u32) {
    let mut suspects = suspects();
    suspects.in_call.remove(&thread);
    suspects.blamed.remove(&thread);
}

fn suspects() -> MutexGuard<'static, Suspects> {
    SUSPECTS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// For so long every call is looked at once something was found that could be anybody's.
const ALERT: Duration = Duration::from_secs(10);
/// So often it may be anybody's until all who were in a call are blamed.
const PATIENCE: u32 = 5;

/// A look is as good as a new one for so long, if no call began or ended since.
const FRESH: Duration = Duration::from_millis(10);
/// While there is always some call under way, one that is to be looked at is looked at after so
/// long, though others go on.
const OFTEN: Duration = Duration::from_millis(900);

/// Who may have done it. What a call leaves changed is that call's, if none other ran meanwhile.
///
/// Of calls that run at the same time it can't be told whose it is, so it is enough to look when
/// the first begins and when the last is over: a look costs more than many a call.
struct Suspects {
    /// Threads that are in a call.
    in_call: BTreeMap<u32, Call>,
    /// Found while they were in a call, and not told yet.
    blamed: BTreeMap<u32, String>,
    /// When it was last looked, and whether all calls since have been looked at.
    looked_at: Duration,
    seen: bool,
    /// A call that is over was to be looked at, and others went on.
    owed: bool,
    alert_until: Duration,
    anybodys: u32,
}

struct Call {
    /// It is to be looked at.
    sampled: bool,
    /// It was looked at before, and no other ran since.
    alone: bool,
}

impl Suspects {
    const fn new() -> Self {
        Self {
            in_call: BTreeMap::new(),
            blamed: BTreeMap::new(),
            looked_at: Duration::ZERO,
            seen: false,
            owed: false,
            alert_until: Duration::ZERO,
            anybodys: 0,
        }
    }

    fn before_call(
        &mut self,
        thread: u32,
        look: bool,
        now: Duration,
        changed: impl FnOnce() -> Option<String>,
    ) {
        let alert = now < self.alert_until;
        let first = self.in_call.is_empty();
        let fresh = self.seen && now.saturating_sub(self.looked_at) < FRESH;
        if alert || look && first && !fresh {
            self.looked_at = now;
            if let Some(what) = changed() {
                self.anybodys(&what, now);
            }
        }
        self.seen = false;
        self.in_call.values_mut().for_each(|other| other.alone = false);
        let sampled = look || alert;
        self.in_call.insert(thread, Call { sampled, alone: first && sampled });
    }

    fn after_call(
        &mut self,
        thread: u32,
        now: Duration,
        changed: impl FnOnce() -> Option<String>,
    ) -> Option<String> {
        let call = self.in_call.remove(&thread)?;
        let last = self.in_call.is_empty();
        self.owed |= call.sampled;
        let due = last || now < self.alert_until || now.saturating_sub(self.looked_at) >= OFTEN;
        if !(self.owed && due) {
            return self.blamed.remove(&thread);
        }
        self.owed = false;
        self.looked_at = now;
        self.seen = last;
        let Some(found) = changed() else { return self.blamed.remove(&thread) };
        if call.alone {
            self.anybodys = 0;
            return Some(found);
        }
        self.anybodys(&found, now);
        if self.anybodys < PATIENCE {
            return None;
        }
        self.anybodys = 0;
        let may = format!("{found}, or another did that ran at the same time");
        self.blamed.extend(self.in_call.keys().map(|other| (*other, may.clone())));
        Some(may)
    }

    fn anybodys(&mut self, what: &str, now: Duration) {
        if self.alert_until <= now {
            self.anybodys = 0;
            tracing::warn!("a plugin on a thread: {what}; which one is not known yet");
        }
        self.anybodys += 1;
        self.alert_until = now + ALERT;
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
    use std::cell::Cell;

    use super::*;

    const NOW: Duration = Duration::from_secs(100);

    fn did() -> Option<String> {
        Some("it did it".to_owned())
    }

    #[test]
    fn what_a_call_leaves_changed_is_its_own_if_no_other_ran() {
        let mut suspects = Suspects::new();
        suspects.before_call(1, true, NOW, || None);
        assert_eq!(suspects.after_call(1, NOW, did), did());
        suspects.before_call(2, true, NOW, || None);
        assert_eq!(suspects.after_call(2, NOW, || None), None);
        suspects.before_call(3, false, NOW, || panic!("not looked at"));
        assert_eq!(suspects.after_call(3, NOW, || panic!("not looked at")), None);
    }

    #[test]
    fn what_could_be_anybody_s_has_every_call_looked_at_for_a_while() {
        let mut suspects = Suspects::new();
        suspects.before_call(1, false, NOW, did);
        assert_eq!(suspects.after_call(1, NOW, did), None, "nobody looked");
        suspects.before_call(2, true, NOW, did);
        assert_eq!(suspects.after_call(2, NOW, || None), None, "it was so before");
        suspects.before_call(1, false, NOW, || None);
        assert_eq!(suspects.after_call(1, NOW, did), did(), "looked at, though not due");
        let later = NOW + ALERT * 2;
        suspects.before_call(1, false, later, || panic!("no alert any more"));
    }

    #[test]
    fn of_those_that_always_run_together_all_are_blamed_in_the_end() {
        let mut suspects = Suspects::new();
        let mut blamed = Vec::new();
        let done = Cell::new(false);
        let look = || done.take().then(did).flatten(); // a look puts it back
        for round in 0..PATIENCE {
            let now = NOW + Duration::from_secs(1) * round;
            suspects.before_call(1, true, now, look);
            suspects.before_call(2, true, now, look);
            done.set(true);
            blamed.extend(suspects.after_call(1, now, look));
            blamed.extend(suspects.after_call(2, now, look));
        }
        assert_eq!(blamed.len(), 2, "{blamed:?}");
        assert!(blamed[0].ends_with("or another did that ran at the same time"));
    }

    #[test]
    fn those_that_run_together_are_looked_at_once_before_and_once_after() {
        let mut suspects = Suspects::new();
        let looks = Cell::new(0);
        let look = || {
            looks.set(looks.get() + 1);
            None
        };
        for thread in 0..6 {
            suspects.before_call(thread, true, NOW, look);
        }
        for thread in 0..6 {
            assert_eq!(suspects.after_call(thread, NOW, look), None);
        }
        assert_eq!(looks.get(), 2);
        suspects.before_call(7, true, NOW, || panic!("it was looked just now"));
        assert_eq!(suspects.after_call(7, NOW, did), did(), "it was alone");
        suspects.before_call(8, true, NOW + FRESH, look);
        assert_eq!(looks.get(), 3, "that was a while ago");
    }

    #[test]
    fn beside_one_that_never_returns_the_others_are_looked_at_all_the_same() {
        let mut suspects = Suspects::new();
        suspects.before_call(1, true, NOW, || None);
        suspects.before_call(2, true, NOW, || None);
        assert_eq!(suspects.after_call(2, NOW, || panic!("not yet")), None);
        let later = NOW + OFTEN;
        suspects.before_call(2, true, later, || None);
        assert_eq!(suspects.after_call(2, later, did), None, "it may be the other's");
        assert_eq!(suspects.anybodys, 1);
    }

    /// What began while another was at it is not alone, though it ends so.
    #[test]
    fn who_was_not_alone_all_the_time_is_not_blamed_alone() {
        let mut suspects = Suspects::new();
        suspects.before_call(1, true, NOW, || None);
        suspects.before_call(2, true, NOW, || None);
        assert_eq!(suspects.after_call(1, NOW, || None), None);
        assert_eq!(suspects.after_call(2, NOW, did), None);
    }
}
