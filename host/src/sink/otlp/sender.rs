//! Sends the requests of one signal: in order, one at a time, again where that is worth it.

use std::future::{Future, pending};
use std::pin::{Pin, pin};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout_at};

use super::client::{Client, Outcome};
use super::outbox::{Outbox, Taken};
use super::source::Source;
use super::status::{Counts, Dropped};
use super::{END, Request, Signal};

/// Pause after the first failure; it doubles with each further one.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// Pause where nothing can be read back of what waits on disk.
const UNREADABLE_PAUSE: Duration = Duration::from_secs(5);
/// Longest pause that a receiver may ask for.
const LONGEST_ASKED: Duration = Duration::from_secs(600);
/// What is left of the time to end when sending gives way to saving.
const SAVING: Duration = Duration::from_millis(200);

pub(super) struct Sender {
    signal: Signal,
    /// `None`: it is sending.
    client: Option<Client>,
    outbox: Outbox,
    counts: Counts,
    under_way: Option<UnderWay>,
    /// Failures in a row, and when the next try is due.
    failures: u32,
    pause: Option<Instant>,
    /// The log says that the receiver takes none, or refuses.
    is_told: bool,
    /// The last refusal that was logged.
    refusal: String,
}

/// The request that is being sent, and its sending.
struct UnderWay {
    taken: Taken,
    sending: Pin<Box<dyn Future<Output = (Client, Outcome)> + Send>>,
}

impl Sender {
    pub(super) fn new(signal: Signal, client: Client, outbox: Outbox, counts: Counts) -> Self {
        let (client, under_way, failures, pause) = (Some(client), None, 0, None);
        let (is_told, refusal) = (false, String::new());
        Self { signal, client, outbox, counts, under_way, failures, pause, is_told, refusal }
    }

    /// Until it is told to stop; what is left then is on disk.
    pub(super) async fn run(mut self, mut source: Source, mut stop: watch::Receiver<bool>) {
        let mut stopped = pin!(async move { drop(stop.wait_for(|stop| *stop).await) });
        loop {
            self.begin().await;
            let paused = self.pause;
            tokio::select! {
                requests = source.next() => self.take_on(requests).await,
                (client, outcome) = answer(&mut self.under_way) => {
                    self.answered(client, outcome).await;
                }
                () = until(paused) => self.pause = None,
                () = &mut stopped => break,
            }
        }
        let rest = source.rest();
        self.end(rest).await;
    }

    /// Starts to send the oldest request, unless one is under way or the receiver is left alone.
    async fn begin(&mut self) {
        if self.under_way.is_some() || self.pause.is_some() {
            return;
        }
        match self.outbox.take().await {
            Ok(Some(taken)) => self.send(taken),
            Ok(None) => {}
            Err(error) => {
                self.counts.failed("unreadable", &error.to_string());
                self.pause = Some(Instant::now() + UNREADABLE_PAUSE);
            }
        }
    }

    async fn take_on(&mut self, requests: Vec<Request>) {
        for request in requests {
            if self.under_way.is_none() && self.pause.is_none() && self.outbox.is_empty() {
                let taken = self.outbox.pass(request);
                self.send(taken);
            } else {
                self.outbox.push(request).await;
            }
        }
    }

    fn send(&mut self, taken: Taken) {
        let Some(mut client) = self.client.take() else { return };
        let (signal, body) = (self.signal, taken.body());
        let sending = Box::pin(async move {
            let outcome = client.send(signal, body).await;
            (client, outcome)
        });
        self.under_way = Some(UnderWay { taken, sending });
    }

    async fn answered(&mut self, client: Client, outcome: Outcome) {
        self.client = Some(client);
        let Some(UnderWay { taken, .. }) = self.under_way.take() else { return };
        match outcome {
            Outcome::Accepted { rejected, message } => {
                if rejected > 0 || !message.is_empty() {
                    self.refused(&format!(
                        "of {} items {rejected} were rejected: {message}",
                        taken.items()
                    ));
                }
                self.counts.sent(taken.items(), rejected);
                self.failures = 0;
                if std::mem::take(&mut self.is_told) {
                    tracing::info!(signal = self.signal.name(), "OTLP export goes on");
                }
                self.outbox.done(taken).await;
            }
            Outcome::Refused(message) => {
                self.counts.failed("refused", &message);
                self.counts.dropped(Dropped::Refused, 1);
                self.refused(&message);
                (self.failures, self.is_told) = (0, true);
                self.outbox.done(taken).await;
            }
            Outcome::Again { cause, message, after } => {
                self.counts.failed(cause.name(), &message);
                let pause = pause(self.failures, after, fastrand::f64());
                if self.failures == 0 {
                    self.is_told = true;
                    let signal = self.signal.name();
                    let again = format!("again in {:.1} s", pause.as_secs_f64());
                    tracing::warn!(
                        signal,
                        "OTLP export waits for its receiver: {message}; {again}"
                    );
                }
                self.failures = self.failures.saturating_add(1);
                self.pause = Some(Instant::now() + pause);
                self.outbox.back(taken).await;
            }
        }
    }

    /// Says so once, not for each request.
    fn refused(&mut self, message: &str) {
        if self.refusal != message {
            message.clone_into(&mut self.refusal);
            tracing::warn!(
                signal = self.signal.name(),
                "the receiver of OTLP export refuses: {message}"
            );
        }
    }

    /// Sends what can be sent in time; a receiver that is away is not waited for.
    async fn end(mut self, rest: Vec<Request>) {
        let deadline = Instant::now() + END - SAVING;
        self.take_on(rest).await;
        loop {
            self.begin().await;
            if self.under_way.is_none() {
                return;
            }
            let Ok((client, outcome)) = timeout_at(deadline, answer(&mut self.under_way)).await
            else {
                break;
            };
            self.answered(client, outcome).await;
        }
        // Whether the receiver has it is not known: it may get it twice.
        if let Some(UnderWay { taken, .. }) = self.under_way.take() {
            self.outbox.back(taken).await;
        }
    }
}

/// Waits for the answer to what is under way, for ever if nothing is. Cancel-safe.
async fn answer(under_way: &mut Option<UnderWay>) -> (Client, Outcome) {
    match under_way {
        Some(under_way) => under_way.sending.as_mut().await,
        None => pending().await,
    }
}

async fn until(pause: Option<Instant>) {
    match pause {
        Some(end) => sleep_until(end).await,
        None => pending().await,
    }
}

/// How long the receiver is left alone: at least as long as it asks for. `jitter` is from 0 to 1;
/// agents that failed together don't come back together.
fn pause(failures: u32, asked: Option<Duration>, jitter: f64) -> Duration {
    let doubled = FIRST_PAUSE.saturating_mul(1_u32.checked_shl(failures).unwrap_or(u32::MAX));
    let pause = doubled.min(LONGEST_PAUSE).max(asked.unwrap_or_default().min(LONGEST_ASKED));
    pause + pause.mul_f64(jitter.clamp(0.0, 1.0) / 4.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_limit_and_are_no_shorter_than_asked() {
        let ms = Duration::from_millis;
        assert_eq!(pause(0, None, 0.0), ms(500));
        assert_eq!(pause(3, None, 0.0), ms(4000));
        assert_eq!(pause(3, None, 1.0), ms(5000));
        assert_eq!(pause(100, None, 0.0), LONGEST_PAUSE);
        assert_eq!(pause(0, Some(ms(7000)), 0.0), ms(7000));
        assert_eq!(pause(0, Some(Duration::MAX), 0.0), LONGEST_ASKED);
    }
}
