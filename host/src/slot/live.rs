//! A runner with what its slot knows of it.

use std::sync::Arc;
use std::time::Duration;

use dropsonde_plugin_api::abi::Kind;
use dropsonde_plugin_api::schema::StreamSchema;
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::admission::Image;
use crate::config::CollectorSpec;
use crate::control::Services;
use crate::model::RawBatch;
use crate::runner::{Begin, Failure, Isolation, Reply, Request, Runner, start_process};

/// A runner that has passed the probe and is still alive.
pub(crate) struct Ready {
    pub(crate) spec: CollectorSpec,
    pub(crate) runner: Runner,
    pub(crate) streams: Vec<StreamSchema>,
    pub(crate) interval: Duration,
    /// The probe's round: what it delivered, checked, and how it ended.
    pub(crate) batches: Vec<RawBatch>,
    pub(crate) outcome: Result<Vec<String>, Failure>,
}

/// A runner of a slot.
pub(super) struct Live {
    pub(super) runner: Runner,
    pub(super) image: Arc<Image>,
    /// The settings that it was made with.
    pub(super) spec: CollectorSpec,
    pub(super) streams: Vec<StreamSchema>,
    pub(super) interval: Duration,
    /// The instance stands.
    pub(super) created: bool,
    /// What it owes, and by when: creation, or a round.
    pub(super) due_by: Option<Instant>,
    pub(super) round: Option<Round>,
    /// Batches of a candidate's first round.
    pub(super) held: Vec<RawBatch>,
    next_round: u64,
}

/// A round that is under way.
pub(super) struct Round {
    id: u64,
    pub(super) wanted: u64,
    /// When it was due, on the schedule's grid; `None` if somebody asked for it.
    pub(super) due: Option<Duration>,
    /// Why a batch of it was refused.
    pub(super) bad: Option<Failure>,
    pub(super) waiters: Vec<oneshot::Sender<Result<(), Failure>>>,
}

/// What a worker needs to begin.
pub(crate) fn begin(services: &Services, image: &Image, spec: &CollectorSpec) -> Begin {
    Begin {
        image: image.staged.clone(),
        events: image.manifest.kind == Kind::Events,
        collector: spec.name.to_string(),
        settings: spec.settings_json(),
        state_dir: services.state_dir.join(&*spec.name).to_string_lossy().into_owned(),
        limits: spec.limits,
        capabilities: image
            .manifest
            .capabilities
            .iter()
            .copied()
            .filter(|capability| spec.allow.contains(capability))
            .collect(),
        check_only: false,
    }
}

impl Live {
    /// Starts a runner.
    pub(super) fn start(
        services: &Services,
        image: Arc<Image>,
        spec: CollectorSpec,
        isolation: Isolation,
    ) -> Self {
        let begin = begin(services, &image, &spec);
        let runner = match isolation {
            Isolation::Process => start_process(&services.spawner, begin),
            Isolation::Thread => services.threads.start(begin),
        };
        let due_by = Some(Instant::now() + spec.deadline);
        Self {
            runner,
            image,
            spec,
            streams: Vec::new(),
            interval: Duration::from_secs(1),
            created: false,
            due_by,
            round: None,
            held: Vec::new(),
            next_round: 1,
        }
    }

    /// Takes over a runner that has passed the probe.
    pub(super) fn adopt(image: Arc<Image>, ready: Ready) -> Self {
        Self {
            runner: ready.runner,
            image,
            spec: ready.spec,
            streams: ready.streams,
            interval: ready.interval,
            created: true,
            due_by: None,
            round: None,
            held: ready.batches,
            next_round: 1,
        }
    }

    pub(super) fn is_events(&self) -> bool {
        self.image.manifest.kind == Kind::Events
    }

    pub(super) fn interval(&self) -> Duration {
        self.spec.interval.unwrap_or(self.interval)
    }

    /// One bit for each stream.
    pub(super) fn all(&self) -> u64 {
        u64::MAX >> (64 - self.streams.len().clamp(1, 64))
    }

    /// Starts a round. There must be none under way: an instance is never called twice at once.
    pub(super) fn collect(
        &mut self,
        wanted: u64,
        due: Option<Duration>,
        waiters: Vec<oneshot::Sender<Result<(), Failure>>>,
    ) {
        debug_assert!(self.round.is_none() && self.created);
        let id = self.next_round;
        self.next_round += 1;
        self.due_by = Some(Instant::now() + self.spec.deadline);
        self.round = Some(Round { id, wanted, due, bad: None, waiters });
        self.runner.send(Request::Collect { id, wanted });
    }

    /// Takes the round off, if this is its end.
    pub(super) fn finish(&mut self, id: u64) -> Option<Round> {
        let round = self.round.take_if(|round| round.id == id)?;
        self.due_by = None;
        Some(round)
    }

    pub(super) async fn next(&mut self) -> Reply {
        self.runner.replies.recv().await.unwrap_or(Reply::Closed(None))
    }
}
