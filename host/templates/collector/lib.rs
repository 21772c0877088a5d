//! How many TCP connections are in which state: `/proc/net/tcp` and `/proc/net/tcp6`
//! (proc_pid_net(5)).

use std::collections::BTreeMap;
use std::path::PathBuf;

use dropsonde_plugin_api::prelude::*;

/// What the user may set under `[collectors.NAME.settings]`.
#[settings]
struct Settings {
    /// Where procfs is mounted; a test gives a directory of its own.
    #[serde(default = "default_proc_root")]
    proc_root: PathBuf,
    /// Only connections of these local ports; of all if empty.
    #[serde(default)]
    ports: Vec<u16>,
}

fn default_proc_root() -> PathBuf {
    "/proc".into()
}

/// TCP connections in one state.
#[derive(Record)]
struct State {
    /// The state as ss(8) calls it.
    #[key(otel = "network.connection.state")]
    state: &'static str,
    /// Connections in this state.
    #[gauge(unit = "{connection}", otel = "system.network.connection.count")]
    connections: u64,
}

/// By their numbers, from 1 on: include/net/tcp_states.h.
const STATES: [&str; 12] = [
    "established",
    "syn_sent",
    "syn_recv",
    "fin_wait1",
    "fin_wait2",
    "time_wait",
    "close",
    "close_wait",
    "last_ack",
    "listen",
    "closing",
    "new_syn_recv",
];

struct Connections {
    tcp: KeptFile,
    tcp6: KeptFile,
    ports: Vec<u16>,
}

impl Collector for Connections {
    type Settings = Settings;
    type Streams = (State,);

    fn create(settings: Settings, _: Host) -> Result<Self> {
        if let Some(index) = settings.ports.iter().position(|port| *port == 0) {
            return Err(Error::setting(
                format_args!("ports[{index}]"),
                "no port is 0",
            ));
        }
        let net = settings.proc_root.join("net");
        let [tcp, tcp6] = ["tcp", "tcp6"].map(|file| KeptFile::new(net.join(file)));
        Ok(Self {
            tcp,
            tcp6,
            ports: settings.ports,
        })
    }

    fn collect(&mut self, out: &mut Batch) -> Result<()> {
        let mut counts: BTreeMap<usize, u64> = (1..=STATES.len()).map(|state| (state, 0)).collect();
        count(self.tcp.read_text()?, &self.ports, &mut counts, out);
        // A kernel without IPv6 has no such file: the rest is worth knowing all the same.
        match self.tcp6.read_text() {
            Ok(text) => count(text, &self.ports, &mut counts, out),
            Err(error) => out.partial(error),
        }
        STATES
            .iter()
            .zip(counts.values())
            .try_for_each(|(state, connections)| {
                out.push(State {
                    state,
                    connections: *connections,
                })
            })
    }
}

/// Adds the connections of one file. The line below the headings is
/// `0: 0100007F:1F90 00000000:0000 0A …`: number, local address and port, remote, state.
/// A line that can't be understood is reported; the others are worth knowing all the same.
fn count(text: &str, ports: &[u16], counts: &mut BTreeMap<usize, u64>, out: &mut Batch) {
    for line in text.lines().skip(1) {
        let Some((port, state)) = parse(line) else {
            out.partial(format_args!("not a connection: `{line}`"));
            continue;
        };
        if !ports.is_empty() && !ports.contains(&port) {
            continue;
        }
        match counts.get_mut(&state) {
            Some(count) => *count += 1,
            None => out.partial(format_args!("a state that is not known, {state}: `{line}`")),
        }
    }
}

/// Local port and state.
fn parse(line: &str) -> Option<(u16, usize)> {
    let mut fields = line.split_whitespace();
    let (_, port) = fields.nth(1)?.rsplit_once(':')?;
    let state = fields.nth(1)?;
    Some((
        u16::from_str_radix(port, 16).ok()?,
        usize::from_str_radix(state, 16).ok()?,
    ))
}

export_plugin!(collector = Connections);

#[cfg(test)]
mod tests;
