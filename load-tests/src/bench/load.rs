//! wrk and h2load on the load generator's core: started, waited for, and read.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::child::{self, Call};
use super::cpu;
use super::openloop::{self, Pace};
use super::peers::Protocol;
use super::traffic::{Fields, HOST, Traffic};

/// Connections of wrk.
pub const CONNECTIONS: usize = 64;
/// Connections of h2load, with ten streams each.
const HTTP2_CONNECTIONS: usize = 8;
const HTTP2_STREAMS: usize = 10;
/// Beyond the time of the run itself.
const PATIENCE: Duration = Duration::from_secs(20);

/// What a generator has seen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Seen {
    pub requests: u64,
    pub seconds: f64,
    pub bytes: u64,
}

impl Seen {
    pub fn requests_per_second(&self) -> f64 {
        self.requests as f64 / self.seconds
    }
}

/// The programs this module runs.
///
/// # Errors
/// When one is missing.
pub fn check_programs() -> Result<()> {
    for name in ["wrk", "h2load", "curl", "openssl", "setpriv", "taskset"] {
        child::find_program(name)
            .with_context(|| format!("{name} is missing: `.ci/deps bench` installs it"))?;
    }
    Ok(())
}

/// Asks over 64 connections (HTTP/2: 8 with ten streams each) as fast as answers come.
///
/// # Errors
/// When the generator fails, or any answer does.
pub fn run(
    address: SocketAddr,
    protocol: Protocol,
    traffic: &Traffic,
    duration: Duration,
    folder: &Path,
) -> Result<Seen> {
    let seconds = duration.as_secs().max(1).to_string();
    let call = |program| Call::new(program, cpu::LOAD_CORE.to_string());
    let patience = duration + PATIENCE;
    if traffic.fields == Fields::IfNoneMatch {
        // wrk waits for the body that Content-Length in a 304 speaks of (RFC 9110 §8.6), which HAProxy sends.
        let outcome = openloop::run(address, traffic, Pace::Closed { duration })?;
        return Ok(Seen {
            requests: outcome.requests,
            seconds: outcome.elapsed.as_secs_f64(),
            bytes: 0,
        });
    }
    let scheme = match protocol {
        Protocol::Http1 | Protocol::Http2 => "http",
        Protocol::Tls => "https",
    };
    if protocol == Protocol::Http2 {
        let mut call = call("h2load")
            .args(["--threads=1", &format!("--duration={seconds}")])
            .arg(format!("--clients={HTTP2_CONNECTIONS}"))
            .arg(format!("--max-concurrent-streams={HTTP2_STREAMS}"))
            .arg(format!("--header=:authority: {HOST}"));
        for (name, value) in traffic.fields() {
            call = call.arg(format!("--header={name}: {value}"));
        }
        call = call.arg(format!("{scheme}://{address}{}", traffic.target(0)));
        let said = child::output_of("h2load", &call, folder, patience)?;
        return parse_h2load(&said).with_context(|| format!("h2load said:\n{said}"));
    }
    let drawn_path = folder.join("drawn");
    let drawn: String = traffic
        .draw()
        .iter()
        .map(|number| number.map_or("-1\n".to_owned(), |number| format!("{number}\n")))
        .collect();
    std::fs::write(&drawn_path, drawn).context("what was drawn")?;
    let script = folder.join("traffic.lua");
    std::fs::write(&script, traffic.script(&drawn_path.to_string_lossy()))
        .context("wrk's script")?;
    let call = call("wrk")
        .args([
            "--threads=1",
            &format!("--duration={seconds}s"),
            "--timeout=10s",
        ])
        .arg(format!("--connections={CONNECTIONS}"))
        .arg("--script")
        .arg(&script)
        .arg(format!("{scheme}://{address}/"));
    let said = child::output_of("wrk", &call, folder, patience)?;
    parse_wrk(&said).with_context(|| format!("wrk said:\n{said}"))
}

/// The line that our script has it say.
fn parse_wrk(said: &str) -> Result<Seen> {
    let line = said.lines().find_map(|line| line.strip_prefix("BENCH "));
    let line = line.context("no result")?;
    let numbers: Vec<u64> = line
        .split(' ')
        .map(str::parse)
        .collect::<Result<_, _>>()
        .context("the result is not numbers")?;
    let [requests, microseconds, bytes, failed, refused] = numbers[..] else {
        anyhow::bail!("the result has other numbers");
    };
    ensure!(requests > 0, "nothing was answered");
    ensure!(failed == 0, "{failed} requests failed");
    ensure!(refused == 0, "{refused} answers were errors");
    Ok(Seen {
        requests,
        seconds: microseconds as f64 / 1e6,
        bytes,
    })
}

fn parse_h2load(said: &str) -> Result<Seen> {
    let after = |prefix: &str| said.lines().find_map(|line| line.strip_prefix(prefix));
    let finished = after("finished in ").context("no time")?;
    let (time, rest) = finished.split_once(", ").context("no rate")?;
    let rate: f64 = rest
        .split_once(" req/s")
        .context("no rate")?
        .0
        .parse()
        .context("the rate")?;
    let counts = after("requests: ").context("no counts")?;
    let count = |what: &str| -> Result<u64> {
        let found = counts
            .split(", ")
            .find_map(|part| part.trim().strip_suffix(what));
        Ok(found
            .with_context(|| format!("no {what}"))?
            .trim()
            .parse()?)
    };
    let (requests, failed) = (count(" succeeded")?, count(" failed")?);
    let errored = count(" errored")?;
    ensure!(requests > 0, "nothing was answered");
    ensure!(
        failed + errored == 0,
        "{failed} requests failed, {errored} with errors"
    );
    let traffic = after("traffic: ").context("no bytes")?;
    let bytes = traffic
        .split_once('(')
        .and_then(|(_, rest)| rest.split_once(')'))
        .and_then(|(bytes, _)| bytes.parse().ok())
        .context("the bytes")?;
    ensure!(rate > 0.0, "no rate in {time}");
    Ok(Seen {
        requests,
        seconds: requests as f64 / rate,
        bytes,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_wrk_says_is_read() {
        let seen = parse_wrk("Running 1s test\nBENCH 1000 2000000 512 0 0\n").unwrap();
        assert_eq!(seen.requests_per_second(), 500.0);
        assert_eq!(seen.bytes, 512);
        for wrong in [
            "",
            "BENCH 0 1 1 0 0",
            "BENCH 5 1 1 1 0",
            "BENCH 5 1 1 0 1",
            "BENCH 5",
        ] {
            assert!(parse_wrk(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_h2load_says_is_read() {
        let said = "finished in 2.00s, 10.00 req/s, 1.21MB/s\n\
                    requests: 20 total, 28 started, 20 done, 20 succeeded, 0 failed, 0 errored, 0 timeout\n\
                    status codes: 20 2xx, 0 3xx, 0 4xx, 0 5xx\n\
                    traffic: 1.21MB (1268000) total, 1KB (1024) headers\n";
        let seen = parse_h2load(said).unwrap();
        assert_eq!((seen.requests, seen.bytes), (20, 1_268_000));
        assert_eq!(seen.seconds, 2.0);
        assert!(parse_h2load(&said.replace("0 failed", "3 failed")).is_err());
    }
}
