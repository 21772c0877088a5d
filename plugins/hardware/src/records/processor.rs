use dropsonde_plugin_api::Record;

/// One package: what sits in one socket.
#[derive(Debug, Record)]
#[record(stream = "packages")]
pub(crate) struct Package {
    /// Number of the package by the firmware; `unknown` for CPUs that don't tell theirs.
    #[key]
    pub(crate) package: String,
    /// Its node in the graph.
    #[attribute]
    pub(crate) node: String,
    /// Who made it: on ARM by the code of the implementer.
    #[attribute(otel = "host.cpu.vendor.id")]
    pub(crate) vendor: Option<String>,
    /// Model; of several kinds of cores the first one's.
    #[attribute(otel = "host.cpu.model.name")]
    pub(crate) model: Option<String>,
    /// Family; on ARM the version of the architecture.
    #[attribute(otel = "host.cpu.family")]
    pub(crate) family: Option<String>,
    /// Number of the model within the family; on ARM the code of the part.
    #[attribute(otel = "host.cpu.model.id")]
    pub(crate) model_id: Option<String>,
    /// Stepping; on ARM variant and revision, as `r3p1`.
    #[attribute(otel = "host.cpu.stepping")]
    pub(crate) stepping: Option<String>,
    /// Version of the microcode.
    #[attribute]
    pub(crate) microcode: Option<String>,
    /// What it can do, by the kernel's names.
    #[attribute]
    pub(crate) flags: Vec<String>,
    /// Cores with a CPU that is online; null where cores are not known.
    #[gauge(unit = "{core}")]
    pub(crate) core_count: Option<usize>,
    /// CPUs, hardware threads, that are online.
    #[gauge(unit = "{cpu}")]
    pub(crate) thread_count: usize,
    /// Highest frequency of any of its cores.
    #[gauge(unit = "MHz")]
    pub(crate) max_mhz: Option<f64>,
}

/// One core with a CPU that is online.
#[derive(Debug, Record)]
#[record(stream = "cores")]
pub(crate) struct Core {
    /// The lowest number of its CPUs: firmware numbers cores too, but not each differently.
    #[key]
    pub(crate) core: u32,
    /// Its node in the graph.
    #[attribute]
    pub(crate) node: String,
    /// The package that it is in.
    #[attribute]
    pub(crate) package: String,
    /// Number of its die by the firmware.
    #[attribute]
    pub(crate) die: Option<String>,
    /// Number of its cluster by the firmware.
    #[attribute]
    pub(crate) cluster: Option<String>,
    /// Its number by the firmware; may stand for one core in each package, die or cluster.
    #[attribute]
    pub(crate) core_id: Option<String>,
    /// Its kind where a machine has several, by the kernel's name: `core` or `atom`.
    #[attribute]
    pub(crate) core_type: Option<String>,
    /// Model of its CPUs.
    #[attribute]
    pub(crate) model: Option<String>,
    /// The NUMA node that it is close to.
    #[attribute]
    pub(crate) numa_node: Option<String>,
    /// Its CPUs that are online.
    #[attribute]
    pub(crate) threads: Vec<String>,
    /// Lowest frequency that it can be set to.
    #[gauge(unit = "MHz")]
    pub(crate) min_mhz: Option<f64>,
    /// Highest frequency that it can be set to.
    #[gauge(unit = "MHz")]
    pub(crate) max_mhz: Option<f64>,
    /// Its speed in relation to the machine's fastest cores, which have 1.
    #[gauge(unit = "1")]
    pub(crate) capacity: Option<f64>,
}

/// One CPU as the kernel sees it: a hardware thread.
#[derive(Debug, Record)]
#[record(stream = "threads")]
pub(crate) struct Thread {
    /// Name of the CPU: `cpu0`.
    #[key]
    pub(crate) thread: String,
    /// Its node in the graph.
    #[attribute]
    pub(crate) node: String,
    /// Whether it is online.
    #[attribute]
    pub(crate) online: Option<bool>,
    /// Its package, while it is online.
    #[attribute]
    pub(crate) package: Option<String>,
    /// The lowest number of its core's CPUs, while it is online.
    #[attribute]
    pub(crate) core: Option<String>,
    /// The NUMA node that it is close to.
    #[attribute]
    pub(crate) numa_node: Option<String>,
}

/// One cache.
#[derive(Debug, Record)]
#[record(stream = "caches")]
pub(crate) struct Cache {
    /// Its level and the lowest number of its CPUs: `L1d:0`, `L3:0`.
    #[key]
    pub(crate) cache: String,
    /// Its node in the graph.
    #[attribute]
    pub(crate) node: String,
    /// Its level: `1`.
    #[attribute]
    pub(crate) level: String,
    /// What it holds: `data`, `instruction`, or `unified` for both.
    #[attribute]
    pub(crate) r#type: Option<String>,
    /// The CPUs that share it.
    #[attribute]
    pub(crate) threads: Vec<String>,
    /// Size.
    #[gauge(unit = "By")]
    pub(crate) size_bytes: Option<u64>,
    /// Size of a line.
    #[gauge(unit = "By")]
    pub(crate) line_bytes: Option<u64>,
    /// In how many places a line may lie.
    #[gauge(unit = "{way}")]
    pub(crate) ways: Option<u64>,
}
