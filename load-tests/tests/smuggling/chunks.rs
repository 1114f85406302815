//! Chunked bodies: sizes, extensions, line ends, trailers, and where they stop.

use std::time::Duration;

use crate::row::*;

const FUNKY: &str = "Weikop 2025, Funky chunks";
const WAITRESS: &str = "CVE-2022-24761 (Waitress), CVE-2022-24801 (Twisted)";

pub(crate) fn rows() -> Vec<Row> {
    [sizes(), extensions(), ends(), trailers()].concat()
}

/// A body whose head was good: the back-end may have been told of it, but never sees it complete.
fn broken(name: &'static str, source: &'static str, body: &str) -> Row {
    refused(name, source, chunked(body))
}

fn sizes() -> Vec<Row> {
    let smuggled = |size: &str| format!("{size}\r\nhello\r\n0\r\n\r\n{SMUGGLED}");
    let bad = |name, source, size: &str| broken(name, source, &smuggled(size));
    let good =
        |name, source, body: &str| read_as("POST /first first hello", name, source, chunked(body));
    vec![
        bad("an empty chunk size", "CVE-2022-24790 (Puma)", ""),
        bad("a chunk size of no digits", "CVE-2017-7657 (Jetty)", "g"),
        bad("a chunk size of 0x5", WAITRESS, "0x5"),
        bad("a chunk size of 0X5", WAITRESS, "0X5"),
        bad("a chunk size with a plus", WAITRESS, "+5"),
        bad("a negative chunk size", WAITRESS, "-5"),
        bad("a chunk size of minus zero", WAITRESS, "-0"),
        bad(
            "a space before a chunk size",
            "CVE-2022-24801 (Twisted)",
            " 5",
        ),
        bad(
            "a tab before a chunk size",
            "CVE-2022-24801 (Twisted)",
            "\t5",
        ),
        bad(
            "a space behind a chunk size",
            "CVE-2022-24801 (Twisted)",
            "5 ",
        ),
        bad(
            "a space within a chunk size",
            "CVE-2022-24801 (Twisted)",
            "0 5",
        ),
        bad(
            "a chunk size with an underscore",
            "CVE-2023-47627 (aiohttp)",
            "0_5",
        ),
        bad("a quoted chunk size", WAITRESS, "\"5\""),
        bad("a chunk size with a fraction", WAITRESS, "5.0"),
        bad("a list of chunk sizes", WAITRESS, "5,5"),
        bad(
            "a NUL behind a chunk size",
            "CVE-2019-15605 (Node.js)",
            "5\0",
        ),
        bad(
            "a vertical tab behind a chunk size",
            "CVE-2019-16789 (Waitress)",
            "5\x0b",
        ),
        bad(
            "a chunk size of 2^64 and five",
            "CVE-2021-32714 (hyper), CVE-2017-7657 (Jetty)",
            "10000000000000005",
        ),
        bad(
            "a chunk size of forty digits",
            "CVE-2017-7657 (Jetty)",
            &"f".repeat(40),
        ),
        bad(
            "more zeros than any size has digits",
            "CVE-2017-7657 (Jetty)",
            &format!("{}5", "0".repeat(40)),
        ),
        bad(
            "a chunk size in full-width digits",
            "CVE-2023-47627 (aiohttp)",
            "\u{ff15}",
        ),
        exchange(
            "a chunk size of 2^32 and five, which wraps to five",
            "CVE-2021-32714 (hyper), CVE-2013-2028 (nginx)",
            chunked(&smuggled("100000005")),
            &["408"],
            &[],
        )
        .ends(Ends::Closed),
        exchange(
            "a chunk size of 2^64 less one",
            "CVE-2021-32714 (hyper), CVE-2013-2028 (nginx)",
            chunked(&smuggled("ffffffffffffffff")),
            &["408"],
            &[],
        )
        .ends(Ends::Closed),
        good(
            "a chunk size with zeros before it",
            "RFC 9112 §7.1",
            "0000000000000005\r\nhello\r\n0\r\n\r\n",
        ),
        good(
            "a last chunk of many zeros",
            "RFC 9112 §7.1",
            "5\r\nhello\r\n0000000\r\n\r\n",
        ),
        read_as(
            "POST /first first 0123456789",
            "a chunk size in a capital letter",
            "RFC 9112 §7.1",
            chunked("A\r\n0123456789\r\n0\r\n\r\n"),
        ),
        read_as(
            "POST /first first",
            "no chunk but the last",
            "RFC 9112 §7.1",
            chunked("0\r\n\r\n"),
        ),
        read_as(
            "POST /first first 0\\r\\n\\r\\nGET /smuggled HTTP/1.1\\r\\n",
            "a last chunk and a request within a chunk",
            "Kettle 2019, HTTP Desync Attacks",
            chunked("1d\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\n\r\n0\r\n\r\n"),
        ),
    ]
}

fn extensions() -> Vec<Row> {
    let within = |extension: &str| format!("5{extension}\r\nhello\r\n0\r\n\r\n");
    let bad = |name, source, extension: &str| {
        broken(name, source, &format!("{}{SMUGGLED}", within(extension)))
    };
    let good = |name, source, extension: &str| {
        read_as(
            "POST /first first hello",
            name,
            source,
            chunked(&within(extension)),
        )
    };
    vec![
        good("an extension", "RFC 9112 §7.1.1", ";name"),
        good(
            "an extension with a value",
            "CVE-2021-22960 (Node.js)",
            ";name=value",
        ),
        good(
            "an extension with a quoted value",
            "RFC 9112 §7.1.1",
            ";name=\"value; \\\" 0\"",
        ),
        good("several extensions", "RFC 9112 §7.1.1", ";a=1;b;c=\"3\""),
        good(
            "white space around an extension",
            "RFC 9112 §7.1.1: bad white space",
            " ; name = value",
        ),
        read_as(
            "POST /first first hello",
            "an extension of the last chunk",
            "CVE-2021-22960 (Node.js)",
            chunked("5\r\nhello\r\n0;last\r\n\r\n"),
        ),
        bad(
            "a bare LF in an extension",
            "CVE-2025-22871 (Go), CVE-2025-55315 (Kestrel); TERM.EXT",
            ";a\nb",
        ),
        bad(
            "a bare CR in an extension",
            "CVE-2024-52304 (aiohttp); Funky chunks",
            ";a\rb",
        ),
        bad("a bare LF at once behind the semicolon", FUNKY, ";\n"),
        bad(
            "a request behind a bare LF in an extension",
            "CVE-2025-55315 (Kestrel)",
            ";\nxx\r\n0\r\n\r\nGET /smuggled HTTP/1.1",
        ),
        bad(
            "a quoted string over two lines",
            FUNKY,
            ";a=\"\r\n0\r\n\r\n\"",
        ),
        bad("a quoted string without an end", FUNKY, ";a=\"b"),
        bad(
            "a quoted string that ends in a backslash",
            FUNKY,
            ";a=\"b\\",
        ),
        bad("something behind a quoted string", FUNKY, ";a=\"b\"c"),
        bad("a semicolon without an extension", "RFC 9112 §7.1.1", ";"),
        bad("two semicolons", "RFC 9112 §7.1.1", ";;a"),
        bad("an extension without a name", "RFC 9112 §7.1.1", ";=a"),
        bad("an extension with an empty value", "RFC 9112 §7.1.1", ";a="),
        bad("an extension of two words", "RFC 9112 §7.1.1", ";a b"),
        bad("a comma for the semicolon", "RFC 9112 §7.1.1", ",a"),
        bad("an 8-bit name", "RFC 9112 §7.1.1", ";\u{e9}"),
        bad("a NUL in an extension", "CVE-2024-52304 (aiohttp)", ";a\0b"),
        bad(
            "an extension of 4 KiB",
            "CVE-2023-39326 (Go), CVE-2024-21647 (Puma)",
            &format!(";{}", "a".repeat(4096)),
        ),
        broken(
            "extensions of 40 KiB in all",
            "CVE-2023-39326 (Go), CVE-2024-21647 (Puma)",
            &(format!("1;{}\r\nx\r\n", "a".repeat(1000)).repeat(40) + "0\r\n\r\n"),
        ),
    ]
}

fn ends() -> Vec<Row> {
    vec![
        broken(
            "a bare LF behind a chunk size",
            "CVE-2025-22871 (Go), CVE-2021-41136 (Puma)",
            "5\nhello\r\n0\r\n\r\n",
        ),
        broken(
            "a bare CR behind a chunk size",
            "CVE-2025-22871 (Go); Funky chunks",
            "5\rhello\r\n0\r\n\r\n",
        ),
        broken(
            "CR CR LF behind a chunk size",
            FUNKY,
            "5\r\r\nhello\r\n0\r\n\r\n",
        ),
        broken(
            "a bare LF behind a chunk",
            "CVE-2025-43859 (h11), CVE-2025-47905 (Varnish)",
            "5\r\nhello\n0\r\n\r\n",
        ),
        broken(
            "a bare CR behind a chunk",
            "CVE-2025-43859 (h11)",
            "5\r\nhello\r0\r\n\r\n",
        ),
        broken(
            "two other bytes behind a chunk",
            "CVE-2025-43859 (h11); SPILL.TERM",
            "5\r\nhelloXX0\r\n\r\n",
        ),
        broken("a chunk without its end", FUNKY, "5\r\nhello0\r\n\r\n"),
        broken(
            "a chunk longer than its size",
            FUNKY,
            "5\r\nhello!\r\n0\r\n\r\n",
        ),
        broken(
            "a chunk shorter than its size",
            FUNKY,
            "6\r\nhello\r\n0\r\n\r\n",
        ),
        broken(
            "an empty line between chunks",
            "CVE-2025-47905 (Varnish)",
            "5\r\nhello\r\n\r\n0\r\n\r\n",
        ),
        broken(
            "a bare LF behind the last chunk",
            "CVE-2025-22871 (Go)",
            "5\r\nhello\r\n0\n\r\n",
        ),
        broken(
            "a bare LF at the end of the body",
            "CVE-2021-41136 (Puma)",
            "5\r\nhello\r\n0\r\n\n",
        ),
        broken("bare LFs only", "CVE-2025-22871 (Go)", "5\nhello\n0\n\n"),
        exchange(
            "chunks that stop, and the client with them",
            "RFC 9112 §8; CVE-2022-22720 (httpd)",
            chunked("5\r\nhel"),
            &["400"],
            &[],
        )
        .then(Step::Shut)
        .ends(Ends::Closed),
        exchange(
            "chunks without the last one",
            "RFC 9112 §8",
            chunked("5\r\nhello\r\n"),
            &["400"],
            &[],
        )
        .then(Step::Shut)
        .ends(Ends::Closed),
        exchange(
            "chunks without the blank line",
            "RFC 9112 §8",
            chunked("5\r\nhello\r\n0\r\n"),
            &["400"],
            &[],
        )
        .then(Step::Shut)
        .ends(Ends::Closed),
        exchange(
            "a length that the client does not keep",
            "RFC 9112 §8",
            post(
                "Content-Length: 50\r\n",
                SMUGGLED.get(..30).unwrap_or_default(),
            ),
            &["400"],
            &[],
        )
        .then(Step::Shut)
        .ends(Ends::Closed),
        exchange(
            "a pause within the body, then a request",
            "Kettle 2022, Browser-Powered Desync Attacks: pause-based",
            post("Content-Length: 200\r\n", ""),
            &["408"],
            &[],
        )
        .then(Step::Wait(Duration::from_millis(900)))
        .then(Step::Send(SMUGGLED.into()))
        .ends(Ends::Closed),
        exchange(
            "a pause within a chunk, then a request",
            "Kettle 2022, Browser-Powered Desync Attacks: pause-based",
            chunked("c8\r\n"),
            &["408"],
            &[],
        )
        .then(Step::Wait(Duration::from_millis(900)))
        .then(Step::Send(SMUGGLED.into()))
        .ends(Ends::Closed),
        exchange(
            "a body that comes in three parts, the last with the next request",
            "Kettle 2022, Browser-Powered Desync Attacks",
            post("Content-Length: 5\r\n", "h"),
            &["200 first", "200 following"],
            &["POST /first first hello", "GET /following following"],
        )
        .then_send("el")
        .then_send(format!("lo{FOLLOWING}")),
        exchange(
            "a CR and its LF that come apart",
            FUNKY,
            chunked("5\r\nhello\r"),
            &["200 first", "200 following"],
            &["POST /first first hello", "GET /following following"],
        )
        .then_send("\n0\r")
        .then_send(format!("\n\r\n{FOLLOWING}")),
    ]
}

fn trailers() -> Vec<Row> {
    let with = |lines: &str| format!("5\r\nhello\r\n0\r\n{lines}\r\n");
    let bad =
        |name, source, lines: &str| broken(name, source, &format!("{}{SMUGGLED}", with(lines)));
    vec![
        read_as(
            "POST /first first hello",
            "a trailer",
            "RFC 9112 §7.1.2",
            chunked(&with("X-Sum: 1\r\n")),
        ),
        read_as(
            "POST /first first hello",
            "a trailer that names another marker",
            "RFC 9110 §6.5.1: trailers are not merged",
            chunked(&with("X-Other: smuggled\r\n")),
        ),
        bad(
            "Content-Length in a trailer",
            "RFC 9110 §6.5.1; CVE-2025-53643 (aiohttp)",
            "Content-Length: 50\r\n",
        ),
        bad(
            "Transfer-Encoding in a trailer",
            "RFC 9110 §6.5.1; CVE-2024-35161 (Traffic Server)",
            "Transfer-Encoding: chunked\r\n",
        ),
        bad(
            "Host in a trailer",
            "RFC 9110 §6.5.1",
            "Host: other.test\r\n",
        ),
        bad("Trailer in a trailer", "RFC 9110 §6.5.1", "Trailer: x\r\n"),
        bad(
            "a trailer without a colon",
            "CVE-2023-45648 (Tomcat)",
            "nonsense\r\n",
        ),
        bad(
            "a request for a trailer",
            "CVE-2024-35161 (Traffic Server)",
            "GET /smuggled HTTP/1.1\r\nHost: h.test\r\n",
        ),
        bad(
            "a space before the colon of a trailer",
            "CVE-2023-45648 (Tomcat)",
            "X : 1\r\n",
        ),
        bad(
            "a folded trailer",
            "CVE-2023-45648 (Tomcat)",
            "X: 1\r\n 2\r\n",
        ),
        bad(
            "a trailer that begins with a space",
            "CVE-2023-45648 (Tomcat)",
            " X: 1\r\n",
        ),
        bad(
            "a bare LF in a trailer",
            "CVE-2023-40175 (Puma)",
            "X: 1\nY: 2\r\n",
        ),
        bad(
            "a bare CR in a trailer",
            "CVE-2023-45648 (Tomcat)",
            "X: 1\rY: 2\r\n",
        ),
        bad(
            "a NUL in a trailer",
            "CVE-2023-45648 (Tomcat)",
            "X: 1\0\r\n",
        ),
        bad(
            "an underscore for the hyphen of a length in a trailer",
            "RFC 3875 §4.1.18: to CGI both are one variable",
            "Content_Length: 50\r\n",
        ),
        bad(
            "trailers of 40 KiB",
            "CVE-2023-46589 (Tomcat)",
            &format!("X: {}\r\n", "v".repeat(40_000)),
        ),
        bad(
            "a thousand trailers",
            "CVE-2023-46589 (Tomcat)",
            &"X: 1\r\n".repeat(1000),
        ),
    ]
}
