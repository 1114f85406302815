//! What is asked: one description from which wrk's script, h2load's arguments and the requests of our own clients come.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Result, ensure};

use super::backend::entity_tag;
use super::probe::{self, Answer};

/// The host that every request names.
pub const HOST: &str = "bench.test";
/// Names drawn in advance, so that drawing costs nothing while it counts.
const DRAWN: usize = 200_000;
const POST_BYTES: usize = 1024;
/// More than any run asks for.
const UNIQUE_STEP: u64 = 1_000_000_000;

/// What a browser sends beside Host: with it, 13 fields.
const BROWSER: [(&str, &str); 12] = [
    (
        "User-Agent",
        "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0.0.0 Safari/537.36",
    ),
    (
        "Accept",
        "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8",
    ),
    ("Accept-Language", "en-GB,en;q=0.9,de;q=0.7"),
    ("Accept-Encoding", "gzip, deflate, br, zstd"),
    ("Connection", "keep-alive"),
    ("Referer", "http://bench.test/index.html"),
    ("Upgrade-Insecure-Requests", "1"),
    ("Sec-Fetch-Dest", "document"),
    ("Sec-Fetch-Mode", "navigate"),
    ("Sec-Fetch-Site", "same-origin"),
    ("Sec-Fetch-User", "?1"),
    ("Priority", "u=0, i"),
];

/// Which URLs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Targets {
    One,
    /// So many, the nth as often as 1/n has it.
    Zipf(u64),
    /// So many, all alike.
    Uniform(u64),
    /// Each only once.
    Unique,
    /// One, in so many variants by Referer.
    Variants(u64),
    /// One that may not be stored, with POST and a body of 1 KiB.
    Posted,
}

/// Which fields beside Host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fields {
    Plain,
    Browser,
    IfNoneMatch,
}

/// A kind of load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Traffic {
    /// Of each answer.
    pub body_bytes: usize,
    pub targets: Targets,
    pub fields: Fields,
    /// How many of a thousand requests ask for what has never been asked for.
    pub misses_permille: u32,
}

/// One request of a load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Name {
    /// One of those that are asked for again and again.
    Known(u64),
    /// Asked for once, ever.
    Fresh(u64),
}

impl Traffic {
    pub const fn hits(body_bytes: usize, targets: Targets) -> Traffic {
        Traffic {
            body_bytes,
            targets,
            fields: Fields::Plain,
            misses_permille: 0,
        }
    }

    pub const fn with_fields(mut self, fields: Fields) -> Traffic {
        self.fields = fields;
        self
    }

    pub const fn with_misses(mut self, permille: u32) -> Traffic {
        self.misses_permille = permille;
        self
    }

    /// How many of a thousand requests the backend must see.
    pub fn passed_permille(&self) -> u32 {
        match self.targets {
            Targets::Unique | Targets::Posted => 1000,
            Targets::One | Targets::Zipf(_) | Targets::Uniform(_) | Targets::Variants(_) => {
                self.misses_permille
            }
        }
    }

    /// How many things are asked for again and again.
    pub fn known(&self) -> u64 {
        match self.targets {
            Targets::One => 1,
            Targets::Zipf(count) | Targets::Uniform(count) | Targets::Variants(count) => count,
            Targets::Unique | Targets::Posted => 0,
        }
    }

    pub fn status(&self) -> u16 {
        match self.fields {
            Fields::IfNoneMatch => 304,
            Fields::Plain | Fields::Browser => 200,
        }
    }

    /// Bytes of an answer's body.
    pub fn answer_bytes(&self) -> usize {
        match self.fields {
            Fields::IfNoneMatch => 0,
            Fields::Plain | Fields::Browser => self.body_bytes,
        }
    }

    /// Whether an answer is what was asked for.
    ///
    /// # Errors
    /// When not.
    pub fn check(&self, answer: &Answer) -> Result<()> {
        ensure!(
            answer.status == self.status(),
            "a {} instead of a {}",
            answer.status,
            self.status()
        );
        probe::check_body(&answer.body, self.answer_bytes())
    }

    /// A request in HTTP/1.
    pub fn request(&self, name: Name) -> Vec<u8> {
        let (before, after) = self.around();
        match name {
            Name::Known(number) => format!("{before}{number}{after}"),
            Name::Fresh(number) => format!("{before}u{number}{after}"),
        }
        .into_bytes()
    }

    /// The path of what is asked for again and again, and the fields beside Host.
    pub fn target(&self, number: u64) -> String {
        let kind = match self.targets {
            Targets::Posted => "pass",
            Targets::Variants(_) => return format!("/vary/{}/one", self.body_bytes),
            Targets::One | Targets::Zipf(_) | Targets::Uniform(_) | Targets::Unique => "store",
        };
        format!("/{kind}/{}/{number}", self.body_bytes)
    }

    /// Fields beside Host.
    pub fn fields(&self) -> Vec<(String, String)> {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        match self.fields {
            Fields::Plain => Vec::new(),
            Fields::Browser => BROWSER.iter().map(owned).collect(),
            Fields::IfNoneMatch => {
                vec![("If-None-Match".to_owned(), entity_tag(self.body_bytes))]
            }
        }
    }

    /// What stands before and behind the name of what is asked for.
    fn around(&self) -> (String, String) {
        let mut rest = format!("\r\nHost: {HOST}\r\n");
        for (name, value) in self.fields() {
            write!(rest, "{name}: {value}\r\n").expect("a string takes everything");
        }
        let bytes = self.body_bytes;
        match self.targets {
            Targets::Variants(_) => (
                format!("GET /vary/{bytes}/one HTTP/1.1{rest}Referer: http://{HOST}/"),
                "\r\n\r\n".to_owned(),
            ),
            Targets::Posted => {
                write!(rest, "Content-Length: {POST_BYTES}\r\n\r\n")
                    .expect("a string takes everything");
                rest.push_str(&"p".repeat(POST_BYTES));
                (format!("POST /pass/{bytes}/"), format!(" HTTP/1.1{rest}"))
            }
            Targets::One | Targets::Zipf(_) | Targets::Uniform(_) | Targets::Unique => (
                format!("GET /store/{bytes}/"),
                format!(" HTTP/1.1{rest}\r\n"),
            ),
        }
    }

    /// Which known thing each request asks for, over and over; `None` is something fresh.
    pub fn draw(&self) -> Vec<Option<u64>> {
        let mut dice = Dice(0x9e37_79b9_7f4a_7c15);
        let known = self.known();
        if matches!(self.targets, Targets::Unique) {
            return vec![None];
        }
        if known <= 1 && self.misses_permille == 0 {
            return vec![Some(0)];
        }
        let mut sum = 0.0;
        let sums: Vec<f64> = (1..=known)
            .map(|rank| {
                sum += match self.targets {
                    Targets::Zipf(_) => 1.0 / rank as f64,
                    _ => 1.0,
                };
                sum
            })
            .collect();
        (0..DRAWN)
            .map(|_| {
                if dice.below_one() * 1000.0 < f64::from(self.misses_permille) {
                    return None;
                }
                let point = dice.below_one() * sum;
                let rank = sums.partition_point(|below| *below <= point);
                Some((rank as u64).min(known - 1))
            })
            .collect()
    }

    /// wrk's script.
    pub fn script(&self, drawn_path: &str) -> String {
        let mut script = String::new();
        let (before, after) = self.around();
        if self.draw() == [Some(0)] {
            // Without a function for it, wrk formats the request once. Its own way to say what it shall be:
            let request = self.request(Name::Known(0));
            let request = String::from_utf8_lossy(&request).into_owned();
            let (head, body) = request.split_once("\r\n\r\n").unwrap_or((&request, ""));
            let mut lines = head.split("\r\n");
            let mut words = lines.next().unwrap_or_default().split(' ');
            let (method, path) = (words.next(), words.next());
            writeln!(script, "wrk.method = {:?}", method.unwrap_or_default()).expect("as above");
            writeln!(script, "wrk.path = {:?}", path.unwrap_or_default()).expect("as above");
            for (name, value) in lines.filter_map(|line| line.split_once(": ")) {
                if name != "Content-Length" {
                    writeln!(script, "wrk.headers[{name:?}] = {value:?}").expect("as above");
                }
            }
            if !body.is_empty() {
                writeln!(script, "wrk.body = {body:?}").expect("as above");
            }
        } else {
            let unique = fresh_names();
            write!(
                script,
                "\
local drawn, ready = {{}}, {{}}
for line in io.lines({drawn_path:?}) do drawn[#drawn + 1] = tonumber(line) end
local before, after = {before:?}, {after:?}
for number = 0, {known} - 1 do ready[number] = before .. number .. after end
local at, count, unique = 0, #drawn, 0
request = function()
  at = at + 1
  if at > count then at = 1 end
  local number = drawn[at]
  if number < 0 then
    unique = unique + 1
    return string.format('%su%d%s', before, {unique} + unique, after)
  end
  return ready[number]
end
",
                known = self.known(),
            )
            .expect("as above");
        }
        script.push_str(
            "\
done = function(summary, latency, requests)
  local errors = summary.errors
  io.write(string.format('BENCH %d %d %d %d %d\\n', summary.requests, summary.duration, summary.bytes,
    errors.connect + errors.read + errors.write + errors.timeout, errors.status))
end
",
        );
        script
    }
}

/// The first of a run of names that nobody has asked for.
pub fn fresh_names() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed) * UNIQUE_STEP
}

/// A xorshift generator: the same draws in every run.
struct Dice(u64);

impl Dice {
    fn below_one(&mut self) -> f64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as f64 / (1_u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_browser_sends_thirteen_fields() {
        let traffic = Traffic::hits(1024, Targets::One).with_fields(Fields::Browser);
        let request = String::from_utf8(traffic.request(Name::Known(3))).unwrap();
        assert!(request.starts_with("GET /store/1024/3 HTTP/1.1\r\nHost: bench.test\r\n"));
        assert_eq!(
            request.lines().filter(|line| line.contains(": ")).count(),
            13
        );
        assert!(request.ends_with("\r\n\r\n"));
    }

    #[test]
    fn draws_follow_their_law() {
        let zipf = Traffic::hits(1, Targets::Zipf(10_000)).draw();
        let first = zipf.iter().filter(|drawn| **drawn == Some(0)).count();
        // 1/H(10,000) = 10.2 %.
        assert!((18_000..23_000).contains(&first), "{first}");
        let mixed = Traffic::hits(1, Targets::Uniform(10))
            .with_misses(100)
            .draw();
        let fresh = mixed.iter().filter(|drawn| drawn.is_none()).count();
        assert!((19_000..21_000).contains(&fresh), "{fresh}");
        assert!(mixed.iter().flatten().all(|number| *number < 10));
    }

    #[test]
    fn a_post_has_its_body() {
        let traffic = Traffic::hits(128, Targets::Posted);
        let request = traffic.request(Name::Known(0));
        let text = String::from_utf8(request).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("POST /pass/128/0 "), "{head}");
        assert!(head.ends_with("Content-Length: 1024") && body.len() == 1024);
    }
}
