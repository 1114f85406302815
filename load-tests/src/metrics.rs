//! Prometheus' text format 0.0.4, as far as a test looks at it.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail, ensure};

/// One scrape.
#[derive(Clone, Debug, Default)]
pub struct Scrape {
    /// Values by name and labels, as they stand in the text.
    samples: BTreeMap<String, f64>,
    /// Types by name.
    types: BTreeMap<String, String>,
}

impl Scrape {
    /// Reads a text, which must be well-formed: each sample has a type before it, and no sample comes twice.
    pub fn parse(text: &str) -> Result<Scrape> {
        let mut scrape = Scrape::default();
        for line in text.lines() {
            if let Some(rest) = line.strip_prefix("# TYPE ") {
                let (name, kind) = rest
                    .split_once(' ')
                    .with_context(|| format!("line {line:?}"))?;
                if scrape
                    .types
                    .insert(name.to_owned(), kind.to_owned())
                    .is_some()
                {
                    bail!("{name} is declared twice");
                }
            } else if !line.starts_with('#') && !line.is_empty() {
                let (name, value) = line
                    .rsplit_once(' ')
                    .with_context(|| format!("line {line:?}"))?;
                let number = value
                    .parse()
                    .with_context(|| format!("value in {line:?}"))?;
                ensure!(
                    scrape.samples.insert(name.to_owned(), number).is_none(),
                    "{name} comes twice"
                );
                let family = name.split('{').next().unwrap_or(name);
                ensure!(scrape.family_type(family).is_some(), "{family} has no type");
            }
        }
        ensure!(
            text.is_empty() || text.ends_with('\n'),
            "the last line has no end"
        );
        Ok(scrape)
    }

    fn family_type(&self, family: &str) -> Option<&str> {
        let stems = ["", "_bucket", "_sum", "_count"].map(|suffix| family.strip_suffix(suffix));
        stems
            .into_iter()
            .flatten()
            .find_map(|stem| self.types.get(stem))
            .map(String::as_str)
    }

    /// The declared names and their types.
    pub fn types(&self) -> impl Iterator<Item = (&str, &str)> {
        self.types
            .iter()
            .map(|(name, kind)| (name.as_str(), kind.as_str()))
    }

    /// The sum of the samples of a name, whatever their labels; 0 when there are none.
    pub fn sum(&self, name: &str) -> f64 {
        let labelled = format!("{name}{{");
        let ours = self
            .samples
            .iter()
            .filter(|(key, _)| *key == name || key.starts_with(&labelled));
        ours.map(|(_, value)| value).sum()
    }

    /// The sum of the samples of a name with this label, written as `label="value"`.
    pub fn sum_where(&self, name: &str, label: &str) -> f64 {
        let labelled = format!("{name}{{");
        let ours = self
            .samples
            .iter()
            .filter(|(key, _)| key.starts_with(&labelled) && key.contains(label));
        ours.map(|(_, value)| value).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_summed_by_name() {
        let text =
            "# HELP a b\n# TYPE a counter\na{x=\"1\"} 2\na{x=\"2\"} 3\n# TYPE ab gauge\nab 7\n";
        let scrape = Scrape::parse(text).unwrap();
        assert_eq!(
            (scrape.sum("a"), scrape.sum("ab"), scrape.sum("c")),
            (5.0, 7.0, 0.0)
        );
        assert_eq!(scrape.sum_where("a", "x=\"2\""), 3.0);
    }

    #[test]
    fn broken_texts_are_refused() {
        for text in [
            "a 1\n",
            "# TYPE a counter\na x\n",
            "# TYPE a counter\na 1\na 1\n",
            "# TYPE a counter\na 1",
        ] {
            assert!(Scrape::parse(text).is_err(), "{text:?}");
        }
    }
}
