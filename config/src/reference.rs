//! The settings as text, from the types that define them: a table for the README, and an example file.

use crate::Config;
use crate::environment::VARIABLES;
use crate::setting::Table;

/// All settings as Markdown: per table of the file, each key with its default and its meaning; then the environment.
pub fn reference() -> String {
    let mut out = String::new();
    for section in outline(&Config::default()) {
        out.push_str(&format!(
            "#### `{}`\n\n{}\n\n| Setting | Default | Meaning |\n|---|---|---|\n",
            section.header(),
            section.about,
        ));
        for row in &section.rows {
            let default = match &row.default {
                Some(default) => format!("`{}`", in_cell(default)),
                None => "none".to_owned(),
            };
            out.push_str(&format!(
                "| `{}` | {default} | {} |\n",
                row.name,
                in_cell(&row.docs)
            ));
        }
        out.push('\n');
    }
    out.push_str(
        "#### Environment\n\nThe environment stands over the file, and the command line over both.\n\n\
         | Variable | Stands for | Meaning |\n|---|---|---|\n",
    );
    for variable in VARIABLES {
        out.push_str(&format!(
            "| `{}` | `{}` | {} |\n",
            variable.name, variable.stands_for, variable.docs
        ));
    }
    out
}

/// An example of the file: every key, set to its default; keys without one, and lists that are empty, as comments.
pub fn example() -> String {
    let mut out = String::from(
        "# Settings of lacquer and lacquer-origin. Both read this one file; every value here is the default, so a\n\
         # file needs only what differs. Lines that begin with `#` and a key are examples of settings that have no\n\
         # default.\n",
    );
    for section in outline(&Config::default()) {
        let unset = matches!(section.shape, Shape::EmptyList | Shape::Named);
        out.push('\n');
        out.push_str(&comment(&section.about));
        if unset {
            out.push_str("# ");
        }
        out.push_str(&section.header());
        out.push('\n');
        for row in &section.rows {
            out.push('\n');
            out.push_str(&comment(&row.docs));
            let example = row.example.map(str::to_owned);
            let (value, mark) = match (unset, &row.default) {
                (false, Some(default)) => (default.clone(), ""),
                (true, default) => (example.or(default.clone()).unwrap_or_default(), "# "),
                (false, None) => (example.unwrap_or_default(), "# "),
            };
            out.push_str(&format!("{mark}{} = {value}\n", row.name));
        }
    }
    out
}

/// The full name of every table and setting, such as `backend.probe` and `backend.probe.window`.
pub(crate) fn keys(config: &Config) -> Vec<String> {
    let mut keys = Vec::new();
    for section in outline(config) {
        keys.push(section.path.clone());
        keys.extend(
            section
                .rows
                .iter()
                .map(|row| format!("{}.{}", section.path, row.name)),
        );
    }
    keys
}

fn outline(config: &Config) -> Vec<Section> {
    let mut outline = Outline::default();
    config.outline_keys(&mut outline);
    outline.sections
}

fn in_cell(text: &str) -> String {
    text.replace('|', "\\|")
}

/// Wraps text into comment lines.
fn comment(text: &str) -> String {
    const CHARACTERS_MAX: usize = 110;
    let mut out = String::new();
    let mut line = String::from("#");
    for word in text.split(' ') {
        if line.chars().count() + 1 + word.chars().count() > CHARACTERS_MAX {
            out.push_str(&line);
            out.push('\n');
            line = String::from("#");
        }
        line.push(' ');
        line.push_str(word);
    }
    out.push_str(&line);
    out.push('\n');
    out
}

/// How a table stands in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// `[name]`
    Table,
    /// `[[name]]`, with an element by default.
    List,
    /// `[[name]]`, empty by default.
    EmptyList,
    /// `[name.NAME]`, with a name of the operator's choice.
    Named,
}

/// The tables of the file, collected in the order of their definition.
#[derive(Debug, Default)]
pub(crate) struct Outline {
    sections: Vec<Section>,
    /// Indices of the sections around the current row, innermost last.
    open: Vec<usize>,
}

#[derive(Debug)]
struct Section {
    path: String,
    shape: Shape,
    about: String,
    rows: Vec<Row>,
}

#[derive(Debug)]
struct Row {
    name: &'static str,
    default: Option<String>,
    example: Option<&'static str>,
    docs: String,
}

impl Section {
    fn header(&self) -> String {
        match self.shape {
            Shape::Table | Shape::Named => format!("[{}]", self.path),
            Shape::List | Shape::EmptyList => format!("[[{}]]", self.path),
        }
    }
}

impl Outline {
    pub(crate) fn enter(&mut self, name: &str, shape: Shape, about: &[&str]) {
        let mut path = match self.open.last() {
            Some(outer) => format!("{}.{name}", self.sections[*outer].path),
            None => name.to_owned(),
        };
        if shape == Shape::Named {
            path.push_str(".NAME");
        }
        self.open.push(self.sections.len());
        self.sections.push(Section {
            path,
            shape,
            about: paragraph(about),
            rows: Vec::new(),
        });
    }

    pub(crate) fn leave(&mut self) {
        self.open.pop();
    }

    pub(crate) fn row(
        &mut self,
        name: &'static str,
        default: Option<String>,
        example: Option<&'static str>,
        docs: &[&str],
    ) {
        let section = self.open.last().expect("settings stand in tables");
        self.sections[*section].rows.push(Row {
            name,
            default,
            example,
            docs: paragraph(docs),
        });
    }
}

/// Doc comment lines as one line of text.
fn paragraph(lines: &[&str]) -> String {
    let lines: Vec<&str> = lines.iter().map(|line| line.trim()).collect();
    lines.join(" ")
}
