//! Plugin files: from a change in a directory to admission or rejection.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use super::Core;
use crate::admission::{Image, Probed, Rejection, Trust, probe, read_and_stage};
use crate::config::{CollectorSpec, Defaults};
use crate::control::{Admitted, Bare, Checked, Command, Services};
use crate::runner::Failure;
use crate::slot::SlotCommand;
use crate::text::plain;

/// So many trials as there are CPUs go on at once, each for so long alone: in turn, the first is
/// there sooner than if all ran side by side.
const TURN: Duration = Duration::from_millis(250);

/// Most collectors of a plugin as which it is tried out.
const TRIALS: usize = 3;

async fn check(
    services: &Arc<Services>,
    path: &Path,
    in_use: Option<Arc<Image>>,
    specs: BTreeMap<String, CollectorSpec>,
    defaults: &Defaults,
    trust: Trust,
) -> Result<Checked, Rejection> {
    let staged = tokio::task::spawn_blocking({
        let (services, path) = (services.clone(), path.to_owned());
        move || read_and_stage(&services.staging, &path, 0, &trust)
    });
    let (image, signed_by) = staged.await.map_err(|error| Rejection::Read(error.to_string()))??;
    if in_use.is_some_and(|used| used.hash == image.hash) {
        return Ok(Checked::Unchanged { signed_by });
    }
    let plugin = image.manifest.name.clone();
    let named = specs.into_values().filter(|spec| *spec.plugin == *plugin && spec.enabled);
    let mut specs: Vec<CollectorSpec> = named.collect();
    let by_itself = specs.is_empty();
    if by_itself {
        specs.push(CollectorSpec::auto(&plugin, defaults));
    }
    let probed = try_out(services, &image, specs).await.map_err(Rejection::Probe)?;
    let bare = match &probed {
        _ if !by_itself => Bare::Unknown,
        Probed::NotCreated(Failure::Settings { message, .. }) => Bare::Lacks(message.clone()),
        _ => Bare::Runs,
    };
    Ok(Checked::Admitted(Box::new(Admitted { image, signed_by, probed, bare })))
}

/// Tries an image out as the first of its collectors, or as the next where that does not come
/// back: what one of them is set to wait for is no fault of the image.
async fn try_out(
    services: &Services,
    image: &Image,
    specs: Vec<CollectorSpec>,
) -> Result<Probed, Failure> {
    let mut late = Failure::Returned;
    for spec in specs.into_iter().take(TRIALS) {
        match probe(services, image, spec).await {
            Err(failure @ Failure::Deadline(_)) => late = failure,
            other => return other,
        }
    }
    Err(late)
}

impl Core {
    /// Starts the check of a file, one at a time for each path.
    pub(super) fn check(&mut self, path: PathBuf) {
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
            let turn = services.trials.clone().acquire_owned().await;
            let file = path.clone();
            let mut checking = pin!(check(&services, &file, in_use, specs, &defaults, trust));
            let checked = match tokio::time::timeout(TURN, &mut checking).await {
                Ok(checked) => checked,
                Err(_) => {
                    drop(turn); // a trial that takes long, or hangs, holds up no other
                    checking.await
                }
            };
            let _ = commands.send(Command::Checked { path, checked });
        });
    }

    pub(super) fn checked(&mut self, path: &Path, checked: Result<Checked, Rejection>) {
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
                self.admit(path, *admitted);
            }
            Err(rejection) => self.reject(path, rejection),
        }
    }

    pub(super) fn admit(&mut self, path: &Path, admitted: Admitted) {
        let Admitted { mut image, signed_by, probed, bare } = admitted;
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
            && (!matches!(bare, Bare::Lacks(_)) || !self.specs_of(&plugin).is_empty())
            && let Probed::NotCreated(failure) = &probed
        {
            // It would not even start, and the old one runs: that goes on.
            return self.reject(path, Rejection::Probe(failure.clone()));
        }
        image.generation = self.plugins.next_generation(&plugin);
        let image = Arc::new(image);
        let Some(file) = self.plugins.files.get_mut(path) else { return };
        file.image = Some(image.clone());
        file.signed_by = signed_by;
        file.rejection = None;
        file.bare = bare;
        let (shown, generation) = (path.display().to_string(), image.generation);
        tracing::info!(
            plugin,
            generation,
            version = image.manifest.version,
            file = shown,
            "admitted"
        );
        self.note_lack(&plugin);
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

    pub(super) fn reject(&mut self, path: &Path, rejection: Rejection) {
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
                "{}; the generation that was there goes on",
                plain(&rejection.to_string())
            ),
            None => tracing::error!(file = shown, "{}", plain(&rejection.to_string())),
        }
        let reason = rejection.to_string();
        file.rejections += 1;
        file.rejection = Some(rejection);
        let image = file.image.clone();
        let image = image.as_ref().map(|image| (image.manifest.name.as_str(), image.generation));
        self.services.events.plugin(&self.services.bus, "rejected", &shown, image, Some(&reason));
    }

    pub(super) fn removed(&mut self, path: &Path) {
        let Some(file) = self.plugins.files.remove(path) else { return };
        let Some(image) = file.image else { return };
        let (plugin, shown) = (image.manifest.name.clone(), path.display().to_string());
        tracing::info!(plugin, file = shown, "was removed");
        let gone = Some((plugin.as_str(), image.generation));
        self.services.events.plugin(&self.services.bus, "removed", &shown, gone, None);
        self.stop_plugin(&plugin);
        self.check_again(|rejection| matches!(rejection, Rejection::Duplicate { .. }));
    }

    pub(super) fn rank(&self, path: &Path) -> (usize, PathBuf) {
        let directories = self.directories();
        let position = directories.iter().position(|directory| path.parent() == Some(directory));
        (position.unwrap_or(usize::MAX), path.to_owned())
    }

    /// Checks rejected files once more: what was wrong may have been mended beside them.
    pub(super) fn check_again(&mut self, which: impl Fn(&Rejection) -> bool) {
        let files = self.plugins.files.iter();
        let rejected = files.filter(|(_, file)| file.rejection.as_ref().is_some_and(&which));
        let paths: Vec<PathBuf> = rejected.map(|(path, _)| path.clone()).collect();
        paths.into_iter().for_each(|path| self.check(path));
    }
}
