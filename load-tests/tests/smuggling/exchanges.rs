//! Requests whose bodies nobody reads, expectations, and changes of protocol.

use crate::row::*;

const DIE: &str = "Kettle 2025, HTTP/1.1 must die: Expect";
const PINGORA: &str = "CVE-2025-4366 (Pingora): a body left unread behind a cache hit";
const H2C: &str = "Miller 2020, h2c Smuggling";
const WEBSOCKET: &str = "Egorov 2019, What's wrong with WebSocket APIs";

pub(crate) fn rows() -> Vec<Row> {
    [unread(), expectations(), upgrades()].concat()
}

/// Bodies of requests that the front door answers itself.
fn unread() -> Vec<Row> {
    let smuggled = SMUGGLED.len();
    let chunks = format!("{smuggled:x}\r\n{SMUGGLED}\r\n0\r\n\r\n");
    let request = |line: &str, fields: &str, body: &str| {
        format!("{line} HTTP/1.1\r\n{FIRST}{fields}\r\n{body}{FOLLOWING}")
    };
    let length = format!("Content-Length: {smuggled}\r\n");
    vec![
        exchange(
            "HEAD with a body, of what is stored",
            PINGORA,
            request("HEAD /cached/head", &length, SMUGGLED),
            &["HEAD 200 first", "200 following"],
            &[
                "HEAD /cached/head first GET /smuggled HTTP/1.1\\r\\nHost: h.test\\r\\nX-Marker: smuggled\\r\\n\\r\\n",
                "GET /following following",
            ],
        )
        .with_stored("/cached/head"),
        exchange(
            "GET with a body, of what is stored",
            PINGORA,
            request("GET /cached/get", &length, SMUGGLED),
            &["200 first", "200 following"],
            &[
                "GET /cached/get first GET /smuggled HTTP/1.1\\r\\nHost: h.test\\r\\nX-Marker: smuggled\\r\\n\\r\\n",
                "GET /following following",
            ],
        )
        .with_stored("/cached/get"),
        exchange(
            "GET with chunks, of what is stored",
            PINGORA,
            request("GET /cached/chunks", "Transfer-Encoding: chunked\r\n", &chunks),
            &["200 first", "200 following"],
            &[
                "GET /cached/chunks first GET /smuggled HTTP/1.1\\r\\nHost: h.test\\r\\nX-Marker: smuggled\\r\\n\\r\\n",
                "GET /following following",
            ],
        )
        .with_stored("/cached/chunks"),
        exchange(
            "GET without a body, of what is stored",
            "RFC 9111 §4",
            request("GET /cached/none", "", ""),
            &["200 stored", "200 following"],
            &["GET /following following"],
        )
        .with_stored("/cached/none"),
        exchange(
            "GET with a length of zero, of what is stored",
            PINGORA,
            request("GET /cached/zero", "Content-Length: 0\r\n", ""),
            &["200 stored", "200 following"],
            &["GET /following following"],
        )
        .with_stored("/cached/zero"),
        exchange(
            "GET with only the last chunk, of what is stored",
            PINGORA,
            request("GET /cached/last", "Transfer-Encoding: chunked\r\n", "0\r\n\r\n"),
            &["200 first", "200 following"],
            &["GET /cached/last first", "GET /following following"],
        )
        .with_stored("/cached/last"),
        exchange(
            "a body behind an OPTIONS that is for us",
            "CVE-2025-32094 (Akamai)",
            request("OPTIONS /first", &format!("Max-Forwards: 0\r\n{length}"), SMUGGLED),
            &["200", "200 following"],
            &["GET /following following"],
        ),
        exchange(
            "chunks behind a TRACE that is for us",
            "CVE-2022-22720 (httpd)",
            request(
                "TRACE /first",
                "Max-Forwards: 0\r\nTransfer-Encoding: chunked\r\n",
                &chunks,
            ),
            &["405", "200 following"],
            &["GET /following following"],
        ),
        exchange(
            "bad chunks behind a TRACE that is for us",
            "CVE-2022-22720 (httpd)",
            request(
                "TRACE /first",
                "Max-Forwards: 0\r\nTransfer-Encoding: chunked\r\n",
                &format!("0x0\r\n\r\n{SMUGGLED}"),
            ),
            &["405"],
            &[],
        )
        .ends(Ends::Closed),
        exchange(
            "a body behind a PURGE",
            "CVE-2022-22720 (httpd)",
            request("PURGE /cached/purged", &length, SMUGGLED),
            &["200", "200 following"],
            &["GET /following following"],
        )
        .with_stored("/cached/purged"),
        exchange(
            "a bad body behind a PURGE",
            "CVE-2022-22720 (httpd)",
            request("PURGE /cached/broken", "Transfer-Encoding: chunked\r\n", &format!("x\r\n{SMUGGLED}")),
            &["200"],
            &[],
        )
        .with_stored("/cached/broken")
        .ends(Ends::Closed),
        exchange(
            "a body of a megabyte behind a PURGE",
            "CVE-2022-22720 (httpd)",
            request("PURGE /cached/long", "Content-Length: 1000000\r\n", SMUGGLED),
            &["200"],
            &[],
        )
        .with_stored("/cached/long")
        .ends(Ends::Closed),
        exchange(
            "a refusal before the body is read",
            "CVE-2022-22720 (httpd), CVE-2019-20372 (nginx)",
            request("POST /early", &length, SMUGGLED),
            &["403 first", "200 following"],
            &[
                "POST /early first GET /smuggled HTTP/1.1\\r\\nHost: h.test\\r\\nX-Marker: smuggled\\r\\n\\r\\n",
                "GET /following following",
            ],
        ),
        exchange(
            "a refusal before the chunks are read",
            "CVE-2022-22720 (httpd), CVE-2019-20372 (nginx)",
            request("POST /early", "Transfer-Encoding: chunked\r\n", &chunks),
            &["403 first", "200 following"],
            &[
                "POST /early first GET /smuggled HTTP/1.1\\r\\nHost: h.test\\r\\nX-Marker: smuggled\\r\\n\\r\\n",
                "GET /following following",
            ],
        ),
        exchange(
            "a body behind TRACE",
            "RFC 9110 §9.3.8",
            request("TRACE /first", "Max-Forwards: 9\r\nContent-Length: 5\r\n", "hello"),
            &["200 first", "200 following"],
            &["TRACE /first first hello", "GET /following following"],
        ),
    ]
}

fn expectations() -> Vec<Row> {
    let unknown = |name, value: &str| {
        let fields = format!("Expect: {value}\r\nContent-Length: 5\r\n");
        refused_as("417", name, DIE, post(&fields, "hello"))
    };
    let wait = "Expect: 100-continue\r\nContent-Length: 5\r\n";
    vec![
        unknown("an unknown expectation", "x"),
        unknown("an expectation behind another word", "y 100-continue"),
        unknown("an expectation with a comma and more", "100-continue, x"),
        unknown("an expectation with a parameter", "100-continue;q=1"),
        unknown("an expectation in quotes", "\"100-continue\""),
        unknown("a status for an expectation", "100"),
        refused(
            "an expectation behind a newline",
            DIE,
            post("Expect:\n 100-continue\r\nContent-Length: 5\r\n", "hello"),
        ),
        refused(
            "a folded expectation",
            "CVE-2025-32094 (Akamai)",
            post("Expect:\r\n 100-continue\r\nContent-Length: 5\r\n", "hello"),
        ),
        refused(
            "a space before the colon of an expectation",
            DIE,
            post("Expect : 100-continue\r\nContent-Length: 5\r\n", "hello"),
        ),
        read_as(
            "POST /first first hello",
            "an expectation with the body at once",
            DIE,
            post(wait, "hello"),
        ),
        read_as(
            "POST /first first hello",
            "an expectation in capitals",
            DIE,
            post("Expect: 100-CONTINUE\r\nContent-Length: 5\r\n", "hello"),
        ),
        read_as(
            "POST /first first hello",
            "the same expectation twice",
            DIE,
            post(&format!("Expect: 100-continue\r\n{wait}"), "hello"),
        ),
        read_as(
            "GET /first first",
            "an expectation without a body",
            "RFC 9110 §10.1.1",
            get("Expect: 100-continue\r\n"),
        ),
        read_as(
            "GET /first first hello",
            "an expectation with the body of GET",
            "CVE-2025-32094 (Akamai)",
            get(wait) + "hello",
        ),
        read_as(
            "POST /first first",
            "an expectation with a length of zero",
            "Kettle 2025, HTTP/1.1 must die: 0.CL",
            post("Expect: 100-continue\r\nContent-Length: 0\r\n", ""),
        ),
        read_as(
            "POST /first first hello",
            "an expectation of HTTP/1.0",
            "RFC 9110 §10.1.1",
            format!("POST /first HTTP/1.0\r\n{FIRST}Connection: keep-alive\r\n{wait}\r\nhello"),
        ),
        read_as(
            "POST /first first hello",
            "an expectation listed in Connection",
            DIE,
            post(&format!("Connection: Expect\r\n{wait}"), "hello"),
        ),
        exchange(
            "an expectation, and the body later",
            "RFC 9110 §10.1.1",
            post(wait, ""),
            &["200 first", "200 following"],
            &["POST /first first hello", "GET /following following"],
        )
        .then_send(format!("hello{FOLLOWING}")),
        // Whether the body is on its way nobody knows, so nothing may follow it.
        exchange(
            "an expectation that is refused, with the body at once",
            "Kettle 2025, HTTP/1.1 must die: 0.CL by early answer",
            format!(
                "POST /early HTTP/1.1\r\n{FIRST}Expect: 100-continue\r\nContent-Length: {}\r\n\r\n{SMUGGLED}",
                SMUGGLED.len()
            ),
            &["403 first"],
            &[],
        )
        .ends(Ends::Closed),
        exchange(
            "an expectation that is refused, and a request for its body",
            "Kettle 2025, HTTP/1.1 must die: 0.CL by early answer",
            format!(
                "POST /early HTTP/1.1\r\n{FIRST}Expect: 100-continue\r\nContent-Length: {}\r\n\r\n",
                SMUGGLED.len()
            ),
            &["403 first"],
            &[],
        )
        .then_send(SMUGGLED)
        .ends(Ends::Closed),
        exchange(
            "an expectation of an OPTIONS that is for us, and a request for its body",
            "CVE-2025-32094 (Akamai)",
            format!(
                "OPTIONS /first HTTP/1.1\r\n{FIRST}Max-Forwards: 0\r\nExpect: 100-continue\r\nContent-Length: {}\r\n\r\n{SMUGGLED}",
                SMUGGLED.len()
            ),
            &["200"],
            &[],
        )
        .ends(Ends::Closed),
    ]
}

fn upgrades() -> Vec<Row> {
    let asking = |target: &str, protocol: &str| {
        format!(
            "GET {target} HTTP/1.1\r\n{FIRST}Connection: Upgrade, HTTP2-Settings\r\nUpgrade: {protocol}\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n"
        )
    };
    let preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    vec![
        exchange(
            "h2c offered: it is not passed on, and what follows is a request",
            H2C,
            asking("/upgrade", "h2c") + FOLLOWING,
            &["200 first", "200 following"],
            &["GET /upgrade first", "GET /following following"],
        ),
        exchange(
            "h2c offered beside others",
            H2C,
            asking("/upgrade", "h2c, HTTP/2.0, TLS/1.0") + FOLLOWING,
            &["200 first", "200 following"],
            &["GET /upgrade first", "GET /following following"],
        ),
        exchange(
            "h2c offered, and HTTP/2 at once",
            "CVE-2022-41721 (Go)",
            get("Connection: Upgrade\r\nUpgrade: h2c\r\n") + preface,
            &["200 first", "505"],
            &["GET /first first"],
        )
        .ends(Ends::Closed),
        exchange(
            "HTTP/2 behind a request",
            H2C,
            get("") + preface,
            &["200 first", "505"],
            &["GET /first first"],
        )
        .ends(Ends::Closed),
        exchange(
            "a WebSocket, and bytes before the answer",
            WEBSOCKET,
            asking("/upgrade", "websocket") + SMUGGLED,
            &["101 first"],
            &["GET /upgrade first"],
        )
        .ends(Ends::Tunnel(SMUGGLED.into())),
        exchange(
            "a WebSocket that is refused, and a request at once",
            WEBSOCKET,
            asking("/first", "websocket") + FOLLOWING,
            &["200 first", "200 following"],
            &["GET /first first", "GET /following following"],
        ),
        exchange(
            "a WebSocket with a body",
            WEBSOCKET,
            format!(
                "POST /upgrade HTTP/1.1\r\n{FIRST}Connection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: {}\r\n\r\n{SMUGGLED}{FOLLOWING}",
                SMUGGLED.len()
            ),
            &["200 first", "200 following"],
            &[
                "POST /upgrade first GET /smuggled HTTP/1.1\\r\\nHost: h.test\\r\\nX-Marker: smuggled\\r\\n\\r\\n",
                "GET /following following",
            ],
        ),
        exchange(
            "an Upgrade that Connection does not name",
            "RFC 9110 §7.8",
            format!("GET /upgrade HTTP/1.1\r\n{FIRST}Upgrade: websocket\r\n\r\n{FOLLOWING}"),
            &["200 first", "200 following"],
            &["GET /upgrade first", "GET /following following"],
        ),
        exchange(
            "an Upgrade of HTTP/1.0",
            "RFC 9110 §7.8",
            format!(
                "GET /upgrade HTTP/1.0\r\n{FIRST}Connection: Upgrade, keep-alive\r\nUpgrade: websocket\r\n\r\n{FOLLOWING}"
            ),
            &["200 first", "200 following"],
            &["GET /upgrade first", "GET /following following"],
        ),
        exchange(
            "an Upgrade behind a request",
            WEBSOCKET,
            get("") + &asking("/upgrade", "websocket").replace("first", "second") + SMUGGLED,
            &["200 first", "101 second"],
            &["GET /first first", "GET /upgrade second"],
        )
        .ends(Ends::Tunnel(SMUGGLED.into())),
        refused(
            "CONNECT with a body",
            "RFC 9110 §9.3.6",
            format!("CONNECT h.test:80 HTTP/1.1\r\n{FIRST}Content-Length: 5\r\n\r\nhello"),
        ),
        refused(
            "CONNECT with a path",
            "RFC 9112 §3.2.3",
            format!("CONNECT /first HTTP/1.1\r\n{FIRST}\r\n"),
        ),
    ]
}
