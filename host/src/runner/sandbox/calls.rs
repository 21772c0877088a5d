//! seccomp (seccomp(2)): system calls that no collector needs, or that need a capability of the
//! manifest, answer EPERM. All else is allowed: a list of what is allowed would break with each
//! new libc. The rest of the kernel's own checks hold as ever.
//!
//! EPERM and not ENOSYS, but for clone3(2) and openat2(2): no other call denied here has an older
//! one that libraries fall back to.

use std::collections::BTreeMap;

use dropsonde_plugin_api::abi::Capability;
use libc::c_long;
use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition,
    SeccompFilter, SeccompRule, TargetArch, sock_filter,
};

use super::without_landlock;

/// Denied to every plugin.
const DENIED: &[c_long] = &[
    // Other processes' memory and descriptors.
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_pidfd_getfd,
    libc::SYS_userfaultfd,
    // Queues through which calls pass by the filter.
    libc::SYS_io_uring_setup,
    // The kernel itself.
    libc::SYS_kexec_load,
    libc::SYS_kexec_file_load,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_reboot,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_iopl,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_ioperm,
    // Mounts, roots and namespaces.
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_move_mount,
    libc::SYS_open_tree,
    OPEN_TREE_ATTR,
    libc::SYS_fsopen,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fspick,
    libc::SYS_mount_setattr,
    libc::SYS_setns,
    libc::SYS_open_by_handle_at,
    // Settings of the machine.
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_adjtimex,
    libc::SYS_clock_adjtime,
    libc::SYS_sethostname,
    libc::SYS_setdomainname,
    libc::SYS_acct,
    libc::SYS_quotactl,
    libc::SYS_quotactl_fd,
    // Keyrings.
    libc::SYS_keyctl,
    libc::SYS_add_key,
    libc::SYS_request_key,
    // Owner, mode and attributes of files, which Landlock does not see.
    #[cfg(target_arch = "x86_64")]
    libc::SYS_chmod,
    libc::SYS_fchmod,
    libc::SYS_fchmodat,
    FCHMODAT2,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_chown,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_lchown,
    libc::SYS_fchown,
    libc::SYS_fchownat,
    libc::SYS_setxattr,
    libc::SYS_lsetxattr,
    libc::SYS_fsetxattr,
    SETXATTRAT,
    libc::SYS_removexattr,
    libc::SYS_lremovexattr,
    libc::SYS_fremovexattr,
    REMOVEXATTRAT,
    FILE_SETATTR,
];

// Newer than the crate's tables; above 423 the numbers are the same on every architecture.
const FCHMODAT2: c_long = 452;
const SETXATTRAT: c_long = 463;
const REMOVEXATTRAT: c_long = 466;
const OPEN_TREE_ATTR: c_long = 467;
const FILE_SETATTR: c_long = 469;

/// Denied unless the capability was granted.
const NEEDS: &[(c_long, Capability)] = &[
    (libc::SYS_perf_event_open, Capability::Perf),
    (libc::SYS_bpf, Capability::Bpf),
    (libc::SYS_execve, Capability::Exec),
    (libc::SYS_execveat, Capability::Exec),
];

/// Installs the filter on the calling thread and all that it will start. The error says what is
/// missing.
pub(super) fn confine(granted: &[Capability]) -> Result<(), String> {
    let architecture = TargetArch::try_from(std::env::consts::ARCH)
        .map_err(|_| format!("no filter was written for {}", std::env::consts::ARCH))?;
    let program = program(granted, architecture).map_err(|error| error.to_string())?;
    seccompiler::apply_filter(&program).map_err(|error| error.to_string())
}

fn program(granted: &[Capability], architecture: TargetArch) -> Result<BpfProgram, BackendError> {
    let mut rules: BTreeMap<c_long, Vec<SeccompRule>> =
        DENIED.iter().map(|call| (*call, Vec::new())).collect();
    for (call, needed) in NEEDS {
        if !granted.contains(needed) {
            rules.insert(*call, Vec::new());
        }
    }
    let inspect = granted.contains(&Capability::Inspect);
    if inspect {
        rules.extend(without_landlock::rules(granted, std::process::id())?);
    }
    rules.insert(libc::SYS_unshare, vec![new_namespace()?]);
    rules.insert(libc::SYS_clone, in_new_namespace()?);
    let family = foreign_family(granted)?;
    rules.insert(libc::SYS_socket, vec![family.clone()]);
    rules.insert(libc::SYS_socketpair, vec![family]);
    let denied = SeccompAction::Errno(libc::EPERM.unsigned_abs());
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, denied, architecture)?;
    let mut program = [refuse_x32(), refuse_clone3()].concat();
    if inspect {
        program.extend(refuse_openat2());
    }
    program.extend(BpfProgram::try_from(filter)?);
    Ok(program)
}

/// Matches unshare(2) of anything but what a thread has for itself, its directory or its table of
/// open files: `dropsonde check` loads plugins on such threads.
fn new_namespace() -> Result<SeccompRule, BackendError> {
    let other_than = |flag: i32| {
        let flag = u64::from(flag.unsigned_abs());
        SeccompCondition::new(0, SeccompCmpArgLen::Dword, SeccompCmpOp::Ne, flag)
    };
    SeccompRule::new(
        [libc::CLONE_FS, libc::CLONE_FILES]
            .map(other_than)
            .into_iter()
            .collect::<Result<_, _>>()?,
    )
}

/// Matches clone(2) of a process with any namespace of its own: in one of users it would be root.
fn in_new_namespace() -> Result<Vec<SeccompRule>, BackendError> {
    const NAMESPACES: [i32; 7] = [
        libc::CLONE_NEWCGROUP,
        libc::CLONE_NEWIPC,
        libc::CLONE_NEWNET,
        libc::CLONE_NEWNS,
        libc::CLONE_NEWPID,
        libc::CLONE_NEWUSER,
        libc::CLONE_NEWUTS,
    ];
    let with = |flag: i32| {
        let flag = u64::from(flag.unsigned_abs());
        let has_it = SeccompCmpOp::MaskedEq(flag);
        let condition = SeccompCondition::new(0, SeccompCmpArgLen::Qword, has_it, flag)?;
        SeccompRule::new(vec![condition])
    };
    NAMESPACES.into_iter().map(with).collect()
}

/// Matches a socket of a family that may not be had: all but local ones and those granted.
fn foreign_family(granted: &[Capability]) -> Result<SeccompRule, BackendError> {
    let may = |capability, families| if granted.contains(&capability) { families } else { &[][..] };
    let families = [libc::AF_UNIX]
        .iter()
        .chain(may(Capability::Network, &[libc::AF_INET, libc::AF_INET6]))
        .chain(may(Capability::Netlink, &[libc::AF_NETLINK]));
    let other_than = |family: &i32| {
        let family = u64::from(family.unsigned_abs());
        SeccompCondition::new(0, SeccompCmpArgLen::Dword, SeccompCmpOp::Ne, family)
    };
    SeccompRule::new(families.map(other_than).collect::<Result<_, _>>()?)
}

/// The x32 calls of x86-64 kernels share the architecture, but not the numbers: none of the rules
/// would match them. Nobody uses them, and they answer ENOSYS as on kernels without them.
fn refuse_x32() -> [sock_filter; 3] {
    const X32: u32 = 0x4000_0000; // __X32_SYSCALL_BIT of asm/unistd.h
    not_there(libc::BPF_JGE, X32)
}

/// Its flags lie in memory, where seccomp can't look. Without it, libraries use clone(2).
fn refuse_clone3() -> [sock_filter; 3] {
    const CLONE3: u32 = libc::SYS_clone3 as u32;
    not_there(libc::BPF_JEQ, CLONE3)
}

/// As that of clone3(2). Without it, libraries use openat(2).
fn refuse_openat2() -> [sock_filter; 3] {
    const OPENAT2: u32 = libc::SYS_openat2 as u32;
    not_there(libc::BPF_JEQ, OPENAT2)
}

/// Answers ENOSYS where the call's number compares so.
fn not_there(comparison: u32, number: u32) -> [sock_filter; 3] {
    let step = |code: u32, k: u32, jf: u8| sock_filter { code: code as u16, jt: 0, jf, k };
    [
        step(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0), // the call's number
        step(libc::BPF_JMP | comparison | libc::BPF_K, number, 1),
        step(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ERRNO | libc::ENOSYS.unsigned_abs(), 0),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Longest program that the kernel takes: BPF_MAXINSNS of linux/bpf_common.h.
    const LONGEST: usize = 4096;

    #[test]
    fn the_filter_can_be_made_for_every_architecture_and_grant() {
        for architecture in [TargetArch::x86_64, TargetArch::aarch64] {
            for granted in [&[][..], &Capability::ALL] {
                let program = program(granted, architecture).unwrap();
                assert!(program.len() < LONGEST, "{} instructions", program.len());
            }
        }
    }

    #[test]
    fn a_capability_is_one_exception_and_no_more() {
        let length = |granted: &[Capability]| program(granted, TargetArch::x86_64).unwrap().len();
        let none = length(&[]);
        assert!(length(&[Capability::Perf]) < none);
        assert_eq!(length(&[Capability::Perf]), length(&[Capability::Bpf]));
        assert_eq!(none - length(&[Capability::Exec]), 2 * (none - length(&[Capability::Perf])));
        assert!(length(&[Capability::Network]) > none, "two more families to compare with");
    }
}
