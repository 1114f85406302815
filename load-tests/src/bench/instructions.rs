//! Instructions a request, counted by callgrind: the same on a busy machine and on a quiet one, so that a check can hold
//! them against a committed baseline.
//!
//! One `lacquer` with one worker answers N requests of one connection, and then another does so many times more; the
//! difference, start and end taken out, is the requests' own.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use super::backend::Backend;
use super::child::{self, Call, Running};
use super::cpu;
use super::peers::lacquer_program;
use super::probe::Probe;
use super::traffic::{Fields, Name, Targets, Traffic, fresh_names};
use crate::place::free_address;
use crate::settings::Settings;

const FEW: u64 = 200;
const MANY: u64 = 2_200;
/// Growth, or fall, in percent, that asks for a new baseline.
const TOLERANCE_PERCENT: u64 = 3;
/// Everything is some fifty times slower.
const START_TIMEOUT: Duration = Duration::from_secs(60);
const END_TIMEOUT: Duration = Duration::from_secs(60);

const SMALL: Traffic = Traffic::hits(128, Targets::One);

/// What is counted.
const COUNTED: [(&str, Traffic); 5] = [
    ("hit", SMALL),
    ("hit-browser", SMALL.with_fields(Fields::Browser)),
    ("not-modified", SMALL.with_fields(Fields::IfNoneMatch)),
    ("miss", Traffic::hits(1024, Targets::Unique)),
    ("pass", Traffic::hits(128, Targets::Posted)),
];

/// What to do with the baseline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Baseline {
    Compare,
    Renew,
}

/// Instructions of one kind of request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Count {
    pub name: String,
    pub instructions: u64,
}

/// Counts, says so, and compares with the baseline or renews it.
///
/// # Errors
/// When something cannot be counted, or differs from the baseline by more than 3 %.
pub fn run(path: &Path, baseline: Baseline) -> Result<()> {
    ensure!(
        child::find_program("valgrind").is_some(),
        "valgrind is missing: `.ci/deps instructions` installs it"
    );
    let mut counts = Vec::new();
    for (name, traffic) in COUNTED {
        let [few, many] = [FEW, MANY].map(|requests| count(&traffic, requests));
        let instructions = (many? - few?) / (MANY - FEW);
        super::say(&format!("{name}\t{instructions}"))?;
        counts.push(Count {
            name: name.to_owned(),
            instructions,
        });
    }
    match baseline {
        Baseline::Renew => {
            fs::write(path, to_text(&counts)).with_context(|| path.display().to_string())
        }
        Baseline::Compare => {
            let text = fs::read_to_string(path)
                .with_context(|| format!("no {}: {RENEW}", path.display()))?;
            compare(&parse(&text)?, &counts)
        }
    }
}

const RENEW: &str =
    "`make instructions RENEW=--renew` writes it; commit it with what changed the counts";

/// Instructions of a whole life of the program with so many requests.
fn count(traffic: &Traffic, requests: u64) -> Result<u64> {
    let backend = Backend::start()?;
    let folder = tempfile::Builder::new()
        .prefix("lacquer-instructions-")
        .tempdir()?;
    let (address, metrics) = (free_address(), free_address());
    let mut settings = Settings::default();
    settings
        .set("server.threads", "1")
        .set_text("server.drain_timeout", "1s")
        .set_text(
            "server.upgrade_socket",
            folder.path().join("upgrade.sock").display(),
        )
        .set("backend.servers", &format!("[\"{}\"]", backend.address))
        .set_text("metrics.address", metrics)
        .add(&format!("[[listen]]\naddress = \"{address}\""));
    let config = folder.path().join("lacquer.toml");
    fs::write(&config, settings.to_toml())?;
    let counted = folder.path().join("callgrind.out");
    let call = Call::new("valgrind", cpu::PROXY_CORE.to_string())
        .args(["--tool=callgrind", "--quiet"])
        .arg(format!("--callgrind-out-file={}", counted.display()))
        .arg(lacquer_program()?)
        .arg("--config")
        .arg(&config);
    let mut lacquer = Running::start("lacquer", &call, folder.path())?;
    lacquer.wait_until(START_TIMEOUT, || Probe::connect(address).is_ok())?;
    ask(address, traffic, requests, &backend).with_context(|| lacquer.log())?;
    let status = lacquer.end(END_TIMEOUT)?;
    ensure!(status.success(), "lacquer ended with {status}");
    let text = fs::read_to_string(&counted).context("callgrind's counts")?;
    total(&text).context("callgrind's counts have no total")
}

fn ask(
    address: std::net::SocketAddr,
    traffic: &Traffic,
    requests: u64,
    backend: &Backend,
) -> Result<()> {
    let mut probe = Probe::connect(address)?;
    if traffic.known() > 0 {
        let plain = Traffic {
            fields: Fields::Plain,
            ..*traffic
        };
        probe.ask(&plain.request(Name::Known(0)))?;
    }
    let (asked, fresh) = (backend.requests(), fresh_names());
    for number in 0..requests {
        let name = match traffic.targets {
            Targets::Unique => Name::Fresh(fresh + number),
            _ => Name::Known(0),
        };
        traffic.check(&probe.ask(&traffic.request(name))?)?;
    }
    let expected = requests * u64::from(traffic.passed_permille()) / 1000;
    let asked = backend.requests() - asked;
    ensure!(
        asked == expected,
        "the backend was asked {asked} times instead of {expected}"
    );
    Ok(())
}

/// The `totals:` line of callgrind's file, or its `summary:`.
fn total(text: &str) -> Option<u64> {
    let line = |name| text.lines().find_map(|line| line.strip_prefix(name));
    let total = line("totals: ").or_else(|| line("summary: "))?;
    total.trim().parse().ok()
}

fn to_text(counts: &[Count]) -> String {
    let mut text =
        String::from("# Instructions a request. Written by `make instructions RENEW=--renew`.\n");
    for count in counts {
        writeln!(text, "{}\t{}", count.name, count.instructions).expect("a string takes it");
    }
    text
}

fn parse(text: &str) -> Result<Vec<Count>> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines
        .map(|line| {
            let (name, count) = line
                .split_once('\t')
                .with_context(|| format!("the baseline has {line:?}"))?;
            Ok(Count {
                name: name.to_owned(),
                instructions: count.trim().parse().with_context(|| line.to_owned())?,
            })
        })
        .collect()
}

fn compare(baseline: &[Count], found: &[Count]) -> Result<()> {
    let mut problems = Vec::new();
    for count in found {
        let Some(before) = baseline.iter().find(|before| before.name == count.name) else {
            problems.push(format!("{} is not in the baseline", count.name));
            continue;
        };
        let (now, tolerated) = (
            count.instructions * 100,
            before.instructions * TOLERANCE_PERCENT,
        );
        let what = if now > before.instructions * 100 + tolerated {
            "more than the baseline: if that is worth it, renew it"
        } else if now + tolerated < before.instructions * 100 {
            "less than the baseline: renew it, so that it stays"
        } else {
            continue;
        };
        let change = count.instructions as f64 / before.instructions as f64 - 1.0;
        problems.push(format!(
            "{}: {} instructions a request, {:+.1} %, {what}",
            count.name,
            count.instructions,
            change * 100.0
        ));
    }
    if problems.is_empty() {
        return super::say("all within 3 % of the baseline");
    }
    bail!("{}\n{RENEW}", problems.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn totals_are_found() {
        for (text, expected) in [
            ("events: Ir\nsummary: 7\nfn=x\n1 2\ntotals: 9\n", Some(9)),
            ("summary: 7\n", Some(7)),
            ("events: Ir\n", None),
        ] {
            assert_eq!(total(text), expected);
        }
    }

    #[test]
    fn a_change_beyond_three_percent_is_told() {
        let baseline = parse("# x\nhit\t10000\nmiss\t50000\n").unwrap();
        let count = |name: &str, instructions| Count {
            name: name.to_owned(),
            instructions,
        };
        for (found, expected) in [
            (count("hit", 10_300), None),
            (count("hit", 9_701), None),
            (count("hit", 10_301), Some("+3.0 %, more")),
            (count("miss", 40_000), Some("-20.0 %, less")),
            (count("pass", 1), Some("not in the baseline")),
        ] {
            let outcome = compare(&baseline, &[found]);
            match expected {
                None => outcome.unwrap(),
                Some(part) => {
                    let message = outcome.unwrap_err().to_string();
                    assert!(
                        message.contains(part) && message.contains("RENEW"),
                        "{message}"
                    );
                }
            }
        }
    }

    #[test]
    fn the_baseline_is_read_as_it_is_written() {
        let counts = vec![Count {
            name: "hit".to_owned(),
            instructions: 5,
        }];
        assert_eq!(parse(&to_text(&counts)).unwrap(), counts);
        assert!(parse("hit 5").is_err());
    }
}
