//! What an operator reads when a file is wrong.

use std::time::Duration;

use config::{Balance, ByteSize, Config, ConfigError, ListenAddress};

/// Compares the messages for a text, a line each.
fn check(text: &str, expected: &[&str]) {
    let messages = match Config::from_str(text, "l.toml") {
        Ok(_) => Vec::new(),
        Err(error) => error.to_string().lines().map(str::to_owned).collect(),
    };
    assert_eq!(messages, expected, "{text}");
}

#[test]
fn an_empty_file_is_the_defaults() {
    assert_eq!(Config::from_str("", "l.toml").unwrap(), Config::default());
    assert!(Config::default().validate().is_ok());
}

#[test]
fn a_file_stands_over_the_defaults() {
    let text = r#"
        listen = [{ address = ":80" }, { address = "unix:/run/l.sock", http2 = false }]
        backend.balance = "consistent_hash"

        [cache]
        memory = "1GiB"
        grace = "1m 30s"

        [origin.buckets."my bucket"]
        default_ttl = "1d"
    "#;
    let config = Config::from_str(text, "l.toml").unwrap();
    let addresses: Vec<String> = config
        .listen
        .iter()
        .map(|l| l.address.to_string())
        .collect();
    assert_eq!(addresses, ["[::]:80", "unix:/run/l.sock"]);
    assert!(config.listen[0].http2 && !config.listen[1].http2);
    assert_eq!(config.backend.balance, Balance::ConsistentHash);
    assert_eq!(config.backend.servers, Config::default().backend.servers);
    assert_eq!(config.cache.memory, ByteSize::gibibytes(1));
    assert_eq!(config.cache.grace, Duration::from_secs(90));
    let bucket = &config.origin.buckets["my bucket"];
    assert_eq!(bucket.default_ttl, Some(Duration::from_secs(86_400)));
}

#[test]
fn unknown_keys_name_themselves_their_table_and_the_nearest_key() {
    check(
        "[cache]\nmemroy = \"1GiB\"",
        &["l.toml:2: unknown key `memroy` in [cache], did you mean `memory`?"],
    );
    check(
        "\n\n[cahce]",
        &["l.toml:3: unknown key `cahce` at the top of the file, did you mean `cache`?"],
    );
    check(
        "[[listen]]\n[[listen]]\nadress = \":80\"",
        &["l.toml:3: unknown key `adress` in [[listen]], did you mean `address`?"],
    );
    check(
        "listen = [\n  { address = \":1\" },\n  { address = \":2\", TLS = true },\n]",
        &["l.toml:3: unknown key `TLS` in [[listen]], did you mean `tls`?"],
    );
    check(
        "[[tls.certificates]]\ncertificate = \"a\"\nkey = \"b\"\ncert = \"a\"",
        &["l.toml:4: unknown key `cert` in [[tls.certificates]], did you mean `certificate`?"],
    );
    check(
        "[backend.probe]\ntime_out = \"1s\"",
        &["l.toml:2: unknown key `time_out` in [backend.probe], did you mean `timeout`?"],
    );
    check(
        "[origin.buckets.b]\nttl = \"1s\"",
        &["l.toml:2: unknown key `ttl` in [origin.buckets.b], did you mean `default_ttl`?"],
    );
}

#[test]
fn keys_like_no_other_come_with_the_list_of_those_known() {
    check(
        "[[listen]]\nxyzzy = 1",
        &["l.toml:2: unknown key `xyzzy` in [[listen]]; known here: address, tls, http2"],
    );
}

#[test]
fn keys_that_live_elsewhere_are_found_there() {
    check(
        "[probe]\nenabled = true",
        &["l.toml:1: unknown key `probe` at the top of the file, did you mean `backend.probe`?"],
    );
    check(
        "lurker_interval = \"1s\"",
        &[
            "l.toml:1: unknown key `lurker_interval` at the top of the file, \
           did you mean `purge.lurker_interval`?",
        ],
    );
    check(
        "[server]\nshared_buffers = \"1GiB\"",
        &["l.toml:2: unknown key `shared_buffers` in [server], \
           did you mean `origin.cluster.shared_buffers`?"],
    );
}

#[test]
fn wrong_values_say_what_is_expected() {
    check(
        "[cache]\ngrace = 10\nmemory = \"lots\"\nheuristic_fraction = 2",
        &[
            "l.toml:2: `cache.grace` must be a duration with its unit, such as \"500ms\", \"10s\" or \"1d\", \
           not the number 10",
            "l.toml:3: `cache.memory` must be a size in bytes, such as \"64MiB\", \"1GB\", \"512k\" or 4096, \
           not \"lots\"",
            "l.toml:4: `cache.heuristic_fraction` must be a number from 0 to 1, such as 0.1, not the number 2",
        ],
    );
    check(
        "[backend]\nbalance = \"round-robin\"",
        &[
            "l.toml:2: `backend.balance` must be \"round_robin\", \"random\", \"least_connections\" or \
           \"consistent_hash\", not \"round-robin\"; did you mean \"round_robin\"?",
        ],
    );
    check(
        "[limits]\nheader_count_max = 0\nhttp2_streams_max = -1\nrequests_per_connection_max = 4294967296",
        &[
            "l.toml:2: `limits.header_count_max` must be a whole number, 1 or more, not the number 0",
            "l.toml:3: `limits.http2_streams_max` must be a whole number from 1 to 4294967295, not the number -1",
            "l.toml:4: `limits.requests_per_connection_max` must be a whole number from 0 to 4294967295, \
           not the number 4294967296",
        ],
    );
    check(
        "[metrics]\nenabled = \"yes\"\naddress = \"9131\"",
        &[
            "l.toml:2: `metrics.enabled` must be true or false, not \"yes\"",
            "l.toml:3: `metrics.address` must be an IP address and a port, such as \"127.0.0.1:8081\", \
           or \":8081\" for all addresses, not \"9131\"",
        ],
    );
    check(
        "cache = 5\nlisten = \":80\"\norigin.buckets = []",
        &[
            "l.toml:1: `cache` must be a table, headed [cache], not the number 5",
            "l.toml:2: `listen` must be a list of tables, each headed [[listen]], not \":80\"",
            "l.toml:3: `origin.buckets` must be tables headed [origin.buckets.NAME], not a list",
        ],
    );
}

#[test]
fn a_wrong_element_of_a_list_has_its_own_line() {
    check(
        "[purge]\nallow = [\n  \"10.0.0.0/8\",\n  \"10.0.0.0/33\",\n]",
        &[
            "l.toml:4: `purge.allow` must be a network or an address, such as \"10.0.0.0/8\" or \"::1\", not \"10.0.0.0/33\"",
        ],
    );
}

#[test]
fn a_file_that_is_no_toml_has_a_place() {
    let error = Config::from_str("[cache]\nmemory = \n", "l.toml").unwrap_err();
    assert!(error.to_string().starts_with("l.toml:2: "), "{error}");
    let error = Config::from_str("[cache]\nkeep = \"1s\"\nkeep = \"2s\"", "l.toml").unwrap_err();
    assert!(
        error.to_string().starts_with("l.toml:3: duplicate key"),
        "{error}"
    );
}

#[test]
fn rules_across_settings_have_the_line_of_the_setting() {
    check(
        "[[listen]]\naddress = \":443\"\ntls = true",
        &["l.toml:3: `listen[0].tls` needs a certificate: add a table [[tls.certificates]]"],
    );
    check(
        "[[listen]]\naddress = \":80\"\n[[listen]]\naddress = \":80\"\n[[listen]]\naddress = \"127.0.0.1:9131\"",
        &[
            "l.toml:4: `listen[1].address` repeats [::]:80, which another listener has",
            "l.toml: `metrics.address` repeats 127.0.0.1:9131, which a listener has",
        ],
    );
    check(
        "[tls]\n[[tls.certificates]]\ncertificate = \"a.pem\"",
        &["l.toml:2: `tls.certificates[0].key` is missing: name a PEM file"],
    );
    check(
        "listen = []\n[backend]\nservers = []",
        &[
            "l.toml:1: `listen` is empty: name at least one address",
            "l.toml:3: `backend.servers` is empty: name at least one server",
        ],
    );
    check(
        "[backend]\ntls = true\nservers = [\"app.example\", \"unix:/a\"]",
        &[
            "l.toml:1: `backend.sni` is missing: unix:/a has no host name to ask for",
            "l.toml:3: `backend.servers` has app.example:80, where nobody speaks TLS: write the port, as in host:443",
        ],
    );
    check(
        "[backend.probe]\nwindow = 2\nthreshold = 3",
        &["l.toml:3: `backend.probe.threshold` is 3, more than backend.probe.window, 2"],
    );
    check(
        "[cache]\nmemory = \"32MiB\"\nobject_bytes_max = \"33MiB\"",
        &["l.toml:3: `cache.object_bytes_max` is 33MiB, more than cache.memory, 32MiB"],
    );
    check(
        "[timeouts]\nidle = \"0s\"\n[origin.postgres]\nconnections = 8",
        &[
            "l.toml:2: `timeouts.idle` is zero, which leaves no time at all",
            "l.toml:4: `origin.postgres.connections` is 8, less than read_connections + write_connections + 3 for batches, lists and large values",
        ],
    );
    check(
        "[origin.cluster]\nmax_connections = 18\n[origin.buckets.\"\"]",
        &[
            "l.toml:2: `origin.cluster.max_connections` is 18; origin.postgres.connections and 3 reserved ones do not fit",
            "l.toml:3: `origin.buckets.` is no name of a bucket: 1 to 256 characters, none of them control characters",
        ],
    );
}

#[test]
fn memory_alone_lowers_the_largest_object() {
    let config = Config::from_str("[cache]\nmemory = \"32MiB\"", "l.toml").unwrap();
    assert_eq!(config.cache.object_bytes_max, ByteSize::mebibytes(32));
}

#[test]
fn empty_text_turns_an_optional_setting_off() {
    let config = Config::from_str(
        "[response]\nvia = \"\"\n[origin]\nmetrics_address = \"\"",
        "x",
    )
    .unwrap();
    assert_eq!(config.response.via, None);
    assert_eq!(config.origin.metrics_address, None);
}

#[test]
fn nothing_shows_a_secret() {
    let text = "[origin.postgres]\ndsn = \"postgres://u:hunter2@h/d\"\nconnections = 0";
    let error = Config::from_str(text, "l.toml").unwrap_err();
    assert!(!format!("{error} {error:?}").contains("hunter2"));
    let config = Config::from_str(&text.replace("connections = 0", ""), "l.toml").unwrap();
    assert!(!format!("{config:?}").contains("hunter2"));
}

#[test]
fn a_dsn_may_live_in_a_file() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "postgres://u@h/d\n").unwrap();
    let mut config = Config::default();
    assert_eq!(config.origin.postgres.resolved_dsn().unwrap(), None);
    config.origin.postgres.dsn_file = Some(file.path().to_owned());
    let dsn = config.origin.postgres.resolved_dsn().unwrap().unwrap();
    assert_eq!(dsn.expose(), "postgres://u@h/d");
    std::fs::write(file.path(), "\n").unwrap();
    assert!(config.origin.postgres.resolved_dsn().is_err());
}

#[test]
fn a_missing_file_names_its_path() {
    let error = Config::load("/nonexistent/l.toml".as_ref()).unwrap_err();
    assert!(matches!(error, ConfigError::Read { .. }));
    assert_eq!(error.to_string(), "/nonexistent/l.toml cannot be read");
}

#[test]
fn a_file_without_end_is_refused() {
    assert!(Config::load("/dev/zero".as_ref()).is_err());
}

#[test]
fn changed_settings_are_checked_again() {
    let mut config = Config::default();
    let again: ListenAddress = "127.0.0.1:6081".parse().unwrap();
    config.listen.push(config::ListenConfig {
        address: again,
        ..config::ListenConfig::default()
    });
    assert_eq!(
        config.validate().unwrap_err().to_string(),
        "settings: `listen[1].address` repeats 127.0.0.1:6081, which another listener has"
    );
}

#[test]
fn a_flood_of_mistakes_is_cut() {
    let text: String = (0..50_000).map(|n| format!("unknown_{n} = 1\n")).collect();
    let error = Config::from_str(&text, "l.toml").unwrap_err();
    assert_eq!(error.problems().len(), 100);
}

#[test]
fn hostile_texts_end_in_an_error() {
    let deep = "[".repeat(100_000);
    let long = format!("{} = 1", "k".repeat(500_000));
    for text in [
        deep.as_str(),
        long.as_str(),
        "\0",
        "a.b.c.d = 1",
        "cache.grace.x = 1",
    ] {
        assert!(Config::from_str(text, "l.toml").is_err());
    }
}
