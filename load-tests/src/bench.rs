//! The benchmark: Lacquer and its peers on the same machine, in turn, and what came of it.
//!
//! The program is `bench` (`src/bin/bench.rs`); `BENCHMARK.md` says what is measured and how. In reading order: what is
//! asked and who answers, what is measured, the report.

pub mod backend;
pub mod bare;
pub mod child;
pub mod cpu;
pub mod serve;

pub mod load;
pub mod openloop;
pub mod probe;
pub mod traffic;

pub mod peers;

pub mod lines;
pub mod measure;

pub mod machine;
pub mod plot;
pub mod report;

pub mod instructions;

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::{Parser, Subcommand};

use self::instructions::Baseline;
use self::lines::{LINES, Line};
use self::measure::Plan;
use self::peers::Kind;
use self::report::Verdict;

const SECONDS: u16 = 5;
const QUICK_SECONDS: u16 = 3;
const QUICK_LINES: &[&str] = &["hit-128"];
const QUICK_PEERS: &[Kind] = &[Kind::Lacquer, Kind::Nginx, Kind::Varnish, Kind::Haproxy];

/// Measures lacquer and its peers side by side.
#[derive(Debug, Parser)]
#[command(name = "bench")]
struct Arguments {
    #[command(subcommand)]
    task: Option<Task>,

    /// The first line only, in under two minutes, without Traffic Server and the bare loop
    #[arg(long)]
    quick: bool,

    /// Lines to measure, by name; all without it
    #[arg(long, value_delimiter = ',', value_name = "LINE,...")]
    lines: Vec<String>,

    /// Servers to measure, by name; all without it
    #[arg(long, value_delimiter = ',', value_name = "PEER,...")]
    peers: Vec<String>,

    /// How often each is measured
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..=100))]
    rounds: u16,

    /// How long each time: 5, or 3 with --quick
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=600))]
    seconds: Option<u16>,

    /// Objects whose memory is measured
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1..=20_000_000))]
    objects: u64,

    /// Folder for RESULTS.md; without it, `load-tests` for a whole run and `target/bench` for part of one
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Count instructions a request and compare them with the baseline
    Instructions {
        /// Write the baseline instead
        #[arg(long)]
        renew: bool,
    },
    /// Name the lines and the servers
    List,
    /// Be the bare loop
    #[command(hide = true)]
    BareLoop {
        #[arg(long)]
        listen: SocketAddr,
        #[arg(long)]
        response: PathBuf,
    },
}

/// Runs the program that the command line asks for.
///
/// # Errors
/// When it cannot be done; a server that fails on a line is told in the report, and by the exit code.
pub fn run() -> Result<ExitCode> {
    let arguments = Arguments::parse();
    match &arguments.task {
        Some(Task::BareLoop { listen, response }) => {
            bare::run(*listen, response).map(|()| ExitCode::SUCCESS)
        }
        Some(Task::Instructions { renew }) => {
            child::end_in_order_on_signals()?;
            measure::take_load_core()?;
            let baseline = match renew {
                true => Baseline::Renew,
                false => Baseline::Compare,
            };
            instructions::run(&own_folder().join("instructions.baseline"), baseline)?;
            Ok(ExitCode::SUCCESS)
        }
        Some(Task::List) => {
            for line in LINES {
                say(&format!("{:14} {}", line.name, line.title))?;
            }
            let names: Vec<&str> = Kind::ALL.iter().map(|kind| kind.name()).collect();
            say(&format!("servers: {}", names.join(", ")))?;
            Ok(ExitCode::SUCCESS)
        }
        None => compare(&arguments),
    }
}

fn compare(arguments: &Arguments) -> Result<ExitCode> {
    let lines = chosen_lines(arguments)?;
    let peers = chosen_peers(arguments)?;
    let seconds = arguments.seconds.unwrap_or(match arguments.quick {
        true => QUICK_SECONDS,
        false => SECONDS,
    });
    let plan = Plan {
        rounds: usize::from(arguments.rounds),
        duration: Duration::from_secs(u64::from(seconds)),
        objects: arguments.objects,
        peers: peers.clone(),
    };
    load::check_programs()?;
    for kind in &peers {
        kind.program()?;
    }
    child::end_in_order_on_signals()?;
    measure::take_load_core()?;
    measure::raise_file_limit();
    let machine = machine::Machine::describe(&peers)?;
    let folder = peers::make_folder("load")?;
    let remarks = report::read_remarks(&own_folder().join("remarks.tsv"))?;
    let partial = target_folder()?.join("bench");
    let mut results = Vec::new();
    for line in &lines {
        let result = measure::run(line, &plan, folder.path())?;
        say(&format!("\n{}\n\n{}", line.title, report::table(&result)))?;
        results.push(result);
        // A long run that is interrupted has not been for nothing.
        report::write(&partial, &results, &plan, &machine, &remarks)?;
    }
    let out = match &arguments.out {
        Some(out) => out.clone(),
        None if lines.len() == LINES.len() && peers.len() == Kind::ALL.len() => own_folder(),
        None => partial,
    };
    report::write(&out, &results, &plan, &machine, &remarks)?;
    let (mut reached, mut missed) = (0, 0);
    for result in &results {
        for judged in report::judge(result, &results) {
            match judged.verdict {
                Verdict::Reached => reached += 1,
                Verdict::NotReached => missed += 1,
                Verdict::Unknown => {}
            }
            say(&format!(
                "{}: {}, found {}: {:?}",
                result.line.title, judged.wanted, judged.found, judged.verdict
            ))?;
        }
    }
    say(&format!(
        "{reached} targets reached, {missed} not; {}",
        out.join("RESULTS.md").display()
    ))?;
    let failed = results
        .iter()
        .flat_map(|result| &result.peers)
        .any(|peer| peer.outcome.is_err());
    Ok(match failed {
        true => ExitCode::FAILURE,
        false => ExitCode::SUCCESS,
    })
}

fn chosen_lines(arguments: &Arguments) -> Result<Vec<&'static Line>> {
    let names: Vec<&str> = match (&arguments.lines[..], arguments.quick) {
        ([], true) => QUICK_LINES.to_vec(),
        ([], false) => return Ok(LINES.iter().collect()),
        (names, _) => names.iter().map(String::as_str).collect(),
    };
    names
        .into_iter()
        .map(|name| lines::find(name).with_context(|| format!("no line {name}: `bench list`")))
        .collect()
}

/// In the order of [`Kind::ALL`], Lacquer first.
fn chosen_peers(arguments: &Arguments) -> Result<Vec<Kind>> {
    let names = &arguments.peers;
    for name in names {
        if !Kind::ALL.iter().any(|kind| kind.name() == name) {
            bail!("no server {name}: `bench list`");
        }
    }
    Ok(Kind::ALL
        .into_iter()
        .filter(|kind| match (&names[..], arguments.quick) {
            ([], true) => QUICK_PEERS.contains(kind),
            ([], false) => true,
            (names, _) => names.iter().any(|name| name == kind.name()),
        })
        .collect())
}

/// `load-tests`, as it was when this was built.
fn own_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}

fn target_folder() -> Result<PathBuf> {
    let own = std::env::current_exe().context("this program's own path")?;
    let target = own
        .ancestors()
        .nth(2)
        .context("it lies in target/PROFILE")?;
    Ok(target.to_owned())
}

/// Standard output is for results; what goes on is told on standard error.
fn say(text: &str) -> Result<()> {
    writeln!(std::io::stdout(), "{text}").context("standard output")
}
