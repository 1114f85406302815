use std::path::Path;
use std::time::SystemTime;

use super::calendar::Date;
use super::*;

const RECORD: Record<'static> = Record {
    time: Timestamp::from_millis(1_709_210_096_789),
    client: Peer::Ip(std::net::IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 7))),
    method: "GET",
    target: "/shop?id=1",
    host: "example.com",
    version: Version::Http11,
    status: 200,
    body_bytes: 5120,
    duration: Duration::from_micros(1_002_003),
    outcome: Outcome::Hit,
    cache_detail: "fresh",
    backend: "",
    referer: b"",
    user_agent: b"curl/8.0",
    xid: 32770,
};

fn combined(record: Record<'_>) -> String {
    let mut line = Vec::new();
    format::combined(&mut line, &record);
    String::from_utf8(line).unwrap()
}

fn json(record: Record<'_>) -> serde_json::Value {
    let mut line = Vec::new();
    format::json(&mut line, &record);
    assert_eq!(line.iter().filter(|byte| **byte == b'\n').count(), 1);
    assert_eq!(line.last(), Some(&b'\n'));
    serde_json::from_slice(&line).unwrap()
}

#[test]
fn combined_line_is_apaches() {
    assert_eq!(
        combined(RECORD),
        "192.0.2.7 - - [29/Feb/2024:12:34:56 +0000] \"GET /shop?id=1 HTTP/1.1\" 200 5120 \"-\" \"curl/8.0\"\n"
    );
    let other = Record {
        client: "::ffff:10.0.0.1"
            .parse::<std::net::IpAddr>()
            .unwrap()
            .into(),
        version: Version::Http2,
        status: 304,
        body_bytes: 0,
        referer: b"https://example.com/",
        user_agent: b"",
        ..RECORD
    };
    assert_eq!(
        combined(other),
        "10.0.0.1 - - [29/Feb/2024:12:34:56 +0000] \"GET /shop?id=1 HTTP/2.0\" 304 - \"https://example.com/\" \
         \"-\"\n"
    );
    let unix = Record {
        client: Peer::Unix,
        ..RECORD
    };
    assert!(combined(unix).starts_with("unix: - - ["));
}

#[test]
fn hostile_bytes_stay_inside_their_quotes() {
    let hostile = Record {
        target: "/a\"b\\c\u{e9}",
        referer: b"x\" 200 1 \"y\r\n\t\x08\x0b\x00\x1b\x7f\xff",
        user_agent: b"\\",
        ..RECORD
    };
    let line = combined(hostile);
    assert!(
        line.ends_with(
            "\"GET /a\\\"b\\\\c\\xc3\\xa9 HTTP/1.1\" 200 5120 \
             \"x\\\" 200 1 \\\"y\\r\\n\\t\\b\\v\\x00\\x1b\\x7f\\xff\" \"\\\\\"\n"
        ),
        "{line}"
    );
    assert!(
        line.bytes()
            .all(|byte| byte == b'\n' || (0x20..0x7f).contains(&byte))
    );
    let object = json(hostile);
    assert_eq!(object["url"], "/a\"b\\c\u{e9}");
    assert_eq!(
        object["referer"],
        "x\" 200 1 \"y\r\n\t\u{8}\u{b}\0\u{1b}\u{7f}\u{fffd}"
    );
}

#[test]
fn every_byte_survives_json() {
    let all: Vec<u8> = (0..=255).collect();
    let object = json(Record {
        user_agent: &all,
        ..RECORD
    });
    assert_eq!(object["user_agent"], String::from_utf8_lossy(&all).as_ref());
}

#[test]
fn lines_are_bounded() {
    let long = vec![0xff; 1 << 20];
    let record = Record {
        referer: &long,
        user_agent: &long,
        ..RECORD
    };
    assert!(combined(record).len() < 100_000);
    assert!(json(record).to_string().len() < 100_000);
}

#[test]
fn json_line_has_every_key() {
    let object = json(Record {
        backend: "127.0.0.1:8081",
        ..RECORD
    });
    let expected = serde_json::json!({
        "time": "2024-02-29T12:34:56.789Z",
        "client": "192.0.2.7",
        "method": "GET",
        "url": "/shop?id=1",
        "host": "example.com",
        "protocol": "HTTP/1.1",
        "status": 200,
        "bytes": 5120,
        "duration_seconds": 1.002003,
        "outcome": "hit",
        "cache_detail": "fresh",
        "backend": "127.0.0.1:8081",
        "referer": null,
        "user_agent": "curl/8.0",
        "xid": 32770,
    });
    assert_eq!(object, expected);
}

#[test]
fn dates_agree_with_another_calendar() {
    let day = 86_400_u64;
    // Every day of 1970 to 2120, and every 400 years' turn until 9000.
    let days = (0..150 * 366).chain((0..18).flat_map(|turn| {
        let turn = turn * 146_097 + 11_017;
        turn - 2..turn + 2
    }));
    for number in days {
        let seconds = number * day + number % day;
        let date = Date::from(Timestamp::from_secs(seconds));
        let other = httpdate::HttpDate::from(SystemTime::from(Timestamp::from_secs(seconds)));
        let ours = format!(
            "{:02} {} {:04} {:02}:{:02}:{:02} GMT",
            date.day,
            date.month_name(),
            date.year,
            date.hour,
            date.minute,
            date.second
        );
        let theirs = other.to_string();
        assert_eq!(theirs.split_once(", ").unwrap().1, ours);
    }
}

fn open(path: &Path, metrics: &Arc<Metrics>) -> AccessLog {
    let settings = AccessLogSettings {
        format: Format::Combined,
        target: Target::from(path.to_str().unwrap()),
    };
    AccessLog::open(&settings, Arc::clone(metrics)).unwrap()
}

fn lines(path: &Path) -> usize {
    std::fs::read_to_string(path)
        .unwrap_or_default()
        .lines()
        .count()
}

/// Waits for a condition, a few seconds at most.
fn eventually(what: &str, condition: impl Fn() -> bool) {
    let began = Instant::now();
    while !condition() {
        assert!(began.elapsed() < Duration::from_secs(5), "{what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn record_reaches_the_file_without_more_traffic() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("access.log");
    let log = open(&path, &Arc::default());
    let began = Instant::now();
    log.record(&RECORD);
    eventually("the line is there", || lines(&path) == 1);
    // Generous for a loaded machine; the interval itself is 50 ms.
    assert!(
        began.elapsed() < Duration::from_secs(1),
        "{:?}",
        began.elapsed()
    );
}

#[test]
fn all_records_of_all_threads_are_written_whole_by_the_end() {
    const THREADS: usize = 4;
    const EACH: usize = 4000;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("access.log");
    let metrics = Arc::new(Metrics::new());
    let log = open(&path, &metrics);
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                for _ in 0..EACH {
                    log.record(&RECORD);
                }
            });
        }
    });
    log.close(Duration::from_secs(5));
    let dropped = metrics.get(Counter::AccessLogDropped) as usize;
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(text.lines().all(|line| line == combined(RECORD).trim_end()));
    assert_eq!(text.lines().count() + dropped, THREADS * EACH);
    assert_eq!(dropped, 0, "4 MiB may wait, and this is less");
    log.record(&RECORD);
    assert_eq!(metrics.get(Counter::AccessLogDropped), 1);
    drop(log);
    assert_eq!(lines(&path), THREADS * EACH);
}

#[test]
fn reopen_follows_a_rotation_and_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("access.log");
    let rotated = folder.path().join("access.log.1");
    let log = open(&path, &Arc::default());
    log.record(&RECORD);
    std::fs::rename(&path, &rotated).unwrap();
    log.reopen();
    eventually("the new file is there", || path.exists());
    log.record(&RECORD);
    log.record(&RECORD);
    log.close(Duration::from_secs(5));
    assert_eq!((lines(&rotated), lines(&path)), (1, 2));
}

#[test]
fn failed_reopen_keeps_the_old_file() {
    let folder = tempfile::tempdir().unwrap();
    let inside = folder.path().join("logs");
    std::fs::create_dir(&inside).unwrap();
    let moved = folder.path().join("moved");
    let log = open(&inside.join("access.log"), &Arc::default());
    std::fs::rename(&inside, &moved).unwrap();
    log.reopen();
    std::thread::sleep(2 * FLUSH_INTERVAL);
    log.record(&RECORD);
    log.close(Duration::from_secs(5));
    assert_eq!(lines(&moved.join("access.log")), 1);
}

/// A pipe that nobody reads stands for a disk that hangs.
#[test]
fn stuck_file_drops_and_counts_and_never_blocks() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("fifo");
    let made = std::process::Command::new("mkfifo")
        .arg(&path)
        .status()
        .unwrap();
    assert!(made.success());
    // Both ends are kept open so that opening does not wait; nobody reads until the end.
    let reader = std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open(&path)
        .unwrap();
    let metrics = Arc::new(Metrics::new());
    let log = open(&path, &metrics);
    let records = 3 * QUEUED_BATCHES_MAX * BATCH_BYTES / combined(RECORD).len();
    let began = Instant::now();
    for _ in 0..records {
        log.record(&RECORD);
    }
    assert!(
        began.elapsed() < Duration::from_secs(5),
        "{:?}",
        began.elapsed()
    );
    let dropped = metrics.get(Counter::AccessLogDropped) as usize;
    assert!(
        dropped > records / 3 && dropped < records,
        "{dropped} of {records}"
    );
    let began = Instant::now();
    log.close(Duration::from_millis(200));
    assert!(began.elapsed() < Duration::from_secs(2));
    // Read on, so that the writer's thread ends.
    let left = (records - dropped) * combined(RECORD).len();
    let mut taken = std::io::Read::take(reader, left as u64);
    assert_eq!(
        std::io::copy(&mut taken, &mut std::io::sink()).unwrap(),
        left as u64
    );
}

#[test]
fn log_that_is_off_opens_nothing() {
    let settings = AccessLogSettings {
        format: Format::Off,
        target: Target::from("/nonexistent/folder/access.log"),
    };
    let log = AccessLog::open(&settings, Arc::default()).unwrap();
    assert!(!log.is_on());
    log.record(&RECORD);
    log.reopen();
    log.close(Duration::ZERO);
}

#[test]
fn file_that_cannot_be_opened_is_named() {
    let settings = AccessLogSettings {
        format: Format::Json,
        target: Target::from("/nonexistent/folder/access.log"),
    };
    let error = AccessLog::open(&settings, Arc::default()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "cannot open access log /nonexistent/folder/access.log"
    );
    assert_eq!(Target::from("-"), Target::Stdout);
}
