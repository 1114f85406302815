//! The data folder: what lies in it, who holds it, and whether PostgreSQL's user can reach it.
//!
//! ```text
//! <data_dir>/            ours (root's, or the user's)
//!   lock                 held by the origin as long as it lives; says its process id
//!   pgdata/              the database, the server account's, mode 0700; locked by the server and all its children
//!   pgdata.new-XXXXXX/   an initdb that has not finished
//!   log/                 ours: the server writes through a descriptor that it inherits
//!   run/                 the server account's, mode 0700: the socket
//!   socket-folder        where the socket is instead, when `run` will not do
//! ```
//!
//! Only `pgdata` and `run` belong to the server account, so that whoever runs as that account cannot lead root astray:
//! nothing in those two is opened through a symbolic link.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::fcntl::OFlag;
use nix::unistd::fchown;

use super::account::{Account, AccountOrigin};
use super::error::ClusterError;
use super::shim::FOLDER_FD;

/// A data folder that this process holds.
#[derive(Debug)]
pub(crate) struct DataFolder {
    root: PathBuf,
    /// **Invariant:** locked exclusively as long as this value lives.
    _lock: File,
}

impl DataFolder {
    /// Creates the folder where missing, and takes it.
    pub(crate) fn take(path: &Path) -> Result<DataFolder, ClusterError> {
        // Root's folder must be open to the server account; a user's is nobody else's business.
        let mode = if nix::unistd::geteuid().is_root() {
            0o755
        } else {
            0o700
        };
        DirBuilder::new()
            .recursive(true)
            .mode(mode)
            .create(path)
            .map_err(ClusterError::io("create the data folder", path))?;
        let root = path
            .canonicalize()
            .map_err(ClusterError::io("find the data folder", path))?;
        let lock_path = root.join("lock");
        let mut lock = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o644)
            .custom_flags(OFlag::O_NOFOLLOW.bits())
            .open(&lock_path)
            .map_err(ClusterError::io("open the lock file", &lock_path))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let pid = read_small(&lock_path)
                    .ok()
                    .and_then(|text| text.trim().parse().ok());
                return Err(ClusterError::InUse { folder: root, pid });
            }
            Err(TryLockError::Error(source)) => {
                return Err(ClusterError::Io {
                    action: "lock",
                    path: lock_path,
                    source,
                });
            }
        }
        lock.set_len(0)
            .and_then(|()| writeln!(lock, "{}", std::process::id()))
            .map_err(ClusterError::io("write the lock file", &lock_path))?;
        Ok(DataFolder { root, _lock: lock })
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    pub(crate) fn pgdata(&self) -> PathBuf {
        self.root.join("pgdata")
    }

    /// What the database's folder is like now.
    pub(crate) fn inspect(&self) -> Result<Contents, ClusterError> {
        let pgdata = self.pgdata();
        let metadata = match std::fs::symlink_metadata(&pgdata) {
            Ok(metadata) => metadata,
            Err(problem) if problem.kind() == io::ErrorKind::NotFound => {
                return Ok(Contents::Nothing);
            }
            Err(source) => {
                return Err(ClusterError::Io {
                    action: "look at",
                    path: pgdata,
                    source,
                });
            }
        };
        if !metadata.is_dir() {
            return Err(ClusterError::NotADatabase { folder: pgdata });
        }
        let version = pgdata.join("PG_VERSION");
        match read_small(&version).map(|text| text.trim().parse::<u32>()) {
            Ok(Ok(major)) => Ok(Contents::Database {
                major,
                owner: metadata.uid(),
            }),
            Ok(Err(_)) => Err(ClusterError::NotADatabase { folder: pgdata }),
            Err(problem) if problem.kind() == io::ErrorKind::NotFound => {
                // Only an empty folder may be replaced: it is how an operator hands us a mount point or a made folder.
                match std::fs::remove_dir(&pgdata) {
                    Ok(()) => Ok(Contents::Nothing),
                    Err(_) => Err(ClusterError::NotADatabase { folder: pgdata }),
                }
            }
            Err(source) => Err(ClusterError::Io {
                action: "read",
                path: version,
                source,
            }),
        }
    }
}

/// What `pgdata` holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Contents {
    Nothing,
    Database { major: u32, owner: u32 },
}

/// Opens a folder itself, not what a link of that name points to. The descriptor can carry a lock.
pub(crate) fn open_folder(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .custom_flags((OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW).bits())
        .open(path)
}

/// Reads a file of at most 4 KiB that the server account could have replaced: follows no link and waits for no pipe.
pub(crate) fn read_small(path: &Path) -> io::Result<String> {
    let file = OpenOptions::new()
        .read(true)
        .custom_flags((OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK).bits())
        .open(path)?;
    let mut text = String::new();
    file.take(4096).read_to_string(&mut text)?;
    Ok(text)
}

/// Gives an open file or folder to the server account.
pub(crate) fn hand_over(file: &File, account: &Account) -> io::Result<()> {
    match account.origin {
        AccountOrigin::Ours => Ok(()),
        AccountOrigin::LentByRoot => Ok(fchown(file, Some(account.uid), Some(account.gid))?),
    }
}

/// Puts a file of the server account's into a folder of its own, whole or not at all.
pub(crate) fn replace_file(
    folder: &Path,
    name: &str,
    text: &str,
    account: &Account,
) -> Result<(), ClusterError> {
    let path = folder.join(name);
    if read_small(&path).is_ok_and(|now| now == text) {
        return Ok(());
    }
    let new = folder.join(format!("{name}.new"));
    let write = || {
        match std::fs::remove_file(&new) {
            Err(problem) if problem.kind() != io::ErrorKind::NotFound => return Err(problem),
            _ => {}
        }
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&new)?;
        hand_over(&file, account)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        std::fs::rename(&new, &path)
    };
    write().map_err(ClusterError::io("write", &path))
}

/// How the server account names its database folder.
///
/// The plain path, where it may enter all parents. A folder below `/root`, say, it may not enter; then the path goes
/// through the descriptor that the shim hands on, which needs no permission on the parents.
pub(crate) fn path_for(account: &Account, folder: &Path) -> Result<PathBuf, ClusterError> {
    let blocked = match account.origin {
        AccountOrigin::Ours => None,
        AccountOrigin::LentByRoot => first_closed_parent(folder, account)?,
    };
    match blocked {
        None => Ok(folder.to_path_buf()),
        Some(_) if Path::new("/proc/self/fd").is_dir() => {
            Ok(PathBuf::from(format!("/proc/self/fd/{FOLDER_FD}")))
        }
        Some(folder) => Err(ClusterError::NotTraversable {
            folder,
            account: account.name.clone(),
        }),
    }
}

/// The first parent of `path` that `account` may not enter by its mode bits.
pub(crate) fn first_closed_parent(
    path: &Path,
    account: &Account,
) -> Result<Option<PathBuf>, ClusterError> {
    let groups = account.groups();
    let mut parents: Vec<&Path> = path.ancestors().skip(1).collect();
    parents.reverse();
    for parent in parents {
        let metadata = parent
            .metadata()
            .map_err(ClusterError::io("look at", parent))?;
        if !may_enter(
            metadata.mode(),
            metadata.uid(),
            metadata.gid(),
            account.uid.as_raw(),
            &groups,
        ) {
            return Ok(Some(parent.to_path_buf()));
        }
    }
    Ok(None)
}

fn may_enter(mode: u32, owner: u32, group: u32, uid: u32, groups: &[u32]) -> bool {
    let search = if owner == uid {
        0o100
    } else if groups.contains(&group) {
        0o010
    } else {
        0o001
    };
    mode & search != 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn permission_to_enter_goes_by_the_first_class_that_fits() {
        fn check(mode: u32, (owner, group): (u32, u32), expected: bool) {
            assert_eq!(
                may_enter(mode, owner, group, 70, &[71, 72]),
                expected,
                "{mode:o} {owner}:{group}"
            );
        }
        check(0o755, (0, 0), true);
        check(0o700, (0, 0), false);
        check(0o700, (70, 0), true);
        check(0o077, (70, 71), false);
        check(0o710, (0, 72), true);
        check(0o701, (0, 72), false);
        check(0o701, (0, 0), true);
        check(0o744, (0, 0), false);
    }

    #[test]
    fn a_second_taker_learns_who_holds_the_folder() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("deep/er");
        let first = DataFolder::take(&path).unwrap();
        let refused = DataFolder::take(&path).unwrap_err();
        let us = std::process::id();
        assert!(
            matches!(refused, ClusterError::InUse { pid: Some(pid), .. } if pid == us),
            "{refused:?}"
        );
        assert!(
            refused.to_string().contains(&format!("process {us}")),
            "{refused}"
        );
        drop(first);
        DataFolder::take(&path).unwrap();
    }

    #[test]
    fn contents_are_told_apart() {
        fn check(prepare: impl Fn(&Path), expected: Result<Contents, ()>) {
            let dir = tempfile::tempdir().unwrap();
            prepare(&dir.path().join("pgdata"));
            let folder = DataFolder::take(dir.path()).unwrap();
            let found = folder.inspect().map_err(|problem| {
                assert!(
                    matches!(problem, ClusterError::NotADatabase { .. }),
                    "{problem:?}"
                )
            });
            assert_eq!(found, expected);
        }
        let owner = nix::unistd::geteuid().as_raw();
        check(|_| {}, Ok(Contents::Nothing));
        check(
            |pgdata| std::fs::create_dir(pgdata).unwrap(),
            Ok(Contents::Nothing),
        );
        check(
            |pgdata| {
                std::fs::create_dir(pgdata).unwrap();
                std::fs::write(pgdata.join("PG_VERSION"), "15\n").unwrap();
            },
            Ok(Contents::Database { major: 15, owner }),
        );
        check(
            |pgdata| {
                std::fs::create_dir(pgdata).unwrap();
                std::fs::write(pgdata.join("thesis.txt"), "precious").unwrap();
            },
            Err(()),
        );
        check(|pgdata| std::fs::write(pgdata, "a file").unwrap(), Err(()));
        check(
            |pgdata| std::os::unix::fs::symlink("/etc", pgdata).unwrap(),
            Err(()),
        );
    }

    #[test]
    fn small_files_are_read_without_following_links() {
        let dir = tempfile::tempdir().unwrap();
        let (file, link) = (dir.path().join("file"), dir.path().join("link"));
        std::fs::write(&file, "x".repeat(5000)).unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        assert_eq!(read_small(&file).unwrap().len(), 4096);
        assert!(read_small(&link).is_err());
    }
}
