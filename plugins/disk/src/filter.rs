//! Which mounts are shown.

use dropsonde_plugin_api::matches_pattern;

use crate::mounts::Mount;

/// The user's choice of mounts; see the settings.
#[derive(Debug)]
pub(crate) struct Filter {
    pub(crate) all: bool,
    pub(crate) include_fs: Vec<String>,
    pub(crate) exclude_fs: Vec<String>,
    pub(crate) include_mounts: Vec<String>,
    pub(crate) exclude_mounts: Vec<String>,
}

impl Filter {
    /// Whether nobody chose what is shown beyond what is left out.
    pub(crate) fn is_default(&self) -> bool {
        !self.all && self.include_fs.is_empty() && self.include_mounts.is_empty()
    }

    /// Whether the mount is shown. An `include` list replaces the default choice, and an
    /// `exclude` list has the last word.
    pub(crate) fn shows(&self, mount: &Mount, physical_types: &[&str]) -> bool {
        let is_named = !self.include_fs.is_empty() || !self.include_mounts.is_empty();
        let is_candidate = if is_named {
            matches_or_empty(&self.include_fs, &mount.fs_type)
                && matches_or_empty(&self.include_mounts, &mount.mount_point)
        } else if self.all {
            // To ask an automount point for its space would mount it.
            mount.fs_type != "autofs"
        } else {
            is_physical(mount, physical_types)
        };
        is_candidate
            && !matches_any(&self.exclude_fs, &mount.fs_type)
            && !matches_any(&self.exclude_mounts, &mount.mount_point)
    }
}

/// On a device; or the root, which in a container is an overlay and in a live system a tmpfs.
fn is_physical(mount: &Mount, physical_types: &[&str]) -> bool {
    let has_device = !mount.device.is_empty() && mount.device != "none";
    mount.mount_point == "/" || has_device && physical_types.contains(&mount.fs_type.as_str())
}

fn matches_or_empty(patterns: &[String], text: &str) -> bool {
    patterns.is_empty() || matches_any(patterns, text)
}

fn matches_any(patterns: &[String], text: &str) -> bool {
    patterns.iter().any(|pattern| matches_pattern(pattern, text))
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Arc;

    use super::*;

    fn mount(mount_point: &str, device: &str, fs_type: &str) -> Mount {
        Mount {
            path: Arc::from(Path::new(mount_point)),
            mount_point: mount_point.into(),
            device: device.into(),
            fs_type: fs_type.into(),
            is_prompt: false,
        }
    }

    fn shown(filter: &Filter) -> Vec<String> {
        let mounts = [
            mount("/", "overlay", "overlay"),
            mount("/proc", "proc", "proc"),
            mount("/data", "/dev/sdb1", "xfs"),
            mount("/data/old", "tank/old", "zfs"),
            mount("/net", "systemd-1", "autofs"),
            mount("/var/lib/docker/x", "overlay", "overlay"),
            mount("/odd", "none", "ext4"),
        ];
        let shown = mounts.iter().filter(|mount| filter.shows(mount, &["ext4", "xfs", "zfs"]));
        shown.map(|mount| mount.mount_point.clone()).collect()
    }

    fn filter() -> Filter {
        Filter {
            all: false,
            include_fs: Vec::new(),
            exclude_fs: Vec::new(),
            include_mounts: Vec::new(),
            exclude_mounts: Vec::new(),
        }
    }

    #[test]
    fn by_default_physical_file_systems_and_the_root_are_shown() {
        assert_eq!(shown(&filter()), ["/", "/data", "/data/old"]);
    }

    #[test]
    fn all_shows_everything_but_automount_points() {
        let all = Filter { all: true, ..filter() };
        let expected = ["/", "/proc", "/data", "/data/old", "/var/lib/docker/x", "/odd"];
        assert_eq!(shown(&all), expected);
    }

    #[test]
    fn an_include_list_replaces_the_default_choice() {
        let types = Filter { include_fs: vec!["over*".into(), "proc".into()], ..filter() };
        assert_eq!(shown(&types), ["/", "/proc", "/var/lib/docker/x"]);
        let mounts = Filter { include_mounts: vec!["/data*".into()], ..filter() };
        assert_eq!(shown(&mounts), ["/data", "/data/old"]);
        let both = Filter { include_mounts: vec!["/*".into()], ..types };
        assert_eq!(shown(&both), ["/", "/proc", "/var/lib/docker/x"]);
    }

    #[test]
    fn an_exclude_list_has_the_last_word() {
        let filter = Filter {
            include_mounts: vec!["*".into()],
            exclude_mounts: vec!["/data/*".into(), "/".into()],
            exclude_fs: vec!["autofs".into(), "proc".into(), "overlay".into()],
            ..filter()
        };
        assert_eq!(shown(&filter), ["/data", "/odd"]);
    }
}
