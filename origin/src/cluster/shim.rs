//! The step between the supervisor and PostgreSQL: becomes another user, ties its life to its parent, then becomes
//! the program itself.
//!
//! Both need code that runs in the child between `fork` and `exec`, which std offers only as unsafe. So the supervisor
//! starts its own executable in a hidden mode instead, and that mode, single-threaded and before anything else in
//! `main`, changes what `exec` keeps: user and groups, the death signal, the inherited folder, the umask.
//!
//! The order matters. Changing the user clears the death signal, so that comes first. The parent may die before the
//! signal is asked for, so the parent is checked after it.

use std::ffi::{CString, OsString};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use nix::fcntl::{FcntlArg, fcntl};
use nix::sys::prctl;
use nix::sys::signal::Signal;
use nix::sys::stat::{Mode, umask};
use nix::unistd::{Gid, Pid, Uid, getppid, initgroups, setgid, setuid};

/// The first argument that turns `lacquer-origin` into the shim.
pub(crate) const MODE: &str = "internal-exec";

/// Where the child finds the folder that it was given as standard input, see [`Exec::keep_folder`].
pub(crate) const FOLDER_FD: i32 = 9;

/// What the shim exits with when it could not become the program.
pub(crate) const FAILED: i32 = 127;

/// Call this first in `main`. If the program was started as the shim (or as another hidden mode of the private
/// cluster), this does not return.
pub fn run_if_asked() {
    let mut args = std::env::args_os().skip(1);
    let Some(mode) = args.next() else { return };
    if mode == MODE {
        let problem = match Exec::parse(args) {
            Ok(exec) => exec.run(),
            Err(problem) => problem,
        };
        give_up(&problem);
    }
    if mode == super::hold::MODE {
        match super::hold::run(args) {
            Ok(()) => std::process::exit(0),
            Err(problem) => give_up(&problem),
        }
    }
}

/// Standard error is PostgreSQL's log here.
fn give_up(problem: &str) -> ! {
    eprintln!("lacquer-origin: {problem}");
    std::process::exit(FAILED);
}

/// Whom the program shall run as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RunAs {
    pub(crate) user: String,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

/// One program to become, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Exec {
    /// The supervisor's process: if it is no longer the parent, the shim ends.
    pub(crate) parent: u32,
    /// What the program gets when the supervising thread ends.
    pub(crate) death_signal: Signal,
    /// `None`: stays who it is.
    pub(crate) run_as: Option<RunAs>,
    /// Standard input is an open folder: hand it on as descriptor [`FOLDER_FD`]. Descendants inherit it, and with it
    /// the lock that it carries, and reach it through `/proc/self/fd` whatever the permissions on its path.
    pub(crate) keep_folder: bool,
    pub(crate) program: PathBuf,
    pub(crate) args: Vec<OsString>,
}

impl Exec {
    /// The arguments that [`Exec::parse`] reads back, the mode's name first.
    pub(crate) fn to_args(&self) -> Vec<OsString> {
        let mut args: Vec<OsString> = vec![MODE.into()];
        args.push(format!("parent={}", self.parent).into());
        args.push(format!("signal={}", self.death_signal.as_str()).into());
        if let Some(RunAs { user, uid, gid }) = &self.run_as {
            args.push(format!("run-as={uid}:{gid}:{user}").into());
        }
        if self.keep_folder {
            args.push("keep-folder".into());
        }
        args.push("--".into());
        args.push(self.program.clone().into());
        args.extend(self.args.iter().cloned());
        args
    }

    fn parse(mut args: impl Iterator<Item = OsString>) -> Result<Exec, String> {
        let (mut parent, mut death_signal, mut run_as, mut keep_folder) = (None, None, None, false);
        for arg in args.by_ref() {
            let wrong = || format!("{MODE}: cannot read the argument {arg:?}");
            let text = arg.to_str().ok_or_else(wrong)?;
            match text.split_once('=').unwrap_or((text, "")) {
                ("parent", pid) => parent = Some(pid.parse().map_err(|_| wrong())?),
                ("signal", name) => death_signal = Some(name.parse().map_err(|_| wrong())?),
                ("run-as", who) => run_as = Some(RunAs::parse(who).ok_or_else(wrong)?),
                ("keep-folder", "") => keep_folder = true,
                ("--", "") => break,
                _ => return Err(wrong()),
            }
        }
        let program = args
            .next()
            .ok_or_else(|| format!("{MODE}: no program given"))?;
        Ok(Exec {
            parent: parent.ok_or_else(|| format!("{MODE}: no parent given"))?,
            death_signal: death_signal.ok_or_else(|| format!("{MODE}: no signal given"))?,
            run_as,
            keep_folder,
            program: program.into(),
            args: args.collect(),
        })
    }

    /// Becomes the program; returns only with the reason why not.
    fn run(self) -> String {
        if let Err(problem) = self.prepare() {
            return problem;
        }
        let problem = Command::new(&self.program)
            .args(&self.args)
            .stdin(Stdio::null())
            .exec();
        format!("cannot run {}: {problem}", self.program.display())
    }

    fn prepare(&self) -> Result<(), String> {
        if self.keep_folder {
            let fd = fcntl(std::io::stdin(), FcntlArg::F_DUPFD(FOLDER_FD))
                .map_err(|e| format!("cannot keep the data folder open: {e}"))?;
            if fd != FOLDER_FD {
                return Err(format!("descriptor {FOLDER_FD} is taken"));
            }
        }
        umask(Mode::S_IRWXG | Mode::S_IRWXO);
        if let Some(run_as) = &self.run_as {
            run_as
                .become_it()
                .map_err(|e| format!("cannot become the user {}: {e}", run_as.user))?;
        }
        prctl::set_no_new_privs().map_err(|e| format!("cannot give up new privileges: {e}"))?;
        prctl::set_pdeathsig(self.death_signal)
            .map_err(|e| format!("cannot ask for a signal at the parent's death: {e}"))?;
        if getppid() != Pid::from_raw(i32::try_from(self.parent).unwrap_or(-1)) {
            return Err("the parent is gone".to_owned());
        }
        Ok(())
    }
}

impl RunAs {
    fn parse(text: &str) -> Option<RunAs> {
        let mut parts = text.splitn(3, ':');
        let uid = parts.next()?.parse().ok()?;
        let gid = parts.next()?.parse().ok()?;
        let user = parts.next().filter(|user| !user.is_empty())?.to_owned();
        Some(RunAs { user, uid, gid })
    }

    fn become_it(&self) -> nix::Result<()> {
        let user = CString::new(self.user.as_str()).map_err(|_| nix::errno::Errno::EINVAL)?;
        let gid = Gid::from_raw(self.gid);
        initgroups(&user, gid)?;
        setgid(gid)?;
        setuid(Uid::from_raw(self.uid))
    }
}

/// The program that answers to [`MODE`] when none is named: the running one. Unlike its path, the link stays right when
/// the file is replaced by an upgrade.
pub(crate) fn own_program() -> &'static Path {
    Path::new("/proc/self/exe")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_survive_the_trip_through_a_command_line() {
        let bare = Exec {
            parent: 7,
            death_signal: Signal::SIGKILL,
            run_as: None,
            keep_folder: false,
            program: "/bin/x y".into(),
            args: vec!["--".into(), "-D".into(), "a=b".into()],
        };
        let full = Exec {
            run_as: Some(RunAs {
                user: "po:st".into(),
                uid: 5,
                gid: 6,
            }),
            keep_folder: true,
            ..bare.clone()
        };
        for exec in [bare, full] {
            assert_eq!(Exec::parse(exec.to_args().into_iter().skip(1)), Ok(exec));
        }
    }

    #[test]
    fn nonsense_is_refused() {
        fn check(args: &[&str]) {
            let parsed = Exec::parse(args.iter().map(OsString::from));
            assert!(parsed.is_err(), "{args:?} gave {parsed:?}");
        }
        check(&[]);
        check(&["parent=1", "signal=SIGINT"]);
        check(&["parent=1", "signal=SIGINT", "--"]);
        check(&["parent=1", "--", "/bin/true"]);
        check(&["signal=SIGINT", "--", "/bin/true"]);
        check(&["parent=x", "signal=SIGINT", "--", "/bin/true"]);
        check(&["parent=1", "signal=SIGFOO", "--", "/bin/true"]);
        check(&[
            "parent=1",
            "signal=SIGINT",
            "run-as=1:2:",
            "--",
            "/bin/true",
        ]);
        check(&[
            "parent=1",
            "signal=SIGINT",
            "keep-folder=no",
            "--",
            "/bin/true",
        ]);
        check(&["parent=1", "signal=SIGINT", "surprise", "--", "/bin/true"]);
    }
}
