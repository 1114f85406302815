//! Finds PostgreSQL's programs on this machine, and says how to install them where there are none.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::error::ClusterError;

/// The oldest major version that the origin works with.
pub(crate) const MAJOR_MIN: u32 = 13;

/// A folder with `postgres` and `initdb` of one version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Binaries {
    pub(crate) folder: PathBuf,
    pub(crate) major: u32,
}

impl Binaries {
    pub(crate) fn postgres(&self) -> PathBuf {
        self.folder.join("postgres")
    }

    pub(crate) fn initdb(&self) -> PathBuf {
        self.folder.join("initdb")
    }

    fn look_into(folder: &Path) -> Result<Binaries, String> {
        let initdb = folder.join("initdb");
        if !initdb.is_file() {
            return Err("it holds no initdb".to_owned());
        }
        let postgres = folder.join("postgres");
        let output = Command::new(&postgres)
            .arg("--version")
            .stdin(Stdio::null())
            .output()
            .map_err(|problem| format!("cannot run {}: {problem}", postgres.display()))?;
        let line = String::from_utf8_lossy(&output.stdout);
        let major = parse_version(&line)
            .ok_or_else(|| format!("{} --version says {:?}", postgres.display(), line.trim()))?;
        Ok(Binaries {
            folder: folder.to_path_buf(),
            major,
        })
    }
}

/// Where to look. The first field that is set decides alone.
#[derive(Clone, Debug)]
pub(crate) struct Places {
    /// Named by the operator: no other place is tried.
    pub(crate) named: Option<PathBuf>,
    /// Folders of folders, `<these>/<major>/bin`.
    pub(crate) versioned: Vec<PathBuf>,
    /// Folders as in `PATH`.
    pub(crate) path: Vec<PathBuf>,
}

impl Places {
    /// This machine's: `bin_dir` or `LACQUER_PG_BIN`, `/usr/lib/postgresql`, `PATH`.
    pub(crate) fn of_this_machine(bin_dir: Option<&Path>) -> Places {
        let from_env = || {
            std::env::var_os("LACQUER_PG_BIN")
                .filter(|value| !value.is_empty())
                .map(PathBuf::from)
        };
        Places {
            named: bin_dir.map(Path::to_path_buf).or_else(from_env),
            versioned: vec![PathBuf::from("/usr/lib/postgresql")],
            path: std::env::var_os("PATH")
                .map(|path| std::env::split_paths(&path).collect())
                .unwrap_or_default(),
        }
    }

    /// The binaries for data of major version `wanted`; without data (`None`), the newest.
    pub(crate) fn find(&self, data: &Path, wanted: Option<u32>) -> Result<Binaries, ClusterError> {
        let found = match &self.named {
            Some(folder) => {
                let reason = |reason| ClusterError::BadBinaries {
                    folder: folder.clone(),
                    reason,
                };
                let binaries = Binaries::look_into(folder).map_err(reason)?;
                if binaries.major < MAJOR_MIN {
                    return Err(reason(format!(
                        "it holds PostgreSQL {}, and {MAJOR_MIN} or later is needed",
                        binaries.major
                    )));
                }
                vec![binaries]
            }
            None => self.installed(),
        };
        let fits = |binaries: &&Binaries| wanted.is_none_or(|wanted| binaries.major == wanted);
        if let Some(binaries) = found.iter().find(fits) {
            return Ok(binaries.clone());
        }
        let versions: BTreeSet<u32> = found.iter().map(|binaries| binaries.major).collect();
        match wanted {
            Some(wanted) if !versions.is_empty() => Err(ClusterError::WrongVersion {
                folder: data.to_path_buf(),
                wanted,
                found: versions
                    .iter()
                    .map(u32::to_string)
                    .collect::<Vec<_>>()
                    .join(", "),
                install: install_line(&os_release(), wanted_package(Some(wanted))),
            }),
            _ => Err(ClusterError::NoBinaries {
                searched: self
                    .versioned
                    .iter()
                    .map(|folder| format!("{}/*/bin", folder.display()))
                    .chain(["PATH".to_owned()])
                    .collect::<Vec<_>>()
                    .join(" and "),
                install: install_line(&os_release(), wanted_package(wanted)),
            }),
        }
    }

    /// All usable ones: versioned folders first, newest first, then `PATH` in its order.
    fn installed(&self) -> Vec<Binaries> {
        let mut versioned: Vec<Binaries> = self
            .versioned
            .iter()
            .filter_map(|folder| std::fs::read_dir(folder).ok())
            .flatten()
            .flatten()
            .filter_map(|entry| Binaries::look_into(&entry.path().join("bin")).ok())
            .collect();
        versioned.sort_by_key(|binaries| std::cmp::Reverse(binaries.major));
        let on_path = self
            .path
            .iter()
            .filter(|folder| folder.is_absolute())
            .filter_map(|folder| Binaries::look_into(folder).ok());
        versioned
            .into_iter()
            .chain(on_path)
            .filter(|binaries| binaries.major >= MAJOR_MIN)
            .collect()
    }
}

/// The major version in `postgres (PostgreSQL) 15.13 (Debian …)`; betas and development versions count.
fn parse_version(line: &str) -> Option<u32> {
    let (_, version) = line.split_once("(PostgreSQL) ")?;
    let digits = version
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(version.len());
    version[..digits].parse().ok()
}

fn os_release() -> String {
    std::fs::read_to_string("/etc/os-release").unwrap_or_default()
}

fn wanted_package(wanted: Option<u32>) -> String {
    wanted.map(|major| format!("-{major}")).unwrap_or_default()
}

/// The command that installs PostgreSQL on the system that `os_release` describes. `version` is empty or `-15`.
fn install_line(os_release: &str, version: String) -> String {
    let families: Vec<&str> = os_release
        .lines()
        .filter_map(|line| {
            line.strip_prefix("ID=")
                .or_else(|| line.strip_prefix("ID_LIKE="))
        })
        .flat_map(|value| value.trim_matches(['"', '\'']).split_whitespace())
        .collect();
    let is = |name: &str| families.contains(&name);
    let command = if is("alpine") {
        format!("apk add postgresql{}", version.trim_start_matches('-'))
    } else if is("arch") {
        "pacman -S postgresql".to_owned()
    } else if is("fedora") || is("rhel") {
        "dnf install -y postgresql-server".to_owned()
    } else if families.iter().any(|name| name.contains("suse")) {
        format!(
            "zypper install -y postgresql{}-server",
            version.trim_start_matches('-')
        )
    } else {
        format!("apt-get install -y postgresql{version}")
    };
    if nix::unistd::geteuid().is_root() {
        command
    } else {
        format!("sudo {command}")
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    /// A folder of scripts that answer `--version` as a PostgreSQL of that version.
    fn pretend(folder: &Path, version: &str) {
        std::fs::create_dir_all(folder).unwrap();
        for program in ["postgres", "initdb"] {
            let script = folder.join(program);
            std::fs::write(
                &script,
                format!("#!/bin/sh\necho '{program} (PostgreSQL) {version}'\n"),
            )
            .unwrap();
            std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).unwrap();
        }
    }

    #[test]
    fn versions_are_read_from_what_postgres_says() {
        fn check(line: &str, expected: Option<u32>) {
            assert_eq!(parse_version(line), expected, "{line}");
        }
        check(
            "postgres (PostgreSQL) 15.13 (Debian 15.13-0+deb12u1)\n",
            Some(15),
        );
        check("postgres (PostgreSQL) 9.6.24", Some(9));
        check("postgres (PostgreSQL) 18beta1", Some(18));
        check("postgres (PostgreSQL) 19devel", Some(19));
        check("postgres (PostgreSQL) ", None);
        check("postgres (EnterpriseDB) 15", None);
        check("", None);
    }

    #[test]
    fn the_newest_wins_unless_the_data_say_otherwise() {
        let dir = tempfile::tempdir().unwrap();
        let debian = dir.path().join("debian");
        for version in ["9", "12", "13", "16"] {
            pretend(&debian.join(version).join("bin"), &format!("{version}.4"));
        }
        std::fs::create_dir_all(debian.join("17/bin")).unwrap();
        let on_path = dir.path().join("path");
        pretend(&on_path, "14.1");
        let places = Places {
            named: None,
            versioned: vec![debian.clone()],
            path: vec![PathBuf::from("."), on_path.clone()],
        };
        let data = Path::new("/data");
        let folder = |wanted| places.find(data, wanted).unwrap().folder;
        assert_eq!(folder(None), debian.join("16/bin"));
        assert_eq!(folder(Some(13)), debian.join("13/bin"));
        assert_eq!(folder(Some(14)), on_path);
        let error = places.find(data, Some(15)).unwrap_err();
        assert!(
            matches!(&error, ClusterError::WrongVersion { wanted: 15, found, .. } if found == "13, 14, 16"),
            "{error:?}"
        );
        assert!(error.to_string().contains("/data"), "{error}");
    }

    #[test]
    fn a_named_folder_is_the_only_place() {
        let dir = tempfile::tempdir().unwrap();
        let good = dir.path().join("good");
        pretend(&good, "15.1");
        let places = |named: &str| Places {
            named: Some(dir.path().join(named)),
            versioned: vec![],
            path: vec![good.clone()],
        };
        assert_eq!(
            places("good").find(Path::new("/data"), None).unwrap().major,
            15
        );
        let missing = places("missing")
            .find(Path::new("/data"), None)
            .unwrap_err();
        assert!(
            matches!(missing, ClusterError::BadBinaries { .. }),
            "{missing:?}"
        );
        pretend(&dir.path().join("old"), "11.1");
        let old = places("old").find(Path::new("/data"), None).unwrap_err();
        assert!(old.to_string().contains("PostgreSQL 11"), "{old}");
    }

    #[test]
    fn with_nothing_installed_the_error_prints_the_install_line() {
        let places = Places {
            named: None,
            versioned: vec!["/nonexistent".into()],
            path: vec![],
        };
        let error = places
            .find(Path::new("/data"), None)
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("/nonexistent/*/bin")
                && error.contains(" install")
                && error.contains("postgresql"),
            "{error}"
        );
    }

    #[test]
    fn each_family_of_systems_has_its_own_install_line() {
        fn check(os_release: &str, version: &str, expected: &str) {
            let line = install_line(os_release, version.to_owned());
            assert_eq!(line.trim_start_matches("sudo "), expected, "{os_release}");
        }
        check("ID=debian\n", "", "apt-get install -y postgresql");
        check(
            "ID=ubuntu\nID_LIKE=debian\n",
            "-16",
            "apt-get install -y postgresql-16",
        );
        check(
            "ID=\"rocky\"\nID_LIKE=\"rhel centos fedora\"\n",
            "",
            "dnf install -y postgresql-server",
        );
        check("ID=arch", "", "pacman -S postgresql");
        check("ID=alpine", "-16", "apk add postgresql16");
        check(
            "ID=\"opensuse-leap\"\nID_LIKE=\"suse opensuse\"",
            "-16",
            "zypper install -y postgresql16-server",
        );
        check("", "", "apt-get install -y postgresql");
    }
}
