//! The objects of one URL: one for answers that vary on nothing, and a table for each set of varying fields.

use std::collections::HashMap;
use std::sync::Arc;

use crate::http::Fields;
use crate::object::{Kind, Object};
use crate::rules::vary::{VaryKey, VarySpec};
use crate::time::Timestamp;

/// An immutable snapshot; a change makes a new one. A URL's answers nearly always vary on one set of
/// fields, so a look-up is one normalised key and one probe however many variants there are.
#[derive(Clone, Debug, Default)]
pub struct Variants {
    plain: Option<Arc<Object>>,
    groups: Vec<Group>,
}

#[derive(Clone, Debug)]
struct Group {
    spec: VarySpec,
    objects: HashMap<VaryKey, Arc<Object>, foldhash::fast::RandomState>,
}

/// Objects that a change has left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeftOut {
    /// Past every use.
    pub dead: usize,
    /// Dropped for want of room.
    pub crowded: usize,
}

impl Variants {
    /// The newest object whose varying fields have the values of `request`.
    pub fn select(&self, request: &Fields) -> Option<&Arc<Object>> {
        let mut found = self.plain.as_ref();
        for group in &self.groups {
            if let Some(object) = group.objects.get(&group.spec.key_of(request))
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
    /// dead ones. Gives also how many were left out.
    #[must_use]
    pub fn with(
        mut self,
        object: Arc<Object>,
        variants_max: usize,
        now: Timestamp,
    ) -> (Variants, LeftOut) {
        match &object.variant {
            None => self.plain = Some(object),
            Some((spec, key)) => {
                let key = key.clone();
                match self.groups.iter_mut().find(|group| group.spec == *spec) {
                    Some(group) => {
                        group.objects.insert(key, object);
                    }
                    None => {
                        let spec = spec.clone();
                        let mut objects = HashMap::default();
                        objects.insert(key, object);
                        self.groups.push(Group { spec, objects });
                    }
                }
            }
        }
        let before = self.len();
        self.retain(|object| !object.is_dead(now));
        let dead = before - self.len();
        let mut crowded = 0;
        while self.len() > variants_max.max(1) {
            let oldest = self
                .iter()
                .min_by_key(|object| object.times().born)
                .map(Arc::clone);
            self = self.without(&oldest.expect("more than one variant is left"));
            crowded += 1;
        }
        (self, LeftOut { dead, crowded })
    }

    #[must_use]
    pub fn without(&self, object: &Arc<Object>) -> Variants {
        let mut rest = self.clone();
        rest.retain(|other| !Arc::ptr_eq(other, object));
        rest
    }

    pub fn contains(&self, object: &Arc<Object>) -> bool {
        match &object.variant {
            None => self
                .plain
                .as_ref()
                .is_some_and(|plain| Arc::ptr_eq(plain, object)),
            Some((spec, key)) => self
                .groups
                .iter()
                .find(|group| group.spec == *spec)
                .and_then(|group| group.objects.get(key))
                .is_some_and(|stored| Arc::ptr_eq(stored, object)),
        }
    }

    pub fn iter(&self) -> impl Iterator<Item = &Arc<Object>> {
        self.plain
            .iter()
            .chain(self.groups.iter().flat_map(|group| group.objects.values()))
    }

    pub fn len(&self) -> usize {
        usize::from(self.plain.is_some())
            + self
                .groups
                .iter()
                .map(|group| group.objects.len())
                .sum::<usize>()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes held by all objects and the tables that find them.
    pub fn weight(&self) -> u64 {
        let slot = size_of::<(VaryKey, Arc<Object>)>() as u64 + 8;
        let tables = self.groups.len() * size_of::<Group>();
        let objects: u64 = self.iter().map(|object| object.weight() + slot).sum();
        objects + (tables + size_of::<Variants>()) as u64
    }

    fn retain(&mut self, keep: impl Fn(&Arc<Object>) -> bool) {
        if self.plain.as_ref().is_some_and(|object| !keep(object)) {
            self.plain = None;
        }
        for group in &mut self.groups {
            group.objects.retain(|_, object| keep(object));
        }
        self.groups.retain(|group| !group.objects.is_empty());
    }
}

/// A mark only says that some answers could not be stored, so an answer goes before it; of two answers,
/// or two marks, the one born later.
fn supersedes(object: &Object, other: &Object) -> bool {
    let rank = |object: &Object| (object.kind == Kind::Response, object.times().born);
    rank(object) > rank(other)
}
