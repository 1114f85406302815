//! A Vary key does not depend on the case of names, on white space around values, or on fields that are not named;
//! and absent is never the same as present. Lines are fields of the request; those of Vary count as the answer's.
#![no_main]

use fuzz::fields;
use fuzz::http::Fields;
use fuzz::rules::vary::Vary;
use libfuzzer_sys::fuzz_target;

fn with_case_turned(text: &str) -> String {
    text.chars()
        .map(|letter| match letter.is_ascii_lowercase() {
            true => letter.to_ascii_uppercase(),
            false => letter.to_ascii_lowercase(),
        })
        .collect()
}

fuzz_target!(|text: &[u8]| {
    let request = fields(text);
    let vary = Vary::of(&request);
    let star = request.list("vary").any(|member| member == b"*");
    assert!(!star || vary == Vary::Star);

    let mut turned = Fields::new();
    for field in request.iter() {
        let name = with_case_turned(field.name);
        match field.name.eq_ignore_ascii_case("vary") {
            true => turned.append(
                &name,
                with_case_turned(&String::from_utf8_lossy(field.value)),
            ),
            false => turned.append(&name, field.value),
        }
        turned.append("X-Not-Named-Anywhere", field.value);
    }
    // A value that is not UTF-8 names no field, and stays that way.
    assert_eq!(Vary::of(&turned), vary);

    let Vary::Fields(spec) = vary else {
        return;
    };
    let key = spec.key_of(&request);
    let names: Vec<&str> = spec.names().collect();
    assert!(!names.is_empty() && names.is_sorted());
    if names
        .iter()
        .all(|name| !["vary", "x-not-named-anywhere"].contains(name))
    {
        assert_eq!(spec.key_of(&turned), key);
    }
    let values: usize = request.iter().map(|field| field.value.len() + 1).sum();
    assert!(key.as_bytes().len() <= 8 * names.len() + 4 * values + 8);
    for name in names {
        let mut without = request.clone();
        if without.remove(name) {
            assert_ne!(spec.key_of(&without), key, "{name}");
        } else {
            without.append(name, "");
            assert_ne!(spec.key_of(&without), key, "{name}");
        }
    }
});
