//! The table of counters: what is counted, under which name and label, and what it means.

/// One family of the exposition with its series.
#[derive(Debug)]
pub(super) struct Family {
    pub(super) name: &'static str,
    pub(super) help: &'static str,
    pub(super) series: &'static [Series],
}

#[derive(Debug)]
pub(super) struct Series {
    pub(super) counter: Counter,
    pub(super) label: Option<(&'static str, &'static str)>,
}

macro_rules! counters {
    ($( $name:literal $help:literal { $( $variant:ident $( $label:ident = $value:literal )? ),+ } )+) => {
        /// An event or an amount that only grows.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Counter {
            $( $( #[doc = $help] $( #[doc = concat!("(", stringify!($label), " `", $value, "`)")] )? $variant, )+ )+
        }

        pub(super) const COUNTERS: usize = [$( $( Counter::$variant, )+ )+].len();

        pub(super) const FAMILIES: &[Family] = &[ $( Family {
            name: $name,
            help: $help,
            series: &[ $( Series {
                counter: Counter::$variant,
                label: counters!(@label $( $label = $value )?),
            }, )+ ],
        }, )+ ];
    };
    (@label) => { None };
    (@label $label:ident = $value:literal) => { Some((stringify!($label), $value)) };
}

counters! {
    // Client connections.
    "varnish_main_sessions" "Client connections by what became of them." {
        SessionsAccepted type = "conn",
        SessionsFailed type = "fail",
        SessionsClosed type = "closed",
        SessionsClosedWithError type = "closed_err"
    }
    "varnish_main_sc_rem_close" "Client connections closed by the client, between requests or within one." { SessionCloseRemote }
    "varnish_main_sc_req_close" "Client connections closed because the request asked for it." { SessionCloseRequest }
    "varnish_main_sc_req_http10" "Client connections closed after an HTTP/1.0 request without keep-alive." { SessionCloseHttp10 }
    "varnish_main_sc_resp_close" "Client connections closed because the response, the policy, a limit on requests or a shutdown asked for it." { SessionCloseResponse }
    "varnish_main_sc_rx_bad" "Client connections closed after a request that was refused, but for its size." { SessionCloseBadRequest }
    "varnish_main_sc_rx_body" "Client connections closed because a request body could not be read, or was too long to be skipped." { SessionCloseRequestBody }
    "varnish_main_sc_rx_close_idle" "Client connections closed after idling for the allowed time." { SessionCloseIdle }
    "varnish_main_sc_rx_junk" "Client connections closed because they spoke no HTTP, or no TLS where it is asked for." { SessionCloseJunk }
    "varnish_main_sc_rx_overflow" "Client connections closed after a request head or target over the limits." { SessionCloseOverflow }
    "varnish_main_sc_rx_timeout" "Client connections closed because a request head or a TLS handshake took too long." { SessionCloseTimeout }
    "varnish_main_sc_tx_eof" "Client connections closed to mark the end of a body." { SessionCloseEndOfBody }
    "varnish_main_sc_tx_error" "Client connections closed because a response could not be written, or broke off." { SessionCloseWriteError }
    "varnish_main_sc_tx_pipe" "Client connections closed at the end of a pipe." { SessionClosePipe }

    // Requests.
    "varnish_main_client_req" "Requests whose head was read and understood." { ClientRequests }
    "varnish_main_client_req_400" "Requests answered 400 because their head was malformed." { ClientRequestsBad }
    "varnish_main_client_req_417" "Requests answered 417 because of their Expect field." { ClientRequestsExpectation }
    "varnish_main_losthdr" "Heads of requests and backend responses refused for too many or too long fields." { HeadersOverflowed }
    "varnish_main_s_req_hdrbytes" "Bytes of request heads received, but for those that opened a pipe." { RequestHeadBytes }
    "varnish_main_s_req_bodybytes" "Bytes of request bodies received." { RequestBodyBytes }
    "varnish_main_s_resp_hdrbytes" "Bytes of response heads sent." { ResponseHeadBytes }
    "varnish_main_s_resp_bodybytes" "Bytes of response bodies sent." { ResponseBodyBytes }
    "varnish_main_s_synth" "Responses made by the front door itself, but for those in place of a failed fetch." { Synths }
    "varnish_main_s_pass" "Requests passed to a backend without the cache." { Passes }
    "varnish_main_s_pipe" "Connections handed over to a backend as a pipe." { Pipes }
    "varnish_main_s_pipe_hdrbytes" "Bytes of request heads that opened a pipe." { PipeHeadBytes }
    "varnish_main_s_pipe_in" "Bytes piped from clients." { PipeBytesIn }
    "varnish_main_s_pipe_out" "Bytes piped to clients." { PipeBytesOut }

    // Look-up.
    "varnish_main_cache_hit" "Requests answered from a stored object or from a fetch by another, stale ones included." { CacheHits }
    "varnish_main_cache_hit_grace" "Requests answered from a stale object without a fetch of their own." { CacheHitsGrace }
    "varnish_main_cache_hitmiss" "Requests that found a marker saying that the answer is not to be stored." { CacheHitsForMiss }
    "varnish_main_cache_miss" "Requests that found nothing to be answered from, hits for miss included." { CacheMisses }
    "varnish_main_busy_sleep" "Requests that waited for a fetch of the same object by another." { BusySleeps }
    "varnish_main_busy_wakeup" "Requests that went on after waiting for a fetch by another." { BusyWakeups }

    // Fetches. Connections to backends are counted by each server.
    "varnish_main_fetch_total" "Fetches begun, in the background or for a request." { Fetches }
    "varnish_main_fetch" "Backend responses by how their body's length was known; fetches that failed, and of these (bad) for want of a sound length." {
        FetchesHead type = "head",
        FetchesLength type = "length",
        FetchesChunked type = "chunked",
        FetchesEof type = "eof",
        FetchesNone type = "none",
        Fetches204 type = "204",
        Fetches304 type = "304",
        FetchesBad type = "bad",
        FetchesFailed type = "failed"
    }
    "varnish_main_s_bgfetch" "Fetches begun in the background to refresh a stale object." { BackgroundFetches }
    "varnish_main_beresp_uncacheable" "Backend responses that were not to be stored, those to passes included." { UncacheableResponses }

    // Objects.
    "varnish_main_n_expired" "Objects that left the store because their time was over." { ObjectsExpired }
    "varnish_main_n_lru_nuked" "Objects that left the store to make room." { ObjectsEvicted }
    "varnish_main_n_obj_purged" "Objects purged by URL." { ObjectsPurged }
    "varnish_main_n_purges" "Purges by URL executed, soft ones included." { Purges }

    // What Varnish does not count.
    "lacquer_coalesced_requests_total" "Requests answered from a fetch that another request had begun." { Coalesced }
    "lacquer_fences_total" "Fills not stored because an invalidation came in between." { Fences }
    "lacquer_panics_total" "Panics that ended one request or task." { Panics }
    "lacquer_access_log_dropped_total" "Access log records dropped because the log could not be written fast enough." { AccessLogDropped }
    "lacquer_certificate_reload_failures_total" "Reloads of certificates that were refused, the old ones staying in use." { CertificateReloadFailures }
    "lacquer_invalidations_total" "Invalidations by what asked for them." {
        InvalidationsUnsafeMethod reason = "unsafe_method",
        InvalidationsLocation reason = "location",
        InvalidationsPurge reason = "purge",
        InvalidationsSoftPurge reason = "soft_purge",
        InvalidationsBan reason = "ban",
        InvalidationsSurrogateKey reason = "surrogate_key"
    }
    "lacquer_not_stored_total" "Backend responses to cacheable requests that were not stored, by reason." {
        NotStoredNoStore reason = "no_store",
        NotStoredPrivate reason = "private",
        NotStoredAuthorization reason = "authorization",
        NotStoredVaryStar reason = "vary_star",
        NotStoredSetCookie reason = "set_cookie",
        NotStoredStatus reason = "status",
        NotStoredNoFreshness reason = "no_freshness",
        NotStoredPartial reason = "partial",
        NotStoredTooLarge reason = "too_large",
        NotStoredIncomplete reason = "incomplete",
        NotStoredFenced reason = "fenced",
        NotStoredPolicy reason = "policy"
    }

    // Half of a gauge: pipes begun less pipes ended is what `varnish_main_n_pipe` shows.
    "" "Pipes that have ended." { PipesEnded }
}

impl Counter {
    pub(super) const fn index(self) -> usize {
        self as usize
    }
}
