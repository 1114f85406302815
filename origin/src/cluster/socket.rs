//! The folder of the Unix socket: private to the server account, short enough for the kernel, and the same every time
//! where possible.

use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use nix::unistd::{geteuid, mkdtemp};

use super::account::{Account, AccountOrigin};
use super::error::ClusterError;
use super::folder::{first_closed_parent, hand_over, open_folder, read_small};

/// The port is only a part of the socket's name.
pub(crate) const PORT: u16 = 5432;
const FILE_NAME: &str = ".s.PGSQL.5432";
const LOCK_NAME: &str = ".s.PGSQL.5432.lock";
/// `sun_path` has 108 bytes, the closing zero included (unix(7)).
const PATH_BYTES_MAX: usize = 107;
/// The file in the data folder that names a socket folder elsewhere.
pub(crate) const NOTE: &str = "socket-folder";
const PREFIX: &str = "lacquer-";
/// The socket's folder in the data folder.
const HOME: &str = "run";

/// Where the socket is.
#[derive(Debug)]
pub(crate) struct SocketFolder {
    path: PathBuf,
    note: PathBuf,
    place: Place,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// In the data folder; stays.
    AtHome,
    /// In a shared folder; goes when the cluster stops.
    Elsewhere,
}

impl SocketFolder {
    /// Makes the folder: `<root>/run`, or a new one in the first of `elsewhere` that works.
    pub(crate) fn make(
        root: &Path,
        account: &Account,
        elsewhere: &[PathBuf],
    ) -> Result<SocketFolder, ClusterError> {
        let note = root.join(NOTE);
        forget_noted(&note, account.uid.as_raw());
        let home = root.join(HOME);
        let closed = match account.origin {
            AccountOrigin::Ours => None,
            AccountOrigin::LentByRoot => first_closed_parent(&home, account)?,
        };
        if closed.is_none() && is_usable(&home) {
            make_private(&home, account)
                .map_err(ClusterError::io("create the socket's folder", &home))?;
            return Ok(SocketFolder {
                path: home,
                note,
                place: Place::AtHome,
            });
        }
        let mut reason = format!(
            "{} is too long, has unusual characters or is closed to {}",
            home.display(),
            account.name
        );
        for parent in elsewhere {
            match make_elsewhere(parent, account, &note) {
                Ok(path) => {
                    return Ok(SocketFolder {
                        path,
                        note,
                        place: Place::Elsewhere,
                    });
                }
                Err(problem) => reason.push_str(&format!("; {}: {problem}", parent.display())),
            }
        }
        Err(ClusterError::NoSocketFolder { reason })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Removes what an earlier server left. Only while no server runs on the data.
    pub(crate) fn clear(&self) -> Result<(), ClusterError> {
        for name in [FILE_NAME, LOCK_NAME] {
            let path = self.path.join(name);
            match std::fs::remove_file(&path) {
                Err(problem) if problem.kind() != io::ErrorKind::NotFound => {
                    return Err(ClusterError::Io {
                        action: "remove the stale socket",
                        path,
                        source: problem,
                    });
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Leaves nothing behind in shared folders. Only while no server runs on the data.
    pub(crate) fn remove(&self) {
        if self.place == Place::Elsewhere
            && self.clear().is_ok()
            && std::fs::remove_dir(&self.path).is_ok()
        {
            let _ = std::fs::remove_file(&self.note);
        }
    }
}

/// Where the cluster in `root` that another process runs has its socket.
pub(crate) fn of_running(root: &Path) -> io::Result<PathBuf> {
    match read_small(&root.join(NOTE)) {
        Ok(elsewhere) => Ok(PathBuf::from(elsewhere)),
        Err(problem) if problem.kind() == io::ErrorKind::NotFound => Ok(root.join(HOME)),
        Err(problem) => Err(problem),
    }
}

/// Folders for the socket outside of the data folder, best first.
pub(crate) fn elsewhere() -> Vec<PathBuf> {
    let own = if geteuid().is_root() {
        Some(PathBuf::from("/run"))
    } else {
        std::env::var_os("XDG_RUNTIME_DIR")
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
    };
    own.into_iter().chain([PathBuf::from("/tmp")]).collect()
}

/// Short enough, and free of what has a meaning in `unix_socket_directories`, in a connection string or in a URL.
fn is_usable(folder: &Path) -> bool {
    let Some(text) = folder.to_str() else {
        return false;
    };
    let plain = text
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || b"/._-+".contains(&byte));
    plain && text.len() + 1 + FILE_NAME.len() <= PATH_BYTES_MAX
}

fn make_private(path: &Path, account: &Account) -> io::Result<()> {
    match DirBuilder::new().mode(0o700).create(path) {
        Err(problem) if problem.kind() != io::ErrorKind::AlreadyExists => return Err(problem),
        _ => {}
    }
    let folder = open_folder(path)?;
    folder.set_permissions(std::fs::Permissions::from_mode(0o700))?;
    hand_over(&folder, account)
}

/// A folder that nobody could have prepared: the kernel makes it new, under a name drawn at random.
fn make_elsewhere(parent: &Path, account: &Account, note: &Path) -> Result<PathBuf, String> {
    let template = parent.join(format!("{PREFIX}XXXXXX"));
    if !is_usable(&template) {
        return Err("the name is too long or unusual".to_owned());
    }
    if account.origin == AccountOrigin::LentByRoot
        && let Some(closed) =
            first_closed_parent(&template, account).map_err(|problem| problem.to_string())?
    {
        return Err(format!(
            "{} may not enter {}",
            account.name,
            closed.display()
        ));
    }
    let path = mkdtemp(&template).map_err(|problem| problem.to_string())?;
    let noted = std::fs::write(note, path.as_os_str().as_encoded_bytes())
        .and_then(|()| make_private(&path, account));
    match noted {
        Ok(()) => Ok(path),
        Err(problem) => {
            let _ = std::fs::remove_dir(&path);
            Err(problem.to_string())
        }
    }
}

/// Removes the folder that an origin which died had made elsewhere for the server account `owner`, if it is still that.
pub(crate) fn forget_noted(note: &Path, owner: u32) {
    let Ok(text) = read_small(note) else { return };
    let path = PathBuf::from(text);
    let named_by_us = path
        .file_name()
        .is_some_and(|name| name.to_string_lossy().starts_with(PREFIX));
    let owned_by_us = std::fs::symlink_metadata(&path).is_ok_and(|metadata| {
        metadata.is_dir() && [owner, geteuid().as_raw()].contains(&metadata.uid())
    });
    if path.is_absolute() && named_by_us && owned_by_us {
        for name in [FILE_NAME, LOCK_NAME] {
            let _ = std::fs::remove_file(path.join(name));
        }
        let _ = std::fs::remove_dir(&path);
    }
    let _ = std::fs::remove_file(note);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account() -> Account {
        let user = nix::unistd::User::from_uid(geteuid()).unwrap().unwrap();
        Account {
            name: user.name,
            uid: user.uid,
            gid: user.gid,
            origin: AccountOrigin::Ours,
        }
    }

    #[test]
    fn only_short_and_plain_paths_hold_a_socket() {
        fn check(path: String, expected: bool) {
            assert_eq!(is_usable(Path::new(&path)), expected, "{path}");
        }
        check("/data/run".into(), true);
        check(format!("/{}", "x".repeat(107 - 14 - 1)), true);
        check(format!("/{}", "x".repeat(107 - 14)), false);
        for unusual in [
            "/a b", "/a,b", "/a'b", "/a\"b", "/a\\b", "/ä", "/a%b", "/a@b",
        ] {
            check(unusual.into(), false);
        }
    }

    #[test]
    fn a_long_path_moves_the_socket_elsewhere_and_stopping_leaves_nothing_there() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("l".repeat(100));
        std::fs::create_dir(&root).unwrap();
        let shared = tempfile::Builder::new()
            .prefix("s")
            .tempdir_in("/tmp")
            .unwrap();
        let candidates = [PathBuf::from("/nonexistent"), shared.path().to_path_buf()];

        let abandoned = SocketFolder::make(&root, &account(), &candidates).unwrap();
        assert!(abandoned.path().starts_with(shared.path()));
        std::fs::write(abandoned.path().join(FILE_NAME), "").unwrap();
        let path = abandoned.path().to_path_buf();
        assert_eq!(path.metadata().unwrap().mode() & 0o777, 0o700);
        assert_eq!(of_running(&root).unwrap(), path);
        drop(abandoned);

        let next = SocketFolder::make(&root, &account(), &candidates).unwrap();
        assert!(
            !path.exists(),
            "the folder of an origin that died is removed"
        );
        next.remove();
        assert_eq!(of_running(&root).unwrap(), root.join("run"));
        assert_eq!(std::fs::read_dir(shared.path()).unwrap().count(), 0);
        assert!(!root.join(NOTE).exists());

        let nowhere = SocketFolder::make(&root, &account(), &candidates[..1])
            .unwrap_err()
            .to_string();
        assert!(nowhere.contains("/nonexistent"), "{nowhere}");
    }

    #[test]
    fn a_note_never_removes_a_folder_that_is_not_ours_to_remove() {
        let dir = tempfile::tempdir().unwrap();
        let precious = dir.path().join("precious");
        std::fs::create_dir(&precious).unwrap();
        std::fs::write(dir.path().join(NOTE), precious.to_str().unwrap()).unwrap();
        SocketFolder::make(dir.path(), &account(), &[]).unwrap();
        assert!(precious.exists());
    }
}
