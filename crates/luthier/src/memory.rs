//! How much memory is left.

use std::fs;
use std::path::{Path, PathBuf};

/// Bytes that this process may still take without the machine or its control groups running out; `None`
/// where that is not known, as outside of Linux.
pub(crate) fn available() -> Option<u64> {
    let read = |path: &Path| fs::read_to_string(path).ok();
    [of_machine(&read), of_groups(&read)].into_iter().flatten().min()
}

type Read<'a> = &'a dyn Fn(&Path) -> Option<String>;

/// What the kernel reckons can be had without swapping.
fn of_machine(read: Read<'_>) -> Option<u64> {
    let text = read(Path::new("/proc/meminfo"))?;
    let kilobytes = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    kilobytes.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

/// What the limits of this process's control group and of those around it leave.
fn of_groups(read: Read<'_>) -> Option<u64> {
    let groups = read(Path::new("/proc/self/cgroup"))?;
    let left = groups.lines().filter_map(|line| {
        let (_, rest) = line.split_once(':')?;
        let (controllers, path) = rest.split_once(':')?;
        match controllers {
            "" => Some(left_in(read, "/sys/fs/cgroup", path, ["memory.max", "memory.current"])),
            controllers if controllers.split(',').any(|name| name == "memory") => {
                let names = ["memory.limit_in_bytes", "memory.usage_in_bytes"];
                Some(left_in(read, "/sys/fs/cgroup/memory", path, names))
            }
            _ => None,
        }
    });
    left.flatten().min()
}

/// What is left in the group at `path` under `root` and in those around it, the least of them. In a
/// container the path may be one that is not to be seen; then the root is the container's own.
fn left_in(read: Read<'_>, root: &str, path: &str, [limit, usage]: [&str; 2]) -> Option<u64> {
    let folder = PathBuf::from(root).join(path.trim_start_matches('/'));
    let around = folder.ancestors().take_while(|folder| folder.starts_with(root));
    let left = around.filter_map(|folder| {
        let number = |name: &str| read(&folder.join(name))?.trim().parse::<u64>().ok();
        // Files that were read and can be dropped count as used.
        let stat = read(&folder.join("memory.stat")).unwrap_or_default();
        let cached = stat.lines().find_map(|line| line.strip_prefix("inactive_file "));
        let cached = cached.and_then(|bytes| bytes.trim().parse().ok()).unwrap_or(0);
        Some(number(limit)?.saturating_sub(number(usage)?.saturating_sub(cached)))
    });
    left.min()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[track_caller]
    fn check(files: &[(&str, &str)], expected: [Option<u64>; 2]) {
        let files: BTreeMap<&str, &str> = files.iter().copied().collect();
        let read = |path: &Path| files.get(path.to_str()?).map(|text| (*text).to_owned());
        assert_eq!([of_machine(&read), of_groups(&read)], expected);
    }

    #[test]
    fn nothing_is_known_without_files() {
        check(&[], [None, None]);
        check(&[("/proc/meminfo", "MemTotal: 5 kB\n"), ("/proc/self/cgroup", "junk")], [None; 2]);
    }

    #[test]
    fn the_machine_says_what_is_left() {
        let meminfo = "MemTotal:        8 kB\nMemAvailable:       6 kB\n";
        check(&[("/proc/meminfo", meminfo)], [Some(6144), None]);
    }

    #[test]
    fn groups_leave_the_least_of_their_limits() {
        let files = [
            ("/proc/self/cgroup", "0::/a/b\n"),
            ("/sys/fs/cgroup/a/b/memory.max", "max\n"),
            ("/sys/fs/cgroup/a/b/memory.current", "10\n"),
            ("/sys/fs/cgroup/a/memory.max", "1000\n"),
            ("/sys/fs/cgroup/a/memory.current", "900\n"),
            ("/sys/fs/cgroup/a/memory.stat", "anon 600\ninactive_file 250\n"),
            ("/sys/fs/cgroup/memory.max", "5000\n"),
            ("/sys/fs/cgroup/memory.current", "1000\n"),
        ];
        check(&files, [None, Some(350)]);
    }

    #[test]
    fn the_first_version_of_groups_is_read_too() {
        let files = [
            ("/proc/self/cgroup", "5:cpu:/\n4:memory,hugetlb:/elsewhere\n0::/\n"),
            ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "2000\n"),
            ("/sys/fs/cgroup/memory/memory.usage_in_bytes", "500\n"),
        ];
        check(&files, [None, Some(1500)]);
    }
}
