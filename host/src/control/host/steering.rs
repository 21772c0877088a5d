//! What a person asks of a running host.

use std::time::Duration;

use tokio::sync::{broadcast, oneshot};

use super::super::logs::LogLine;
use super::super::{Command, Order, ReloadOutcome, SteerError};
use super::Host;
use crate::schedule;

impl Host {
    /// Reads the configuration again and looks at all plugin files.
    pub async fn reload(&self) -> Option<ReloadOutcome> {
        let (done, outcome) = oneshot::channel();
        self.commands.send(Command::Reload { done: Some(done) }).ok()?;
        outcome.await.ok()
    }

    /// Starts a collector anew, whatever its state; its past failures no longer count.
    pub async fn restart(&self, collector: &str) -> Result<(), SteerError> {
        self.steer(collector, Order::Restart).await.map(drop)
    }

    /// Starts or stops a collector, until the host ends or the contrary is asked for; the
    /// configuration files stay as they are. Whether it was not so before.
    pub async fn set_enabled(&self, collector: &str, enabled: bool) -> Result<bool, SteerError> {
        self.steer(collector, Order::Enable(enabled)).await
    }

    /// Collects a collector at another interval than its own, for so long, or until the host
    /// ends; at its own again with `None`. Subscribers may still ask for more.
    pub async fn set_interval(
        &self,
        collector: &str,
        interval: Option<Duration>,
        lasting: Option<Duration>,
    ) -> Result<(), SteerError> {
        if interval.is_some_and(|interval| interval < schedule::MIN_INTERVAL) {
            return Err(SteerError::TooShort);
        }
        self.steer(collector, Order::Pace(interval, lasting)).await.map(drop)
    }

    async fn steer(&self, collector: &str, order: Order) -> Result<bool, SteerError> {
        let (done, outcome) = oneshot::channel();
        let collector = collector.to_owned();
        let command = Command::Steer { collector, order, done: Some(done) };
        self.commands.send(command).map_err(|_| SteerError::Ended)?;
        outcome.await.unwrap_or(Err(SteerError::Ended))
    }

    /// The last log lines of a collector, oldest first, at most 256, and those to come: what its
    /// plugin logs, and what the host says of it. A follower that is slow is told by the receiver
    /// how many lines it lost. Of a name that no collector has, none come.
    pub fn follow_log(
        &self,
        collector: &str,
        lines: usize,
    ) -> (Vec<LogLine>, broadcast::Receiver<LogLine>) {
        self.services.logs.follow(collector, lines)
    }
}
