//! Landlock (landlock(7)): all files may be read and executed, few be written.
//!
//! What it also brings: a confined process can't look into processes outside, as by ptrace(2),
//! whatever its user: of `/proc/PID`, `environ`, `exe`, `fd`, `io`, `maps` and `mem` of others
//! are closed to it, while `stat`, `status`, `statm` and `cmdline` stay open. There is no exception
//! to that, so a plugin that may look there does without Landlock.

use std::path::Path;

use dropsonde_plugin_api::abi::Capability;
use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, LandlockStatus, PathBeneath, PathFd, Ruleset,
    RulesetAttr, RulesetCreatedAttr, RulesetError, Scope,
};

use super::{Sandbox, without_landlock};

/// The newest version whose rights were tested here. A right that a later one adds is not denied
/// by surprise.
const TESTED: ABI = ABI::V7;

/// What is denied, and the version of Landlock that can do so.
const PARTS: [(ABI, &str); 5] = [
    (ABI::V1, "writes only to its state directory"),
    (ABI::V3, "truncates files only there"),
    (ABI::V4, TCP),
    (ABI::V5, "no ioctl on devices"),
    (ABI::V6, "no signals to processes outside and no abstract sockets of theirs"),
];
const TCP: &str = "no TCP, whoever made the socket";

/// Devices that take anything and keep nothing.
const SINKS: [&str; 3] = ["/dev/null", "/dev/zero", "/dev/full"];

/// Applies what this kernel has, and notes it.
pub(super) fn confine(
    state_dir: Option<&Path>,
    capabilities: &[Capability],
    sandbox: &mut Sandbox,
) {
    let network = capabilities.contains(&Capability::Network);
    let applied = apply(state_dir, network);
    let (found, why) = match &applied {
        Ok(LandlockStatus::Available { effective_abi, .. }) => {
            (*effective_abi, format!("Landlock is of version {}", *effective_abi as i32))
        }
        Ok(LandlockStatus::NotEnabled) => {
            (ABI::Unsupported, "Landlock was not enabled at boot".to_owned())
        }
        Ok(LandlockStatus::NotImplemented) => {
            (ABI::Unsupported, "this kernel has no Landlock".to_owned())
        }
        Err(error) => (ABI::Unsupported, error.to_string()),
    };
    for (needed, what) in PARTS {
        if network && what == TCP {
            continue;
        }
        let lacks = || format!("{why}, and it needs {}", needed as i32);
        sandbox.note(what, if found >= needed { Ok(()) } else { Err(lacks()) });
    }
}

/// Applies none of it, so that other processes can be looked into; the filter of system calls,
/// which must be in force, stands in for what it can.
pub(super) fn leave_out(capabilities: &[Capability], sandbox: &mut Sandbox) {
    without_landlock::IN_FORCE.iter().for_each(|what| sandbox.note(what, Ok(())));
    let why = || Err("`inspect` needs Landlock left out".to_owned());
    if !capabilities.contains(&Capability::Network) {
        sandbox.note(TCP, why());
    }
    if without_landlock::makes_sockets(capabilities) {
        sandbox.note("makes no sockets among the files", why());
    }
    sandbox.note("no abstract sockets of processes outside", why());
}

fn apply(state_dir: Option<&Path>, network: bool) -> Result<LandlockStatus, RulesetError> {
    let mut ruleset = Ruleset::default()
        .handle_access(AccessFs::from_all(TESTED))?
        .scope(Scope::from_all(TESTED))?;
    if !network {
        ruleset = ruleset.handle_access(AccessNet::from_all(TESTED))?;
    }
    let mut ruleset = ruleset.create()?;
    let rules = [("/", AccessFs::from_read(TESTED))]
        .into_iter()
        .chain(SINKS.map(|sink| (sink, AccessFs::WriteFile | AccessFs::Truncate)));
    for (path, access) in rules.map(|(path, access)| (Path::new(path), access)) {
        // One that is not there can't be written either.
        if let Ok(at) = PathFd::new(path) {
            ruleset = ruleset.add_rule(PathBeneath::new(at, access))?;
        }
    }
    if let Some(at) = state_dir.and_then(|path| PathFd::new(path).ok()) {
        ruleset = ruleset.add_rule(PathBeneath::new(at, own()))?;
    }
    Ok(ruleset.restrict_self()?.landlock)
}

/// What a plugin may do below its state directory: everything but make devices, by which root
/// could reach a disk as a whole.
fn own() -> BitFlags<AccessFs> {
    let devices = AccessFs::MakeChar | AccessFs::MakeBlock | AccessFs::IoctlDev;
    AccessFs::from_all(TESTED) & !devices
}
