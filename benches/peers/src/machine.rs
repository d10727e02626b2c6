//! What the machine says of itself and of this process. Linux only.

use std::fs;
use std::path::Path;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use serde::Serialize;

use crate::peer::Result;

/// What of this process's memory is backed by no file, in bytes.
pub(crate) fn anonymous_bytes() -> Result<usize> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
    let kib = line.ok_or("no RssAnon in /proc/self/status: this needs Linux")?;
    Ok(kib.trim().trim_end_matches(" kB").parse::<usize>()? << 10)
}

/// The time that a processor has spent on this thread.
pub(crate) fn thread_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

pub(crate) fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Blocks, not lengths: some files are sparse.
pub(crate) fn disk_bytes(dir: &Path) -> Result<u64> {
    use std::os::unix::fs::MetadataExt as _;
    let mut bytes = 0;
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        bytes +=
            if metadata.is_dir() { disk_bytes(&entry.path())? } else { metadata.blocks() * 512 };
    }
    Ok(bytes)
}

/// What a figure depends on.
#[derive(Serialize)]
pub(crate) struct Facts {
    pub(crate) kernel: String,
    pub(crate) cpu: String,
    pub(crate) cores: usize,
    pub(crate) memory_bytes: u64,
    pub(crate) huge_pages: String,
    pub(crate) shmem_huge_pages: String,
    pub(crate) filesystem: String,
    pub(crate) data_dir: String,
    pub(crate) compiler: String,
    /// Name and version of the crates that are compared.
    pub(crate) crates: Vec<(String, String)>,
}

/// Crates whose versions matter, of all that are locked.
const COMPARED: [&str; 13] = [
    "candystore",
    "fjall",
    "foldhash",
    "heed",
    "librocksdb-sys",
    "lmdb-master-sys",
    "lsm-tree",
    "redb",
    "rocksdb",
    "simd-r-drive",
    "sled",
    "zerocask",
    "memmap2",
];

impl Facts {
    pub(crate) fn gather(data_dir: &Path) -> Self {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default().trim().to_owned();
        let field = |text: &str, name: &str| {
            let line = text.lines().find(|line| line.starts_with(name));
            let value = line.and_then(|line| line.split_once(':')).map_or("", |(_, value)| value);
            value.trim().to_owned()
        };
        let memory = field(&read("/proc/meminfo"), "MemTotal");
        let kib: u64 = memory.trim_end_matches(" kB").parse().unwrap_or(0);
        Facts {
            kernel: read("/proc/sys/kernel/osrelease"),
            cpu: field(&read("/proc/cpuinfo"), "model name"),
            cores: cores(),
            memory_bytes: kib << 10,
            huge_pages: read("/sys/kernel/mm/transparent_hugepage/enabled"),
            shmem_huge_pages: read("/sys/kernel/mm/transparent_hugepage/shmem_enabled"),
            filesystem: filesystem(data_dir, &read("/proc/mounts")),
            data_dir: data_dir.display().to_string(),
            compiler: compiler(),
            crates: locked_crates(include_str!("../Cargo.lock")),
        }
    }
}

fn compiler() -> String {
    let output = std::process::Command::new("rustc").arg("--version").output();
    output
        .map_or_else(|_| "unknown".into(), |o| String::from_utf8_lossy(&o.stdout).trim().to_owned())
}

/// Of the longest mount point above `dir`.
fn filesystem(dir: &Path, mounts: &str) -> String {
    let fields = |line: &str| -> Option<(String, String)> {
        let mut fields = line.split(' ').skip(1);
        Some((fields.next()?.to_owned(), fields.next()?.to_owned()))
    };
    let above = mounts.lines().filter_map(fields).filter(|(point, _)| dir.starts_with(point));
    above.max_by_key(|(point, _)| point.len()).map_or_else(String::new, |(_, kind)| kind)
}

fn locked_crates(lock: &str) -> Vec<(String, String)> {
    let value = |line: &str, name: &str| {
        let value = line.strip_prefix(name)?.strip_prefix(" = ")?;
        Some(value.trim_matches('"').to_owned())
    };
    let mut crates = Vec::new();
    for package in lock.split("[[package]]").skip(1) {
        let name = package.lines().find_map(|line| value(line, "name"));
        let version = package.lines().find_map(|line| value(line, "version"));
        if let (Some(name), Some(version)) = (name, version)
            && COMPARED.contains(&name.as_str())
        {
            crates.push((name, version));
        }
    }
    crates
}
