//! Finds the memory that this process may use. The kernel's files go in. The memory of the machine comes out, or the
//! lowest limit of the process's control groups if that is less.

use std::fs::read_to_string;
use std::path::{Component, Path, PathBuf};

use super::TOTAL_MIN;

/// The divisor that gives the default total. The rest of the memory is for code, compiled components, unused memory in
/// the allocator, and the process that compiles a component.
const DEFAULT_DIVISOR: u64 = 2;

/// Returns the default number of bytes that the attempts of a worker may hold together.
pub fn default_total() -> u64 {
    total_of(limit(Path::new("/")))
}

/// Returns the default total for this limit. If no limit is known, returns [`TOTAL_MIN`].
fn total_of(limit: Option<u64>) -> u64 {
    (limit.unwrap_or_default() / DEFAULT_DIVISOR).max(TOTAL_MIN)
}

/// Returns the memory of the machine, or the lowest limit of this process's control groups if that is less. Reads the
/// kernel's files below `root`.
fn limit(root: &Path) -> Option<u64> {
    let groups = read_to_string(root.join("proc/self/cgroup")).unwrap_or_default();
    let of_groups = groups.lines().filter_map(|line| of_group(root, line));
    of_groups.chain(of_machine(root)).min()
}

fn of_machine(root: &Path) -> Option<u64> {
    let text = read_to_string(root.join("proc/meminfo")).ok()?;
    let total = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = total.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1 << 10)
}

/// Returns the lowest limit of a control group and its parents. `line` has the form `ID:CONTROLLERS:PATH`: see
/// cgroups(7). In a container, this can be a path outside the container. If so, its folders do not exist here, and only
/// the root of the groups is read.
fn of_group(root: &Path, line: &str) -> Option<u64> {
    let mut parts = line.splitn(3, ':').skip(1);
    let (controllers, path) = (parts.next()?, parts.next()?);
    let mounted = root.join("sys/fs/cgroup");
    let (mounted, files) = if controllers.is_empty() {
        // Above `memory.high`, the kernel slows the process down and takes memory pages away from it.
        (mounted, &["memory.max", "memory.high"][..])
    } else if controllers.split(',').any(|name| name == "memory") {
        (mounted.join("memory"), &["memory.limit_in_bytes"][..])
    } else {
        return None;
    };
    let names: PathBuf = Path::new(path)
        .components()
        .filter(|part| matches!(part, Component::Normal(_)))
        .collect();
    let groups = names.ancestors().map(|group| mounted.join(group));
    let limits = groups.flat_map(|group| files.iter().filter_map(move |file| number(&group.join(file))));
    limits.min()
}

/// Reads a limit. Returns `None` for `max`. Control groups of version 1 have a huge number in place of `max`.
fn number(path: &Path) -> Option<u64> {
    read_to_string(path).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const MIB: u64 = 1 << 20;
    const GIB: u64 = 1 << 30;

    /// Returns the limit on a machine with 8 GiB that also has these files.
    fn limit_with(files: &[(&str, &str)]) -> Option<u64> {
        let root = tempfile::tempdir().unwrap();
        let machine = (
            "proc/meminfo",
            "MemTotal:        8388608 kB\nMemFree:           1024 kB\n",
        );
        for (name, text) in files.iter().chain([&machine]) {
            let path = root.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        limit(root.path())
    }

    #[test]
    fn without_control_groups_it_is_the_machine() {
        assert_eq!(limit_with(&[]), Some(8 * GIB));
        assert_eq!(limit_with(&[("proc/self/cgroup", "0::/\n")]), Some(8 * GIB));
        assert_eq!(
            limit_with(&[("proc/self/cgroup", "nonsense\n::\n")]),
            Some(8 * GIB)
        );
        assert_eq!(limit(Path::new("/no/such/root")), None);
    }

    #[test]
    fn version_2_has_the_least_of_a_group_and_those_above() {
        let of = |max: &str, above: &str, high: &str| {
            limit_with(&[
                ("proc/self/cgroup", "0::/pods/one\n"),
                ("sys/fs/cgroup/pods/one/memory.max", max),
                ("sys/fs/cgroup/pods/memory.max", above),
                ("sys/fs/cgroup/pods/one/memory.high", high),
            ])
        };
        assert_eq!(of("536870912\n", "max\n", "max\n"), Some(512 * MIB));
        assert_eq!(of("max\n", "1073741824\n", "max\n"), Some(GIB));
        assert_eq!(of("536870912\n", "268435456\n", "max\n"), Some(256 * MIB));
        assert_eq!(of("536870912\n", "max\n", "134217728\n"), Some(128 * MIB));
        assert_eq!(of("max\n", "max\n", "max\n"), Some(8 * GIB));
        // This limit is larger than the machine's memory.
        assert_eq!(of("99999999999999\n", "max\n", "max\n"), Some(8 * GIB));
        assert_eq!(of("what?\n", "", "max\n"), Some(8 * GIB));
    }

    #[test]
    fn version_2_in_a_container_of_its_own_namespace() {
        for path in ["/", "/../../elsewhere", "/kubepods/of/the/host"] {
            let group = format!("0::{path}\n");
            let found = limit_with(&[
                ("proc/self/cgroup", &group),
                ("sys/fs/cgroup/memory.max", "536870912\n"),
            ]);
            assert_eq!(found, Some(512 * MIB), "{path}");
        }
    }

    #[test]
    fn version_1_has_a_hierarchy_for_memory() {
        let groups = "12:cpu,cpuacct:/docker/ab:c\n5:memory:/docker/ab:c\n1:name=systemd:/docker/ab:c\n";
        let of = |name: &str, bytes: &str| {
            let files = [
                ("proc/self/cgroup", groups),
                (name, bytes),
                (
                    "sys/fs/cgroup/cpu,cpuacct/docker/ab:c/memory.limit_in_bytes",
                    "1\n",
                ),
            ];
            limit_with(&files)
        };
        let group = "sys/fs/cgroup/memory/docker/ab:c/memory.limit_in_bytes";
        assert_eq!(of(group, "536870912\n"), Some(512 * MIB));
        assert_eq!(of(group, "9223372036854771712\n"), Some(8 * GIB));
        let seen_from_inside = "sys/fs/cgroup/memory/memory.limit_in_bytes";
        assert_eq!(of(seen_from_inside, "268435456\n"), Some(256 * MIB));
    }

    #[test]
    fn both_versions_at_once() {
        let found = limit_with(&[
            ("proc/self/cgroup", "3:hugetlb,memory:/a\n0::/a\n"),
            ("sys/fs/cgroup/memory/a/memory.limit_in_bytes", "536870912\n"),
        ]);
        assert_eq!(found, Some(512 * MIB));
    }

    #[test]
    fn a_half_is_for_attempts_and_never_less_than_the_least() {
        assert_eq!(total_of(Some(GIB)), 512 * MIB);
        assert_eq!(total_of(Some(1)), TOTAL_MIN);
        assert_eq!(total_of(None), TOTAL_MIN);
    }
}
