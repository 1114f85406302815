//! Choosing a representation by Accept (RFC 9110 §12.5.1).

use axum::http::{HeaderMap, header};

/// The first of `offers` (each `type/subtype`) among those the client likes best; `None`: it takes none.
pub(super) fn choose<'a>(fields: &HeaderMap, offers: &[&'a str]) -> Option<&'a str> {
    let ranges = parse(fields);
    if ranges.is_empty() {
        return offers.first().copied();
    }
    let mut best: Option<(&str, u16)> = None;
    for offer in offers {
        let quality = quality(&ranges, offer);
        if quality > best.map_or(0, |(_, best)| best) {
            best = Some((offer, quality));
        }
    }
    best.map(|(offer, _)| offer)
}

/// Whether an error should be plain text rather than JSON.
pub(super) fn prefers_text(fields: &HeaderMap) -> bool {
    let ranges = parse(fields);
    let best = |offers: &[&str]| {
        offers
            .iter()
            .map(|offer| quality(&ranges, offer))
            .max()
            .unwrap_or(0)
    };
    best(&["text/plain", "text/html"]) > best(&["application/problem+json", "application/json"])
}

/// A media range and its quality in thousandths.
struct MediaRange {
    range: String,
    quality: u16,
}

fn parse(fields: &HeaderMap) -> Vec<MediaRange> {
    let lines = fields
        .get_all(header::ACCEPT)
        .iter()
        .filter_map(|line| line.to_str().ok());
    let members = lines.flat_map(|line| line.split(','));
    members
        .filter_map(|member| {
            let mut parts = member.split(';').map(str::trim);
            let range = parts
                .next()
                .filter(|range| range.contains('/'))?
                .to_ascii_lowercase();
            let quality = parts
                .find_map(|parameter| {
                    parameter
                        .strip_prefix("q=")
                        .or_else(|| parameter.strip_prefix("Q="))
                })
                .map_or(1000, parse_quality);
            Some(MediaRange { range, quality })
        })
        .collect()
}

/// RFC 9110 §12.4.2; what is malformed counts as 0, which is the safe side.
fn parse_quality(text: &str) -> u16 {
    match text.parse::<f32>() {
        Ok(value) if (0.0..=1.0).contains(&value) => (value * 1000.0) as u16,
        _ => 0,
    }
}

/// The most specific range decides.
fn quality(ranges: &[MediaRange], offer: &str) -> u16 {
    let (kind, _) = offer.split_once('/').unwrap_or((offer, ""));
    let specificity = |range: &str| match range {
        range if range == offer => Some(2),
        "*/*" => Some(0),
        range => range.strip_suffix("/*").filter(|of| *of == kind).map(|_| 1),
    };
    ranges
        .iter()
        .filter_map(|range| {
            specificity(&range.range).map(|specificity| (specificity, range.quality))
        })
        .max()
        .map_or(0, |(_, quality)| quality)
}

#[cfg(test)]
mod tests {
    use super::*;

    const OFFERS: &[&str] = &["application/json", "text/plain", "application/x-ndjson"];

    fn fields(accept: &str) -> HeaderMap {
        let mut fields = HeaderMap::new();
        if !accept.is_empty() {
            fields.insert(header::ACCEPT, accept.parse().unwrap());
        }
        fields
    }

    #[track_caller]
    fn check(accept: &str, expected: Option<&str>) {
        assert_eq!(choose(&fields(accept), OFFERS), expected, "{accept}");
    }

    #[test]
    fn the_client_chooses() {
        check("", Some("application/json"));
        check("*/*", Some("application/json"));
        check("text/plain", Some("text/plain"));
        check("text/*", Some("text/plain"));
        check("TEXT/PLAIN", Some("text/plain"));
        check("application/x-ndjson", Some("application/x-ndjson"));
        check(
            "text/html, text/plain;q=0.5, application/json;q=0.4",
            Some("text/plain"),
        );
        check("*/*;q=0.1, application/json;q=0", Some("text/plain"));
        check("image/png", None);
        check("application/json;q=0", None);
        check("application/json;q=x", None);
    }

    #[test]
    fn errors_are_json_unless_text_is_preferred() {
        for (accept, expected) in [
            ("", false),
            ("*/*", false),
            ("application/json", false),
            ("text/plain", true),
            ("text/*", true),
            ("text/html,application/xhtml+xml,*/*;q=0.8", true),
            ("application/json, text/plain", false),
            ("text/plain;q=0.5, application/problem+json", false),
        ] {
            assert_eq!(prefers_text(&fields(accept)), expected, "{accept}");
        }
    }
}
