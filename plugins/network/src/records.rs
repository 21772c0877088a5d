//! The streams that the plugin declares.

use std::borrow::Cow;

use dropsonde_plugin_api::Record;

use crate::net_dev::Counts;

// Without OpenTelemetry names, since the interfaces have them: sums would count twice.
/// Traffic of all reported interfaces together, the loopback included; it falls when one of them
/// goes away.
#[derive(Debug, Record)]
pub(crate) struct Totals {
    /// Bytes sent.
    #[counter(unit = "By")]
    bytes_sent: u64,
    /// Bytes received.
    #[counter(unit = "By")]
    bytes_recv: u64,
    /// Packets sent.
    #[counter(unit = "{packet}")]
    packets_sent: u64,
    /// Packets received.
    #[counter(unit = "{packet}")]
    packets_recv: u64,
    /// Packets that could not be sent because of an error.
    #[counter(unit = "{error}")]
    errout: u64,
    /// Packets received with an error.
    #[counter(unit = "{error}")]
    errin: u64,
    /// Packets dropped instead of sent.
    #[counter(unit = "{packet}")]
    dropout: u64,
    /// Packets received and dropped.
    #[counter(unit = "{packet}")]
    dropin: u64,
}

/// Traffic of one network interface.
#[derive(Debug, Record)]
#[record(stream = "interfaces")]
pub(crate) struct Interface<'a> {
    /// Name of the interface.
    #[key(otel = "device")]
    interface: Cow<'a, str>,
    /// Bytes sent.
    #[counter(unit = "By", otel = "system.network.io", attributes(direction = "transmit"))]
    bytes_sent: u64,
    /// Bytes received.
    #[counter(unit = "By", otel = "system.network.io", attributes(direction = "receive"))]
    bytes_recv: u64,
    /// Packets sent.
    #[counter(
        unit = "{packet}",
        otel = "system.network.packets",
        attributes(direction = "transmit")
    )]
    packets_sent: u64,
    /// Packets received.
    #[counter(
        unit = "{packet}",
        otel = "system.network.packets",
        attributes(direction = "receive")
    )]
    packets_recv: u64,
    /// Packets that could not be sent because of an error.
    #[counter(
        unit = "{error}",
        otel = "system.network.errors",
        attributes(direction = "transmit")
    )]
    errout: u64,
    /// Packets received with an error.
    #[counter(unit = "{error}", otel = "system.network.errors", attributes(direction = "receive"))]
    errin: u64,
    /// Packets dropped instead of sent.
    #[counter(
        unit = "{packet}",
        otel = "system.network.dropped",
        attributes(direction = "transmit")
    )]
    dropout: u64,
    /// Packets received and dropped.
    #[counter(
        unit = "{packet}",
        otel = "system.network.dropped",
        attributes(direction = "receive")
    )]
    dropin: u64,
}

impl Totals {
    pub(crate) fn new(counts: &Counts) -> Self {
        Self {
            bytes_sent: counts.sent.bytes,
            bytes_recv: counts.received.bytes,
            packets_sent: counts.sent.packets,
            packets_recv: counts.received.packets,
            errout: counts.sent.errors,
            errin: counts.received.errors,
            dropout: counts.sent.dropped,
            dropin: counts.received.dropped,
        }
    }
}

impl<'a> Interface<'a> {
    pub(crate) fn new(interface: Cow<'a, str>, counts: &Counts) -> Self {
        Self {
            interface,
            bytes_sent: counts.sent.bytes,
            bytes_recv: counts.received.bytes,
            packets_sent: counts.sent.packets,
            packets_recv: counts.received.packets,
            errout: counts.sent.errors,
            errin: counts.received.errors,
            dropout: counts.sent.dropped,
            dropin: counts.received.dropped,
        }
    }
}
