//! From the typed settings file to what each part takes: one function a part, no decisions.

use std::num::NonZeroUsize;
use std::sync::Arc;

use config::{BackendAddress, Config};

use crate::access_log::{AccessLogSettings, Format, Target};
use crate::acl::Acl;
use crate::backend::{
    Balance, PoolSettings, ProbeSettings, ServerAddress, ServerSettings, Timeouts, TlsSettings,
    Verification,
};
use crate::downstream::{DownstreamSettings, Http2Settings};
use crate::front::FrontSettings;
use crate::http1::HeadLimits;
use crate::object::Transit;
use crate::policy::builtin::{CacheSettings, ResponseMarks};
use crate::rules::freshness::Heuristics;
use crate::rules::storability::{ClientDirectives, SetCookieRule, StoreRules};
use crate::store::StoreSettings;

/// Field lines of a backend's response head.
const BACKEND_FIELDS_MAX: usize = 256;

/// Name of the one pool in metrics.
const POOL: &str = "default";

pub(crate) fn store(config: &Config) -> StoreSettings {
    StoreSettings {
        memory_bytes: config.cache.memory.bytes(),
        variants_max: config.cache.variants_max.get() as usize,
    }
}

/// `transit` keeps the account of bodies in transit across a reload.
pub(crate) fn front(config: &Config, transit: &Transit) -> FrontSettings {
    FrontSettings {
        object_bytes_max: config.cache.object_bytes_max.bytes(),
        transit: transit.with_window(config.cache.transit_bytes.bytes()),
        hit_for_miss: config.cache.hit_for_miss,
        ranges_max: config.cache.ranges_max as usize,
        pipe_idle: config.timeouts.pipe_idle,
        // One for each connection: more come only from HTTP/2, and from clients that did not stay for the answer.
        fetches_max: config.limits.connections_max.get(),
    }
}

pub(crate) fn cache(config: &Config) -> CacheSettings {
    let cache = &config.cache;
    let response = &config.response;
    CacheSettings {
        grace: cache.grace,
        stale_if_error: cache.stale_if_error,
        keep: cache.keep,
        hit_for_miss: cache.hit_for_miss,
        heuristics: Heuristics {
            fraction: cache.heuristic_fraction.get(),
            max: cache.heuristic_max,
        },
        store_rules: StoreRules {
            set_cookie: match cache.store_set_cookie {
                true => SetCookieRule::Store,
                false => SetCookieRule::StoreWhenShared,
            },
            client_directives: match cache.honor_client_cache_control {
                true => ClientDirectives::Honour,
                false => ClientDirectives::Ignore,
            },
        },
        targeted_fields: cache
            .targeted_fields
            .iter()
            .map(ToString::to_string)
            .collect(),
        purge: config
            .purge
            .enabled
            .then(|| Acl::new(config.purge.allow.iter().copied())),
        host: config
            .backend
            .host_header
            .as_ref()
            .map(|host| host.to_string().into()),
        marks: ResponseMarks {
            via: response
                .via
                .as_ref()
                .map(ToString::to_string)
                .unwrap_or_default(),
            cache_status: response
                .cache_status
                .as_ref()
                .map(ToString::to_string)
                .unwrap_or_default(),
            x_cache: response.x_cache,
            x_varnish: response.x_varnish,
        },
    }
}

pub(crate) fn pool(config: &Config) -> PoolSettings {
    let backend = &config.backend;
    let tls = backend.tls.then(|| TlsSettings {
        server_name: backend.sni.as_ref().map(ToString::to_string),
        verification: match backend.tls_verify {
            true => Verification::Full,
            false => Verification::Off,
        },
    });
    let servers = backend.servers.iter().map(|address| ServerSettings {
        tls: tls.clone(),
        ..ServerSettings::new(match address {
            BackendAddress::Host { host, port } => ServerAddress::from_host_and_port(host, *port),
            BackendAddress::Unix(path) => ServerAddress::Unix(path.clone()),
        })
    });
    PoolSettings {
        balance: match backend.balance {
            config::Balance::RoundRobin => Balance::RoundRobin,
            config::Balance::Random => Balance::Random,
            config::Balance::LeastConnections => Balance::LeastConnections,
            config::Balance::ConsistentHash => Balance::ConsistentHash,
        },
        timeouts: Timeouts {
            connect: backend.connect_timeout,
            first_byte: backend.first_byte_timeout,
            between_bytes: backend.between_bytes_timeout,
        },
        idle_timeout: backend.idle_timeout,
        idle_connections_max: backend.idle_connections_max as usize * backend.servers.len(),
        connections_max: NonZeroUsize::new(backend.connections_max as usize),
        retries_max: backend.retries_max,
        dns_interval: backend.dns_interval,
        head_bytes_max: config.limits.backend_header_bytes_max.as_usize(),
        fields_max: BACKEND_FIELDS_MAX,
        probe: backend.probe.enabled.then(|| ProbeSettings {
            interval: backend.probe.interval,
            timeout: backend.probe.timeout,
            window: backend.probe.window.get(),
            threshold: backend.probe.threshold.get(),
            initial: backend.probe.initial,
            path: backend.probe.path.to_string(),
            host: backend.host_header.as_ref().map(ToString::to_string),
            expected_status: backend.probe.expected_status,
        }),
        ca_file: backend.ca_file.clone(),
        ..PoolSettings::new(POOL, servers.collect())
    }
}

pub(crate) fn downstream(config: &Config) -> Arc<DownstreamSettings> {
    let (limits, timeouts) = (&config.limits, &config.timeouts);
    Arc::new(DownstreamSettings {
        head: HeadLimits {
            head_bytes_max: limits.header_bytes_max.as_usize(),
            fields_max: limits.header_count_max.get(),
            target_bytes_max: limits.target_bytes_max.as_usize(),
        },
        request_body_bytes_max: Some(limits.request_body_bytes_max.bytes()),
        requests_per_connection_max: limits.requests_per_connection_max.try_into().ok(),
        head_read_timeout: timeouts.header_read,
        idle_timeout: timeouts.idle,
        body_read_timeout: timeouts.body_read,
        write_timeout: timeouts.write,
        http2: Http2Settings {
            concurrent_streams_max: limits.http2_streams_max.get(),
            header_list_bytes_max: u32::try_from(limits.http2_header_list_bytes_max.bytes())
                .unwrap_or(u32::MAX),
            resets_max: limits.http2_resets_max.get(),
            local_error_reset_streams_max: limits.http2_stream_errors_max.get(),
            control_frames_max: limits.http2_control_frames_max.get(),
            progress_bytes_min: limits.http2_progress_bytes_min.as_usize(),
            ..Http2Settings::default()
        },
        ..DownstreamSettings::default()
    })
}

pub(crate) fn access_log(config: &Config) -> AccessLogSettings {
    AccessLogSettings {
        format: match config.log.access {
            config::AccessLog::Off => Format::Off,
            config::AccessLog::Combined => Format::Combined,
            config::AccessLog::Json => Format::Json,
        },
        target: match &config.log.path {
            config::LogTarget::StandardOutput => Target::Stdout,
            config::LogTarget::File(path) => Target::File(path.clone()),
        },
    }
}
