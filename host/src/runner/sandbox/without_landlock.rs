//! What the seccomp filter sees to where Landlock is left out, for `inspect`: no file is opened
//! for writing or changed, no ioctl reaches a device, and no signal another process.
//!
//! seccomp sees numbers and flags, not paths: so nothing at all may be written, a collector's own
//! state directory included.

use dropsonde_plugin_api::abi::Capability;
use libc::{c_int, c_long};
use seccompiler::{BackendError, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompRule};

/// What the rules below bring about, as `list` and the log call it.
pub(super) const IN_FORCE: [&str; 3] =
    ["writes no file", "no ioctl on devices", "no signals to processes outside"];

/// Calls that make, change or remove files, and what the kernel permits to whoever may look into
/// another process.
const DENIED: &[c_long] = &[
    #[cfg(target_arch = "x86_64")]
    libc::SYS_creat,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_mkdir,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_rmdir,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_unlink,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_rename,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_link,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_symlink,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_mknod,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_utime,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_utimes,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_futimesat,
    libc::SYS_mkdirat,
    libc::SYS_unlinkat,
    RENAMEAT,
    libc::SYS_renameat2,
    libc::SYS_linkat,
    libc::SYS_symlinkat,
    libc::SYS_mknodat,
    libc::SYS_utimensat,
    libc::SYS_truncate,
    libc::SYS_mq_open,
    libc::SYS_mq_unlink,
    // Memory of other processes.
    libc::SYS_process_madvise,
    libc::SYS_process_mrelease,
    libc::SYS_move_pages,
    libc::SYS_migrate_pages,
    // Signals by other ways than a process's own number.
    libc::SYS_tkill,
    libc::SYS_pidfd_send_signal,
];

// The crate's table for aarch64 lacks it.
const RENAMEAT: c_long = if cfg!(target_arch = "x86_64") { 264 } else { 38 };

/// Flags of open(2) of which none may be set. `O_TRUNC` empties a file that is opened for reading.
const WRITING: [c_int; 5] = [
    libc::O_WRONLY,
    libc::O_RDWR,
    libc::O_CREAT,
    libc::O_TRUNC,
    libc::O_TMPFILE & !libc::O_DIRECTORY,
];

/// Those that the standard library and libc make of any descriptor.
const HARMLESS_IOCTLS: [u64; 6] = [
    0x5401, // TCGETS, by which isatty(3) finds out
    0x5413, // TIOCGWINSZ
    0x541b, // FIONREAD
    0x5421, // FIONBIO
    0x5450, // FIONCLEX
    0x5451, // FIOCLEX
];

/// All of linux/perf_event.h.
const PERF_IOCTLS: [u64; 12] = [
    0x2400,
    0x2401,
    0x2402,
    0x2403,
    0x2405,
    0x4008_2404,
    0x4008_2406,
    0x8008_2407,
    0x4004_2408,
    0x4004_2409,
    0xc008_240a,
    0x4008_240b,
];

/// What fcntl(2) needs to have the kernel send signals elsewhere.
const SIGNAL_FCNTLS: [u64; 3] = [8, 10, 15]; // F_SETOWN, F_SETSIG, F_SETOWN_EX

/// The rules for a process with these capabilities and this number; a call without conditions is
/// always denied.
pub(super) fn rules(
    granted: &[Capability],
    own_pid: u32,
) -> Result<Vec<(c_long, Vec<SeccompRule>)>, BackendError> {
    let mut rules: Vec<_> = DENIED.iter().map(|call| (*call, Vec::new())).collect();
    #[cfg(target_arch = "x86_64")]
    rules.push((libc::SYS_open, opens_for_writing(1)?));
    rules.push((libc::SYS_openat, opens_for_writing(2)?));
    let perf = granted.contains(&Capability::Perf);
    let ioctls = HARMLESS_IOCTLS.iter().chain(PERF_IOCTLS.iter().filter(|_| perf));
    rules.push((libc::SYS_ioctl, vec![other_than(1, ioctls.copied())?]));
    let signals = SIGNAL_FCNTLS.map(|command| one(1, SeccompCmpOp::Eq, command));
    rules.push((libc::SYS_fcntl, signals.into_iter().collect::<Result<_, _>>()?));
    for call in
        [libc::SYS_kill, libc::SYS_tgkill, libc::SYS_rt_sigqueueinfo, libc::SYS_rt_tgsigqueueinfo]
    {
        rules.push((call, vec![other_than(0, [u64::from(own_pid)])?]));
    }
    // A socket of the local kind gets a name among the files by it; where others may be had, they
    // need it.
    if !makes_sockets(granted) {
        rules.push((libc::SYS_bind, Vec::new()));
    }
    Ok(rules)
}

/// Whether bind(2) has to stay, by which a socket can be made among the files.
pub(super) fn makes_sockets(granted: &[Capability]) -> bool {
    granted.contains(&Capability::Network) || granted.contains(&Capability::Netlink)
}

fn opens_for_writing(argument: u8) -> Result<Vec<SeccompRule>, BackendError> {
    let flag = |flag: c_int| {
        let flag = u64::from(flag.unsigned_abs());
        one(argument, SeccompCmpOp::MaskedEq(flag), flag)
    };
    WRITING.into_iter().map(flag).collect()
}

fn other_than(
    argument: u8,
    values: impl IntoIterator<Item = u64>,
) -> Result<SeccompRule, BackendError> {
    let values = values.into_iter().map(|value| condition(argument, SeccompCmpOp::Ne, value));
    SeccompRule::new(values.collect::<Result<_, _>>()?)
}

fn one(argument: u8, operator: SeccompCmpOp, value: u64) -> Result<SeccompRule, BackendError> {
    SeccompRule::new(vec![condition(argument, operator, value)?])
}

/// All that are looked at are of 32 bits; the kernel ignores the upper half of the register.
fn condition(
    argument: u8,
    operator: SeccompCmpOp,
    value: u64,
) -> Result<SeccompCondition, BackendError> {
    SeccompCondition::new(argument, SeccompCmpArgLen::Dword, operator, value)
}
