//! The objects of one URL: one for answers that vary on nothing, and a table for each set of varying fields.

use std::any::Any;
use std::collections::HashMap;
use std::hash::BuildHasher;
use std::sync::Arc;

use crate::http::Fields;
use crate::object::{Kind, Object, Several};
use crate::rules::vary::{Variant, VarySpec};
use crate::time::Timestamp;

/// An immutable snapshot; a change makes a new one. Nearly every URL has one object, which then lies here without a
/// table around it. A table has an object around it, so that this is one pointer.
#[derive(Clone, Debug, Default)]
pub struct Variants(Option<Arc<Object>>);

/// What [`Variants`] hold.
enum Held<'a> {
    None,
    /// The whole content, or a mark; whatever it varies on.
    One(&'a Arc<Object>),
    /// All others.
    Many(&'a Table),
}

/// A URL's answers nearly always vary on one set of fields, so a look-up is one normalised key and one probe however
/// many variants there are; and a change copies one chunk of them, since whoever may choose the values of fields may
/// make thousands.
#[derive(Clone, Debug, Default)]
struct Table {
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
    /// By [`Variant::key`].
    objects: HashMap<Arc<[u8]>, Weighed, foldhash::fast::RandomState>,
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
        let weight = object.weight() + size_of::<(Arc<[u8]>, Weighed)>() as u64 + 8;
        Weighed { object, weight }
    }
}

impl Chunk {
    fn insert(&mut self, key: Arc<[u8]>, weighed: Weighed) {
        self.weight += weighed.weight;
        if let Some(before) = self.objects.insert(key, weighed) {
            self.weight -= before.weight;
        }
    }

    fn remove(&mut self, key: &[u8]) {
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

    fn place(&self, key: &[u8]) -> usize {
        match self.chunks.len() {
            1 => 0,
            chunks => self.hasher.hash_one(key) as usize % chunks,
        }
    }

    fn get(&self, key: &[u8]) -> Option<&Arc<Object>> {
        let weighed = self.chunks[self.place(key)].objects.get(key)?;
        Some(&weighed.object)
    }

    fn chunk_mut(&mut self, key: &[u8]) -> &mut Chunk {
        let place = self.place(key);
        Arc::make_mut(&mut self.chunks[place])
    }

    fn insert(&mut self, key: Arc<[u8]>, weighed: Weighed) {
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

impl Several for Table {}

impl Variants {
    fn held(&self) -> Held<'_> {
        let Some(object) = &self.0 else {
            return Held::None;
        };
        match table_of(object) {
            Some(table) => Held::Many(table),
            None => Held::One(object),
        }
    }

    fn one(object: Arc<Object>) -> Variants {
        Variants(Some(object))
    }

    /// The newest object whose varying fields have the values of `request`; failing that, the newest part that
    /// has the range it asks for.
    pub fn select(&self, request: &Fields) -> Option<&Arc<Object>> {
        match self.held() {
            Held::None => None,
            Held::One(object) => fits(object, request).then_some(object),
            Held::Many(table) => table.select(request),
        }
    }

    /// The same for whoever needs the others no longer: what there is alone is handed on.
    pub fn into_selected(self, request: &Fields) -> Option<Arc<Object>> {
        let object = self.0?;
        match table_of(&object) {
            Some(table) => table.select(request).cloned(),
            None => fits(&object, request).then_some(object),
        }
    }

    /// The parts of what a request with these fields would get, the newest first.
    pub fn parts_for(&self, request: &Fields) -> impl Iterator<Item = &Arc<Object>> {
        let parts = self.parts().iter().rev().map(|part| &part.object);
        parts.filter(|part| fits(part, request))
    }

    /// The parts of the same variant as `object`.
    pub fn parts_like(&self, object: &Object) -> impl Iterator<Item = &Arc<Object>> {
        let parts = self.parts().iter().map(|part| &part.object);
        parts.filter(|part| part.variant() == object.variant())
    }

    /// The key ([`Variant::key`]) under which the next answer will probably be stored, where answers have varied on one set
    /// of fields only.
    pub fn expected_variant(&self, request: &Fields) -> Option<Box<[u8]>> {
        let spec = match self.held() {
            Held::None => None,
            Held::One(object) => object.variant().map(Variant::spec),
            Held::Many(table) => match &*table.groups {
                [group] => Some(&group.spec),
                _ => None,
            },
        };
        spec.map(|spec| spec.key_of(request).as_bytes().into())
    }

    /// With `object` in place of the one it succeeds; past `variants_max` without the oldest; without
    /// dead ones. Gives also how many were left out. Of many variants only those beside the new one are
    /// looked through; the others' turn comes.
    #[must_use]
    pub fn with(
        self,
        object: Arc<Object>,
        variants_max: usize,
        now: Timestamp,
    ) -> (Variants, LeftOut) {
        let is_alone = match self.held() {
            Held::None => true,
            Held::One(before) => before.variant() == object.variant(),
            Held::Many(_) => false,
        };
        if is_alone && object.part().is_none() {
            let left = LeftOut {
                dead: usize::from(object.is_dead(now)),
                crowded: 0,
            };
            return match left.dead {
                0 => (Variants::one(object), left),
                _ => (Variants::default(), left),
            };
        }
        let mut table = self.into_table();
        let left = table.put(object, variants_max, now);
        (Variants::from(table), left)
    }

    /// With the weight that `object`, which is one of these, has now.
    #[must_use]
    pub fn reweighed(&self, object: &Arc<Object>) -> Variants {
        match self.held() {
            Held::None | Held::One(_) => self.clone(),
            Held::Many(table) => {
                let mut rest = Table::clone(table);
                rest.insert(Weighed::new(Arc::clone(object)));
                Variants::from(rest)
            }
        }
    }

    #[must_use]
    pub fn without(&self, object: &Arc<Object>) -> Variants {
        match self.held() {
            Held::None => Variants::default(),
            Held::One(one) if Arc::ptr_eq(one, object) => Variants::default(),
            Held::One(_) => self.clone(),
            Held::Many(table) => {
                let mut rest = Table::clone(table);
                rest.remove(object);
                Variants::from(rest)
            }
        }
    }

    pub fn contains(&self, object: &Arc<Object>) -> bool {
        match self.held() {
            Held::None => false,
            Held::One(one) => Arc::ptr_eq(one, object),
            Held::Many(table) => table.contains(object),
        }
    }

    pub fn iter(&self) -> impl Iterator<Item = &Arc<Object>> {
        let (one, table) = match self.held() {
            Held::None => (None, None),
            Held::One(object) => (Some(object), None),
            Held::Many(table) => (None, Some(table)),
        };
        let of_table = table.into_iter().flat_map(|table| table.iter());
        one.into_iter().chain(of_table)
    }

    pub fn len(&self) -> usize {
        match self.held() {
            Held::None => 0,
            Held::One(_) => 1,
            Held::Many(table) => table.len(),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes held by all objects and the tables that find them.
    pub fn weight(&self) -> u64 {
        match self.held() {
            Held::None => 0,
            Held::One(object) => object.weight(),
            Held::Many(table) => table.weight() + self.0.iter().map(|it| it.weight()).sum::<u64>(),
        }
    }

    fn parts(&self) -> &[Weighed] {
        match self.held() {
            Held::None | Held::One(_) => &[],
            Held::Many(table) => &table.parts,
        }
    }

    fn into_table(self) -> Table {
        let mut table = Table::default();
        match self.held() {
            Held::None => {}
            Held::One(object) => table.insert(Weighed::new(Arc::clone(object))),
            Held::Many(many) => table = many.clone(),
        }
        table
    }
}

impl From<Table> for Variants {
    fn from(table: Table) -> Variants {
        if table.parts.is_empty() && table.len() <= 1 {
            let one = table.iter().next().map(Arc::clone);
            return Variants(one);
        }
        Variants::one(Arc::new(Object::standing_for(Box::new(table))))
    }
}

/// The table that an object stands for.
fn table_of(object: &Object) -> Option<&Table> {
    let several: &dyn Any = object.several()?;
    several.downcast_ref()
}

/// Whether an object is for requests with these fields.
fn fits(object: &Object, request: &Fields) -> bool {
    object
        .variant()
        .is_none_or(|variant| variant.is_of(request))
}

impl Table {
    fn select(&self, request: &Fields) -> Option<&Arc<Object>> {
        self.select_whole(request).or_else(|| {
            if self.parts.is_empty() || !request.contains("range") {
                return None;
            }
            let mut parts = self.parts.iter().rev().map(|part| &part.object);
            parts.find(|part| fits(part, request) && part.wanted_of_part(request).is_some())
        })
    }

    fn select_whole(&self, request: &Fields) -> Option<&Arc<Object>> {
        let mut found = self.plain.as_ref().map(|plain| &plain.object);
        for group in &self.groups {
            if let Some(object) = group.get(group.spec.key_of(request).as_bytes())
                && found.is_none_or(|other| supersedes(object, other))
            {
                found = Some(object);
            }
        }
        found
    }

    /// Puts in an object in place of the one it succeeds; takes out dead ones beside it and, past `variants_max`, the
    /// oldest.
    fn put(&mut self, object: Arc<Object>, variants_max: usize, now: Timestamp) -> LeftOut {
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
        LeftOut { dead, crowded }
    }

    fn contains(&self, object: &Arc<Object>) -> bool {
        if object.part().is_some() {
            return self.part_index(object).is_some();
        }
        let stored = self.stored_at(object.variant());
        stored.is_some_and(|stored| Arc::ptr_eq(stored, object))
    }

    fn iter(&self) -> impl Iterator<Item = &Arc<Object>> {
        let plain = self.plain.iter().map(|plain| &plain.object);
        let parts = self.parts.iter().map(|part| &part.object);
        plain
            .chain(self.groups.iter().flat_map(Group::iter))
            .chain(parts)
    }

    fn len(&self) -> usize {
        let in_groups: usize = self.groups.iter().map(Group::len).sum();
        usize::from(self.plain.is_some()) + in_groups + self.parts.len()
    }

    /// Bytes held by all objects and the tables that find them.
    fn weight(&self) -> u64 {
        let chunks = self.groups.iter().flat_map(|group| &group.chunks);
        let objects = chunks
            .map(|chunk| chunk.weight + size_of::<Chunk>() as u64)
            .chain(self.plain.iter().map(|plain| plain.weight))
            .chain(self.parts.iter().map(|part| part.weight));
        let tables = self.groups.len() * size_of::<Group>() + size_of::<Table>();
        objects.sum::<u64>() + tables as u64
    }

    /// The whole content of this variant.
    fn stored_at(&self, variant: Option<&Variant>) -> Option<&Arc<Object>> {
        let Some(variant) = variant else {
            return self.plain.as_ref().map(|plain| &plain.object);
        };
        let mut groups = self.groups.iter();
        let group = groups.find(|group| group.spec == *variant.spec())?;
        group.get(variant.key())
    }

    /// A part that can be stored ends the mark that nothing could.
    fn drop_mark(&mut self, part: &Object) {
        let whole = self.stored_at(part.variant());
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
        if weighed.object.part().is_some() {
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
            .retain(|part| part.object.variant() != weighed.object.variant());
        let Some(variant) = weighed.object.variant().cloned() else {
            self.plain = Some(weighed);
            return;
        };
        let (spec, key) = (variant.spec(), Arc::clone(variant.key()));
        let at = self.groups.iter().position(|group| group.spec == *spec);
        let at = at.unwrap_or_else(|| {
            self.groups.push(Group::new(spec.clone()));
            self.groups.len() - 1
        });
        self.groups[at].insert(key, weighed);
    }

    /// Takes out one that is here.
    fn remove(&mut self, object: &Arc<Object>) {
        if !self.contains(object) {
            return;
        }
        if object.part().is_some() {
            self.parts.retain(|part| !Arc::ptr_eq(&part.object, object));
            return;
        }
        let Some(variant) = object.variant() else {
            self.plain = None;
            return;
        };
        let mut groups = self.groups.iter();
        if let Some(at) = groups.position(|group| group.spec == *variant.spec()) {
            let key = variant.key();
            self.groups[at].chunk_mut(key).remove(key);
            if self.groups[at].len() == 0 {
                self.groups.remove(at);
            }
        }
    }

    /// The objects in the same chunk, and all others as long as they are few.
    fn beside(&self, object: &Object) -> impl Iterator<Item = &Arc<Object>> {
        let home = object.variant();
        let groups = self.groups.iter().flat_map(move |group| {
            let chunks = match home {
                _ if group.chunks.len() == 1 => &group.chunks[..],
                Some(home) if group.spec == *home.spec() => {
                    let place = group.place(home.key());
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
    let place = |object: &Object| object.part().map(|stored| stored.part.range.clone());
    older.variant() == newer.variant() && place(older) == place(newer)
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
            object.set_variant(Some(Variant::new(spec, &request(language))));
        }
        Arc::new(object)
    }

    #[test]
    fn objects_of_a_url_are_one_pointer() {
        assert_eq!(size_of::<Variants>(), size_of::<usize>());
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
        let chunks = |variants: &Variants| variants.clone().into_table().groups[0].chunks.clone();
        let pairs = chunks(&variants).into_iter().zip(chunks(&changed));
        let copied = pairs.filter(|(before, after)| !Arc::ptr_eq(before, after));
        assert_eq!(copied.count(), 1);

        for object in changed.iter() {
            variants = variants.without(object);
        }
        assert_eq!(variants.len(), 1, "the one that had gone for it");
        let last = Arc::clone(variants.iter().next().expect("one is left"));
        assert!(variants.without(&last).is_empty());
        assert_eq!(variants.without(&last).weight(), 0);
    }
}
