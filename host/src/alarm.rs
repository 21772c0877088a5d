//! Wakes the schedule: once, and when it is due.

use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};
use tokio::io::unix::AsyncFd;
use tokio::time::{Instant, sleep_until};

/// A timer of the kernel (timerfd_create(2)).
///
/// A timer of the runtime that is further away than 64 ms wakes it twice, or three times, since
/// it is sorted more finely as it comes nearer (tokio's timer wheel), and is late by up to 1 ms.
pub(crate) struct Alarm {
    /// `None`: the kernel refused it, and in tests, whose time is the runtime's.
    timer: Option<AsyncFd<OwnedFd>>,
    set: Option<Instant>,
}

impl Alarm {
    /// On the current runtime.
    #[allow(deprecated)] // what replaces `new` is unsafe; an `OwnedFd` keeps its descriptor open
    pub(crate) fn new() -> Self {
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        let timer = (!cfg!(test)).then(|| timerfd_create(TimerfdClockId::Monotonic, flags));
        let timer = timer.and_then(Result::ok).and_then(|timer| AsyncFd::new(timer).ok());
        Self { timer, set: None }
    }

    /// Resolves when it is that time, not before. Cancel-safe.
    pub(crate) async fn until(&mut self, at: Instant) {
        while Instant::now() < at {
            let rung = match &self.timer {
                Some(timer) => ring(timer, &mut self.set, at).await,
                None => return sleep_until(at).await,
            };
            if rung.is_err() {
                self.timer = None;
            }
        }
    }
}

async fn ring(
    timer: &AsyncFd<OwnedFd>,
    set: &mut Option<Instant>,
    at: Instant,
) -> std::io::Result<()> {
    if *set != Some(at) {
        let left = at.saturating_duration_since(Instant::now()).max(Duration::from_nanos(1));
        let it_value = Timespec::try_from(left).map_err(std::io::Error::other)?;
        let it_interval = Timespec { tv_sec: 0, tv_nsec: 0 };
        let once = Itimerspec { it_interval, it_value };
        timerfd_settime(timer.get_ref(), TimerfdTimerFlags::empty(), &once)?;
        *set = Some(at);
    }
    let mut ready = timer.readable().await?;
    // Empty: it was set anew after it had rung.
    let _ = rustix::io::read(timer.get_ref(), &mut [0_u8; 8]);
    ready.clear_ready();
    *set = None;
    Ok(())
}
