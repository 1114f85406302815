//! Which of several servers gets a request. Pure choice: who is usable is told, nobody is asked.
//!
//! Servers are known by their place in the settings. pingora's selectors know them by socket address,
//! which would move keys whenever a name resolves anew, and leave Unix sockets out; so the ring is ours.

use std::sync::atomic::{AtomicUsize, Ordering};

use smallvec::SmallVec;

use super::settings::Balance;

/// Places of servers that may be chosen.
pub(super) type Candidates = SmallVec<[usize; 8]>;

/// Chooses by one method, with the state that it needs.
#[derive(Debug)]
pub(super) enum Chooser {
    RoundRobin(AtomicUsize),
    Random,
    /// The counter breaks ties, so that idle servers take turns.
    LeastConnections(AtomicUsize),
    ConsistentHash(Ring),
}

impl Chooser {
    pub(super) fn new<'a>(balance: Balance, names: impl Iterator<Item = &'a str>) -> Chooser {
        match balance {
            Balance::RoundRobin => Chooser::RoundRobin(AtomicUsize::new(0)),
            Balance::Random => Chooser::Random,
            Balance::LeastConnections => Chooser::LeastConnections(AtomicUsize::new(0)),
            Balance::ConsistentHash => Chooser::ConsistentHash(Ring::new(names)),
        }
    }

    /// One of `candidates` (in ascending order); `None` when there are none.
    pub(super) fn choose(
        &self,
        candidates: &[usize],
        key: &[u8],
        connections: impl Fn(usize) -> usize,
    ) -> Option<usize> {
        if candidates.len() < 2 {
            return candidates.first().copied();
        }
        Some(match self {
            Chooser::RoundRobin(turn) => {
                candidates[turn.fetch_add(1, Ordering::Relaxed) % candidates.len()]
            }
            Chooser::Random => candidates[rand::random_range(0..candidates.len())],
            Chooser::LeastConnections(turn) => {
                let start = turn.fetch_add(1, Ordering::Relaxed);
                (0..candidates.len())
                    .map(|offset| candidates[start.wrapping_add(offset) % candidates.len()])
                    .min_by_key(|place| connections(*place))
                    .expect("there are at least two candidates")
            }
            Chooser::ConsistentHash(ring) => ring.choose(candidates, key),
        })
    }
}

/// A hash ring in the manner of ketama: each server owns many points, a key belongs to the first usable
/// server clockwise. The hash depends on names and keys alone, so that every front door, and every
/// release, agrees.
#[derive(Debug)]
pub(super) struct Ring {
    /// Ordered by hash.
    points: Box<[(u64, u32)]>,
}

/// Points per server: as nginx and libketama; the shares of servers then differ by a few per cent.
const POINTS_PER_SERVER: u32 = 160;

impl Ring {
    fn new<'a>(names: impl Iterator<Item = &'a str>) -> Ring {
        let mut points = Vec::new();
        for (place, name) in names.enumerate() {
            let place = u32::try_from(place).expect("a pool has far fewer than 2^32 servers");
            let start = fnv1a(FNV_OFFSET, name.as_bytes());
            points.extend(
                (0..POINTS_PER_SERVER)
                    .map(|point| (mix(fnv1a(start, &point.to_le_bytes())), place)),
            );
        }
        points.sort_unstable();
        Ring {
            points: points.into(),
        }
    }

    fn choose(&self, candidates: &[usize], key: &[u8]) -> usize {
        let hash = mix(fnv1a(FNV_OFFSET, key));
        let start = self.points.partition_point(|(point, _)| *point < hash);
        self.points[start..]
            .iter()
            .chain(&self.points[..start])
            .map(|(_, place)| *place as usize)
            .find(|place| candidates.binary_search(place).is_ok())
            .expect("every candidate has points on the ring")
    }
}

const FNV_OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
const FNV_PRIME: u64 = 0x0000_0100_0000_01b3;

fn fnv1a(start: u64, bytes: &[u8]) -> u64 {
    bytes.iter().fold(start, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(FNV_PRIME)
    })
}

/// Spreads FNV's weak high bits over the whole word (the finalizer of MurmurHash3).
fn mix(mut hash: u64) -> u64 {
    hash ^= hash >> 33;
    hash = hash.wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash ^= hash >> 33;
    hash = hash.wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    hash ^ (hash >> 33)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMES: [&str; 4] = ["a:80", "b:80", "c:80", "/run/d.sock"];

    fn chooser(balance: Balance) -> Chooser {
        Chooser::new(balance, NAMES.into_iter())
    }

    fn shares(chooser: &Chooser, candidates: &[usize], requests: usize) -> [usize; 4] {
        let mut shares = [0; 4];
        for request in 0..requests {
            let key = format!("/page/{request}");
            let place = chooser.choose(candidates, key.as_bytes(), |_| 0);
            shares[place.expect("there are candidates")] += 1;
        }
        shares
    }

    #[test]
    fn requests_spread_over_usable_servers_only() {
        fn check(balance: Balance, tolerance: usize) {
            for candidates in [&[0, 1, 2, 3][..], &[0, 2, 3], &[1, 3]] {
                let fair = 12_000 / candidates.len();
                let shares = shares(&chooser(balance), candidates, 12_000);
                for (place, share) in shares.into_iter().enumerate() {
                    if candidates.contains(&place) {
                        assert!(share.abs_diff(fair) <= tolerance, "{balance:?} {shares:?}");
                    } else {
                        assert_eq!(share, 0, "{balance:?} {shares:?}");
                    }
                }
            }
        }
        check(Balance::RoundRobin, 0);
        check(Balance::LeastConnections, 0);
        check(Balance::Random, 600);
        check(Balance::ConsistentHash, 1500);
    }

    #[test]
    fn least_connections_takes_the_least_loaded() {
        let chooser = chooser(Balance::LeastConnections);
        let load = [3, 1, 0, 2];
        for _ in 0..8 {
            assert_eq!(
                chooser.choose(&[0, 1, 2, 3], b"", |place| load[place]),
                Some(2)
            );
            assert_eq!(
                chooser.choose(&[0, 1, 3], b"", |place| load[place]),
                Some(1)
            );
        }
    }

    #[test]
    fn lost_server_moves_only_its_own_keys() {
        let chooser = chooser(Balance::ConsistentHash);
        let mut moved = 0;
        for request in 0..2_000 {
            let key = format!("/page/{request}");
            let choose = |candidates: &[usize]| chooser.choose(candidates, key.as_bytes(), |_| 0);
            let all = choose(&[0, 1, 2, 3]);
            assert_eq!(all, choose(&[0, 1, 2, 3]));
            let without = choose(&[0, 1, 3]);
            if all == Some(2) {
                moved += 1;
                assert_ne!(without, Some(2));
            } else {
                assert_eq!(all, without);
            }
        }
        assert!((300..700).contains(&moved), "{moved}");
    }

    #[test]
    fn ring_depends_on_names_not_on_order() {
        let forth = Chooser::new(Balance::ConsistentHash, NAMES.into_iter());
        let back = Chooser::new(Balance::ConsistentHash, NAMES.into_iter().rev());
        for request in 0..500 {
            let key = format!("/page/{request}");
            let choose = |chooser: &Chooser| {
                chooser
                    .choose(&[0, 1, 2, 3], key.as_bytes(), |_| 0)
                    .expect("there are candidates")
            };
            assert_eq!(NAMES[choose(&forth)], NAMES[3 - choose(&back)]);
        }
    }

    #[test]
    fn nobody_is_chosen_from_nobody() {
        assert_eq!(chooser(Balance::Random).choose(&[], b"", |_| 0), None);
    }
}
