use std::time::Duration;

use bytes::Bytes;

use super::*;
use crate::http::ResponseHead;
use crate::object::{Body, Kind, StoredPart, Times};
use crate::policy::Source;
use crate::rules::cache_control::ResponseDirectives;
use crate::rules::vary::{Variant, Vary};

const NOW: Timestamp = Timestamp::from_secs(1_000_000);
const SMALL: StoreSettings = StoreSettings {
    memory_bytes: 1 << 20,
    variants_max: 3,
};

fn store(settings: StoreSettings) -> Arc<Store> {
    Arc::new(Store::new(settings, Arc::new(Metrics::new())))
}

fn fields(pairs: &[(&str, &str)]) -> Fields {
    pairs.iter().copied().collect()
}

/// An answer of one second that varied on `vary` as `request` had it.
fn answer(body: &'static [u8], vary: &str, request: &Fields, born: Timestamp) -> Arc<Object> {
    let mut head = ResponseHead::new(200);
    if !vary.is_empty() {
        head.fields.append("Vary", vary);
    }
    let times = Times {
        ttl: Duration::from_secs(1),
        ..Times::unusable(born)
    };
    let variant = match Vary::of(&head.fields) {
        Vary::Fields(spec) => Some(Variant::new(spec, request)),
        _ => None,
    };
    let body = Body::whole(Bytes::from_static(body));
    let directives = ResponseDirectives::default();
    let mut object = Object::new(head, body, Kind::Response, directives, times, 1);
    object.set_variant(variant);
    Arc::new(object)
}

fn plain(body: &'static [u8]) -> Arc<Object> {
    answer(body, "", &Fields::new(), NOW)
}

fn insert(store: &Arc<Store>, key: &[u8], object: &Arc<Object>) -> Stored {
    let fence = store.fence(key);
    store.insert(&Key::from(key), Arc::clone(object), fence, NOW)
}

fn found(store: &Store, key: &[u8], request: &Fields) -> Option<Bytes> {
    let object = store.get(key, request)?;
    Some(object.body.pieces().expect("whole")[0].clone())
}

#[test]
fn variants_are_kept_side_by_side_and_the_oldest_leaves_first() {
    let store = store(SMALL);
    let languages = ["de", "en", "fr", "it"];
    for (age, language) in languages.into_iter().enumerate() {
        let request = fields(&[("Accept-Language", language)]);
        let born = NOW + Duration::from_millis(age as u64);
        let body: &'static [u8] = language.as_bytes();
        insert(
            &store,
            b"k",
            &answer(body, "Accept-Language", &request, born),
        );
    }
    let check = |language: &str, expected: Option<&'static str>| {
        let request = fields(&[("Accept-Language", language)]);
        assert_eq!(
            found(&store, b"k", &request).as_deref(),
            expected.map(str::as_bytes)
        );
    };
    check("de", None);
    check("en", Some("en"));
    check("it", Some("it"));
    check("es", None);
    assert_eq!(store.objects(), 3);
    assert_eq!(store.metrics.get(Counter::ObjectsEvicted), 1);
}

#[test]
fn newest_of_two_matching_answers_is_found() {
    let store = store(SMALL);
    let request = fields(&[("Accept", "a")]);
    insert(&store, b"k", &answer(b"old", "", &request, NOW));
    insert(
        &store,
        b"k",
        &answer(b"new", "Accept", &request, NOW + Duration::from_millis(1)),
    );
    assert_eq!(found(&store, b"k", &request).as_deref(), Some(&b"new"[..]));
    assert_eq!(
        found(&store, b"k", &Fields::new()).as_deref(),
        Some(&b"old"[..])
    );
}

#[test]
fn fill_that_began_before_an_invalidation_is_not_stored() {
    let store = store(SMALL);
    let key = Key::from(&b"k"[..]);
    let before = store.fence(&key);
    insert(&store, b"k", &plain(b"old"));
    assert_eq!(store.invalidate(&key, Removal::Hard), 1);
    assert!(store.get(&key, &Fields::new()).is_none());
    assert_eq!(
        store.insert(&key, plain(b"stale"), before, NOW),
        Stored::Fenced
    );
    assert!(store.get(&key, &Fields::new()).is_none());
    let after = store.fence(&key);
    assert_eq!(store.insert(&key, plain(b"new"), after, NOW), Stored::Yes);
    assert_eq!(
        found(&store, b"k", &Fields::new()).as_deref(),
        Some(&b"new"[..])
    );
}

#[test]
fn soft_purge_ends_freshness_and_leaves_the_object() {
    let store = store(SMALL);
    let object = plain(b"x");
    insert(&store, b"k", &object);
    let later = NOW + Duration::from_millis(200);
    assert!(object.is_fresh(later));
    assert_eq!(store.invalidate(b"k", Removal::Soft(later)), 1);
    assert!(!object.is_fresh(later));
    assert!(store.get(b"k", &Fields::new()).is_some());
}

#[tokio::test]
async fn one_leads_and_the_others_follow_until_it_lands() {
    let store = store(SMALL);
    let none = Fields::new();
    let Boarding::Lead(lead, _) = store.board(b"k", &none, None, None) else {
        panic!("nobody flies yet")
    };
    let Boarding::Follow(mut seat) = store.board(b"k", &none, None, None) else {
        panic!("one flies already")
    };
    let object = plain(b"x");
    let stored = store.insert(lead.key(), Arc::clone(&object), lead.fence(), NOW);
    assert_eq!(stored, Stored::Yes);
    assert!(matches!(
        store.board(b"k", &none, None, None),
        Boarding::Changed
    ));
    lead.land(Landing::Shared(Arc::clone(&object), Source::Miss));
    assert!(
        matches!(seat.landing().await, Landing::Shared(landed, _) if Arc::ptr_eq(&landed, &object))
    );
    // Whoever has seen the object and cannot use it begins a new flight.
    assert!(matches!(
        store.board(b"k", &none, Some(&object), None),
        Boarding::Lead(..)
    ));
}

#[tokio::test]
async fn invalidation_lets_nobody_join_a_flight_that_began_before_it() {
    let store = store(SMALL);
    let none = Fields::new();
    let Boarding::Lead(old, _) = store.board(b"k", &none, None, None) else {
        panic!("nobody flies yet")
    };
    store.invalidate(b"k", Removal::Hard);
    let Boarding::Lead(new, _) = store.board(b"k", &none, None, None) else {
        panic!("the old flight may not be joined")
    };
    old.land(Landing::Unshared);
    // The old flight's landing leaves the new one in the table.
    assert!(matches!(
        store.board(b"k", &none, None, None),
        Boarding::Follow(_)
    ));
    drop(new);
    assert!(matches!(
        store.board(b"k", &none, None, None),
        Boarding::Lead(..)
    ));
}

#[tokio::test]
async fn dropped_lead_frees_its_followers() {
    let store = store(SMALL);
    let none = Fields::new();
    let Boarding::Lead(lead, _) = store.board(b"k", &none, None, None) else {
        panic!("nobody flies yet")
    };
    let Boarding::Follow(mut seat) = store.board(b"k", &none, None, None) else {
        panic!("one flies already")
    };
    drop(lead);
    assert!(matches!(seat.landing().await, Landing::Unshared));
}

#[test]
fn known_variants_fly_apart() {
    let store = store(SMALL);
    let (de, en) = (
        fields(&[("Accept-Language", "de")]),
        fields(&[("Accept-Language", "en")]),
    );
    let fr = fields(&[("Accept-Language", "fr")]);
    insert(&store, b"k", &answer(b"fr", "Accept-Language", &fr, NOW));
    let first = store.board(b"k", &de, None, None);
    let second = store.board(b"k", &en, None, None);
    assert!(matches!(first, Boarding::Lead(..)) && matches!(second, Boarding::Lead(..)));
    assert!(matches!(
        store.board(b"k", &de, None, None),
        Boarding::Follow(_)
    ));
}

#[test]
fn weight_stays_within_the_bound_and_evictions_are_counted() {
    let store = store(SMALL);
    let body: &'static [u8] = &[b'x'; 1000];
    for number in 0..4000_u32 {
        insert(&store, &number.to_le_bytes(), &plain(body));
    }
    store.run_pending_tasks();
    assert!(
        store.weight_bytes() <= SMALL.memory_bytes,
        "{}",
        store.weight_bytes()
    );
    let evicted = store.metrics.get(Counter::ObjectsEvicted);
    assert!(evicted > 2000, "{evicted}");
    assert_eq!(store.objects() + evicted, 4000);
}

#[test]
fn random_operations_agree_with_a_plain_map() {
    use std::collections::HashMap;

    let store = store(StoreSettings {
        memory_bytes: 1 << 30,
        variants_max: 1000,
    });
    let mut model: HashMap<(u8, u8), &'static [u8]> = HashMap::new();
    const BODIES: [&[u8]; 4] = [b"a", b"b", b"c", b"d"];
    for step in 0..20_000_u64 {
        let (key, language): (u8, u8) = (rand::random_range(0..8), rand::random_range(0..6));
        let request = fields(&[("Accept-Language", &language.to_string())]);
        match rand::random_range(0..10) {
            0 => {
                store.invalidate(&[key], Removal::Hard);
                model.retain(|(other, _), _| *other != key);
            }
            1 => {
                if let Some(object) = store.get(&[key], &request) {
                    assert!(store.remove(&[key], &object));
                    assert!(model.remove(&(key, language)).is_some());
                }
            }
            2..5 => {
                let body = BODIES[rand::random_range(0..BODIES.len())];
                let born = NOW + Duration::from_nanos(step);
                insert(
                    &store,
                    &[key],
                    &answer(body, "Accept-Language", &request, born),
                );
                model.insert((key, language), body);
            }
            _ => {
                let expected = model.get(&(key, language)).copied();
                assert_eq!(found(&store, &[key], &request).as_deref(), expected);
            }
        }
    }
    assert_eq!(store.objects(), model.len() as u64);
}

#[test]
fn objects_are_counted_right_while_changes_and_evictions_overlap() {
    // Room for a few keys only, so that moka evicts all the time.
    let store = store(StoreSettings {
        memory_bytes: 16 * 1024,
        variants_max: 4,
    });
    let count = |store: &Store| {
        let mut objects = 0;
        store.for_each(|_, _| objects += 1);
        objects
    };
    std::thread::scope(|threads| {
        for thread in 0..8u64 {
            let store = &store;
            threads.spawn(move || {
                for turn in 0..4_000u64 {
                    let number = (thread * 31 + turn * 17) % 40;
                    let key = Key::from(format!("key {number}").as_bytes());
                    let request = fields(&[("Accept", ["a", "b", "c"][turn as usize % 3])]);
                    let object = answer(b"body", "Accept", &request, NOW);
                    let fence = store.fence(&key);
                    store.insert(&key, Arc::clone(&object), fence, NOW);
                    match turn % 5 {
                        0 => store.reweigh(&key, &object),
                        1 => drop(store.remove(&key, &object)),
                        2 => drop(store.invalidate(&key, Removal::Hard)),
                        _ => {}
                    }
                }
            });
        }
    });
    store.run_pending_tasks();
    assert_eq!(store.objects(), count(&store));
    store.clear();
    assert_eq!((store.objects(), count(&store)), (0, 0));
}

/// Bytes of ten that are there, under a strong tag.
fn part(first: u64, bytes: &'static [u8]) -> Arc<Object> {
    let place = first..first + bytes.len() as u64;
    let head = ResponseHead::new(206).with("ETag", "\"a\"");
    let times = Times {
        ttl: Duration::from_secs(1),
        ..Times::unusable(NOW)
    };
    let directives = ResponseDirectives::default();
    let body = Body::whole(Bytes::from_static(bytes));
    let mut object = Object::new(head, body, Kind::Response, directives, times, 1);
    let part = crate::rules::part::Part {
        range: place,
        complete_len: 10,
    };
    object.set_part(Some(StoredPart { part, asked: None }));
    Arc::new(object)
}

#[test]
fn parts_that_an_invalidation_came_for_are_not_combined() {
    let check = |invalidated: bool, expected: u64| {
        let store = store(SMALL);
        let key = Key::from(&b"k"[..]);
        let fence = store.fence(&key);
        let (older, newer) = (part(0, b"01"), part(2, b"23"));
        for part in [&older, &newer] {
            store.insert(&key, Arc::clone(part), fence, NOW);
        }
        if invalidated {
            store.fence_all();
        }
        store.combine(&key, &newer, fence, 100, NOW);
        store.run_pending_tasks();
        assert_eq!(store.objects(), expected);
    };
    check(false, 1);
    check(true, 2);
}
