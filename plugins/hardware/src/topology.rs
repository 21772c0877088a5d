//! Which CPUs there are, and how they form cores and packages
//! (Documentation/admin-guide/cputopology.rst).

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};

use crate::cpuinfo::CpuInfo;
use crate::sysfs::{self, Entry};

/// The package of CPUs that are online and don't tell theirs, as in some virtual machines.
pub(crate) const UNKNOWN_PACKAGE: &str = "unknown";

/// The CPUs and what they form.
#[derive(Debug)]
pub(crate) struct Topology {
    /// By number.
    pub(crate) threads: Vec<Thread>,
    /// By number.
    pub(crate) cores: BTreeMap<u32, Core>,
    /// Each with its CPUs that are online, in the order of their first.
    pub(crate) packages: Vec<(String, Vec<u32>)>,
}

/// One CPU as the kernel sees it: a hardware thread.
#[derive(Debug)]
pub(crate) struct Thread {
    pub(crate) number: u32,
    /// Its directory in `/sys`, which may not be there.
    pub(crate) directory: PathBuf,
    pub(crate) online: Option<bool>,
    /// `None` while it is offline.
    pub(crate) package: Option<String>,
    /// The lowest number of the CPUs of its core.
    pub(crate) core: Option<u32>,
    pub(crate) numa_node: Option<String>,
}

/// One core.
#[derive(Debug)]
pub(crate) struct Core {
    pub(crate) package: String,
    pub(crate) die: Option<String>,
    pub(crate) cluster: Option<String>,
    pub(crate) core_id: Option<String>,
    pub(crate) threads: Vec<u32>,
}

impl Topology {
    /// Reads what `/sys` has, and fills in from `/proc/cpuinfo`.
    pub(crate) fn read(sys_root: &Path, info: &CpuInfo<'_>) -> Self {
        let directory = sys_root.join("devices/system/cpu");
        let mut cpus: BTreeMap<u32, PathBuf> =
            info.numbers().map(|number| (number, directory.join(format!("cpu{number}")))).collect();
        let in_sysfs = sysfs::numbered(&directory, "cpu");
        cpus.extend(in_sysfs.into_iter().map(|(number, Entry { path, .. })| (number, path)));
        let online = sysfs::text(directory.join("online"))
            .map(|list| sysfs::cpu_list(&list).into_iter().collect::<BTreeSet<_>>());

        let mut topology =
            Self { threads: Vec::new(), cores: BTreeMap::new(), packages: Vec::new() };
        let mut by_place = HashMap::new();
        for (number, directory) in cpus {
            let online = match &online {
                Some(online) => Some(online.contains(&number)),
                None => info.has(number).then_some(true),
            };
            topology.add(number, directory, online, info, &mut by_place);
        }
        topology
    }

    /// The CPU of this number.
    pub(crate) fn thread(&self, number: u32) -> Option<&Thread> {
        let at = self.threads.binary_search_by_key(&number, |thread| thread.number).ok()?;
        self.threads.get(at)
    }

    fn add(
        &mut self,
        number: u32,
        directory: PathBuf,
        online: Option<bool>,
        info: &CpuInfo<'_>,
        by_place: &mut HashMap<[Option<String>; 4], u32>,
    ) {
        let numa_node = sysfs::numbered(&directory, "node").pop().map(|(_, node)| node.name);
        if online == Some(false) {
            let thread = Thread { number, directory, online, package: None, core: None, numa_node };
            self.threads.push(thread);
            return;
        }
        let place = Place::read(&directory, number, info);
        let package = place.package.clone().unwrap_or_else(|| UNKNOWN_PACKAGE.to_owned());
        match self.packages.iter_mut().find(|(name, _)| *name == package) {
            Some((_, threads)) => threads.push(number),
            None => self.packages.push((package.clone(), vec![number])),
        }
        let core = place.lowest_sibling(&directory).or_else(|| {
            place.core_id.as_ref()?;
            let ids = [&place.package, &place.die, &place.cluster, &place.core_id];
            Some(*by_place.entry(ids.map(Clone::clone)).or_insert(number))
        });
        if let Some(core) = core {
            let Place { die, cluster, core_id, .. } = place;
            let package = package.clone();
            let new = || Core { package, die, cluster, core_id, threads: Vec::new() };
            self.cores.entry(core).or_insert_with(new).threads.push(number);
        }
        let package = Some(package);
        self.threads.push(Thread { number, directory, online, package, core, numa_node });
    }
}

/// Where a CPU is by the numbers that the firmware gave.
struct Place {
    package: Option<String>,
    die: Option<String>,
    cluster: Option<String>,
    core_id: Option<String>,
}

impl Place {
    fn read(directory: &Path, number: u32, info: &CpuInfo<'_>) -> Self {
        let topology = directory.join("topology");
        let id = |name: &str| sysfs::identifier(topology.join(name));
        let field = |name: &str| info.field(number, &[name]).map(str::to_owned);
        Self {
            package: id("physical_package_id").or_else(|| field("physical id")),
            die: id("die_id"),
            // 65535 is the -1 of architectures without clusters.
            cluster: id("cluster_id").filter(|cluster| cluster != "65535"),
            core_id: id("core_id").or_else(|| field("core id")),
        }
    }

    /// The lowest CPU of the core by what the kernel itself has made of the numbers: the same
    /// `core_id` may stand for a core in each cluster.
    fn lowest_sibling(&self, directory: &Path) -> Option<u32> {
        let list = |name: &str| sysfs::text(directory.join("topology").join(name));
        let siblings = list("core_cpus_list").or_else(|| list("thread_siblings_list"))?;
        sysfs::cpu_list(&siblings).into_iter().min()
    }
}
