//! What the HTTP API accepts connections from: TCP, or a Unix socket for this user alone.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use tokio::net::{TcpListener, TcpSocket, UnixListener, UnixSocket, UnixStream};

use crate::config::Listen;

/// Connections that wait to be accepted, as many as tokio's own.
const BACKLOG: u32 = 1024;

/// What the kernel holds for a client that does not read, bytes; it takes twice as much (tcp(7)).
/// By itself it would take megabytes, all of it out of date by the time that it is read.
const SEND_BUFFER: u32 = 128 << 10;

/// A bound socket.
pub(crate) enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener, SocketFile),
}

/// The name of a Unix socket; removed when dropped, unless another socket has taken the name.
pub(crate) struct SocketFile {
    path: PathBuf,
    /// Device and inode.
    identity: Option<(u64, u64)>,
}

impl Listener {
    pub(crate) async fn bind(listen: &Listen) -> io::Result<Self> {
        match listen {
            Listen::Tcp(address) => {
                let socket = match address {
                    SocketAddr::V4(_) => TcpSocket::new_v4()?,
                    SocketAddr::V6(_) => TcpSocket::new_v6()?,
                };
                socket.set_reuseaddr(true)?; // connections of before don't keep it from starting
                socket.set_send_buffer_size(SEND_BUFFER)?;
                socket.bind(*address)?;
                socket.listen(BACKLOG).map(Self::Tcp)
            }
            Listen::Unix(path) => {
                remove_stale(path).await?;
                let socket = UnixSocket::new_stream()?;
                // Before bind(2), so that there is no moment in which others may connect: the
                // name gets the mode of the socket, less the umask (unix(7)).
                rustix::fs::fchmod(&socket, rustix::fs::Mode::from_raw_mode(0o600))?;
                socket.bind(path)?;
                let file = SocketFile { path: path.clone(), identity: identity(path) };
                Ok(Self::Unix(socket.listen(BACKLOG)?, file))
            }
        }
    }

    /// As a person may open it; the port is the real one.
    pub(crate) fn url(&self) -> String {
        match self {
            Self::Tcp(listener) => match listener.local_addr() {
                Ok(address) => format!("http://{address}"),
                Err(error) => format!("http, at an unknown address: {error}"),
            },
            Self::Unix(_, file) => format!("unix:{}", file.path.display()),
        }
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if self.identity.is_some() && identity(&self.path) == self.identity {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Removes a socket that a host left behind when it was killed; one that somebody listens on,
/// and what is no socket, is left alone and an error.
async fn remove_stale(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Ok(meta) if meta.file_type().is_socket() => {}
        Ok(_) => {
            let text = "something is there that is no socket";
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, text));
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    }
    match UnixStream::connect(path).await {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(path),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        // A full queue too: somebody is there, and slow.
        Err(error) if error.kind() != io::ErrorKind::WouldBlock => Err(error),
        Ok(_) | Err(_) => {
            let text = "another process listens there";
            Err(io::Error::new(io::ErrorKind::AddrInUse, text))
        }
    }
}

fn identity(path: &Path) -> Option<(u64, u64)> {
    fs::symlink_metadata(path).ok().map(|meta| (meta.dev(), meta.ino()))
}
