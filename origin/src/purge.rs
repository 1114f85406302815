//! Telling caches that a value has changed: `PURGE <path>`.
//!
//! Requests only queue paths. Each cache has its own bounded queue and a few senders, so a
//! cache that does not answer costs its own purges and nothing else. A purge is a hint:
//! what cannot be sent in time is counted, logged and dropped.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::Settings;
use crate::metrics::Metrics;

/// Paths that may wait for one cache.
const WAITING_MAX: usize = 10_000;
/// Purges sent to one cache at once.
const SENDERS: usize = 4;
/// Bytes of an answer that are looked at for its status.
const STATUS_LINE_BYTES: usize = 512;

/// Sends purges in the background. Ends with its last owner.
#[derive(Debug)]
pub struct Purger {
    queues: Vec<mpsc::Sender<String>>,
    /// Purges that wait or are being sent.
    unsent: watch::Sender<usize>,
    metrics: Arc<Metrics>,
    _tasks: Mutex<JoinSet<()>>,
}

impl Purger {
    /// Starts the senders for every host in the settings.
    pub fn start(settings: &Settings, metrics: &Arc<Metrics>) -> Self {
        let mut tasks = JoinSet::new();
        let (unsent, _) = watch::channel(0);
        let queues = settings
            .purge_hosts
            .iter()
            .map(|host| {
                let (queue, paths) = mpsc::channel(WAITING_MAX);
                let paths = Arc::new(tokio::sync::Mutex::new(paths));
                for _ in 0..SENDERS {
                    tasks.spawn(send_all(
                        host.clone(),
                        paths.clone(),
                        settings.purge_timeout,
                        unsent.clone(),
                        metrics.clone(),
                    ));
                }
                queue
            })
            .collect();
        Self {
            queues,
            unsent,
            metrics: metrics.clone(),
            _tasks: Mutex::new(tasks),
        }
    }

    /// Whether there is anybody to tell.
    pub fn is_idle(&self) -> bool {
        self.queues.is_empty()
    }

    /// Returns once nothing waits and nothing is being sent.
    pub async fn sent(&self) {
        // Fails only without a sender, and that is here.
        let _ = self.unsent.subscribe().wait_for(|count| *count == 0).await;
    }

    /// Queues a path, percent-encoded as in a request, for every cache. Does not wait.
    pub fn purge(&self, path: &str) {
        for queue in &self.queues {
            // Before it is queued: it may be sent before this line ends.
            self.unsent.send_modify(|count| *count += 1);
            match queue.try_send(path.to_owned()) {
                Ok(()) => self.metrics.purges_waiting.inc(),
                Err(_) => {
                    self.unsent.send_modify(|count| *count -= 1);
                    self.metrics.purges.with_label_values(&["dropped"]).inc();
                    tracing::warn!(path, "purge dropped: too many wait");
                }
            }
        }
    }
}

async fn send_all(
    host: String,
    paths: Arc<tokio::sync::Mutex<mpsc::Receiver<String>>>,
    limit: Duration,
    unsent: watch::Sender<usize>,
    metrics: Arc<Metrics>,
) {
    loop {
        let Some(path) = paths.lock().await.recv().await else {
            return;
        };
        metrics.purges_waiting.dec();
        let failure = match timeout(limit, send(&host, &path)).await {
            Ok(Ok(status)) if status < 400 => None,
            // Nothing was stored under the path: that is what was wanted.
            Ok(Ok(404)) => None,
            Ok(Ok(status)) => Some(format!("the cache answered {status}")),
            Ok(Err(error)) => Some(error.to_string()),
            Err(_) => Some("no answer in time".to_owned()),
        };
        match failure {
            None => metrics.purges.with_label_values(&["ok"]).inc(),
            Some(reason) => {
                metrics.purges.with_label_values(&["failed"]).inc();
                tracing::warn!(host, path, reason, "purge failed");
            }
        }
        unsent.send_modify(|count| *count -= 1);
    }
}

/// Sends one purge and reads the answer's status.
async fn send(host: &str, path: &str) -> std::io::Result<u16> {
    let mut stream = TcpStream::connect(host).await?;
    stream.set_nodelay(true)?;
    let request = format!("PURGE {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::with_capacity(STATUS_LINE_BYTES);
    while !answer.contains(&b'\n') && answer.len() < STATUS_LINE_BYTES {
        if stream.read_buf(&mut answer).await? == 0 {
            break;
        }
    }
    parse_status(&answer).ok_or_else(|| {
        std::io::Error::new(std::io::ErrorKind::InvalidData, "the answer has no status")
    })
}

fn parse_status(answer: &[u8]) -> Option<u16> {
    let rest = answer
        .strip_prefix(b"HTTP/1.1 ")
        .or_else(|| answer.strip_prefix(b"HTTP/1.0 "))?;
    std::str::from_utf8(rest.get(..3)?).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::parse_status;

    #[track_caller]
    fn check(answer: &str, expected: Option<u16>) {
        assert_eq!(parse_status(answer.as_bytes()), expected, "{answer:?}");
    }

    #[test]
    fn the_status_is_read_from_the_first_line() {
        check("HTTP/1.1 200 Purged\r\n", Some(200));
        check("HTTP/1.0 405 Not allowed\r\n", Some(405));
        check("HTTP/1.1 2", None);
        check("", None);
        check("220 smtp ready", None);
    }
}
