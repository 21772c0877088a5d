//! What an export to the outside asks of the host, and tells it.

use super::Host;
use crate::sink::otlp;

impl Host {
    /// Something is exported: the status shows it from here on.
    pub(crate) fn exports(&self, status: otlp::Shared) {
        let _ = self.services.otlp.set(status); // there is one export at most
    }

    /// The version of a plugin; the host's own for its own streams, empty if it is not known.
    pub(crate) fn version_of(&self, plugin: &str) -> String {
        let core = self.core.borrow();
        let known = core.plugins.iter().find(|known| known.name.as_deref() == Some(plugin));
        match known.and_then(|known| known.version.clone()) {
            Some(version) => version,
            None if plugin == "host" => env!("CARGO_PKG_VERSION").to_owned(),
            None => String::new(),
        }
    }
}
