//! Runs a line: starts its servers, fills them, shows that they answer rightly, and measures them in turn.

use std::net::TcpStream;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use hdrhistogram::Histogram;

use super::backend::Backend;
use super::child::check_interrupted;
use super::cpu;
use super::lines::{Before, Line, Measure, Unit};
use super::load;
use super::openloop::{self, Pace};
use super::peers::{self, Cores, Kind, Peer, Protocol, Setup};
use super::probe::{self, Answer, Probe};
use super::traffic::{Name, Targets, Traffic, fresh_names};

/// Of each one's own peak, for latency.
const SHARE_OF_PEAK: f64 = 0.8;
/// Objects that are asked for again to see that they are kept.
const SAMPLED: u64 = 1_000;
/// Requests under way when a run ends, which the backend sees and the generator does not count.
const UNDER_WAY_MAX: f64 = 200.0;
/// How long a server gets to put away what it has just stored.
const SETTLE: Duration = Duration::from_millis(300);

/// How much is measured.
#[derive(Clone, Debug)]
pub struct Plan {
    pub rounds: usize,
    pub duration: Duration,
    /// Objects whose memory is measured.
    pub objects: u64,
    pub peers: Vec<Kind>,
}

/// One figure of one server in one round.
#[derive(Clone, Debug)]
pub struct Sample {
    /// In the line's unit.
    pub value: f64,
    pub requests_per_second: Option<f64>,
    /// Latency in nanoseconds, where it was asked for.
    pub latency: Option<Latency>,
}

#[derive(Clone, Debug)]
pub struct Latency {
    pub histogram: Histogram<u64>,
    /// The 99th percentile of the generator's own lateness, in nanoseconds.
    pub own_delay_p99: u64,
}

/// What came of a line for one server.
#[derive(Clone, Debug)]
pub struct PeerResult {
    pub kind: Kind,
    /// One for each round, or why there are none.
    pub outcome: Result<Vec<Sample>, String>,
}

/// What came of a line.
#[derive(Clone, Debug)]
pub struct LineResult {
    pub line: &'static Line,
    pub peers: Vec<PeerResult>,
}

/// A server that takes part in a line, or why it does no more.
#[derive(Debug)]
struct Entrant {
    kind: Kind,
    state: Result<Contest, String>,
    samples: Vec<Sample>,
}

/// A server with what its line has given it.
#[derive(Debug, Default)]
struct Contest {
    peer: Option<Peer>,
    /// The same server on two cores, where the line compares.
    on_two: Option<Peer>,
    /// Requests a second that it answers when asked as fast as it answers.
    peak: f64,
}

impl Contest {
    fn peer(&self) -> &Peer {
        self.peer.as_ref().expect("set when it was made")
    }
}

/// Runs a line. What goes wrong with one server is its result, and does not end the others'.
///
/// # Errors
/// When the benchmark itself cannot go on.
pub fn run(line: &'static Line, plan: &Plan, folder: &Path) -> Result<LineResult> {
    let kinds: Vec<Kind> = line
        .peers
        .iter()
        .copied()
        .filter(|kind| plan.peers.contains(kind))
        .collect();
    let one_at_a_time = matches!(line.measure, Measure::ObjectMemory | Measure::MemoryBound);
    let (groups, rounds) = match one_at_a_time {
        // Each may take a large part of the machine's memory, and counts rather than races.
        true => (kinds.iter().map(|kind| vec![*kind]).collect(), 1),
        false => (vec![kinds], plan.rounds),
    };
    let mut peers = Vec::new();
    for group in groups {
        peers.extend(run_together(line, plan, &group, rounds, folder)?);
    }
    Ok(LineResult { line, peers })
}

fn run_together(
    line: &'static Line,
    plan: &Plan,
    kinds: &[Kind],
    rounds: usize,
    folder: &Path,
) -> Result<Vec<PeerResult>> {
    let backend = Backend::start()?;
    let mut entrants = Vec::new();
    let mut response = None;
    for kind in kinds {
        eprintln!("  {}: {} starts", line.name, kind.name());
        let contest = prepare(*kind, line, plan, &backend, folder, &mut response);
        entrants.push(Entrant {
            kind: *kind,
            state: contest.map_err(|error| format!("{error:#}")),
            samples: Vec::new(),
        });
        check_interrupted()?;
    }
    for round in 0..rounds {
        // Nobody always runs behind the same one.
        let count = entrants.len();
        for at in 0..count {
            let entrant = &mut entrants[(at + round) % count];
            let Ok(contest) = &entrant.state else {
                continue;
            };
            let sample = sample(entrant.kind, contest, line, plan, &backend, folder);
            check_interrupted()?;
            match sample {
                Ok(sample) => {
                    eprintln!(
                        "  {} {}/{rounds}: {} {:.2} {}",
                        line.name,
                        round + 1,
                        entrant.kind.name(),
                        sample.value,
                        line.unit().title()
                    );
                    entrant.samples.push(sample);
                }
                Err(error) => entrant.state = Err(format!("{error:#}")),
            }
        }
    }
    Ok(entrants
        .into_iter()
        .map(|entrant| PeerResult {
            kind: entrant.kind,
            outcome: entrant.state.map(|_| entrant.samples).inspect_err(|why| {
                eprintln!("  {}: {} FAILED: {why}", line.name, entrant.kind.name());
            }),
        })
        .collect())
}

/// Starts a server and brings it to where the line begins. `response` is what the bare loop has to write: what the
/// first server before it has answered.
fn prepare(
    kind: Kind,
    line: &Line,
    plan: &Plan,
    backend: &Backend,
    folder: &Path,
    response: &mut Option<Vec<u8>>,
) -> Result<Contest> {
    let mut contest = Contest::default();
    let (traffic, before) = match line.measure {
        Measure::Load(traffic, before) => (traffic, before),
        Measure::Latency(traffic) | Measure::Scaling(traffic) => (traffic, Before::Nothing),
        // Each round starts its own.
        Measure::Start => {
            kind.program()?;
            return Ok(contest);
        }
        Measure::ObjectMemory => {
            // Room for every object, whatever a server keeps with it.
            let memory_bytes = (plan.objects * 8192).max(256 << 20);
            let setup = Setup {
                memory_bytes,
                ..line.setup
            };
            contest.peer = Some(Peer::start(kind, setup, backend.address)?);
            return Ok(contest);
        }
        Measure::MemoryBound => {
            contest.peer = Some(Peer::start(kind, line.setup, backend.address)?);
            return Ok(contest);
        }
    };
    if kind == Kind::BareLoop {
        let response = response
            .as_deref()
            .context("it writes what another server has answered, and there is none")?;
        let peer = Peer::start_bare_loop(line.setup, response)?;
        warm(&peer, &traffic, plan, folder)?;
        contest.peer = Some(peer);
        return Ok(contest);
    }
    let peer = Peer::start(kind, line.setup, backend.address)?;
    if before == Before::Fill {
        let objects = line.setup.memory_bytes / 512;
        let pace = Pace::Count(objects);
        openloop::run(peer.address, &Traffic::hits(1024, Targets::Unique), pace)?;
    }
    let answer = fill(&peer, &traffic, backend)?;
    if response.is_none() {
        *response = answer.map(|answer| [answer.head, answer.body].concat());
    }
    match before {
        Before::Bans(count) => peer.ban(count)?,
        // Filled above; the connections are opened for each turn.
        Before::Nothing | Before::Fill | Before::IdleConnections(_) => {}
    }
    warm(&peer, &traffic, plan, folder)?;
    match line.measure {
        Measure::Latency(traffic) => {
            let duration = plan.duration;
            let peak = openloop::run(peer.address, &traffic, Pace::Closed { duration })?;
            contest.peak = peak.requests_per_second();
        }
        Measure::Scaling(traffic) => {
            let setup = Setup {
                cores: Cores::Two,
                ..line.setup
            };
            let on_two = Peer::start(kind, setup, backend.address)?;
            fill(&on_two, &traffic, backend)?;
            warm(&on_two, &traffic, plan, folder)?;
            contest.on_two = Some(on_two);
        }
        Measure::Load(..) | Measure::ObjectMemory | Measure::MemoryBound | Measure::Start => {}
    }
    contest.peer = Some(peer);
    Ok(contest)
}

/// A run that does not count, so that what happens only at first has happened.
fn warm(peer: &Peer, traffic: &Traffic, plan: &Plan, folder: &Path) -> Result<()> {
    let duration = plan.duration.min(Duration::from_secs(1));
    load::run(peer.address, peer.setup.protocol, traffic, duration, folder)
        .context("before the first round")?;
    Ok(())
}

/// Asks for everything that the load will ask for again and again, until the backend is asked no more, and checks what
/// comes. Returns one of the answers.
fn fill(peer: &Peer, traffic: &Traffic, backend: &Backend) -> Result<Option<Answer>> {
    if peer.setup.protocol != Protocol::Http1 {
        let fields: Vec<String> = std::iter::once(("Host".to_owned(), super::traffic::HOST.into()))
            .chain(traffic.fields())
            .map(|(name, value)| format!("{name}: {value}"))
            .collect();
        for _ in 0..3 {
            let target = traffic.target(0);
            let body = peers::curl(peer.address, peer.setup.protocol, &target, &fields)?;
            probe::check_body(&body, traffic.body_bytes)?;
        }
        return Ok(None);
    }
    let mut probe = Probe::connect(peer.address)?;
    let mut ask = |name| -> Result<Answer> {
        let answer = probe.ask(&traffic.request(name))?;
        traffic.check(&answer)?;
        Ok(answer)
    };
    if traffic.known() == 0 {
        let name = match traffic.targets {
            Targets::Posted => Name::Known(0),
            _ => Name::Fresh(fresh_names()),
        };
        let asked = backend.requests();
        let answer = ask(name)?;
        ensure!(
            backend.requests() == asked + 1,
            "the backend was not asked for what cannot be stored"
        );
        return Ok(Some(answer));
    }
    // The conditional form of a request is for what is there already.
    let plain = Traffic {
        fields: match traffic.fields {
            super::traffic::Fields::IfNoneMatch => super::traffic::Fields::Plain,
            other => other,
        },
        ..*traffic
    };
    let mut filling = Probe::connect(peer.address)?;
    for _ in 0..2 {
        for number in 0..traffic.known() {
            let answer = filling.ask(&plain.request(Name::Known(number)))?;
            ensure!(
                answer.status == 200,
                "a {} while filling the cache",
                answer.status
            );
        }
        check_interrupted()?;
    }
    std::thread::sleep(SETTLE);
    let asked = backend.requests();
    let mut last = None;
    for number in 0..traffic.known() {
        last = Some(ask(Name::Known(number))?);
    }
    let missed = backend.requests() - asked;
    ensure!(
        missed == 0,
        "{missed} of {} answers were no hits",
        traffic.known()
    );
    Ok(last)
}

fn idle_connections(peer: &Peer, count: usize) -> Result<Vec<TcpStream>> {
    let request = Traffic::hits(16, Targets::One).request(Name::Known(0));
    (0..count)
        .map(|at| {
            check_interrupted()?;
            let mut probe = Probe::connect(peer.address)?;
            let answer = probe.ask(&request);
            let answer = answer.with_context(|| format!("idle connection {at}"))?;
            probe::check_body(&answer.body, 16)?;
            Ok(probe.into_stream())
        })
        .collect()
}

fn sample(
    kind: Kind,
    contest: &Contest,
    line: &Line,
    plan: &Plan,
    backend: &Backend,
    folder: &Path,
) -> Result<Sample> {
    let only = |value| Sample {
        value,
        requests_per_second: None,
        latency: None,
    };
    match line.measure {
        Measure::Load(traffic, before) => {
            // Only for this turn: all of them for all servers would be more files than a process may open.
            let idle = match before {
                Before::IdleConnections(count) => idle_connections(contest.peer(), count)?,
                Before::Nothing | Before::Bans(_) | Before::Fill => Vec::new(),
            };
            let sample = processor_per_request(contest.peer(), &traffic, plan, backend, folder)?;
            let closed = idle.iter().filter(|stream| !is_open(stream)).count();
            ensure!(closed == 0, "{closed} idle connections were closed");
            drop(idle);
            Ok(sample)
        }
        Measure::Scaling(traffic) => {
            let one = processor_per_request(contest.peer(), &traffic, plan, backend, folder)?;
            let on_two = contest.on_two.as_ref().expect("set when it was made");
            let two = processor_per_request(on_two, &traffic, plan, backend, folder)?;
            // Twice the processor, at what a request then costs.
            Ok(Sample {
                value: Cores::Two.count() as f64 * one.value / two.value,
                requests_per_second: two.requests_per_second,
                latency: None,
            })
        }
        Measure::Latency(traffic) => {
            let pace = Pace::Rate {
                per_second: contest.peak * SHARE_OF_PEAK,
                duration: plan.duration,
            };
            let asked = backend.requests();
            let outcome = openloop::run(contest.peer().address, &traffic, pace)?;
            check_share(&traffic, outcome.requests, backend.requests() - asked)?;
            Ok(Sample {
                value: outcome.latency.value_at_quantile(0.99) as f64 / 1e3,
                requests_per_second: Some(outcome.requests_per_second()),
                latency: Some(Latency {
                    own_delay_p99: outcome.own_delay.value_at_quantile(0.99),
                    histogram: outcome.latency,
                }),
            })
        }
        Measure::ObjectMemory => object_memory(contest.peer(), plan.objects, backend).map(only),
        Measure::MemoryBound => {
            let peer = contest.peer();
            let objects = line.setup.memory_bytes / 256;
            let traffic = Traffic::hits(1024, Targets::Unique);
            let outcome = openloop::run(peer.address, &traffic, Pace::Count(objects))?;
            ensure!(outcome.requests == objects, "not all were answered");
            let above = peer.peak_memory_bytes()? as f64 - line.setup.memory_bytes as f64;
            Ok(only(above / f64::from(1 << 20)))
        }
        Measure::Start => {
            let peer = Peer::start(kind, line.setup, backend.address)?;
            Ok(only(peer.first_answer_after.as_secs_f64() * 1e3))
        }
    }
}

fn is_open(stream: &TcpStream) -> bool {
    let mut byte = [0];
    stream.set_nonblocking(true).is_ok()
        && stream
            .peek(&mut byte)
            .is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock)
}

/// Puts a load on a server and divides what it has cost by what it has answered.
fn processor_per_request(
    peer: &Peer,
    traffic: &Traffic,
    plan: &Plan,
    backend: &Backend,
    folder: &Path,
) -> Result<Sample> {
    let (asked, before) = (backend.requests(), peer.processor_time()?);
    let protocol = peer.setup.protocol;
    let seen = load::run(peer.address, protocol, traffic, plan.duration, folder)?;
    let spent = peer.processor_time()? - before;
    if peer.kind != Kind::BareLoop {
        check_share(traffic, seen.requests, backend.requests() - asked)?;
    }
    ensure!(
        seen.bytes >= seen.requests * traffic.answer_bytes() as u64,
        "{} answers were {} bytes in all",
        seen.requests,
        seen.bytes
    );
    Ok(Sample {
        value: spent.as_secs_f64() * 1e6 / seen.requests as f64,
        requests_per_second: Some(seen.requests_per_second()),
        latency: None,
    })
}

/// Whether the backend was asked as often as the load has it: a server that fetches hits is not flattered, and one that
/// answers misses by itself is not either.
fn check_share(traffic: &Traffic, requests: u64, asked: u64) -> Result<()> {
    let permille = traffic.passed_permille();
    let expected = requests as f64 * f64::from(permille) / 1000.0;
    let (least, most) = match permille {
        0 => (0.0, 0.0),
        // A cache that evicts may lose some of what is asked for often.
        _ => (
            (expected * 0.9) - UNDER_WAY_MAX,
            expected * 1.2 + UNDER_WAY_MAX,
        ),
    };
    let asked = asked as f64;
    ensure!(
        (least..=most).contains(&asked),
        "the backend was asked {asked} times for {requests} requests, not about {expected:.0} times"
    );
    Ok(())
}

fn object_memory(peer: &Peer, objects: u64, backend: &Backend) -> Result<f64> {
    // What the first requests take once is not an object's.
    let traffic = Traffic::hits(1024, Targets::Unique);
    openloop::run(peer.address, &traffic, Pace::Count(2_000))?;
    std::thread::sleep(SETTLE);
    let before = peer.memory_bytes()?;
    // By number, so that they can be asked for again.
    let known = Traffic::hits(1024, Targets::Uniform(objects));
    openloop::run_through(peer.address, &known)?;
    std::thread::sleep(SETTLE * 4);
    let after = peer.memory_bytes()?;
    let asked = backend.requests();
    let mut probe = Probe::connect(peer.address)?;
    for at in 0..SAMPLED.min(objects) {
        let number = at * objects / SAMPLED.min(objects);
        let answer = probe.ask(&known.request(Name::Known(number)))?;
        probe::check_body(&answer.body, 1024)?;
    }
    let missed = backend.requests() - asked;
    ensure!(
        missed * 200 <= SAMPLED.min(objects),
        "{missed} of {} objects were not kept",
        SAMPLED.min(objects)
    );
    Ok((after as f64 - before as f64) / objects as f64 - 1024.0)
}

/// The cost of a line's own unit that must not depend on the order of measurement: the median.
pub fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => None,
        odd if odd % 2 == 1 => Some(sorted[middle]),
        _ => Some(f64::midpoint(sorted[middle - 1], sorted[middle])),
    }
}

impl PeerResult {
    pub fn values(&self) -> Vec<f64> {
        let samples = self.outcome.as_deref().unwrap_or_default();
        samples.iter().map(|sample| sample.value).collect()
    }

    pub fn median(&self) -> Option<f64> {
        median(&self.values())
    }

    pub fn requests_per_second(&self) -> Option<f64> {
        let samples = self.outcome.as_deref().unwrap_or_default();
        let rates: Vec<f64> = samples
            .iter()
            .filter_map(|sample| sample.requests_per_second)
            .collect();
        median(&rates)
    }

    /// Latency of all rounds together.
    pub fn latency(&self) -> Option<Histogram<u64>> {
        let samples = self.outcome.as_deref().unwrap_or_default();
        let mut parts = samples.iter().filter_map(|sample| sample.latency.as_ref());
        let mut all = parts.next()?.histogram.clone();
        for part in parts {
            all += &part.histogram;
        }
        Some(all)
    }
}

impl LineResult {
    pub fn of(&self, kind: Kind) -> Option<&PeerResult> {
        self.peers.iter().find(|peer| peer.kind == kind)
    }

    /// How many times better Lacquer is than a peer: in each round, both having run in turn.
    pub fn ratios(&self, kind: Kind) -> Vec<f64> {
        let values = |kind| self.of(kind).map(PeerResult::values).unwrap_or_default();
        let (own, other): (Vec<f64>, Vec<f64>) = (values(Kind::Lacquer), values(kind));
        own.iter()
            .zip(&other)
            .map(|(own, other)| match self.line.unit() {
                Unit::Times => own / other,
                _ => other / own,
            })
            .collect()
    }
}

/// Raises the limit of open files to what this user may have: connections are files.
pub fn raise_file_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    // Where that is too few, opening a connection says so.
    let _ = setrlimit(
        Resource::Nofile,
        Rlimit {
            current: limit.maximum,
            maximum: limit.maximum,
        },
    );
}

/// Binds the calling thread, which is the generator where it is ours, to its core.
///
/// # Errors
/// When the machine has one core only.
pub fn take_load_core() -> Result<()> {
    cpu::pin_thread(cpu::LOAD_CORE).context("the benchmark needs two cores")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_in_the_middle() {
        for (values, expected) in [
            (&[][..], None),
            (&[3.0][..], Some(3.0)),
            (&[9.0, 1.0, 2.0][..], Some(2.0)),
            (&[4.0, 1.0, 2.0, 9.0][..], Some(3.0)),
        ] {
            assert_eq!(median(values), expected);
        }
    }

    #[test]
    fn a_hit_that_asks_the_backend_is_none() {
        let hits = Traffic::hits(1, Targets::One);
        assert!(check_share(&hits, 1_000, 0).is_ok());
        assert!(check_share(&hits, 1_000_000, 1).is_err());
        let misses = Traffic::hits(1, Targets::Unique);
        assert!(check_share(&misses, 10_000, 10_064).is_ok());
        assert!(check_share(&misses, 10_000, 5_000).is_err());
        let some = Traffic::hits(1, Targets::One).with_misses(10);
        assert!(check_share(&some, 100_000, 1_001).is_ok());
        assert!(check_share(&some, 100_000, 5_000).is_err());
    }
}
