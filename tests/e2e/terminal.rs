//! A pseudo-terminal with a command on it, and what it shows.

use std::fs::File;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use dropsonde_tests::wait_for;
use rustix::fs::{OFlags, fcntl_setfl};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Termios, Winsize, tcgetattr, tcsetwinsize};

/// A command whose standard streams are a terminal that is its session's own. Killed when
/// dropped.
pub(crate) struct Terminal {
    master: Option<Arc<OwnedFd>>,
    /// Kept, so that what was written last can be read when the command has ended.
    slave: Option<File>,
    child: Child,
    shown: Arc<Mutex<vt100::Parser>>,
    before: Termios,
}

fn size(rows: u16, columns: u16) -> Winsize {
    Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 }
}

impl Terminal {
    /// Starts the command through setsid(1), which makes the terminal the controlling one of a
    /// new session and becomes the command.
    pub(crate) fn start(command: &Command, rows: u16, columns: u16) -> Self {
        let master =
            openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
        fcntl_setfl(&master, OFlags::RDWR | OFlags::NONBLOCK).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        tcsetwinsize(&master, size(rows, columns)).unwrap();
        let path = ptsname(&master, Vec::new()).unwrap().into_string().unwrap();
        // setsid(1) opens no terminal by itself; this process must not get one either.
        let flags = i32::try_from(OpenptFlags::NOCTTY.bits()).unwrap();
        let mut options = File::options();
        std::os::unix::fs::OpenOptionsExt::custom_flags(&mut options, flags);
        let slave = options.read(true).write(true).open(path).unwrap();
        let before = tcgetattr(&slave).unwrap();
        let stdio = || Stdio::from(slave.try_clone().unwrap());
        let mut setsid = Command::new("setsid");
        setsid.arg("--ctty").arg(command.get_program()).args(command.get_args());
        for (name, value) in command.get_envs() {
            setsid.env(name, value.unwrap());
        }
        setsid.env("TERM", "xterm-256color").stdin(stdio()).stdout(stdio()).stderr(stdio());
        let child = setsid.spawn().unwrap();
        let shown = Arc::new(Mutex::new(vt100::Parser::new(rows, columns, 0)));
        let master = Arc::new(master);
        read(Arc::downgrade(&master), shown.clone());
        Self { master: Some(master), slave: Some(slave), child, shown, before }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What stands on the screen.
    pub(crate) fn text(&self) -> String {
        self.shown.lock().unwrap().screen().contents()
    }

    /// Looks at the screen as the terminal has it.
    pub(crate) fn look<T>(&self, at: impl FnOnce(&vt100::Screen) -> T) -> T {
        at(self.shown.lock().unwrap().screen())
    }

    /// Waits until what is on the screen is as `probe` wants it.
    #[track_caller]
    pub(crate) fn until<T>(&self, what: &str, mut probe: impl FnMut(&str) -> Option<T>) -> T {
        let start = std::time::Instant::now();
        loop {
            let text = self.text();
            if let Some(found) = probe(&text) {
                return found;
            }
            assert!(start.elapsed() < dropsonde_tests::PATIENCE, "never {what}; it shows:\n{text}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Waits until this stands somewhere on the screen.
    #[track_caller]
    pub(crate) fn shows(&self, part: &str) {
        self.until(&format!("shown: `{part}`"), |text| text.contains(part).then_some(()));
    }

    /// Types.
    pub(crate) fn types(&self, keys: &str) {
        let master = self.master.as_ref().unwrap().try_clone().unwrap();
        File::from(master).write_all(keys.as_bytes()).unwrap();
    }

    /// Makes the terminal larger or smaller.
    pub(crate) fn resize(&self, rows: u16, columns: u16) {
        let mut shown = self.shown.lock().unwrap();
        shown.screen_mut().set_size(rows, columns);
        tcsetwinsize(self.master.as_ref().unwrap(), size(rows, columns)).unwrap();
    }

    /// The terminal goes away, as when its window is closed.
    pub(crate) fn hang_up(&mut self) {
        self.slave = None;
        self.master = None;
    }

    #[track_caller]
    pub(crate) fn ended(&mut self) -> ExitStatus {
        wait_for("the end of the command", || self.child.try_wait().unwrap())
    }

    /// Whether the terminal is as it was: its modes, its screen, its cursor.
    #[track_caller]
    pub(crate) fn is_restored(&self) {
        let now = tcgetattr(self.slave.as_ref().unwrap()).unwrap();
        let modes =
            |one: &Termios| (one.local_modes, one.input_modes, one.output_modes, one.control_modes);
        assert_eq!(modes(&now), modes(&self.before));
        self.until("restored", |_| {
            self.look(|screen| !screen.alternate_screen() && !screen.hide_cursor()).then_some(())
        });
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- on the terminal ---\n{}", self.text());
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Reads what the command writes, for as long as the terminal is there: a read that blocked would
/// keep it there.
fn read(master: Weak<OwnedFd>, shown: Arc<Mutex<vt100::Parser>>) {
    std::thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Some(master) = master.upgrade() {
            match rustix::io::read(&master, &mut buffer) {
                Ok(length) => shown.lock().unwrap().process(&buffer[..length]),
                Err(_) => {
                    drop(master);
                    std::thread::sleep(Duration::from_millis(5));
                }
            }
        }
    });
}
