//! Keeps the addresses of a server's name up to date.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tracing::{info, warn};

use super::resolve::Resolve;
use super::server::{Lookup, Server};

/// A name without an answer is asked for again after this, if the interval is longer.
const RETRY_INTERVAL: Duration = Duration::from_secs(1);

/// Looks the name up now and then again and again. A failure leaves the last answer in use.
pub(super) async fn keep_looking_up(
    server: Arc<Server>,
    resolver: Arc<dyn Resolve>,
    host: String,
    port: u16,
    interval: Duration,
) {
    let mut failing = false;
    loop {
        let pause = match resolver.resolve(&host, port).await {
            Ok(addresses) if !addresses.is_empty() => {
                failing = false;
                take(&server, &addresses);
                interval
            }
            answer => {
                server.look_up_failed();
                if !std::mem::replace(&mut failing, true) {
                    let reason =
                        answer.map_or_else(|error| error.to_string(), |_| "no address".to_owned());
                    warn!(server = &*server.name, host, reason, "name look-up failed");
                }
                interval.min(RETRY_INTERVAL)
            }
        };
        tokio::time::sleep(pause).await;
    }
}

fn take(server: &Server, addresses: &[SocketAddr]) {
    if server.looked_up(addresses) == Lookup::Changed {
        info!(server = &*server.name, ?addresses, "addresses changed");
    }
}
