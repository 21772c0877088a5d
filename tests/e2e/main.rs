//! The promises, shown on the real binary and real `.so` files.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a failed unwrap is a failed test

mod admission;
mod api;
mod bridges;
mod c_plugins;
mod chaos;
mod check;
mod cli;
mod compat;
mod configuration;
mod control;
mod dashboard;
mod debian;
mod debugging;
mod demand;
mod events;
mod examples;
mod faults;
mod floods;
mod graph;
mod guard;
mod history;
mod limits;
mod listen;
mod new;
mod nonsense;
mod otlp;
mod packages;
mod process;
mod prometheus;
mod psutil;
mod query;
mod reload;
mod sandbox;
mod signals;
mod soak;
mod stream;
mod systemd;
mod terminal;
mod threads;
mod top;
mod trust;
mod web_socket;
