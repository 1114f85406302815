//! Who PostgreSQL runs as. It refuses to run as root, so root lends it an account.

use std::ffi::CString;
use std::path::Path;

use nix::unistd::{Gid, Uid, User, geteuid, getgrouplist};

use super::error::ClusterError;
use super::shim::RunAs;

/// The account of the server process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Account {
    pub(crate) name: String,
    pub(crate) uid: Uid,
    pub(crate) gid: Gid,
    pub(crate) origin: AccountOrigin,
}

/// Whether the server keeps our user or gets another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AccountOrigin {
    /// We are an ordinary user, and so is PostgreSQL.
    Ours,
    /// We are root; PostgreSQL is not.
    LentByRoot,
}

impl Account {
    /// The account for data in `folder` that belong to `owner` (`None`: there are no data yet).
    ///
    /// Data that are there decide: a cluster that was begun as `postgres` goes on as `postgres`.
    pub(crate) fn choose(folder: &Path, owner: Option<u32>) -> Result<Account, ClusterError> {
        let ours = geteuid();
        if ours.is_root() {
            Account::lent(folder, owner)
        } else {
            Account::own(ours, folder, owner)
        }
    }

    fn own(uid: Uid, folder: &Path, owner: Option<u32>) -> Result<Account, ClusterError> {
        let user = by_uid(uid)?;
        match owner {
            Some(owner) if owner != uid.as_raw() => Err(ClusterError::ForeignOwner {
                folder: folder.to_path_buf(),
                owner,
                account: user.name,
                remedy: "start as that user or as root, or choose another data folder".to_owned(),
            }),
            _ => Ok(Account::of(user, AccountOrigin::Ours)),
        }
    }

    fn lent(folder: &Path, owner: Option<u32>) -> Result<Account, ClusterError> {
        let user = match owner {
            Some(0) => {
                let account = standard_user()?.name;
                let remedy = format!(
                    "hand them over with: chown -R {account} {}",
                    folder.display()
                );
                return Err(ClusterError::ForeignOwner {
                    folder: folder.to_path_buf(),
                    owner: 0,
                    account,
                    remedy,
                });
            }
            Some(owner) => by_uid(Uid::from_raw(owner))?,
            None => standard_user()?,
        };
        Ok(Account::of(user, AccountOrigin::LentByRoot))
    }

    fn of(user: User, origin: AccountOrigin) -> Account {
        Account {
            name: user.name,
            uid: user.uid,
            gid: user.gid,
            origin,
        }
    }

    /// What the shim must do to become it.
    pub(crate) fn run_as(&self) -> Option<RunAs> {
        match self.origin {
            AccountOrigin::Ours => None,
            AccountOrigin::LentByRoot => Some(RunAs {
                user: self.name.clone(),
                uid: self.uid.as_raw(),
                gid: self.gid.as_raw(),
            }),
        }
    }

    /// All groups of the account, its own included.
    pub(crate) fn groups(&self) -> Vec<u32> {
        let listed = CString::new(self.name.as_str())
            .ok()
            .and_then(|name| getgrouplist(&name, self.gid).ok());
        listed
            .unwrap_or_else(|| vec![self.gid])
            .into_iter()
            .map(Gid::as_raw)
            .collect()
    }
}

fn standard_user() -> Result<User, ClusterError> {
    let known = |name| {
        User::from_name(name)
            .ok()
            .flatten()
            .filter(|user| !user.uid.is_root())
    };
    known("postgres")
        .or_else(|| known("nobody"))
        .ok_or(ClusterError::NoServerAccount)
}

fn by_uid(uid: Uid) -> Result<User, ClusterError> {
    User::from_uid(uid)
        .ok()
        .flatten()
        .ok_or(ClusterError::NoAccount { uid: uid.as_raw() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_decide_whom_root_lends() {
        let folder = Path::new("/somewhere");
        let nobody = User::from_name("nobody").unwrap().unwrap();
        let account = Account::lent(folder, Some(nobody.uid.as_raw())).unwrap();
        assert_eq!(
            (account.name.as_str(), account.origin),
            ("nobody", AccountOrigin::LentByRoot)
        );
        let fresh = Account::lent(folder, None).unwrap();
        assert!(!fresh.uid.is_root());
        assert!(fresh.groups().contains(&fresh.gid.as_raw()));
        let refused = Account::lent(folder, Some(0)).unwrap_err().to_string();
        assert!(
            refused.contains("chown -R") && refused.contains("/somewhere"),
            "{refused}"
        );
    }

    #[test]
    fn an_ordinary_user_runs_only_its_own_data() {
        let folder = Path::new("/somewhere");
        let nobody = User::from_name("nobody").unwrap().unwrap().uid;
        assert_eq!(Account::own(nobody, folder, None).unwrap().run_as(), None);
        assert_eq!(
            Account::own(nobody, folder, Some(nobody.as_raw()))
                .unwrap()
                .uid,
            nobody
        );
        assert!(matches!(
            Account::own(nobody, folder, Some(nobody.as_raw() + 1)),
            Err(ClusterError::ForeignOwner { .. })
        ));
        let nameless = Uid::from_raw(3_999_999_999);
        assert!(matches!(
            Account::own(nameless, folder, None),
            Err(ClusterError::NoAccount { uid: 3_999_999_999 })
        ));
    }
}
