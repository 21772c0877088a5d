//! `/proc/cpuinfo` (proc_cpuinfo(5)): lines `key : value`, by processor. The keys differ from
//! architecture to architecture, and some stand once for all processors.
//!
//! Not procfs-core's `CpuInfo`: it keeps each field of each processor in maps, and refuses the
//! whole file for a byte that is not UTF-8.

use std::collections::BTreeMap;

use crate::arm;

/// The file; its text must outlive it.
#[derive(Debug, Default)]
pub(crate) struct CpuInfo<'a> {
    processors: BTreeMap<u32, Fields<'a>>,
    /// What stands before the first processor, or after an empty line in no processor's block.
    common: Fields<'a>,
}

type Fields<'a> = Vec<(&'a str, &'a str)>;

/// What is known of a processor.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Identity {
    pub(crate) vendor: Option<String>,
    pub(crate) model: Option<String>,
    pub(crate) family: Option<String>,
    pub(crate) model_id: Option<String>,
    pub(crate) stepping: Option<String>,
    pub(crate) microcode: Option<String>,
}

impl<'a> CpuInfo<'a> {
    /// Takes any text; lines that are no field are left out.
    pub(crate) fn parse(text: &'a str) -> Self {
        let mut info = Self::default();
        let mut current = None;
        for line in text.lines() {
            let Some((key, value)) = line.split_once(':') else {
                if line.trim().is_empty() {
                    current = None;
                }
                continue;
            };
            let (key, value) = (key.trim(), value.trim());
            if key == "processor"
                && let Ok(number) = value.parse()
            {
                current = Some(number);
                info.processors.entry(number).or_default();
            } else if !value.is_empty() {
                let fields = match current {
                    Some(number) => info.processors.entry(number).or_default(),
                    None => &mut info.common,
                };
                fields.push((key, value));
            }
        }
        info
    }

    /// The numbers of the processors, which are those that are online.
    pub(crate) fn numbers(&self) -> impl Iterator<Item = u32> {
        self.processors.keys().copied()
    }

    pub(crate) fn has(&self, processor: u32) -> bool {
        self.processors.contains_key(&processor)
    }

    /// The first of these keys that a processor has, or all processors have.
    pub(crate) fn field(&self, processor: u32, keys: &[&str]) -> Option<&'a str> {
        let own = self.processors.get(&processor);
        let find = |key: &&str| {
            let in_fields = |fields: &Fields<'a>| {
                fields.iter().find(|(name, _)| name == key).map(|(_, value)| *value)
            };
            own.and_then(in_fields).or_else(|| in_fields(&self.common))
        };
        keys.iter().find_map(find)
    }

    /// Who made a processor, and what it is.
    pub(crate) fn identity(&self, processor: u32) -> Identity {
        let field = |keys: &[&str]| self.field(processor, keys);
        let implementer = field(&["CPU implementer"]);
        let part = field(&["CPU part"]);
        let arm_core = implementer.zip(part).and_then(|(by, part)| arm::core(by, part));
        // x86 and LoongArch, MIPS, RISC-V, POWER, 32-bit ARM.
        let names = ["model name", "Model Name", "cpu model", "uarch", "cpu", "Processor"];
        let owned = |text: Option<&str>| text.map(str::to_owned);
        Identity {
            vendor: owned(field(&["vendor_id"]).or_else(|| implementer.map(arm::implementer))),
            model: owned(arm_core.or_else(|| field(&names)).or(part)),
            family: owned(field(&["cpu family", "CPU Family", "CPU architecture"])),
            model_id: owned(field(&["model"]).or(part)),
            stepping: owned(field(&["stepping"])).or_else(|| self.arm_revision(processor)),
            microcode: owned(field(&["microcode"])),
        }
    }

    /// What a processor can do.
    pub(crate) fn flags(&self, processor: u32) -> Vec<String> {
        // x86; ARM and LoongArch; s390; RISC-V.
        let flags = self.field(processor, &["flags", "Features", "features", "isa"]);
        flags.into_iter().flat_map(str::split_whitespace).map(str::to_owned).collect()
    }

    /// Variant and revision as Arm writes them: `r3p1`.
    fn arm_revision(&self, processor: u32) -> Option<String> {
        let variant = self.field(processor, &["CPU variant"])?.strip_prefix("0x")?;
        let variant = u32::from_str_radix(variant, 16).ok()?;
        let revision: u32 = self.field(processor, &["CPU revision"])?.parse().ok()?;
        Some(format!("r{variant}p{revision}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RASPBERRY_PI_4: &str = "processor\t: 0
BogoMIPS\t: 108.00
Features\t: fp asimd evtstrm crc32 cpuid
CPU implementer\t: 0x41
CPU architecture: 8
CPU variant\t: 0x0
CPU part\t: 0xd08
CPU revision\t: 3

processor\t: 1
BogoMIPS\t: 108.00

Revision\t: c03111
Serial\t\t: 100000003b2f3c4d
Model\t\t: Raspberry Pi 4 Model B Rev 1.1
";

    #[test]
    fn an_arm_core_is_named_by_its_codes() {
        let info = CpuInfo::parse(RASPBERRY_PI_4);
        assert_eq!(info.numbers().collect::<Vec<_>>(), [0, 1]);
        let text = |text: &str| Some(text.to_owned());
        let expected = Identity {
            vendor: text("ARM"),
            model: text("Cortex-A72"),
            family: text("8"),
            model_id: text("0xd08"),
            stepping: text("r0p3"),
            microcode: None,
        };
        assert_eq!(info.identity(0), expected);
        assert_eq!(info.flags(0), ["fp", "asimd", "evtstrm", "crc32", "cpuid"]);
        assert_eq!(info.identity(1), Identity::default(), "its block says nothing");
    }

    #[test]
    fn a_code_that_is_not_known_stands_as_it_is() {
        let text = "processor : 0\nCPU implementer : 0x7a\nCPU part : 0xabc\n";
        let identity = CpuInfo::parse(text).identity(0);
        assert_eq!(identity.vendor.as_deref(), Some("0x7a"));
        assert_eq!(identity.model.as_deref(), Some("0xabc"));
        let text = "processor : 0\nCPU implementer : 0x61\nCPU part : 0xd08\n";
        let identity = CpuInfo::parse(text).identity(0);
        assert_eq!(identity.vendor.as_deref(), Some("Apple"));
        assert_eq!(identity.model.as_deref(), Some("0xd08"), "not Arm's own");
    }

    #[test]
    fn what_stands_once_is_true_of_all() {
        // 32-bit ARM before Linux 3.8.
        let old_arm = "Processor : ARMv7 Processor rev 4 (v7l)\nprocessor : 0\nBogoMIPS : 38\n\n\
                       processor : 1\nBogoMIPS : 38\n\nFeatures : swp half\n";
        let info = CpuInfo::parse(old_arm);
        assert_eq!(info.identity(1).model.as_deref(), Some("ARMv7 Processor rev 4 (v7l)"));
        assert_eq!(info.flags(0), ["swp", "half"]);
        let power = "processor : 0\ncpu : POWER9, altivec supported\n\nmodel : 8335-GTH\n";
        let identity = CpuInfo::parse(power).identity(0);
        assert_eq!(identity.model.as_deref(), Some("POWER9, altivec supported"));
    }

    #[test]
    fn a_file_that_is_cut_short_says_what_it_says() {
        let text = "processor : 0\nvendor_id : GenuineIntel\nmodel name : Intel\n\nproces";
        let info = CpuInfo::parse(text);
        assert_eq!(info.numbers().collect::<Vec<_>>(), [0]);
        assert_eq!(info.identity(0).vendor.as_deref(), Some("GenuineIntel"));
        for end in 0..RASPBERRY_PI_4.len() {
            CpuInfo::parse(&RASPBERRY_PI_4[..end]).identity(0);
        }
        assert_eq!(CpuInfo::parse("").numbers().count(), 0);
    }
}
