//! Metrics of this process, from proc(5).

use std::fs;

use pylae_core::Instant;

/// Clock ticks per second in procfs: always 100 on Linux.
const TICKS: f64 = 100.0;

/// Metrics of this process. A value is None if it cannot be read.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Process {
    /// Seconds of processor time, user and system.
    pub(crate) cpu: Option<f64>,
    /// Bytes of memory in use.
    pub(crate) resident: Option<f64>,
    /// Open file descriptors.
    pub(crate) descriptors: Option<f64>,
    /// Most file descriptors that may be open.
    pub(crate) most_descriptors: Option<f64>,
    /// Threads.
    pub(crate) threads: Option<f64>,
}

impl Process {
    pub(crate) fn read() -> Self {
        let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
        #[expect(clippy::cast_precision_loss, reason = "a process has fewer than 2^52 of them")]
        let descriptors = open_descriptors().map(|count| count as f64);
        Self {
            cpu: cpu(&stat),
            resident: field(&status, "VmRSS:").map(|kilobytes| kilobytes * 1024.0),
            descriptors,
            most_descriptors: field(&limits, "Max open files"),
            threads: field(&status, "Threads:"),
        }
    }
}

/// Number of open descriptors.
pub(crate) fn open_descriptors() -> Option<u64> {
    // Since Linux 6.2 the size of the directory is their number, which spares reading it.
    let size = fs::metadata("/proc/self/fd").ok()?.len();
    // Without the descriptor that lists the directory.
    if size > 0 { Some(size) } else { Some(fs::read_dir("/proc/self/fd").ok()?.count().saturating_sub(1) as u64) }
}

/// Resident memory in bytes.
pub(crate) fn resident_memory() -> Option<u64> {
    let pages = fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = pages.split_ascii_whitespace().nth(1)?.parse().ok()?;
    Some(pages * rustix::param::page_size() as u64)
}

/// Converts the monotonic time `began` to seconds since the Unix epoch. `wall` is the wall time at `now`.
pub(crate) fn began_at(wall: f64, now: Instant, began: Instant) -> f64 {
    wall - now.since(began).as_secs_f64()
}

/// User and system time, the 14th and 15th field. The second field is a name in brackets, which may contain anything.
fn cpu(stat: &str) -> Option<f64> {
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace().skip(11);
    let (user, system): (f64, f64) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    Some((user + system) / TICKS)
}

/// The first number after `name` at the beginning of a line.
fn field(text: &str, name: &str) -> Option<f64> {
    let rest = text.lines().find_map(|line| line.strip_prefix(name))?;
    rest.split_ascii_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_processes_do_not_confuse() {
        let stat = "7 (a) b) (c) S 1 7 7 0 -1 4194304 100 0 0 0 250 50 0 0 20 0 1 0";
        assert_eq!(cpu(stat), Some(3.0));
        assert_eq!(cpu("nonsense"), None);
    }

    #[test]
    fn what_is_opened_and_touched_is_counted() {
        let files: Vec<_> = (0..100).map(|_| fs::File::open("/dev/null").unwrap()).collect();
        let memory = vec![1_u8; 64 << 20];
        let (many, much) = (open_descriptors().unwrap(), resident_memory().unwrap());
        assert!(many >= files.len() as u64 && much >= memory.len() as u64, "{many} {much}");
    }

    #[test]
    fn this_process_has_them_all() {
        let process = Process::read();
        assert!(process.cpu.is_some() && process.resident > Some(1e6) && process.threads >= Some(1.0), "{process:?}");
        assert!(process.descriptors > Some(2.0) && process.most_descriptors > process.descriptors, "{process:?}");
    }
}
