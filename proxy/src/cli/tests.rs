use std::fs;

use config::Problem;
use tempfile::TempDir;

use super::*;
use crate::http::Scheme;

fn command(line: &str) -> Result<Command, CliError> {
    command_in(line, |_| None)
}

fn command_in(
    line: &str,
    variable: impl Fn(&str) -> Option<OsString>,
) -> Result<Command, CliError> {
    let words = ["lacquer"].into_iter().chain(line.split_whitespace());
    parse_from(words, variable)
}

fn served(line: &str) -> (Config, Overrides) {
    match command(line) {
        Ok(Command::Serve {
            config, overrides, ..
        }) => (*config, overrides),
        other => panic!("{line}: {other:?}"),
    }
}

/// The order of a line, as the user reads it, and where it goes.
fn sent(line: &str) -> (String, String) {
    match command(line) {
        Ok(Command::Send { order, to }) => (order.to_string(), to.to_string()),
        other => panic!("{line}: {other:?}"),
    }
}

/// Checks that a line is refused with a message that has these parts.
fn refused(line: &str, parts: &[&str]) {
    let message = match command(line) {
        Err(CliError::Arguments(error)) => error.to_string(),
        Err(CliError::Config(error)) => error.to_string(),
        Ok(command) => panic!("{line}: {command:?}"),
    };
    for part in parts {
        assert!(message.contains(part), "{line}: no {part:?} in {message}");
    }
}

fn file(text: &str) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("lacquer.toml");
    fs::write(&path, text).unwrap();
    (folder, path)
}

#[test]
fn nothing_typed_serves_the_defaults() {
    let (config, overrides) = served("");
    assert_eq!(config, Config::default());
    assert_eq!(overrides, Overrides::default());
}

#[test]
fn a_backend_and_a_listener_need_no_file() {
    let (config, _) = served("--backend 127.0.0.1:8000 --listen 127.0.0.1:6081");
    assert_eq!(config.backend.servers, ["127.0.0.1:8000".parse().unwrap()]);
    assert_eq!(config.listen.len(), 1);
    assert_eq!(config.listen[0].address.to_string(), "127.0.0.1:6081");
    assert!(config.listen[0].http2 && !config.listen[0].tls && !config.backend.tls);
}

#[test]
fn flags_that_may_be_repeated_collect() {
    let (config, _) = served("--listen :80 --listen unix:/run/l.sock --backend a --backend b:81");
    let listeners: Vec<String> = config
        .listen
        .iter()
        .map(|l| l.address.to_string())
        .collect();
    assert_eq!(listeners, ["[::]:80", "unix:/run/l.sock"]);
    let servers: Vec<String> = config
        .backend
        .servers
        .iter()
        .map(|s| s.to_string())
        .collect();
    assert_eq!(servers, ["a:80", "b:81"]);
}

#[test]
fn memory_lowers_the_largest_object_with_it() {
    let (config, _) = served("--memory 32m");
    assert_eq!(config.cache.memory, ByteSize::mebibytes(32));
    assert_eq!(config.cache.object_bytes_max, ByteSize::mebibytes(32));
    let (config, _) = served("--memory 2GiB");
    assert_eq!(config.cache.object_bytes_max, ByteSize::mebibytes(64));
}

#[test]
fn a_backend_with_a_scheme_says_whether_to_speak_tls() {
    let (config, overrides) = served("--backend https://app.example/");
    assert!(config.backend.tls);
    assert_eq!(config.backend.servers[0].to_string(), "app.example:443");
    assert_eq!(overrides.backend[0].scheme, Some(Scheme::Https));
    let (config, _) = served("--backend http://app.example:8080");
    assert!(!config.backend.tls);

    let text = "[backend]\ntls = true\nsni = \"a\"\nservers = [\"a:443\"]";
    let (_folder, path) = file(text);
    let path = path.display();
    let (config, _) = served(&format!("--config {path} --backend b:443"));
    assert!(config.backend.tls, "without a scheme the file decides");
    let (config, _) = served(&format!("--config {path} --backend http://b"));
    assert!(!config.backend.tls && config.backend.sni.is_none());
}

#[test]
fn flags_stand_over_the_file_again_at_each_reload() {
    let (_folder, path) = file("[cache]\nmemory = \"1GiB\"\ngrace = \"1s\"");
    let line = format!("--config {} --memory 2GiB --upgrade", path.display());
    let Ok(Command::Serve {
        config,
        config_path,
        overrides,
        upgrade,
    }) = command(&line)
    else {
        panic!("{line} serves");
    };
    assert!(upgrade);
    assert_eq!(config.cache.memory, ByteSize::gibibytes(2));
    fs::write(&path, "[cache]\nmemory = \"1GiB\"\ngrace = \"5s\"").unwrap();
    let again = load(config_path.as_deref(), &overrides).unwrap();
    assert_eq!(again.cache.memory, ByteSize::gibibytes(2));
    assert_eq!(again.cache.grace.as_secs(), 5);
    fs::write(&path, "[cache]\ngrease = \"5s\"").unwrap();
    let error = load(config_path.as_deref(), &overrides).unwrap_err();
    assert_eq!(error.problems().len(), 1);
}

#[test]
fn the_environment_names_a_file_where_the_flags_do_not() {
    let (_folder, path) = file("[cache]\nmemory = \"1GiB\"");
    let variable = |name: &str| (name == "LACQUER_CONFIG").then(|| path.clone().into_os_string());
    let Ok(Command::Serve { config, .. }) = command_in("", variable) else {
        panic!("it serves");
    };
    assert_eq!(config.cache.memory, ByteSize::gibibytes(1));

    let empty = |_: &str| Some(OsString::new());
    assert!(matches!(
        command_in("", empty),
        Ok(Command::Serve {
            config_path: None,
            ..
        })
    ));

    let (_folder, other) = file("[cache]\nmemory = \"3GiB\"");
    let line = format!("--config {}", other.display());
    let Ok(Command::Serve { config, .. }) = command_in(&line, variable) else {
        panic!("it serves");
    };
    assert_eq!(config.cache.memory, ByteSize::gibibytes(3));
}

#[test]
fn check_reads_the_settings_and_stops() {
    let (_folder, path) = file("[cache]\nmemory = \"1GiB\"");
    let line = format!("--check --config {}", path.display());
    assert!(matches!(command(&line), Ok(Command::Check { .. })));
    fs::write(&path, "[cache]\nmemroy = 1\ngrace = 2").unwrap();
    match command(&line) {
        Err(CliError::Config(error)) => {
            let lines: Vec<Option<usize>> =
                error.problems().iter().map(|p: &Problem| p.line).collect();
            assert_eq!(lines, [Some(2), Some(3)]);
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn settings_are_checked_with_the_flags_over_them() {
    refused("--listen :9131 --listen :9131", &["repeats [::]:9131"]);
    refused("--listen 127.0.0.1:9131", &["`metrics.address` repeats"]);
    refused(
        "--config /nonexistent/l.toml",
        &["/nonexistent/l.toml cannot be read"],
    );
}

#[test]
fn wrong_flags_name_themselves_and_the_nearest() {
    refused("--listn :80", &["'--listn'", "'--listen'"]);
    refused("--backends a", &["'--backends'", "'--backend'"]);
    refused("purg /x", &["'purg'", "'purge'"]);
    refused(
        "--listen 6081",
        &["--listen <ADDR>", "\":6081\" for all addresses"],
    );
    refused("--memory lots", &["--memory <SIZE>", "64MiB"]);
    refused("--backend http://a/path", &["--backend <ADDR>"]);
    refused("--backend a --backend https://b", &["same scheme"]);
    refused("--check --upgrade", &["--check", "--upgrade"]);
}

#[test]
fn help_shows_examples() {
    refused(
        "--help",
        &[
            "Examples:",
            "lacquer --backend 127.0.0.1:8000 --listen 127.0.0.1:6081",
        ],
    );
    refused("purge --help", &["Examples:", "--soft"]);
    refused(
        "ban --help",
        &["Examples:", "lacquer ban 'req.url == /news'"],
    );
    refused("--version", &["lacquer 0."]);
}

#[test]
fn orders_go_to_the_first_plain_listener() {
    let news = "http://example.org/news";
    let to_default = (format!("purge {news}"), "127.0.0.1:6081".to_owned());
    assert_eq!(sent(&format!("purge {news}")), to_default);
    assert_eq!(sent("purge /a --to 192.0.2.1:81").1, "192.0.2.1:81");
    assert_eq!(sent("purge --key a --key b").0, "purge key a b");
    assert_eq!(sent("ban --to unix:/run/l.sock x").1, "unix:/run/l.sock");

    for (address, expected) in [
        ("0.0.0.0:81", "127.0.0.1:81"),
        (":81", "[::1]:81"),
        ("[2001:db8::1]:81", "[2001:db8::1]:81"),
        ("unix:/run/l.sock", "unix:/run/l.sock"),
    ] {
        let tls = "[[tls.certificates]]\ncertificate = \"c\"\nkey = \"k\"\n\
                   [[listen]]\naddress = \":443\"\ntls = true\n";
        let (_folder, path) = file(&format!("{tls}[[listen]]\naddress = \"{address}\""));
        let path = path.display();
        assert_eq!(sent(&format!("purge /a --config {path}")).1, expected);
        assert_eq!(sent(&format!("--config {path} purge /a")).1, expected);
    }
}

/// The question of a line, and where it goes.
fn asked(line: &str) -> (Question, String) {
    match command(line) {
        Ok(Command::Explain { question, to }) => (*question, to.to_string()),
        other => panic!("{line}: {other:?}"),
    }
}

#[test]
fn questions_go_to_the_operators_port() {
    let (question, to) = asked("explain -X HEAD -H a:b -H c:d /news");
    assert_eq!(to, "127.0.0.1:9131");
    assert_eq!(question.own_host, "127.0.0.1:6081");
    assert_eq!(
        (question.method.as_str(), question.fields.len()),
        ("HEAD", 2)
    );
    assert_eq!(question.form, AnswerForm::Text);
    let (question, to) = asked("--config /nonexistent explain --json --to h:81 http://a/b");
    assert_eq!((to.as_str(), question.form), ("h:81", AnswerForm::Json));
    let (_folder, path) = file("[metrics]\naddress = \"[::]:81\"");
    let (_, to) = asked(&format!("explain --config {} /a", path.display()));
    assert_eq!(to, "[::1]:81");
    refused("explain", &["<URL>"]);
    refused("explain --help", &["Examples:", "Exit status"]);
    refused(
        "--check explain /a",
        &["--check is for running a front door"],
    );
}

#[test]
fn an_order_with_a_destination_needs_no_settings() {
    assert_eq!(sent("--config /nonexistent purge /a --to h:81").1, "h:81");
}

#[test]
fn orders_without_a_plain_listener_ask_for_a_destination() {
    let (_folder, path) = file(
        "[[listen]]\naddress = \":443\"\ntls = true\n\
         [[tls.certificates]]\ncertificate = \"c\"\nkey = \"k\"",
    );
    refused(
        &format!("--config {} purge /a", path.display()),
        &["--to ADDR"],
    );
}

#[test]
fn orders_that_make_no_sense_are_refused() {
    refused("purge", &["<URL|--key <KEY>>"]);
    refused("purge /a --key b", &["cannot be used with"]);
    refused("purge example.org/a", &["begin with http://"]);
    refused("purge /a#b", &["after #"]);
    refused("purge http://user@host/a", &["no host"]);
    refused("purge /é", &["%XX"]);
    refused(
        "--memory 1GiB purge /a",
        &["--memory is for running a front door"],
    );
    let line_break = parse_from(["lacquer", "ban", "req.url ~ a\r\nX: y"], |_| None);
    assert!(matches!(line_break, Err(CliError::Arguments(_))));
}
