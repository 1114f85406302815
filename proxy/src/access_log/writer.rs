//! The one thread that writes.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Instant;

use super::{AccessLogError, BATCH_BYTES, Batch, FLUSH_INTERVAL, Shared, Target};
use crate::metrics::Counter;

pub(super) enum Message {
    Batch(Batch),
    /// Look at the flags.
    Wake,
}

pub(super) enum Destination {
    Stdout,
    File(File),
}

impl Destination {
    pub(super) fn open(target: &Target) -> Result<Destination, AccessLogError> {
        let path = match target {
            Target::Stdout => return Ok(Destination::Stdout),
            Target::File(path) => path,
        };
        let file = OpenOptions::new().append(true).create(true).open(path);
        file.map(Destination::File)
            .map_err(|source| AccessLogError::Open {
                path: path.clone(),
                source,
            })
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Destination::File(file) => file.write_all(bytes),
            Destination::Stdout => {
                let mut stdout = io::stdout().lock();
                stdout.write_all(bytes)?;
                stdout.flush()
            }
        }
    }
}

/// Whether the last write went well: a failure is logged when it begins and when it ends.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Health {
    Writing,
    Failing,
}

pub(super) struct Writer {
    shared: Arc<Shared>,
    receiver: Receiver<Message>,
    destination: Destination,
    target: Target,
    /// Swapped against a thread's buffer on each visit, so that collecting allocates nothing.
    spare: Batch,
    health: Health,
}

impl Writer {
    pub(super) fn new(
        shared: Arc<Shared>,
        receiver: Receiver<Message>,
        destination: Destination,
        target: Target,
    ) -> Writer {
        Writer {
            shared,
            receiver,
            destination,
            target,
            spare: Batch::default(),
            health: Health::Writing,
        }
    }

    /// Runs until the log is closed or dropped.
    pub(super) fn run(mut self) {
        let mut collected = Instant::now();
        loop {
            let wait = FLUSH_INTERVAL.saturating_sub(collected.elapsed());
            let connected = match self.receiver.recv_timeout(wait) {
                Ok(Message::Batch(batch)) => {
                    self.write(&batch);
                    true
                }
                Ok(Message::Wake) | Err(RecvTimeoutError::Timeout) => true,
                Err(RecvTimeoutError::Disconnected) => false,
            };
            let closing = !connected || self.shared.closing.load(Ordering::Acquire);
            let reopening = self.shared.reopen.swap(false, Ordering::AcqRel);
            if closing || reopening || collected.elapsed() >= FLUSH_INTERVAL {
                self.collect();
                collected = Instant::now();
            }
            if reopening {
                self.reopen();
            }
            if closing {
                return;
            }
        }
    }

    /// Writes what waits in the queue, then what the threads have begun.
    fn collect(&mut self) {
        while let Ok(message) = self.receiver.try_recv() {
            if let Message::Batch(batch) = message {
                self.write(&batch);
            }
        }
        let shared = Arc::clone(&self.shared);
        for buffer in shared.buffers.iter() {
            let mut batch = buffer.0.lock();
            if batch.records == 0 {
                continue;
            }
            let mut taken = std::mem::take(&mut self.spare);
            std::mem::swap(&mut *batch, &mut taken);
            drop(batch);
            self.write(&taken);
            taken.bytes.clear();
            taken.bytes.shrink_to(2 * BATCH_BYTES);
            taken.records = 0;
            self.spare = taken;
        }
    }

    fn write(&mut self, batch: &Batch) {
        match self.destination.write(&batch.bytes) {
            Ok(()) if self.health == Health::Failing => {
                tracing::info!("access log is being written again");
                self.health = Health::Writing;
            }
            Ok(()) => {}
            Err(error) => {
                let metrics = &self.shared.metrics;
                metrics.add(Counter::AccessLogDropped, batch.records);
                if self.health == Health::Writing {
                    tracing::error!(%error, "access log cannot be written, records are dropped");
                    self.health = Health::Failing;
                }
            }
        }
    }

    fn reopen(&mut self) {
        match Destination::open(&self.target) {
            Ok(destination) => self.destination = destination,
            Err(error) => {
                let cause = std::error::Error::source(&error).map(ToString::to_string);
                tracing::error!(%error, cause, "access log stays in its old file");
            }
        }
    }
}
