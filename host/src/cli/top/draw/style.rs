//! Colours, which only support what words say.

use ratatui::style::{Color, Modifier, Style};

use crate::cli::top::state::{badness, phase};
use crate::rpc::proto::Collector;

/// The colours in use.
#[derive(Debug, Clone, Copy)]
pub(in crate::cli::top) struct Palette {
    coloured: bool,
}

impl Palette {
    /// Without colours where `NO_COLOR` is set and not empty (no-color.org).
    pub(in crate::cli::top) fn of_environment() -> Self {
        let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self { coloured: !refused }
    }

    fn colour(self, colour: Color) -> Style {
        if self.coloured { Style::new().fg(colour) } else { Style::new() }
    }

    pub(super) fn good(self) -> Style {
        self.colour(Color::Green)
    }

    pub(super) fn warn(self) -> Style {
        self.colour(Color::Yellow)
    }

    pub(super) fn bad(self) -> Style {
        self.colour(Color::Red)
    }

    pub(super) fn title(self) -> Style {
        self.colour(Color::Cyan).add_modifier(Modifier::BOLD)
    }

    pub(super) fn faint(self) -> Style {
        Style::new().add_modifier(Modifier::DIM)
    }

    /// A share of what there is, 0 to 100.
    pub(super) fn share(self, percent: Option<f64>) -> Style {
        match percent {
            Some(percent) if percent >= 90.0 => self.bad(),
            Some(percent) if percent >= 70.0 => self.warn(),
            _ => self.good(),
        }
    }

    pub(super) fn phase(self, collector: &Collector) -> Style {
        match (phase(collector), badness(collector)) {
            ("running", _) => self.good(),
            ("disabled", _) => self.faint(),
            (_, 4..) => self.bad(),
            _ => self.warn(),
        }
    }
}
