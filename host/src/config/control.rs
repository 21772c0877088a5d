//! Where the control socket is.

use std::fmt;
use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use super::Sources;
use super::node::Origin;
use super::section::{Problems, Section, text};

/// Where the control socket is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Control {
    /// At a path that the configuration names.
    At(PathBuf),
    /// Where this user's is by default. Another agent may have it already.
    Default(PathBuf),
    /// There is none.
    Off,
}

impl Control {
    fn parse(given: &str) -> Result<Self, String> {
        match given {
            "off" => Ok(Self::Off),
            "" => Err(
                "a socket needs a path such as \"/run/dropsonde/control.sock\"; \"off\" is none"
                    .into(),
            ),
            path => Ok(Self::At(std::path::absolute(path).unwrap_or_else(|_| path.into()))),
        }
    }

    /// The socket's path.
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::At(path) | Self::Default(path) => Some(path),
            Self::Off => None,
        }
    }

    /// Makes the directory of the default socket, for this user alone: whoever else has it could
    /// put another socket in place. Blocks on files.
    pub(crate) fn prepare(&self) -> Result<(), String> {
        let Self::Default(path) = self else { return Ok(()) };
        let directory = path.parent().unwrap_or(Path::new("/"));
        let shown = directory.display();
        let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(directory);
        made.map_err(|error| format!("can't make {shown}: {error}"))?;
        let meta = fs::symlink_metadata(directory).map_err(|error| format!("{shown}: {error}"))?;
        if is_own(&meta) { Ok(()) } else { Err(not_own(directory)) }
    }

    /// Whether an agent that answers on the default socket is to be believed: in a directory that
    /// all may write to, somebody else may have been first. What is not there is not another's.
    pub(crate) fn check(&self) -> Result<(), String> {
        let Self::Default(path) = self else { return Ok(()) };
        let directory = path.parent().unwrap_or(Path::new("/"));
        let meta = match fs::symlink_metadata(directory) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            meta => meta.map_err(|error| format!("{}: {error}", directory.display()))?,
        };
        let given = || is_closed(&meta) && is_given_by_root(directory);
        if is_own(&meta) || given() { Ok(()) } else { Err(not_own(directory)) }
    }
}

/// Whether a directory is this user's or root's, and nobody else may write to it.
fn is_own(meta: &fs::Metadata) -> bool {
    let own = rustix::process::geteuid().as_raw();
    is_closed(meta) && (meta.uid() == own || meta.uid() == 0)
}

/// Whether only its owner may write to a directory.
fn is_closed(meta: &fs::Metadata) -> bool {
    meta.is_dir() && meta.mode() & 0o022 == 0
}

/// Whether root alone could have made a directory for the user who has it, as a service manager
/// does for the agent's user: only root may write to those above.
fn is_given_by_root(directory: &Path) -> bool {
    directory.ancestors().skip(1).all(|above| {
        fs::symlink_metadata(above).is_ok_and(|meta| is_closed(&meta) && meta.uid() == 0)
    })
}

fn not_own(directory: &Path) -> String {
    format!("{} is not this user's alone", directory.display())
}

impl fmt::Display for Control {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.path() {
            Some(path) => path.display().fmt(f),
            None => f.write_str("off"),
        }
    }
}

/// `host.control`, under the flag.
pub(super) fn read(
    host: &mut Section<'_>,
    sources: &Sources,
    problems: &mut Problems,
) -> Option<Control> {
    let configured = host.value("control", problems, |node| Control::parse(&text(node)?));
    match &sources.control {
        Some(flag) => Control::parse(flag)
            .map_err(|message| problems.add(&Origin::Flag("--control"), "", message))
            .ok(),
        None => configured.or_else(|| Some(Control::Default(default_path()))),
    }
}

/// Of the service manager, of the system, of the user's session, or of the user.
fn default_path() -> PathBuf {
    let environment = |name| std::env::var_os(name).filter(|value| !value.is_empty());
    if let Some(given) = environment("RUNTIME_DIRECTORY") {
        return PathBuf::from(given).join("control.sock"); // systemd.exec(5)
    }
    let user = rustix::process::geteuid();
    let directory = match environment("XDG_RUNTIME_DIR") {
        _ if user.is_root() => PathBuf::from("/run/dropsonde"),
        Some(session) => PathBuf::from(session).join("dropsonde"),
        None => std::env::temp_dir().join(format!("dropsonde-{}", user.as_raw())),
    };
    directory.join("control.sock")
}
