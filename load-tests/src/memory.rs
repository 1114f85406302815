//! What a process holds, by the kernel's account.

use anyhow::{Context, Result};

/// Bytes of a process's memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    /// In memory now.
    pub resident_bytes: u64,
    /// The most that ever were.
    pub peak_bytes: u64,
}

impl Memory {
    pub fn of(pid: u32) -> Result<Memory> {
        let path = format!("/proc/{pid}/status");
        let status = std::fs::read_to_string(&path).with_context(|| format!("read {path}"))?;
        let bytes = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            let kibibytes =
                line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u64>().ok());
            kibibytes
                .map(|count| count << 10)
                .with_context(|| format!("{name} in {path}"))
        };
        Ok(Memory {
            resident_bytes: bytes("VmRSS:")?,
            peak_bytes: bytes("VmHWM:")?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_counted() {
        let before = Memory::of(std::process::id()).unwrap();
        let held = vec![1_u8; 32 << 20];
        let after = Memory::of(std::process::id()).unwrap();
        assert!(
            after.peak_bytes >= before.resident_bytes + (32 << 20),
            "{before:?} {after:?} {}",
            held[1]
        );
    }
}
