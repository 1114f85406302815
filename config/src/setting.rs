//! `settings!`: a table of the file as a struct, from one definition.
//!
//! ```text
//! settings! {
//!     /// What the table is about.
//!     pub struct CacheConfig {
//!         /// What the setting means, and when to change it.
//!         pub memory: ByteSize = ByteSize::mebibytes(256);
//!         /// A setting that may be absent shows an example (TOML text) in place of a default.
//!         pub directory: Option<PathBuf> = None, example r#""/var/cache""#;
//!     }
//! }
//! ```
//!
//! The struct, its `Default`, the reader and the reference come from these lines alone.

use std::collections::BTreeMap;

use toml::Spanned;
use toml::de::DeValue;

use crate::reader::Reader;
use crate::reference::{Outline, Shape};
use crate::value::Leaf;

/// A struct that `settings!` defined.
pub(crate) trait Table: Clone + Default {
    /// The doc comment, a line each.
    const ABOUT: &'static [&'static str];
    const KEYS: &'static [&'static str];

    /// Reads one key; `false` when the table has no such key.
    fn read_key(
        &mut self,
        key: &str,
        path: &str,
        value: &Spanned<DeValue<'_>>,
        reader: &mut Reader<'_>,
    ) -> bool;

    /// Adds a row for each setting to the section on top of the outline, and a section for each table within.
    fn outline_keys(&self, outline: &mut Outline);
}

/// What may stand after a key: a value, a table, a list of tables, or tables by name.
pub(crate) trait Setting {
    /// Puts what the file says over what is there.
    fn read(&mut self, path: &str, value: &Spanned<DeValue<'_>>, reader: &mut Reader<'_>);

    fn outline(
        &self,
        name: &'static str,
        docs: &'static [&'static str],
        example: Option<&'static str>,
        outline: &mut Outline,
    );
}

impl<T: Leaf> Setting for T {
    fn read(&mut self, path: &str, value: &Spanned<DeValue<'_>>, reader: &mut Reader<'_>) {
        match T::from_toml(value.get_ref()) {
            Ok(read) => *self = read,
            Err(refusal) => reader.refuse(path, value.span().start, refusal),
        }
    }

    fn outline(
        &self,
        name: &'static str,
        docs: &'static [&'static str],
        example: Option<&'static str>,
        outline: &mut Outline,
    ) {
        outline.row(name, self.to_toml(), example, docs);
    }
}

/// `[name]`
pub(crate) fn read_table<T: Table>(
    table: &mut T,
    path: &str,
    value: &Spanned<DeValue<'_>>,
    reader: &mut Reader<'_>,
) {
    match value.get_ref().as_table() {
        Some(keys) => reader.table(table, path, keys),
        None => reader.refuse_shape(path, value, format!("a table, headed [{path}]")),
    }
}

/// `[[name]]`; the file's list replaces the default one.
pub(crate) fn read_list<T: Table>(
    list: &mut Vec<T>,
    path: &str,
    value: &Spanned<DeValue<'_>>,
    reader: &mut Reader<'_>,
) {
    let expected = || format!("a list of tables, each headed [[{path}]]");
    let Some(elements) = value.get_ref().as_array() else {
        return reader.refuse_shape(path, value, expected());
    };
    list.clear();
    for (index, element) in elements.iter().enumerate() {
        let path = format!("{path}[{index}]");
        reader.note(path.clone(), element.span().start);
        let mut table = T::default();
        match element.get_ref().as_table() {
            Some(keys) => reader.table(&mut table, &path, keys),
            None => reader.refuse_shape(&path, element, expected()),
        }
        list.push(table);
    }
}

/// `[name.NAME]`
pub(crate) fn read_map<T: Table>(
    map: &mut BTreeMap<String, T>,
    path: &str,
    value: &Spanned<DeValue<'_>>,
    reader: &mut Reader<'_>,
) {
    let Some(tables) = value.get_ref().as_table() else {
        return reader.refuse_shape(path, value, format!("tables headed [{path}.NAME]"));
    };
    for (key, value) in tables {
        let name = key.get_ref();
        let path = format!("{path}.{name}");
        reader.note(path.clone(), key.span().start);
        let table = map.entry(name.to_string()).or_default();
        read_table(table, &path, value, reader);
    }
}

/// Shows a table with the settings it has.
pub(crate) fn outline_table<T: Table>(
    table: &T,
    name: &'static str,
    shape: Shape,
    outline: &mut Outline,
) {
    outline.enter(name, shape, T::ABOUT);
    table.outline_keys(outline);
    outline.leave();
}

macro_rules! settings {
    (
        $(#[doc = $about:literal])*
        pub struct $name:ident {
            $(
                $(#[doc = $doc:literal])*
                pub $field:ident: $type:ty = $default:expr $(, example $example:literal)?;
            )*
        }
    ) => {
        $(#[doc = $about])*
        #[derive(Clone, Debug, PartialEq)]
        pub struct $name {
            $( $(#[doc = $doc])* pub $field: $type, )*
        }

        impl Default for $name {
            fn default() -> $name {
                $name { $( $field: $default, )* }
            }
        }

        impl $crate::setting::Table for $name {
            const ABOUT: &'static [&'static str] = &[$($about),*];
            const KEYS: &'static [&'static str] = &[$(stringify!($field)),*];

            fn read_key(
                &mut self,
                key: &str,
                path: &str,
                value: &toml::Spanned<toml::de::DeValue<'_>>,
                reader: &mut $crate::reader::Reader<'_>,
            ) -> bool {
                $(
                    if key == stringify!($field) {
                        $crate::setting::Setting::read(&mut self.$field, path, value, reader);
                        return true;
                    }
                )*
                false
            }

            fn outline_keys(&self, outline: &mut $crate::reference::Outline) {
                $(
                    let example: &[&'static str] = &[$($example)?];
                    $crate::setting::Setting::outline(
                        &self.$field,
                        stringify!($field),
                        &[$($doc),*],
                        example.first().copied(),
                        outline,
                    );
                )*
            }
        }

        impl $crate::setting::Setting for $name {
            fn read(
                &mut self,
                path: &str,
                value: &toml::Spanned<toml::de::DeValue<'_>>,
                reader: &mut $crate::reader::Reader<'_>,
            ) {
                $crate::setting::read_table(self, path, value, reader);
            }

            fn outline(
                &self,
                name: &'static str,
                _docs: &'static [&'static str],
                _example: Option<&'static str>,
                outline: &mut $crate::reference::Outline,
            ) {
                $crate::setting::outline_table(
                    self,
                    name,
                    $crate::reference::Shape::Table,
                    outline,
                );
            }
        }
    };
}
pub(crate) use settings;

/// Makes a table usable as `Vec<T>`: `[[name]]`.
macro_rules! listed {
    ($name:ident) => {
        impl $crate::setting::Setting for Vec<$name> {
            fn read(
                &mut self,
                path: &str,
                value: &toml::Spanned<toml::de::DeValue<'_>>,
                reader: &mut $crate::reader::Reader<'_>,
            ) {
                $crate::setting::read_list(self, path, value, reader);
            }

            fn outline(
                &self,
                name: &'static str,
                _docs: &'static [&'static str],
                _example: Option<&'static str>,
                outline: &mut $crate::reference::Outline,
            ) {
                use $crate::reference::Shape;
                let (shown, shape) = match self.first() {
                    Some(first) => (first.clone(), Shape::List),
                    None => ($name::default(), Shape::EmptyList),
                };
                $crate::setting::outline_table(&shown, name, shape, outline);
            }
        }
    };
}
pub(crate) use listed;

/// Makes a table usable as `BTreeMap<String, T>`: `[name.NAME]`.
macro_rules! named {
    ($name:ident) => {
        impl $crate::setting::Setting for std::collections::BTreeMap<String, $name> {
            fn read(
                &mut self,
                path: &str,
                value: &toml::Spanned<toml::de::DeValue<'_>>,
                reader: &mut $crate::reader::Reader<'_>,
            ) {
                $crate::setting::read_map(self, path, value, reader);
            }

            fn outline(
                &self,
                name: &'static str,
                _docs: &'static [&'static str],
                _example: Option<&'static str>,
                outline: &mut $crate::reference::Outline,
            ) {
                $crate::setting::outline_table(
                    &$name::default(),
                    name,
                    $crate::reference::Shape::Named,
                    outline,
                );
            }
        }
    };
}
pub(crate) use named;
