//! From a name to a certificate.

use std::collections::HashMap;
use std::sync::Arc;

use rustls::SignatureScheme;
use rustls::sign::CertifiedKey;

use super::pair::{CertificateInfo, Pair, normal};

/// All certificates with their names; never empty.
#[derive(Debug)]
pub(super) struct Table {
    /// In the order configured. The first is the default.
    pairs: Vec<Pair>,
    /// Places in `pairs` by whole name, in the order configured.
    exact: HashMap<String, Vec<usize>>,
    /// The same by what follows `*.` in a wildcard.
    wildcard: HashMap<String, Vec<usize>>,
}

impl Table {
    /// `None` without a pair.
    pub(super) fn new(pairs: Vec<Pair>) -> Option<Table> {
        let mut exact: HashMap<String, Vec<usize>> = HashMap::new();
        let mut wildcard: HashMap<String, Vec<usize>> = HashMap::new();
        for (place, pair) in pairs.iter().enumerate() {
            for name in &pair.info.names {
                let places = match name.strip_prefix("*.") {
                    Some(rest) => wildcard.entry(rest.to_owned()),
                    None => exact.entry(name.clone()),
                };
                places.or_default().push(place);
            }
        }
        let table = Table {
            pairs,
            exact,
            wildcard,
        };
        (!table.pairs.is_empty()).then_some(table)
    }

    pub(super) fn infos(&self) -> impl Iterator<Item = &CertificateInfo> {
        self.pairs.iter().map(|pair| &pair.info)
    }

    /// The certificate for a client that asks for `name` and can verify `schemes`. A wildcard stands for
    /// exactly one label (RFC 6125 §6.4.3). Unknown names get the default, so that the client can say what is wrong.
    pub(super) fn choose(
        &self,
        name: Option<&str>,
        schemes: &[SignatureScheme],
    ) -> Arc<CertifiedKey> {
        let places = name.and_then(|name| self.places(&normal(name)));
        let place = match places {
            None => 0,
            Some([only]) => *only,
            Some(several) => {
                let suits =
                    |place: &&usize| self.pairs[**place].key.key.choose_scheme(schemes).is_some();
                *several.iter().find(suits).unwrap_or(&several[0])
            }
        };
        Arc::clone(&self.pairs[place].key)
    }

    fn places(&self, name: &str) -> Option<&[usize]> {
        let by_wildcard = || {
            let (_, rest) = name.split_once('.')?;
            self.wildcard.get(rest)
        };
        let places = self.exact.get(name).or_else(by_wildcard)?;
        Some(places)
    }
}
