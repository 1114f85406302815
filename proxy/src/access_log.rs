//! One line per request, for people and their tools.
//!
//! A record is formatted on the request's thread into that thread's buffer; one writer thread collects the buffers
//! at least every [`FLUSH_INTERVAL`] and writes them. No request ever waits for the file: when the writer falls
//! behind, full buffers are dropped and their records counted. Lines are whole, and in order per thread but
//! for a few milliseconds; each carries its time.
//!
//! This module decides nothing about requests and knows no other than [`Record`]'s fields.

mod calendar;
mod format;
mod writer;

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on fails there")]
mod tests;

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::acl::Peer;
use crate::http::Version;
use crate::metrics::{Counter, Metrics, Outcome, SLOTS, thread_slot};
use crate::time::Timestamp;

use writer::{Destination, Message, Writer};

/// A record is on its way to the file this long after the request at the latest, half of the promised 100 ms.
pub const FLUSH_INTERVAL: Duration = Duration::from_millis(50);

/// A thread's buffer goes to the writer when it has grown to this. Two or three system pages of lines make a
/// write cheap enough; 32 KiB is what a busy thread fills in a few milliseconds.
const BATCH_BYTES: usize = 32 * 1024;
/// Full buffers that may wait for the writer: with [`BATCH_BYTES`] 4 MiB.
const QUEUED_BATCHES_MAX: usize = 128;

/// How a line looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// Nothing is written.
    #[default]
    Off,
    /// Apache's combined format, times in UTC. What could break a line is escaped as Apache does.
    Combined,
    /// One JSON object per line.
    Json,
}

/// Where lines go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    Stdout,
    /// Appended to; created where it does not exist.
    File(PathBuf),
}

impl From<&str> for Target {
    /// `-` is standard output, all else a path.
    fn from(text: &str) -> Target {
        match text {
            "-" => Target::Stdout,
            path => Target::File(path.into()),
        }
    }
}

/// What the access log is to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessLogSettings {
    pub format: Format,
    pub target: Target,
}

/// Why the access log cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum AccessLogError {
    #[error("cannot open access log {}", path.display())]
    Open {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("cannot start the access log's thread")]
    Thread(#[source] io::Error),
}

/// What the log tells of one request. Empty text means that there is none.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    /// When the request's head was read.
    pub time: Timestamp,
    pub client: Peer,
    pub method: &'a str,
    /// Path and query as received.
    pub target: &'a str,
    /// Host as the request names it.
    pub host: &'a str,
    pub version: Version,
    pub status: u16,
    /// Bytes of the body sent, without framing.
    pub body_bytes: u64,
    /// From then to the response's last byte written.
    pub duration: Duration,
    pub outcome: Outcome,
    /// Why the outcome is what it is, as in Cache-Status' `detail`.
    pub cache_detail: &'a str,
    /// The server asked, where one was.
    pub backend: &'a str,
    pub referer: &'a [u8],
    pub user_agent: &'a [u8],
    /// The transaction's number (X-Varnish).
    pub xid: u64,
}

/// The access log. Shared by all threads; when it is dropped, its writer writes what is left, which nobody waits for.
pub struct AccessLog {
    format: Format,
    /// `None` when the format is [`Format::Off`].
    running: Option<Running>,
}

struct Running {
    shared: Arc<Shared>,
    sender: SyncSender<Message>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// What request threads and the writer share.
struct Shared {
    buffers: Box<[Buffer; SLOTS]>,
    metrics: Arc<Metrics>,
    reopen: AtomicBool,
    closing: AtomicBool,
}

/// One thread's lines. The lock is the thread's own but for the writer's visits.
#[derive(Default)]
#[repr(align(128))]
struct Buffer(Mutex<Batch>);

/// Whole lines, and how many.
#[derive(Debug, Default)]
struct Batch {
    bytes: Vec<u8>,
    records: u64,
}

impl AccessLog {
    /// Opens the file and starts the writer thread; does neither for [`Format::Off`].
    ///
    /// # Errors
    /// [`AccessLogError`] when the file cannot be opened or no thread started.
    pub fn open(
        settings: &AccessLogSettings,
        metrics: Arc<Metrics>,
    ) -> Result<AccessLog, AccessLogError> {
        if settings.format == Format::Off {
            return Ok(AccessLog::off());
        }
        let destination = Destination::open(&settings.target)?;
        let shared = Arc::new(Shared {
            buffers: Box::new(std::array::from_fn(|_| Buffer::default())),
            metrics,
            reopen: AtomicBool::new(false),
            closing: AtomicBool::new(false),
        });
        let (sender, receiver) = sync_channel(QUEUED_BATCHES_MAX);
        let writer = Writer::new(
            Arc::clone(&shared),
            receiver,
            destination,
            settings.target.clone(),
        );
        let thread = std::thread::Builder::new()
            .name("access-log".to_owned())
            .spawn(move || writer.run())
            .map_err(AccessLogError::Thread)?;
        Ok(AccessLog {
            format: settings.format,
            running: Some(Running {
                shared,
                sender,
                thread: Mutex::new(Some(thread)),
            }),
        })
    }

    /// A log that writes nothing.
    pub fn off() -> AccessLog {
        AccessLog {
            format: Format::Off,
            running: None,
        }
    }

    /// Whether records are wanted at all: ask before gathering one.
    pub fn is_on(&self) -> bool {
        self.running.is_some()
    }

    /// Logs one request. Never waits for the file; a record that finds no room is counted
    /// (`lacquer_access_log_dropped_total`) and gone.
    pub fn record(&self, record: &Record<'_>) {
        let Some(running) = &self.running else {
            return;
        };
        let shared = &running.shared;
        let mut batch = shared.buffers[thread_slot()].0.lock();
        // Under the lock: the writer's last visit comes after `closing` is set.
        if shared.closing.load(Ordering::Acquire) {
            shared.metrics.count(Counter::AccessLogDropped);
            return;
        }
        match self.format {
            Format::Off => return,
            Format::Combined => format::combined(&mut batch.bytes, record),
            Format::Json => format::json(&mut batch.bytes, record),
        }
        batch.records += 1;
        if batch.bytes.len() >= BATCH_BYTES {
            let full = std::mem::take(&mut *batch);
            drop(batch);
            let records = full.records;
            if running.sender.try_send(Message::Batch(full)).is_err() {
                shared.metrics.add(Counter::AccessLogDropped, records);
            }
        }
    }

    /// Opens the file anew, as after a log rotation. Takes effect within [`FLUSH_INTERVAL`]; when it fails, the old
    /// file stays in use and the failure is logged.
    pub fn reopen(&self) {
        if let Some(running) = &self.running {
            running.shared.reopen.store(true, Ordering::Release);
            running.wake();
        }
    }

    /// Writes what is left and ends the writer; records that come later are dropped. Waits at most `deadline`.
    pub fn close(&self, deadline: Duration) {
        let Some(running) = &self.running else {
            return;
        };
        running.end();
        let Some(thread) = running.thread.lock().take() else {
            return;
        };
        let began = Instant::now();
        while !thread.is_finished() {
            if began.elapsed() >= deadline {
                tracing::warn!("access log could not be written to its end in time");
                return;
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        if thread.join().is_err() {
            tracing::error!("the access log's thread has panicked");
        }
    }
}

impl Running {
    /// Has the writer write what is left and end.
    fn end(&self) {
        self.shared.closing.store(true, Ordering::Release);
        self.wake();
    }

    /// A full queue needs no wake-up: the writer is at work.
    fn wake(&self) {
        let _ = self.sender.try_send(Message::Wake);
    }
}

impl Drop for AccessLog {
    /// The writer ends by itself: whoever held a log last, after a reload, may be a thread that serves clients.
    fn drop(&mut self) {
        if let Some(running) = &self.running {
            running.end();
        }
    }
}

impl fmt::Debug for AccessLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AccessLog")
            .field("format", &self.format)
            .finish_non_exhaustive()
    }
}
