//! What the figures were taken on.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::SystemTime;

use anyhow::Result;

use super::peers::{self, Kind};

/// Names and what they are.
#[derive(Clone, Debug)]
pub struct Machine {
    pub facts: Vec<(String, String)>,
}

impl Machine {
    /// Looks around.
    ///
    /// # Errors
    /// When a server cannot say its version.
    pub fn describe(kinds: &[Kind]) -> Result<Machine> {
        let mut facts = vec![
            (
                "date".to_owned(),
                httpdate::fmt_http_date(SystemTime::now()),
            ),
            ("revision".to_owned(), revision()),
            ("processor".to_owned(), processor()),
            (
                "kernel".to_owned(),
                line_of("/proc/sys/kernel/osrelease").unwrap_or_default(),
            ),
            (
                "system".to_owned(),
                system().unwrap_or_else(|| "unknown".to_owned()),
            ),
            (
                "load before (1, 5, 15 minutes)".to_owned(),
                line_of("/proc/loadavg")
                    .unwrap_or_default()
                    .split(' ')
                    .take(3)
                    .collect::<Vec<_>>()
                    .join(", "),
            ),
        ];
        for kind in kinds {
            if *kind != Kind::BareLoop {
                facts.push((kind.title().to_owned(), kind.version()?));
            }
            if *kind == Kind::Lacquer {
                let build = peers::lacquer::build()?;
                facts.push((format!("{} was built by", kind.title()), build.to_owned()));
            }
        }
        for (name, flag) in [("wrk", "-v"), ("h2load", "--version")] {
            let said = Command::new(name).arg(flag).output().map(|output| {
                let said = [output.stdout, output.stderr].concat();
                let said = String::from_utf8_lossy(&said).into_owned();
                said.lines().next().unwrap_or_default().to_owned()
            });
            facts.push((name.to_owned(), said.unwrap_or_default()));
        }
        Ok(Machine { facts })
    }
}

fn processor() -> String {
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(": "))
        .map_or("unknown", |(_, model)| model);
    let cores = info
        .lines()
        .filter(|line| line.starts_with("processor"))
        .count();
    let memory = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let kibibytes = memory
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"))
        .and_then(|rest| rest.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok())
        .unwrap_or_default();
    format!("{model}, {cores} cores, {} GiB", kibibytes >> 20)
}

fn system() -> Option<String> {
    let release = fs::read_to_string("/etc/os-release").ok()?;
    let name = release
        .lines()
        .find_map(|line| line.strip_prefix("PRETTY_NAME="))?;
    Some(name.trim_matches('"').to_owned())
}

/// The commit that was measured, as far as git knows.
fn revision() -> String {
    let git = |args: &[&str]| {
        let output = Command::new("git")
            .args(args)
            .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")))
            .output()
            .ok()?;
        let said = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        output.status.success().then_some(said)
    };
    let Some(commit) = git(&["rev-parse", "--short", "HEAD"]) else {
        return "unknown".to_owned();
    };
    match git(&["status", "--porcelain", "--untracked-files=no"]) {
        Some(changes) if changes.is_empty() => commit,
        _ => format!("{commit}, with changes that are not committed"),
    }
}

fn line_of(path: &str) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    Some(text.lines().next()?.to_owned())
}
