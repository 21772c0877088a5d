//! What is known of each plugin file.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use dropsonde_plugin_api::abi::Manifest;

use super::{Bare, PluginStatus};
use crate::admission::{Image, KeyId, Rejection, Scanned};

/// The plugin files, by path.
#[derive(Default)]
pub(super) struct Plugins {
    pub(super) files: BTreeMap<PathBuf, File>,
    /// Images so far, by plugin name: generations count up even if a file goes and comes.
    generations: BTreeMap<String, u32>,
}

/// One plugin file.
#[derive(Default)]
pub(super) struct File {
    /// What is in use of it.
    pub(super) image: Option<Arc<Image>>,
    /// Who signed what is in use.
    pub(super) signed_by: Option<KeyId>,
    /// Why the file as it is now is not in use.
    pub(super) rejection: Option<Rejection>,
    pub(super) rejections: u64,
    pub(super) bare: Bare,
    /// It is being checked.
    pub(super) checking: bool,
    /// It changed while it was being checked.
    pub(super) again: bool,
}

impl Plugins {
    /// Compares what lies there with what is known: paths to check, and paths that are gone.
    pub(super) fn diff(
        &self,
        known: &Scanned,
        found: &Scanned,
        busy: impl Fn(&Path) -> bool,
    ) -> (Vec<PathBuf>, Vec<PathBuf>) {
        let changed = found
            .iter()
            .filter(|(path, print)| known.get(*path) != Some(print))
            .map(|(path, _)| path.clone())
            .collect();
        let gone = self
            .files
            .keys()
            .filter(|path| !found.contains_key(*path) && !busy(path))
            .cloned()
            .collect();
        (changed, gone)
    }

    /// The image that is in use of a plugin.
    pub(super) fn image(&self, plugin: &str) -> Option<&Arc<Image>> {
        self.images().find(|image| image.manifest.name == plugin)
    }

    pub(super) fn images(&self) -> impl Iterator<Item = &Arc<Image>> {
        self.files.values().filter_map(|file| file.image.as_ref())
    }

    /// The file whose image is in use of a plugin.
    pub(super) fn file_mut(&mut self, plugin: &str) -> Option<&mut File> {
        self.files.values_mut().find(|file| file.is_of(plugin))
    }

    /// Whether a plugin that is in use can run without settings.
    pub(super) fn bare(&self, plugin: &str) -> &Bare {
        let mut files = self.files.values();
        files.find(|file| file.is_of(plugin)).map_or(&Bare::Unknown, |file| &file.bare)
    }

    /// Another file that has this plugin in use.
    pub(super) fn other(&self, plugin: &str, path: &Path) -> Option<&Path> {
        self.files
            .iter()
            .filter(|(other, _)| other.as_path() != path)
            .find(|(_, file)| file.is_of(plugin))
            .map(|(other, _)| other.as_path())
    }

    pub(super) fn next_generation(&mut self, plugin: &str) -> u32 {
        let generation = self.generations.entry(plugin.to_owned()).or_default();
        *generation += 1;
        *generation
    }

    pub(super) fn status(&self) -> Vec<PluginStatus> {
        self.files.iter().map(|(path, file)| file.status(path)).collect()
    }
}

impl File {
    fn is_of(&self, plugin: &str) -> bool {
        self.image.as_ref().is_some_and(|image| image.manifest.name == plugin)
    }

    fn status(&self, path: &Path) -> PluginStatus {
        let image = self.image.as_deref();
        let manifest: Option<&Manifest> = image.map(|image| &image.manifest);
        PluginStatus {
            file: path.display().to_string(),
            name: manifest.map(|manifest| manifest.name.clone()),
            version: manifest.map(|manifest| manifest.version.clone()),
            api_version: manifest.map(|manifest| {
                let (major, minor) = manifest.api_version;
                format!("{major}.{minor}")
            }),
            description: manifest.map(|manifest| manifest.description.clone()),
            kind: manifest.map(|manifest| manifest.kind),
            language: manifest.map(|manifest| manifest.language),
            generation: image.map_or(0, |image| image.generation),
            sha256: image.map(Image::sha256),
            signed_by: self.signed_by.map(|key| key.to_string()),
            state: match (&self.rejection, image, self.checking) {
                (_, _, true) => "checking",
                (Some(_), _, _) => "rejected",
                (None, Some(_), _) => "admitted",
                (None, None, _) => "checking",
            },
            rejection: self.rejection.as_ref().map(ToString::to_string),
            rejections: self.rejections,
            lacks: match &self.bare {
                Bare::Lacks(what) => Some(what.clone()),
                Bare::Unknown | Bare::Runs => None,
            },
            never_unloaded: image
                .is_some_and(|image| image.notes.nodelete || image.notes.gnu_unique),
        }
    }
}
