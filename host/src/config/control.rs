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

    /// Makes the directory of the default socket, for this user alone. Blocks on files.
    pub(crate) fn prepare(&self) -> Result<(), String> {
        let Self::Default(path) = self else { return Ok(()) };
        let directory = path.parent().unwrap_or(Path::new("/"));
        let shown = directory.display();
        let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(directory);
        made.map_err(|error| format!("can't make {shown}: {error}"))?;
        self.check()
    }

    /// Whether the directory of the default socket is this user's alone: in one that all may
    /// write to, somebody else may have been first. What is not there is not another's.
    pub(crate) fn check(&self) -> Result<(), String> {
        let Self::Default(path) = self else { return Ok(()) };
        let directory = path.parent().unwrap_or(Path::new("/"));
        let shown = directory.display();
        if fs::symlink_metadata(directory).is_err_and(|e| e.kind() == ErrorKind::NotFound) {
            return Ok(());
        }
        let meta = fs::symlink_metadata(directory).map_err(|error| format!("{shown}: {error}"))?;
        let own = rustix::process::geteuid().as_raw();
        if !meta.is_dir() || (meta.uid() != own && meta.uid() != 0) || meta.mode() & 0o022 != 0 {
            return Err(format!("{shown} is not this user's alone"));
        }
        Ok(())
    }
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
