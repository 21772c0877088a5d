//! What a service manager is told (sd_notify(3)). Without one, which `NOTIFY_SOCKET` tells,
//! nothing is sent.

use std::sync::Once;
use std::time::Duration;

use sd_notify::NotifyState;

use crate::control::Host;

/// However short the watchdog's time is, it is fed no more often.
const SHORTEST: Duration = Duration::from_millis(10);

/// Start-up is over, or a reload.
pub(super) fn ready() {
    notify(&[NotifyState::Ready]);
}

/// The configuration is being read again; [`ready`] follows.
pub(super) fn reloading() {
    // systemd wants to know when, to tell this reload's READY from an older one.
    match NotifyState::monotonic_usec_now() {
        Ok(now) => notify(&[NotifyState::Reloading, now]),
        Err(_) => notify(&[NotifyState::Reloading]),
    }
}

/// The collectors are being stopped.
pub(super) fn stopping() {
    notify(&[NotifyState::Stopping]);
}

/// Says READY once every plugin file was looked at; from then on feeds the watchdog, if the
/// service manager set one, for as long as the schedule makes progress. Never returns.
pub(super) async fn attend(host: Host) {
    host.settled().await;
    ready();
    let Some(limit) = sd_notify::watchdog_enabled() else {
        return std::future::pending().await;
    };
    // Twice in its time, as sd_watchdog_enabled(3) advises.
    let mut beat = tokio::time::interval((limit / 2).max(SHORTEST));
    beat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut well = true;
    loop {
        beat.tick().await;
        let lag = host.schedule_lag();
        if is_fed(lag, limit) {
            notify(&[NotifyState::Watchdog]);
        } else if well {
            tracing::error!("the schedule is {lag:?} behind: the watchdog is not fed");
        }
        well = is_fed(lag, limit);
    }
}

/// A schedule that is behind by half the watchdog's time does not get well by itself.
fn is_fed(lag: Duration, limit: Duration) -> bool {
    lag < limit / 2
}

fn notify(states: &[NotifyState<'_>]) {
    static SAID: Once = Once::new();
    if let Err(error) = sd_notify::notify(states) {
        SAID.call_once(|| tracing::warn!("the service manager can't be notified: {error}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_watchdog_is_fed_only_while_the_schedule_is_in_time() {
        let limit = Duration::from_secs(10);
        assert!(is_fed(Duration::ZERO, limit));
        assert!(is_fed(Duration::from_secs(4), limit));
        assert!(!is_fed(Duration::from_secs(5), limit));
    }
}
