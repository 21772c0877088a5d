//! From the bus to the writer, and what a change of the settings does.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Semaphore, mpsc, oneshot};

use super::read::{self, Answer, Question, ReadError};
use super::status::{HistoryStatus, Shared};
use super::writer::Writer;
use crate::bus::{Bus, Overflow, Subscribe, Subscription};
use crate::config::History;
use crate::model::Batch;

/// Batches that wait for the writer while it writes.
const ROOM: usize = 4096;
/// So many records are written before `history.flush` is over.
const ENOUGH: usize = 10_000;
/// Readers at once.
const READERS: usize = 2;
/// How long the writer sleeps where nothing comes: minutes are made nevertheless.
const IDLE: Duration = Duration::from_secs(30);
/// Longest that the end of a writer is waited for.
const LAST_WRITE: Duration = Duration::from_secs(3);

/// Stores what the configuration says. Without it, it is nothing: no thread, no subscription.
pub(crate) struct Recorder {
    running: Mutex<Option<Running>>,
    /// Of those who read: the others wait.
    turns: Arc<Semaphore>,
    shared: Arc<Shared>,
}

struct Running {
    settings: History,
    /// Dropped: what has come is written, and the file is closed.
    stop: oneshot::Sender<()>,
    ended: oneshot::Receiver<()>,
}

impl Default for Recorder {
    fn default() -> Self {
        let (running, shared) = Default::default();
        Self { running, turns: Arc::new(Semaphore::new(READERS)), shared }
    }
}

impl Recorder {
    /// Stores by these settings from now on, on the current runtime. What stored by others until
    /// now writes what it has got first; nothing is lost between, and nothing comes twice.
    pub(crate) fn configure(&self, bus: &Bus, settings: Option<&History>) {
        let mut running = self.running();
        if running.as_ref().map(|running| &running.settings) == settings {
            return;
        }
        let before = running.take();
        let Some(settings) = settings else { return }; // the old one ends by itself
        let Some(request) = request(settings) else { return };
        let subscription = bus.subscribe(request);
        let before = before.map(|running| running.ended); // and its `stop` is dropped
        let (stop, stopped) = oneshot::channel();
        let (done, ended) = oneshot::channel();
        *running = Some(Running { settings: settings.clone(), stop, ended });
        self.shared.starting();
        let (settings, shared) = (settings.clone(), self.shared.clone());
        tokio::spawn(async move {
            if let Some(before) = before {
                let _ = tokio::time::timeout(LAST_WRITE, before).await;
            }
            if let Some(inlet) = start(settings, shared, done) {
                feed(subscription, inlet, stopped).await;
            }
        });
    }

    /// Writes what has come and closes the file; waits for it 3 s at most.
    pub(crate) async fn end(&self) {
        let Some(Running { stop, ended, .. }) = self.running().take() else { return };
        drop(stop);
        let _ = tokio::time::timeout(LAST_WRITE, ended).await;
    }

    /// `None`: nothing is stored.
    pub(crate) fn status(&self) -> Option<HistoryStatus> {
        let file = self.file()?;
        Some(self.shared.status(&file))
    }

    /// Reads what was stored. `None`: nothing is.
    pub(crate) async fn read(&self, question: Question) -> Option<Result<Answer, ReadError>> {
        let file = self.file()?;
        let turn = self.turns.clone().acquire_owned().await; // never closed
        let reading = tokio::task::spawn_blocking(move || {
            let _turn = turn; // until it is done, even if nobody waits for it any longer
            read::read(&file, &question)
        });
        // An error: the runtime ends.
        Some(reading.await.unwrap_or(Err(ReadError::TooLong)))
    }

    /// The file that is written.
    pub(crate) fn file(&self) -> Option<PathBuf> {
        self.running().as_ref().map(|running| running.settings.path.clone())
    }

    fn running(&self) -> MutexGuard<'_, Option<Running>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One batch of each stream per interval, and no read for it.
fn request(settings: &History) -> Option<Subscribe> {
    let mut patterns = settings.streams.iter().map(ToString::to_string);
    let first = Subscribe::to(&patterns.next()?).ok()?; // they were patterns before
    let request = patterns.try_fold(first, |request, pattern| request.and(&pattern).ok())?;
    let request = request.named("history").overflow(Overflow::DropOldest(ROOM));
    Some(request.at_most_every(settings.interval).gather(ENOUGH, settings.flush))
}

/// Starts the thread; `done` is dropped when it has ended.
fn start(
    settings: History,
    shared: Arc<Shared>,
    done: oneshot::Sender<()>,
) -> Option<mpsc::Sender<Vec<Arc<Batch>>>> {
    let (sender, inlet) = mpsc::channel(1);
    let writer = Writer::new(settings, shared.clone());
    let thread = std::thread::Builder::new().name("dropsonde-store".into());
    let spawned = thread.spawn(move || {
        writer.run(inlet);
        drop(done);
    });
    if let Err(error) = spawned {
        tracing::error!("history: can't start a thread: {error}; nothing is stored");
        shared.complained(format!("can't start a thread: {error}"));
        return None;
    }
    Some(sender)
}

/// Hands over what comes. A writer that takes long is waited for here, and what comes meanwhile
/// waits in the subscription, which loses the oldest.
async fn feed(
    mut subscription: Subscription,
    inlet: mpsc::Sender<Vec<Arc<Batch>>>,
    mut stopped: oneshot::Receiver<()>,
) {
    if inlet.send(Vec::new()).await.is_err() {
        return; // it opens the file now, and says at once what is wrong with it
    }
    loop {
        let next = tokio::time::timeout(IDLE, subscription.recv_many());
        let batches: Vec<Arc<Batch>> = tokio::select! {
            batches = next => batches.map_or_else(|_| Vec::new(), |some| some.iter().cloned().collect()),
            _ = &mut stopped => break,
        };
        if inlet.send(batches).await.is_err() {
            return; // the writer has said why
        }
    }
    let rest: Vec<_> = std::iter::from_fn(|| subscription.try_recv()).collect();
    let _ = inlet.send(rest).await;
}
