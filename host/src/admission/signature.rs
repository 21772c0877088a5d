//! Detached signatures: ed25519 in the format of minisign(1), beside the plugin as
//! `NAME.so.minisig`. Source: <https://jedisct1.github.io/minisign/#signature-format>.

use std::fmt;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use minisign_verify::{PublicKey, Signature};

use super::TrustError;
use super::read::open;

/// A signature has four lines; minisign's own comments end at 8 KiB.
const MAX_SIGNATURE: u64 = 32 << 10;

/// The number by which minisign calls a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyId(u64);

impl fmt::Display for KeyId {
    /// As minisign prints it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016X}", self.0)
    }
}

impl KeyId {
    /// Keys and signatures both begin with two bytes of algorithm and eight of key id.
    fn of(base64: &str) -> Option<Self> {
        let head = STANDARD.decode(base64.get(..16)?).ok()?;
        Some(Self(u64::from_le_bytes(head.get(2..10)?.try_into().ok()?)))
    }
}

/// A public key whose signatures count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TrustedKey {
    id: KeyId,
    key: PublicKey,
}

impl TrustedKey {
    /// Parses the second line of a `.pub` file.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        Some(Self { id: KeyId::of(text)?, key: PublicKey::from_base64(text).ok()? })
    }
}

/// Where the signature of a plugin file lies.
pub(super) fn signature_path(plugin: &Path) -> PathBuf {
    let mut name = plugin.as_os_str().to_owned();
    name.push(".minisig");
    name.into()
}

/// Who signed these bytes; `None` if no signature lies beside the file. Who could write the
/// signature file does not matter: only a trusted key can make one that fits.
pub(super) fn signer(
    plugin: &Path,
    bytes: &[u8],
    keys: &[TrustedKey],
) -> Result<Option<KeyId>, TrustError> {
    let path = signature_path(plugin);
    let malformed = |cause: String| TrustError::Signature { path: path.clone(), cause };
    let mut text = String::new();
    match open(&path) {
        Ok((file, _)) => {
            let read = file.take(MAX_SIGNATURE).read_to_string(&mut text);
            read.map_err(|error| malformed(error.to_string()))?;
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(malformed(error.to_string())),
    }
    let signature = Signature::decode(&text).map_err(|error| malformed(error.to_string()))?;
    let id = text.lines().nth(1).and_then(KeyId::of);
    let id = id.ok_or_else(|| malformed("it has no key id".to_owned()))?;
    // A key id is no secret and may be there twice: each key that has it is tried.
    let mut candidates = keys.iter().filter(|key| key.id == id).peekable();
    if candidates.peek().is_none() {
        return Err(TrustError::WrongKey(id));
    }
    // Older minisign signs the bytes themselves, not their hash: as good, since all are here.
    let allow_legacy = true;
    if candidates.any(|key| key.key.verify(bytes, &signature, allow_legacy).is_ok()) {
        Ok(Some(id))
    } else {
        Err(TrustError::Tampered { path, id })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of minisign's own page.
    const KEY: &str = "RWQf6LRCGA9i53mlYecO4IzT51TGPpvWucNSCh1CBM0QTaLn73Y7GFO3";
    const SIGNATURE: &str = "untrusted comment: signature from minisign secret key
RUQf6LRCGA9i559r3g7V1qNyJDApGip8MfqcadIgT9CuhV3EMhHoN1mGTkUidF/z7SrlQgXdy8ofjb7bNJJylDOocrCo8KLzZwo=
trusted comment: timestamp:1633700835\tfile:test\tprehashed
wLMDjy9FLAuxZ3q4NlEvkgtyhrr0gtTu6KC4KBJdITbbOeAi1zBIYo0v4iTgt8jJpIidRJnp94ABQkJAgAooBQ==";

    #[test]
    fn a_key_is_called_as_minisign_calls_it() {
        let key = TrustedKey::parse(&format!(" {KEY}\n")).unwrap();
        assert_eq!(key.id.to_string(), "E7620F1842B4E81F");
    }

    #[test]
    fn what_is_no_public_key_is_none() {
        let secret_or_other = [
            "",
            "RW",
            "untrusted comment: minisign public key",
            &KEY[..KEY.len() - 4],
            "RWQf6LRCGA9i53mlYecO4IzT51TGPpvWucNSCh1CBM0QTaLn73Y7GFO3AAAA",
            "äääääääääääääääääääääääääääääääääääääääääääääääääääääääää",
        ];
        for text in secret_or_other {
            assert_eq!(TrustedKey::parse(text), None, "{text}");
        }
    }

    #[test]
    fn only_a_whole_signature_over_these_bytes_by_a_trusted_key_counts() {
        let directory = tempfile::tempdir().unwrap();
        let plugin = directory.path().join("a.so");
        let path = signature_path(&plugin);
        let key = TrustedKey::parse(KEY).unwrap();
        let id = key.id;
        let check = |bytes: &[u8], keys: &[TrustedKey]| signer(&plugin, bytes, keys);
        assert_eq!(check(b"test", std::slice::from_ref(&key)), Ok(None));

        std::fs::write(&path, SIGNATURE).unwrap();
        assert_eq!(check(b"test", std::slice::from_ref(&key)), Ok(Some(id)));
        let tampered = Err(TrustError::Tampered { path: path.clone(), id });
        assert_eq!(check(b"tesT", std::slice::from_ref(&key)), tampered);
        assert_eq!(check(b"test", &[]), Err(TrustError::WrongKey(id)));

        // The comment is signed too.
        std::fs::write(&path, SIGNATURE.replace("file:test", "file:best")).unwrap();
        assert_eq!(check(b"test", std::slice::from_ref(&key)), tampered);

        for damaged in ["", "nonsense", &SIGNATURE[..100], &SIGNATURE[..SIGNATURE.len() - 8]] {
            std::fs::write(&path, damaged).unwrap();
            let refused = check(b"test", std::slice::from_ref(&key));
            assert!(matches!(refused, Err(TrustError::Signature { .. })), "{refused:?}");
        }
    }
}
