//! The graph of the workspace: who may import whom. It is read from the manifests, so that a short cut fails here first.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use toml::{Table, Value};

/// Each package and the siblings that it may use. `load-tests` may use all, and nothing uses it.
const MAY_USE: [(&str, &[&str]); 5] = [
    ("config", &[]),
    ("vcl-compat", &[]),
    ("proxy", &["config", "vcl-compat"]),
    ("origin", &["config"]),
    ("load-tests", &["config", "vcl-compat", "proxy", "origin"]),
];

/// Crates that bring a runtime, sockets or a framework, and must not reach the packages that know none.
const OUTSIDE_WORLD: [&str; 14] = [
    "tokio",
    "tokio-postgres",
    "tokio-rustls",
    "async-trait",
    "pingora-core",
    "pingora-load-balancing",
    "axum",
    "hyper",
    "hyper-util",
    "h2",
    "http",
    "moka",
    "socket2",
    "clap",
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the crate lies in the workspace")
        .to_owned()
}

fn manifest(path: &Path) -> Table {
    let text = fs::read_to_string(path.join("Cargo.toml")).expect("each member has a manifest");
    text.parse().expect("a manifest is TOML")
}

fn members() -> Vec<String> {
    let workspace = manifest(&root());
    let members = workspace["workspace"]["members"].as_array();
    let members = members.expect("the workspace lists its members").iter();
    members
        .filter_map(Value::as_str)
        .map(str::to_owned)
        .collect()
}

/// The names of all dependencies, those of tests, build scripts and single platforms included.
fn dependencies(manifest: &Table) -> BTreeSet<String> {
    const KINDS: [&str; 3] = ["dependencies", "dev-dependencies", "build-dependencies"];
    let mut tables = vec![manifest.clone()];
    if let Some(targets) = manifest.get("target").and_then(Value::as_table) {
        tables.extend(targets.values().filter_map(Value::as_table).cloned());
    }
    let mut names = BTreeSet::new();
    for table in tables {
        for kind in KINDS {
            for (key, value) in table
                .get(kind)
                .and_then(Value::as_table)
                .into_iter()
                .flatten()
            {
                let renamed = value.get("package").and_then(Value::as_str);
                names.insert(renamed.unwrap_or(key).to_owned());
            }
        }
    }
    names
}

#[test]
fn packages_are_named_like_their_folders_and_known_here() {
    for member in members() {
        let name = manifest(&root().join(&member))["package"]["name"].clone();
        assert_eq!(name.as_str(), Some(member.as_str()));
        assert!(
            MAY_USE.iter().any(|(known, _)| *known == member),
            "{member} is new: say here what it may use"
        );
    }
}

#[test]
fn packages_use_only_the_siblings_they_may() {
    let members = members();
    for member in &members {
        let (_, may_use) = MAY_USE.iter().find(|(known, _)| known == member).unwrap();
        for dependency in dependencies(&manifest(&root().join(member))) {
            // A package names itself to turn on a feature for its own tests.
            if dependency == *member {
                continue;
            }
            assert!(
                !members.contains(&dependency) || may_use.contains(&dependency.as_str()),
                "{member} must not use {dependency}"
            );
        }
    }
}

#[test]
fn config_and_the_language_know_no_runtime() {
    for member in members() {
        if !["config", "vcl-compat"].contains(&member.as_str()) {
            continue;
        }
        for dependency in dependencies(&manifest(&root().join(&member))) {
            assert!(
                !OUTSIDE_WORLD.contains(&dependency.as_str()),
                "{member} must not use {dependency}"
            );
        }
    }
}

#[test]
fn members_take_versions_from_the_workspace() {
    for member in members() {
        let manifest = manifest(&root().join(&member));
        for kind in ["dependencies", "dev-dependencies"] {
            for (name, value) in manifest
                .get(kind)
                .and_then(Value::as_table)
                .into_iter()
                .flatten()
            {
                if *name == member {
                    continue;
                }
                let inherits = value.get("workspace").and_then(Value::as_bool);
                assert_eq!(inherits, Some(true), "{member}: {name}");
            }
        }
    }
}
