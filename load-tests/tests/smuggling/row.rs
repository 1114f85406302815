//! A row of the table: what a client sends, and what may come of it.

use std::time::Duration;

/// One act of the client.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    Send(Vec<u8>),
    Wait(Duration),
    /// Ends the client's direction.
    Shut,
}

/// What becomes of the client's connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Ends {
    /// It serves the next request.
    Open,
    Closed,
    /// It is a tunnel, through which these bytes have reached the back-end.
    Tunnel(Vec<u8>),
}

#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) name: &'static str,
    /// Where this reading was first put to use: a paper, or programs that had it, by CVE number.
    pub(crate) source: &'static str,
    /// A target that is stored before.
    pub(crate) stored: Option<&'static str>,
    pub(crate) steps: Vec<Step>,
    /// `STATUS MARKER` of each answer; of our own ones the status only. A HEAD's begins with `HEAD`.
    pub(crate) answers: Vec<&'static str>,
    /// What the back-end is asked: the lines of [`crate::reading::Head::line`].
    pub(crate) asked: Vec<&'static str>,
    pub(crate) ends: Ends,
}

impl Row {
    fn new(name: &'static str, source: &'static str, sent: impl Into<Vec<u8>>) -> Row {
        Row {
            name,
            source,
            stored: None,
            steps: vec![Step::Send(sent.into())],
            answers: Vec::new(),
            asked: Vec::new(),
            ends: Ends::Open,
        }
    }

    /// A target that the front door has stored before the client comes.
    #[must_use]
    pub(crate) fn with_stored(mut self, target: &'static str) -> Row {
        self.stored = Some(target);
        self
    }

    #[must_use]
    pub(crate) fn then(mut self, step: Step) -> Row {
        self.steps.push(step);
        self
    }

    #[must_use]
    pub(crate) fn then_send(self, sent: impl Into<Vec<u8>>) -> Row {
        self.then(Step::Wait(Duration::from_millis(30)))
            .then(Step::Send(sent.into()))
    }

    #[must_use]
    pub(crate) fn ends(mut self, ends: Ends) -> Row {
        self.ends = ends;
        self
    }

    /// Everything the client sends.
    pub(crate) fn sent(&self) -> Vec<u8> {
        let sends = self.steps.iter().filter_map(|step| match step {
            Step::Send(bytes) => Some(bytes.as_slice()),
            Step::Wait(_) | Step::Shut => None,
        });
        sends.collect::<Vec<_>>().concat()
    }
}

/// What an attacker would like to be taken for a request of its own.
pub(crate) const SMUGGLED: &str =
    "GET /smuggled HTTP/1.1\r\nHost: h.test\r\nX-Marker: smuggled\r\n\r\n";

/// What really follows.
pub(crate) const FOLLOWING: &str =
    "GET /following HTTP/1.1\r\nHost: h.test\r\nX-Marker: following\r\n\r\n";

/// Host and marker of the first request.
pub(crate) const FIRST: &str = "Host: h.test\r\nX-Marker: first\r\n";

/// A request that must be refused with 400 and end its connection, whatever follows it.
pub(crate) fn refused(name: &'static str, source: &'static str, sent: impl AsRef<[u8]>) -> Row {
    refused_as("400", name, source, sent)
}

/// The same with another status.
pub(crate) fn refused_as(
    status: &'static str,
    name: &'static str,
    source: &'static str,
    sent: impl AsRef<[u8]>,
) -> Row {
    let sent = [sent.as_ref(), FOLLOWING.as_bytes()].concat();
    Row {
        answers: vec![status],
        ends: Ends::Closed,
        ..Row::new(name, source, sent)
    }
}

/// A request that has one reading. It and the one that follows reach the back-end and are answered.
pub(crate) fn read_as(
    asked: &'static str,
    name: &'static str,
    source: &'static str,
    sent: impl AsRef<[u8]>,
) -> Row {
    let sent = [sent.as_ref(), FOLLOWING.as_bytes()].concat();
    Row {
        answers: vec!["200 first", "200 following"],
        asked: vec![asked, "GET /following following"],
        ..Row::new(name, source, sent)
    }
}

/// Anything else: exactly these answers, and exactly this asked of the back-end.
pub(crate) fn exchange(
    name: &'static str,
    source: &'static str,
    sent: impl AsRef<[u8]>,
    answers: &[&'static str],
    asked: &[&'static str],
) -> Row {
    Row {
        answers: answers.to_vec(),
        asked: asked.to_vec(),
        ..Row::new(name, source, sent.as_ref())
    }
}

/// `POST /first` with these field lines, and these bytes behind its head.
pub(crate) fn post(fields: &str, behind: &str) -> String {
    format!("POST /first HTTP/1.1\r\n{FIRST}{fields}\r\n{behind}")
}

/// `GET /first` with these field lines.
pub(crate) fn get(fields: &str) -> String {
    format!("GET /first HTTP/1.1\r\n{FIRST}{fields}\r\n")
}

/// `POST /first` in chunks.
pub(crate) fn chunked(body: &str) -> String {
    post("Transfer-Encoding: chunked\r\n", body)
}

/// A request with this request line.
pub(crate) fn start(line: &str) -> String {
    format!("{line}\r\n{FIRST}\r\n")
}
