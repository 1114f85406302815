//! What processes cost: processor time and memory of a program with all its children, from `/proc`.
//!
//! Also where they run: core 0 belongs to the program that is measured, core 1 to whoever asks and to the backend.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::thread::{CpuSet, sched_setaffinity};

/// The core of the program that is measured.
pub const PROXY_CORE: usize = 0;
/// The core of the load generator and of the backend.
pub const LOAD_CORE: usize = 1;

/// Binds the calling thread to one core.
///
/// # Errors
/// When the machine has no such core.
pub fn pin_thread(core: usize) -> Result<()> {
    let mut set = CpuSet::new();
    set.set(core);
    sched_setaffinity(None, &set).with_context(|| format!("cannot run on core {core}"))
}

/// A process and all that descend from it.
pub fn family(root: u32) -> BTreeSet<u32> {
    let mut children: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok())
        else {
            continue;
        };
        if let Some(stat) = stat_of(pid) {
            children.entry(stat.parent).or_default().push(pid);
        }
    }
    let mut found = BTreeSet::from([root]);
    let mut open = vec![root];
    while let Some(pid) = open.pop() {
        for child in children.get(&pid).into_iter().flatten() {
            if found.insert(*child) {
                open.push(*child);
            }
        }
    }
    found
}

/// User and system time that a process and its descendants have taken, all their threads counted. Accurate to a clock
/// tick (10 ms) a process.
///
/// # Errors
/// When the process is gone.
pub fn processor_time(root: u32) -> Result<Duration> {
    let mut ticks = 0;
    for pid in family(root) {
        match stat_of(pid) {
            Some(stat) => ticks += stat.ticks,
            None if pid == root => bail!("process {root} is gone"),
            None => {}
        }
    }
    let tick = rustix::param::clock_ticks_per_second();
    Ok(Duration::from_secs_f64(ticks as f64 / tick as f64))
}

/// Memory of a process and its descendants, in bytes: their proportional set size, which counts a page that several of
/// them share once.
///
/// # Errors
/// When the process is gone, or belongs to another user.
pub fn memory_bytes(root: u32) -> Result<u64> {
    let mut bytes = 0;
    for pid in family(root) {
        let path = format!("/proc/{pid}/smaps_rollup");
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if pid == root => return Err(error).context(path),
            Err(_) => continue,
        };
        bytes += kibibytes_of(&text, "Pss:").with_context(|| format!("{path} has no Pss"))?;
    }
    Ok(bytes)
}

/// The most memory that a process alone has held, in bytes.
///
/// # Errors
/// When the process is gone.
pub fn peak_memory_bytes(pid: u32) -> Result<u64> {
    let path = format!("/proc/{pid}/status");
    let text = fs::read_to_string(&path).with_context(|| path.clone())?;
    kibibytes_of(&text, "VmHWM:").with_context(|| format!("{path} has no VmHWM"))
}

/// The bytes of a line such as `Pss:   12 kB`.
fn kibibytes_of(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    let kibibytes: u64 = line.trim().strip_suffix(" kB")?.trim().parse().ok()?;
    Some(kibibytes << 10)
}

#[derive(Debug, PartialEq)]
struct Stat {
    parent: u32,
    ticks: u64,
}

fn stat_of(pid: u32) -> Option<Stat> {
    parse_stat(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// Fields 4, 14 and 15 of proc_pid_stat(5), counted behind the name, which may hold anything.
fn parse_stat(text: &str) -> Option<Stat> {
    let (_, rest) = text.rsplit_once(')')?;
    let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
    let number = |at: usize| fields.get(at)?.parse::<u64>().ok();
    Some(Stat {
        parent: u32::try_from(number(1)?).ok()?,
        ticks: number(11)? + number(12)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stat_line_is_read_behind_its_name() {
        let line = "7 (a (b) c) S 3 7 7 0 -1 4194560 1 2 3 4 150 50 9 9 20 0 1 0 100 0 0";
        let expected = Stat {
            parent: 3,
            ticks: 200,
        };
        assert_eq!(parse_stat(line), Some(expected));
        assert_eq!(parse_stat("7 (x"), None);
    }

    #[test]
    fn a_line_of_proc_is_read() {
        assert_eq!(
            kibibytes_of("x\nRss:  9 kB\nPss:        12 kB\n", "Pss:"),
            Some(12 << 10)
        );
    }

    #[test]
    fn a_process_that_works_takes_time() {
        let own = std::process::id();
        let before = processor_time(own).unwrap();
        let mut sum = 0_u64;
        while processor_time(own).unwrap() < before + Duration::from_millis(30) {
            sum = std::hint::black_box(sum + 1);
        }
        assert!(memory_bytes(own).unwrap() > 100 << 10);
    }
}
