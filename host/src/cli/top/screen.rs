//! The terminal, which is as it was when this is dropped.

use std::io;

use ratatui::DefaultTerminal;

use super::draw;
use super::state::State;

/// A terminal in raw mode, on its alternate screen, without a cursor.
pub(super) struct Screen {
    /// There until it is dropped.
    terminal: Option<DefaultTerminal>,
}

impl Screen {
    /// Takes the terminal. From here on a panic gives it back before its message is printed.
    pub(super) fn enter() -> io::Result<Self> {
        match ratatui::try_init() {
            Ok(terminal) => Ok(Self { terminal: Some(terminal) }),
            Err(error) => {
                let _ = ratatui::try_restore();
                Err(error)
            }
        }
    }

    /// Draws a frame, of the terminal's size as it is now. Blocks while the terminal takes
    /// nothing.
    pub(super) fn draw(&mut self, state: &State) -> io::Result<()> {
        if let Some(terminal) = &mut self.terminal {
            terminal.draw(|frame| draw::frame(frame, state))?;
        }
        Ok(())
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        if let Some(mut terminal) = self.terminal.take()
            && terminal.show_cursor().is_err()
        {
            // The terminal has gone. Its own drop would print that, to the same place, and panic.
            std::mem::forget(terminal);
        }
        let _ = ratatui::try_restore();
    }
}
