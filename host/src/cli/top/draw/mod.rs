//! What the terminal shows. Drawing reads the state and nothing else; every text that came from
//! outside goes through [`plain`], so that none is a command to the terminal.

mod collectors;
mod cpu;
mod frame;
mod opened;
mod panels;
mod style;

pub(super) use frame::frame;
pub(super) use style::Palette;

use crate::text::plain;
