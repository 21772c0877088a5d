//! The life of a slot: one enum, and one pure function that says what follows what.

use serde::Serialize;

/// Where a collector stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// A runner has been started and has not delivered yet.
    Starting,
    /// It delivers.
    Running,
    /// The runner is well, and its last round failed in whole or in part.
    Degraded,
    /// The runner has ended; the next one starts after a pause.
    BackingOff,
    /// Too many failures: it waits for its file or settings to change, or for a person.
    Quarantined,
    /// It has been told to stop.
    Stopping,
    /// It does not run, and nobody wants it to.
    Stopped,
}

/// What happens to a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Signal {
    /// A round went well.
    Delivered,
    /// A round failed; the instance can be called again.
    RoundFailed,
    /// The instance has ended or must not be called again.
    Died,
    /// It died once too often, or in a way that waiting does not mend.
    GaveUp,
    /// The pause is over.
    RetryDue,
    /// Its file or settings changed, or a person said `restart`.
    Revived,
    /// It shall stop.
    StopAsked,
    /// It has stopped.
    StopDone,
}

impl Phase {
    /// The phase that follows, or `None` where the signal means nothing in this phase.
    pub(crate) fn after(self, signal: Signal) -> Option<Self> {
        use Phase::*;
        Some(match (self, signal) {
            (Starting | Running | Degraded, Signal::Delivered) => Running,
            (Starting | Running | Degraded, Signal::RoundFailed) => Degraded,
            (Starting | Running | Degraded, Signal::Died) => BackingOff,
            (Starting | Running | Degraded | BackingOff, Signal::GaveUp) => Quarantined,
            (BackingOff, Signal::RetryDue) => Starting,
            (Running | Degraded, Signal::Revived) => self, // the old one serves until the swap
            (Starting | BackingOff | Quarantined | Stopped, Signal::Revived) => Starting,
            (Starting | Running | Degraded, Signal::StopAsked) => Stopping,
            (BackingOff | Quarantined, Signal::StopAsked) => Stopped,
            (Stopping, Signal::StopDone) => Stopped,
            _ => return None,
        })
    }

    /// The OpenTelemetry component status that means the same (componentstatus package of the
    /// OpenTelemetry Collector).
    pub fn status(self) -> &'static str {
        match self {
            Self::Starting => "StatusStarting",
            Self::Running => "StatusOK",
            Self::Degraded | Self::BackingOff => "StatusRecoverableError",
            Self::Quarantined => "StatusPermanentError",
            Self::Stopping => "StatusStopping",
            Self::Stopped => "StatusStopped",
        }
    }

    /// Whether a collector in this phase counts as ready.
    pub fn is_ready(self) -> bool {
        matches!(self, Self::Running | Self::Degraded)
    }

    /// The name as it is written everywhere.
    pub fn name(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Degraded => "degraded",
            Self::BackingOff => "backing_off",
            Self::Quarantined => "quarantined",
            Self::Stopping => "stopping",
            Self::Stopped => "stopped",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Phase::*;
    use super::Signal::*;
    use super::*;

    const PHASES: [Phase; 7] =
        [Starting, Running, Degraded, BackingOff, Quarantined, Stopping, Stopped];

    #[test]
    fn the_transition_table_is_this() {
        // One row a signal, one column a phase, in the order of PHASES.
        let none = None;
        let table: [(Signal, [Option<Phase>; 7]); 8] = [
            (Delivered, [Some(Running), Some(Running), Some(Running), none, none, none, none]),
            (RoundFailed, [Some(Degraded), Some(Degraded), Some(Degraded), none, none, none, none]),
            (Died, [Some(BackingOff), Some(BackingOff), Some(BackingOff), none, none, none, none]),
            (
                GaveUp,
                [
                    Some(Quarantined),
                    Some(Quarantined),
                    Some(Quarantined),
                    Some(Quarantined),
                    none,
                    none,
                    none,
                ],
            ),
            (RetryDue, [none, none, none, Some(Starting), none, none, none]),
            (
                Revived,
                [
                    Some(Starting),
                    Some(Running),
                    Some(Degraded),
                    Some(Starting),
                    Some(Starting),
                    none,
                    Some(Starting),
                ],
            ),
            (
                StopAsked,
                [
                    Some(Stopping),
                    Some(Stopping),
                    Some(Stopping),
                    Some(Stopped),
                    Some(Stopped),
                    none,
                    none,
                ],
            ),
            (StopDone, [none, none, none, none, none, Some(Stopped), none]),
        ];
        for (signal, row) in table {
            for (phase, expected) in PHASES.into_iter().zip(row) {
                assert_eq!(phase.after(signal), expected, "{phase:?} on {signal:?}");
            }
        }
    }
}
