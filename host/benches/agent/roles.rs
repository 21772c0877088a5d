//! What this program does when it is re-executed as a child: the least that a reference needs.

use std::fs::{self, File};
use std::hint::black_box;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

const ROLE_FLAG: &str = "--bench-role";

/// A role of a child.
#[derive(Clone, Copy)]
pub(crate) enum Role {
    /// Sends each byte back.
    Echo,
    /// Sends blocks of this size, as fast as they are taken.
    Stream(usize),
    /// Reads what the bundled collectors read, once a second.
    Reader,
    /// Starts the agent's kind of runtime and sleeps.
    Idle,
    /// Ends at once.
    Nothing,
}

/// A child, killed when dropped.
pub(crate) struct Other {
    child: Child,
    /// The other end of its standard input.
    pub(crate) socket: UnixStream,
}

impl Other {
    pub(crate) fn start(role: Role) -> Self {
        let (name, size) = match role {
            Role::Echo => ("echo", 0),
            Role::Stream(size) => ("stream", size),
            Role::Reader => ("reader", 0),
            Role::Idle => ("idle", 0),
            Role::Nothing => ("nothing", 0),
        };
        let (socket, theirs) = UnixStream::pair().unwrap();
        let child = Command::new("/proc/self/exe")
            .args([ROLE_FLAG, name, &size.to_string()])
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .spawn()
            .unwrap();
        Self { child, socket }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn wait(&mut self) {
        self.child.wait().unwrap();
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Plays the role and ends the process, if it was started for one.
pub(crate) fn enter_if_role() {
    let mut arguments = std::env::args().skip(1);
    if arguments.next().as_deref() != Some(ROLE_FLAG) {
        return;
    }
    let (name, size) = (arguments.next().unwrap(), arguments.next().unwrap());
    match name.as_str() {
        "echo" => echo(socket()),
        "stream" => stream(socket(), size.parse().unwrap()),
        "reader" => reader(),
        "idle" => crate::runtime().block_on(async {
            tokio::time::sleep(Duration::from_secs(3600)).await;
        }),
        _ => {}
    }
    std::process::exit(0);
}

fn socket() -> UnixStream {
    let stdin = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdin(), 3).unwrap();
    UnixStream::from(stdin)
}

fn echo(mut socket: UnixStream) {
    let mut byte = [0];
    while socket.read_exact(&mut byte).and_then(|()| socket.write_all(&byte)).is_ok() {}
}

fn stream(mut socket: UnixStream, size: usize) {
    let block = vec![7; size];
    while socket.write_all(&block).is_ok() {}
}

/// The files that the bundled collectors read, and the file systems that they ask.
const FILES: [&str; 7] = [
    "/proc/stat",
    "/proc/meminfo",
    "/proc/net/dev",
    "/proc/diskstats",
    "/proc/loadavg",
    "/proc/vmstat",
    "/proc/self/mounts",
];
const FILE_SYSTEMS: [&str; 3] = ["/", "/dev", "/dev/shm"];

/// The processes that are there.
pub(crate) fn pids() -> Vec<u32> {
    let entries = fs::read_dir("/proc").unwrap().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

/// Opens, reads and closes, and makes nothing of it.
pub(crate) fn read_files(buffer: &mut [u8]) {
    for path in FILES {
        let read = File::open(path).and_then(|mut file| file.read(buffer));
        black_box(read.unwrap_or(0));
    }
    for path in FILE_SYSTEMS {
        let _ = black_box(rustix::fs::statvfs(path));
    }
}

fn reader() {
    let mut buffer = vec![0; 64 << 10];
    loop {
        read_files(&mut buffer);
        for pid in pids() {
            let read = File::open(format!("/proc/{pid}/stat"));
            black_box(read.and_then(|mut file| file.read(&mut buffer)).unwrap_or(0));
        }
        std::thread::sleep(Duration::from_secs(1));
    }
}
