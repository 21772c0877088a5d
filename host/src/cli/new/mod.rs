//! `dropsonde new`: writes the package of a plugin.

mod package;
mod shell;
#[cfg(test)]
mod tests;
mod write;

use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use dropsonde_plugin_api::abi::Manifest;
use serde::Deserialize;
use thiserror::Error;

use super::{ask, fail};
use package::{Api, Variant};

/// Exit code for arguments that can't be: as clap has it.
const WRONG_ARGUMENTS: u8 = 2;

#[derive(clap::Args)]
pub(super) struct Args {
    /// Name of the plugin and of its package: a-z, 0-9, `_` and `-`, a letter first.
    name: String,
    /// An event source, which tells what happens when it happens; not a collector that is polled.
    #[arg(long)]
    events: bool,
    /// The least that is a plugin: one file of under 25 lines.
    #[arg(long, conflicts_with = "events")]
    minimal: bool,
    /// Directory to make [default: NAME, in the working directory].
    #[arg(long, value_name = "DIR")]
    path: Option<PathBuf>,
    /// Build against the plugin API in this checkout of Dropsonde, instead of a released one.
    #[arg(long, value_name = "PATH")]
    api: Option<PathBuf>,
}

/// Why no package was written.
#[derive(Debug, Error)]
enum NewError {
    #[error(
        "`{0}` can't be a plugin's name: use 1 to 64 characters of a-z, 0-9, `_` and `-`, a letter first"
    )]
    Name(String),
    #[error("a package can't be called `{0}`: {1}; choose another name")]
    Reserved(String, &'static str),
    #[error("{}: is there already; choose another name or --path", .0.display())]
    Exists(PathBuf),
    #[error("{}: {cause}; --api takes a checkout of Dropsonde, or the directory plugin-api in one", path.display())]
    Api { path: PathBuf, cause: String },
    #[error("{}: {cause}; nothing was written", path.display())]
    Write { path: PathBuf, cause: io::Error },
}

impl NewError {
    fn code(&self) -> u8 {
        match self {
            Self::Name(_) | Self::Reserved(..) | Self::Api { .. } => WRONG_ARGUMENTS,
            Self::Exists(_) | Self::Write { .. } => 1,
        }
    }
}

pub(super) fn new(args: &Args) -> ExitCode {
    match make(args) {
        Ok(said) => ask::put(&said).err().unwrap_or(ExitCode::SUCCESS),
        Err(error) => fail(error.code(), error),
    }
}

/// Writes the package, and says what to do with it.
fn make(args: &Args) -> Result<String, NewError> {
    check_name(&args.name)?;
    let variant = match (args.events, args.minimal) {
        (true, _) => Variant::Events,
        (_, true) => Variant::Minimal,
        _ => Variant::Collector,
    };
    let api = args.api.as_deref().map_or(Ok(Api::Released), |path| checkout(path).map(Api::At))?;
    let target = args.path.clone().unwrap_or_else(|| PathBuf::from(&args.name));
    write::package(&target, &package::files(&args.name, variant, &api))?;
    Ok(package::next_steps(&args.name, variant, &target, &api))
}

/// A name that both the host and cargo take.
fn check_name(name: &str) -> Result<(), NewError> {
    if !Manifest::is_name(name) {
        return Err(NewError::Name(name.to_owned()));
    }
    let crate_name = name.replace('-', "_");
    let reserved = |why| Err(NewError::Reserved(name.to_owned(), why));
    match crate_name.as_str() {
        word if KEYWORDS.contains(&word) => reserved("it is a keyword of Rust"),
        "alloc" | "core" | "proc_macro" | "std" | "test" => {
            reserved("it is a library that comes with Rust")
        }
        "dropsonde_plugin_api" => reserved("it depends on the package of this name"),
        _ => Ok(()),
    }
}

/// Keywords of Rust 2024, strict and reserved, that a name could be.
const KEYWORDS: [&str; 51] = [
    "abstract", "as", "async", "await", "become", "box", "break", "const", "continue", "crate",
    "do", "dyn", "else", "enum", "extern", "false", "final", "fn", "for", "gen", "if", "impl",
    "in", "let", "loop", "macro", "match", "mod", "move", "mut", "override", "priv", "pub", "ref",
    "return", "self", "static", "struct", "super", "trait", "true", "try", "type", "typeof",
    "unsafe", "unsized", "use", "virtual", "where", "while", "yield",
];

/// The directory of the plugin API in a checkout, as an absolute path.
fn checkout(path: &Path) -> Result<String, NewError> {
    #[derive(Deserialize)]
    struct Manifest {
        package: Package,
    }
    #[derive(Deserialize)]
    struct Package {
        name: String,
    }
    let is_api = |directory: &PathBuf| {
        let text = std::fs::read_to_string(directory.join("Cargo.toml")).ok();
        let manifest = text.and_then(|text| toml::from_str::<Manifest>(&text).ok());
        manifest.is_some_and(|manifest| manifest.package.name == "dropsonde-plugin-api")
    };
    let refused = |cause: String| NewError::Api { path: path.to_owned(), cause };
    let absolute = path.canonicalize().map_err(|error| refused(error.to_string()))?;
    [absolute.join("plugin-api"), absolute]
        .into_iter()
        .find(is_api)
        .ok_or_else(|| refused("no package dropsonde-plugin-api is there".to_owned()))?
        .into_os_string()
        .into_string()
        .map_err(|_| refused("the path is not UTF-8".to_owned()))
}
