//! A path as a word of a shell command.

use std::fmt::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// The path as a POSIX shell takes it, and as a terminal may show it. No option is made of it.
pub(super) fn quoted(path: &Path) -> String {
    let is_option = path.as_os_str().as_bytes().starts_with(b"-");
    let under_here = if is_option { Path::new(".").join(path) } else { path.to_owned() };
    let bytes = under_here.as_os_str().as_bytes();
    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"_-./,:=@%+".contains(byte);
    match std::str::from_utf8(bytes) {
        Ok(text) if !bytes.is_empty() && bytes.iter().all(is_plain) => text.to_owned(),
        Ok(text) if !text.contains(char::is_control) => {
            format!("'{}'", text.replace('\'', r"'\''"))
        }
        _ => escaped(bytes),
    }
}

/// In `$'…'`, which has escapes for what is no text.
fn escaped(bytes: &[u8]) -> String {
    let mut word = String::from("$'");
    for byte in bytes {
        match byte {
            b'\'' | b'\\' => word.extend(['\\', char::from(*byte)]),
            b' '..=b'~' => word.push(char::from(*byte)),
            _ => {
                let _ = write!(word, r"\{byte:03o}");
            }
        }
    }
    word.push('\'');
    word
}
