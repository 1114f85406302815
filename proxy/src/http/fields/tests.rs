use super::*;

fn sample() -> Fields {
    [
        ("Host", "a"),
        ("Accept", "x"),
        ("accept", "y, ,z"),
        ("Via", "1.1 p"),
    ]
    .into_iter()
    .collect()
}

#[test]
fn what_is_asked_of_every_hit_is_answered_without_a_search() {
    fn check(present: &str, asked: &str) {
        let fields = present.split(' ').map(|name| (name, ""));
        let fields: Fields = fields.collect();
        for name in asked.split(' ') {
            assert!(!fields.names.may_hold(name), "{name} in {present}");
        }
    }
    check(
        "date content-type content-length cache-control etag last-modified server vary expires accept-ranges \
         content-encoding",
        "connection keep-alive proxy-connection transfer-encoding age x-cache x-varnish content-range trailer",
    );
    check(
        "host user-agent accept accept-encoding accept-language connection cookie referer dnt priority \
         upgrade-insecure-requests sec-fetch-site sec-fetch-mode sec-fetch-user sec-fetch-dest sec-ch-ua \
         sec-ch-ua-mobile sec-ch-ua-platform x-forwarded-for",
        "cache-control pragma range if-none-match if-modified-since if-match if-unmodified-since if-range \
         x-if-match authorization transfer-encoding expect upgrade content-length te",
    );
}

#[test]
fn names_compare_without_case_and_lines_stay_apart() {
    let fields = sample();
    assert_eq!(fields.get("HOST"), Some(&b"a"[..]));
    assert_eq!(
        fields.get_all("accept").collect::<Vec<_>>(),
        [&b"x"[..], b"y, ,z"]
    );
    assert_eq!(
        fields.list("Accept").collect::<Vec<_>>(),
        [&b"x"[..], b"y", b"z"]
    );
    assert_eq!(
        fields.get_joined("accept").as_deref(),
        Some(&b"x, y, ,z"[..])
    );
}

#[test]
fn set_and_remove_affect_every_line() {
    let mut fields = sample();
    fields.set("ACCEPT", "q");
    assert_eq!(fields.get_all("accept").collect::<Vec<_>>(), [&b"q"[..]]);
    assert!(fields.remove("accept"));
    assert!(!fields.remove("accept"));
    assert_eq!(fields.len(), 2);
    assert_eq!(fields.compact(), fields);
}

#[test]
fn fields_that_could_split_a_message_are_refused() {
    let mut fields = Fields::new();
    for (name, value) in [
        (&b""[..], &b"v"[..]),
        (b"a b", b"v"),
        (b"a:", b"v"),
        (b"\xff", b"v"),
        (b"a", b"v\r\nb: c"),
        (b"a", b"v\0"),
        (b"a", b"\x7f"),
    ] {
        assert!(
            fields.try_append(name, value).is_err(),
            "{name:?} {value:?}"
        );
    }
    assert!(fields.is_empty());
    assert!(fields.try_append(b"a", b"caf\xe9\t!").is_ok());
}

#[test]
fn lines_are_kept_as_they_are_sent_whatever_white_space_they_came_with() {
    fn check(lines: &str, expected: &str) {
        let mut fields = sample();
        let count = lines.lines().count();
        let with_end = format!("{lines}\r\nnot: looked at");
        let read = fields.read_lines(with_end.as_bytes(), count);
        assert_eq!(read.expect("these are fields"), lines.len());
        assert_eq!(fields.lines(), expected.as_bytes());
        assert_eq!(fields.len(), count);
        let last = fields.get("last").map(String::from_utf8_lossy);
        assert_eq!(last.as_deref(), Some("v"), "{lines:?}");
    }
    check("last: v\r\n", "last: v\r\n");
    check("a: b\r\nLast: v\r\n", "a: b\r\nLast: v\r\n");
    check("last:v\r\n", "last: v\r\n");
    check("last:  v\r\n", "last: v\r\n");
    check("last:\tv\r\n", "last: v\r\n");
    check("last: v \r\n", "last: v\r\n");
    check("last:v \r\n", "last: v\r\n");
    check("a:\r\nb: \r\nlast: v\r\n", "a: \r\nb: \r\nlast: v\r\n");
    check("a: b\r\nc:d\r\nlast: v\r\n", "a: b\r\nc: d\r\nlast: v\r\n");
}

#[test]
fn more_lines_than_were_announced_are_refused() {
    let mut fields = Fields::new();
    let mut check = |count: usize, fields_max: usize, is_taken: bool| {
        let lines = "a: b\r\n".repeat(count) + "\r\n";
        let read = fields.read_lines(lines.as_bytes(), fields_max);
        assert_eq!(read.is_ok(), is_taken, "{count} of {fields_max}");
    };
    check(5, 2, false);
    check(5, 5, true);
    check(FIELDS_MAX, usize::MAX, true);
    check(FIELDS_MAX + 1, usize::MAX, false);
}

#[test]
fn no_more_fields_are_taken_than_can_be_counted() {
    let mut fields = Fields::new();
    for _ in 0..FIELDS_MAX {
        fields.try_append(b"a", b"b").expect("there is room");
    }
    assert_eq!(fields.try_append(b"a", b"b"), Err(InvalidField::TooMany));
    let mut twice = fields.clone();
    twice.extend_from(&fields);
    assert_eq!(twice, fields);
    // Our own come on top.
    fields.append("Own", "1");
    assert_eq!(fields.get("own"), Some(&b"1"[..]));
    assert_eq!(fields.get_all("a").count(), FIELDS_MAX);
}

#[test]
fn objects_keep_one_block_without_spare_room() {
    assert_eq!(size_of::<Fields>(), 32);
    let mut fields = sample();
    assert!(fields.remove("accept"));
    for compact in [fields.compact(), fields.clone().into_compact()] {
        assert_eq!(compact.heap_bytes(), compact.lines().len() + 3 * 2);
        assert_eq!(compact, fields);
        let block = compact.lines().as_ptr();
        assert_eq!(compact.into_compact().lines().as_ptr(), block);
    }
}

/// The same operations on a list and on a plain one: short and long names, few bytes and more than an index counts.
#[test]
fn any_row_of_changes_leaves_what_a_plain_list_would_have() {
    use rand::rngs::SmallRng;
    use rand::{Rng, SeedableRng};

    const ROWS: u64 = 100;
    for seed in 0..ROWS {
        let mut random = SmallRng::seed_from_u64(seed);
        let value_bytes_max = [4, 60, 300, 20_000][random.random_range(0..4)];
        let mut names: Vec<String> = ["A", "bb", "Cc", "x-Long", "etag"].map(String::from).into();
        names.extend([254, 255, 256, 300].map(|length| "n".repeat(length)));
        let mut fields = Fields::new();
        let mut model: Vec<(String, Vec<u8>)> = Vec::new();
        for _ in 0..60 {
            let name = names[random.random_range(0..names.len())].clone();
            let length = random.random_range(0..value_bytes_max);
            let value = vec![b'a' + random.random_range(0..26); length];
            match random.random_range(0..12) {
                0..=6 => {
                    fields.append(&name, &value);
                    model.push((name.clone(), value));
                }
                7 => {
                    let before = model.len();
                    model.retain(|(other, _)| !other.eq_ignore_ascii_case(&name));
                    assert_eq!(fields.remove(&name), model.len() != before);
                }
                8 => {
                    fields.set(&name, &value);
                    model.retain(|(other, _)| !other.eq_ignore_ascii_case(&name));
                    model.push((name.clone(), value));
                }
                9 => {
                    fields.retain(|field| field.value.len() % 3 != 0);
                    model.retain(|(_, value)| value.len() % 3 != 0);
                }
                10 => fields = [fields.compact(), fields.clone_with_room()][length % 2].clone(),
                _ => {
                    let read = [fields.lines(), b"\r\n"].concat();
                    if random.random_bool(0.2) {
                        fields.clear();
                        assert!(fields.is_empty() && fields.get(&name).is_none());
                    }
                    fields.read_lines(&read, model.len()).expect("as written");
                }
            }
            let lines = model.iter();
            let lines =
                lines.map(|(name, value)| [name.as_bytes(), b": ", value, b"\r\n"].concat());
            assert!(
                fields.lines() == lines.collect::<Vec<_>>().concat(),
                "seed {seed}"
            );
            let listed = fields.iter_bytes();
            assert!(
                listed.eq(model
                    .iter()
                    .map(|(name, value)| (name.as_bytes(), &**value)))
            );
            let lower = name.to_ascii_lowercase();
            let of_name = model
                .iter()
                .filter(|(other, _)| other.eq_ignore_ascii_case(&name));
            let of_name: Vec<_> = of_name.map(|(_, value)| &**value).collect();
            assert_eq!(fields.get_all(&lower).collect::<Vec<_>>(), of_name);
            assert_eq!(fields.get(&lower), of_name.first().copied());
        }
    }
}
