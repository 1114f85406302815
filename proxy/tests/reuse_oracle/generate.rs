//! Cases that an origin, a client or someone who means harm could bring about.

use rand::prelude::*;
use rand::rngs::StdRng;

use super::case::{Asked, Case, Line, Settings};

/// 2026 to 2045, with dates up to twenty years from there: what two digits of a year mean is then beyond doubt.
const CLOCKS: std::ops::Range<i64> = 1_767_225_600..2_366_841_600;
const TWENTY_YEARS: i64 = 631_000_000;

pub(crate) struct Generator {
    random: StdRng,
}

const NUMBERS: [&str; 12] = [
    "0",
    "1",
    "5",
    "60",
    "600",
    "3600",
    "86400",
    "00060",
    "31536000",
    "2147483647",
    "2147483648",
    "99999999999999999999",
];
const NO_NUMBERS: [&str; 13] = [
    "-1", "1.5", "abc", "", " 5", "0x10", "+5", "5;x", "5 6", "'60'", "\"60", "60s", "1e3",
];
const QUOTED_NUMBERS: [&str; 3] = ["\"60\"", "\"6\\0\"", "\"abc\""];
const NAMES: [&str; 14] = [
    "x-a",
    "set-cookie",
    "\"x-a\"",
    "\"Set-Cookie, x-a\"",
    "\"\"",
    "\"x a\"",
    "\" , \"",
    "\"vary\"",
    "\"content-encoding\"",
    "\"x\\-a\"",
    "\"x-a",
    "x a",
    "\"expires\"",
    "\"date, age\"",
];
const FLAGS: [&str; 7] = [
    "no-store",
    "public",
    "must-revalidate",
    "proxy-revalidate",
    "must-understand",
    "immutable",
    "no-transform",
];
const ODDITIES: [&str; 12] = [
    "",
    " ",
    "x",
    "x=\"no-store\"",
    "x=\"a, max-age=100, private\"",
    "x=\"a\\\", no-store\"",
    "x=\"y",
    "\"no-store\"",
    "no_store",
    "max-age",
    "=5",
    "x=\"y\"z",
];

impl Generator {
    pub(crate) fn new(seed: u64) -> Generator {
        Generator {
            random: StdRng::seed_from_u64(seed),
        }
    }

    pub(crate) fn case(&mut self) -> Case {
        let received = self.random.random_range(CLOCKS) * 1000 + self.random.random_range(0..1000);
        // Now and then without fractions, so that windows end on the instant.
        let whole = self.chance(4);
        let received = if whole {
            received / 1000 * 1000
        } else {
            received
        };
        let sent = match self.below(8) {
            _ if whole => received,
            0 => received - self.random.random_range(0..100_000),
            1 => received + self.random.random_range(0..5_000),
            _ => received - self.random.random_range(0..1_500),
        };
        let first = self.first();
        let later = self.later(&first);
        let mut after = self.one(&[
            0, 1, 5, 59, 60, 61, 65, 599, 600, 601, 660, 1200, 3600, 3660, 86_400, 90_000,
            31_536_000,
        ]);
        if self.chance(15) {
            after = -after;
        }
        let millis = match whole {
            true => 0,
            false => self.one(&[0, 0, 1, 999, 500, -1]),
        };
        Case {
            settings: self.settings(),
            sent,
            received,
            status: self.status(),
            answer: self.answer(received / 1000),
            first,
            later,
            now: received + after * 1000 + millis,
        }
    }

    /// Any value that a field may hold, in place of some that mean something.
    pub(crate) fn spoil(&mut self, case: &mut Case) {
        for lines in [
            &mut case.answer,
            &mut case.first.lines,
            &mut case.later.lines,
        ] {
            for (_, value) in lines.iter_mut() {
                if self.random.random_ratio(1, 2) {
                    let length = self.random.random_range(0..40);
                    *value = (0..length).map(|_| self.letter()).collect();
                }
            }
        }
        let moments = [0, 1, 1_000, i64::MAX / 2, i64::MAX, case.received];
        case.sent = self.one(&moments);
        case.received = self.one(&moments);
        case.now = self.one(&moments);
    }

    fn letter(&mut self) -> char {
        match self.below(4) {
            0 => self.one(&[
                ',', '"', '\\', '=', ';', '*', '-', ' ', '\t', '\u{e9}', '0', ':', '(',
            ]),
            1 => char::from(self.random.random_range(b'0'..=b'9')),
            _ => char::from(self.random.random_range(b' '..=b'~')),
        }
    }

    fn below(&mut self, end: u32) -> u32 {
        self.random.random_range(0..end)
    }

    /// Once in so many.
    fn chance(&mut self, times: u32) -> bool {
        self.random.random_ratio(1, times)
    }

    fn one<T: Copy>(&mut self, choices: &[T]) -> T {
        *choices.choose(&mut self.random).expect("there is a choice")
    }

    fn settings(&mut self) -> Settings {
        let targeted: [&[&'static str]; 3] = [
            &[],
            &["CDN-Cache-Control"],
            &["Lacquer-Cache-Control", "CDN-Cache-Control"],
        ];
        Settings {
            clients_count: !self.chance(3),
            cookies_are_stored: !self.chance(3),
            heuristic_fraction: self.one(&[0.1, 0.1, 0.0, 1.0]),
            heuristic_seconds_max: self.one(&[86_400, 600, 1_000_000_000]),
            targeted: self.one(&targeted).to_vec(),
        }
    }

    fn first(&mut self) -> Asked {
        let mut lines = Vec::new();
        for name in [
            "Accept-Language",
            "Accept-Encoding",
            "Accept",
            "X-A",
            "Cookie",
        ] {
            for _ in 0..self.one(&[0, 0, 1, 1, 2]) {
                let value = self.selecting_value(name);
                lines.push((name.to_owned(), value));
            }
        }
        if self.chance(4) {
            lines.push(("Authorization".to_owned(), "Basic YTpi".to_owned()));
        }
        if self.chance(12) {
            let (name, value) = self.client_line();
            // With that there would be no answer.
            lines.push((name, value.replace("only-if-cached", "x")));
        }
        let method = match self.below(40) {
            0 => "HEAD",
            1 => "POST",
            _ => "GET",
        };
        Asked {
            method,
            host: "example.org",
            target: "/a",
            lines,
        }
    }

    /// Most often the same request again, or one that means the same.
    fn later(&mut self, first: &Asked) -> Asked {
        let mut later = first.clone();
        later.method = self.one(&["GET", "GET", "GET", "GET", "GET", "HEAD"]);
        if self.chance(25) {
            later.method = self.one(&["POST", "OPTIONS", "get"]);
        }
        if self.chance(25) {
            later.host = self.one(&[
                "EXAMPLE.org",
                "example.org:80",
                "example.org:8080",
                "example.com",
            ]);
        }
        if self.chance(25) {
            later.target = self.one(&["/A", "/a?", "/%61", "/"]);
        }
        later.lines.retain(|(name, _)| name != "Cache-Control");
        for _ in 0..self.one(&[0, 0, 1, 2]) {
            self.vary_request(&mut later.lines);
        }
        if self.chance(3) {
            for _ in 0..self.one(&[1, 1, 2]) {
                let line = self.client_line();
                later.lines.push(line);
            }
        }
        if self.chance(20) {
            let condition = self.one(&[
                ("If-None-Match", "\"a\""),
                ("If-Match", "\"b\""),
                ("If-Unmodified-Since", "Sun, 06 Nov 1994 08:49:37 GMT"),
                ("Range", "bytes=0-1"),
            ]);
            later
                .lines
                .push((condition.0.to_owned(), condition.1.to_owned()));
        }
        later
    }

    fn vary_request(&mut self, lines: &mut Vec<Line>) {
        if lines.is_empty() {
            return;
        }
        let index = self.random.random_range(0..lines.len());
        let (name, value) = lines[index].clone();
        match self.below(7) {
            0 => drop(lines.remove(index)),
            1 => lines[index].1 = value.replace(',', " ,\t"),
            2 => lines[index].1 = value.to_uppercase(),
            3 => {
                let mut members: Vec<&str> = value.split(',').collect();
                members.reverse();
                lines[index].1 = members.join(",");
            }
            4 => {
                if let Some((one, other)) = value.split_once(',') {
                    lines[index].1 = one.to_owned();
                    lines.insert(index + 1, (name, other.to_owned()));
                }
            }
            5 => lines[index].0 = name.to_lowercase(),
            _ => lines[index].1 = self.selecting_value(&name),
        }
    }

    fn selecting_value(&mut self, name: &str) -> String {
        let choices: &[&str] = match name {
            "Accept-Language" => &["en", "de", "en, de;q=0.5", "de;q=0.50, en", "EN", ""],
            "Accept-Encoding" => &[
                "gzip",
                "br, gzip",
                "gzip;q=0, br",
                "gzip;q=1.000",
                "gzip;q=x",
            ],
            "Accept" => &[
                "text/html",
                "text/html;level=1, */*",
                "*/*;q=0.1",
                "a/b;c=\"d, e\"",
            ],
            "Cookie" => &["a=1", "a=1; b=2", "a=1, b=2"],
            _ => &["1", "1, 2", "\"1, 2\"", "\"1", "2", "", "a b"],
        };
        self.one(choices).to_owned()
    }

    fn client_line(&mut self) -> Line {
        if self.chance(10) {
            let value = self.one(&["no-cache", "x, No-Cache", "x"]);
            return ("Pragma".to_owned(), value.to_owned());
        }
        let members: Vec<String> = (0..self.one(&[1, 1, 2, 3]))
            .map(|_| {
                let name = self.one(&[
                    "max-age",
                    "min-fresh",
                    "max-stale",
                    "stale-if-error",
                    "no-cache",
                    "no-store",
                    "only-if-cached",
                    "x",
                ]);
                match name {
                    "max-stale" if self.chance(3) => name.to_owned(),
                    "max-age" | "min-fresh" | "max-stale" | "stale-if-error" => self.timed(name),
                    _ => name.to_owned(),
                }
            })
            .collect();
        ("Cache-Control".to_owned(), members.join(", "))
    }

    fn status(&mut self) -> u16 {
        match self.below(6) {
            0 => self.one(&[
                100, 103, 199, 201, 202, 203, 204, 206, 299, 300, 301, 302, 303, 304, 307, 308, 399,
            ]),
            1 => self.one(&[
                400, 401, 403, 404, 405, 410, 412, 414, 416, 418, 421, 428, 429, 431, 451, 499,
                500, 501, 503, 504, 511, 599, 999,
            ]),
            _ => 200,
        }
    }

    fn answer(&mut self, clock: i64) -> Vec<Line> {
        let mut lines: Vec<Line> = Vec::new();
        let mut add = |name: &str, value: String| lines.push((name.to_owned(), value));
        for _ in 0..self.one(&[0, 1, 1, 1, 1, 2, 3]) {
            add("Cache-Control", self.cache_control());
        }
        for name in ["CDN-Cache-Control", "Lacquer-Cache-Control"] {
            if self.chance(4) {
                for _ in 0..self.one(&[1, 1, 1, 2]) {
                    add(name, self.targeted());
                }
            }
        }
        if self.chance(2) {
            for _ in 0..self.one(&[1, 1, 1, 1, 2]) {
                let seconds = self.one(&[-86_400, -1, 0, 1, 5, 60, 600, 3600, TWENTY_YEARS]);
                add("Expires", self.date(clock + seconds));
            }
        }
        if !self.chance(4) {
            for _ in 0..self.one(&[1, 1, 1, 1, 1, 1, 2]) {
                let seconds = self.one(&[0, 0, 0, 0, -1, 1, -60, -3600, 3600, -TWENTY_YEARS]);
                add("Date", self.date(clock + seconds));
            }
        }
        for _ in 0..self.one(&[0, 0, 0, 1, 1, 2]) {
            let value = match self.below(4) {
                0 => self.one(&NO_NUMBERS),
                1 => self.one(&["5, 6", "7200, 0", ", 5", "0, 7200", "\"5\"", "5,", "a, 5"]),
                _ => self.one(&NUMBERS),
            };
            add("Age", value.to_owned());
        }
        if self.chance(2) {
            for _ in 0..self.one(&[1, 1, 1, 1, 1, 2]) {
                let seconds = self.one(&[-600, -6000, -86_400, -TWENTY_YEARS, 0, 600]);
                add("Last-Modified", self.date(clock + seconds));
            }
        }
        if self.chance(2) {
            let tag = self.one(&["\"a\"", "W/\"a\"", "a", "", "\"a\", \"b\""]);
            add("ETag", tag.to_owned());
        }
        if self.chance(2) {
            for _ in 0..self.one(&[1, 1, 2]) {
                add("Vary", self.vary());
            }
        }
        for (name, value, times) in [
            ("Set-Cookie", "a=b", 6),
            ("X-A", "1", 6),
            ("Content-Encoding", "gzip", 8),
            ("Content-Location", "/a", 12),
            ("Pragma", "no-cache", 12),
            ("Proxy-Authenticate", "Basic", 20),
            ("Content-Range", "bytes 0-3/8", 20),
        ] {
            if self.chance(times) {
                add(name, value.to_owned());
            }
        }
        if self.chance(3) {
            let option = self.one(&[
                "close",
                "x-a",
                "Set-Cookie",
                "cache-control",
                "Age",
                "date",
                "Expires",
                "vary",
                "Pragma",
                "CDN-Cache-Control",
                "Last-Modified",
                "Last-Modified",
            ]);
            add("Connection", option.to_owned());
        }
        lines.shuffle(&mut self.random);
        lines
    }

    fn vary(&mut self) -> String {
        if self.chance(60) {
            return (0..40).map(|index| format!("x{index},")).collect();
        }
        let members: Vec<&str> = (0..self.one(&[1, 1, 2, 3]))
            .map(|_| match self.below(12) {
                0 => self.one(&["*", "a b", "\"x-a\"", "", "x-a *", "**"]),
                _ => self.one(&[
                    "Accept-Language",
                    "accept-encoding",
                    "Accept",
                    "X-A",
                    "cookie",
                    "Range",
                    "If-None-Match",
                    "X-Absent",
                ]),
            })
            .collect();
        members.join(self.one(&[", ", ",", " ,"]))
    }

    fn cache_control(&mut self) -> String {
        let members: Vec<String> = (0..self.one(&[1, 1, 2, 2, 3, 4]))
            .map(|_| self.directive())
            .collect();
        let mut line = members.join(self.one(&[", ", ", ", ",", " ,\t", ",,"]));
        if self.chance(25) {
            // A letter that got lost.
            let at = self.random.random_range(0..=line.len());
            if let Some((at, _)) = line.char_indices().nth(at) {
                line.remove(at);
            }
        }
        line
    }

    fn directive(&mut self) -> String {
        let name = match self.below(16) {
            0..8 => self.one(&[
                "max-age",
                "max-age",
                "s-maxage",
                "stale-while-revalidate",
                "stale-if-error",
            ]),
            8..12 => self.one(&FLAGS),
            12 | 13 => self.one(&["no-cache", "private"]),
            14 => return self.one(&ODDITIES).to_owned(),
            _ => "max-age",
        };
        let text = match name {
            "no-cache" | "private" if !self.chance(3) => format!("{name}={}", self.one(&NAMES)),
            "max-age" | "s-maxage" | "stale-while-revalidate" | "stale-if-error" => {
                self.timed(name)
            }
            _ if self.chance(20) => format!("{name}={}", self.one(&["x", "\"x\"", "", "\"", "?0"])),
            _ => name.to_owned(),
        };
        match self.below(20) {
            0 => text.to_uppercase(),
            1 => text.replace('=', " ="),
            2 => text.replace('=', "= "),
            _ => text,
        }
    }

    fn timed(&mut self, name: &str) -> String {
        let value = match self.below(12) {
            0 => self.one(&NO_NUMBERS),
            1 => self.one(&QUOTED_NUMBERS),
            _ => self.one(&NUMBERS),
        };
        match value {
            "" if self.chance(2) => name.to_owned(),
            _ => format!("{name}={value}"),
        }
    }

    /// A dictionary, sound or with one of the faults that people make.
    fn targeted(&mut self) -> String {
        let members: Vec<String> = (0..self.one(&[0, 1, 1, 2, 3]))
            .map(|_| match self.below(10) {
                0 => self
                    .one(&[
                        "max-age=60;x=1",
                        "max-age=\"60\"",
                        "max-age=60.0",
                        "max-age=?0",
                        "no-store=?0",
                        "no-store=?1",
                        "private=?0",
                        "public=?0",
                        "public=5",
                        "must-revalidate=?0",
                        "private=\"x-a\"",
                        "no-cache=x-a",
                        "no-cache=(\"x-a\")",
                        "no-cache=5",
                        "x=:YQ==:",
                    ])
                    .to_owned(),
                1 => self
                    .one(&[
                        "Max-Age=60",
                        "max-age= 60",
                        "=5",
                        "a,",
                        "max-age=-5",
                        "x=\"",
                        "é",
                    ])
                    .to_owned(),
                _ => self.directive(),
            })
            .collect();
        members.join(self.one(&[", ", ",", ",,"]))
    }

    fn date(&mut self, seconds: i64) -> String {
        if self.chance(8) {
            return self
                .one(&[
                    "0",
                    "-1",
                    "",
                    "never",
                    "Thu, 01 Jan 1970 00:00:00 GMT",
                    "Mon, 01 Jan 0001 00:00:00 GMT",
                    "Sun, 30 Feb 2025 00:00:00 GMT",
                    "2026-01-01T00:00:00Z",
                ])
                .to_owned();
        }
        let written = date(
            seconds,
            self.one(&[Form::Fix, Form::Fix, Form::Rfc850, Form::Asctime]),
        );
        match self.below(24) {
            0 => written.to_lowercase(),
            1 => written.to_uppercase(),
            2 => written.replace("GMT", "UTC"),
            3 => written.replace("GMT", "+0000"),
            4 => written.replace(" GMT", ""),
            5 => written.replace(':', "."),
            6 => format!("{written}, {written}"),
            7 => written.replacen(' ', "  ", 1),
            _ => written,
        }
    }
}

#[derive(Clone, Copy)]
enum Form {
    Fix,
    Rfc850,
    Asctime,
}

/// RFC 9110 §5.6.7: a moment in one of the three forms.
fn date(seconds: i64, form: Form) -> String {
    let (mut year, mut days) = (1970, seconds.div_euclid(86_400));
    let weekday = (days + 3).rem_euclid(7) as usize;
    let length = |year: i64| 365 + i64::from(year % 4 == 0 && (year % 100 != 0 || year % 400 == 0));
    while days < 0 {
        year -= 1;
        days += length(year);
    }
    while days >= length(year) {
        days -= length(year);
        year += 1;
    }
    let february = length(year) - 337;
    let mut month = 0;
    for length in [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31] {
        if days < length {
            break;
        }
        days -= length;
        month += 1;
    }
    let name = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"][weekday];
    let rest = ["day", "sday", "nesday", "rsday", "day", "urday", "day"][weekday];
    let month = &"JanFebMarAprMayJunJulAugSepOctNovDec"[month * 3..month * 3 + 3];
    let (day, left) = (days + 1, seconds.rem_euclid(86_400));
    let time = format!("{:02}:{:02}:{:02}", left / 3600, left / 60 % 60, left % 60);
    match form {
        Form::Fix => format!("{name}, {day:02} {month} {year:04} {time} GMT"),
        Form::Rfc850 => format!(
            "{name}{rest}, {day:02}-{month}-{:02} {time} GMT",
            year % 100
        ),
        Form::Asctime => format!("{name} {month} {day:2} {time} {year:04}"),
    }
}
