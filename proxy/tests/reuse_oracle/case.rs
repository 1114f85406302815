//! One question to the cache: a request, its answer, a later request, the clocks and the settings.

use std::fmt;

/// A field line: name and value.
pub(crate) type Line = (String, String);

/// A request: method, host, target, fields.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Asked {
    pub(crate) method: &'static str,
    pub(crate) host: &'static str,
    pub(crate) target: &'static str,
    pub(crate) lines: Vec<Line>,
}

/// What an operator has set, in the words of the oracle.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Settings {
    pub(crate) clients_count: bool,
    pub(crate) cookies_are_stored: bool,
    pub(crate) heuristic_fraction: f64,
    pub(crate) heuristic_seconds_max: i64,
    /// Best first.
    pub(crate) targeted: Vec<&'static str>,
}

/// Moments are milliseconds since 1970.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Case {
    pub(crate) settings: Settings,
    pub(crate) first: Asked,
    pub(crate) sent: i64,
    pub(crate) received: i64,
    pub(crate) status: u16,
    pub(crate) answer: Vec<Line>,
    pub(crate) later: Asked,
    pub(crate) now: i64,
}

/// The values of all lines of a field, in order.
pub(crate) fn values<'a>(lines: &'a [Line], name: &'a str) -> impl Iterator<Item = &'a str> + 'a {
    lines
        .iter()
        .filter(move |(known, _)| known.eq_ignore_ascii_case(name))
        .map(|(_, value)| value.as_str())
}

pub(crate) fn has(lines: &[Line], name: &str) -> bool {
    values(lines, name).next().is_some()
}

impl Case {
    /// The smallest case that still fails, as far as leaving out one thing at a time leads.
    pub(crate) fn shrink(mut self, fails: impl Fn(&Case) -> bool) -> Case {
        while let Some(smaller) = self.smaller().into_iter().find(&fails) {
            self = smaller;
        }
        self
    }

    fn smaller(&self) -> Vec<Case> {
        let mut cases = Vec::new();
        let mut with = |change: &dyn Fn(&mut Case)| {
            let mut case = self.clone();
            change(&mut case);
            if case != *self {
                cases.push(case);
            }
        };
        let lists: [fn(&mut Case) -> &mut Vec<Line>; 3] = [
            |case| &mut case.answer,
            |case| &mut case.first.lines,
            |case| &mut case.later.lines,
        ];
        for list in lists {
            let lines = list(&mut self.clone()).clone();
            for (index, (_, value)) in lines.iter().enumerate() {
                with(&|case| drop(list(case).remove(index)));
                let members: Vec<&str> = value.split(',').collect();
                for left_out in 0..members.len() {
                    if members.len() > 1 {
                        let mut rest = members.clone();
                        rest.remove(left_out);
                        with(&|case| list(case)[index].1 = rest.join(",").trim().to_owned());
                    }
                }
            }
        }
        with(&|case| case.status = 200);
        with(&|case| case.settings.targeted.clear());
        with(&|case| case.settings.clients_count = false);
        with(&|case| case.sent = case.received);
        with(&|case| case.now = case.received);
        // Each step has to end somewhere: nothing here undoes another.
        with(&|case| case.received = case.received / 1000 * 1000);
        cases
    }
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |f: &mut fmt::Formatter<'_>, lines: &[Line]| {
            lines
                .iter()
                .try_for_each(|(name, value)| writeln!(f, "    {name}: {value}"))
        };
        let asked = |f: &mut fmt::Formatter<'_>, asked: &Asked| {
            writeln!(f, "  {} {}{}", asked.method, asked.host, asked.target)?;
            list(f, &asked.lines)
        };
        writeln!(f, "{:?}", self.settings)?;
        asked(f, &self.first)?;
        writeln!(f, "  sent at {}, answered at {}", self.sent, self.received)?;
        writeln!(f, "  {}", self.status)?;
        list(f, &self.answer)?;
        asked(f, &self.later)?;
        let after = self.now - self.received;
        writeln!(f, "  asked at {}, {after} ms after the answer", self.now)
    }
}
