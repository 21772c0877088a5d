//! Plugins that can't run without settings: a bridge does not know what to run or read. Such a
//! plugin is not started by itself; it is there, with a word on what to set.
//!
//! The trial of a plugin that the configuration names nowhere tells. One that was named, and is no
//! longer, is asked then.

use super::Core;
use crate::admission::check_settings;
use crate::control::{Bare, Command};
use crate::runner::Failure;

impl Core {
    /// Finds out of which plugins that would now be started by themselves it is not known.
    pub(super) fn ask_bare(&self) {
        for image in self.plugins.images() {
            let plugin = image.manifest.name.clone();
            let Some(spec) = self.autostarted(&plugin) else { continue };
            if *self.plugins.bare(&plugin) != Bare::Unknown {
                continue;
            }
            let generation = image.generation;
            let (services, image) = (self.services.clone(), image.clone());
            let commands = self.commands.clone();
            tokio::spawn(async move {
                let bare = match check_settings(&services, &image, &spec).await {
                    Err(Failure::Settings { message, .. }) => Bare::Lacks(message),
                    Ok(()) | Err(_) => Bare::Runs, // whatever else is wrong shows when it is started
                };
                let _ = commands.send(Command::Bare { plugin, generation, bare }); // ended
            });
        }
    }

    pub(super) fn answered_bare(&mut self, plugin: &str, generation: u32, bare: Bare) {
        let Some(file) = self.plugins.file_mut(plugin) else { return }; // removed meanwhile
        if file.image.as_ref().is_some_and(|image| image.generation != generation) {
            return self.ask_bare(); // replaced meanwhile: that was said of another
        }
        file.bare = bare;
        self.note_lack(plugin);
        self.apply();
    }

    /// Says in the log what a plugin must be told, if nobody has told it.
    pub(super) fn note_lack(&self, plugin: &str) {
        let named = self.config.collectors.values().any(|spec| &*spec.plugin == plugin);
        if let Bare::Lacks(what) = self.plugins.bare(plugin)
            && self.config.autostart
            && !named
        {
            tracing::info!(
                plugin,
                "is not started by itself: {what}; set it in [collectors.{plugin}.settings]"
            );
        }
    }
}
