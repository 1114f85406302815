//! What a reader of HTTP/1 makes of bytes: heads, bodies, and the list of requests they come to.

/// Why a reader goes no further.
pub(crate) type Doubt = String;

/// Field lines in their order.
pub(crate) type Fields = Vec<(String, Vec<u8>)>;

/// How a reader finds the end of a request's body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    Empty,
    Length(u64),
    Chunked,
}

/// A request head as a reader understood it.
#[derive(Clone, Debug)]
pub(crate) struct Head {
    pub(crate) method: String,
    /// In origin-form, whatever form it came in.
    pub(crate) target: String,
    pub(crate) host: String,
    pub(crate) fields: Fields,
    pub(crate) framing: Framing,
    /// Bytes of the head, with what was skipped before it.
    pub(crate) bytes: usize,
}

impl Head {
    /// The values of a field, as one list.
    pub(crate) fn get(&self, name: &str) -> Option<String> {
        let named = self
            .fields
            .iter()
            .filter(|(other, _)| other.eq_ignore_ascii_case(name));
        let values: Vec<String> = named
            .map(|(_, value)| String::from_utf8_lossy(value).into_owned())
            .collect();
        (!values.is_empty()).then(|| values.join(", "))
    }

    pub(crate) fn lists(&self, name: &str, member: &str) -> bool {
        self.get(name).is_some_and(|list| {
            list.split(',')
                .any(|found| found.trim().eq_ignore_ascii_case(member))
        })
    }

    pub(crate) fn marker(&self) -> String {
        self.get("X-Marker").unwrap_or_default()
    }

    /// Who was asked for what: method, target (with the host, where it is another than usual), marker, body.
    pub(crate) fn line(&self, body: &[u8]) -> String {
        let host = match self.host.as_str() {
            "h.test" => String::new(),
            host => format!("@{host}"),
        };
        let (method, target, marker) = (&self.method, &self.target, self.marker());
        let line = format!("{method} {target}{host} {marker} {}", body.escape_ascii());
        line.trim_end().to_owned()
    }
}

/// A way to read HTTP/1 requests.
pub(crate) trait Reader: Clone + std::fmt::Debug + Send + Sync + 'static {
    /// The head at the front of `bytes`; `None` when more are needed.
    fn head(&self, bytes: &[u8]) -> Result<Option<Head>, Doubt>;

    /// The chunked body at the front of `bytes` and how many of them it took; `None` when more are needed.
    fn chunks(&self, bytes: &[u8]) -> Result<Option<(Vec<u8>, usize)>, Doubt>;

    /// Whether it sees the content of requests whose method gives none a meaning.
    fn sees_strange_bodies(&self) -> bool {
        true
    }

    /// The body behind a head, and how many bytes it took; `None` when more are needed.
    fn body(&self, framing: Framing, bytes: &[u8]) -> Result<Option<(Vec<u8>, usize)>, Doubt> {
        match framing {
            Framing::Empty => Ok(Some((Vec::new(), 0))),
            Framing::Length(length) => {
                let length = usize::try_from(length).unwrap_or(usize::MAX);
                Ok(bytes.get(..length).map(|body| (body.to_vec(), length)))
            }
            Framing::Chunked => self.chunks(bytes),
        }
    }
}

/// What all bytes of a connection come to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Whole {
    pub(crate) requests: Vec<String>,
    /// The head of a request whose body is not there, or is none.
    pub(crate) partial: Option<String>,
    pub(crate) doubt: Option<Doubt>,
}

pub(crate) fn read_all(reader: &impl Reader, mut bytes: &[u8]) -> Whole {
    let mut whole = Whole::default();
    loop {
        let head = match reader.head(bytes) {
            Ok(Some(head)) => head,
            Ok(None) => return whole,
            Err(doubt) => {
                whole.doubt = Some(doubt);
                return whole;
            }
        };
        bytes = &bytes[head.bytes..];
        match reader.body(head.framing, bytes) {
            Ok(Some((body, taken))) => {
                whole.requests.push(head.line(&body));
                bytes = &bytes[taken..];
            }
            other => {
                whole.partial = Some(head.line(b""));
                whole.doubt = other.err();
                return whole;
            }
        }
    }
}
