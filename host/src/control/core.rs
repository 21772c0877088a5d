//! The core: one task that owns the plugin files, the configuration and the slots, and takes
//! one command at a time.

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};

use super::plugins::Plugins;
use super::{Checked, Command, ConfigStatus, Loader, PluginStatus, ReloadOutcome, Services};
use crate::admission::{
    ChangeStream, Changes, Image, KeyId, Probed, Rejection, Scanned, Watcher, is_busy, probe,
    read_and_stage, scan,
};
use crate::config::{CollectorSpec, Config};
use crate::runner::{Failure, remove_if_empty};
use crate::slot::{SlotCommand, SlotHandle, SlotStatus};

/// Where plugins are looked for without configuration, besides the directory of the binary.
pub(crate) const SYSTEM_PLUGINS: &str = "/usr/lib/dropsonde/plugins";

type ConfigPrint = Vec<(PathBuf, (u64, u64, i64, i64))>;

/// How often the directories are looked at without being told: one may have been made or
/// replaced, and not every file system tells.
const PATROL: Duration = Duration::from_secs(2);

pub(super) struct Core {
    services: Arc<Services>,
    config: Config,
    loader: Loader,
    watcher: Watcher,
    commands: mpsc::UnboundedSender<Command>,
    plugins: Plugins,
    known: Scanned,
    busy: HashSet<PathBuf>,
    slots: BTreeMap<String, Running>,
    config_status: ConfigStatus,
    status: watch::Sender<Arc<CoreStatus>>,
    /// Directories that could not be watched, so that each is named once.
    unwatched: HashSet<PathBuf>,
    /// The configuration's files as they were when they were last read.
    config_print: ConfigPrint,
    /// The same, of those that could not be read.
    unreadable: HashSet<PathBuf>,
}

struct Running {
    handle: SlotHandle,
    spec: CollectorSpec,
}

/// What the core publishes.
#[derive(Default)]
pub(super) struct CoreStatus {
    pub(super) plugins: Vec<PluginStatus>,
    pub(super) slots: Vec<watch::Receiver<SlotStatus>>,
    /// Collectors that are configured, and whose plugin is not there.
    pub(super) absent: Vec<SlotStatus>,
    pub(super) config: ConfigStatus,
    /// Every file of the first look was admitted or rejected.
    pub(super) settled: bool,
}

impl Core {
    pub(super) fn start(
        services: Arc<Services>,
        config: Config,
        loader: Loader,
        watcher: Watcher,
        mut changes: ChangeStream,
        commands: &mpsc::UnboundedSender<Command>,
        queue: mpsc::UnboundedReceiver<Command>,
    ) -> watch::Receiver<Arc<CoreStatus>> {
        let (status, receiver) = watch::channel(Arc::default());
        let config_print = config.print();
        let core = Self {
            services,
            config,
            loader,
            watcher,
            commands: commands.clone(),
            plugins: Plugins::default(),
            known: Scanned::new(),
            busy: HashSet::new(),
            slots: BTreeMap::new(),
            config_status: ConfigStatus::default(),
            status,
            unwatched: HashSet::new(),
            config_print,
            unreadable: HashSet::new(),
        };
        let watching = commands.clone();
        tokio::spawn(async move {
            while let Some(change) = changes.next().await {
                if watching.send(Command::Changed(change)).is_err() {
                    return;
                }
            }
        });
        tokio::spawn(core.run(queue));
        receiver
    }

    async fn run(mut self, mut queue: mpsc::UnboundedReceiver<Command>) {
        self.watch();
        self.look();
        self.publish();
        let mut patrol = tokio::time::interval(PATROL);
        loop {
            let command = tokio::select! {
                command = queue.recv() => command,
                _ = patrol.tick() => Some(Command::Patrol),
            };
            let Some(command) = command else { return };
            match command {
                Command::Patrol => {
                    let print = self.config.print();
                    let edited = print != self.config_print;
                    if edited && !self.busy.contains(&self.config.file) {
                        self.reload();
                    }
                    self.watch();
                    if !self.look() && !edited {
                        continue; // nothing to publish
                    }
                }
                Command::Changed(changes) => self.changed(changes),
                Command::Checked { path, checked } => self.checked(&path, checked),
                Command::Reload { done } => {
                    let outcome = self.reload();
                    self.look();
                    self.check_again(|_| true);
                    if let Some(done) = done {
                        let _ = done.send(outcome);
                    }
                }
                Command::Restart { collector, done } => {
                    let slot = self.slots.get(&collector);
                    let _ =
                        done.send(slot.is_some_and(|slot| slot.handle.send(SlotCommand::Restart)));
                }
                Command::Collect { collector, topics, done } => {
                    self.collect(&collector, topics, done);
                }
                Command::Shutdown { done } => {
                    self.shutdown().await;
                    let _ = done.send(());
                    return;
                }
            }
            self.publish();
        }
    }

    fn directories(&self) -> Vec<PathBuf> {
        match &self.config.directories {
            Some(directories) => directories.clone(),
            None => default_directories(),
        }
    }

    /// Watches the plugin directories, and the configuration's.
    fn watch(&mut self) {
        let mut wanted: HashSet<PathBuf> = self.directories().into_iter().collect();
        for file in &self.config.files {
            let parent = file.parent().filter(|parent| !parent.as_os_str().is_empty());
            let parent = parent.unwrap_or(Path::new("."));
            wanted.insert(parent.to_owned());
            let parts = parent.join("conf.d");
            if parts.is_dir() {
                wanted.insert(parts);
            }
        }
        let failed = self.watcher.set(&wanted);
        for (directory, error) in &failed {
            let system =
                self.config.directories.is_none() && directory == Path::new(SYSTEM_PLUGINS);
            if !system && !self.unwatched.contains(directory) {
                tracing::warn!(directory = %directory.display(), "can't be watched: {error}");
            }
        }
        self.unwatched = failed.into_iter().map(|(directory, _)| directory).collect();
    }

    fn changed(&mut self, changes: Changes) {
        self.busy = changes.busy;
        let is_toml =
            |path: &PathBuf| path.extension().is_some_and(|extension| extension == "toml");
        let configured = |path: &PathBuf| {
            self.config.files.contains(path)
                || path.parent().is_some_and(|parent| parent.ends_with("conf.d"))
        };
        let config = changes.paths.iter().any(|path| is_toml(path) && configured(path));
        let writing = self.busy.iter().any(configured);
        if (config || changes.overflow) && !writing {
            self.reload();
        }
        self.look();
    }

    /// Compares the directories with what is known of them; says whether anything is different.
    fn look(&mut self) -> bool {
        let (mut found, unreadable) = scan(&self.directories(), &self.busy);
        for (directory, error) in &unreadable {
            if !self.unreadable.contains(directory) {
                tracing::error!(directory = %directory.display(), "can't be read: {error}; its plugins stay as they are");
            }
            let known = self.known.iter().filter(|(path, _)| path.parent() == Some(directory));
            found.extend(known.map(|(path, print)| (path.clone(), print.clone())));
        }
        self.unreadable = unreadable.into_iter().map(|(directory, _)| directory).collect();
        let busy = &self.busy;
        let (changed, gone) = self.plugins.diff(&self.known, &found, |path| is_busy(busy, path));
        let different = !changed.is_empty() || !gone.is_empty();
        for path in changed {
            self.check(path);
        }
        for path in gone {
            self.removed(&path);
        }
        self.known = found;
        different
    }

    /// Starts the check of a file, one at a time for each path.
    fn check(&mut self, path: PathBuf) {
        let file = self.plugins.files.entry(path.clone()).or_default();
        if file.checking {
            file.again = true;
            return;
        }
        file.checking = true;
        let in_use = file.image.clone();
        let services = self.services.clone();
        let specs = self.config.collectors.clone();
        let defaults = self.config.defaults.clone();
        let trust = self.config.trust.clone();
        let commands = self.commands.clone();
        tokio::spawn(async move {
            let staged = tokio::task::spawn_blocking({
                let (services, path) = (services.clone(), path.clone());
                move || read_and_stage(&services.staging, &path, 0, &trust)
            });
            let checked = match staged.await {
                Ok(Ok((image, signed_by)))
                    if in_use.is_some_and(|used| used.hash == image.hash) =>
                {
                    Ok(Checked::Unchanged { signed_by })
                }
                Ok(Ok((image, signed_by))) => {
                    let plugin = image.manifest.name.clone();
                    let spec =
                        specs.into_values().find(|spec| *spec.plugin == *plugin && spec.enabled);
                    let spec = spec.unwrap_or_else(|| CollectorSpec::auto(&plugin, &defaults));
                    match probe(&services, &image, spec).await {
                        Ok(probed) => Ok(Checked::Admitted(Box::new((image, signed_by, probed)))),
                        Err(failure) => Err(Rejection::Probe(failure)),
                    }
                }
                Ok(Err(rejection)) => Err(rejection),
                Err(error) => Err(Rejection::Read(error.to_string())),
            };
            let _ = commands.send(Command::Checked { path, checked });
        });
    }

    fn checked(&mut self, path: &Path, checked: Result<Checked, Rejection>) {
        let Some(file) = self.plugins.files.get_mut(path) else { return }; // removed meanwhile
        file.checking = false;
        if std::mem::take(&mut file.again) {
            self.check(path.to_owned());
            return;
        }
        match checked {
            Ok(Checked::Unchanged { signed_by }) => {
                file.rejection = None;
                file.signed_by = signed_by;
            }
            Ok(Checked::Admitted(admitted)) => {
                let (image, signed_by, probed) = *admitted;
                self.admit(path, image, signed_by, probed);
            }
            Err(rejection) => self.reject(path, rejection),
        }
    }

    fn admit(&mut self, path: &Path, mut image: Image, signed_by: Option<KeyId>, probed: Probed) {
        let plugin = image.manifest.name.clone();
        if let Some(other) = self.plugins.other(&plugin, path).map(Path::to_owned) {
            // The first by order of directory, then of name, whichever was checked first.
            let (first, second) = if self.rank(path) < self.rank(&other) {
                (path.to_owned(), other)
            } else {
                (other, path.to_owned())
            };
            let first_shown = first.display().to_string();
            let duplicate = Rejection::Duplicate { name: plugin.clone(), other: first_shown };
            if second == path {
                return self.reject(path, duplicate);
            }
            if let Some(file) = self.plugins.files.get_mut(&second) {
                file.image = None;
            }
            self.reject(&second, duplicate);
        }
        let Some(file) = self.plugins.files.get(path) else { return };
        let old = file.image.clone();
        if let Some(old) = old.as_ref().filter(|old| old.manifest.name != plugin) {
            self.stop_plugin(&old.manifest.name.clone());
        } else if old.is_some()
            && let Probed::NotCreated(failure) = &probed
        {
            // It would not even start: the old one goes on.
            return self.reject(path, Rejection::Probe(failure.clone()));
        }
        image.generation = self.plugins.next_generation(&plugin);
        let image = Arc::new(image);
        let Some(file) = self.plugins.files.get_mut(path) else { return };
        file.image = Some(image.clone());
        file.signed_by = signed_by;
        file.rejection = None;
        let (shown, generation) = (path.display().to_string(), image.generation);
        tracing::info!(
            plugin,
            generation,
            version = image.manifest.version,
            file = shown,
            "admitted"
        );
        let loaded = Some((plugin.as_str(), generation));
        self.services.events.plugin(&self.services.bus, "loaded", &shown, loaded, None);
        let mut ready = match probed {
            Probed::Ready(ready) => Some(ready),
            Probed::NotCreated(_) => None,
        };
        for spec in self.specs_of(&plugin) {
            let mine = ready.take_if(|ready| ready.spec.name == spec.name);
            let handle = self.slot(&spec);
            handle.send(SlotCommand::Adopt { image: image.clone(), ready: mine });
        }
    }

    fn reject(&mut self, path: &Path, rejection: Rejection) {
        let implicit = self.config.directories.is_none();
        let foreign = matches!(rejection, Rejection::Elf(crate::admission::ElfError::NoManifest));
        if implicit && foreign {
            // Some other library beside the binary is nobody's mistake.
            tracing::debug!(file = %path.display(), "{rejection}");
            self.plugins.files.remove(path);
            return;
        }
        let Some(file) = self.plugins.files.get_mut(path) else { return };
        let shown = path.display().to_string();
        let kept = file.image.as_ref().map(|image| image.generation);
        match kept {
            Some(generation) => tracing::error!(
                file = shown,
                generation,
                "{rejection}; the generation that was there goes on"
            ),
            None => tracing::error!(file = shown, "{rejection}"),
        }
        let reason = rejection.to_string();
        file.rejections += 1;
        file.rejection = Some(rejection);
        let image = file.image.clone();
        let image = image.as_ref().map(|image| (image.manifest.name.as_str(), image.generation));
        self.services.events.plugin(&self.services.bus, "rejected", &shown, image, Some(&reason));
    }

    fn removed(&mut self, path: &Path) {
        let Some(file) = self.plugins.files.remove(path) else { return };
        let Some(image) = file.image else { return };
        let (plugin, shown) = (image.manifest.name.clone(), path.display().to_string());
        tracing::info!(plugin, file = shown, "was removed");
        let gone = Some((plugin.as_str(), image.generation));
        self.services.events.plugin(&self.services.bus, "removed", &shown, gone, None);
        self.stop_plugin(&plugin);
        self.check_again(|rejection| matches!(rejection, Rejection::Duplicate { .. }));
    }

    fn rank(&self, path: &Path) -> (usize, PathBuf) {
        let directories = self.directories();
        let position = directories.iter().position(|directory| path.parent() == Some(directory));
        (position.unwrap_or(usize::MAX), path.to_owned())
    }

    /// Checks rejected files once more: what was wrong may have been mended beside them.
    fn check_again(&mut self, which: impl Fn(&Rejection) -> bool) {
        let files = self.plugins.files.iter();
        let rejected = files.filter(|(_, file)| file.rejection.as_ref().is_some_and(&which));
        let paths: Vec<PathBuf> = rejected.map(|(path, _)| path.clone()).collect();
        paths.into_iter().for_each(|path| self.check(path));
    }

    fn stop_plugin(&mut self, plugin: &str) {
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
    fn specs_of(&self, plugin: &str) -> Vec<CollectorSpec> {
        let mut configured =
            self.config.collectors.values().filter(|spec| &*spec.plugin == plugin).peekable();
        if configured.peek().is_some() {
            return configured.filter(|spec| spec.enabled).cloned().collect();
        }
        // Its name may be taken by a collector of another plugin.
        if self.config.autostart && !self.config.collectors.contains_key(plugin) {
            return vec![CollectorSpec::auto(plugin, &self.config.defaults)];
        }
        Vec::new()
    }

    fn slot(&mut self, spec: &CollectorSpec) -> SlotHandle {
        if let Some(running) = self.slots.get(&*spec.name) {
            return running.handle.clone();
        }
        let handle = SlotHandle::start(self.services.clone(), spec.clone(), self.config.restart);
        let name = spec.name.to_string();
        self.all_slots().insert(name.clone(), handle.clone());
        self.slots.insert(name, Running { handle: handle.clone(), spec: spec.clone() });
        handle
    }

    fn all_slots(
        &self,
    ) -> std::sync::MutexGuard<'_, std::collections::HashMap<String, SlotHandle>> {
        self.services.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn stop_slot(&mut self, name: &str) {
        let Some(running) = self.slots.remove(name) else { return };
        self.all_slots().remove(name);
        let (done, _) = oneshot::channel();
        running.handle.send(SlotCommand::Stop { done });
    }

    /// Reads the configuration again and applies the difference.
    fn reload(&mut self) -> ReloadOutcome {
        self.config_print = self.config.print();
        let config = match (self.loader)() {
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
            ("host.state_dir", config.state_dir != self.config.state_dir),
            ("host.runtime_dir", config.runtime_dir != self.config.runtime_dir),
            ("host.log", config.log != self.config.log),
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
        let collectors = self.apply();
        // What failed its trial may have failed for its settings or its deadline.
        self.check_again(|rejection| matches!(rejection, Rejection::Probe(_)));
        tracing::info!(?collectors, "the configuration was applied");
        self.config_status.applied += 1;
        self.services.events.config(&self.services.bus, "applied", collectors.clone(), None);
        ReloadOutcome::Applied { collectors, needs_restart }
    }

    /// Makes the slots what the configuration says. Unchanged collectors don't notice.
    fn apply(&mut self) -> Vec<String> {
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

    fn collect(
        &self,
        collector: &str,
        topics: Vec<String>,
        done: oneshot::Sender<Result<(), Failure>>,
    ) {
        match self.slots.get(collector) {
            Some(running) => {
                running.handle.send(SlotCommand::Collect { topics, done });
            }
            None => {
                let text = format!("there is no collector `{collector}`");
                let _ = done.send(Err(Failure::Failed(text)));
            }
        }
    }

    fn publish(&self) {
        let status = CoreStatus {
            plugins: self.plugins.status(),
            slots: self.slots.values().map(|running| running.handle.status.clone()).collect(),
            absent: self.absent(),
            config: self.config_status.clone(),
            settled: self.plugins.files.values().all(|file| !file.checking),
        };
        self.status.send_replace(Arc::new(status));
    }

    /// Collectors that are configured and enabled, and have no plugin to run.
    fn absent(&self) -> Vec<SlotStatus> {
        self.config
            .collectors
            .values()
            .filter(|spec| spec.enabled && self.plugins.image(&spec.plugin).is_none())
            .map(|spec| {
                let looked: Vec<String> =
                    self.directories().iter().map(|path| path.display().to_string()).collect();
                let text = format!(
                    "there is no plugin `{}` in {}; put its .so there",
                    spec.plugin,
                    looked.join(", ")
                );
                SlotStatus { last_error: Some(text), ..SlotStatus::new(spec) }
            })
            .collect()
    }

    /// Stops the collectors side by side.
    async fn shutdown(&mut self) {
        self.all_slots().clear();
        let mut stopping = Vec::new();
        for (_, running) in std::mem::take(&mut self.slots) {
            let (done, stopped) = oneshot::channel();
            running.handle.send(SlotCommand::Stop { done });
            stopping.push(stopped);
        }
        for stopped in stopping {
            let _ = tokio::time::timeout(Duration::from_secs(6), stopped).await;
        }
        remove_if_empty(&self.services.state_dir);
        self.services.events.clear();
        self.services.spawner.end().await;
        self.plugins = Plugins::default();
    }
}

/// The directory of the binary, and the system's.
pub(crate) fn default_directories() -> Vec<PathBuf> {
    let beside = std::env::current_exe().ok();
    let beside = beside.as_deref().and_then(Path::parent).map(Path::to_owned);
    beside.into_iter().chain([PathBuf::from(SYSTEM_PLUGINS)]).collect()
}
