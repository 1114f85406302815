//! The lines of the benchmark: what each measures, against whom, and what Lacquer is to reach.

use super::peers::{Bodies, Cores, Kind, Protocol, Setup};
use super::traffic::{Fields, Targets, Traffic};

/// How a line is measured.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Measure {
    /// Processor time a request under as much load as the generator gives.
    Load(Traffic, Before),
    /// The 99th percentile of latency at 80 % of each one's own peak.
    Latency(Traffic),
    /// Memory that many objects of 1 KiB take beyond their bodies.
    ObjectMemory,
    /// Most memory while the cache is filled again and again, beyond its configured size.
    MemoryBound,
    /// How much more two cores serve than one.
    Scaling(Traffic),
    /// Time to the first answer.
    Start,
}

/// What is done to a server before its cache is filled and load put on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Before {
    Nothing,
    /// So many connections are opened, used once, and left idle.
    IdleConnections(usize),
    /// So many bans are listed that match nothing.
    Bans(usize),
    /// The cache is filled beyond its size, so that it evicts from then on.
    Fill,
}

/// What a line's figure is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    MicrosecondsPerRequest,
    Microseconds,
    BytesPerObject,
    Mebibytes,
    Milliseconds,
    Times,
}

impl Unit {
    pub fn title(self) -> &'static str {
        match self {
            Unit::MicrosecondsPerRequest => "µs of processor a request",
            Unit::Microseconds => "µs",
            Unit::BytesPerObject => "bytes an object",
            Unit::Mebibytes => "MiB",
            Unit::Milliseconds => "ms",
            Unit::Times => "times",
        }
    }

    pub fn more_is_better(self) -> bool {
        self == Unit::Times
    }
}

/// What Lacquer is to reach on a line.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Target {
    /// At least so many times the best of these.
    Ratio(&'static [Kind], f64),
    AtMost(f64),
    AtLeast(f64),
    /// At most so many percent above what the arithmetic of hits and misses alone explains.
    Fall {
        hits: &'static str,
        misses: &'static str,
        percent: f64,
    },
}

/// A line.
#[derive(Clone, Copy, Debug)]
pub struct Line {
    /// On the command line.
    pub name: &'static str,
    pub title: &'static str,
    pub measure: Measure,
    pub setup: Setup,
    pub peers: &'static [Kind],
    pub targets: &'static [Target],
}

impl Line {
    pub fn unit(&self) -> Unit {
        match self.measure {
            Measure::Load(..) => Unit::MicrosecondsPerRequest,
            Measure::Latency(_) => Unit::Microseconds,
            Measure::ObjectMemory => Unit::BytesPerObject,
            Measure::MemoryBound => Unit::Mebibytes,
            Measure::Scaling(_) => Unit::Times,
            Measure::Start => Unit::Milliseconds,
        }
    }
}

use Kind::{BareLoop, Haproxy, Lacquer, Nginx, Trafficserver, Varnish};

const EVERYONE: &[Kind] = &Kind::ALL;
const SERVERS: &[Kind] = &[Lacquer, Nginx, Varnish, Haproxy, Trafficserver];
/// HAProxy takes all its memory when it starts, so that its objects cannot be told from it.
const GROWING: &[Kind] = &[Lacquer, Nginx, Varnish, Trafficserver];
const HTTP2_SERVERS: &[Kind] = &[Lacquer, Nginx, Varnish, Haproxy];
const TLS_SERVERS: &[Kind] = &[Lacquer, Nginx, Haproxy, Trafficserver];
/// HAProxy 2.6 and ATS 9.2 ask the backend for each of a thousand variants again, whatever their settings say.
const VARYING: &[Kind] = &[Lacquer, Nginx, Varnish];
const BANNING: &[Kind] = &[Lacquer, Varnish];
const BEST: &[Kind] = &[Nginx, Varnish, Haproxy, Trafficserver];

const SMALL_HIT: &[Target] = &[
    Target::Ratio(&[Nginx], 1.4),
    Target::Ratio(&[Varnish], 2.2),
    Target::Ratio(&[Haproxy], 1.15),
    Target::Ratio(&[BareLoop], 0.85),
];

const ONE: Traffic = Traffic::hits(1024, Targets::One);
const ZIPF: Traffic = Traffic::hits(1024, Targets::Zipf(10_000));
const UNIFORM: Traffic = Traffic::hits(1024, Targets::Uniform(10_000));
const MISSES: Traffic = Traffic::hits(1024, Targets::Unique);
const HITS_LINE: &str = "hit-zipf";
const MISSES_LINE: &str = "miss";

const FALL: Target = Target::Fall {
    hits: HITS_LINE,
    misses: MISSES_LINE,
    percent: 10.0,
};
/// Of one URL.
const FALL_OF_ONE: Target = Target::Fall {
    hits: "hit-1k",
    misses: MISSES_LINE,
    percent: 10.0,
};
const FALL_AND_VARNISH: &[Target] = &[FALL, Target::Ratio(&[Varnish], 1.0)];

const SETUP: Setup = Setup {
    memory_bytes: 256 << 20,
    protocol: Protocol::Http1,
    cores: Cores::One,
    bodies: Bodies::Small,
    connections_max: 10_000,
};
const LARGE_BODIES: Setup = Setup {
    bodies: Bodies::Large,
    ..SETUP
};
/// Small, so that it is full soon.
const SMALL_MEMORY: Setup = Setup {
    memory_bytes: 64 << 20,
    ..SETUP
};

const fn load(
    name: &'static str,
    title: &'static str,
    traffic: Traffic,
    peers: &'static [Kind],
    targets: &'static [Target],
) -> Line {
    Line {
        name,
        title,
        measure: Measure::Load(traffic, Before::Nothing),
        setup: SETUP,
        peers,
        targets,
    }
}

impl Line {
    const fn with_setup(mut self, setup: Setup) -> Line {
        self.setup = setup;
        self
    }

    const fn measured(mut self, measure: Measure) -> Line {
        self.measure = measure;
        self
    }
}

/// All lines, in the order of the report.
pub const LINES: &[Line] = &[
    load(
        "hit-128",
        "128 B hit",
        Traffic::hits(128, Targets::One),
        EVERYONE,
        SMALL_HIT,
    ),
    load("hit-1k", "1 KiB hit, one URL", ONE, EVERYONE, SMALL_HIT),
    load(
        HITS_LINE,
        "1 KiB hit, 10,000 URLs by Zipf",
        ZIPF,
        EVERYONE,
        SMALL_HIT,
    ),
    load(
        "hit-uniform",
        "1 KiB hit, 10,000 URLs alike",
        UNIFORM,
        EVERYONE,
        SMALL_HIT,
    ),
    load(
        "hit-browser",
        "1 KiB hit, a browser's 13 fields",
        ZIPF.with_fields(Fields::Browser),
        EVERYONE,
        SMALL_HIT,
    ),
    load(
        "hit-10k",
        "10 KiB hit",
        Traffic::hits(10 << 10, Targets::One),
        EVERYONE,
        &[
            Target::Ratio(&[Nginx], 1.25),
            Target::Ratio(&[Varnish], 1.9),
        ],
    ),
    load(
        "hit-100k",
        "100 KiB hit",
        Traffic::hits(100 << 10, Targets::One),
        EVERYONE,
        &[Target::Ratio(BEST, 1.0)],
    )
    .with_setup(LARGE_BODIES),
    load(
        "hit-1m",
        "1 MiB hit",
        Traffic::hits(1 << 20, Targets::One),
        EVERYONE,
        &[Target::Ratio(BEST, 1.0)],
    )
    .with_setup(LARGE_BODIES),
    load(
        "not-modified",
        "304 to If-None-Match",
        ONE.with_fields(Fields::IfNoneMatch),
        EVERYONE,
        &[Target::Ratio(&[Nginx], 1.4)],
    ),
    load(
        "latency",
        "p99 latency at 80 % of each one's peak, 1 KiB hit",
        ZIPF,
        SERVERS,
        &[Target::Ratio(BEST, 1.0)],
    )
    .measured(Measure::Latency(ZIPF)),
    load(
        MISSES_LINE,
        "1 KiB miss",
        MISSES,
        SERVERS,
        &[
            Target::Ratio(&[Trafficserver], 1.0),
            Target::Ratio(&[Nginx], 1.5),
            Target::Ratio(&[Varnish], 2.8),
        ],
    ),
    load(
        "pass",
        "1 KiB POST passed",
        Traffic::hits(128, Targets::Posted),
        SERVERS,
        &[Target::Ratio(&[Nginx], 0.9), Target::Ratio(&[Varnish], 3.8)],
    ),
    load(
        "http2",
        "1 KiB hit, HTTP/2, 10 streams a connection",
        ONE,
        HTTP2_SERVERS,
        &[Target::Ratio(&[Nginx, Haproxy], 1.0)],
    )
    .with_setup(Setup {
        protocol: Protocol::Http2,
        ..SETUP
    }),
    load(
        "tls",
        "1 KiB hit, TLS",
        ONE,
        TLS_SERVERS,
        &[Target::Ratio(&[Nginx, Haproxy], 1.0)],
    )
    .with_setup(Setup {
        protocol: Protocol::Tls,
        ..SETUP
    }),
    load(
        "memory",
        "memory beyond the body, 1 KiB objects",
        MISSES,
        GROWING,
        &[Target::AtMost(600.0)],
    )
    .measured(Measure::ObjectMemory),
    load(
        "memory-bound",
        "most memory above the configured size",
        MISSES,
        &[Lacquer],
        &[Target::AtMost(64.0)],
    )
    .measured(Measure::MemoryBound)
    .with_setup(SMALL_MEMORY),
    load(
        "misses-1",
        "1 KiB, 1 % of requests miss",
        ZIPF.with_misses(10),
        SERVERS,
        FALL_AND_VARNISH,
    ),
    load(
        "misses-10",
        "1 KiB, 10 % of requests miss",
        ZIPF.with_misses(100),
        SERVERS,
        FALL_AND_VARNISH,
    ),
    load(
        "misses-50",
        "1 KiB, 50 % of requests miss",
        ZIPF.with_misses(500),
        SERVERS,
        FALL_AND_VARNISH,
    ),
    load(
        "evicting",
        "1 KiB, 10 % miss, the cache evicts without pause",
        ZIPF,
        SERVERS,
        FALL_AND_VARNISH,
    )
    .with_setup(SMALL_MEMORY)
    .measured(Measure::Load(
        Traffic::hits(1024, Targets::Zipf(1_000)).with_misses(100),
        Before::Fill,
    )),
    load(
        "idle",
        "1 KiB hit beside 10,000 idle connections",
        ONE,
        SERVERS,
        &[FALL_OF_ONE, Target::Ratio(&[Varnish], 1.0)],
    )
    .with_setup(Setup {
        connections_max: 11_000,
        ..SETUP
    })
    .measured(Measure::Load(ONE, Before::IdleConnections(10_000))),
    load(
        "bans",
        "1 KiB hit with 1,000 bans listed",
        ZIPF,
        BANNING,
        FALL_AND_VARNISH,
    )
    .measured(Measure::Load(ZIPF, Before::Bans(1_000))),
    load(
        "variants",
        "1 KiB hit, 1,000 variants of one URL",
        Traffic::hits(1024, Targets::Variants(1_000)),
        VARYING,
        &[FALL_OF_ONE, Target::Ratio(&[Varnish], 1.0)],
    ),
    load(
        "scaling",
        "1 KiB hit, two cores for one",
        ZIPF,
        SERVERS,
        &[Target::AtLeast(1.8)],
    )
    .measured(Measure::Scaling(ZIPF)),
    load(
        "start",
        "start to first answer",
        ONE,
        SERVERS,
        &[Target::AtMost(50.0)],
    )
    .measured(Measure::Start),
];

/// The line of a name.
pub fn find(name: &str) -> Option<&'static Line> {
    LINES.iter().find(|line| line.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_bases_exist() {
        for line in LINES {
            let same = LINES.iter().filter(|other| other.name == line.name);
            assert_eq!(same.count(), 1, "{}", line.name);
            for target in line.targets {
                if let Target::Fall { hits, misses, .. } = target {
                    assert!(find(hits).is_some() && find(misses).is_some());
                }
            }
        }
    }

    #[test]
    fn targets_name_peers_of_their_line() {
        for line in LINES {
            for target in line.targets {
                if let Target::Ratio(peers, _) = target {
                    assert!(
                        peers.iter().any(|peer| line.peers.contains(peer)),
                        "{}",
                        line.name
                    );
                }
            }
        }
    }

    #[test]
    fn memory_is_lacquers_default_unless_a_line_says_so() {
        assert_eq!(SETUP, Setup::default());
    }
}
