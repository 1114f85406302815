//! A settings file, put together table by table.

use std::collections::BTreeMap;

/// Settings as TOML text.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    tables: BTreeMap<String, BTreeMap<String, String>>,
    tail: String,
}

impl Settings {
    /// Sets `table.key` to a value in TOML's spelling. The last one counts.
    pub fn set(&mut self, path: &str, value: &str) -> &mut Settings {
        let (table, key) = path.rsplit_once('.').expect("a setting lies in a table");
        self.tables
            .entry(table.to_owned())
            .or_default()
            .insert(key.to_owned(), value.to_owned());
        self
    }

    /// Sets `table.key` to a text.
    pub fn set_text(&mut self, path: &str, value: impl std::fmt::Display) -> &mut Settings {
        self.set(path, &format!("{:?}", value.to_string()))
    }

    /// Adds TOML as it is: arrays of tables.
    pub fn add(&mut self, toml: &str) -> &mut Settings {
        self.tail.push_str(toml);
        self.tail.push('\n');
        self
    }

    /// The file.
    pub fn to_toml(&self) -> String {
        let mut toml = String::new();
        for (table, keys) in &self.tables {
            toml.push_str(&format!("[{table}]\n"));
            for (key, value) in keys {
                toml.push_str(&format!("{key} = {value}\n"));
            }
        }
        toml + &self.tail
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_written_once() {
        let mut settings = Settings::default();
        settings
            .set("cache.memory", "1")
            .set_text("a.b.c", "d")
            .set("cache.keep", "2")
            .set("cache.memory", "3");
        settings.add("[[listen]]");
        assert_eq!(
            settings.to_toml(),
            "[a.b]\nc = \"d\"\n[cache]\nkeep = 2\nmemory = 3\n[[listen]]\n"
        );
    }
}
