//! The page under construction: families in order of their names, in the `prometheus` crate's types.

use std::collections::BTreeMap;

use prometheus::TextEncoder;
use prometheus::proto::{Counter, Gauge, LabelPair, Metric, MetricFamily, MetricType};

/// Families under construction, by name.
#[derive(Default)]
pub(super) struct Page {
    families: BTreeMap<&'static str, MetricFamily>,
}

impl Page {
    pub(super) fn counter(&mut self, name: &'static str, help: &str, value: u64) {
        self.put(name, help, MetricType::COUNTER, &[], value);
    }

    pub(super) fn gauge(&mut self, name: &'static str, help: &str, value: u64) {
        self.put(name, help, MetricType::GAUGE, &[], value);
    }

    pub(super) fn put(
        &mut self,
        name: &'static str,
        help: &str,
        kind: MetricType,
        labels: &[(&str, &str)],
        value: u64,
    ) {
        let mut metric = Metric::from_label(pairs(labels));
        match kind {
            MetricType::COUNTER => {
                let mut counter = Counter::default();
                counter.set_value(value as f64);
                metric.set_counter(counter);
            }
            _ => {
                let mut gauge = Gauge::default();
                gauge.set_value(value as f64);
                metric.set_gauge(gauge);
            }
        }
        self.push(name, help, kind, metric);
    }

    pub(super) fn push(
        &mut self,
        name: &'static str,
        help: &str,
        kind: MetricType,
        metric: Metric,
    ) {
        let family = self.families.entry(name).or_insert_with(|| {
            let mut family = MetricFamily::default();
            family.set_name(name.to_owned());
            family.set_help(help.to_owned());
            family.set_field_type(kind);
            family
        });
        family.mut_metric().push(metric);
    }

    pub(super) fn encode(self) -> String {
        let families: Vec<MetricFamily> = self.families.into_values().collect();
        TextEncoder::new()
            .encode_to_string(&families)
            .expect("every family has a name and a metric, and a String takes any text")
    }
}

pub(super) fn pairs(labels: &[(&str, &str)]) -> Vec<LabelPair> {
    let pairs = labels.iter().map(|(name, value)| {
        let mut pair = LabelPair::default();
        pair.set_name((*name).to_owned());
        pair.set_value((*value).to_owned());
        pair
    });
    pairs.collect()
}
