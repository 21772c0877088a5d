//! The ELF pre-check: looks at the bytes of a file, runs nothing of it.
//!
//! A file that is cut short would end the process with SIGBUS inside `dlopen`; that and most of
//! what can be seen without running is caught here. Source: elf(5), the System V gABI.

use dropsonde_plugin_api::abi::{API_VERSION, Language, MANIFEST_SECTION, Manifest, ManifestError};
use object::Endianness;
use object::elf::{self, FileHeader64, ProgramHeader64, SectionHeader64, Sym64};
use object::read::elf::{Dyn, FileHeader, ProgramHeader, SectionHeader, SectionTable, Sym};
use serde::Serialize;
use thiserror::Error;

/// What the dynamic section says that matters for unloading.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub(crate) struct ElfNotes {
    /// `DF_1_NODELETE`: the linker never unloads it.
    pub(crate) nodelete: bool,
    /// Has symbols of binding `STB_GNU_UNIQUE`: the same.
    pub(crate) gnu_unique: bool,
    /// `DF_STATIC_TLS`: takes of the few bytes that are there for such libraries.
    pub(crate) static_tls: bool,
}

/// Why the bytes are no plugin for this machine.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ElfError {
    /// Not ELF, or damaged.
    #[error("is no intact ELF file ({0}); copy or build it again")]
    Damaged(String),
    /// The file ends before its contents do.
    #[error("is cut short: it has {size} bytes and needs {needs}; copy it again, best by rename")]
    CutShort {
        /// What is there.
        size: u64,
        /// What its headers speak of.
        needs: u64,
    },
    /// For another machine.
    #[error("was built for {0}, this machine is {host}; build it for this machine", host = std::env::consts::ARCH)]
    Machine(String),
    /// Not a shared object.
    #[error("is {0}, not a shared object; build it with crate-type = [\"cdylib\"]")]
    Type(&'static str),
    /// No manifest: some other library.
    #[error(
        "is no Dropsonde plugin: it has no section {MANIFEST_SECTION}; build it with export_plugin!"
    )]
    NoManifest,
    /// A manifest that makes no sense.
    #[error("{0}; build it again with dropsonde-plugin-api {major}.{minor}", major = API_VERSION.0, minor = API_VERSION.1)]
    Manifest(ManifestError),
    /// Built against an API of another major version.
    #[error("needs plugin API {major}.{minor}, this host has {}.{}; build it against this host's API", API_VERSION.0, API_VERSION.1)]
    Api {
        /// Its version.
        major: u16,
        /// Its version.
        minor: u16,
    },
    /// The entry symbol is not exported.
    #[error(
        "does not export `{}`; {}, and don't strip its dynamic symbols", .0.symbol(), .0.exported_by()
    )]
    NoSymbol(Language),
    /// Its panics can't be caught.
    #[error(
        "was built with panic = \"abort\": a panic would end the host; build it with panic = \"unwind\""
    )]
    PanicAbort,
}

/// Checks the bytes of a plugin file.
pub(crate) fn inspect(bytes: &[u8]) -> Result<(Manifest, ElfNotes), ElfError> {
    let damaged = |error: object::read::Error| ElfError::Damaged(error.to_string());
    let header = FileHeader64::<Endianness>::parse(bytes).map_err(|_| not_elf64(bytes))?;
    let endian = header.endian().map_err(damaged)?;
    check_kind(header, endian)?;
    check_extent(header, endian, bytes)?;
    let sections = header.sections(endian, bytes).map_err(damaged)?;
    let section = manifest_section(header, &sections, endian, bytes).map_err(damaged)?;
    let section = section.ok_or(ElfError::NoManifest)?.data(endian, bytes).map_err(damaged)?;
    let manifest = Manifest::parse(section).map_err(ElfError::Manifest)?;
    let (major, minor) = manifest.api_version;
    if major != API_VERSION.0 {
        return Err(ElfError::Api { major, minor });
    }
    let symbols = sections.symbols(endian, bytes, elf::SHT_DYNSYM).map_err(damaged)?;
    let names = sections.section(symbols.string_section());
    let names = names.and_then(|names| names.data(endian, bytes)).unwrap_or_default();
    let named = |symbol: &&Sym64<Endianness>, name| is_named(names, symbol.st_name(endian), name);
    let entry = symbols.iter().find(|symbol| named(symbol, manifest.language.symbol()));
    if !entry.is_some_and(|symbol| symbol.is_definition(endian, symbols.strings())) {
        return Err(ElfError::NoSymbol(manifest.language));
    }
    // A Rust library that unwinds calls this of libgcc; one that aborts does not. A second sign
    // beside the manifest's word. Other languages have no panics.
    let can_unwind = manifest.language != Language::Rust
        || symbols.iter().any(|symbol| named(&symbol, "_Unwind_RaiseException"));
    if manifest.panic_abort || !can_unwind {
        return Err(ElfError::PanicAbort);
    }
    let mut notes = notes(header, endian, bytes).map_err(damaged)?;
    notes.gnu_unique = symbols.iter().any(|symbol| symbol.st_bind() == elf::STB_GNU_UNIQUE);
    Ok((manifest, notes))
}

fn not_elf64(bytes: &[u8]) -> ElfError {
    match bytes {
        start if b"\x7fELF".starts_with(start) => {
            ElfError::CutShort { size: start.len() as u64, needs: 64 }
        }
        [0x7f, b'E', b'L', b'F', 1, ..] => ElfError::Machine("a 32-bit machine".into()),
        [0x7f, b'E', b'L', b'F', ..] if bytes.len() < 64 => {
            ElfError::CutShort { size: bytes.len() as u64, needs: 64 }
        }
        _ => ElfError::Damaged("its first bytes are not those of ELF".into()),
    }
}

fn check_kind(header: &FileHeader64<Endianness>, endian: Endianness) -> Result<(), ElfError> {
    let machine = header.e_machine(endian);
    let ours = match std::env::consts::ARCH {
        "x86_64" => elf::EM_X86_64,
        "aarch64" => elf::EM_AARCH64,
        "riscv64" => elf::EM_RISCV,
        "s390x" => elf::EM_S390,
        "powerpc64" => elf::EM_PPC64,
        "loongarch64" => elf::EM_LOONGARCH,
        _ => machine,
    };
    let native = if cfg!(target_endian = "little") { Endianness::Little } else { Endianness::Big };
    if machine != ours || endian != native {
        let name = match machine {
            elf::EM_X86_64 => "x86_64".to_owned(),
            elf::EM_AARCH64 => "aarch64".to_owned(),
            elf::EM_RISCV => "riscv".to_owned(),
            elf::EM_386 => "x86".to_owned(),
            elf::EM_ARM => "arm".to_owned(),
            elf::EM_S390 => "s390x".to_owned(),
            elf::EM_PPC64 => "powerpc64".to_owned(),
            other => format!("ELF machine {}", other.0),
        };
        return Err(ElfError::Machine(name));
    }
    match header.e_type(endian) {
        elf::ET_DYN => Ok(()),
        elf::ET_REL => Err(ElfError::Type("an object file")),
        elf::ET_EXEC => Err(ElfError::Type("an executable")),
        elf::ET_CORE => Err(ElfError::Type("a core dump")),
        _ => Err(ElfError::Type("of an unknown kind")),
    }
}

/// All segments and the section table lie inside the file.
fn check_extent(
    header: &FileHeader64<Endianness>,
    endian: Endianness,
    bytes: &[u8],
) -> Result<(), ElfError> {
    let size = bytes.len() as u64;
    let table = |offset: u64, count: u16, entry: u16| {
        offset.saturating_add(u64::from(count) * u64::from(entry))
    };
    let sections =
        table(header.e_shoff(endian), header.e_shnum(endian), header.e_shentsize(endian));
    let segments =
        table(header.e_phoff(endian), header.e_phnum(endian), header.e_phentsize(endian));
    let mut needs = sections.max(segments);
    if needs <= size {
        let damaged = |error: object::read::Error| ElfError::Damaged(error.to_string());
        for segment in segments_of(header, endian, bytes)? {
            let (offset, length) = segment.file_range(endian);
            needs = needs.max(offset.saturating_add(length));
        }
        let sections = header.sections(endian, bytes).map_err(damaged)?;
        for section in sections.iter() {
            if let Some((offset, length)) = section.file_range(endian) {
                needs = needs.max(offset.saturating_add(length));
            }
        }
    }
    if header.e_phnum(endian) == 0 || header.e_shnum(endian) == 0 {
        return Err(ElfError::Damaged("it has no segments or no sections".into()));
    }
    if needs > size { Err(ElfError::CutShort { size, needs }) } else { Ok(()) }
}

/// The program headers that the linker will see: it takes the number in the header as it stands.
fn segments_of<'data>(
    header: &FileHeader64<Endianness>,
    endian: Endianness,
    bytes: &'data [u8],
) -> Result<&'data [ProgramHeader64<Endianness>], ElfError> {
    let damaged = |text: String| Err(ElfError::Damaged(text));
    let segments = header.program_headers(endian, bytes);
    let segments = segments.or_else(|error| damaged(error.to_string()))?;
    if segments.len() != usize::from(header.e_phnum(endian)) {
        return damaged("it has not as many segments as it says".into());
    }
    let dynamic = segments.iter().filter(|segment| segment.p_type(endian) == elf::PT_DYNAMIC);
    if dynamic.count() > 1 {
        return damaged("it has more than one dynamic segment".into());
    }
    Ok(segments)
}

fn notes(
    header: &FileHeader64<Endianness>,
    endian: Endianness,
    bytes: &[u8],
) -> object::read::Result<ElfNotes> {
    let mut notes = ElfNotes::default();
    for segment in header.program_headers(endian, bytes)? {
        for entry in segment.dynamic(endian, bytes)?.unwrap_or_default() {
            let value = entry.d_val(endian);
            match entry.d_tag(endian) {
                elf::DT_FLAGS_1 => notes.nodelete |= value & elf::DF_1_NODELETE.0 != 0,
                elf::DT_FLAGS => notes.static_tls |= value & elf::DF_STATIC_TLS.0 != 0,
                _ => {}
            }
        }
    }
    Ok(notes)
}

fn manifest_section<'data>(
    header: &FileHeader64<Endianness>,
    sections: &SectionTable<'data, FileHeader64<Endianness>>,
    endian: Endianness,
    bytes: &'data [u8],
) -> object::read::Result<Option<&'data SectionHeader64<Endianness>>> {
    let names = sections.section(header.section_strings_index(endian, bytes)?)?;
    let names = names.data(endian, bytes)?;
    let is_it = |section: &&SectionHeader64<Endianness>| {
        is_named(names, section.sh_name(endian), MANIFEST_SECTION)
    };
    Ok(sections.iter().find(is_it))
}

/// Whether this name stands at an offset of a string table. It looks no further than the name is
/// long: a file could name thousands of things by a text of megabytes.
fn is_named(strings: &[u8], offset: u32, name: &str) -> bool {
    let text = strings.get(offset as usize..).unwrap_or_default();
    text.strip_prefix(name.as_bytes()).is_some_and(|rest| rest.first() == Some(&0))
}

#[cfg(test)]
mod tests;
