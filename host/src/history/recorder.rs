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
    /// What it had got when it was told to stop, and wrote last.
    rest: oneshot::Receiver<Vec<Arc<Batch>>>,
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
        // Its `stop` is dropped.
        let before = before.map(|Running { ended, rest, .. }| (ended, rest));
        let (stop, stopped) = oneshot::channel();
        let (done, ended) = oneshot::channel();
        let (told, rest) = oneshot::channel();
        *running = Some(Running { settings: settings.clone(), stop, ended, rest });
        self.shared.starting();
        let (settings, shared) = (settings.clone(), self.shared.clone());
        tokio::spawn(async move {
            let has_them = async {
                let (ended, rest) = before?;
                let _ = ended.await; // its sender is dropped
                rest.await.ok()
            };
            let has_them = tokio::time::timeout(LAST_WRITE, has_them).await;
            let has_them = has_them.ok().flatten().unwrap_or_default();
            if let Some(inlet) = start(settings, shared, done) {
                let _ = told.send(feed(subscription, has_them, inlet, stopped).await);
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
    let request = Subscribe::to_all(&settings.streams)?;
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
/// waits in the subscription, which loses the oldest. What was published while both subscribed
/// came to the one before too, and `has_them`. Returns what came last.
async fn feed(
    mut subscription: Subscription,
    has_them: Vec<Arc<Batch>>,
    inlet: mpsc::Sender<Vec<Arc<Batch>>>,
    mut stopped: oneshot::Receiver<()>,
) -> Vec<Arc<Batch>> {
    let all = |subscription: &mut Subscription| -> Vec<Arc<Batch>> {
        std::iter::from_fn(|| subscription.try_recv()).collect()
    };
    let mut first = all(&mut subscription);
    first.retain(|batch| !has_them.iter().any(|other| Arc::ptr_eq(batch, other)));
    drop(has_them);
    if inlet.send(first).await.is_err() {
        return Vec::new(); // it opens the file now, and says at once what is wrong with it
    }
    loop {
        let next = tokio::time::timeout(IDLE, subscription.recv_many());
        let batches: Vec<Arc<Batch>> = tokio::select! {
            biased; // what comes once it is stopped is in the rest
            _ = &mut stopped => break,
            batches = next => batches.map_or_else(|_| Vec::new(), |some| some.iter().cloned().collect()),
        };
        if inlet.send(batches).await.is_err() {
            return Vec::new(); // the writer has said why
        }
    }
    let rest = all(&mut subscription);
    let _ = inlet.send(rest.clone()).await;
    rest
}
