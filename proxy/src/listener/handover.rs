//! Handing listeners to the next process, so that an upgrade refuses no connection.
//!
//! The old process goes on serving until the new one says that it can: whatever the new one finds wrong, its
//! settings, a certificate, a port, leaves everything as it was.
//!
//! The form is pingora's: the new process waits on a Unix socket, the old one connects and sends the names of
//! its listeners with their descriptors (`SCM_RIGHTS`). pingora's own receiving end makes sockets of bare
//! numbers, which cannot be done without `unsafe`; rustix gives owned descriptors.

use std::collections::HashMap;
use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::net::sockopt::socket_peercred;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use rustix::process::Uid;

/// Most listeners handed over: what one message may carry with room to spare.
const LISTENERS_MAX: usize = 64;
/// Most bytes of their names together.
const NAMES_BYTES_MAX: usize = 16 * 1024;
/// How long the old process waits for the new one to be ready.
const READY_PATIENCE: Duration = Duration::from_secs(20);
/// What the new process sends once it is.
const READY: u8 = b'R';
/// How often the old process is looked for.
const POLL: Duration = Duration::from_millis(20);

/// Why listeners could not be handed over or taken.
#[derive(Debug, thiserror::Error)]
pub enum HandoverError {
    #[error("cannot use {path} for the hand-over")]
    Socket {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error(
        "no process handed its listeners over at {path} within {waited:?}; send the old one SIGQUIT"
    )]
    NobodyCame { path: PathBuf, waited: Duration },
    #[error("what came over {path} is no list of listeners")]
    Malformed { path: PathBuf },
    #[error("more than {LISTENERS_MAX} listeners cannot be handed over")]
    TooMany,
    #[error("the process at the other end of {path} belongs to user {uid}")]
    Stranger { path: PathBuf, uid: u32 },
    #[error("the process that took the listeners did not get ready to serve")]
    NotReady(#[source] io::Error),
}

/// The process before, which serves until it is told that we can.
#[derive(Debug)]
#[must_use = "dropped, it tells the process before to go on"]
pub struct Giver(UnixStream);

impl Giver {
    /// Tells the process before to end.
    pub fn ready(mut self) {
        // One that is gone has nothing to learn.
        let _ = self.0.write_all(&[READY]);
    }
}

/// Sockets of the process before, by the address they listen on.
#[derive(Debug, Default)]
pub struct Inherited(HashMap<String, OwnedFd>);

impl Inherited {
    /// The socket that listens on `address`, to be used once. What nobody takes is closed.
    pub fn take(&mut self, address: &str) -> Option<OwnedFd> {
        self.0.remove(address)
    }
}

/// Waits until the old process hands its listeners over, at most `patience`. Blocks. The old process goes on
/// until [`Giver::ready`].
///
/// # Errors
/// [`HandoverError`]; the old process then goes on as if nothing had been.
pub fn take(path: &Path, patience: Duration) -> Result<(Inherited, Giver), HandoverError> {
    let refuse = |source| HandoverError::Socket {
        path: path.to_owned(),
        source,
    };
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(refuse(error)),
        _ => {}
    }
    let listener = UnixListener::bind(path).map_err(refuse)?;
    // Whoever may connect here may make us serve their sockets.
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).map_err(refuse)?;
    listener.set_nonblocking(true).map_err(refuse)?;
    let deadline = Instant::now() + patience;
    let taken = loop {
        match listener.accept() {
            Ok((stream, _)) => {
                break refuse_stranger(&stream, path)
                    .and_then(|()| receive(&stream, path))
                    .map(|inherited| (inherited, Giver(stream)));
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                if Instant::now() >= deadline {
                    break Err(HandoverError::NobodyCame {
                        path: path.to_owned(),
                        waited: patience,
                    });
                }
                std::thread::sleep(POLL);
            }
            Err(error) => break Err(refuse(error)),
        }
    };
    let _ = std::fs::remove_file(path);
    taken
}

/// Where anybody may make files, as in `/tmp`, anybody may wait there under our name, or come before the rights
/// of our socket are set.
fn refuse_stranger(stream: &UnixStream, path: &Path) -> Result<(), HandoverError> {
    let peer = socket_peercred(stream).map_err(|error| HandoverError::Socket {
        path: path.to_owned(),
        source: error.into(),
    })?;
    match is_trusted(peer.uid, rustix::process::geteuid()) {
        true => Ok(()),
        false => Err(HandoverError::Stranger {
            path: path.to_owned(),
            uid: peer.uid.as_raw(),
        }),
    }
}

fn is_trusted(peer: Uid, own: Uid) -> bool {
    peer == own || peer.is_root()
}

fn receive(stream: &UnixStream, path: &Path) -> Result<Inherited, HandoverError> {
    let refuse = |source| HandoverError::Socket {
        path: path.to_owned(),
        source,
    };
    let malformed = || HandoverError::Malformed {
        path: path.to_owned(),
    };
    stream.set_nonblocking(false).map_err(refuse)?;
    stream
        .set_read_timeout(Some(Duration::from_secs(5)))
        .map_err(refuse)?;
    let mut names = vec![0; NAMES_BYTES_MAX];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(LISTENERS_MAX))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let received = recvmsg(
        stream,
        &mut [IoSliceMut::new(&mut names)],
        &mut ancillary,
        RecvFlags::CMSG_CLOEXEC,
    )
    .map_err(|error| refuse(error.into()))?;
    let sockets: Vec<OwnedFd> = ancillary
        .drain()
        .filter_map(|message| match message {
            RecvAncillaryMessage::ScmRights(sockets) => Some(sockets),
            _ => None,
        })
        .flatten()
        .collect();
    let truncated = received
        .flags
        .intersects(ReturnFlags::TRUNC | ReturnFlags::CTRUNC);
    let names = std::str::from_utf8(&names[..received.bytes]).map_err(|_| malformed())?;
    let names: Vec<&str> = names.split_ascii_whitespace().collect();
    if truncated || names.is_empty() || names.len() != sockets.len() {
        return Err(malformed());
    }
    Ok(Inherited(
        names.into_iter().map(String::from).zip(sockets).collect(),
    ))
}

/// Hands listeners to the process that waits at `path`, and waits until it is ready to serve. Blocks.
///
/// # Errors
/// [`HandoverError`] when nobody waits there, or not ours, or when it fails before it can serve.
pub fn give<'a>(
    path: &Path,
    listeners: impl Iterator<Item = (&'a str, &'a OwnedFd)>,
) -> Result<(), HandoverError> {
    let refuse = |source| HandoverError::Socket {
        path: path.to_owned(),
        source,
    };
    let (names, sockets): (Vec<&str>, Vec<_>) = listeners
        .map(|(name, socket)| (name, socket.as_fd()))
        .unzip();
    if sockets.len() > LISTENERS_MAX {
        return Err(HandoverError::TooMany);
    }
    let names = names.join(" ");
    let mut stream = UnixStream::connect(path).map_err(refuse)?;
    refuse_stranger(&stream, path)?;
    stream
        .set_write_timeout(Some(Duration::from_secs(5)))
        .map_err(refuse)?;
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(LISTENERS_MAX))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    ancillary.push(SendAncillaryMessage::ScmRights(&sockets));
    let sent = sendmsg(
        &stream,
        &[IoSlice::new(names.as_bytes())],
        &mut ancillary,
        SendFlags::empty(),
    )
    .map_err(|error| refuse(error.into()))?;
    if sent != names.len() {
        return Err(refuse(io::ErrorKind::WriteZero.into()));
    }
    let mut answer = [0];
    stream
        .set_read_timeout(Some(READY_PATIENCE))
        .and_then(|()| stream.read_exact(&mut answer))
        .map_err(HandoverError::NotReady)?;
    match answer {
        [READY] => Ok(()),
        _ => Err(HandoverError::NotReady(io::ErrorKind::InvalidData.into())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};

    #[test]
    fn sockets_pass_from_one_end_to_the_other_and_still_listen() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("upgrade.sock");
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("bound").to_string();
        let giver = {
            let (path, name) = (path.clone(), address.clone());
            std::thread::spawn(move || {
                let socket = OwnedFd::from(listener);
                for _ in 0..200 {
                    if give(&path, [(name.as_str(), &socket)].into_iter()).is_ok() {
                        return;
                    }
                    std::thread::sleep(Duration::from_millis(10));
                }
                panic!("nobody took it");
            })
        };
        let (mut taken, old) = take(&path, Duration::from_secs(5)).expect("handed over");
        assert!(!giver.is_finished(), "it waits until we are ready");
        old.ready();
        giver.join().expect("given");
        assert!(taken.take("127.0.0.1:1").is_none());
        let listener = TcpListener::from(taken.take(&address).expect("listed"));
        assert!(!path.exists(), "the meeting place is gone");
        let mut client = TcpStream::connect(&address).expect("listening");
        let (mut served, _) = listener.accept().expect("a client");
        served.write_all(b"hello").expect("open");
        drop(served);
        let mut heard = String::new();
        client.read_to_string(&mut heard).expect("open");
        assert_eq!(heard, "hello");
    }

    #[test]
    fn only_our_user_and_root_are_trusted() {
        let (own, other) = (Uid::from_raw(1000), Uid::from_raw(1001));
        assert!(is_trusted(own, own));
        assert!(is_trusted(Uid::ROOT, own));
        assert!(!is_trusted(other, own));
        assert!(!is_trusted(own, Uid::ROOT));
    }

    #[test]
    fn old_process_goes_on_when_the_new_one_fails() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("upgrade.sock");
        let taker = {
            let path = path.clone();
            std::thread::spawn(move || take(&path, Duration::from_secs(5)).map(drop))
        };
        let socket = OwnedFd::from(TcpListener::bind("127.0.0.1:0").expect("a free port"));
        let given = loop {
            match give(&path, [("a", &socket)].into_iter()) {
                // It does not wait there yet.
                Err(HandoverError::Socket { .. }) => std::thread::sleep(POLL),
                given => break given,
            }
        };
        taker.join().expect("no panic").expect("handed over");
        assert!(
            matches!(given, Err(HandoverError::NotReady(_))),
            "{given:?}"
        );
    }

    #[test]
    fn nobody_coming_and_nobody_waiting_are_errors() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("upgrade.sock");
        let waited = take(&path, Duration::from_millis(50));
        assert!(matches!(waited, Err(HandoverError::NobodyCame { .. })));
        let given = give(&path, std::iter::empty());
        assert!(matches!(given, Err(HandoverError::Socket { .. })));
    }
}
