//! Limits and timeouts of client connections.

use std::num::NonZeroU32;
use std::time::Duration;

use crate::http1::HeadLimits;

/// What a client may cost. A plain struct: whoever reads configuration fills it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DownstreamSettings {
    pub head: HeadLimits,
    /// Bytes of a request body; `None`: no limit.
    pub request_body_bytes_max: Option<u64>,
    /// Requests served on one connection before it is closed; `None`: no limit.
    pub requests_per_connection_max: Option<NonZeroU32>,
    /// From the first byte of a head to its last. Against clients that send one byte at a time.
    pub head_read_timeout: Duration,
    /// Without a request: between two of them, or before the first.
    pub idle_timeout: Duration,
    /// Without a byte while a body is awaited.
    pub body_read_timeout: Duration,
    /// Without the client taking a byte of a reply.
    pub write_timeout: Duration,
    /// How long to wait for a client to read the last reply before its connection is closed under it.
    pub linger_timeout: Duration,
    /// Bytes of an unread request body that are skipped to keep a connection; more closes it.
    pub drain_bytes_max: u64,
    pub http2: Http2Settings,
}

/// Limits of one HTTP/2 connection (RFC 9113 §6.5.2, §10.5).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Http2Settings {
    pub concurrent_streams_max: u32,
    /// Decoded fields of one head, with 32 bytes added for each as RFC 9113 §6.5.2 counts.
    pub header_list_bytes_max: u32,
    /// Bytes a client may send on one stream before we have taken them.
    pub stream_window_bytes: u32,
    /// The same for all streams together.
    pub connection_window_bytes: u32,
    /// Bytes of a reply's body that wait for the client's windows before its handler does.
    pub send_buffer_bytes_max: usize,
    pub frame_bytes_max: u32,
    /// Streams kept in mind after we reset them: what the client sends on the last so many is ignored, on others it is
    /// an error. Twice `concurrent_streams_max` and `resets_max` together, if that is more.
    pub reset_streams_max: usize,
    /// Streams reset by the client before their replies were complete, beyond those it let us complete and one for
    /// each second ("rapid reset", CVE-2023-44487); more ends the connection.
    pub resets_max: usize,
    /// Streams that we reset for the client's own errors, less one for each second ("made you reset", CVE-2025-8671);
    /// more ends the connection.
    pub local_error_reset_streams_max: usize,
    /// Requests refused on one connection, less one for each second, before its end is announced. Twice as many end it
    /// at once.
    pub refused_requests_max: u32,
    /// PING, SETTINGS, PRIORITY, GOAWAY and unknown frames, DATA without any, streams beyond
    /// `concurrent_streams_max`, and header blocks of streams that were reset, within ten seconds; more ends the
    /// connection.
    pub control_frames_max: u32,
    /// Bytes of a reply that the client has to take within `write_timeout` if so many are left.
    pub progress_bytes_min: usize,
}

impl Default for DownstreamSettings {
    fn default() -> DownstreamSettings {
        DownstreamSettings {
            head: HeadLimits::default(),
            request_body_bytes_max: None,
            requests_per_connection_max: None,
            head_read_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(60),
            body_read_timeout: Duration::from_secs(60),
            write_timeout: Duration::from_secs(60),
            linger_timeout: Duration::from_secs(2),
            drain_bytes_max: 256 * 1024,
            http2: Http2Settings::default(),
        }
    }
}

impl Default for Http2Settings {
    fn default() -> Http2Settings {
        Http2Settings {
            concurrent_streams_max: 128,
            header_list_bytes_max: 64 * 1024,
            stream_window_bytes: 256 * 1024,
            connection_window_bytes: 1024 * 1024,
            send_buffer_bytes_max: 256 * 1024,
            frame_bytes_max: 16 * 1024,
            reset_streams_max: 64,
            resets_max: 100,
            local_error_reset_streams_max: 256,
            refused_requests_max: 64,
            control_frames_max: 1000,
            progress_bytes_min: 4 * 1024,
        }
    }
}
