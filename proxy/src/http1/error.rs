//! Why bytes are no message: one enum for each way of reading.

/// A fault in the syntax or framing that requests and responses share.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// RFC 9112 §2.2: every line ends with CRLF, and neither byte stands elsewhere.
    #[error("a line does not end with CR LF")]
    LineEnd,
    /// RFC 9112 §5.2: a line that starts with white space.
    #[error("a field is folded over several lines")]
    FoldedField,
    /// No token before the colon, white space before it, or no colon at all; or one of the names that frame a message,
    /// with an underscore for its hyphen.
    #[error("invalid field name")]
    FieldName,
    /// CR, NUL or another control character in a field value.
    #[error("invalid field value")]
    FieldValue,
    #[error("the head is larger than {0} bytes")]
    HeadTooLarge(usize),
    #[error("the head has more than {0} fields")]
    TooManyFields(usize),
    /// Anything but one line of digits that fit 64 bits.
    #[error("invalid Content-Length")]
    ContentLength,
    /// RFC 9112 §6.1: the classic ground for request smuggling.
    #[error("both Content-Length and Transfer-Encoding")]
    BothLengths,
    /// Empty members, chunked twice, or chunked not last.
    #[error("invalid Transfer-Encoding")]
    TransferEncoding,
    /// RFC 9112 §6.1: HTTP/1.0 knows no transfer codings.
    #[error("Transfer-Encoding in HTTP/1.0")]
    TransferEncodingInHttp10,
    /// A coding other than chunked was applied before chunked.
    #[error("unknown transfer coding")]
    UnknownTransferCoding,
}

/// Why a request is refused before anybody looks at what it asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// Not `method SP target SP HTTP/digit.digit`.
    #[error("invalid request line")]
    RequestLine,
    #[error("the request target is longer than {0} bytes")]
    TargetTooLong(usize),
    /// RFC 9112 §3.2: none of the four forms, or one that does not go with the method.
    #[error("invalid request target")]
    Target,
    /// RFC 9110 §7.4: the target's scheme is not the one of the connection.
    #[error("the scheme of the target is not that of the connection")]
    Misdirected,
    #[error("unsupported HTTP version")]
    Version,
    #[error("no Host field")]
    HostMissing,
    #[error("several Host fields")]
    HostRepeated,
    #[error("invalid Host field")]
    HostInvalid,
    /// RFC 9110 §9.3.6: what follows a CONNECT head belongs to the tunnel.
    #[error("CONNECT with a body")]
    ConnectBody,
    /// RFC 9110 §10.1.1: something else than `100-continue`.
    #[error("unknown expectation")]
    Expectation,
}

impl Refused {
    /// The status code that tells the client.
    pub fn status(self) -> u16 {
        match self {
            Refused::Malformed(Malformed::HeadTooLarge(_) | Malformed::TooManyFields(_)) => 431,
            Refused::Malformed(Malformed::UnknownTransferCoding) => 501,
            Refused::TargetTooLong(_) => 414,
            Refused::Expectation => 417,
            Refused::Misdirected => 421,
            Refused::Version => 505,
            _ => 400,
        }
    }
}

/// Why a backend's answer cannot be used; a client sees it as 502.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadResponse {
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// Not `HTTP/digit.digit SP three digits`, optionally with a reason.
    #[error("invalid status line")]
    StatusLine,
    #[error("unsupported HTTP version")]
    Version,
}

/// Why a body cannot be read to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadBody {
    /// No hexadecimal digits, too many of them, or something else than an extension behind them.
    #[error("invalid chunk size")]
    ChunkSize,
    /// The extensions of one chunk are not written as the RFC has it, or they, or those of all chunks, are too long.
    #[error("invalid or too long chunk extension")]
    ChunkExtension,
    /// No CRLF after the data of a chunk.
    #[error("a chunk does not end with CR LF")]
    ChunkEnd,
    #[error("invalid trailer section: {0}")]
    Trailers(Malformed),
    /// RFC 9110 §6.5.1: framing and routing are over when trailers arrive.
    #[error("a trailer field that may only stand in a head")]
    ForbiddenTrailer,
    /// The connection ended before the body did.
    #[error("the connection ended within the body")]
    Truncated,
}
