//! Moves a request's body from the client to the fetch, a piece at a time, in bounded memory.

use tokio::sync::mpsc;

use crate::backend::{BodyPiece, RequestBody};
use crate::downstream::{BodyLength, ClientError, Departure, Exchange};

/// Pieces that may wait between the client's connection and the backend's.
const QUEUE: usize = 4;

/// How far the body has got.
#[derive(Debug, Default)]
pub(super) enum Upload {
    /// There is none, or nobody wants it any more.
    #[default]
    Over,
    Moving(mpsc::Sender<BodyPiece>),
    /// Over, and the client will send nothing more on this connection.
    HalfClosed,
}

impl Upload {
    /// The receiving end for a fetch; a request without a body gives an empty one.
    pub(super) fn begin(&mut self, exchange: &Exchange) -> RequestBody {
        let length = match exchange.body_length() {
            BodyLength::None => return RequestBody::Empty,
            BodyLength::Known(bytes) => Some(bytes),
            BodyLength::Unknown => None,
        };
        let (sender, receiver) = mpsc::channel(QUEUE);
        *self = Upload::Moving(sender);
        RequestBody::Stream { length, receiver }
    }

    /// Moves one piece. Once the body is over, resolves only when the client leaves. Safe to cancel: a
    /// piece is taken from the client only when there is room for it, and then moved without waiting.
    ///
    /// # Errors
    /// [`ClientError::Gone`], or what reading from the client gave. The machine ends with it, and the channel
    /// closes without an end, so that no backend takes the part for the whole.
    pub(super) async fn step(&mut self, exchange: &mut Exchange) -> Result<(), ClientError> {
        // While the client waits for 100 (Continue), the backend has to say that it wants the body.
        let sender = match self {
            Upload::Moving(sender) if !exchange.expects_continue() => sender,
            Upload::HalfClosed => return std::future::pending().await,
            Upload::Moving(_) | Upload::Over => {
                return match exchange.closed().await {
                    Departure::Gone => Err(ClientError::Gone(None)),
                    Departure::HalfClosed => {
                        *self = Upload::HalfClosed;
                        Ok(())
                    }
                };
            }
        };
        if move_piece(sender, exchange).await? == Moved::Last {
            *self = Upload::Over;
        }
        Ok(())
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
    let Ok(permit) = sender.reserve().await else {
        // The backend has answered without wanting the rest.
        return Ok(Moved::Last);
    };
    match exchange.read_body().await? {
        Some(piece) => {
            permit.send(BodyPiece::Data(piece));
            Ok(Moved::One)
        }
        None => {
            permit.send(BodyPiece::End(exchange.take_trailers()));
            Ok(Moved::Last)
        }
    }
}
