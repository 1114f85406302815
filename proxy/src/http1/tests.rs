mod body;
mod encode;
mod request;
mod response;

use super::*;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

fn limits() -> HeadLimits {
    HeadLimits {
        head_bytes_max: 512,
        fields_max: 8,
        target_bytes_max: 64,
    }
}

/// `count` variations of each seed: bytes flipped, inserted, removed, doubled and cut. The same ones each time.
fn mutations(seeds: &[&[u8]], count: usize) -> impl Iterator<Item = Vec<u8>> {
    const SPICE: &[u8] = b"\r\n\0 \t:;,/*#@[]0fF9-+chunked\x7f\x80\xff";
    let seeds: Vec<Vec<u8>> = seeds.iter().map(|seed| seed.to_vec()).collect();
    let mut random = StdRng::seed_from_u64(7);
    (0..count * seeds.len()).map(move |round| {
        let mut bytes = seeds[round % seeds.len()].clone();
        for _ in 0..random.random_range(1..6) {
            let at = random.random_range(0..bytes.len().max(1));
            let spice = SPICE[random.random_range(0..SPICE.len())];
            match random.random_range(0..5) {
                0 if at < bytes.len() => bytes[at] = spice,
                1 if at < bytes.len() => {
                    bytes.remove(at);
                }
                2 if at < bytes.len() => {
                    let tail = bytes[at..].to_vec();
                    bytes.extend_from_slice(&tail);
                    bytes.truncate(2048);
                }
                3 => bytes.truncate(at),
                _ => bytes.insert(at.min(bytes.len()), spice),
            }
        }
        bytes
    })
}
