//! Request lines, line ends, fields and hosts.

use crate::row::*;

const SPLITTING: &str = "CVE-2023-25690 (httpd), CVE-2020-15811 (Squid)";

pub(crate) fn rows() -> Vec<Row> {
    [before(), lines(), start_lines(), hosts()].concat()
}

fn before() -> Vec<Row> {
    vec![
        read_as(
            "GET /first first",
            "an empty line before a request",
            "RFC 9112 §2.2",
            format!("\r\n{}", get("")),
        ),
        exchange(
            "an empty line between two requests",
            "RFC 9112 §2.2",
            post("Content-Length: 5\r\n", "hello\r\n") + FOLLOWING,
            &["200 first", "200 following"],
            &["POST /first first hello", "GET /following following"],
        ),
        refused(
            "a bare LF before a request",
            "CVE-2021-37147 (Traffic Server)",
            format!("\n{}", get("")),
        ),
        refused(
            "a bare CR before a request",
            "CVE-2023-30589 (Node.js)",
            format!("\r{}", get("")),
        ),
        refused(
            "a space before a request",
            "CVE-2016-8743 (httpd)",
            format!(" {}", get("")),
        ),
        refused(
            "an empty line of a space before a request",
            "CVE-2016-8743 (httpd)",
            format!(" \r\n{}", get("")),
        ),
        refused(
            "a NUL before a request",
            "CVE-2016-8743 (httpd)",
            format!("\0{}", get("")),
        ),
        refused(
            "a byte order mark before a request",
            "CVE-2016-8743 (httpd)",
            format!("\u{feff}{}", get("")),
        ),
        refused(
            "a line of nonsense before a request",
            "Kettle 2022, Browser-Powered Desync Attacks",
            format!("nonsense\r\n{}", get("")),
        ),
        refused(
            "a field before a request",
            "Kettle 2022, Browser-Powered Desync Attacks",
            format!("X-Marker: none\r\n{}", get("")),
        ),
        refused(
            "a chunk before a request",
            "Kettle 2019, HTTP Desync Attacks",
            format!("0\r\n\r\n{}", get("")),
        ),
        refused(
            "a response before a request",
            "Watchfire 2005",
            format!("HTTP/1.1 200 OK\r\n\r\n{}", get("")),
        ),
        refused(
            "a TLS handshake",
            "RFC 9112 §3: another protocol",
            "\x16\x03\x01\x02\x00\x01\x00\x01\x7c\x03\x03",
        ),
        exchange(
            "two requests at once",
            "RFC 9112 §9.3.2",
            get("") + FOLLOWING,
            &["200 first", "200 following"],
            &["GET /first first", "GET /following following"],
        ),
    ]
}

fn lines() -> Vec<Row> {
    let bad = |name, source, lines: &str| refused(name, source, get(lines));
    vec![
        refused(
            "bare LFs only",
            "CVE-2021-37147 (Traffic Server), CVE-2019-16785 (Waitress)",
            get("").replace('\r', ""),
        ),
        refused(
            "bare CRs only",
            "CVE-2023-30589 (Node.js)",
            get("").replace('\n', ""),
        ),
        refused(
            "a bare LF at the end of the head",
            "CVE-2022-35256 (Node.js)",
            format!("GET /first HTTP/1.1\r\n{FIRST}\n"),
        ),
        refused(
            "a bare LF behind the request line",
            "CVE-2021-37147 (Traffic Server)",
            format!("GET /first HTTP/1.1\n{FIRST}\r\n"),
        ),
        refused(
            "a bare CR behind the request line",
            "CVE-2023-30589 (Node.js)",
            format!("GET /first HTTP/1.1\r{FIRST}\r\n"),
        ),
        refused(
            "CR CR LF behind the request line",
            "CVE-2023-30589 (Node.js)",
            format!("GET /first HTTP/1.1\r\r\n{FIRST}\r\n"),
        ),
        bad(
            "LF CR for a line end",
            "CVE-2022-35256 (Node.js)",
            "X: 1\n\rY: 2\r\n",
        ),
        bad(
            "a bare LF in a value",
            "CVE-2022-32214 (Node.js)",
            "X: a\nY: 1\r\n",
        ),
        bad(
            "a bare CR in a value",
            "CVE-2023-30589 (Node.js), Klein 2020",
            "X: a\rY: 1\r\n",
        ),
        bad(
            "two bare LFs, and a request behind them",
            "CVE-2022-32214 (Node.js)",
            "X: a\n\nGET /smuggled HTTP/1.1\r\nHost: h.test\r\n",
        ),
        bad(
            "two bare CRs, and a request behind them",
            "CVE-2023-30589 (Node.js)",
            "X: a\r\rGET /smuggled HTTP/1.1\r\nHost: h.test\r\n",
        ),
        bad("a NUL in a value", "RFC 9110 §5.5", "X: a\0b\r\n"),
        bad(
            "a NUL before a length of its own",
            "RFC 9110 §5.5",
            "X: a\0\r\nContent-Length: 0\r\n",
        ),
        bad("an escape in a value", "RFC 9110 §5.5", "X: a\x1bb\r\n"),
        bad("a DEL in a value", "RFC 9110 §5.5", "X: a\x7fb\r\n"),
        bad(
            "a folded field",
            "CVE-2025-32094 (Akamai); RFC 9112 §5.2",
            "X: one\r\n two\r\n",
        ),
        bad(
            "a field folded with a tab",
            "RFC 9112 §5.2",
            "X: one\r\n\ttwo\r\n",
        ),
        bad(
            "a field folded to nothing",
            "CVE-2022-32215 (Node.js)",
            "X:\r\n \r\n",
        ),
        bad("a line of a space", "RFC 9112 §5.2", " \r\n"),
        refused(
            "a fold behind the request line",
            "RFC 9112 §2.2",
            format!("GET /first HTTP/1.1\r\n X: 1\r\n{FIRST}\r\n"),
        ),
        refused(
            "a length behind the request line, indented",
            "RFC 9112 §2.2; CVE-2020-7238 (Netty)",
            format!("POST /first HTTP/1.1\r\n Content-Length: 5\r\n{FIRST}\r\nhello"),
        ),
        bad(
            "a field without a name",
            "CVE-2023-25725 (HAProxy)",
            ": value\r\n",
        ),
        bad(
            "a field without a colon",
            "CVE-2019-20444 (Netty)",
            "nonsense\r\n",
        ),
        bad(
            "a name with a space",
            "CVE-2015-5739 (Go)",
            "X Field: 1\r\n",
        ),
        bad(
            "a tab before a colon",
            "CVE-2019-18678 (Squid)",
            "X-Field\t: 1\r\n",
        ),
        bad(
            "a space before a colon",
            "CVE-2019-16276 (Go)",
            "X-Field : 1\r\n",
        ),
        bad(
            "a name in parentheses",
            "RFC 9110 §5.1; CVE-2023-38522 (Traffic Server)",
            "X(1): 1\r\n",
        ),
        read_as(
            "GET /first first",
            "8-bit bytes in a value",
            "RFC 9110 §5.5",
            get("X: \u{e9}\u{a0}\r\n"),
        ),
        read_as(
            "GET /first first",
            "an empty value",
            "RFC 9110 §5.5",
            get("X:\r\n"),
        ),
        read_as(
            "GET /first first",
            "a name of punctuation",
            "RFC 9110 §5.6.2",
            get("!#$%&'*+-.^_`|~: 1\r\n"),
        ),
    ]
}

fn start_lines() -> Vec<Row> {
    let bad = |name, source, line: &str| refused(name, source, start(line));
    vec![
        bad("a target with a space", SPLITTING, "GET /fir st HTTP/1.1"),
        bad(
            "a whole request in the target",
            SPLITTING,
            "GET /first HTTP/1.1 GET /smuggled HTTP/1.1",
        ),
        bad(
            "two spaces before the target",
            "CVE-2016-8743 (httpd)",
            "GET  /first HTTP/1.1",
        ),
        bad(
            "two spaces before the version",
            "CVE-2016-8743 (httpd)",
            "GET /first  HTTP/1.1",
        ),
        bad(
            "a space behind the version",
            "CVE-2016-8743 (httpd)",
            "GET /first HTTP/1.1 ",
        ),
        bad(
            "a tab before the target",
            "CVE-2016-8743 (httpd)",
            "GET\t/first HTTP/1.1",
        ),
        bad(
            "a tab before the version",
            "CVE-2016-8743 (httpd)",
            "GET /first\tHTTP/1.1",
        ),
        bad(
            "a tab in the target",
            "CVE-2016-8743 (httpd)",
            "GET /fir\tst HTTP/1.1",
        ),
        bad(
            "a form feed before the version",
            "CVE-2016-8743 (httpd)",
            "GET /first\x0cHTTP/1.1",
        ),
        bad(
            "a vertical tab in the target",
            "CVE-2016-8743 (httpd)",
            "GET /fir\x0bst HTTP/1.1",
        ),
        bad(
            "a control character in the target",
            "RFC 9112 §3.2",
            "GET /fir\x01st HTTP/1.1",
        ),
        bad(
            "a DEL in the target",
            "RFC 9112 §3.2",
            "GET /fir\x7fst HTTP/1.1",
        ),
        bad(
            "a NUL in the target",
            "RFC 9112 §3.2",
            "GET /first\0 HTTP/1.1",
        ),
        bad("an 8-bit target", "RFC 9112 §3.2", "GET /\u{e9} HTTP/1.1"),
        bad("a bare CR in the target", SPLITTING, "GET /first\rHTTP/1.1"),
        bad(
            "a target with a fragment",
            "CVE-2021-27577 (Traffic Server)",
            "GET /first#part HTTP/1.1",
        ),
        bad(
            "a target without a slash",
            "RFC 9112 §3.2",
            "GET first HTTP/1.1",
        ),
        bad("a star for GET", "RFC 9112 §3.2.4", "GET * HTTP/1.1"),
        bad(
            "an address for GET",
            "RFC 9112 §3.2.3",
            "GET h.test:80 HTTP/1.1",
        ),
        bad(
            "a method that is no token",
            "CVE-2021-33193 (httpd)",
            "G(T /first HTTP/1.1",
        ),
        bad("no method", "RFC 9112 §3", " /first HTTP/1.1"),
        bad(
            "a version in small letters",
            "RFC 9112 §2.3",
            "GET /first http/1.1",
        ),
        bad(
            "a version of another protocol",
            "RFC 9112 §2.3",
            "GET /first HTCPCP/1.0",
        ),
        bad(
            "a version with more digits",
            "RFC 9112 §2.3",
            "GET /first HTTP/1.10",
        ),
        bad(
            "a version with zeros before it",
            "RFC 9112 §2.3",
            "GET /first HTTP/01.1",
        ),
        bad(
            "a version without a minor",
            "RFC 9112 §2.3",
            "GET /first HTTP/1",
        ),
        bad(
            "no version: HTTP/0.9",
            "CVE-2017-7656 (Jetty)",
            "GET /first",
        ),
        bad(
            "a version of HTTP/0.9 by name",
            "CVE-2017-7656 (Jetty)",
            "GET /first HTTP/",
        ),
        refused_as(
            "505",
            "HTTP/0.9 as a version",
            "CVE-2017-7656 (Jetty)",
            start("GET /first HTTP/0.9"),
        ),
        refused_as(
            "505",
            "HTTP/2.0 on HTTP/1",
            "RFC 9113 §3",
            start("GET /first HTTP/2.0"),
        ),
        read_as(
            "GET /first first",
            "a minor version to come",
            "RFC 9110 §2.5",
            start("GET /first HTTP/1.2"),
        ),
        read_as(
            "OPTIONS * first",
            "a star for OPTIONS",
            "RFC 9112 §3.2.4",
            start("OPTIONS * HTTP/1.1"),
        ),
        read_as(
            "get /first first",
            "a method in small letters",
            "RFC 9110 §9.1: methods have a case",
            start("get /first HTTP/1.1"),
        ),
        read_as(
            "GETS /first first",
            "a method nobody knows",
            "RFC 9110 §9.1",
            start("GETS /first HTTP/1.1"),
        ),
        read_as(
            "GET /first%20HTTP/1.1%0d%0aX:%20y first",
            "an encoded line end in the target",
            SPLITTING,
            start("GET /first%20HTTP/1.1%0d%0aX:%20y HTTP/1.1"),
        ),
    ]
}

fn hosts() -> Vec<Row> {
    let host = |host: &str| format!("GET /first HTTP/1.1\r\nX-Marker: first\r\n{host}\r\n");
    let bad = |name, source, lines: &str| refused(name, source, host(lines));
    let named = |target: &str, lines: &str| {
        format!("GET {target} HTTP/1.1\r\nX-Marker: first\r\n{lines}\r\n")
    };
    vec![
        bad("no Host", "RFC 9112 §3.2", ""),
        bad(
            "two Hosts",
            "Chen et al. 2016, Host of Troubles",
            "Host: h.test\r\nHost: other.test\r\n",
        ),
        bad(
            "two Hosts that agree",
            "RFC 9112 §3.2",
            "Host: h.test\r\nHost: h.test\r\n",
        ),
        bad(
            "a Host, and one with a space before its colon",
            "Chen et al. 2016, Host of Troubles",
            "Host: h.test\r\nHost : other.test\r\n",
        ),
        bad(
            "a Host, and one indented",
            "Chen et al. 2016, Host of Troubles",
            " Host: other.test\r\nHost: h.test\r\n",
        ),
        bad(
            "a Host folded to another",
            "Chen et al. 2016, Host of Troubles",
            "Host: h.test\r\n Host: other.test\r\n",
        ),
        bad("an empty Host", "RFC 9112 §3.2", "Host:\r\n"),
        bad(
            "a Host with a path",
            "Chen et al. 2016, Host of Troubles",
            "Host: h.test/path\r\n",
        ),
        bad(
            "a Host with a user",
            "Chen et al. 2016, Host of Troubles",
            "Host: user@h.test\r\n",
        ),
        bad(
            "a Host with a space",
            "Chen et al. 2016, Host of Troubles",
            "Host: h.test other.test\r\n",
        ),
        bad(
            "a Host with a comma",
            "Chen et al. 2016, Host of Troubles",
            "Host: h.test,other.test\r\n",
        ),
        bad(
            "a Host with a word for its port",
            "RFC 9110 §4.2.1",
            "Host: h.test:port\r\n",
        ),
        bad(
            "a Host with two ports",
            "Chen et al. 2016, Host of Troubles",
            "Host: h.test:80:81\r\n",
        ),
        bad(
            "a Host with a NUL",
            "Chen et al. 2016, Host of Troubles",
            "Host: h.test\0.other.test\r\n",
        ),
        bad(
            "a Host with a scheme",
            "Chen et al. 2016, Host of Troubles",
            "Host: http://h.test\r\n",
        ),
        refused(
            "two Hosts below an absolute target",
            "Chen et al. 2016, Host of Troubles",
            named(
                "http://h.test/first",
                "Host: h.test\r\nHost: other.test\r\n",
            ),
        ),
        refused(
            "no Host below an absolute target",
            "RFC 9112 §3.2",
            named("http://h.test/first", ""),
        ),
        refused(
            "an absolute target with a user",
            "Chen et al. 2016, Host of Troubles",
            named("http://other.test@h.test/first", "Host: h.test\r\n"),
        ),
        refused(
            "an absolute target without a host",
            "CVE-2019-17559 (Traffic Server)",
            named("http:///first", "Host: h.test\r\n"),
        ),
        refused(
            "an absolute target with another scheme",
            "CVE-2019-17559 (Traffic Server)",
            named("ftp://h.test/first", "Host: h.test\r\n"),
        ),
        refused_as(
            "421",
            "an absolute target of https on plain text",
            "RFC 9110 §7.4",
            named("https://h.test/first", "Host: h.test\r\n"),
        ),
        read_as(
            "GET /first first",
            "an absolute target that agrees with Host",
            "RFC 9112 §3.2.2",
            named("http://h.test/first", "Host: h.test\r\n"),
        ),
        read_as(
            "GET /first@other.test first",
            "an absolute target that overrules Host",
            "RFC 9112 §3.2.2; Chen et al. 2016, Host of Troubles",
            named("http://other.test/first", "Host: h.test\r\n"),
        ),
        read_as(
            "GET /?first@other.test first",
            "an absolute target without a path",
            "RFC 9112 §3.2.2",
            named("http://other.test?first", "Host: h.test\r\n"),
        ),
        read_as(
            "GET /first@other.test first",
            "another Host",
            "RFC 9112 §3.2",
            host("Host: other.test\r\n"),
        ),
        read_as(
            "GET /first first",
            "Host listed in Connection",
            "Davison 2019, Abusing HTTP hop-by-hop request headers",
            get("Connection: Host, X-Marker-Of-Nobody\r\n"),
        ),
    ]
}
