//! What is in the package. The sources are files that compile as they are, in `templates`.

use std::path::Path;

use dropsonde_plugin_api::abi::API_VERSION;

use super::shell;

/// What is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Variant {
    Collector,
    Events,
    Minimal,
}

/// Where the package gets the plugin API from.
pub(super) enum Api {
    /// A registry: the version that this host has, or a later one that is compatible.
    Released,
    /// A directory.
    At(String),
}

/// Path in the package, and contents.
pub(super) type File = (&'static str, String);

const MANIFEST: &str = include_str!("../../../templates/Cargo.toml.in");
const README: &str = include_str!("../../../templates/README.md.in");
const IGNORED: &str = include_str!("../../../templates/gitignore");

/// A file of a variant's directory.
macro_rules! template {
    ($path:literal) => {
        include_str!(concat!("../../../templates/", $path))
    };
}

impl Variant {
    fn description(self) -> &'static str {
        match self {
            Self::Collector => "How many TCP connections are in which state",
            Self::Events => "Says when files change",
            Self::Minimal => "How many files are open",
        }
    }

    /// What the README says of the settings.
    fn settings(self) -> &'static str {
        match self {
            Self::Collector => template!("collector/settings.md"),
            Self::Events => template!("events/settings.md"),
            Self::Minimal => "",
        }
    }

    fn sources(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::Collector => &[
                ("src/lib.rs", template!("collector/lib.rs")),
                ("src/tests.rs", template!("collector/tests.rs")),
                ("streams.txt", template!("collector/streams.txt")),
            ],
            Self::Events => &[
                ("src/lib.rs", template!("events/lib.rs")),
                ("src/tests.rs", template!("events/tests.rs")),
                ("streams.txt", template!("events/streams.txt")),
            ],
            Self::Minimal => &[("src/lib.rs", template!("minimal/lib.rs"))],
        }
    }

    /// The topic of what a plugin of this name publishes.
    fn topic(self, name: &str) -> String {
        match self {
            Self::Events => format!("events.{name}"),
            Self::Collector | Self::Minimal => format!("metrics.{name}"),
        }
    }
}

/// All files of the package.
pub(super) fn files(name: &str, variant: Variant, api: &Api) -> Vec<File> {
    let source = api.source();
    let manifest = MANIFEST.replace("{name}", name).replace("{description}", variant.description());
    // The path may hold anything: where it stands, nothing is looked for any more.
    let manifest = manifest
        .split("{testing}")
        .map(|part| part.replace("{api}", &format!("{{ {source} }}")))
        .collect::<Vec<_>>()
        .join(&format!("{{ {source}, features = [\"testing\"] }}"));
    let readme = README
        .replace("{more}", variant.settings())
        .replace("{name}", name)
        .replace("{file}", &file_name(name))
        .replace("{topic}", &variant.topic(name))
        .replace("{description}", variant.description());
    let sources = variant.sources().iter().map(|(path, text)| (*path, (*text).to_owned()));
    [("Cargo.toml", manifest), ("README.md", readme), (".gitignore", IGNORED.to_owned())]
        .into_iter()
        .chain(sources)
        .collect()
}

/// What to do with the package, for its author.
pub(super) fn next_steps(name: &str, variant: Variant, target: &Path, api: &Api) -> String {
    let (directory, topic, file) = (shell::quoted(target), variant.topic(name), file_name(name));
    let what = match variant {
        Variant::Collector => "a collector with settings and tests",
        Variant::Events => "an event source with settings and tests",
        Variant::Minimal => "a collector in under 25 lines",
    };
    format!(
        "{directory}: {what}; what to do next:\n\
         \n\
         cd {directory}\n\
         cargo test\n\
         cargo build --release\n\
         dropsonde run --plugins target/release\n\
         \n\
         and in another terminal: dropsonde tap '{topic}'\n\
         A running agent takes target/release/{file} up when it is copied to a directory that it watches.\n\
         {}",
        api.where_from()
    )
}

/// What cargo calls the library.
fn file_name(name: &str) -> String {
    format!("lib{}.so", name.replace('-', "_"))
}

impl Api {
    /// Where cargo finds it: a key and value of a dependency's table.
    fn source(&self) -> String {
        match self {
            Self::Released => format!("version = \"{}.{}\"", API_VERSION.0, API_VERSION.1),
            Self::At(path) => format!("path = {}", quoted(path)),
        }
    }

    /// What an author must know of it before the package can be built.
    fn where_from(&self) -> String {
        match self {
            Self::Released => format!(
                "\nCargo takes dropsonde-plugin-api {}.{} from a registry. If none has it, make the package anew\n\
                 with --api PATH, where PATH is a checkout of Dropsonde.\n",
                API_VERSION.0, API_VERSION.1
            ),
            Self::At(_) => String::new(),
        }
    }
}

/// A basic string of TOML: what JSON escapes, TOML reads.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}
