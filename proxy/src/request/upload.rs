//! Moves a request's body from the client to the fetch, a piece at a time, in bounded memory.

use futures_util::FutureExt;
use tokio::sync::mpsc::{self, error::TrySendError};

use crate::backend::{BodyPiece, RequestBody};
use crate::downstream::{BodyLength, ClientError, Departure, Exchange};
use crate::rules::hop_by_hop;

/// Pieces that may wait between the client's connection and the backend's.
const QUEUE: usize = 4;

/// The request's body on its way, and the client's presence behind it.
#[derive(Debug, Default)]
pub(super) struct Upload {
    progress: Progress,
    /// The client will send nothing more on this connection.
    half_closed: bool,
}

/// How far the body has got.
#[derive(Debug, Default)]
enum Progress {
    /// Nobody has asked for it.
    #[default]
    Waiting,
    Moving(mpsc::Sender<BodyPiece>),
    /// It was sent, or nobody wants the rest of it.
    Over,
}

impl Upload {
    /// The receiving end for a fetch; a request without a body gives an empty one, and one whose body has come
    /// with its head the body itself. `None` when an earlier fetch of this request has had the body: what is left
    /// of it must not be taken for the whole.
    ///
    /// # Errors
    /// As [`Upload::step`].
    pub(super) fn begin(
        &mut self,
        exchange: &mut Exchange,
    ) -> Result<Option<RequestBody>, ClientError> {
        let length = match exchange.body_length() {
            BodyLength::None => return Ok(Some(RequestBody::Empty)),
            BodyLength::Known(bytes) => Some(bytes),
            BodyLength::Unknown => None,
        };
        if !matches!(self.progress, Progress::Waiting) {
            return Ok(None);
        }
        // Reading would invite a body that is waited with. What is not here yet comes through the channel.
        let first = match length {
            Some(_) if !exchange.expects_continue() => {
                exchange.read_body().now_or_never().transpose()?.flatten()
            }
            _ => None,
        };
        if let Some(piece) = &first
            && length == Some(piece.len() as u64)
        {
            self.progress = Progress::Over;
            return Ok(first.map(RequestBody::Whole));
        }
        let (sender, receiver) = mpsc::channel(QUEUE);
        if let Some(piece) = first {
            sender
                .try_send(BodyPiece::Data(piece))
                .expect("a new channel has room");
        }
        // What came with the head goes with it: a backend that answers before it has read is not sent the rest.
        let mut moved = None;
        while !exchange.expects_continue() && moved != Some(Moved::Last) && sender.capacity() > 0 {
            moved = move_piece(&sender, exchange).now_or_never().transpose()?;
            if moved.is_none() {
                break;
            }
        }
        self.progress = match moved {
            Some(Moved::Last) => Progress::Over,
            Some(Moved::One) | None => Progress::Moving(sender),
        };
        Ok(Some(RequestBody::Stream { length, receiver }))
    }

    /// Nobody wants the body any more.
    pub(super) fn stop(&mut self) {
        self.progress = Progress::Over;
    }

    /// Moves one piece. When there is none to move, resolves only when the client leaves. Safe to cancel: a
    /// piece is taken from the client only when there is room for it, and then moved without waiting.
    ///
    /// # Errors
    /// [`ClientError::Gone`], or what reading from the client gave. The machine ends with it, and the channel
    /// closes without an end, so that no backend takes the part for the whole.
    pub(super) async fn step(&mut self, exchange: &mut Exchange) -> Result<(), ClientError> {
        match &self.progress {
            // Reading would invite the body. That is for the backend to do, whose 100 is relayed.
            Progress::Moving(sender) if !exchange.expects_continue() => {
                if move_piece(sender, exchange).await? == Moved::Last {
                    self.stop();
                }
                return Ok(());
            }
            _ if self.half_closed => return std::future::pending().await,
            _ => {}
        }
        match exchange.closed().await {
            Departure::Gone => Err(ClientError::Gone(None)),
            Departure::HalfClosed => {
                self.half_closed = true;
                Ok(())
            }
        }
    }

    /// Resolves when the client leaves, for waits before anybody wants the body.
    pub(super) async fn leaves(&mut self, exchange: &mut Exchange) -> ClientError {
        loop {
            if let Err(left) = self.step(exchange).await {
                return left;
            }
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Moved {
    One,
    Last,
}

async fn move_piece(
    sender: &mpsc::Sender<BodyPiece>,
    exchange: &mut Exchange,
) -> Result<Moved, ClientError> {
    let permit = match sender.try_reserve() {
        Ok(permit) => permit,
        Err(TrySendError::Full(())) => {
            // The wait is for the backend: replies to earlier requests must not be held up by it.
            exchange.flush().await?;
            match sender.reserve().await {
                Ok(permit) => permit,
                Err(_) => return Ok(Moved::Last),
            }
        }
        // The backend has answered without wanting the rest.
        Err(TrySendError::Closed(())) => return Ok(Moved::Last),
    };
    match exchange.read_body().await? {
        Some(piece) => {
            permit.send(BodyPiece::Data(piece));
            Ok(Moved::One)
        }
        None => {
            let mut trailers = exchange.take_trailers();
            if let Some(trailers) = &mut trailers {
                hop_by_hop::strip_trailers(trailers);
            }
            permit.send(BodyPiece::End(trailers));
            Ok(Moved::Last)
        }
    }
}
