use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroUsize;
use std::sync::{Arc, Barrier};

use super::*;
use crate::bans::{Ban, BanList};
use crate::time::Timestamp;

/// A name and its labels per line, in order: the interface that dashboards rely on.
const NAMES: &str = include_str!("names.txt");
/// The names that Varnish's exporter has: name, type, labels.
const VARNISH_NAMES: &str = include_str!("varnish_names.txt");
const LEFT_OUT: &str = include_str!("left_out.md");

struct Readings(GaugeReadings);

impl Gauges for Readings {
    fn read(&self) -> GaugeReadings {
        self.0
    }
}

struct Backends(Vec<BackendSample>);

impl BackendStats for Backends {
    fn backends(&self) -> Vec<BackendSample> {
        self.0.clone()
    }

    fn totals(&self) -> BackendTotals {
        BackendTotals {
            connected: 11,
            busy: 4,
            ..BackendTotals::default()
        }
    }
}

fn backend(name: &str, health: Health) -> BackendSample {
    BackendSample {
        backend: name.to_owned(),
        server: "127.0.0.1:8081".to_owned(),
        health,
        probes: Some(0b1011),
        requests: 7,
        failures: 3,
        failures_econnrefused: 2,
        failures_other: 1,
        ..BackendSample::default()
    }
}

fn exporter(metrics: &Arc<Metrics>) -> Exporter {
    let bans = Arc::new(BanList::new(NonZeroUsize::MIN));
    bans.add(Ban::parse("req.url ~ /").unwrap(), Timestamp::EPOCH);
    bans.add(Ban::parse("obj.status == 1").unwrap(), Timestamp::EPOCH);
    Exporter::new(
        Arc::clone(metrics),
        bans,
        Arc::new(Readings(GaugeReadings {
            objects: 3,
            keys: 2,
            objects_bytes: 1000,
            index_bytes: 200,
            transit_bytes: 50,
            cache_bytes_max: 4096,
            threads: 2,
        })),
        Arc::new(Backends(vec![
            backend("good", Health::Healthy),
            backend("odd \"name\"\\", Health::Sick),
        ])),
    )
}

/// The samples of a page, `name{labels}` to value.
fn samples(page: &str) -> BTreeMap<String, f64> {
    let lines = page.lines().filter(|line| !line.starts_with('#'));
    lines
        .map(|line| {
            let (name, value) = line.rsplit_once(' ').unwrap();
            (name.to_owned(), value.parse().unwrap())
        })
        .collect()
}

/// `name type label,label` of each family, by what the page says of itself.
fn families(page: &str) -> BTreeMap<String, (String, BTreeSet<String>)> {
    let mut families = BTreeMap::new();
    let mut current = String::new();
    for line in page.lines() {
        if let Some(family) = line.strip_prefix("# TYPE ") {
            let (name, kind) = family.split_once(' ').unwrap();
            current = name.to_owned();
            let known = families.insert(current.clone(), (kind.to_owned(), BTreeSet::new()));
            assert!(known.is_none(), "{name} appears twice");
        } else if !line.starts_with('#')
            && let Some((_, labels)) = line.split_once('{')
        {
            let labels = labels.rsplit_once('}').unwrap().0;
            let names = labels.split("\",").map(|pair| pair.split('=').next());
            let names = names.map(|name| name.unwrap().to_owned());
            let family: &mut (String, BTreeSet<String>) = families.get_mut(&current).unwrap();
            family.1.extend(names.filter(|name| name != "le"));
        }
    }
    families
}

fn listed(page: &str) -> String {
    let mut text = String::new();
    for (name, (kind, labels)) in families(page) {
        let labels: Vec<_> = labels.into_iter().collect();
        text.push_str(format!("{name} {kind} {}", labels.join(",")).trim_end());
        text.push('\n');
    }
    text
}

#[test]
fn names_and_labels_are_those_of_the_committed_file() {
    let page = exporter(&Arc::default()).render();
    assert_eq!(listed(&page), NAMES);
}

#[test]
fn every_varnish_name_is_exported_as_it_is_there_or_left_out_with_a_reason() {
    let page = exporter(&Arc::default()).render();
    let exported = families(&page);
    let left_out: Vec<&str> = LEFT_OUT
        .split('`')
        .filter(|word| word.starts_with("varnish_"))
        .collect();
    let is_left_out = |name: &str| {
        left_out
            .iter()
            .any(|pattern| match pattern.strip_suffix('*') {
                Some(prefix) => name.starts_with(prefix),
                None => name == *pattern,
            })
    };
    let mut theirs = BTreeSet::new();
    for line in VARNISH_NAMES.lines() {
        let mut parts = line.split(' ');
        let name = parts.next().unwrap();
        let kind = parts.next().unwrap();
        let labels: BTreeSet<String> = parts
            .next()
            .map(|labels| labels.split(',').map(str::to_owned).collect())
            .unwrap_or_default();
        theirs.insert(name);
        match exported.get(name) {
            Some(family) => {
                assert!(
                    !is_left_out(name),
                    "{name} is exported and said to be left out"
                );
                assert_eq!(family, &(kind.to_owned(), labels), "{name}");
            }
            None => assert!(is_left_out(name), "{name} is neither exported nor left out"),
        }
    }
    for name in exported.keys().filter(|name| name.starts_with("varnish_")) {
        assert!(
            theirs.contains(name.as_str()),
            "{name} is no name of Varnish's"
        );
    }
}

#[test]
fn page_is_the_text_format() {
    let page = exporter(&Arc::default()).render();
    assert_eq!(
        Exporter::CONTENT_TYPE,
        "text/plain; version=0.0.4; charset=utf-8"
    );
    assert!(page.ends_with('\n'));
    assert!(page.contains("# HELP varnish_main_cache_hit Requests answered from a stored object"));
    assert!(page.contains("# TYPE varnish_main_cache_hit counter\nvarnish_main_cache_hit 0\n"));
    assert!(page.contains(
        "varnish_backend_up{backend=\"odd \\\"name\\\"\\\\\",server=\"127.0.0.1:8081\"} 0\n"
    ));
}

#[test]
fn values_are_those_of_the_sources() {
    let metrics = Arc::new(Metrics::new());
    metrics.count(Counter::CacheHits);
    metrics.add(Counter::ResponseBodyBytes, 5_000_000_000);
    metrics.count(Counter::InvalidationsSurrogateKey);
    metrics.count(Counter::SessionsAccepted);
    metrics.count(Counter::SessionsAccepted);
    metrics.session_closed(SessionClose::Remote);
    metrics.add(Counter::Pipes, 3);
    metrics.count(Counter::PipesEnded);
    let samples = samples(&exporter(&metrics).render());
    for (name, value) in [
        ("varnish_main_cache_hit", 1.0),
        ("varnish_main_s_resp_bodybytes", 5e9),
        ("varnish_main_sessions{type=\"conn\"}", 2.0),
        ("varnish_main_sessions_total", 2.0),
        ("varnish_main_sessions{type=\"closed\"}", 1.0),
        ("varnish_main_sessions{type=\"closed_err\"}", 0.0),
        ("varnish_main_sc_rem_close", 1.0),
        ("lacquer_client_connections", 1.0),
        ("varnish_main_n_pipe", 2.0),
        ("lacquer_invalidations_total{reason=\"surrogate_key\"}", 1.0),
        ("lacquer_invalidations_total{reason=\"ban\"}", 0.0),
        ("varnish_main_bans", 1.0),
        ("varnish_main_bans_obj", 1.0),
        ("varnish_main_bans_req", 0.0),
        ("varnish_main_bans_added", 2.0),
        ("varnish_main_n_object", 3.0),
        ("varnish_main_n_objecthead", 2.0),
        ("varnish_sma_g_bytes{type=\"s0\"}", 1200.0),
        ("varnish_sma_g_space{type=\"s0\"}", 2896.0),
        ("lacquer_memory_bytes{kind=\"transit\"}", 50.0),
        ("varnish_main_n_backend", 2.0),
        ("varnish_main_backend_conn", 11.0),
        ("varnish_main_backend_busy", 4.0),
        (
            "varnish_backend_req{backend=\"good\",server=\"127.0.0.1:8081\"}",
            7.0,
        ),
        (
            "varnish_backend_up{backend=\"good\",server=\"127.0.0.1:8081\"}",
            1.0,
        ),
        (
            "varnish_backend_happy{backend=\"good\",server=\"127.0.0.1:8081\"}",
            11.0,
        ),
        ("varnish_up", 1.0),
    ] {
        assert_eq!(samples.get(name), Some(&value), "{name}");
    }
    assert!(samples["process_resident_memory_bytes"] > 1e6);
}

#[test]
fn durations_fall_into_cumulative_buckets() {
    let metrics = Arc::new(Metrics::new());
    for micros in [10, 50, 51, 700, 61_000_000] {
        metrics.observe(Outcome::Hit, Duration::from_micros(micros));
    }
    assert_eq!(metrics.observed(Outcome::Hit), 5);
    assert_eq!(metrics.observed(Outcome::Miss), 0);
    let samples = samples(&exporter(&metrics).render());
    let family = "lacquer_request_duration_seconds";
    for (le, count) in [
        ("0.00005", 2.0),
        ("0.0001", 3.0),
        ("0.0005", 3.0),
        ("0.001", 4.0),
        ("60", 4.0),
        ("+Inf", 5.0),
    ] {
        let name = format!("{family}_bucket{{outcome=\"hit\",le=\"{le}\"}}");
        assert_eq!(samples.get(&name), Some(&count), "{name}");
    }
    assert_eq!(samples[&format!("{family}_count{{outcome=\"hit\"}}")], 5.0);
    let sum = samples[&format!("{family}_sum{{outcome=\"hit\"}}")];
    assert!((sum - 61.000_811).abs() < 1e-6, "{sum}");
}

#[test]
fn no_count_is_lost_between_threads_that_come_and_go() {
    const THREADS: usize = 40;
    const EACH: u64 = 5_000;
    let metrics = Metrics::new();
    for _ in 0..3 {
        std::thread::scope(|scope| {
            for _ in 0..THREADS {
                scope.spawn(|| {
                    for _ in 0..EACH {
                        metrics.count(Counter::ClientRequests);
                        metrics.observe(Outcome::Hit, Duration::from_micros(1));
                    }
                });
            }
        });
    }
    let total = 3 * THREADS as u64 * EACH;
    assert_eq!(metrics.get(Counter::ClientRequests), total);
    assert_eq!(metrics.observed(Outcome::Hit), total);
}

#[test]
fn threads_beyond_the_slots_share_one_without_loss() {
    const THREADS: usize = SLOTS + 20;
    const EACH: u64 = 2_000;
    let metrics = Metrics::new();
    let barrier = Barrier::new(THREADS);
    let slots = parking_lot::Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            std::thread::Builder::new()
                .stack_size(128 * 1024)
                .spawn_scoped(scope, || {
                    slots.lock().push(thread_slot());
                    barrier.wait();
                    for _ in 0..EACH {
                        metrics.count(Counter::ClientRequests);
                    }
                })
                .unwrap();
        }
    });
    let slots = slots.into_inner();
    let shared = slots.iter().filter(|slot| **slot == SLOTS - 1).count();
    assert!(shared > 1, "{shared} threads shared a slot");
    let owned: BTreeSet<_> = slots.iter().filter(|slot| **slot < SLOTS - 1).collect();
    assert_eq!(owned.len() + shared, THREADS, "an owned slot has one owner");
    assert_eq!(metrics.get(Counter::ClientRequests), THREADS as u64 * EACH);
}

#[test]
fn session_ends_are_split_into_errors_and_others() {
    let metrics = Metrics::new();
    metrics.session_closed(SessionClose::BadRequest);
    metrics.session_closed(SessionClose::Remote);
    metrics.session_closed(SessionClose::Pipe);
    assert_eq!(metrics.get(Counter::SessionsClosed), 3);
    assert_eq!(metrics.get(Counter::SessionsClosedWithError), 1);
    assert_eq!(metrics.get(Counter::SessionCloseBadRequest), 1);
    assert_eq!(metrics.get(Counter::SessionClosePipe), 1);
}
