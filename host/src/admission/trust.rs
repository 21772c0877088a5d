//! Whether a plugin file is to be trusted: who could have written it, and who signed it.

use std::fmt;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use thiserror::Error;

use super::signature::{KeyId, TrustedKey, signer};
use super::{Contents, Rejection};

/// What is asked of a plugin file beyond being intact.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Trust {
    /// Without any, signatures are not looked at.
    pub(crate) keys: Vec<TrustedKey>,
    /// Only signed files; there are keys then.
    pub(crate) require_signature: bool,
    /// Files that others could have written are admitted too, with a warning.
    pub(crate) allow_unsafe_permissions: bool,
}

/// A file that may be admitted.
pub(crate) struct Trusted {
    pub(crate) signed_by: Option<KeyId>,
    /// Others could have written it, and that is allowed.
    pub(crate) warning: Option<UnsafePermissions>,
}

/// Why a plugin file is not trusted.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum TrustError {
    /// Others could have written it, or put it there.
    #[error("{0}")]
    Permissions(UnsafePermissions),
    /// No signature lies beside it.
    #[error("is not signed, and plugins.require_signature is set; sign it (`minisign -Sm FILE`), and put the signature here: {path}", path = .0.display())]
    Unsigned(PathBuf),
    /// It was changed, or its signature was.
    #[error("does not fit its signature {path} by key {id}: one of the two was changed; copy both again from where they were signed", path = .path.display())]
    Tampered {
        /// The signature's file.
        path: PathBuf,
        /// The key that the signature names.
        id: KeyId,
    },
    /// Signed, by somebody else.
    #[error(
        "is signed by key {0}, which plugins.trusted_keys does not have; add that key if you trust its owner"
    )]
    WrongKey(KeyId),
    /// What lies there as its signature is none.
    #[error("has a signature {path} that can't be used: {cause}; sign the plugin again (`minisign -Sm FILE`)", path = .path.display())]
    Signature {
        /// The signature's file.
        path: PathBuf,
        /// What is wrong with it.
        cause: String,
    },
}

/// Somebody who is neither root nor this host's user could have put other bytes there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnsafePermissions {
    /// The file, or the directory that it lies in.
    path: PathBuf,
    is_directory: bool,
    mode: u32,
    host_user: u32,
    who: Who,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Who {
    Owner(u32),
    Group(u32),
    Others,
}

impl fmt::Display for UnsafePermissions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { path, mode, host_user, .. } = self;
        let (path, mode) = (path.display(), mode & 0o7777);
        if self.is_directory {
            write!(f, "lies in {path}, which ")?;
        }
        match self.who {
            Who::Owner(uid) => write!(
                f,
                "is owned by uid {uid}, neither root nor this host's user; look at it, then run `chown {host_user} {path}`"
            ),
            Who::Group(gid) => write!(
                f,
                "can be written by group {gid} (mode {mode:04o}), not this host's; look at it, then run `chmod go-w {path}`"
            ),
            Who::Others => write!(
                f,
                "can be written by others (mode {mode:04o}); look at it, then run `chmod go-w {path}`"
            ),
        }
    }
}

impl Trust {
    /// Checks what was read from `path`: the same bytes that are hashed and copied.
    pub(crate) fn check(&self, path: &Path, contents: &Contents) -> Result<Trusted, Rejection> {
        let warning = match unsafe_permissions(path, &contents.meta)? {
            Some(flaw) if !self.allow_unsafe_permissions => {
                return Err(TrustError::Permissions(flaw).into());
            }
            warning => warning,
        };
        let signed_by = match self.keys.as_slice() {
            [] => None,
            // One that is there must fit, whether it is required or not.
            keys => signer(path, &contents.bytes, keys)?,
        };
        if self.require_signature && signed_by.is_none() {
            return Err(TrustError::Unsigned(super::signature::signature_path(path)).into());
        }
        Ok(Trusted { signed_by, warning })
    }
}

/// The file's owner and mode, then those of the directory where it was found, and, for a link,
/// of the directory where its target lies. Who can write to a directory above can only put
/// another directory in place, and that is checked in its turn.
fn unsafe_permissions(
    path: &Path,
    meta: &fs::Metadata,
) -> Result<Option<UnsafePermissions>, Rejection> {
    let me = Identity::effective();
    // A bare name has no parent.
    let path = &std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let target = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    if let Some(who) = writer(meta.uid(), meta.gid(), meta.mode(), me) {
        return Ok(Some(flaw(target, false, meta, me, who)));
    }
    for file in [path, &target] {
        let Some(directory) = file.parent() else { continue };
        let meta = fs::metadata(directory).map_err(|error| Rejection::Read(error.to_string()))?;
        if let Some(who) = writer(meta.uid(), meta.gid(), meta.mode(), me) {
            return Ok(Some(flaw(directory.to_owned(), true, &meta, me, who)));
        }
    }
    Ok(None)
}

fn flaw(
    path: PathBuf,
    is_directory: bool,
    meta: &fs::Metadata,
    me: Identity,
    who: Who,
) -> UnsafePermissions {
    UnsafePermissions { path, is_directory, mode: meta.mode(), host_user: me.user, who }
}

#[derive(Debug, Clone, Copy)]
struct Identity {
    user: u32,
    group: u32,
}

impl Identity {
    fn effective() -> Self {
        Self {
            user: rustix::process::geteuid().as_raw(),
            group: rustix::process::getegid().as_raw(),
        }
    }
}

/// Who could write there, besides root and the host's user.
///
/// The host's own group may: under umask 002 each user has a group of their own, and all their
/// files can be written by it. (An access list shows as the group's bits, acl(5), so it is caught
/// as another group, but not where the group is the host's own.)
///
/// The sticky bit does not make a directory safe. It keeps others from replacing a file of
/// root's, not from adding a link to one that was never meant to run here.
fn writer(owner: u32, group: u32, mode: u32, me: Identity) -> Option<Who> {
    if owner != 0 && owner != me.user {
        Some(Who::Owner(owner))
    } else if mode & 0o002 != 0 {
        Some(Who::Others)
    } else if mode & 0o020 != 0 && group != me.group {
        Some(Who::Group(group))
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_root_the_host_s_user_and_its_own_group_may_write() {
        let me = Identity { user: 1000, group: 1000 };
        let rows = [
            (0, 0, 0o755, None),
            (1000, 1000, 0o644, None),
            (1000, 1000, 0o664, None), // umask 002
            (1000, 100, 0o644, None),
            (0, 1000, 0o775, None),
            (1000, 100, 0o664, Some(Who::Group(100))),
            (0, 0, 0o775, Some(Who::Group(0))),
            (1000, 1000, 0o646, Some(Who::Others)),
            (0, 0, 0o1777, Some(Who::Others)), // /tmp
            (0, 100, 0o666, Some(Who::Others)),
            (1001, 1000, 0o400, Some(Who::Owner(1001))),
            (65534, 65534, 0o777, Some(Who::Owner(65534))),
        ];
        for (owner, group, mode, expected) in rows {
            assert_eq!(writer(owner, group, mode, me), expected, "{owner}:{group} {mode:o}");
        }
    }

    #[test]
    fn the_refusal_is_one_line_with_the_fix() {
        let mut refusal = UnsafePermissions {
            path: "/p/a.so".into(),
            is_directory: false,
            mode: 0o100_666,
            host_user: 7,
            who: Who::Others,
        };
        assert_eq!(
            refusal.to_string(),
            "can be written by others (mode 0666); look at it, then run `chmod go-w /p/a.so`"
        );
        refusal.who = Who::Owner(5);
        assert_eq!(
            refusal.to_string(),
            "is owned by uid 5, neither root nor this host's user; look at it, then run `chown 7 /p/a.so`"
        );
        let directory = UnsafePermissions {
            path: "/p".into(),
            is_directory: true,
            who: Who::Group(9),
            ..refusal
        };
        assert_eq!(
            directory.to_string(),
            "lies in /p, which can be written by group 9 (mode 0666), not this host's; look at it, then run `chmod go-w /p`"
        );
    }
}
