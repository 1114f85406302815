//! What stored objects take of the process's memory, by the kernel's account, under the program's own allocator.
//!
//! Objects are made by the calls that a fetch makes, in its order, and without its sockets: a head is read, its storable
//! fields kept, a body grows while the client that asked reads it, the object is stored before its body is whole and
//! weighed anew after. Each test needs a process of its own, which `cargo nextest` gives it.

use std::sync::{Arc, Barrier};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::FutureExt;
use proxy::housekeeping::give_freed_memory_back;
use proxy::http::{Fields, ResponseHead, Scheme};
use proxy::metrics::Metrics;
use proxy::object::{Body, Growth, Kind, Object, Times, Transit};
use proxy::rules::cache_control::ResponseDirectives;
use proxy::rules::key::primary_key;
use proxy::rules::storability::stored_fields;
use proxy::store::{Key, Store, StoreSettings, Stored};
use proxy::time::Timestamp;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const NOW: Timestamp = Timestamp::from_secs(1_700_000_000);

/// Most resident memory that an object of 1 KiB may take beyond its body.
///
/// Measured: 685 to 693, of which 142 are the head's lines, and 275 are moka's with the key.
const OVERHEAD_BYTES_MAX: u64 = 730;

/// What a process may hold beside what its cache is allowed.
const BESIDE_BYTES_MAX: u64 = 64 << 20;

fn store(memory_bytes: u64) -> Store {
    let settings = StoreSettings {
        memory_bytes,
        variants_max: 10,
    };
    Store::new(settings, Arc::new(Metrics::new()))
}

/// The fields of a usual answer.
fn head(length: usize) -> ResponseHead {
    let mut fields = Fields::new();
    for (name, value) in [
        ("Content-Type", "application/json"),
        ("Content-Length", &length.to_string()),
        ("Cache-Control", "max-age=3600"),
        ("ETag", "\"6553f100-400\""),
        ("Date", "Tue, 14 Nov 2023 22:13:20 GMT"),
    ] {
        fields.append(name, value);
    }
    ResponseHead {
        fields,
        ..ResponseHead::new(200)
    }
}

/// Stores one answer as a fetch does.
fn fill(store: &Store, transit: &Transit, number: usize, length: usize) -> Key {
    let key = primary_key(
        Scheme::Http,
        "127.0.0.1:8080",
        &format!("/objects/{number}"),
    );
    let key = Key::from(key.as_bytes());
    let fence = store.fence(&key);
    let mut head = head(length);
    let directives = ResponseDirectives::of(&head, &[]);
    head.fields = stored_fields(&head, &directives, NOW);
    let growth = Growth::Kept {
        bytes_max: 64 << 20,
    };
    let mut writer = Body::write_expected(growth, transit, Some(length as u64));
    let mut reader = writer.body().reader().expect("a new body");
    let times = Times {
        ttl: Duration::from_secs(3600),
        grace: Duration::from_secs(10),
        ..Times::unusable(NOW)
    };
    let body = writer.body().clone();
    let object = Object::new(head, body, Kind::Response, directives, times, 1);
    let object = Arc::new(object);
    let stored = store.insert(&key, Arc::clone(&object), fence, NOW);
    assert_eq!(stored, Stored::Yes);
    // As it lies in a buffer that was read from a socket.
    let read = Bytes::from(vec![number as u8; length + 200]);
    let pushed = writer.push(read.slice(200..)).now_or_never();
    assert_eq!(pushed, Some(Ok(())), "a kept body has room");
    let piece = reader.next().now_or_never().expect("it is there");
    assert_eq!(piece.expect("no failure").expect("a piece").len(), length);
    writer.finish(None);
    store.reweigh(&key, &object);
    key
}

/// A line of /proc/self/status, in bytes.
fn memory(line: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find_map(|found| found.strip_prefix(line));
    let kibibytes = line.and_then(|rest| rest.trim().strip_suffix(" kB"));
    kibibytes.expect("in kB").parse::<u64>().expect("a number") << 10
}

fn resident() -> u64 {
    memory("VmRSS:")
}

/// Objects to fill: more by hand, to measure.
fn objects() -> usize {
    let asked = std::env::var("MEMORY_TEST_OBJECTS").ok();
    asked.map_or(200_000, |count| count.parse().expect("a number"))
}

#[test]
fn long_object_of_one_kibibyte_takes_little_more_than_its_body() {
    const BODY_BYTES: usize = 1024;
    let store = store(16 << 30);
    let transit = Transit::new(1 << 20);
    // Tables that threads and moka make once are no object's.
    for number in 0..1000 {
        fill(&store, &transit, number, BODY_BYTES);
    }
    let objects = objects();
    store.run_pending_tasks();
    let (before, weight_before) = (resident(), store.weight_bytes());
    for number in 0..objects {
        fill(&store, &transit, 1000 + number, BODY_BYTES);
    }
    store.run_pending_tasks();
    assert_eq!(store.objects(), 1000 + objects as u64);
    let each = |bytes: u64| bytes / objects as u64;
    let resident = each(resident() - before);
    let weight = each(store.weight_bytes() - weight_before);
    let beyond = resident - BODY_BYTES as u64;
    eprintln!(
        "{objects} objects: {beyond} bytes each beyond the body, weighed {weight} of {resident}"
    );
    assert!(beyond <= OVERHEAD_BYTES_MAX, "{beyond}");
    let off = weight.abs_diff(resident) * 100 / resident;
    assert!(off <= 5, "weighed {weight}, resident {resident}");
}

#[test]
fn long_process_stays_within_its_limit_while_it_evicts_without_pause() {
    const MEMORY_BYTES: u64 = 192 << 20;
    const THREADS: usize = 2;
    let store = store(MEMORY_BYTES);
    let transit = Transit::new(1 << 20);
    let objects = objects();
    std::thread::scope(|threads| {
        for thread in 0..THREADS {
            let (store, transit) = (&store, &transit);
            threads.spawn(move || {
                let mut random = SmallRng::seed_from_u64(thread as u64);
                for number in 0..objects / THREADS {
                    // The usual sizes of objects: many small ones, few large ones.
                    let length = 1 << random.random_range(6..14);
                    let length = random.random_range(length / 2..length);
                    let number = number * THREADS + thread;
                    let key = fill(store, transit, number, length);
                    // Some are asked for again, so that not all of them leave in the order of their coming.
                    if number.is_multiple_of(3) {
                        let _ = store.get(&key, &Fields::new());
                    }
                }
            });
        }
    });
    store.run_pending_tasks();
    let peak = memory("VmHWM:");
    let evicted = objects as u64 - store.objects();
    eprintln!("{} MiB at the most, {evicted} evicted", peak >> 20);
    assert!(evicted > objects as u64 / 4, "{evicted}");
    assert!(
        peak <= MEMORY_BYTES + BESIDE_BYTES_MAX,
        "{} MiB",
        peak >> 20
    );
    assert!(store.weight_bytes() <= MEMORY_BYTES);
}

#[test]
fn long_memory_is_given_back_after_a_purge_of_everything() {
    const THREADS: usize = 2;
    const LEFT_PERCENT_MAX: u64 = 10;
    let store = store(16 << 30);
    let transit = Transit::new(1 << 20);
    let before = resident();
    let objects = objects();
    let (filled, purged) = (Barrier::new(THREADS + 1), Barrier::new(THREADS + 1));
    std::thread::scope(|threads| {
        for thread in 0..THREADS {
            let (store, transit, filled, purged) = (&store, &transit, &filled, &purged);
            threads.spawn(move || {
                for number in 0..objects / THREADS {
                    fill(store, transit, number * THREADS + thread, 1024);
                }
                filled.wait();
                // Those who filled live on and have nothing to do.
                purged.wait();
            });
        }
        filled.wait();
        store.run_pending_tasks();
        let held = resident() - before;
        store.clear();
        assert_eq!(store.objects(), 0);
        let cleared = Instant::now();
        let share = || resident().saturating_sub(before) * 100 / held;
        eprintln!("{} % of {} MiB at once", share(), held >> 20);
        let mut left = share();
        while left > LEFT_PERCENT_MAX && cleared.elapsed() < Duration::from_secs(10) {
            std::thread::sleep(Duration::from_millis(500));
            // What housekeeping does now and then.
            give_freed_memory_back();
            left = share();
        }
        eprintln!("{left} % after {:?}", cleared.elapsed());
        purged.wait();
        assert!(
            left <= LEFT_PERCENT_MAX,
            "{left} % of {} MiB are left",
            held >> 20
        );
    });
}
