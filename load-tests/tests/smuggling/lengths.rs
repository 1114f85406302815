//! Content-Length and Transfer-Encoding: one, the other, both, and what only looks like them.

use crate::row::*;

const WATCHFIRE: &str = "Linhart, Klein, Heled, Orrin 2005, HTTP Request Smuggling";
const DESYNC: &str = "Kettle 2019, HTTP Desync Attacks: TE.TE";

pub(crate) fn rows() -> Vec<Row> {
    [both(), lengths(), codings(), names(), old_version()].concat()
}

/// Two lengths of a different kind.
fn both() -> Vec<Row> {
    let smuggled_behind_length = format!("0\r\n\r\n{SMUGGLED}");
    let length = smuggled_behind_length.len();
    let chunk = format!("{:x}\r\n{SMUGGLED}\r\n0\r\n\r\n", SMUGGLED.len());
    vec![
        refused(
            "CL.TE: the body holds a request behind its last chunk",
            "Kettle 2019, HTTP Desync Attacks; CVE-2005-2088 (httpd)",
            post(
                &format!("Content-Length: {length}\r\nTransfer-Encoding: chunked\r\n"),
                &smuggled_behind_length,
            ),
        ),
        refused(
            "TE.CL: a chunk holds a request behind the length",
            "Kettle 2019, HTTP Desync Attacks; CVE-2020-10109 (Twisted)",
            post(
                "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n",
                &chunk,
            ),
        ),
        refused(
            "the coding before the length",
            "CVE-2019-20445 (Netty), CVE-2017-7658 (Jetty)",
            post(
                "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
                "0\r\n\r\n",
            ),
        ),
        refused(
            "both, and they agree",
            "RFC 9112 §6.3; CVE-2024-47220 (WEBrick), CVE-2024-23452 (bRPC)",
            post(
                "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
                "0\r\n\r\n",
            ),
        ),
        refused(
            "a length of zero with chunks",
            "CVE-2023-40175 (Puma)",
            post(
                "Content-Length: 0\r\nTransfer-Encoding: chunked\r\n",
                &chunk,
            ),
        ),
        refused(
            "a length on either side of the coding",
            WATCHFIRE,
            post(
                "Content-Length: 5\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n",
                "0\r\n\r\n",
            ),
        ),
        refused(
            "both on GET",
            "CVE-2020-1944 (Traffic Server)",
            get("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n") + "0\r\n\r\n",
        ),
        refused(
            "an empty coding with a length",
            "CVE-2020-1935 (Tomcat)",
            post("Transfer-Encoding:\r\nContent-Length: 5\r\n", "hello"),
        ),
        refused(
            "the identity coding with a length",
            "CVE-2021-33037 (Tomcat)",
            post(
                "Transfer-Encoding: identity\r\nContent-Length: 5\r\n",
                "hello",
            ),
        ),
        refused(
            "an unknown coding with a length",
            "CVE-2019-16786 (Waitress), CVE-2024-1135 (Gunicorn)",
            post("Transfer-Encoding: x\r\nContent-Length: 5\r\n", "hello"),
        ),
        refused(
            "both, the length listed in Connection",
            "Davison 2019, Abusing HTTP hop-by-hop request headers",
            post(
                "Connection: Content-Length\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n",
                "0\r\n\r\n",
            ),
        ),
    ]
}

fn lengths() -> Vec<Row> {
    let bad = |name, source, value: &str| {
        let fields = format!("Content-Length: {value}\r\n");
        refused(name, source, post(&fields, "hello"))
    };
    let smuggled = SMUGGLED.len();
    let mut rows = vec![
        refused(
            "CL.CL: two lengths that differ",
            "Watchfire 2005; CVE-2020-10108 (Twisted), CVE-2015-5741 (Go)",
            post(
                &format!("Content-Length: {smuggled}\r\nContent-Length: 0\r\n"),
                SMUGGLED,
            ),
        ),
        refused(
            "two lengths that differ, the shorter first",
            "Watchfire 2005; CVE-2019-16792 (Waitress)",
            post(
                &format!("Content-Length: 0\r\nContent-Length: {smuggled}\r\n"),
                SMUGGLED,
            ),
        ),
        refused(
            "two lengths that agree",
            "RFC 9112 §6.3; CVE-2019-20445 (Netty)",
            post("Content-Length: 5\r\nContent-Length: 5\r\n", "hello"),
        ),
        refused(
            "two lengths that agree in value only",
            "RFC 9112 §6.3",
            post("Content-Length: 5\r\nContent-Length: 05\r\n", "hello"),
        ),
        refused(
            "two lengths with names in other cases",
            WATCHFIRE,
            post("content-length: 5\r\nCONTENT-LENGTH: 0\r\n", "hello"),
        ),
        bad("a list of equal lengths", "RFC 9112 §6.3", "5, 5"),
        bad(
            "a list of lengths that differ",
            "CVE-2019-16792 (Waitress)",
            "5, 0",
        ),
        bad("a list with an empty member", "RFC 9110 §8.6", "5,"),
        bad(
            "a length with a plus",
            "CVE-2021-32715 (hyper), CVE-2023-40167 (Jetty), CVE-2020-15049 (Squid)",
            "+5",
        ),
        bad("a negative length", "CVE-2020-15049 (Squid)", "-5"),
        bad("minus zero", "CVE-2022-24801 (Twisted)", "-0"),
        bad("a hexadecimal length", "CVE-2022-42252 (Tomcat)", "0x5"),
        bad(
            "a length with a suffix",
            "Klein 2020, HTTP Request Smuggling in 2020",
            "5abcde",
        ),
        bad(
            "a length with a fraction",
            "CVE-2021-32565 (Traffic Server)",
            "5.0",
        ),
        bad(
            "a length with an exponent",
            "CVE-2021-32565 (Traffic Server)",
            "5e0",
        ),
        bad(
            "a length with underscores",
            "CVE-2023-47627 (aiohttp)",
            "0_5",
        ),
        bad("an empty length", "CVE-2023-40225 (HAProxy)", ""),
        bad("a length in words", "CVE-2022-42252 (Tomcat)", "five"),
        bad("a length of two words", "CVE-2020-15810 (Squid)", "5 5"),
        bad("a quoted length", "RFC 9110 §8.6", "\"5\""),
        bad("a length in a comment", "RFC 9110 §8.6", "(0) 5"),
        bad("a length with a parameter", "RFC 9110 §8.6", "5;0"),
        bad(
            "a vertical tab before a length",
            "CVE-2019-16789 (Waitress)",
            "\x0b5",
        ),
        bad(
            "a form feed behind a length",
            "CVE-2019-16789 (Waitress)",
            "5\x0c",
        ),
        bad("a NUL behind a length", "RFC 9110 §5.5", "5\0"),
        bad(
            "digits of another script",
            "CVE-2023-47627 (aiohttp)",
            "\u{0665}",
        ),
        bad(
            "a length of 2^64 and five",
            "CVE-2021-40346 (HAProxy)",
            "18446744073709551621",
        ),
        bad(
            "a length of forty digits",
            "CVE-2021-40346 (HAProxy)",
            &"9".repeat(40),
        ),
        refused(
            "a length in two words, folded",
            "CVE-2025-32094 (Akamai)",
            post("Content-Length:\r\n 5\r\n", "hello"),
        ),
        refused_as(
            "413",
            "a length of 2^32 and five, which wraps to five",
            "CVE-2021-40346 (HAProxy)",
            post("Content-Length: 4294967301\r\n", "hello"),
        ),
    ];
    rows.extend([
        read_as(
            "POST /first first hello",
            "a length with zeros before it",
            "RFC 9110 §8.6",
            post("Content-Length: 0000000000000000000000000005\r\n", "hello"),
        ),
        read_as(
            "POST /first first hello",
            "white space around a length",
            "RFC 9112 §5.1",
            post("Content-Length: \t 5 \t \r\n", "hello"),
        ),
        read_as(
            "POST /first first",
            "a length of zero",
            "Kettle 2025, HTTP/1.1 must die: 0.CL",
            post("Content-Length: 0\r\n", ""),
        ),
        read_as(
            "POST /first first",
            "POST without a length",
            "RFC 9112 §6.3",
            post("", ""),
        ),
        read_as(
            "GET /first first GET /smuggled HTTP/1.1\\r\\nHost: h.test\\r\\nX-Marker: smuggled\\r\\n\\r\\n",
            "CL.0: a request in the body of GET",
            "Kettle 2022, Browser-Powered Desync Attacks",
            get("Content-Length: 60\r\n") + SMUGGLED,
        ),
        read_as(
            "DELETE /first first GET /smuggled HTTP/1.1\\r\\nHost: h.test\\r\\nX-Marker: smuggled\\r\\n\\r\\n",
            "CL.0: a request in the body of DELETE",
            "Kettle 2022, Browser-Powered Desync Attacks",
            format!("DELETE /first HTTP/1.1\r\n{FIRST}Content-Length: 60\r\n\r\n") + SMUGGLED,
        ),
        read_as(
            "OPTIONS /first first GET /smuggled HTTP/1.1\\r\\nHost: h.test\\r\\nX-Marker: smuggled\\r\\n\\r\\n",
            "CL.0: a request in the body of OPTIONS",
            "CVE-2025-32094 (Akamai)",
            format!("OPTIONS /first HTTP/1.1\r\n{FIRST}Content-Length: 60\r\n\r\n")
                + SMUGGLED,
        ),
        read_as(
            "POST /first first GET /smuggled HTTP/1.1\\r\\nHost: h.test\\r\\nX-Marker: smuggled\\r\\n\\r\\n",
            "a request in the body of POST",
            WATCHFIRE,
            post("Content-Length: 60\r\n", SMUGGLED),
        ),
    ]);
    rows
}

fn codings() -> Vec<Row> {
    let smuggled = format!("0\r\n\r\n{SMUGGLED}");
    let bad = |name, source, value: &str| {
        let fields = format!("Transfer-Encoding: {value}\r\n");
        refused(name, source, post(&fields, &smuggled))
    };
    let unknown = |name, source, value: &str| {
        let fields = format!("Transfer-Encoding: {value}\r\n");
        refused_as("501", name, source, post(&fields, &smuggled))
    };
    vec![
        bad(
            "chunked that is not last",
            "CVE-2021-33037 (Tomcat)",
            "chunked, identity",
        ),
        unknown(
            "identity before chunked",
            "CVE-2021-33037 (Tomcat)",
            "identity, chunked",
        ),
        bad("identity alone", "CVE-2021-33037 (Tomcat)", "identity"),
        bad(
            "chunked twice",
            "CVE-2020-8287 (Node.js)",
            "chunked, chunked",
        ),
        bad("an unknown coding", "CVE-2019-16786 (Waitress)", "cow"),
        unknown("gzip, then chunked", "RFC 9112 §7", "gzip, chunked"),
        bad("chunked, then gzip", "RFC 9112 §6.3", "chunked, gzip"),
        bad("a coding that sounds like chunked", DESYNC, "xchunked"),
        bad("chunked with a letter more", DESYNC, "chunkedx"),
        bad("a quoted chunked", DESYNC, "\"chunked\""),
        bad("chunked in single quotes", DESYNC, "'chunked'"),
        bad(
            "chunked with a parameter",
            "CVE-2022-32213 (Node.js)",
            "chunked;q=1",
        ),
        bad("chunked behind a comma", DESYNC, ",chunked"),
        bad(
            "chunked before a comma",
            "CVE-2022-32215 (Node.js)",
            "chunked,",
        ),
        bad(
            "two chunked without a comma",
            "CVE-2020-25613 (WEBrick)",
            "chunked chunked",
        ),
        bad(
            "chunked behind a semicolon",
            "CVE-2022-32213 (Node.js)",
            "x;chunked",
        ),
        bad("chunked behind a colon", DESYNC, ": chunked"),
        bad(
            "a vertical tab before chunked",
            "CVE-2019-18277 (HAProxy)",
            "\x0bchunked",
        ),
        bad(
            "a vertical tab behind chunked",
            "CVE-2019-16789 (Waitress)",
            "chunked\x0b",
        ),
        bad(
            "a form feed before chunked",
            "CVE-2019-18277 (HAProxy)",
            "\x0cchunked",
        ),
        bad(
            "a NUL behind chunked",
            "CVE-2019-15605 (Node.js)",
            "chunked\0",
        ),
        bad(
            "a DEL behind chunked",
            "CVE-2019-15605 (Node.js)",
            "chunked\x7f",
        ),
        bad(
            "a bare CR behind chunked",
            "CVE-2020-11076 (Puma)",
            "chunked\r",
        ),
        bad(
            "a bare CR before chunked",
            "CVE-2023-30589 (Node.js)",
            "\rchunked",
        ),
        bad("a no-break space before chunked", DESYNC, "\u{a0}chunked"),
        bad("an empty coding", "CVE-2020-1935 (Tomcat)", ""),
        bad(
            "a Kelvin sign for the k of chunked",
            DESYNC,
            "chun\u{212a}ed",
        ),
        refused(
            "chunked in two lines",
            "CVE-2020-8287 (Node.js)",
            post(
                "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
                &smuggled,
            ),
        ),
        refused(
            "chunked in one line, nonsense in the next",
            DESYNC,
            post(
                "Transfer-Encoding: chunked\r\nTransfer-Encoding: cow\r\n",
                &smuggled,
            ),
        ),
        refused(
            "identity in one line, chunked and more in the next",
            DESYNC,
            post(
                "Transfer-Encoding: identity\r\nTransfer-Encoding: chunked, cow\r\n",
                &smuggled,
            ),
        ),
        refused(
            "a folded coding",
            "CVE-2022-32215 (Node.js)",
            post("Transfer-Encoding:\r\n chunked\r\n", &smuggled),
        ),
        refused(
            "a coding folded to another field",
            DESYNC,
            post("X: X\r\n Transfer-Encoding: chunked\r\n", &smuggled),
        ),
        refused(
            "a coding behind a bare LF",
            "CVE-2022-32214 (Node.js), CVE-2019-16785 (Waitress)",
            post("X: X\nTransfer-Encoding: chunked\r\n", &smuggled),
        ),
        refused(
            "a coding behind a bare CR",
            "CVE-2023-30589 (Node.js)",
            post("X: X\rTransfer-Encoding: chunked\r\n", &smuggled),
        ),
        read_as(
            "POST /first first hello",
            "chunked in capitals",
            "RFC 9112 §7: coding names have no case",
            post("TRANSFER-ENCODING: CHUNKED\r\n", "5\r\nhello\r\n0\r\n\r\n"),
        ),
        read_as(
            "POST /first first hello",
            "a tab before chunked",
            "Kettle 2019, HTTP Desync Attacks: TE.TE; RFC 9112 §5.1 allows it",
            post("Transfer-Encoding:\tchunked\r\n", "5\r\nhello\r\n0\r\n\r\n"),
        ),
        read_as(
            "POST /first first hello",
            "the coding listed in Connection",
            "Davison 2019, Abusing HTTP hop-by-hop request headers",
            post(
                "Connection: Transfer-Encoding\r\nTransfer-Encoding: chunked\r\n",
                "5\r\nhello\r\n0\r\n\r\n",
            ),
        ),
        read_as(
            "POST /first first hello",
            "the length listed in Connection",
            "Davison 2019, Abusing HTTP hop-by-hop request headers",
            post(
                "Connection: Content-Length\r\nContent-Length: 5\r\n",
                "hello",
            ),
        ),
        read_as(
            "GET /first first hello",
            "chunks on GET",
            "CVE-2020-35863 (hyper); Kettle 2022: CL.0",
            get("Transfer-Encoding: chunked\r\n") + "5\r\nhello\r\n0\r\n\r\n",
        ),
    ]
}

/// Field names that only some readers take for those that frame.
fn names() -> Vec<Row> {
    let smuggled = format!("0\r\n\r\n{SMUGGLED}");
    let bad = |name, source, line: &str| {
        let fields = format!("{line}\r\nContent-Length: {}\r\n", smuggled.len());
        refused(name, source, post(&fields, &smuggled))
    };
    vec![
        bad(
            "a space before the colon of the coding",
            "CVE-2019-16276 (Go), CVE-2019-16869 (Netty), CVE-2021-22959 (Node.js)",
            "Transfer-Encoding : chunked",
        ),
        bad(
            "a tab before the colon of the coding",
            "CVE-2019-18678 (Squid)",
            "Transfer-Encoding\t: chunked",
        ),
        bad(
            "a vertical tab before the colon of the coding",
            "CVE-2019-16789 (Waitress)",
            "Transfer-Encoding\x0b: chunked",
        ),
        bad(
            "a control character in the name",
            "CVE-2021-43797 (Netty)",
            "Transfer-Encoding\x01: chunked",
        ),
        bad(
            "a NUL in the name",
            "CVE-2021-43797 (Netty)",
            "Transfer\0-Encoding: chunked",
        ),
        bad(
            "a space before the name",
            "CVE-2020-7238 (Netty), CVE-2024-27982 (Node.js)",
            " Transfer-Encoding: chunked",
        ),
        bad(
            "a tab before the name",
            "CVE-2020-7238 (Netty)",
            "\tTransfer-Encoding: chunked",
        ),
        bad(
            "a space within the name",
            "CVE-2015-5739 (Go)",
            "Transfer Encoding: chunked",
        ),
        bad(
            "an underscore for the hyphen of the coding",
            "RFC 3875 §4.1.18: to CGI both are HTTP_TRANSFER_ENCODING",
            "Transfer_Encoding: chunked",
        ),
        refused(
            "an underscore for the hyphen of the length",
            "RFC 3875 §4.1.18: to CGI both are one variable",
            post(&format!("Content_Length: {}\r\n", SMUGGLED.len()), SMUGGLED),
        ),
        bad(
            "a colon before the name",
            "CVE-2023-25725 (HAProxy)",
            ":Transfer-Encoding: chunked",
        ),
        bad(
            "a name without a colon",
            "CVE-2019-20444 (Netty)",
            "Transfer-Encoding chunked",
        ),
        bad(
            "an equals sign for the colon",
            DESYNC,
            "Transfer-Encoding= chunked",
        ),
        bad(
            "a name in quotes",
            "RFC 9110 §5.1",
            "\"Transfer-Encoding\": chunked",
        ),
        bad(
            "an 8-bit character in the name",
            "RFC 9110 §5.1",
            "Transfer-Encod\u{131}ng: chunked",
        ),
        refused(
            "a space before the colon of the length",
            "CVE-2019-16276 (Go), CVE-2021-22959 (Node.js)",
            post("Content-Length : 5\r\n", "hello"),
        ),
        refused(
            "a NUL before the colon of the length",
            "CVE-2021-43797 (Netty)",
            post("Content-Length\0: 5\r\n", "hello"),
        ),
        refused(
            "a bare CR before the colon of the length",
            "CVE-2023-30589 (Node.js)",
            post("Content-Length\r: 5\r\n", "hello"),
        ),
        refused(
            "an empty name",
            "CVE-2023-25725 (HAProxy)",
            post(": x\r\nContent-Length: 5\r\n", "hello"),
        ),
        read_as(
            "POST /first first hello",
            "a name that only begins like the length",
            "CVE-2021-40346 (HAProxy)",
            post("Content-Length0: 50\r\nContent-Length: 5\r\n", "hello"),
        ),
        read_as(
            "POST /first first hello",
            "a name of 300 bytes that begins like the length",
            "CVE-2021-40346 (HAProxy)",
            post(
                &format!(
                    "Content-Length0{}: 0\r\nContent-Length: 5\r\n",
                    "a".repeat(285)
                ),
                "hello",
            ),
        ),
    ]
}

fn old_version() -> Vec<Row> {
    let old =
        |fields: &str, behind: &str| format!("POST /first HTTP/1.0\r\n{FIRST}{fields}\r\n{behind}");
    vec![
        refused(
            "chunks in HTTP/1.0",
            "CVE-2021-33037 (Tomcat)",
            old("Transfer-Encoding: chunked\r\n", "0\r\n\r\n"),
        ),
        refused(
            "chunks in HTTP/1.0 that is kept open",
            "RFC 9112 §6.1",
            old(
                "Connection: keep-alive\r\nTransfer-Encoding: chunked\r\n",
                &format!("0\r\n\r\n{SMUGGLED}"),
            ),
        ),
        refused(
            "both lengths in HTTP/1.0",
            "RFC 9112 §6.1",
            old(
                "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
                "0\r\n\r\n",
            ),
        ),
        refused(
            "the identity coding in HTTP/1.0",
            "CVE-2021-33037 (Tomcat)",
            old(
                "Transfer-Encoding: identity\r\nContent-Length: 5\r\n",
                "hello",
            ),
        ),
        exchange(
            "a length in HTTP/1.0, and more behind it",
            "RFC 9112 §9.3: nobody asked to keep the connection",
            old("Content-Length: 5\r\n", "hello") + SMUGGLED,
            &["200 first"],
            &["POST /first first hello"],
        )
        .ends(Ends::Closed),
        read_as(
            "POST /first first hello",
            "HTTP/1.0 that is kept open",
            "RFC 9112 §9.3",
            old("Connection: keep-alive\r\nContent-Length: 5\r\n", "hello"),
        ),
        exchange(
            "Connection: close, and more behind it",
            "RFC 9112 §9.6",
            get("Connection: close\r\n") + SMUGGLED,
            &["200 first"],
            &["GET /first first"],
        )
        .ends(Ends::Closed),
    ]
}
