//! The bound on memory: the configured one, or that of the control group which this process runs in (cgroups(7)).

use std::fs;
use std::path::Path;

/// Where control groups are mounted.
const ROOT: &str = "/sys/fs/cgroup";
/// Version 1 has a number of this size where there is no limit.
const UNLIMITED: u64 = 1 << 60;

/// The least limit of the control groups that this process is in, in bytes, or None without one.
pub(crate) fn group_limit() -> Option<u64> {
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    limit_of(&groups, Path::new(ROOT))
}

/// `groups` is the content of `/proc/self/cgroup`, with one hierarchy a line: `ID:CONTROLLERS:PATH`.
fn limit_of(groups: &str, root: &Path) -> Option<u64> {
    let limits = groups.lines().flat_map(|line| {
        let mut parts = line.splitn(3, ':').skip(1);
        let (controllers, path) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        let (root, file) = match controllers {
            "" => (root.to_path_buf(), "memory.max"),
            _ if controllers.split(',').any(|name| name == "memory") => (root.join("memory"), "memory.limit_in_bytes"),
            _ => return Vec::new(),
        };
        // In a container the path may be that of the host, and not be there: the root is this group then.
        let own = root.join(path.trim_start_matches('/'));
        let above = own.ancestors().take_while(|folder| folder.starts_with(&root));
        above.filter_map(|folder| fs::read_to_string(folder.join(file)).ok()?.trim().parse().ok()).collect()
    });
    limits.filter(|limit| *limit < UNLIMITED).min()
}

/// Gives memory that is free, but kept by the allocator, back to the system.
#[cfg(target_env = "gnu")]
pub(crate) fn trim() {
    // SAFETY: it may be called at any time, from any thread.
    unsafe { libc::malloc_trim(0) };
}

/// Other allocators give memory back by themselves.
#[cfg(not(target_env = "gnu"))]
pub(crate) fn trim() {}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder of control groups with these files.
    fn limit(groups: &str, files: &[(&str, &str)]) -> Option<u64> {
        let root = std::env::temp_dir().join(format!("pylae-cgroup-{}-{}", std::process::id(), fastrand::u64(..)));
        for (path, content) in files {
            let path = root.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        let found = limit_of(groups, &root);
        let _ = fs::remove_dir_all(root);
        found
    }

    #[test]
    fn version_two_counts_with_the_groups_above() {
        let files = [("a/b/memory.max", "max\n"), ("a/memory.max", "1000\n"), ("memory.max", "5000\n")];
        assert_eq!(limit("0::/a/b\n", &files), Some(1000));
        assert_eq!(limit("0::/\n", &files), Some(5000));
        assert_eq!(limit("0::/a/b\n", &files[..1]), None);
    }

    #[test]
    fn version_one_has_a_folder_of_its_own() {
        let groups = "5:cpu,cpuacct:/x\n4:hugetlb,memory:/docker/77\n0::/\n";
        let file = "memory/memory.limit_in_bytes";
        assert_eq!(limit(groups, &[(file, "4096\n")]), Some(4096), "the path is that of the host");
        assert_eq!(limit(groups, &[("memory/docker/77/memory.limit_in_bytes", "2048"), (file, "4096")]), Some(2048));
        assert_eq!(limit(groups, &[(file, "9223372036854771712\n")]), None);
    }

    #[test]
    fn nonsense_is_no_limit() {
        assert_eq!(limit("", &[]), None);
        assert_eq!(limit("0\n1:memory\n::", &[("memory.max", "a lot")]), None);
    }
}
