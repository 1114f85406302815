//! The result file: targets first, then every line with its spread, the machine and the versions. Also the plots, and
//! the raw figures as a table that programs read.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use super::lines::{Line, Measure, Target, Unit};
use super::machine::Machine;
use super::measure::{LineResult, PeerResult, Plan, median};
use super::peers::Kind;
use super::plot::{self, Curve, Group};

/// What stands in the way of lines that are not reached, by line.
pub type Remarks = BTreeMap<String, String>;

/// Whether a target is met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Reached,
    NotReached,
    /// Something that it is measured against is missing from this run.
    Unknown,
}

impl Verdict {
    fn of(reached: bool) -> Verdict {
        match reached {
            true => Verdict::Reached,
            false => Verdict::NotReached,
        }
    }

    fn title(self) -> &'static str {
        match self {
            Verdict::Reached => "reached",
            Verdict::NotReached => "**not reached**",
            Verdict::Unknown => "not measured",
        }
    }
}

/// A target beside what was measured.
#[derive(Clone, Debug)]
pub struct Judged {
    pub wanted: String,
    pub found: String,
    pub verdict: Verdict,
}

/// Reads remarks: a line's name, a tab, and text.
///
/// # Errors
/// When the file is there and cannot be read.
pub fn read_remarks(path: &Path) -> Result<Remarks> {
    if !path.exists() {
        return Ok(Remarks::new());
    }
    let text = fs::read_to_string(path).with_context(|| path.display().to_string())?;
    Ok(text
        .lines()
        .filter_map(|line| line.split_once('\t'))
        .map(|(name, remark)| (name.to_owned(), remark.to_owned()))
        .collect())
}

/// Writes `RESULTS.md`, `results/*.svg` and `results/samples.tsv` into a folder.
///
/// # Errors
/// When they cannot be written.
pub fn write(
    folder: &Path,
    results: &[LineResult],
    plan: &Plan,
    machine: &Machine,
    remarks: &Remarks,
) -> Result<()> {
    let plots = folder.join("results");
    fs::create_dir_all(&plots).with_context(|| plots.display().to_string())?;
    let pictures = pictures(results);
    for (name, _, svg) in &pictures {
        fs::write(plots.join(name), svg)?;
    }
    fs::write(plots.join("samples.tsv"), samples(results))?;
    let pictures: Vec<(&str, &str)> = pictures
        .iter()
        .map(|(name, title, _)| (*name, *title))
        .collect();
    let text = markdown(results, plan, machine, remarks, &pictures);
    fs::write(folder.join("RESULTS.md"), text)?;
    Ok(())
}

fn markdown(
    results: &[LineResult],
    plan: &Plan,
    machine: &Machine,
    remarks: &Remarks,
    pictures: &[(&str, &str)],
) -> String {
    let mut text = String::from(
        "# Lacquer and its peers side by side\n\n\
         Written by `make bench`; BENCHMARK.md says how each line is measured. Do not edit: what is to be said about a \
         line goes to `remarks.tsv`.\n\n",
    );
    let mut say = |part: std::fmt::Arguments<'_>| {
        writeln!(text, "{part}").expect("a string takes everything");
    };
    say(format_args!(
        "{} rounds of {} s in turn, medians. A ratio is Lacquer's hits for a second of its processor over the peer's, \
         with the lowest and the highest round behind it; above 1 Lacquer is better.\n",
        plan.rounds,
        plan.duration.as_secs()
    ));
    say(format_args!("| | |\n|---|---|"));
    for (name, fact) in &machine.facts {
        say(format_args!("| {name} | {} |", fact.replace('|', "/")));
    }
    say(format_args!(
        "\n## Targets\n\n| line | target | found | |\n|---|---|---|---|"
    ));
    for result in results {
        for judged in judge(result, results) {
            say(format_args!(
                "| {} | {} | {} | {} |",
                result.line.title,
                judged.wanted,
                judged.found,
                judged.verdict.title()
            ));
        }
    }
    say(format_args!("\n## Ratios\n"));
    say(format_args!("{}", ratio_table(results)));
    for (name, title) in pictures {
        say(format_args!("![{title}](results/{name})\n"));
    }
    say(format_args!("## Figures"));
    for result in results {
        say(format_args!(
            "\n### {} (`{}`)\n",
            result.line.title, result.line.name
        ));
        say(format_args!("{}", table(result)));
        if let Some(remark) = remarks.get(result.line.name) {
            say(format_args!("{remark}\n"));
        }
    }
    text
}

/// All lines and peers at a glance.
fn ratio_table(results: &[LineResult]) -> String {
    let peers = [
        Kind::Nginx,
        Kind::Varnish,
        Kind::Haproxy,
        Kind::Trafficserver,
        Kind::BareLoop,
    ];
    let mut text = String::from("| line | Lacquer |");
    for kind in peers {
        text.push_str(&format!(" / {} |", kind.title()));
    }
    text.push_str("\n|---|---|---|---|---|---|---|\n");
    for result in results {
        let own = result.of(Kind::Lacquer).and_then(PeerResult::median);
        text.push_str(&format!(
            "| {} | {} |",
            result.line.title,
            own.map_or("–".to_owned(), |own| with_unit(own, result.line.unit()))
        ));
        for kind in peers {
            let ratio = median(&result.ratios(kind));
            text.push_str(&ratio.map_or(" – |".to_owned(), |ratio| format!(" {ratio:.2} |")));
        }
        text.push('\n');
    }
    text
}

/// One line, with every server on it.
pub fn table(result: &LineResult) -> String {
    let unit = result.line.unit();
    let mut text = format!(
        "| | {} | lowest to highest | requests/s | Lacquer is better by |\n|---|---|---|---|---|\n",
        unit.title()
    );
    for peer in &result.peers {
        let name = peer.kind.title();
        let samples = match &peer.outcome {
            Ok(samples) => samples,
            Err(why) => {
                let why = why.lines().next().unwrap_or_default().replace('|', "/");
                text.push_str(&format!("| {name} | **failed**: {why} | | | |\n"));
                continue;
            }
        };
        let values = peer.values();
        let rate = peer
            .requests_per_second()
            .map_or("–".to_owned(), |rate| format!("{rate:.0}"));
        let ratio = match peer.kind {
            Kind::Lacquer => String::new(),
            kind => spread_of_ratio(&result.ratios(kind)),
        };
        text.push_str(&format!(
            "| {name} | {} | {} | {rate} | {ratio} |\n",
            median(&values).map_or("–".to_owned(), digits),
            spread(&values),
        ));
        if let Some(latency) = peer.latency() {
            let at = |share| latency.value_at_quantile(share) as f64 / 1e3;
            let own = samples
                .iter()
                .filter_map(|sample| sample.latency.as_ref())
                .map(|latency| latency.own_delay_p99 as f64 / 1e3)
                .fold(0.0, f64::max);
            text.push_str(&format!(
                "| | p50 {:.0}, p90 {:.0}, p99.9 {:.0}, worst {:.0}; the generator's own p99 lateness: {own:.0} | | | |\n",
                at(0.5),
                at(0.9),
                at(0.999),
                at(1.0),
            ));
        }
    }
    text
}

/// A line's targets, each beside what was found.
pub fn judge(result: &LineResult, all: &[LineResult]) -> Vec<Judged> {
    let targets = result.line.targets.iter();
    targets
        .map(|target| judge_one(target, result, all))
        .collect()
}

fn judge_one(target: &Target, result: &LineResult, all: &[LineResult]) -> Judged {
    let unit = result.line.unit();
    let own = result.of(Kind::Lacquer).and_then(PeerResult::median);
    let missing = |wanted: String| Judged {
        wanted,
        found: "–".to_owned(),
        verdict: Verdict::Unknown,
    };
    match *target {
        Target::Ratio(kinds, least) => {
            let names: Vec<&str> = kinds.iter().map(|kind| kind.title()).collect();
            let wanted = match names[..] {
                [name] => format!("{least} × {name}"),
                _ => format!("{least} × the best of {}", names.join(", ")),
            };
            let ratios = kinds
                .iter()
                .map(|kind| (*kind, result.ratios(*kind)))
                .filter_map(|(kind, ratios)| Some((kind, median(&ratios)?, ratios)));
            let best = ratios.min_by(|one, other| one.1.total_cmp(&other.1));
            match best {
                None => missing(wanted),
                Some((kind, ratio, ratios)) => Judged {
                    wanted,
                    found: match names.len() {
                        1 => spread_of_ratio(&ratios),
                        _ => format!("{} ({})", spread_of_ratio(&ratios), kind.title()),
                    },
                    verdict: Verdict::of(ratio >= least),
                },
            }
        }
        Target::AtMost(most) => {
            let wanted = format!("at most {}", with_unit(most, unit));
            own.map_or_else(
                || missing(wanted.clone()),
                |own| Judged {
                    wanted: wanted.clone(),
                    found: with_unit(own, unit),
                    verdict: Verdict::of(own <= most),
                },
            )
        }
        Target::AtLeast(least) => {
            let wanted = format!("at least {}", with_unit(least, unit));
            own.map_or_else(
                || missing(wanted.clone()),
                |own| Judged {
                    wanted: wanted.clone(),
                    found: with_unit(own, unit),
                    verdict: Verdict::of(own >= least),
                },
            )
        }
        Target::Fall {
            hits,
            misses,
            percent,
        } => {
            let wanted = format!("within {percent} % of what hits and misses explain");
            let of_line = |name: &str| {
                let result = all.iter().find(|result| result.line.name == name)?;
                result.of(Kind::Lacquer)?.median()
            };
            let share = missing_share(result.line);
            let explained = match share {
                0.0 => of_line(hits),
                _ => of_line(hits)
                    .zip(of_line(misses))
                    .map(|(hit, miss)| hit * (1.0 - share) + miss * share),
            };
            match own.zip(explained) {
                None => missing(wanted),
                Some((own, explained)) => {
                    let above = (own / explained - 1.0) * 100.0;
                    Judged {
                        wanted,
                        found: format!(
                            "{above:+.0} %: {} where {} is explained",
                            digits(own),
                            digits(explained)
                        ),
                        verdict: Verdict::of(above <= percent),
                    }
                }
            }
        }
    }
}

/// The share of a line's requests that miss by design.
fn missing_share(line: &Line) -> f64 {
    match line.measure {
        Measure::Load(traffic, _) => f64::from(traffic.misses_permille) / 1000.0,
        Measure::Latency(_)
        | Measure::ObjectMemory
        | Measure::MemoryBound
        | Measure::Scaling(_)
        | Measure::Start => 0.0,
    }
}

fn pictures(results: &[LineResult]) -> Vec<(&'static str, &'static str, String)> {
    let mut pictures = Vec::new();
    for (name, title, lines) in [
        (
            "hits.svg",
            "Processor time a hit",
            &[
                "hit-128",
                "hit-1k",
                "hit-zipf",
                "hit-uniform",
                "hit-browser",
                "hit-10k",
                "not-modified",
            ][..],
        ),
        (
            "large.svg",
            "Processor time a large hit",
            &["hit-100k", "hit-1m"][..],
        ),
        (
            "misses.svg",
            "Processor time a miss and a passed request",
            &[
                "miss",
                "pass",
                "misses-1",
                "misses-10",
                "misses-50",
                "evicting",
            ][..],
        ),
        (
            "conditions.svg",
            "Processor time a hit under conditions",
            &["http2", "tls", "idle", "bans", "variants"][..],
        ),
        ("memory.svg", "Memory beyond the body", &["memory"][..]),
    ] {
        let found: Vec<&LineResult> = results
            .iter()
            .filter(|result| lines.contains(&result.line.name))
            .collect();
        let Some(first) = found.first() else {
            continue;
        };
        let series: Vec<&str> = Kind::ALL.iter().map(|kind| kind.title()).collect();
        let groups: Vec<Group> = found
            .iter()
            .map(|result| Group {
                label: result.line.name.to_owned(),
                values: Kind::ALL
                    .iter()
                    .map(|kind| result.of(*kind).and_then(PeerResult::median))
                    .collect(),
            })
            .collect();
        let unit = first.line.unit().title();
        pictures.push((name, title, plot::bars(title, unit, &series, &groups)));
    }
    if let Some(curves) = latency_curves(results) {
        let title = "Latency at 80 % of each one's peak";
        let svg = plot::percentiles(title, "µs", 4, &curves);
        pictures.push(("latency.svg", title, svg));
    }
    pictures
}

fn latency_curves(results: &[LineResult]) -> Option<Vec<Curve>> {
    let result = results
        .iter()
        .find(|result| matches!(result.line.measure, Measure::Latency(_)))?;
    let curves: Vec<Curve> = result
        .peers
        .iter()
        .filter_map(|peer| {
            let latency = peer.latency()?;
            let points = (0..=400)
                .map(|step| 1.0 - 10_f64.powf(-f64::from(step) / 100.0))
                .map(|share| (share, latency.value_at_quantile(share) as f64 / 1e3))
                .collect();
            Some(Curve {
                label: peer.kind.title().to_owned(),
                points,
            })
        })
        .collect();
    (!curves.is_empty()).then_some(curves)
}

/// Every figure of every round.
fn samples(results: &[LineResult]) -> String {
    let mut text = String::from("line\tpeer\tround\tvalue\tunit\trequests_per_second\n");
    for result in results {
        for peer in &result.peers {
            let samples = peer.outcome.as_deref().unwrap_or_default();
            for (round, sample) in samples.iter().enumerate() {
                let rate = sample
                    .requests_per_second
                    .map_or(String::new(), |rate| format!("{rate:.0}"));
                text.push_str(&format!(
                    "{}\t{}\t{}\t{:.3}\t{}\t{rate}\n",
                    result.line.name,
                    peer.kind.name(),
                    round + 1,
                    sample.value,
                    result.line.unit().title(),
                ));
            }
        }
    }
    text
}

fn with_unit(value: f64, unit: Unit) -> String {
    match unit {
        Unit::MicrosecondsPerRequest | Unit::Microseconds => format!("{} µs", digits(value)),
        Unit::BytesPerObject => format!("{value:.0} bytes"),
        Unit::Mebibytes => format!("{value:.0} MiB"),
        Unit::Milliseconds => format!("{value:.0} ms"),
        Unit::Times => format!("{value:.2} ×"),
    }
}

fn digits(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

fn spread(values: &[f64]) -> String {
    let (low, high) = bounds(values);
    match values.len() {
        0 | 1 => String::new(),
        _ => format!("{} to {}", digits(low), digits(high)),
    }
}

fn spread_of_ratio(ratios: &[f64]) -> String {
    let Some(middle) = median(ratios) else {
        return "–".to_owned();
    };
    let (low, high) = bounds(ratios);
    match ratios.len() {
        1 => format!("{middle:.2}"),
        _ => format!("{middle:.2} ({low:.2} to {high:.2})"),
    }
}

fn bounds(values: &[f64]) -> (f64, f64) {
    values
        .iter()
        .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| {
            (low.min(*value), high.max(*value))
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::lines::{self, LINES};
    use crate::bench::measure::Sample;

    fn result(name: &str, peers: &[(Kind, &[f64])]) -> LineResult {
        LineResult {
            line: lines::find(name).unwrap(),
            peers: peers
                .iter()
                .map(|(kind, values)| PeerResult {
                    kind: *kind,
                    outcome: Ok(values
                        .iter()
                        .map(|value| Sample {
                            value: *value,
                            requests_per_second: Some(1e6 / value),
                            latency: None,
                        })
                        .collect()),
                })
                .collect(),
        }
    }

    fn verdicts(result: &LineResult, all: &[LineResult]) -> Vec<Verdict> {
        let judged = judge(result, all);
        judged.iter().map(|judged| judged.verdict).collect()
    }

    #[test]
    fn ratios_are_judged_against_each_peer() {
        let hit = result(
            "hit-128",
            &[
                (Kind::Lacquer, &[5.0, 6.0, 5.5]),
                (Kind::Nginx, &[9.0, 9.0, 9.0]),
                (Kind::Varnish, &[10.0, 10.0, 10.0]),
            ],
        );
        assert_eq!(
            verdicts(&hit, &[]),
            [
                Verdict::Reached,
                Verdict::NotReached,
                Verdict::Unknown,
                Verdict::Unknown
            ]
        );
        assert_eq!(judge(&hit, &[])[0].found, "1.64 (1.50 to 1.80)");
    }

    #[test]
    fn the_best_peer_counts() {
        let large = result(
            "hit-1m",
            &[
                (Kind::Lacquer, &[100.0]),
                (Kind::Nginx, &[90.0]),
                (Kind::Varnish, &[200.0]),
            ],
        );
        let judged = &judge(&large, &[])[0];
        assert_eq!(judged.verdict, Verdict::NotReached);
        assert_eq!(judged.found, "0.90 (nginx)");
    }

    #[test]
    fn a_fall_is_what_arithmetic_does_not_explain() {
        let all = [
            result("hit-zipf", &[(Kind::Lacquer, &[10.0])]),
            result("miss", &[(Kind::Lacquer, &[110.0])]),
        ];
        // Ten in a hundred miss: 20 µs are explained.
        for (found, verdict) in [(21.0, Verdict::Reached), (23.0, Verdict::NotReached)] {
            let line = result("misses-10", &[(Kind::Lacquer, &[found])]);
            assert_eq!(verdicts(&line, &all)[0], verdict);
            assert_eq!(verdicts(&line, &all[..1])[0], Verdict::Unknown);
        }
    }

    #[test]
    fn failures_are_shown() {
        let mut hit = result("hit-128", &[(Kind::Lacquer, &[5.0]), (Kind::Nginx, &[9.0])]);
        hit.peers[1].outcome = Err("no hit\nmore".to_owned());
        assert!(table(&hit).contains("| nginx | **failed**: no hit |"));
    }

    #[test]
    fn the_file_names_every_line() {
        let results: Vec<LineResult> = LINES
            .iter()
            .map(|line| result(line.name, &[(Kind::Lacquer, &[1.0])]))
            .collect();
        let plan = Plan {
            rounds: 1,
            duration: std::time::Duration::from_secs(1),
            objects: 1,
            peers: vec![Kind::Lacquer],
        };
        let folder = tempfile::TempDir::new().unwrap();
        let machine = Machine { facts: Vec::new() };
        let remarks = Remarks::from([("hit-128".to_owned(), "a remark".to_owned())]);
        write(folder.path(), &results, &plan, &machine, &remarks).unwrap();
        let text = fs::read_to_string(folder.path().join("RESULTS.md")).unwrap();
        for line in LINES {
            assert!(
                text.contains(&format!("(`{}`)", line.name)),
                "{}",
                line.name
            );
        }
        assert!(text.contains("a remark") && text.contains("results/hits.svg"));
        assert!(folder.path().join("results/hits.svg").is_file());
        let samples = fs::read_to_string(folder.path().join("results/samples.tsv")).unwrap();
        assert_eq!(samples.lines().count(), LINES.len() + 1);
    }
}
