use super::*;

fn packed(lines: &[(&str, &str)]) -> ResponseDirectives {
    let mut head = ResponseHead::new(200);
    head.fields = lines.iter().copied().collect();
    let targeted = ["Lacquer-Cache-Control", "CDN-Cache-Control"].map(String::from);
    ResponseDirectives::of(&head, &targeted)
}

/// What the packed form gives back of all that was said.
fn of(lines: &[(&str, &str)]) -> Said {
    let packed = packed(lines);
    let scope = |scope: Scope<'_>| match scope {
        Scope::No => FieldScope::No,
        Scope::Fields(names) => FieldScope::Fields(names.to_vec()),
        Scope::All => FieldScope::All,
    };
    Said {
        source: packed.source(),
        max_age: packed.max_age(),
        s_maxage: packed.s_maxage(),
        no_store: packed.no_store(),
        no_cache: scope(packed.no_cache()),
        private: scope(packed.private()),
        public: packed.public(),
        must_revalidate: packed.must_revalidate(),
        proxy_revalidate: packed.proxy_revalidate(),
        permits_sharing: packed.permits_sharing(),
        must_understand: packed.must_understand(),
        no_transform: packed.no_transform(),
        immutable: packed.immutable(),
        stale_while_revalidate: packed.stale_while_revalidate(),
        stale_if_error: packed.stale_if_error(),
    }
}

#[test]
fn each_directive_is_told_from_all_others() {
    let all = [
        "no-store",
        "no-cache",
        "private",
        "public",
        "must-revalidate",
        "proxy-revalidate",
        "must-understand",
        "no-transform",
        "immutable",
        "max-age=0",
        "s-maxage=0",
        "stale-while-revalidate=0",
        "stale-if-error=0",
        "no-cache=x",
        "private=x",
    ];
    for (index, one) in all.iter().enumerate() {
        for other in &all[index + 1..] {
            let (one, other) = (&[("Cache-Control", *one)], &[("Cache-Control", *other)]);
            assert_ne!(of(one), of(other), "{one:?} {other:?}");
            assert_ne!(packed(one), packed(other), "{one:?} {other:?}");
        }
    }
    assert_eq!(size_of::<ResponseDirectives>(), 24);
}

fn cache_control() -> Said {
    Said {
        source: Source::CacheControl,
        ..Said::default()
    }
}

fn seconds(count: u64) -> Option<Duration> {
    Some(Duration::from_secs(count))
}

fn fields(names: &[&str]) -> FieldScope {
    FieldScope::Fields(names.iter().map(|name| Box::from(*name)).collect())
}

#[test]
fn every_directive_is_read_in_any_case() {
    assert_eq!(of(&[]), Said::default());
    assert_eq!(of(&[("Cache-Control", "")]), cache_control());
    assert_eq!(
        of(&[
            (
                "Cache-Control",
                "Max-Age=1, S-MAXAGE=\"2\", no-store, no-cache, private, public"
            ),
            (
                "cache-control",
                "must-revalidate,proxy-revalidate, must-understand, no-transform, immutable, "
            ),
            (
                "Cache-Control",
                "stale-while-revalidate=3, stale-if-error=4, x=\"no-store\""
            ),
        ]),
        Said {
            source: Source::CacheControl,
            max_age: seconds(1),
            s_maxage: seconds(2),
            no_store: true,
            no_cache: FieldScope::All,
            private: FieldScope::All,
            public: true,
            must_revalidate: true,
            proxy_revalidate: true,
            permits_sharing: true,
            must_understand: true,
            no_transform: true,
            immutable: true,
            stale_while_revalidate: seconds(3),
            stale_if_error: seconds(4),
        }
    );
}

#[test]
fn directives_inside_quoted_strings_are_not_directives() {
    assert_eq!(
        of(&[(
            "Cache-Control",
            r#"x="no-store, max-age=5\", private", max-age=7"#
        )]),
        Said {
            max_age: seconds(7),
            ..cache_control()
        }
    );
}

#[test]
fn max_age_that_is_malformed_or_contradicts_itself_is_zero() {
    fn check(value: &str, expected: Option<u64>) {
        let directives = of(&[("Cache-Control", value)]);
        assert_eq!(
            directives.max_age,
            expected.map(Duration::from_secs),
            "{value}"
        );
    }
    check("max-age=10", Some(10));
    check("max-age=\"10\"", Some(10));
    check("max-age=0010", Some(10));
    check("max-age=99999999999", Some(1 << 31));
    check("max-age=10, max-age=10", Some(10));
    for stale in [
        "max-age",
        "max-age=",
        "max-age=-1",
        "max-age=1.5",
        "max-age=a",
        "max-age=10a",
        "max-age = 10",
        "max-age= 10",
        "max-age =10",
        "max-age='10'",
        "max-age=\"10",
        "max-age=\"1\\0\"",
        "max-age=10 20",
        "max-age=10, max-age=20",
        "max-age=20, max-age=10",
        "max-age=10, max-age=x",
    ] {
        check(stale, Some(0));
    }
    for other in [
        "maxage=10",
        "x-max-age=10",
        "max-age-x=10",
        "max-age;x=10",
        "x=max-age",
    ] {
        check(other, None);
    }
}

#[test]
fn after_a_quote_without_end_only_restrictions_count() {
    assert_eq!(
        of(&[(
            "Cache-Control",
            "max-age=5, x=\"y, no-store, public, s-maxage=9, private=z"
        )]),
        Said {
            max_age: seconds(5),
            s_maxage: seconds(0),
            no_store: true,
            private: FieldScope::All,
            ..cache_control()
        }
    );
}

#[test]
fn field_scopes_hold_names_or_everything() {
    fn check(value: &str, expected: FieldScope) {
        assert_eq!(
            of(&[("Cache-Control", value)]).no_cache,
            expected,
            "{value}"
        );
        let value = value.replace("no-cache", "private");
        assert_eq!(
            of(&[("Cache-Control", &value)]).private,
            expected,
            "{value}"
        );
    }
    check("x", FieldScope::No);
    check("no-cache", FieldScope::All);
    check("no-cache=Set-Cookie", fields(&["set-cookie"]));
    check(
        "no-cache=\"Set-Cookie, X,,x\"",
        fields(&["set-cookie", "x"]),
    );
    check("no-cache=\"a\", no-cache=\"b\"", fields(&["a", "b"]));
    check("no-cache=\"a\", no-cache", FieldScope::All);
    check("no-cache, no-cache=\"a\"", FieldScope::All);
    check("no-cache=\"\"", FieldScope::All);
    check("no-cache=\"a\", no-cache=\"\"", FieldScope::All);
    check("no-cache=", FieldScope::All);
    check("no-cache=\"a b\"", FieldScope::All);
    check("no-cache=\"a", FieldScope::All);
    check("no-cache=\"a\"x", FieldScope::All);
    check("no-cache=\"\u{e9}\"", FieldScope::All);
}

#[test]
fn first_sound_targeted_field_replaces_the_others() {
    fn check(lines: &[(&str, &str)], source: Source, max_age: Option<u64>) {
        let directives = packed(lines);
        assert_eq!(directives.source(), source, "{lines:?}");
        assert_eq!(
            directives.max_age(),
            max_age.map(Duration::from_secs),
            "{lines:?}"
        );
        assert_eq!(
            directives.heeds_expires(),
            !matches!(source, Source::Targeted(_))
        );
    }
    let cache_control = ("Cache-Control", "max-age=1");
    check(&[cache_control], Source::CacheControl, Some(1));
    check(
        &[cache_control, ("CDN-Cache-Control", "max-age=2")],
        Source::Targeted(1),
        Some(2),
    );
    check(
        &[
            ("CDN-Cache-Control", "max-age=2"),
            ("Lacquer-Cache-Control", "max-age=3"),
        ],
        Source::Targeted(0),
        Some(3),
    );
    check(
        &[cache_control, ("CDN-Cache-Control", "public")],
        Source::Targeted(1),
        None,
    );
    check(
        &[
            ("CDN-Cache-Control", "max-age=2"),
            ("cdn-cache-control", "public"),
        ],
        Source::Targeted(1),
        Some(2),
    );
    check(
        &[
            cache_control,
            ("CDN-Cache-Control", "x=1;y, max-age=2;z=\"w\""),
        ],
        Source::Targeted(1),
        Some(2),
    );
    check(
        &[cache_control, ("CDN-Cache-Control", "max-age=9, max-age=2")],
        Source::Targeted(1),
        Some(2),
    );
    // What is no dictionary, or an empty one, is as if it were absent.
    for ignored in [
        "",
        "max-age=2,",
        "Max-Age=2",
        "max-age = 2",
        "max-age=2; no-store,",
        "max-age=\u{e9}",
        "&",
    ] {
        check(
            &[cache_control, ("CDN-Cache-Control", ignored)],
            Source::CacheControl,
            Some(1),
        );
        check(
            &[
                ("Lacquer-Cache-Control", ignored),
                ("CDN-Cache-Control", "max-age=2"),
            ],
            Source::Targeted(1),
            Some(2),
        );
    }
    // A value of another type than seconds is malformed.
    for stale in [
        "max-age=2.0",
        "max-age=-2",
        "max-age=\"2\"",
        "max-age",
        "max-age=(2)",
        "max-age=a",
        "max-age=:aGk=:",
    ] {
        check(
            &[cache_control, ("CDN-Cache-Control", stale)],
            Source::Targeted(1),
            Some(0),
        );
    }
    check(
        &[cache_control, ("CDN-Cache-Control", "max-age=?0")],
        Source::Targeted(1),
        None,
    );
}

#[test]
fn targeted_field_scopes_are_strings() {
    fn check(value: &str, expected: FieldScope) {
        assert_eq!(
            of(&[("CDN-Cache-Control", value)]).private,
            expected,
            "{value}"
        );
    }
    check("private=\"Set-Cookie, x\"", fields(&["set-cookie", "x"]));
    check("private=x", fields(&["x"]));
    check("private", FieldScope::All);
    check("private=?0", FieldScope::No);
    check("private=1", FieldScope::All);
    check("private=(x)", FieldScope::All);
}

#[test]
fn stale_reuse_is_forbidden_by_any_of_four() {
    fn check(value: &str, expected: bool) {
        assert_eq!(
            packed(&[("Cache-Control", value)]).forbids_stale(),
            expected,
            "{value}"
        );
    }
    check(
        "max-age=1, stale-while-revalidate=5, no-cache=x, private",
        false,
    );
    for forbidding in [
        "must-revalidate",
        "proxy-revalidate",
        "s-maxage=1",
        "no-cache",
    ] {
        check(forbidding, true);
    }
}
