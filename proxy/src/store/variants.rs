//! The objects of one URL: one for answers that vary on nothing, and a table for each set of varying fields.

use std::collections::HashMap;
use std::hash::BuildHasher;
use std::sync::Arc;

use crate::http::Fields;
use crate::object::{Kind, Object};
use crate::rules::vary::{VaryKey, VarySpec};
use crate::time::Timestamp;

/// An immutable snapshot; a change makes a new one. A URL's answers nearly always vary on one set of
/// fields, so a look-up is one normalised key and one probe however many variants there are; and a change
/// copies one chunk of them, since whoever may choose the values of fields may make thousands.
#[derive(Clone, Debug, Default)]
pub struct Variants {
    plain: Option<Weighed>,
    groups: Vec<Group>,
    /// Answers to requests for a range, the newest last. None whose whole is here as well.
    parts: Vec<Weighed>,
}

/// Most parts of one URL's contents; the oldest goes first. Parts that may be combined become one.
const PARTS_MAX: usize = 32;

/// Answers that vary on the same fields.
#[derive(Clone, Debug)]
struct Group {
    spec: VarySpec,
    /// At least one; by the hash of the key.
    chunks: Vec<Arc<Chunk>>,
    hasher: foldhash::fast::RandomState,
}

#[derive(Clone, Debug, Default)]
struct Chunk {
    objects: HashMap<VaryKey, Weighed, foldhash::fast::RandomState>,
    weight: u64,
}

/// An object and what it weighed when it was stored, or weighed anew.
#[derive(Clone, Debug)]
struct Weighed {
    object: Arc<Object>,
    weight: u64,
}

/// Objects of a chunk, on average, before a group gets more chunks.
const CHUNK_OBJECTS: usize = 64;

/// Objects that a change has left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeftOut {
    /// Past every use.
    pub dead: usize,
    /// Dropped for want of room.
    pub crowded: usize,
}

impl Weighed {
    fn new(object: Arc<Object>) -> Weighed {
        let weight = object.weight() + size_of::<(VaryKey, Weighed)>() as u64 + 8;
        Weighed { object, weight }
    }
}

impl Chunk {
    fn insert(&mut self, key: VaryKey, weighed: Weighed) {
        self.weight += weighed.weight;
        if let Some(before) = self.objects.insert(key, weighed) {
            self.weight -= before.weight;
        }
    }

    fn remove(&mut self, key: &VaryKey) {
        if let Some(removed) = self.objects.remove(key) {
            self.weight -= removed.weight;
        }
    }
}

impl Group {
    fn new(spec: VarySpec) -> Group {
        Group {
            spec,
            chunks: vec![Arc::default()],
            hasher: foldhash::fast::RandomState::default(),
        }
    }

    fn place(&self, key: &VaryKey) -> usize {
        match self.chunks.len() {
            1 => 0,
            chunks => self.hasher.hash_one(key) as usize % chunks,
        }
    }

    fn get(&self, key: &VaryKey) -> Option<&Arc<Object>> {
        let weighed = self.chunks[self.place(key)].objects.get(key)?;
        Some(&weighed.object)
    }

    fn chunk_mut(&mut self, key: &VaryKey) -> &mut Chunk {
        let place = self.place(key);
        Arc::make_mut(&mut self.chunks[place])
    }

    fn insert(&mut self, key: VaryKey, weighed: Weighed) {
        if self.len() >= self.chunks.len() * CHUNK_OBJECTS {
            self.split();
        }
        self.chunk_mut(&key).insert(key, weighed);
    }

    /// Twice as many chunks, so that splitting costs little for each object.
    fn split(&mut self) {
        let chunks = vec![Arc::default(); self.chunks.len() * 2];
        for chunk in std::mem::replace(&mut self.chunks, chunks) {
            for (key, weighed) in &chunk.objects {
                self.chunk_mut(key).insert(key.clone(), weighed.clone());
            }
        }
    }

    fn len(&self) -> usize {
        self.chunks.iter().map(|chunk| chunk.objects.len()).sum()
    }

    fn iter(&self) -> impl Iterator<Item = &Arc<Object>> {
        let chunks = self.chunks.iter();
        chunks.flat_map(|chunk| chunk.objects.values().map(|weighed| &weighed.object))
    }
}

impl Variants {
    /// The newest object whose varying fields have the values of `request`; failing that, the newest part that
    /// has the range it asks for.
    pub fn select(&self, request: &Fields) -> Option<&Arc<Object>> {
        self.select_whole(request).or_else(|| {
            if self.parts.is_empty() || !request.contains("range") {
                return None;
            }
            self.parts_for(request)
                .find(|part| part.wanted_of_part(request).is_some())
        })
    }

    /// The parts of what a request with these fields would get, the newest first.
    pub fn parts_for(&self, request: &Fields) -> impl Iterator<Item = &Arc<Object>> {
        let parts = self.parts.iter().rev().map(|part| &part.object);
        parts.filter(|part| {
            let variant = part.variant.as_ref();
            variant.is_none_or(|(spec, key)| spec.key_of(request) == *key)
        })
    }

    /// The parts of the same variant as `object`.
    pub fn parts_like(&self, object: &Object) -> impl Iterator<Item = &Arc<Object>> {
        let parts = self.parts.iter().map(|part| &part.object);
        parts.filter(|part| part.variant == object.variant)
    }

    fn select_whole(&self, request: &Fields) -> Option<&Arc<Object>> {
        let mut found = self.plain.as_ref().map(|plain| &plain.object);
        for group in &self.groups {
            if let Some(object) = group.get(&group.spec.key_of(request))
                && found.is_none_or(|other| supersedes(object, other))
            {
                found = Some(object);
            }
        }
        found
    }

    /// The key under which the next answer will probably be stored, where answers have varied on one set
    /// of fields only.
    pub fn expected_variant(&self, request: &Fields) -> Option<VaryKey> {
        match &*self.groups {
            [group] => Some(group.spec.key_of(request)),
            _ => None,
        }
    }

    /// With `object` in place of the one it succeeds; past `variants_max` without the oldest; without
    /// dead ones. Gives also how many were left out. Of many variants only those beside the new one are
    /// looked through; the others' turn comes.
    #[must_use]
    pub fn with(
        mut self,
        object: Arc<Object>,
        variants_max: usize,
        now: Timestamp,
    ) -> (Variants, LeftOut) {
        self.insert(Weighed::new(Arc::clone(&object)));
        let dead: Vec<_> = self
            .beside(&object)
            .filter(|object| object.is_dead(now))
            .map(Arc::clone)
            .collect();
        for object in &dead {
            self.remove(object);
        }
        let mut crowded = 0;
        while self.len() > variants_max.max(1) {
            let age = |object: &&Arc<Object>| object.times().born;
            let oldest = self
                .beside(&object)
                .filter(|other| !Arc::ptr_eq(other, &object))
                .min_by_key(age)
                .or_else(|| self.iter().min_by_key(age));
            let oldest = Arc::clone(oldest.expect("more than one variant is left"));
            self.remove(&oldest);
            crowded += 1;
        }
        let dead = dead.len();
        (self, LeftOut { dead, crowded })
    }

    /// With the weight that `object`, which is one of these, has now.
    #[must_use]
    pub fn reweighed(&self, object: &Arc<Object>) -> Variants {
        let mut rest = self.clone();
        rest.insert(Weighed::new(Arc::clone(object)));
        rest
    }

    #[must_use]
    pub fn without(&self, object: &Arc<Object>) -> Variants {
        let mut rest = self.clone();
        rest.remove(object);
        rest
    }

    pub fn contains(&self, object: &Arc<Object>) -> bool {
        if object.part.is_some() {
            return self.part_index(object).is_some();
        }
        let stored = match &object.variant {
            None => self.plain.as_ref().map(|plain| &plain.object),
            Some((spec, key)) => self.group(spec).and_then(|group| group.get(key)),
        };
        stored.is_some_and(|stored| Arc::ptr_eq(stored, object))
    }

    pub fn iter(&self) -> impl Iterator<Item = &Arc<Object>> {
        let plain = self.plain.iter().map(|plain| &plain.object);
        let parts = self.parts.iter().map(|part| &part.object);
        plain
            .chain(self.groups.iter().flat_map(Group::iter))
            .chain(parts)
    }

    pub fn len(&self) -> usize {
        let in_groups: usize = self.groups.iter().map(Group::len).sum();
        usize::from(self.plain.is_some()) + in_groups + self.parts.len()
    }

    pub fn is_empty(&self) -> bool {
        self.plain.is_none() && self.groups.is_empty() && self.parts.is_empty()
    }

    /// Bytes held by all objects and the tables that find them.
    pub fn weight(&self) -> u64 {
        let chunks = self.groups.iter().flat_map(|group| &group.chunks);
        let objects = chunks
            .map(|chunk| chunk.weight + size_of::<Chunk>() as u64)
            .chain(self.plain.iter().map(|plain| plain.weight))
            .chain(self.parts.iter().map(|part| part.weight));
        let tables = self.groups.len() * size_of::<Group>() + size_of::<Variants>();
        objects.sum::<u64>() + tables as u64
    }

    fn group(&self, spec: &VarySpec) -> Option<&Group> {
        self.groups.iter().find(|group| group.spec == *spec)
    }

    /// A part that can be stored ends the mark that nothing could.
    fn drop_mark(&mut self, part: &Object) {
        let whole = match &part.variant {
            None => self.plain.as_ref().map(|plain| &plain.object),
            Some((spec, key)) => self.group(spec).and_then(|group| group.get(key)),
        };
        if let Some(mark) = whole.filter(|whole| whole.kind != Kind::Response) {
            let mark = Arc::clone(mark);
            self.remove(&mark);
        }
    }

    fn part_index(&self, object: &Arc<Object>) -> Option<usize> {
        let mut parts = self.parts.iter();
        parts.position(|part| Arc::ptr_eq(&part.object, object))
    }

    fn insert(&mut self, weighed: Weighed) {
        if weighed.object.part.is_some() {
            match self.part_index(&weighed.object) {
                Some(at) => self.parts[at] = weighed,
                None => {
                    self.parts
                        .retain(|part| !is_replaced(&part.object, &weighed.object));
                    if self.parts.len() == PARTS_MAX {
                        self.parts.remove(0);
                    }
                    self.drop_mark(&weighed.object);
                    self.parts.push(weighed);
                }
            }
            return;
        }
        // What its whole is known of needs no parts.
        self.parts
            .retain(|part| part.object.variant != weighed.object.variant);
        let Some((spec, key)) = weighed.object.variant.clone() else {
            self.plain = Some(weighed);
            return;
        };
        let at = self.groups.iter().position(|group| group.spec == spec);
        let at = at.unwrap_or_else(|| {
            self.groups.push(Group::new(spec));
            self.groups.len() - 1
        });
        self.groups[at].insert(key, weighed);
    }

    /// Takes out one that is here.
    fn remove(&mut self, object: &Arc<Object>) {
        if !self.contains(object) {
            return;
        }
        if object.part.is_some() {
            self.parts.retain(|part| !Arc::ptr_eq(&part.object, object));
            return;
        }
        let Some((spec, key)) = &object.variant else {
            self.plain = None;
            return;
        };
        if let Some(at) = self.groups.iter().position(|group| group.spec == *spec) {
            self.groups[at].chunk_mut(key).remove(key);
            if self.groups[at].len() == 0 {
                self.groups.remove(at);
            }
        }
    }

    /// The objects in the same chunk, and all others as long as they are few.
    fn beside(&self, object: &Object) -> impl Iterator<Item = &Arc<Object>> {
        let home = object.variant.as_ref();
        let groups = self.groups.iter().flat_map(move |group| {
            let chunks = match home {
                _ if group.chunks.len() == 1 => &group.chunks[..],
                Some((spec, key)) if group.spec == *spec => {
                    let place = group.place(key);
                    &group.chunks[place..=place]
                }
                _ => &[],
            };
            let chunks = chunks.iter();
            chunks.flat_map(|chunk| chunk.objects.values().map(|weighed| &weighed.object))
        });
        let parts = self.parts.iter().map(|part| &part.object);
        let plain = self.plain.iter().map(|plain| &plain.object);
        plain.chain(groups).chain(parts)
    }
}

/// Whether a newer part leaves nothing for an older one to do: it has the same place in the same variant.
fn is_replaced(older: &Object, newer: &Object) -> bool {
    let place = |object: &Object| object.part.as_ref().map(|stored| stored.part.range.clone());
    older.variant == newer.variant && place(older) == place(newer)
}

/// A mark only says that some answers could not be stored, so an answer goes before it; of two answers,
/// or two marks, the one born later.
fn supersedes(object: &Object, other: &Object) -> bool {
    let rank = |object: &Object| (object.kind == Kind::Response, object.times().born);
    rank(object) > rank(other)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::ResponseHead;
    use crate::object::{Body, Times};
    use crate::rules::cache_control::ResponseDirectives;
    use crate::rules::vary::Vary;
    use bytes::Bytes;
    use std::time::Duration;

    const NOW: Timestamp = Timestamp::from_secs(1_000_000);

    fn request(language: usize) -> Fields {
        let language = format!("x{language}");
        [("Accept-Language", language)].into_iter().collect()
    }

    fn answer(language: usize) -> Arc<Object> {
        let times = Times {
            ttl: Duration::from_secs(1),
            ..Times::unusable(NOW)
        };
        let vary: Fields = [("Vary", "Accept-Language")].into_iter().collect();
        let body = Body::whole(Bytes::from(vec![b'x'; 100]));
        let directives = ResponseDirectives::default();
        let head = ResponseHead::new(200);
        let mut object = Object::new(head, body, Kind::Response, directives, times, 1);
        if let Vary::Fields(spec) = Vary::of(&vary) {
            let key = spec.key_of(&request(language));
            object.variant = Some((spec, key));
        }
        Arc::new(object)
    }

    #[test]
    fn many_variants_are_found_and_weighed_and_a_change_copies_few() {
        const MANY: usize = 3_000;
        let objects: Vec<_> = (0..MANY).map(answer).collect();
        let mut variants = Variants::default();
        for object in &objects {
            variants = variants.with(Arc::clone(object), MANY, NOW).0;
        }
        assert_eq!((variants.len(), variants.iter().count()), (MANY, MANY));
        for (language, object) in objects.iter().enumerate() {
            let found = variants.select(&request(language));
            assert!(found.is_some_and(|found| Arc::ptr_eq(found, object)));
        }
        let each = Weighed::new(answer(0)).weight;
        assert!(variants.weight() >= each * MANY as u64);

        let (changed, left) = variants.clone().with(answer(MANY), MANY, NOW);
        assert_eq!((changed.len(), left.crowded), (MANY, 1), "one goes for it");
        assert!(changed.select(&request(MANY)).is_some());
        let chunks = |variants: &Variants| variants.groups[0].chunks.clone();
        let pairs = chunks(&variants).into_iter().zip(chunks(&changed));
        let copied = pairs.filter(|(before, after)| !Arc::ptr_eq(before, after));
        assert_eq!(copied.count(), 1);

        for object in changed.iter() {
            variants = variants.without(object);
        }
        assert_eq!(variants.len(), 1, "the one that had gone for it");
        let last = Arc::clone(variants.iter().next().expect("one is left"));
        assert!(variants.without(&last).is_empty());
        assert_eq!(
            variants.without(&last).weight(),
            size_of::<Variants>() as u64
        );
    }
}
