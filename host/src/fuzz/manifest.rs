//! The manifest reader.

use dropsonde_plugin_api::abi::{Manifest, RawManifest};

use super::assert_one_line;

/// What the reader accepts is within the rules, and says the same when it is written anew.
pub fn manifest(bytes: &[u8]) -> bool {
    match Manifest::parse(bytes) {
        Ok(manifest) => {
            assert_rules(&manifest);
            let again = Manifest::parse(&encode(&manifest));
            assert_eq!(again.as_ref(), Ok(&manifest));
            true
        }
        Err(error) => {
            assert_one_line(&error.to_string());
            false
        }
    }
}

/// The name can stand in a topic and in a table of the configuration; the texts on one line.
pub(super) fn assert_rules(manifest: &Manifest) {
    let Manifest { name, version, description, kind, panic_abort, capabilities, .. } = manifest;
    let good = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "_-".contains(c);
    assert!(name.starts_with(|c: char| c.is_ascii_lowercase()), "{name:?}");
    assert!(name.len() <= 64 && name.chars().all(good), "{name:?}");
    for (text, longest) in [(version, 32), (description, 256)] {
        assert!(text.len() <= longest && !text.contains(char::is_control), "{text:?}");
    }
    // It panics where the macro would not compile.
    let _ = RawManifest::new(name, version, description, *kind, *panic_abort, capabilities);
}

/// The layout written down a second time.
fn encode(manifest: &Manifest) -> Vec<u8> {
    let (major, minor) = manifest.api_version;
    let asked = manifest.capabilities.iter().fold(0, |bits, one| bits | *one as u32);
    let mut bytes = b"DROPSND\0".to_vec();
    bytes.extend(1_u32.to_le_bytes());
    bytes.extend(384_u32.to_le_bytes());
    bytes.extend(major.to_le_bytes());
    bytes.extend(minor.to_le_bytes());
    bytes.extend([manifest.kind as u8, u8::from(manifest.panic_abort), manifest.language as u8, 0]);
    bytes.extend(asked.to_le_bytes());
    bytes.extend([0; 4]);
    for (text, end) in
        [(&manifest.name, 96), (&manifest.version, 128), (&manifest.description, 384)]
    {
        bytes.extend(text.as_bytes());
        bytes.resize(end, 0);
    }
    bytes
}
