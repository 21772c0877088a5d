//! The author's error type.

use std::fmt;

/// Result of a plugin's functions.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a call failed, as the host shows it: one line, outermost cause first.
///
/// Any [`std::error::Error`] turns into one with `?`; [`Error::msg`] makes one from text.
pub struct Error {
    message: String,
    path: String,
}

impl Error {
    /// An error with a text of the author's own.
    pub fn msg(message: impl fmt::Display) -> Self {
        Self { message: message.to_string(), path: String::new() }
    }

    /// An error in the settings: `path` names the key (`exclude[0]`), and the host shows the
    /// user's file, line and column of it.
    pub fn setting(path: impl fmt::Display, message: impl fmt::Display) -> Self {
        Self { message: message.to_string(), path: path.to_string() }
    }

    /// Says what was being done: `context: cause`.
    #[must_use]
    pub fn context(mut self, context: impl fmt::Display) -> Self {
        self.message = format!("{context}: {}", self.message);
        self
    }

    /// The whole message.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The settings key at fault, or empty.
    pub fn path(&self) -> &str {
        &self.path
    }
}

impl<E: std::error::Error> From<E> for Error {
    fn from(error: E) -> Self {
        let mut message = error.to_string();
        let mut source = error.source();
        while let Some(cause) = source {
            message.push_str(": ");
            message.push_str(&cause.to_string());
            source = cause.source();
        }
        Self { message, path: String::new() }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
