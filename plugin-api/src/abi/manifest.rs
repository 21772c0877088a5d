//! The manifest: a few plain bytes in a section of their own, which `dropsonde list` and the
//! pre-check read from the file without running a line of the plugin.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{API_VERSION, C_SYMBOL, MODULE_SYMBOL};

/// The ELF section that holds the manifest.
pub const MANIFEST_SECTION: &str = ".dropsonde";

/// Name of the static in that section.
pub const MANIFEST_SYMBOL: &str = "dropsonde_plugin_manifest";

const MAGIC: [u8; 8] = *b"DROPSND\0";
const FORMAT: u32 = 1;

/// The manifest as it lies in the file: little-endian, text padded with NUL.
#[repr(C)]
pub struct RawManifest {
    magic: [u8; 8],
    format: u32,
    size: u32,
    api_major: u16,
    api_minor: u16,
    kind: u8,
    panic_abort: u8,
    language: u8,
    reserved: u8,
    capabilities: u32,
    reserved_too: [u8; 4],
    name: [u8; 64],
    version: [u8; 32],
    description: [u8; 256],
}

/// What a plugin says of itself before it is loaded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Manifest {
    /// The plugin's name.
    pub name: String,
    /// The plugin's own version.
    pub version: String,
    /// One line on what it collects.
    pub description: String,
    /// Version of the plugin API that it was built against: major, minor.
    pub api_version: (u16, u16),
    /// Polled, or a source of events.
    pub kind: Kind,
    /// Built with `panic = "abort"`: its panics can't be caught.
    pub panic_abort: bool,
    /// By which interface it is entered.
    pub language: Language,
    /// What it needs to do beyond reading files.
    pub capabilities: Vec<Capability>,
}

/// Something that a plugin may do in a runner process only if its manifest asks for it and the
/// user's configuration allows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[repr(u32)]
pub enum Capability {
    /// `perf_event_open(2)`.
    Perf = 1,
    /// Internet sockets.
    Network = 2,
    /// Netlink sockets (netlink(7)).
    Netlink = 4,
    /// `bpf(2)`.
    Bpf = 8,
    /// Starting programs (execve(2)).
    Exec = 16,
    /// Looking into other processes: what of `/proc/PID` the kernel guards as it does ptrace(2),
    /// such as `io`, `fd`, `environ` and `maps`. A plugin that may do so can write nothing, not
    /// even to its state directory.
    Inspect = 32,
}

impl Capability {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Perf, Self::Network, Self::Netlink, Self::Bpf, Self::Exec, Self::Inspect];

    /// The name as it stands in the configuration.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Perf => "perf",
            Self::Network => "network",
            Self::Netlink => "netlink",
            Self::Bpf => "bpf",
            Self::Exec => "exec",
            Self::Inspect => "inspect",
        }
    }
}

/// What a plugin exports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
#[repr(u8)]
pub enum Kind {
    /// A [`Collector`](crate::Collector).
    #[serde(rename = "collector")]
    Polled = 0,
    /// An [`EventSource`](crate::EventSource).
    Events = 1,
}

/// The interface by which a plugin is entered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
#[repr(u8)]
pub enum Language {
    /// [`PluginModule`](super::PluginModule), made by `export_plugin!`.
    Rust = 0,
    /// The table of `include/dropsonde.h`, for every other language.
    C = 1,
}

impl Language {
    /// The symbol that such a plugin exports.
    pub const fn symbol(self) -> &'static str {
        match self {
            Self::Rust => MODULE_SYMBOL,
            Self::C => C_SYMBOL,
        }
    }

    /// What exports it, for messages.
    pub const fn exported_by(self) -> &'static str {
        match self {
            Self::Rust => "build it with export_plugin!",
            Self::C => "define it as dropsonde.h has it",
        }
    }
}

/// Why the bytes of the section are no manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ManifestError {
    /// Fewer or more bytes than this format has.
    Size(usize),
    /// The magic bytes are not there.
    Magic,
    /// A format number that this version does not know.
    Format(u32),
    /// A kind that this version does not know.
    Kind(u8),
    /// A language that this version does not know.
    Language(u8),
    /// The named text is not UTF-8, is empty, or has characters that it may not have.
    Text(&'static str),
}

impl fmt::Display for ManifestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Size(size) => write!(
                f,
                "the manifest has {size} bytes where {} belong",
                std::mem::size_of::<RawManifest>()
            ),
            Self::Magic => f.write_str("the manifest lacks its magic bytes"),
            Self::Format(format) => {
                write!(f, "the manifest has format {format}, known is {FORMAT}")
            }
            Self::Kind(kind) => write!(f, "the manifest names kind {kind}, known are 0 and 1"),
            Self::Language(language) => {
                write!(f, "the manifest names language {language}, known are 0 (Rust) and 1 (C)")
            }
            Self::Text(which) => write!(
                f,
                "the manifest's {which} is empty, not UTF-8, one that is taken, or has characters that it may not have"
            ),
        }
    }
}

impl std::error::Error for ManifestError {}

impl RawManifest {
    /// Made at compile time by [`export_plugin!`](crate::export_plugin). A name that could not
    /// stand in a topic is a compile error; longer texts are cut.
    #[track_caller] // the message points at the macro's call
    pub const fn new(
        name: &str,
        version: &str,
        description: &str,
        kind: Kind,
        panic_abort: bool,
        capabilities: &[Capability],
    ) -> Self {
        assert!(
            is_name(name.as_bytes()),
            "a plugin's name has 1 to 64 characters of a-z, 0-9, `_` and `-`, starts with a letter, and is not `timestamp`; give one with name = \"…\""
        );
        Self {
            magic: MAGIC,
            format: FORMAT.to_le(),
            size: (std::mem::size_of::<Self>() as u32).to_le(),
            api_major: API_VERSION.0.to_le(),
            api_minor: API_VERSION.1.to_le(),
            kind: kind as u8,
            panic_abort: panic_abort as u8,
            language: Language::Rust as u8,
            reserved: 0,
            capabilities: bits(capabilities).to_le(),
            reserved_too: [0; 4],
            name: padded(name),
            version: padded(version),
            description: padded(description),
        }
    }
}

impl Manifest {
    /// Whether a plugin may have this name: 1 to 64 characters of a-z, 0-9, `_` and `-`, the
    /// first a letter.
    pub const fn is_name(name: &str) -> bool {
        is_name(name.as_bytes())
    }

    /// Reads a manifest from the bytes of its section.
    pub fn parse(bytes: &[u8]) -> Result<Self, ManifestError> {
        const SIZE: usize = std::mem::size_of::<RawManifest>();
        let bytes: &[u8; SIZE] = bytes.try_into().map_err(|_| ManifestError::Size(bytes.len()))?;
        let number = |at: usize| u16::from_le_bytes([bytes[at], bytes[at + 1]]);
        if bytes[..8] != MAGIC {
            return Err(ManifestError::Magic);
        }
        let format = u32::from_le_bytes([bytes[8], bytes[9], bytes[10], bytes[11]]);
        if format != FORMAT {
            return Err(ManifestError::Format(format));
        }
        let kind = match bytes[20] {
            0 => Kind::Polled,
            1 => Kind::Events,
            other => return Err(ManifestError::Kind(other)),
        };
        let language = match bytes[22] {
            0 => Language::Rust,
            1 => Language::C,
            other => return Err(ManifestError::Language(other)),
        };
        let asked = u32::from_le_bytes([bytes[24], bytes[25], bytes[26], bytes[27]]);
        let name = text(&bytes[32..96], "name")?;
        if !is_name(name.as_bytes()) {
            return Err(ManifestError::Text("name"));
        }
        Ok(Self {
            name,
            version: text(&bytes[96..128], "version")?,
            description: text(&bytes[128..384], "description")?,
            api_version: (number(16), number(18)),
            kind,
            panic_abort: bytes[21] != 0,
            language,
            capabilities: Capability::ALL
                .into_iter()
                .filter(|capability| asked & *capability as u32 != 0)
                .collect(),
        })
    }
}

const fn bits(capabilities: &[Capability]) -> u32 {
    let mut bits = 0;
    let mut index = 0;
    while index < capabilities.len() {
        bits |= capabilities[index] as u32;
        index += 1;
    }
    bits
}

const fn padded<const N: usize>(text: &str) -> [u8; N] {
    let bytes = text.as_bytes();
    let mut out = [0; N];
    let mut end = if bytes.len() < N { bytes.len() } else { N };
    // Cut between characters.
    while end > 0 && end < bytes.len() && bytes[end] & 0b1100_0000 == 0b1000_0000 {
        end -= 1;
    }
    let mut index = 0;
    while index < end {
        out[index] = bytes[index];
        index += 1;
    }
    out
}

const fn is_name(name: &[u8]) -> bool {
    if name.is_empty() || name.len() > 64 || !name[0].is_ascii_lowercase() {
        return false;
    }
    // Snapshots have their time there.
    if matches!(name, b"timestamp") {
        return false;
    }
    let mut index = 0;
    while index < name.len() {
        let byte = name[index];
        if !(byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_' || byte == b'-') {
            return false;
        }
        index += 1;
    }
    true
}

fn text(bytes: &[u8], which: &'static str) -> Result<String, ManifestError> {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    let text = std::str::from_utf8(&bytes[..end]).map_err(|_| ManifestError::Text(which))?;
    if text.chars().any(char::is_control) {
        return Err(ManifestError::Text(which));
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes_of(raw: &RawManifest) -> &[u8] {
        // SAFETY: a `RawManifest` has no padding (its size is the sum of its fields).
        unsafe {
            std::slice::from_raw_parts(
                std::ptr::from_ref(raw).cast::<u8>(),
                std::mem::size_of::<RawManifest>(),
            )
        }
    }

    #[test]
    fn what_the_macro_writes_the_host_reads() {
        let raw = RawManifest::new(
            "net-work_2",
            "1.2.3",
            "Traffic.",
            Kind::Events,
            true,
            &[Capability::Perf],
        );
        let manifest = Manifest::parse(bytes_of(&raw)).unwrap();
        assert_eq!(
            manifest,
            Manifest {
                name: "net-work_2".into(),
                version: "1.2.3".into(),
                description: "Traffic.".into(),
                api_version: API_VERSION,
                kind: Kind::Events,
                panic_abort: true,
                language: Language::Rust,
                capabilities: vec![Capability::Perf],
            }
        );
    }

    #[test]
    fn a_damaged_manifest_is_a_typed_error() {
        let raw = RawManifest::new("a", "1", "", Kind::Polled, false, &[]);
        let good = bytes_of(&raw).to_vec();
        let damaged = |at: usize, byte: u8| {
            let mut bytes = good.clone();
            bytes[at] = byte;
            Manifest::parse(&bytes).unwrap_err()
        };
        assert_eq!(Manifest::parse(&good[1..]), Err(ManifestError::Size(good.len() - 1)));
        assert_eq!(damaged(0, b'x'), ManifestError::Magic);
        assert_eq!(damaged(8, 9), ManifestError::Format(9));
        assert_eq!(damaged(20, 7), ManifestError::Kind(7));
        assert_eq!(damaged(22, 2), ManifestError::Language(2));
        assert_eq!(damaged(32, b'/'), ManifestError::Text("name"));
        let taken = RawManifest { name: padded("timestamp"), ..raw };
        let taken = Manifest::parse(bytes_of(&taken));
        assert_eq!(taken, Err(ManifestError::Text("name")));
        assert_eq!(damaged(96, 0xff), ManifestError::Text("version"));
    }

    #[test]
    fn long_text_is_cut_between_characters() {
        let bytes: [u8; 4] = padded("abcä");
        assert_eq!(&bytes, b"abc\0");
    }
}
