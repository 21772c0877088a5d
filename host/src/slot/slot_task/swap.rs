//! From one generation to the next: launch beside the old one, prove, take over, or be refused.

use std::sync::Arc;
use std::time::Duration;

use super::super::live::{Live, Ready};
use super::{Candidate, Slot};
use crate::admission::Image;
use crate::model::RawBatch;
use crate::runner::{Failure, Isolation, Reply};
use crate::text::plain;

impl Slot {
    /// A new image, or the first one.
    pub(super) async fn adopt(&mut self, image: Arc<Image>, ready: Option<Ready>) {
        self.image = Some(image.clone());
        self.revive();
        let ready = ready.filter(|ready| !ready.spec.needs_new_instance(&self.spec));
        match ready {
            Some(ready) if self.isolation() == Isolation::Process => {
                let (outcome, left_out) = (ready.outcome.clone(), ready.rows_left_out);
                let mut live = Live::adopt(image, ready);
                live.spec = self.spec.clone();
                self.candidate = Some(Candidate { live, proven: true });
                let first = self.current.is_none();
                if let Err(failure) = outcome.as_ref()
                    && !first
                {
                    return self.refuse_candidate(failure);
                }
                self.status.send_modify(|status| status.rows_left_out += left_out);
                self.swap_if_free().await;
                if first {
                    self.after_round(outcome);
                }
            }
            _ => self.launch(),
        }
    }

    /// Starts a runner: beside the one that serves if there is one, otherwise in its place.
    pub(super) fn launch(&mut self) {
        let Some(image) = self.image.clone() else { return };
        let isolation = self.isolation();
        let live = Live::start(&self.services, image, self.spec.clone(), isolation);
        if self.current.is_some() {
            // A candidate that was still being tried is let go of.
            self.candidate = Some(Candidate { live, proven: false });
        } else {
            self.candidate = None;
            self.current = Some(live);
        }
    }

    /// Where the next runner goes.
    pub(super) fn isolation(&mut self) -> Isolation {
        if self.spec.isolation == Isolation::Process || self.status.borrow().moved.is_some() {
            return Isolation::Process;
        }
        let image = self.image.as_ref().map(|image| image.sha256()).unwrap_or_default();
        match self.services.threads.refusal(&self.spec.name, &image) {
            None => Isolation::Thread,
            Some(why) => {
                self.moved(why);
                Isolation::Process
            }
        }
    }

    /// It runs on a thread of the host and did not keep to itself: a process takes over, and no
    /// tick is lost.
    pub(super) fn strayed(&mut self, what: String) {
        let on_thread = |live: &Live| live.runner.isolation == Isolation::Thread;
        let current = self.current.as_ref().is_some_and(on_thread);
        let candidate = self.candidate.as_ref().is_some_and(|next| on_thread(&next.live));
        if (current || candidate) && self.status.borrow().moved.is_none() {
            self.status.send_modify(|status| {
                status.last_error = Some(what.clone());
                *status.failures.entry("strayed").or_default() += 1;
            });
            self.moved(what);
            self.launch();
        }
    }

    /// The candidate has said something.
    pub(super) async fn heard_candidate(&mut self, reply: Reply) {
        let Some(candidate) = &mut self.candidate else { return };
        let live = &mut candidate.live;
        match reply {
            Reply::Confined(sandbox) => live.sandbox = Some(sandbox),
            Reply::Described { streams, interval_ms } => {
                if let Err(failure) = live.describe(streams, interval_ms) {
                    self.refuse_candidate(&failure);
                }
            }
            Reply::Created => {
                live.created = true;
                live.due_by = None;
                if live.is_events() {
                    candidate.proven = true;
                    self.swap_if_free().await;
                } else {
                    let all = live.all();
                    live.collect(all, None, Vec::new());
                }
            }
            Reply::Batch(mut raw) => {
                let accepted = live.accept(&mut raw).and_then(|_| live.held.push(raw));
                if let Err(failure) = accepted {
                    self.refuse_candidate(&failure);
                }
            }
            Reply::Done { id, outcome, .. } => {
                live.finish(id);
                match outcome {
                    Ok(_) => {
                        candidate.proven = true;
                        self.swap_if_free().await;
                    }
                    Err(failure) => self.refuse_candidate(&failure),
                }
            }
            Reply::Refused(failure) => self.refuse_candidate(&failure),
            Reply::Strayed(what) => self.strayed(what),
            Reply::Log { level, message } => {
                self.services.logs.plugin(&self.spec.name, level, &message);
            }
            Reply::Closed(failure) => {
                self.refuse_candidate(&failure.unwrap_or(Failure::Returned));
            }
            Reply::SettingsGood => {}
        }
    }

    /// The replacement is bad: the one that serves goes on, with its image and its settings.
    pub(super) fn refuse_candidate(&mut self, failure: &Failure) {
        let Some(candidate) = self.candidate.take() else { return };
        let shown = self.show(&candidate.live.spec, failure);
        let generation = candidate.live.image.generation;
        let same = self
            .current
            .as_ref()
            .is_some_and(|live| Arc::ptr_eq(&live.image, &candidate.live.image));
        let text = if same {
            format!("the new settings were refused, the old ones go on: {shown}")
        } else {
            format!("generation {generation} was refused, the old one goes on: {shown}")
        };
        tracing::error!(collector = &*self.spec.name, "{}", plain(&text));
        self.note(tracing::Level::ERROR, &text);
        if let Some(live) = &self.current {
            self.image = Some(live.image.clone());
            self.spec = live.spec.clone();
        }
        self.status.send_modify(|status| status.last_error = Some(text));
        self.set_tiers();
    }

    /// Lets a proven candidate take over, unless a round is under way: no tick is lost.
    pub(super) async fn swap_if_free(&mut self) {
        let busy = self.current.as_ref().is_some_and(|live| live.round.is_some());
        let Some(candidate) = self.candidate.take_if(|candidate| candidate.proven && !busy) else {
            return;
        };
        let old = self.current.replace(candidate.live);
        self.install();
        let generation = self.current.as_ref().map_or(0, |live| live.image.generation);
        let held = self.current.as_mut().map(|live| live.held.take());
        match old {
            Some(old) => {
                tracing::info!(collector = &*self.spec.name, generation, "took over");
                self.note(tracing::Level::INFO, &format!("generation {generation} took over"));
                self.retire(old);
                if self.current.as_ref().is_some_and(Live::is_events) {
                    self.publish_held(held.unwrap_or_default(), generation).await;
                } else {
                    // The first batch was the proof; the next tick is published.
                    held.iter().flatten().for_each(|raw| self.channels.rebase(raw));
                }
                self.after_round(Ok(Vec::new()));
            }
            None => self.publish_held(held.unwrap_or_default(), generation).await,
        }
    }

    pub(super) async fn publish_held(&mut self, held: Vec<RawBatch>, generation: u32) {
        for raw in held {
            let at = Duration::from_nanos(raw.monotonic_ns);
            self.channels.publish(raw, generation, self.services.grid.at(at)).await;
            self.status.send_modify(|status| {
                status.batches += 1;
                status.last_batch = Some(at);
            });
        }
    }

    /// Makes streams, ticks and status fit the runner that serves.
    pub(super) fn install(&mut self) {
        let Some(live) = &self.current else { return };
        let (name, plugin) = (&self.spec.name, &self.spec.plugin);
        self.channels.install(&self.services.bus, name, plugin, &live.streams);
        let (generation, isolation) = (live.image.generation, live.runner.isolation);
        let sandbox = live.sandbox.clone();
        if let Some(sandbox) = sandbox.as_ref().filter(|_| live.spec.sandbox) {
            sandbox.report_missing();
        }
        let interval = self.interval();
        let streams = self.channels.topics().map(str::to_owned).collect();
        self.status.send_modify(|status| {
            status.generation = generation;
            status.isolation = isolation;
            status.sandbox = sandbox;
            status.interval_seconds = interval.as_secs_f64();
            status.streams = streams;
        });
        self.set_tiers();
    }

    pub(super) async fn promote(&mut self, candidate: Candidate) {
        if candidate.proven {
            self.candidate = Some(candidate);
            self.swap_if_free().await;
            self.after_round(Ok(Vec::new()));
            return;
        }
        let mut live = candidate.live;
        let held = live.held.take();
        let generation = live.image.generation;
        let created = live.created;
        self.current = Some(live);
        if created {
            self.install();
            self.publish_held(held, generation).await;
        }
    }
}
