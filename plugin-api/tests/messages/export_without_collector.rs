//! A type is exported that is no collector.

use dropsonde_plugin_api::prelude::*;

struct Network;

export_plugin!(collector = Network, name = "network");

fn main() {}
