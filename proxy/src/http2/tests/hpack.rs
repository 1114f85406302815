//! The examples of RFC 7541, appendix C, and what breaks its rules.

use super::super::hpack::{CompressionError, Decoder};

type Fields = Vec<(String, String)>;

fn decode(decoder: &mut Decoder, block: &[u8]) -> Result<Fields, CompressionError> {
    let mut fields = Vec::new();
    decoder.decode(block, |name, value| {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        fields.push((text(name), text(value)));
    })?;
    Ok(fields)
}

fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<u8> = hex
        .bytes()
        .filter(u8::is_ascii_hexdigit)
        .map(|digit| char::from(digit).to_digit(16).unwrap() as u8)
        .collect();
    digits
        .chunks(2)
        .map(|pair| pair[0] << 4 | pair[1])
        .collect()
}

/// A block, the fields it is to give, and the size of the table that it is to leave.
type Step<'a> = (&'a str, &'a [(&'a str, &'a str)], usize);

/// Decodes blocks one after the other.
fn check(table_max: Option<&str>, blocks: &[Step<'_>]) {
    let mut decoder = Decoder::new();
    if let Some(resize) = table_max {
        assert_eq!(decode(&mut decoder, &bytes(resize)), Ok(Vec::new()));
    }
    for (block, expected, size) in blocks {
        let fields = decode(&mut decoder, &bytes(block)).unwrap();
        let fields: Vec<(&str, &str)> = fields
            .iter()
            .map(|(name, value)| (&name[..], &value[..]))
            .collect();
        assert_eq!(&fields[..], *expected, "{block}");
        assert_eq!(decoder.table().bytes(), *size, "{block}");
    }
}

#[test]
fn literals_and_indexes_are_read() {
    // C.2.1 to C.2.4.
    let custom = "400a 6375 7374 6f6d 2d6b 6579 0d63 7573 746f 6d2d 6865 6164 6572";
    check(None, &[(custom, &[("custom-key", "custom-header")], 55)]);
    check(
        None,
        &[(
            "040c 2f73 616d 706c 652f 7061 7468",
            &[(":path", "/sample/path")],
            0,
        )],
    );
    check(
        None,
        &[(
            "1008 7061 7373 776f 7264 0673 6563 7265 74",
            &[("password", "secret")],
            0,
        )],
    );
    check(None, &[("82", &[(":method", "GET")], 0)]);
}

const REQUESTS: [&[(&str, &str)]; 3] = [
    &[
        (":method", "GET"),
        (":scheme", "http"),
        (":path", "/"),
        (":authority", "www.example.com"),
    ],
    &[
        (":method", "GET"),
        (":scheme", "http"),
        (":path", "/"),
        (":authority", "www.example.com"),
        ("cache-control", "no-cache"),
    ],
    &[
        (":method", "GET"),
        (":scheme", "https"),
        (":path", "/index.html"),
        (":authority", "www.example.com"),
        ("custom-key", "custom-value"),
    ],
];

#[test]
fn requests_without_huffman_codes_are_read() {
    // C.3.
    check(
        None,
        &[
            (
                "8286 8441 0f77 7777 2e65 7861 6d70 6c65 2e63 6f6d",
                REQUESTS[0],
                57,
            ),
            ("8286 84be 5808 6e6f 2d63 6163 6865", REQUESTS[1], 110),
            (
                "8287 85bf 400a 6375 7374 6f6d 2d6b 6579 0c63 7573 746f 6d2d 7661 6c75 65",
                REQUESTS[2],
                164,
            ),
        ],
    );
}

#[test]
fn requests_with_huffman_codes_are_read() {
    // C.4.
    check(
        None,
        &[
            (
                "8286 8441 8cf1 e3c2 e5f2 3a6b a0ab 90f4 ff",
                REQUESTS[0],
                57,
            ),
            ("8286 84be 5886 a8eb 1064 9cbf", REQUESTS[1], 110),
            (
                "8287 85bf 4088 25a8 49e9 5ba9 7d7f 8925 a849 e95b b8e8 b4bf",
                REQUESTS[2],
                164,
            ),
        ],
    );
}

const RESPONSES: [&[(&str, &str)]; 3] = [
    &[
        (":status", "302"),
        ("cache-control", "private"),
        ("date", "Mon, 21 Oct 2013 20:13:21 GMT"),
        ("location", "https://www.example.com"),
    ],
    &[
        (":status", "307"),
        ("cache-control", "private"),
        ("date", "Mon, 21 Oct 2013 20:13:21 GMT"),
        ("location", "https://www.example.com"),
    ],
    &[
        (":status", "200"),
        ("cache-control", "private"),
        ("date", "Mon, 21 Oct 2013 20:13:22 GMT"),
        ("location", "https://www.example.com"),
        ("content-encoding", "gzip"),
        (
            "set-cookie",
            "foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1",
        ),
    ],
];

/// A table of 256 bytes, as in the appendix.
const TABLE_OF_256: &str = "3fe101";

#[test]
fn entries_are_evicted_in_their_order() {
    // C.5.
    check(
        Some(TABLE_OF_256),
        &[
            (
                "4803 3330 3258 0770 7269 7661 7465 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 \
                 2032 303a 3133 3a32 3120 474d 546e 1768 7474 7073 3a2f 2f77 7777 2e65 7861 6d70 \
                 6c65 2e63 6f6d",
                RESPONSES[0],
                222,
            ),
            ("4803 3330 37c1 c0bf", RESPONSES[1], 222),
            (
                "88c1 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 2032 303a 3133 3a32 3220 474d \
                 54c0 5a04 677a 6970 7738 666f 6f3d 4153 444a 4b48 514b 425a 584f 5157 454f 5049 \
                 5541 5851 5745 4f49 553b 206d 6178 2d61 6765 3d33 3630 303b 2076 6572 7369 6f6e \
                 3d31",
                RESPONSES[2],
                215,
            ),
        ],
    );
    // C.6.
    check(
        Some(TABLE_OF_256),
        &[
            (
                "4882 6402 5885 aec3 771a 4b61 96d0 7abe 9410 54d4 44a8 2005 9504 0b81 66e0 82a6 \
                 2d1b ff6e 919d 29ad 1718 63c7 8f0b 97c8 e9ae 82ae 43d3",
                RESPONSES[0],
                222,
            ),
            ("4883 640e ffc1 c0bf", RESPONSES[1], 222),
            (
                "88c1 6196 d07a be94 1054 d444 a820 0595 040b 8166 e084 a62d 1bff c05a 839b d9ab \
                 77ad 94e7 821d d7f2 e6c7 b335 dfdf cd5b 3960 d5af 2708 7f36 72c1 ab27 0fb5 291f \
                 9587 3160 65c0 03ed 4ee5 b106 3d50 07",
                RESPONSES[2],
                215,
            ),
        ],
    );
}

#[test]
fn the_table_keeps_its_limit() {
    // An entry that is too large empties it, and is a field all the same.
    let large = [&[0x40, 1, b'a', 0x7f, 0xb0, 0x1f][..], &[b'v'; 4143]].concat();
    let mut decoder = Decoder::new();
    let small = bytes("4001 6101 62");
    assert_eq!(decode(&mut decoder, &small).unwrap().len(), 1);
    assert_eq!(decoder.table().bytes(), 34);
    assert_eq!(decode(&mut decoder, &large).unwrap()[0].1.len(), 4143);
    assert_eq!(decoder.table().bytes(), 0);
    for _ in 0..1000 {
        decode(&mut decoder, &small).unwrap();
        assert!(decoder.table().bytes() <= 4096);
    }
    assert_eq!(decode(&mut decoder, &[0x20]), Ok(Vec::new()));
    assert_eq!(decoder.table().bytes(), 0);
    assert!(decode(&mut decoder, &small).is_ok());
    assert_eq!(decoder.table().bytes(), 0);
}

#[test]
fn what_is_no_block_is_refused() {
    for (block, why) in [
        ("80", "index 0"),
        ("be", "an index beyond both tables"),
        ("7e 01 61", "a name beyond both tables"),
        ("ff", "an index without an end"),
        ("ff ff ff ff ff ff", "too large an index"),
        ("40", "no name"),
        ("40 01 61", "no value"),
        ("40 05 61", "a name that is cut off"),
        ("00 01 61 7f 80", "a length without an end"),
        ("00 01 61 02 62", "a value that is cut off"),
        ("00 01 61 81 ff", "padding of a whole byte"),
        ("00 01 61 81 18", "padding of zeros"),
        ("00 01 61 84 ff ff ff ff", "EOS"),
        ("3f e2 1f", "a table of 4097"),
        ("82 20", "a change of the table behind a field"),
    ] {
        let mut decoder = Decoder::new();
        assert_eq!(
            decode(&mut decoder, &bytes(block)),
            Err(CompressionError),
            "{why}"
        );
    }
    let mut decoder = Decoder::new();
    // The largest there may be, and two changes, as after two of a setting.
    assert_eq!(
        decode(&mut decoder, &bytes("20 3f e1 1f 82"))
            .unwrap()
            .len(),
        1
    );
}
