//! The handle that an embedding program, the command line and the HTTP API use.

mod export;
mod steering;

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock, Weak};
use std::time::Duration;

use thiserror::Error;
use tokio::sync::{Semaphore, mpsc, oneshot, watch};

use super::core::{Core, CoreStatus};
use super::events::Events;
use super::logs::Logs;
use super::{Command, Loader, OwnUse, Services, Status};
use crate::admission::{Staging, Watcher};
use crate::bus::{Bus, Subscribe, Subscription};
use crate::clock;
use crate::config::{Config, ConfigErrors, Sources};
use crate::history::Recorder;
use crate::model::{Batch, StreamInfo};
use crate::query::Engine;
use crate::runner::{Cgroups, Failure, Spawner, Threads};
use crate::schedule::{self, Change, Grid, Heartbeat};
use crate::sink::otlp;
use crate::slot::{Looks, SlotCommand};

/// Why a host could not start.
#[derive(Debug, Error)]
pub enum StartError {
    /// The configuration is wrong.
    #[error(transparent)]
    Config(#[from] ConfigErrors),
    /// The private directory for plugin copies could not be made.
    #[error("can't make a private directory in {directory}: {cause}; set host.runtime_dir")]
    Staging {
        /// Where.
        directory: PathBuf,
        /// Why not.
        cause: io::Error,
    },
    /// The kernel refused file watches.
    #[error("can't watch files: {0}; see fs.inotify.max_user_instances")]
    Watch(String),
    /// The kernel refused a thread.
    #[error("can't start a thread: {0}")]
    Thread(#[from] io::Error),
}

/// How to start a host.
pub struct Builder {
    sources: Sources,
    paced: bool,
}

/// A running host; cheap to clone. It runs until [`shutdown`](Host::shutdown), or until the
/// runtime that it was started on ends.
#[derive(Clone)]
pub struct Host {
    commands: mpsc::UnboundedSender<Command>,
    core: watch::Receiver<Arc<CoreStatus>>,
    pub(super) services: Arc<Services>,
}

impl Builder {
    /// A host with this configuration.
    pub fn new(sources: Sources) -> Self {
        Self { sources, paced: true }
    }

    /// Collects only what is asked for, by [`Host::get`] and [`Host::snapshot`]: no schedule.
    #[must_use]
    pub fn on_request_only(mut self) -> Self {
        self.paced = false;
        self
    }

    /// Starts the host on the current tokio runtime, which must have timers and I/O enabled.
    /// A process that does this calls [`enter_if_runner`](crate::enter_if_runner) first thing in
    /// `main`, since runners are its own binary re-executed.
    pub fn start(self) -> Result<Host, StartError> {
        let config = Config::load(&self.sources)?;
        let sources = self.sources;
        let loader: Loader = Box::new(move || Config::load(&sources));
        let (watcher, changes) =
            Watcher::new().map_err(|error| StartError::Watch(error.to_string()))?;
        let (services, feeds) = Self::services(&config, self.paced)?;
        let ticking = Arc::downgrade(&services);
        let fire = move |collector: &str, tick| {
            if let Some(services) = ticking.upgrade() {
                services.tick(collector, tick);
            }
        };
        let heartbeat = services.heartbeat.clone();
        tokio::spawn(schedule::run(services.grid, heartbeat, feeds.schedule, fire));
        tokio::spawn(move_strays(Arc::downgrade(&services), feeds.strays));
        let (commands, queue) = mpsc::unbounded_channel();
        let core =
            Core::start(services.clone(), config, loader, watcher, changes, &commands, queue);
        Ok(Host { commands, core, services })
    }
}

/// What the parts of the host say to each other.
pub(crate) struct Feeds {
    /// For the schedule.
    schedule: mpsc::UnboundedReceiver<Change>,
    /// Collectors that left something behind in the host as they ended, and what.
    strays: mpsc::UnboundedReceiver<(String, String)>,
}

async fn move_strays(
    services: Weak<Services>,
    mut strays: mpsc::UnboundedReceiver<(String, String)>,
) {
    while let Some((collector, why)) = strays.recv().await {
        tracing::warn!(collector, "{why}");
        if let Some(slot) = services.upgrade().and_then(|services| services.slot(&collector)) {
            slot.send(SlotCommand::Move { why });
        }
    }
}

impl Builder {
    /// What all parts share, and what they say.
    pub(crate) fn services(
        config: &Config,
        paced: bool,
    ) -> Result<(Arc<Services>, Feeds), StartError> {
        let staging = Staging::new(&config.runtime_dir).map_err(|cause| StartError::Staging {
            directory: config.runtime_dir.clone(),
            cause,
        })?;
        let (changes, schedule) = mpsc::unbounded_channel();
        let (strayed, strays) = mpsc::unbounded_channel();
        let cgroups = Cgroups::discover();
        let lacking = cgroups.lacking();
        if !lacking.is_empty() {
            let lacking = lacking.join(", ");
            tracing::info!("no cgroup may be made for {lacking}: rlimits alone hold there");
        }
        let cpus = std::thread::available_parallelism().map_or(1, usize::from);
        let services = Arc::new(Services {
            bus: Bus::new(),
            spawner: Spawner::new(tokio::runtime::Handle::current(), cgroups)?,
            threads: Threads::new(&config.state_dir.join("crashes"), move |collector, what| {
                let _ = strayed.send((collector.to_owned(), what.to_owned()));
            })?,
            staging,
            trials: Arc::new(Semaphore::new(cpus)),
            looks: Looks::start(),
            state_dir: config.state_dir.join("collectors"),
            grid: Grid::new(),
            heartbeat: Arc::new(Heartbeat::default()),
            slots: Mutex::default(),
            refused: Mutex::default(),
            changes,
            events: Events::default(),
            queries: Engine::new(),
            history: Recorder::default(),
            logs: Logs::default(),
            otlp: OnceLock::new(),
            paced,
        });
        Ok((services, Feeds { schedule, strays }))
    }
}

impl Host {
    /// The bus.
    pub fn bus(&self) -> &Bus {
        &self.services.bus
    }

    /// Subscribes; short for `bus().subscribe(…)`.
    pub fn subscribe(&self, request: Subscribe) -> Subscription {
        self.services.bus.subscribe(request)
    }

    /// The state of everything, now.
    pub fn status(&self) -> Status {
        let core = self.core.borrow().clone();
        let now = clock::monotonic();
        let slots = core.slots.iter().map(|slot| slot.borrow().clone());
        let collectors = core.idle.iter().cloned().chain(slots).map(|mut status| {
            status.paced = core.steering.paced(&status.name, now);
            status
        });
        Status {
            collectors: collectors.map(|status| status.at(now)).collect(),
            plugins: core.plugins.clone(),
            config: core.config.clone(),
            bus: self.services.bus.status(),
            libraries: self.services.threads.quiet().into(),
            history: self.services.history.status(),
            host: OwnUse::now(),
            otlp: self.services.otlp.get().map(otlp::Shared::now),
        }
    }

    /// For how long a collector has been due that was not told so: zero while the schedule keeps
    /// up.
    pub fn schedule_lag(&self) -> Duration {
        self.services.heartbeat.lag(self.services.grid.now())
    }

    /// Waits until every plugin file that lay there at the start was admitted or rejected, and
    /// every collector has delivered or failed.
    pub async fn settled(&self) {
        let mut core = self.core.clone();
        loop {
            let now = core.borrow_and_update().clone();
            if now.settled {
                for mut slot in now.slots.clone() {
                    let done = |status: &crate::slot::SlotStatus| {
                        status.batches > 0 || status.last_error.is_some() || status.phase.is_ready()
                    };
                    let _ = slot.wait_for(done).await; // an error: it has been stopped
                }
                return;
            }
            if core.changed().await.is_err() {
                return;
            }
        }
    }

    /// The last batch of a stream if it is no older than `max_age`, otherwise a new one: one
    /// read serves all who ask at the same time.
    pub async fn get(&self, topic: &str, max_age: Duration) -> Result<Arc<Batch>, Failure> {
        let streams = self.services.bus.streams();
        let unknown = || Failure::Failed(format!("there is no stream `{topic}`"));
        let stream = streams.iter().find(|stream| stream.topic == topic).ok_or_else(unknown)?;
        let mut batches = self.read(std::slice::from_ref(stream), max_age).await?;
        batches.pop().ok_or_else(unknown)
    }

    /// The snapshot streams of all collectors, each no older than `max_age` where that can be
    /// had within `patience`, otherwise as it is; a stream without a batch is left out.
    pub async fn snapshot(&self, max_age: Duration, patience: Duration) -> Vec<Arc<Batch>> {
        let reads: Vec<_> = self
            .by_collector()
            .into_values()
            .map(|streams| {
                let host = self.clone();
                tokio::spawn(async move { host.read_or_last(&streams, max_age, patience).await })
            })
            .collect();
        let mut batches = Vec::new();
        for read in reads {
            batches.extend(read.await.unwrap_or_default());
        }
        batches
    }

    /// The last batches of one collector's snapshot streams, however old: they say when they were
    /// read. With a `max_age`, as in [`snapshot`](Self::snapshot).
    pub async fn of_collector(
        &self,
        collector: &str,
        max_age: Option<Duration>,
        patience: Duration,
    ) -> Vec<Arc<Batch>> {
        let streams = self.by_collector().remove(collector).unwrap_or_default();
        if let Some(max_age) = max_age {
            return self.read_or_last(&streams, max_age, patience).await;
        }
        let batches = self.last(&streams);
        batches.iter().for_each(|batch| self.services.bus.count_cache_hit(&batch.stream.topic));
        batches
    }

    /// The last batches of all snapshot streams; never waits and reads nothing. A collector that
    /// has not delivered for three of its intervals is left out: its values are no longer so.
    pub fn latest(&self) -> Vec<Arc<Batch>> {
        let intervals: HashMap<String, f64> = self
            .status()
            .collectors
            .into_iter()
            .map(|collector| (collector.name, collector.interval_seconds))
            .collect();
        let now = clock::monotonic();
        let is_current = |batch: &Arc<Batch>| {
            let own = intervals.get(&*batch.stream.collector).copied().unwrap_or(1.0);
            now.saturating_sub(batch.monotonic).as_secs_f64() <= 3.0 * own + 1.0
        };
        let all = self.by_collector().into_values().flat_map(|streams| self.last(&streams));
        let batches: Vec<_> = all.filter(is_current).collect();
        batches.iter().for_each(|batch| self.services.bus.count_cache_hit(&batch.stream.topic));
        batches
    }

    pub(super) async fn read_or_last(
        &self,
        streams: &[Arc<StreamInfo>],
        max_age: Duration,
        patience: Duration,
    ) -> Vec<Arc<Batch>> {
        let read = tokio::time::timeout(patience, self.read(streams, max_age)).await;
        read.ok().and_then(Result::ok).unwrap_or_else(|| self.last(streams))
    }

    fn last(&self, streams: &[Arc<StreamInfo>]) -> Vec<Arc<Batch>> {
        streams.iter().filter_map(|stream| self.services.bus.latest(&stream.topic)).collect()
    }

    fn by_collector(&self) -> BTreeMap<Arc<str>, Vec<Arc<StreamInfo>>> {
        let mut by_collector: BTreeMap<Arc<str>, Vec<Arc<StreamInfo>>> = BTreeMap::new();
        for stream in self.services.bus.streams() {
            if stream.topic.starts_with("metrics.") {
                by_collector.entry(stream.collector.clone()).or_default().push(stream);
            }
        }
        by_collector
    }

    /// Streams of one collector: the last batches where they are fresh enough, and one round for
    /// all that are not.
    async fn read(
        &self,
        streams: &[Arc<StreamInfo>],
        max_age: Duration,
    ) -> Result<Vec<Arc<Batch>>, Failure> {
        let bus = &self.services.bus;
        let now = clock::monotonic();
        let is_fresh = |stream: &Arc<StreamInfo>| {
            // The host's own streams, and events, are as they are.
            !stream.topic.starts_with("metrics.")
                || bus
                    .latest(&stream.topic)
                    .is_some_and(|batch| now.saturating_sub(batch.monotonic) <= max_age)
        };
        let (fresh, stale): (Vec<_>, Vec<_>) = streams.iter().partition(|stream| is_fresh(stream));
        fresh.iter().for_each(|stream| bus.count_cache_hit(&stream.topic));
        if let Some(first) = stale.first() {
            let (done, answer) = oneshot::channel();
            let collector = first.collector.to_string();
            let topics = stale.iter().map(|stream| stream.topic.clone()).collect();
            let ended = || Failure::Failed("the host is shutting down".into());
            let command = Command::Collect { collector, topics, done };
            self.commands.send(command).map_err(|_| ended())?;
            answer.await.map_err(|_| ended())??;
        }
        Ok(self.last(streams))
    }

    /// Resolves when the host has ended, by [`shutdown`](Self::shutdown) or because its own code
    /// panicked.
    pub async fn ended(&self) {
        self.commands.closed().await;
    }

    /// Stops the collectors and removes the copies of their plugins. Takes as long as the
    /// slowest collector's deadline, and 5 s at most.
    pub async fn shutdown(self) {
        let (done, ended) = oneshot::channel();
        if self.commands.send(Command::Shutdown { done }).is_ok() {
            let _ = ended.await;
        }
    }
}
