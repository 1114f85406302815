//! The server's log: one file that it appends to through an inherited descriptor, and a few older ones.
//!
//! Not PostgreSQL's own collector, because that bounds the age of its files and not their size. Not a pipe to us,
//! because then the last lines of a server that outlives us would be lost, and those are the ones somebody wants.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::error::ClusterError;

/// Above this the log is moved aside.
const FILE_BYTES_MAX: u64 = 8 << 20;
/// How many older files are kept.
const OLDER_KEPT: u32 = 3;
/// What an error quotes of the log.
const TAIL_BYTES_MAX: u64 = 2048;

/// The log of one data folder.
#[derive(Debug)]
pub(crate) struct ServerLog {
    path: PathBuf,
    file: File,
    /// Where the current launch began to write.
    mark: u64,
}

impl ServerLog {
    pub(crate) fn open(root: &Path) -> Result<ServerLog, ClusterError> {
        let folder = root.join("log");
        std::fs::create_dir_all(&folder).map_err(ClusterError::io("create", &folder))?;
        let path = folder.join("postgresql.log");
        let file = OpenOptions::new()
            .read(true)
            .append(true)
            .create(true)
            .mode(0o600)
            .open(&path)
            .map_err(ClusterError::io("open the log", &path))?;
        let mut log = ServerLog {
            path,
            file,
            mark: 0,
        };
        log.mark();
        Ok(log)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Further lines belong to a new launch.
    pub(crate) fn mark(&mut self) {
        self.mark = self
            .file
            .metadata()
            .map(|metadata| metadata.len())
            .unwrap_or(0);
    }

    /// A descriptor for a child to write to.
    pub(crate) fn writer(&self) -> Result<File, ClusterError> {
        self.file
            .try_clone()
            .map_err(ClusterError::io("hand on the log", &self.path))
    }

    /// The last lines since [`ServerLog::mark`], for an error message.
    pub(crate) fn tail(&self) -> String {
        self.read_tail()
            .unwrap_or_else(|problem| format!("(cannot read it: {problem})"))
    }

    fn read_tail(&self) -> io::Result<String> {
        let mut file = File::open(&self.path)?;
        let length = file.metadata()?.len();
        let from = length
            .saturating_sub(TAIL_BYTES_MAX)
            .max(self.mark.min(length));
        file.seek(SeekFrom::Start(from))?;
        let mut bytes = Vec::new();
        file.take(TAIL_BYTES_MAX).read_to_end(&mut bytes)?;
        let text = String::from_utf8_lossy(&bytes);
        let whole = if from > self.mark {
            text.split_once('\n').map_or("", |(_, rest)| rest)
        } else {
            &text
        };
        let whole = whole.trim();
        Ok(if whole.is_empty() {
            "(nothing)".to_owned()
        } else {
            format!("\n{whole}")
        })
    }

    /// Moves the log aside once it is large. The server goes on appending to the same file, which is cut to nothing
    /// after it was copied: a line written in between is lost, and the disk is not filled.
    pub(crate) fn rotate(&mut self) -> io::Result<()> {
        if self.file.metadata()?.len() <= FILE_BYTES_MAX {
            return Ok(());
        }
        let older = |number: u32| self.path.with_extension(format!("log.{number}"));
        for number in (1..OLDER_KEPT).rev() {
            match std::fs::rename(older(number), older(number + 1)) {
                Err(problem) if problem.kind() != io::ErrorKind::NotFound => return Err(problem),
                _ => {}
            }
        }
        let mut from = File::open(&self.path)?;
        let mut to = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(older(1))?;
        io::copy(&mut from.by_ref().take(2 * FILE_BYTES_MAX), &mut to)?;
        self.file.set_len(0)?;
        self.mark = 0;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn the_tail_holds_only_this_launch_and_only_whole_lines() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = ServerLog::open(dir.path()).unwrap();
        let mut writer = log.writer().unwrap();
        writeln!(writer, "before").unwrap();
        log.mark();
        assert_eq!(log.tail(), "(nothing)");
        writeln!(writer, "after").unwrap();
        assert_eq!(log.tail(), "\nafter");
        for number in 0..1000 {
            writeln!(writer, "line {number}").unwrap();
        }
        let tail = log.tail();
        assert!(
            tail.starts_with("\nline ") && tail.ends_with("line 999") && tail.len() <= 2048,
            "{tail}"
        );
    }

    #[test]
    fn a_large_log_is_moved_aside_and_the_oldest_goes() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = ServerLog::open(dir.path()).unwrap();
        let mut writer = log.writer().unwrap();
        for round in 0..6u8 {
            log.rotate().unwrap();
            writer
                .write_all(&vec![b'a' + round; FILE_BYTES_MAX as usize + 1])
                .unwrap();
        }
        log.rotate().unwrap();
        writeln!(writer, "the end").unwrap();
        assert_eq!(log.tail(), "\nthe end");
        let mut names: Vec<_> = std::fs::read_dir(dir.path().join("log"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        assert_eq!(
            names,
            [
                "postgresql.log",
                "postgresql.log.1",
                "postgresql.log.2",
                "postgresql.log.3"
            ]
        );
        let newest = std::fs::read(dir.path().join("log/postgresql.log.1")).unwrap();
        assert_eq!(
            (newest[0], newest.len()),
            (b'f', FILE_BYTES_MAX as usize + 1)
        );
    }
}
