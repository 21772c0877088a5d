//! The configuration, applied: which collectors run, and what a reload changes of them.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError};

use tokio::sync::oneshot;

use super::{Core, Running};
use crate::admission::{Image, Rejection};
use crate::config::{CollectorSpec, Config, ConfigErrors};
use crate::control::{Bare, ReloadOutcome};
use crate::slot::{SlotCommand, SlotHandle};

impl Core {
    pub(super) fn stop_plugin(&mut self, plugin: &str) {
        let names: Vec<String> = self
            .slots
            .iter()
            .filter(|(_, running)| &*running.spec.plugin == plugin)
            .map(|(name, _)| name.clone())
            .collect();
        for name in names {
            self.stop_slot(&name);
        }
    }

    /// The enabled collectors of a plugin: the configured ones, or one of its own name.
    pub(super) fn specs_of(&self, plugin: &str) -> Vec<CollectorSpec> {
        let mut configured =
            self.config.collectors.values().filter(|spec| &*spec.plugin == plugin).peekable();
        if configured.peek().is_some() {
            let configured = configured.map(|spec| self.steering.apply(spec.clone()));
            return configured.filter(|spec| spec.enabled).collect();
        }
        let automatic = self.autostarted(plugin).map(|spec| self.steering.apply(spec));
        automatic.into_iter().filter(|spec| spec.enabled).collect()
    }

    /// The collector of a plugin that the configuration names nowhere, unless it can't run without
    /// settings. Its name may be taken by a collector of another plugin.
    pub(super) fn autostarted(&self, plugin: &str) -> Option<CollectorSpec> {
        let collectors = &self.config.collectors;
        let used = collectors.values().any(|spec| &*spec.plugin == plugin);
        let free = !used && !collectors.contains_key(plugin);
        let there = self.plugins.image(plugin).is_some();
        let can_run = !matches!(self.plugins.bare(plugin), Bare::Lacks(_));
        (self.config.autostart && free && there && can_run)
            .then(|| CollectorSpec::auto(plugin, &self.config.defaults))
    }

    pub(super) fn slot(&mut self, spec: &CollectorSpec) -> SlotHandle {
        if let Some(running) = self.slots.get(&*spec.name) {
            return running.handle.clone();
        }
        let handle = SlotHandle::start(self.services.clone(), spec.clone(), self.config.restart);
        let name = spec.name.to_string();
        self.all_slots().insert(name.clone(), handle.clone());
        self.slots.insert(name, Running { handle: handle.clone(), spec: spec.clone() });
        handle
    }

    pub(super) fn all_slots(
        &self,
    ) -> std::sync::MutexGuard<'_, std::collections::HashMap<String, SlotHandle>> {
        self.services.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn stop_slot(&mut self, name: &str) {
        let Some(running) = self.slots.remove(name) else { return };
        self.all_slots().remove(name);
        let (done, _) = oneshot::channel();
        running.handle.send(SlotCommand::Stop { done });
    }

    /// Applies what a configuration that was just read changes.
    pub(super) fn reload(&mut self, loaded: Result<Config, ConfigErrors>) -> ReloadOutcome {
        self.config_print = self.config.print();
        let config = match loaded {
            Ok(config) => config,
            Err(errors) => {
                for error in &errors.0 {
                    tracing::error!("the configuration was rejected, nothing changes: {error}");
                }
                self.config_status.rejected += 1;
                self.config_status.last_rejection = Some(errors.to_string());
                let (bus, reason) = (&self.services.bus, Some(errors.to_string()));
                self.services.events.config(bus, "rejected", Vec::new(), reason);
                return ReloadOutcome::Rejected(errors);
            }
        };
        self.config_status.last_rejection = None;
        if config == self.config {
            return ReloadOutcome::Unchanged;
        }
        let needs_restart: Vec<&'static str> = [
            ("host.listen", config.listen != self.config.listen),
            ("host.control", config.control != self.config.control),
            ("host.allowed_hosts or host.actions", config.access != self.config.access),
            ("host.state_dir", config.state_dir != self.config.state_dir),
            ("host.runtime_dir", config.runtime_dir != self.config.runtime_dir),
            ("host.log", config.log != self.config.log),
            ("otlp", config.otlp != self.config.otlp),
        ]
        .into_iter()
        .filter_map(|(name, changed)| changed.then_some(name))
        .collect();
        for name in &needs_restart {
            tracing::warn!("{name} takes effect at the next start");
        }
        let moved =
            config.directories != self.config.directories || config.files != self.config.files;
        let trusts_others = config.trust != self.config.trust;
        self.config = config;
        if trusts_others {
            // Who may have written and signed the files is asked anew.
            let files: Vec<PathBuf> = self.plugins.files.keys().cloned().collect();
            files.into_iter().for_each(|path| self.check(path));
        }
        if moved {
            self.watch();
        }
        self.record();
        let collectors = self.apply();
        self.ask_bare();
        // What failed its trial may have failed for its settings or its deadline.
        self.check_again(|rejection| matches!(rejection, Rejection::Probe(_)));
        tracing::info!(?collectors, "the configuration was applied");
        self.config_status.applied += 1;
        self.services.events.config(&self.services.bus, "applied", collectors.clone(), None);
        ReloadOutcome::Applied { collectors, needs_restart }
    }

    /// Has stored what the configuration says.
    pub(super) fn record(&self) {
        let wanted = self.config.history.as_ref().filter(|_| self.services.paced);
        self.services.history.configure(&self.services.bus, wanted);
    }

    /// Makes the slots what the configuration says. Unchanged collectors don't notice.
    pub(super) fn apply(&mut self) -> Vec<String> {
        let images: Vec<Arc<Image>> = self.plugins.images().cloned().collect();
        let wanted: BTreeMap<String, (CollectorSpec, Arc<Image>)> = images
            .iter()
            .flat_map(|image| {
                let specs = self.specs_of(&image.manifest.name);
                specs.into_iter().map(|spec| (spec.name.to_string(), (spec, image.clone())))
            })
            .collect();
        let mut changed = Vec::new();
        let gone: Vec<String> =
            self.slots.keys().filter(|name| !wanted.contains_key(*name)).cloned().collect();
        for name in gone {
            self.stop_slot(&name);
            changed.push(name);
        }
        let policy = self.config.restart;
        for (name, (spec, image)) in wanted {
            match self.slots.get_mut(&name) {
                Some(running) if running.spec == spec => {
                    let spec = Box::new(spec);
                    running.handle.send(SlotCommand::Configure { spec, policy });
                }
                Some(running) if running.spec.plugin == spec.plugin => {
                    running.spec = spec.clone();
                    let spec = Box::new(spec);
                    running.handle.send(SlotCommand::Configure { spec, policy });
                    changed.push(name);
                }
                Some(_) => {
                    self.stop_slot(&name);
                    self.slot(&spec).send(SlotCommand::Adopt { image, ready: None });
                    changed.push(name);
                }
                None => {
                    self.slot(&spec).send(SlotCommand::Adopt { image, ready: None });
                    changed.push(name);
                }
            }
        }
        changed.sort();
        changed
    }
}
