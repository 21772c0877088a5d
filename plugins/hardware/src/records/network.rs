use dropsonde_plugin_api::Record;

/// One network interface of the network namespace that `/sys` shows.
#[derive(Debug, Record)]
#[record(stream = "interfaces")]
pub(crate) struct Interface {
    /// Name of the interface.
    #[key]
    pub(crate) interface: String,
    /// Its node in the graph.
    #[attribute]
    pub(crate) node: String,
    /// What the kernel says of its type: `bridge`, `bond`, `vlan`, `vxlan`, `wlan`, `tap`,
    /// otherwise that of its link layer: `ethernet`, `loopback`, `infiniband`.
    #[attribute]
    pub(crate) r#type: Option<String>,
    /// Whether there is no device behind it.
    #[attribute]
    pub(crate) is_virtual: bool,
    /// Driver of the device.
    #[attribute]
    pub(crate) driver: Option<String>,
    /// Address of the device on its bus.
    #[attribute]
    pub(crate) device: Option<String>,
    /// The NUMA node that the device is close to.
    #[attribute]
    pub(crate) numa_node: Option<String>,
    /// Hardware address.
    #[attribute]
    pub(crate) mac: Option<String>,
    /// RFC 2863 state: `up`, `down`, `unknown`, `lowerlayerdown`, `dormant`.
    #[attribute]
    pub(crate) state: Option<String>,
    /// `full` or `half`; null unless the device is up.
    #[attribute]
    pub(crate) duplex: Option<String>,
    /// The bridge, bond or other interface that it is a port of.
    #[attribute]
    pub(crate) master: Option<String>,
    /// The interfaces that it lies on: ports, slaves, the link of a VLAN.
    #[attribute]
    pub(crate) lower: Vec<String>,
    /// How a bond uses its slaves.
    #[attribute]
    pub(crate) bond_mode: Option<String>,
    /// Number of a VLAN; only root can read it.
    #[attribute]
    pub(crate) vlan_id: Option<String>,
    /// What an administrator has written to it.
    #[attribute]
    pub(crate) alias: Option<String>,
    /// Largest packet.
    #[gauge(unit = "By")]
    pub(crate) mtu_bytes: Option<u64>,
    /// Speed of the link; null for a virtual interface, and unless the device is up.
    #[gauge(unit = "bit/s")]
    pub(crate) speed_bits_per_second: Option<u64>,
}
