//! What each frame of a client does.

use std::task::Context;
use std::time::Instant;

use bytes::{Buf, Bytes, BytesMut};

use super::super::Handler;
use super::super::end::End;
use super::super::error::{Refusal, RefusedRequest};
use super::super::exchange::Traffic;
use super::exchange::{Http2, head_bytes};
use super::state::AnswerBody;
use super::work::Worker;
use super::{Connection, Ending, GOAWAY_PING};
use crate::http::{Fields, Method, ResponseHead, reason_phrase};
use crate::http1::Refused;
use crate::http2::{
    BadHead, ErrorCode, FRAME_HEAD_BYTES, Frame, FrameHead, Kind, ListLimits, PREFACE, ParsedHead,
    StatedLength, Violation, flags, read_request, read_trailers, skip_block, write_ping,
    write_response,
};

/// What a client has to say before its requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    Preface,
    /// RFC 9113 §3.4: the first frame is SETTINGS.
    Settings,
    Open,
}

/// Why no more frames were handled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Handled {
    /// The rest of the next one is not here.
    All,
    /// What came of those before is to go out first.
    UntilOutput,
    /// Others are to have their turn.
    Yields,
}

/// A header block that did not end with its first frame.
#[derive(Debug)]
pub(super) struct Block {
    stream: u32,
    is_end: bool,
    bytes: Vec<u8>,
    frames: usize,
}

/// What a connection error comes to.
struct Fatal {
    code: ErrorCode,
    end: End,
}

impl From<ErrorCode> for Fatal {
    fn from(code: ErrorCode) -> Fatal {
        Fatal {
            code,
            end: End::Http2Violated,
        }
    }
}

impl<H: Handler> Connection<H> {
    /// Handles the frames that are here, and begins the requests in them.
    pub(super) fn handle_input(&mut self, cx: &mut Context<'_>) -> Handled {
        let mut input = std::mem::take(&mut self.input);
        let handled = self.handle_frames(&mut input, cx);
        self.input = input;
        match handled {
            Ok(handled) => {
                while let Some(exchange) = self.starting.pop_front() {
                    self.start(exchange, cx);
                }
                handled
            }
            Err(Fatal { code, end }) => {
                self.fail(code, end);
                Handled::All
            }
        }
    }

    fn handle_frames(
        &mut self,
        input: &mut BytesMut,
        cx: &mut Context<'_>,
    ) -> Result<Handled, Fatal> {
        if self.stage == Stage::Preface {
            let shown = input.len().min(PREFACE.len());
            if input[..shown] != PREFACE[..shown] {
                return Err(ErrorCode::PROTOCOL_ERROR.into());
            }
            if shown < PREFACE.len() {
                return Ok(Handled::All);
            }
            input.advance(shown);
            self.stage = Stage::Settings;
        }
        loop {
            let Some(head) = FrameHead::read(input) else {
                return Ok(Handled::All);
            };
            if head.length > self.context.settings.http2.frame_bytes_max as usize {
                return Err(ErrorCode::FRAME_SIZE_ERROR.into());
            }
            let Some(payload) = input[FRAME_HEAD_BYTES..].get(..head.length) else {
                return Ok(Handled::All);
            };
            if self.requests_left == 0 {
                return Ok(Handled::Yields);
            }
            if self.shared.lock().has_much_output() {
                return Ok(Handled::UntilOutput);
            }
            match self.handle_frame(head, payload, cx) {
                Err(Violation::Connection(code)) => return Err(code.into()),
                Err(Violation::Stream(stream, code)) => self.stream_error(stream, code)?,
                Ok(()) => {}
            }
            input.advance(FRAME_HEAD_BYTES + head.length);
            if let Ending::AtOnce(_) = self.ending {
                return Ok(Handled::All);
            }
        }
    }

    fn handle_frame(
        &mut self,
        head: FrameHead,
        payload: &[u8],
        cx: &mut Context<'_>,
    ) -> Result<(), Violation> {
        let is_awaited = match &self.block {
            // Nothing comes between the frames of a header block (RFC 9113 §4.3).
            Some(block) => head.kind == Kind::Continuation && head.stream == block.stream,
            None => head.kind != Kind::Continuation,
        };
        let is_first = self.stage == Stage::Settings;
        if !is_awaited || is_first && (head.kind != Kind::Settings || head.flags & flags::ACK != 0)
        {
            return Err(protocol_error());
        }
        match Frame::read(head, payload)? {
            Frame::Data {
                stream,
                data,
                window_bytes,
                is_end,
            } => {
                self.refuse_idle(stream)?;
                if data.is_empty() && !is_end {
                    self.count_control()?;
                }
                let mut state = self.shared.lock();
                state.data(stream, data, window_bytes, is_end)
            }
            Frame::Headers {
                stream,
                fragment,
                is_end,
                is_whole: true,
            } => self.header_block(stream, fragment, is_end, cx),
            Frame::Headers {
                stream,
                fragment,
                is_end,
                is_whole: false,
            } => {
                self.block = Some(Block {
                    stream,
                    is_end,
                    bytes: fragment.to_vec(),
                    frames: 0,
                });
                Ok(())
            }
            Frame::Continuation {
                fragment, is_whole, ..
            } => self.continuation(fragment, is_whole, cx),
            Frame::Priority { .. } | Frame::SettingsAck | Frame::Unknown => self.count_control(),
            Frame::Reset { stream, code } => {
                self.refuse_idle(stream)?;
                let resets = self.shared.lock().reset_by_client(stream, code);
                match resets > self.context.settings.http2.resets_max {
                    true => Err(Violation::Connection(ErrorCode::ENHANCE_YOUR_CALM)),
                    false => Ok(()),
                }
            }
            Frame::Settings(settings) => {
                self.count_control()?;
                self.stage = Stage::Open;
                self.shared.lock().settings(&settings)
            }
            Frame::Ping(data) => {
                self.count_control()?;
                write_ping(self.shared.lock().output.end(), flags::ACK, data);
                Ok(())
            }
            Frame::PingAck(data) => {
                self.count_control()?;
                if let Ending::Announced(end) = self.ending
                    && data == GOAWAY_PING
                {
                    self.finish_end(end);
                }
                Ok(())
            }
            Frame::GoAway(_) => {
                self.count_control()?;
                // It opens no more streams, and waits for those that it has.
                if self.ending.end().is_none() {
                    self.finish_end(End::ByClient);
                }
                Ok(())
            }
            Frame::WindowUpdate { stream, increment } => {
                self.refuse_idle(stream)?;
                self.shared.lock().window_update(stream, increment)
            }
        }
    }

    /// A frame that no stream is there for yet (RFC 9113 §5.1).
    fn refuse_idle(&self, stream: u32) -> Result<(), Violation> {
        match self.is_idle(stream) {
            true => Err(protocol_error()),
            false => Ok(()),
        }
    }

    fn is_idle(&self, stream: u32) -> bool {
        stream > self.last_stream || stream != 0 && stream.is_multiple_of(2)
    }

    fn count_control(&mut self) -> Result<(), Violation> {
        match self.control.add() {
            true => Err(Violation::Connection(ErrorCode::ENHANCE_YOUR_CALM)),
            false => Ok(()),
        }
    }

    /// Ends a stream for its client's fault. A client that goes on making us reset what it began has no other aim
    /// ("made you reset").
    fn stream_error(&mut self, stream: u32, code: ErrorCode) -> Result<(), Fatal> {
        if self.is_idle(stream) {
            return Err(code.into());
        }
        if self.stream_errors.add() > self.context.settings.http2.local_error_reset_streams_max {
            return Err(ErrorCode::ENHANCE_YOUR_CALM.into());
        }
        self.shared.lock().fail(stream, code);
        Ok(())
    }

    fn continuation(
        &mut self,
        fragment: &[u8],
        is_whole: bool,
        cx: &mut Context<'_>,
    ) -> Result<(), Violation> {
        let limits = &self.context.settings.http2;
        // A list that is somewhat too large is to get its answer; and compressed it takes less than it counts.
        let bytes_max = 2 * (limits.header_list_bytes_max as usize).max(32 * 1024);
        let frames_max = bytes_max / limits.frame_bytes_max as usize + 4;
        let Some(mut block) = self.block.take() else {
            return Err(protocol_error());
        };
        block.frames += 1;
        block.bytes.extend_from_slice(fragment);
        if block.bytes.len() > bytes_max || block.frames > frames_max {
            return Err(Violation::Connection(ErrorCode::ENHANCE_YOUR_CALM));
        }
        if is_whole {
            return self.header_block(block.stream, &block.bytes, block.is_end, cx);
        }
        self.block = Some(block);
        Ok(())
    }

    /// A whole header block: a request, the trailers of one, or nothing that anybody waits for.
    fn header_block(
        &mut self,
        stream: u32,
        block: &[u8],
        is_end: bool,
        cx: &mut Context<'_>,
    ) -> Result<(), Violation> {
        if stream.is_multiple_of(2) {
            return Err(protocol_error());
        }
        self.requests_left = self.requests_left.saturating_sub(turn_cost(block));
        if stream <= self.last_stream {
            return self.late_block(stream, block, is_end);
        }
        self.last_stream = stream;
        let limits = &self.context.settings.http2;
        let refusal = {
            let state = self.shared.lock();
            let max = limits.concurrent_streams_max as usize;
            if matches!(self.ending, Ending::Final(_)) {
                // It was told that this would be ignored.
                Some(ErrorCode::REFUSED_STREAM)
            } else if state.open_streams() >= max || state.streams() >= max + limits.resets_max {
                Some(ErrorCode::REFUSED_STREAM)
            } else {
                None
            }
        };
        if let Some(code) = refusal {
            self.skip(block)?;
            self.count_control()?;
            self.shared.lock().refuse(stream, code);
            return Ok(());
        }
        self.timer.restart();
        self.requests = self.requests.saturating_add(1);
        let limits = ListLimits {
            head: &self.context.settings.head,
            list_bytes_max: limits.header_list_bytes_max as usize,
        };
        let read = read_request(
            &mut self.decoder,
            block,
            &mut self.head,
            &mut self.memory,
            limits,
            self.context.info.scheme,
        );
        match read {
            Ok(parsed) => self.request(stream, parsed, is_end, cx)?,
            Err(BadHead::Refused(refused)) => self.refuse(stream, refused, is_end)?,
            Err(bad) => return Err(bad.violation(stream).unwrap_or_else(protocol_error)),
        }
        let max = self.context.settings.requests_per_connection_max;
        let is_last = max.is_some_and(|max| self.requests >= max.get());
        if is_last && self.ending == Ending::No {
            self.announce_end(End::ByReply);
        }
        Ok(())
    }

    /// A block on a stream that is open, or was.
    fn late_block(&mut self, stream: u32, block: &[u8], is_end: bool) -> Result<(), Violation> {
        let (is_open, was_reset) = {
            let state = self.shared.lock();
            (state.has(stream), state.was_reset_lately(stream))
        };
        if was_reset {
            self.count_control()?;
            return self.skip(block);
        }
        if !is_open {
            // Of a stream that has ended, or was passed over (RFC 9113 §5.1, §5.1.1).
            return Err(Violation::Connection(ErrorCode::STREAM_CLOSED));
        }
        let limits = ListLimits {
            head: &self.context.settings.head,
            list_bytes_max: self.context.settings.http2.header_list_bytes_max as usize,
        };
        let trailers = match read_trailers(&mut self.decoder, block, limits) {
            Ok(trailers) => Ok(trailers),
            Err(BadHead::Trailers(bad)) => Err(bad),
            Err(bad) => return Err(bad.violation(stream).unwrap_or_else(protocol_error)),
        };
        if !is_end {
            // RFC 9113 §8.1.
            return Err(Violation::Stream(stream, ErrorCode::PROTOCOL_ERROR));
        }
        self.shared.lock().trailers(stream, trailers)
    }

    fn skip(&mut self, block: &[u8]) -> Result<(), Violation> {
        skip_block(&mut self.decoder, block)
            .map_err(|_| Violation::Connection(ErrorCode::COMPRESSION_ERROR))
    }

    fn request(
        &mut self,
        stream: u32,
        parsed: ParsedHead,
        is_end: bool,
        cx: &mut Context<'_>,
    ) -> Result<(), Violation> {
        if is_end && parsed.content_length.is_some_and(|length| length > 0) {
            // RFC 9113 §8.1.1.
            return Err(Violation::Stream(stream, ErrorCode::PROTOCOL_ERROR));
        }
        let key = {
            let mut state = self.shared.lock();
            state.open(stream, is_end, parsed.content_length)
        };
        let mut exchange = match self.spare.take() {
            Some(exchange) => exchange,
            None => Box::new(Http2::new(&self.context, self.shared.clone())),
        };
        exchange.begin(key, self.requests, &mut self.head, parsed, is_end);
        match is_end {
            true => self.start(exchange, cx),
            false => self.starting.push_back(exchange),
        }
        Ok(())
    }

    /// Runs the handler as far as it need not wait.
    fn start(&mut self, exchange: Box<Http2>, cx: &mut Context<'_>) {
        if exchange.is_over() {
            return;
        }
        let worker = self.worker.take().unwrap_or_else(|| {
            Worker::new(self.context.handler.clone(), self.context.info.clone())
        });
        if let Some((worker, exchange)) = worker.run(exchange, cx) {
            self.worker = Some(worker);
            self.spare = exchange;
        }
    }

    /// Answers a request that never became an exchange.
    fn refuse(&mut self, stream: u32, refused: Refused, is_end: bool) -> Result<(), Violation> {
        let begun = Instant::now();
        let status = refused.status();
        let body = format!("{}: {refused}\n", reason_phrase(status));
        let head = ResponseHead::new(status)
            .with("Content-Type", "text/plain; charset=utf-8")
            .with("Cache-Control", "no-store");
        let body_is = match self.head.method {
            Method::Head => AnswerBody::Described,
            _ => AnswerBody::Sent,
        };
        let sent = {
            let mut state = self.shared.lock();
            state.answer(stream, is_end, Bytes::from(body), body_is, |out, length| {
                let length = StatedLength::Replaced(Some(length));
                write_response(out, status, [&head.fields, &Fields::new()], length, None)
            })
        };
        let refusal = Refusal::from(refused);
        let answered = RefusedRequest {
            refusal,
            traffic: Traffic {
                request_head: head_bytes(&self.head),
                response_head: sent.0,
                response_body: sent.1,
                ..Traffic::default()
            },
            duration: begun.elapsed(),
        };
        let context = &self.context;
        context.handler.refused(&context.info, answered);
        let max = context.settings.http2.refused_requests_max as usize;
        let refused = self.refused.add();
        let end = End::Refused(refusal);
        if refused > max.saturating_mul(2) {
            self.fail(ErrorCode::ENHANCE_YOUR_CALM, end);
        } else if refused > max && self.ending == Ending::No {
            // Others may share the connection, behind a front end: what they have sent is answered.
            self.announce_end(end);
        }
        Ok(())
    }
}

/// What a header block, wanted or not, takes of the requests of a turn: decoding a large one is more work than many
/// requests.
fn turn_cost(block: &[u8]) -> usize {
    const BYTES_OF_A_REQUEST: usize = 256;
    1 + block.len() / BYTES_OF_A_REQUEST
}

fn protocol_error() -> Violation {
    Violation::Connection(ErrorCode::PROTOCOL_ERROR)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_blocks_take_more_of_a_turn() {
        for (bytes, expected) in [(0, 1), (255, 1), (256, 2), (16_384, 65), (131_072, 513)] {
            assert_eq!(turn_cost(&vec![0; bytes]), expected, "{bytes} bytes");
        }
    }
}
