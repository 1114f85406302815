//! A request as the machine sees it, for those who only ask what would happen to it.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use super::forward;
use crate::downstream::{Address, ConnectionInfo};
use crate::http::{Method, Scheme};
use crate::http1::{BodyFraming, ParsedRequest};
use crate::policy::Request;
use crate::rules::cache_control::RequestDirectives;
use crate::rules::hop_by_hop;
use crate::time::Timestamp;

/// The request that [`super::serve`] would make of this head, sent from this machine. It has no number, since it is
/// no transaction.
pub(crate) fn rehearse(parsed: ParsedRequest, scheme: Scheme, now: Timestamp) -> Request {
    let here = Address::Inet(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)));
    let connection = ConnectionInfo {
        client: here.clone(),
        local: here,
        scheme,
        tls: None,
        id: 0,
        accepted: now,
    };
    let mut head = parsed.head;
    hop_by_hop::strip_listed(&mut head.fields);
    forward::add_forwarded(&mut head, &connection);
    let has_body = !matches!(parsed.framing, BodyFraming::Empty | BodyFraming::Length(0));
    let offered = match head.method {
        Method::Connect => Some("CONNECT".into()),
        _ => parsed.upgrade,
    };
    Request {
        directives: RequestDirectives::of(&head.fields),
        connection: Arc::new(connection),
        xid: 0,
        received: now,
        has_body,
        upgrade: offered
            .filter(|_| !has_body)
            .and_then(|offered| forward::upgrades(&offered)),
        restarts: 0,
        head,
    }
}
