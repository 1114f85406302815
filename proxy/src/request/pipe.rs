//! The end of `pipe`: an upgraded connection (WebSocket and others): bytes go both ways, unread by us.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::Instant;

use super::Machine;
use crate::backend::BackendResponse;
use crate::downstream::{SendBody, Served};
use crate::metrics::{Counter, Metrics, Outcome};

impl Machine<'_> {
    /// The backend has agreed to switch protocols: tells the client, then joins the two connections.
    pub(super) async fn join(mut self, response: BackendResponse) -> Served {
        let metrics = &self.front.metrics;
        self.record.status = response.head.status;
        self.record.outcome = Some(Outcome::Pipe);
        let _open = OpenPipe::begin(metrics);
        let head_sent = self
            .exchange
            .send_head(&response.head, SendBody::Empty)
            .await;
        self.record.end(
            self.front,
            &self.current.access_log,
            &self.request,
            &self.exchange,
            head_sent.as_ref().err(),
        );
        if head_sent.is_err() {
            return self.exchange.abort();
        }
        let client = self.exchange.into_upgraded().await;
        let upgraded = client.ok().zip(response.into_upgraded());
        if let Some(((mut client, from_client), mut backend)) = upgraded {
            let idle = self.current.settings.pipe_idle;
            let moved = join(
                &mut client,
                &from_client,
                &mut backend.stream,
                &backend.buffered,
                idle,
            )
            .await;
            metrics.add(Counter::PipeBytesIn, moved.up);
            metrics.add(Counter::PipeBytesOut, moved.down);
            backend.count(moved.up, moved.down);
        }
        Served::taken()
    }
}

/// A pipe while it is open, however it ends.
struct OpenPipe<'a>(&'a Metrics);

impl OpenPipe<'_> {
    fn begin(metrics: &Metrics) -> OpenPipe<'_> {
        metrics.count(Counter::Pipes);
        OpenPipe(metrics)
    }
}

impl Drop for OpenPipe<'_> {
    fn drop(&mut self) {
        self.0.count(Counter::PipesEnded);
    }
}

/// Bytes moved from client to backend, and from backend to client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Moved {
    up: u64,
    down: u64,
}

/// Moves bytes both ways until both sides have ended, one fails, or neither sends anything for `idle`.
/// What was read from either side before goes first.
async fn join<C, B>(
    client: C,
    from_client: &[u8],
    backend: B,
    from_backend: &[u8],
    idle: Duration,
) -> Moved
where
    C: AsyncRead + AsyncWrite + Unpin,
    B: AsyncRead + AsyncWrite + Unpin,
{
    let (mut client_reads, mut client_writes) = tokio::io::split(client);
    let (mut backend_reads, mut backend_writes) = tokio::io::split(backend);
    let last = Mutex::new(Instant::now());
    let (up, down) = (AtomicU64::new(0), AtomicU64::new(0));
    {
        let both = async {
            tokio::try_join!(
                copy(
                    from_client,
                    &mut client_reads,
                    &mut backend_writes,
                    &last,
                    &up
                ),
                copy(
                    from_backend,
                    &mut backend_reads,
                    &mut client_writes,
                    &last,
                    &down
                ),
            )
        };
        let quiet = async {
            loop {
                let until = *last.lock() + idle;
                if until <= Instant::now() {
                    return;
                }
                tokio::time::sleep_until(until).await;
            }
        };
        tokio::select! {
            _ = both => {}
            () = quiet => {}
        }
    }
    Moved {
        up: up.into_inner(),
        down: down.into_inner(),
    }
}

async fn copy(
    first: &[u8],
    from: &mut (impl AsyncRead + Unpin),
    to: &mut (impl AsyncWrite + Unpin),
    last: &Mutex<Instant>,
    moved: &AtomicU64,
) -> std::io::Result<()> {
    to.write_all(first).await?;
    to.flush().await?;
    moved.fetch_add(first.len() as u64, Ordering::Relaxed);
    let mut buffer = vec![0; PIPE_BUFFER_BYTES];
    loop {
        let read = from.read(&mut buffer).await?;
        if read == 0 {
            // One side has said all it has to say; the other may go on.
            return to.shutdown().await;
        }
        to.write_all(&buffer[..read]).await?;
        to.flush().await?;
        *last.lock() = Instant::now();
        moved.fetch_add(read as u64, Ordering::Relaxed);
    }
}

const PIPE_BUFFER_BYTES: usize = 16 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn bytes_go_both_ways_until_both_sides_have_ended() {
        let (mut browser, client) = tokio::io::duplex(64);
        let (mut server, backend) = tokio::io::duplex(64);
        let joined = tokio::spawn(join(client, b"he", backend, b"hi ", Duration::from_secs(5)));
        browser.write_all(b"llo").await.expect("open");
        browser.shutdown().await.expect("open");
        let mut heard = String::new();
        server
            .read_to_string(&mut heard)
            .await
            .expect("half closed");
        assert_eq!(heard, "hello");
        server
            .write_all(b"there")
            .await
            .expect("the other direction is still open");
        drop(server);
        heard.clear();
        browser.read_to_string(&mut heard).await.expect("closed");
        assert_eq!(heard, "hi there");
        assert_eq!(joined.await.expect("no panic"), Moved { up: 5, down: 8 });
    }

    #[tokio::test(start_paused = true)]
    async fn quiet_pipe_ends() {
        let (_browser, client) = tokio::io::duplex(64);
        let (_server, backend) = tokio::io::duplex(64);
        let started = Instant::now();
        join(client, b"", backend, b"", Duration::from_secs(60)).await;
        assert_eq!(started.elapsed(), Duration::from_secs(60));
    }
}
