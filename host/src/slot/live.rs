//! A runner with what its slot knows of it.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use dropsonde_plugin_api::abi::{Capability, Kind};
use dropsonde_plugin_api::schema::StreamSchema;
use tokio::sync::oneshot;
use tokio::time::Instant;
use tracing::Level;

use super::kept::{Cut, Held, Kept};
use crate::admission::Image;
use crate::config::CollectorSpec;
use crate::control::Services;
use crate::model::{RawBatch, check_schemas};
use crate::runner::{
    Begin, Failure, Footprint, Isolation, Reply, Request, Runner, Sandbox, start_process,
};

/// A runner that has passed the probe and is still alive.
pub(crate) struct Ready {
    pub(crate) spec: CollectorSpec,
    pub(crate) runner: Runner,
    pub(crate) sandbox: Option<Sandbox>,
    pub(crate) streams: Vec<StreamSchema>,
    pub(crate) interval: Duration,
    /// The probe's round: what it delivered, and how it ended.
    pub(crate) held: Held,
    pub(crate) kept: Kept,
    pub(crate) rows_left_out: u64,
    pub(crate) outcome: Result<Vec<String>, Failure>,
}

/// A runner of a slot.
pub(super) struct Live {
    pub(super) runner: Runner,
    pub(super) image: Arc<Image>,
    /// The settings that it was made with.
    pub(super) spec: CollectorSpec,
    state_dir: PathBuf,
    /// What it may not do; of a process.
    pub(super) sandbox: Option<Sandbox>,
    pub(super) streams: Vec<StreamSchema>,
    pub(super) interval: Duration,
    /// The instance stands.
    pub(super) created: bool,
    /// What it owes, and by when: creation, or a round.
    pub(super) due_by: Option<Instant>,
    pub(super) round: Option<Round>,
    strain: Option<Strain>,
    /// Batches of a candidate's first round.
    pub(super) held: Held,
    next_round: u64,
    kept: Kept,
}

/// How often the host is looked at while a call on one of its threads does not come back.
const STRAIN: Duration = Duration::from_millis(100);

/// A call on a thread of the host, which no limit of the kernel's bounds.
struct Strain {
    look_at: Instant,
    /// What the host used when the call was first found to take long.
    before: Option<Footprint>,
}

impl Strain {
    fn from_now() -> Self {
        Self { look_at: Instant::now() + STRAIN, before: None }
    }
}

/// A round that is under way.
pub(super) struct Round {
    id: u64,
    pub(super) started: Instant,
    pub(super) wanted: u64,
    /// When it was due, on the schedule's grid; `None` if somebody asked for it.
    pub(super) due: Option<Duration>,
    /// Why a batch of it was refused.
    pub(super) bad: Option<Failure>,
    /// What was left out of its batches.
    pub(super) left_out: Vec<String>,
    pub(super) waiters: Vec<oneshot::Sender<Result<(), Failure>>>,
}

/// Says in the log where the configuration stands in a worker's way, or lets it do whatever it
/// likes.
pub(crate) fn note_refusals(
    services: &Services,
    image: &Image,
    spec: &CollectorSpec,
    isolation: Isolation,
) {
    let (granted, refused) = capabilities(image, spec);
    if spec.sandbox {
        // A thread has no sandbox.
        if isolation == Isolation::Process && services.is_new_refusal(&spec.name, &refused) {
            let text = refused_capabilities(spec, &image.manifest.capabilities, &refused);
            // Whoever allows some of it has chosen.
            let level = if granted.is_empty() { Level::WARN } else { Level::INFO };
            match level {
                Level::WARN => tracing::warn!(collector = &*spec.name, "{text}"),
                _ => tracing::info!(collector = &*spec.name, "{text}"),
            }
            services.logs.keep(&spec.name, level, &text);
        }
    } else {
        tracing::warn!(
            collector = &*spec.name,
            "runs without a sandbox, since the configuration says `sandbox = false`"
        );
    }
}

/// What a plugin asks for: granted, and refused.
fn capabilities(image: &Image, spec: &CollectorSpec) -> (Vec<Capability>, Vec<Capability>) {
    image.manifest.capabilities.iter().partition(|asked| spec.allow.contains(asked))
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
        capabilities: capabilities(image, spec).0,
        sandbox: spec.sandbox,
        check_only: false,
    }
}

fn refused_capabilities(
    spec: &CollectorSpec,
    asked: &[Capability],
    refused: &[Capability],
) -> String {
    let list = |of: &[Capability], mark: char| {
        let names = of.iter().map(|capability| format!("{mark}{}{mark}", capability.name()));
        names.collect::<Vec<_>>().join(", ")
    };
    format!(
        "asks for {}, which the configuration does not allow; set collectors.{}.allow = [{}]",
        list(refused, '`'),
        spec.name,
        list(asked, '"')
    )
}

impl Live {
    /// Starts a runner.
    pub(super) fn start(
        services: &Services,
        image: Arc<Image>,
        spec: CollectorSpec,
        isolation: Isolation,
    ) -> Self {
        if let Err(error) = services.staging.restore(&image) {
            tracing::error!(collector = &*spec.name, "its plugin's private copy: {error}");
        }
        note_refusals(services, &image, &spec, isolation);
        let begin = begin(services, &image, &spec);
        let state_dir = PathBuf::from(&begin.state_dir);
        let runner = match isolation {
            Isolation::Process => start_process(&services.spawner, begin),
            Isolation::Thread => services.threads.start(begin, &image.sha256()),
        };
        let due_by = Some(Instant::now() + spec.deadline);
        Self {
            runner,
            image,
            spec,
            state_dir,
            sandbox: None,
            streams: Vec::new(),
            interval: Duration::from_secs(1),
            created: false,
            due_by,
            round: None,
            strain: (isolation == Isolation::Thread).then(Strain::from_now),
            held: Held::default(),
            next_round: 1,
            kept: Kept::default(),
        }
    }

    /// Takes over a runner that has passed the probe.
    pub(super) fn adopt(image: Arc<Image>, ready: Ready) -> Self {
        Self {
            runner: ready.runner,
            image,
            spec: ready.spec,
            state_dir: PathBuf::new(), // for thread mode only
            sandbox: ready.sandbox,
            streams: ready.streams,
            interval: ready.interval,
            created: true,
            due_by: None,
            round: None,
            strain: None,
            held: ready.held,
            next_round: 1,
            kept: ready.kept,
        }
    }

    /// Checks a batch and cuts it to what one batch may hold.
    pub(super) fn accept(&mut self, raw: &mut RawBatch) -> Result<Cut, Failure> {
        let cut = self.kept.accept(&self.streams, self.spec.limits.rows, raw)?;
        if let (Some(round), Some(what)) = (&mut self.round, &cut.what) {
            round.left_out.push(what.clone());
        }
        Ok(cut)
    }

    /// Takes what the plugin declares, once it was checked: no runner is trusted with that.
    pub(super) fn describe(
        &mut self,
        streams: Vec<StreamSchema>,
        interval_ms: u64,
    ) -> Result<(), Failure> {
        check_schemas(&streams).map_err(|error| Failure::Schema(error.to_string()))?;
        self.streams = streams;
        self.interval = Duration::from_millis(interval_ms.max(10));
        Ok(())
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
        self.strain = (self.runner.isolation == Isolation::Thread).then(Strain::from_now);
        let started = Instant::now();
        let (bad, left_out) = (None, Vec::new());
        self.round = Some(Round { id, started, wanted, due, bad, left_out, waiters });
        self.runner.send(Request::Collect { id, wanted });
    }

    /// When something is to be looked at: the deadline, or what a call that takes long uses.
    pub(super) fn next_look(&self) -> Option<Instant> {
        let due = self.due_by?;
        Some(self.strain.as_ref().map_or(due, |strain| strain.look_at.min(due)))
    }

    /// Which limit the host has passed since a call on its thread was found to take long.
    pub(super) fn strained(&mut self, now: Instant) -> Option<String> {
        self.due_by?;
        let strain = self.strain.as_mut().filter(|strain| strain.look_at <= now)?;
        strain.look_at = now + STRAIN;
        let used = Footprint::now(&self.state_dir);
        used.passed(strain.before.get_or_insert(used), &self.spec.limits)
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
