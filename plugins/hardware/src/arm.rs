//! What the codes in `/proc/cpuinfo` of ARM stand for: the fields of the register MIDR_EL1, as
//! arch/arm64/include/asm/cputype.h of the kernel and Arm's reference manuals have them.

/// Cores of Arm's own design that servers and boards have.
const ARM_CORES: [(&str, &str); 33] = [
    ("0xc07", "Cortex-A7"),
    ("0xc08", "Cortex-A8"),
    ("0xc09", "Cortex-A9"),
    ("0xc0f", "Cortex-A15"),
    ("0xb76", "ARM1176"),
    ("0xd03", "Cortex-A53"),
    ("0xd04", "Cortex-A35"),
    ("0xd05", "Cortex-A55"),
    ("0xd07", "Cortex-A57"),
    ("0xd08", "Cortex-A72"),
    ("0xd09", "Cortex-A73"),
    ("0xd0a", "Cortex-A75"),
    ("0xd0b", "Cortex-A76"),
    ("0xd0c", "Neoverse-N1"),
    ("0xd0d", "Cortex-A77"),
    ("0xd40", "Neoverse-V1"),
    ("0xd41", "Cortex-A78"),
    ("0xd44", "Cortex-X1"),
    ("0xd46", "Cortex-A510"),
    ("0xd47", "Cortex-A710"),
    ("0xd48", "Cortex-X2"),
    ("0xd49", "Neoverse-N2"),
    ("0xd4b", "Cortex-A78C"),
    ("0xd4c", "Cortex-X1C"),
    ("0xd4d", "Cortex-A715"),
    ("0xd4e", "Cortex-X3"),
    ("0xd4f", "Neoverse-V2"),
    ("0xd80", "Cortex-A520"),
    ("0xd81", "Cortex-A720"),
    ("0xd82", "Cortex-X4"),
    ("0xd84", "Neoverse-V3"),
    ("0xd85", "Cortex-X925"),
    ("0xd8e", "Neoverse-N3"),
];

/// Who makes cores that run Linux.
const IMPLEMENTERS: [(&str, &str); 11] = [
    ("0x41", "ARM"),
    ("0x42", "Broadcom"),
    ("0x43", "Cavium"),
    ("0x46", "Fujitsu"),
    ("0x48", "HiSilicon"),
    ("0x4e", "NVIDIA"),
    ("0x50", "APM"),
    ("0x51", "Qualcomm"),
    ("0x61", "Apple"),
    ("0x6d", "Microsoft"),
    ("0xc0", "Ampere"),
];

/// The implementer of this code, or the code.
pub(crate) fn implementer(code: &str) -> &str {
    look_up(&IMPLEMENTERS, code).unwrap_or(code)
}

/// What a core is called; `None` if that is not known.
pub(crate) fn core(implementer: &str, part: &str) -> Option<&'static str> {
    if implementer == "0x41" { look_up(&ARM_CORES, part) } else { None }
}

fn look_up(table: &[(&str, &'static str)], code: &str) -> Option<&'static str> {
    table.iter().find(|(known, _)| known.eq_ignore_ascii_case(code)).map(|(_, name)| *name)
}
