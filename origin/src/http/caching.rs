//! Lifetimes that are told to caches.

/// Directives that let a cache use a value for a time after it was sent.
const FRESHNESS: [&str; 2] = ["max-age", "s-maxage"];
/// Directives that let a cache use it for a time after it has become stale.
const STALENESS: [&str; 2] = ["stale-while-revalidate", "stale-if-error"];

/// A Cache-Control or CDN-Cache-Control value, cut so that nothing is used later than
/// `expires_in_seconds` from now: a lifetime ends with the value, and staleness fits in between.
pub(super) fn within_expiry(field: &str, expires_in_seconds: u64) -> String {
    let directives: Vec<(&str, Option<u64>)> = field
        .split(',')
        .map(str::trim)
        .filter(|directive| !directive.is_empty())
        .map(|directive| match directive.split_once('=') {
            Some((name, seconds)) => (name.trim(), seconds.trim().trim_matches('"').parse().ok()),
            None => (directive, None),
        })
        .collect();
    let is =
        |names: &[&str], name: &str| names.iter().any(|known| known.eq_ignore_ascii_case(name));
    let longest = directives
        .iter()
        .filter(|(name, _)| is(&FRESHNESS, name))
        .map(|(_, seconds)| seconds.unwrap_or(0).min(expires_in_seconds))
        .max();
    let mut limited = Vec::new();
    for (text, (name, seconds)) in field
        .split(',')
        .map(str::trim)
        .filter(|text| !text.is_empty())
        .zip(directives.iter().copied())
    {
        if is(&FRESHNESS, name) {
            limited.push(format!(
                "{name}={}",
                seconds.unwrap_or(0).min(expires_in_seconds)
            ));
        } else if is(&STALENESS, name) {
            let left = expires_in_seconds - longest.unwrap_or(expires_in_seconds);
            match seconds.unwrap_or(0).min(left) {
                0 => {}
                seconds => limited.push(format!("{name}={seconds}")),
            }
        } else {
            limited.push(text.to_owned());
        }
    }
    let never_stored = is_said(&directives, "no-store") || is_said(&directives, "no-cache");
    if longest.is_none() && !never_stored {
        // Without a lifetime a cache would guess one.
        limited.push(format!("max-age={expires_in_seconds}"));
    }
    // Many caches serve stale answers for a while by default, which would outlive the value.
    let ends_with_it = longest.is_none_or(|longest| longest == expires_in_seconds);
    let said = is_said(&directives, "must-revalidate");
    if ends_with_it && !never_stored && !said {
        limited.push("must-revalidate".to_owned());
    }
    limited.join(", ")
}

fn is_said(directives: &[(&str, Option<u64>)], name: &str) -> bool {
    directives
        .iter()
        .any(|(said, _)| said.eq_ignore_ascii_case(name))
}

#[cfg(test)]
mod tests {
    use super::within_expiry;

    #[track_caller]
    fn check(field: &str, expires_in_seconds: u64, expected: &str) {
        assert_eq!(
            within_expiry(field, expires_in_seconds),
            expected,
            "{field} in {expires_in_seconds}"
        );
    }

    #[test]
    fn lifetimes_end_with_the_value() {
        let default = "max-age=14400, stale-while-revalidate=300";
        check(default, 100_000, default);
        check(default, 14_700, default);
        check(default, 14_500, "max-age=14400, stale-while-revalidate=100");
        check(default, 14_400, "max-age=14400, must-revalidate");
        check(default, 60, "max-age=60, must-revalidate");
        check(default, 0, "max-age=0, must-revalidate");
        check(
            "max-age=9, must-revalidate",
            5,
            "max-age=5, must-revalidate",
        );
        check("no-cache", 60, "no-cache");
        check("no-store", 60, "no-store");
        check("public", 60, "public, max-age=60, must-revalidate");
        check("", 60, "max-age=60, must-revalidate");
        check(
            "public, S-MaxAge=100, max-age=10",
            60,
            "public, S-MaxAge=60, max-age=10, must-revalidate",
        );
        check("max-age=\"100\"", 60, "max-age=60, must-revalidate");
        check(
            "max-age=x, stale-if-error=100",
            60,
            "max-age=0, stale-if-error=60",
        );
        check(
            "private, stale-if-error=9",
            5,
            "private, max-age=5, must-revalidate",
        );
    }
}
