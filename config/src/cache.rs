//! What is stored and for how long, who may drop it, and what answers say about it.

use std::num::{NonZeroU32, NonZeroUsize};
use std::time::Duration;

use ipnet::IpNet;

use crate::server::{nonzero, nonzero_u32};
use crate::setting::settings;
use crate::value::{ByteSize, Fraction, Token, known};

settings! {
    /// The store of answers, in memory.
    pub struct CacheConfig {
        /// Memory for stored answers, with everything that keeping them takes. The first setting to raise: aim at half of
        /// a dedicated machine. 0 stores nothing.
        pub memory: ByteSize = ByteSize::mebibytes(256);
        /// Largest body that is stored; larger ones pass through. At most `memory`, and lowered to it where `memory`
        /// alone is set.
        pub object_bytes_max: ByteSize = ByteSize::mebibytes(64);
        /// Memory for a body on its way through that is not stored. Raise it if fast backends wait for slow clients.
        pub transit_bytes: ByteSize = ByteSize::mebibytes(1);
        /// How long past its lifetime an answer may be served while it is fetched anew, when it does not say so itself
        /// (`stale-while-revalidate`, RFC 5861 §3). RFC 9111 §4.2.4 wants the origin or you to say so, hence none by
        /// default; a few seconds spare clients the wait.
        pub grace: Duration = Duration::ZERO;
        /// How long past its lifetime an answer may be served while the backend cannot be reached or fails with 500, 502,
        /// 503 or 504, when it does not say so itself (`stale-if-error`, RFC 5861 §4). Answers that have to be
        /// revalidated (`must-revalidate`, `no-cache`, `s-maxage`) are never served so.
        pub stale_if_error: Duration = Duration::from_secs(60 * 60);
        /// How long past all that an answer with a validator is kept, so that a 304 can renew it.
        pub keep: Duration = Duration::from_secs(10 * 60);
        /// Lifetime of an answer that gives none, as a part of the time since its Last-Modified (RFC 9111 §4.2.2). 0
        /// stores no such answer.
        pub heuristic_fraction: Fraction = Fraction::new(0.1).expect("0.1 lies between 0 and 1");
        /// Longest lifetime that is found so.
        pub heuristic_max: Duration = Duration::from_secs(24 * 60 * 60);
        /// How long to remember that an answer may not be stored, so that requests for it do not wait for each other.
        pub hit_for_miss: Duration = Duration::from_secs(120);
        /// Most variants of one URL (by Vary); the oldest goes first.
        pub variants_max: NonZeroU32 = nonzero_u32(10_000);
        /// Store answers with Set-Cookie even when neither `public` nor `s-maxage` says that they are for everyone. RFC
        /// 9111 allows it; servers that set cookies by habit make it dangerous.
        pub store_set_cookie: bool = false;
        /// Let clients ask for fresh answers (`no-cache`, `max-age` in requests, RFC 9111 §5.2.1). Turn it off where reloads
        /// would overload the backend.
        pub honor_client_cache_control: bool = true;
        /// Fields that replace Cache-Control for this cache, the first present one wins (RFC 9213). `Surrogate-Control` may
        /// be among them.
        pub targeted_fields: Vec<Token> =
            vec![known("Lacquer-Cache-Control"), known("CDN-Cache-Control")];
        /// Most ranges in one request; a request for more gets the whole body (RFC 9110 §14.2). 0 ignores Range.
        pub ranges_max: u32 = 16;
    }
}

impl CacheConfig {
    /// Lowers `object_bytes_max` to `memory`: for when `memory` was set and `object_bytes_max` was not.
    pub fn fit_objects(&mut self) {
        self.object_bytes_max = self.object_bytes_max.min(self.memory);
    }
}

settings! {
    /// `PURGE` and `BAN` requests, and `lacquer purge` and `lacquer ban`, which send them.
    pub struct PurgeConfig {
        /// Take such requests.
        pub enabled: bool = true;
        /// Networks of the clients that may send them; others get 403. Addresses are those of the connection.
        pub allow: Vec<IpNet> = vec![
            "127.0.0.0/8".parse().expect("the loopback network of IPv4 is a network"),
            "::1/128".parse().expect("the loopback address of IPv6 is a network"),
        ];
        /// Most bans in force at once. Each costs time on every look-up of an older answer.
        pub bans_max: NonZeroUsize = nonzero(10_000);
        /// How often stored answers are tested against bans in the background, a batch at a time. Lower it if the list of
        /// bans stays long.
        pub lurker_interval: Duration = Duration::from_millis(100);
    }
}

settings! {
    /// What the front door adds to answers.
    pub struct ResponseConfig {
        /// Name in Via (RFC 9110 §7.6.3), of requests to the backend too. `""` adds none.
        pub via: Option<Token> = Some(known("lacquer"));
        /// Name in Cache-Status (RFC 9211). `""` adds none.
        pub cache_status: Option<Token> = Some(known("lacquer"));
        /// Add `X-Cache: HIT` or `MISS`.
        pub x_cache: bool = true;
        /// Add `X-Varnish` with the number of the request, and on a hit that of the request that stored the answer.
        pub x_varnish: bool = true;
    }
}
