//! What a request itself says about caching, and what follows.

use super::dry_run::shown;
use super::finding::Note;
use crate::http::{Method, ResponseHead};
use crate::policy::Request;
use crate::policy::builtin::CacheSettings;
use crate::request::is_shareable;
use crate::rules::cache_control::MaxStale;
use crate::rules::conditional::{self, Precondition};
use crate::rules::storability::ClientDirectives;

/// Fields named at most, so that an explanation stays short.
const WITHHELD_MAX: usize = 16;

/// `stored` is the answer that the request's conditions would be held against.
pub(super) fn of(
    request: &Request,
    settings: Option<&CacheSettings>,
    stored: Option<&ResponseHead>,
) -> Vec<Note> {
    let mut notes = Notes(Vec::new());
    notes.directives(request, settings);
    notes.credentials(request);
    notes.conditions(request, stored);
    notes.withheld(request);
    notes.0
}

struct Notes(Vec<Note>);

impl Notes {
    fn add(&mut self, says: impl Into<String>, text: impl Into<String>, rule: &'static str) {
        self.0.push(Note {
            says: says.into(),
            text: text.into(),
            rule,
        });
    }

    fn directives(&mut self, request: &Request, settings: Option<&CacheSettings>) {
        let directives = &request.directives;
        let ignores = settings.is_some_and(|settings| {
            settings.store_rules.client_directives == ClientDirectives::Ignore
        });
        let field = match request.head.fields.contains("Cache-Control") {
            true => "Cache-Control",
            false => "Pragma",
        };
        let before = self.0.len();
        if directives.no_store {
            self.add(
                "no-store",
                "it is passed, and its answer not stored",
                "RFC 9111 §5.2.1.5",
            );
        }
        if directives.no_cache {
            let (text, rule) = match field {
                "Pragma" => ("as Cache-Control: no-cache", "RFC 9111 §5.4"),
                _ => (
                    "the origin is asked before anything stored is used",
                    "RFC 9111 §5.2.1.4",
                ),
            };
            self.add("no-cache", text, rule);
        }
        if let Some(seconds) = directives.max_age {
            let text = format!("nothing older than {} s will do", seconds.as_secs());
            self.add("max-age", text, "RFC 9111 §5.2.1.1");
        }
        if let Some(seconds) = directives.min_fresh {
            let text = format!("{} s of freshness have to be left", seconds.as_secs());
            self.add("min-fresh", text, "RFC 9111 §5.2.1.3");
        }
        match directives.max_stale {
            Some(MaxStale::Any) => {
                self.add(
                    "max-stale",
                    "stale answers are welcome",
                    "RFC 9111 §5.2.1.2",
                );
            }
            Some(MaxStale::Within(seconds)) => {
                let text = format!("answers up to {} s stale are welcome", seconds.as_secs());
                self.add("max-stale", text, "RFC 9111 §5.2.1.2");
            }
            None => {}
        }
        if directives.only_if_cached {
            self.add(
                "only-if-cached",
                "the backend is not asked",
                "RFC 9111 §5.2.1.7",
            );
        }
        if let Some(seconds) = directives.stale_if_error {
            let text = format!(
                "answers up to {} s stale are welcome while the backend fails",
                seconds.as_secs()
            );
            self.add("stale-if-error", text, "RFC 5861 §4");
        }
        for note in &mut self.0[before..] {
            note.says = format!("{field}: {}", note.says);
            if ignores {
                note.text = "ignored, as cache.honor_client_cache_control says".to_owned();
            }
        }
    }

    fn credentials(&mut self, request: &Request) {
        let fields = &request.head.fields;
        if fields.contains("Authorization") {
            self.add(
                "Authorization",
                "an answer to it is stored only with public, must-revalidate or s-maxage",
                "RFC 9111 §3.5",
            );
        }
        if fields.contains("Cookie") {
            self.add(
                "Cookie",
                "no matter by itself; the answer says private, or names it in Vary, where it counts",
                "RFC 9111 §7.3",
            );
        }
    }

    fn conditions(&mut self, request: &Request, stored: Option<&ResponseHead>) {
        let head = &request.head;
        if !matches!(head.method, Method::Get | Method::Head) {
            return;
        }
        for name in ["If-None-Match", "If-Modified-Since"] {
            let Some(value) = head.fields.get(name) else {
                continue;
            };
            let text = match stored.map(|stored| conditional::evaluate(head, stored)) {
                Some(Precondition::NotModified) => "held against what is stored: 304",
                Some(Precondition::Proceed | Precondition::Undecided) => {
                    "held against what is stored: the whole is sent"
                }
                None => "held against what will be fetched; the backend is asked without it",
            };
            self.add(format!("{name}: {}", shown(value)), text, "RFC 9111 §4.3.2");
        }
        for name in ["If-Match", "If-Unmodified-Since"] {
            if let Some(value) = head.fields.get(name) {
                let text = match stored.map(|stored| conditional::evaluate(head, stored)) {
                    Some(Precondition::Undecided) | None => "the origin decides",
                    Some(_) => "holds for what is stored",
                };
                self.add(format!("{name}: {}", shown(value)), text, "RFC 9111 §4.3.2");
            }
        }
        if let Some(value) = head.fields.get("Range") {
            let text = "the part is cut out here; the whole is fetched where it is not stored";
            self.add(format!("Range: {}", shown(value)), text, "RFC 9110 §14.2");
        }
    }

    fn withheld(&mut self, request: &Request) {
        let fields = request.head.fields.iter();
        let withheld = fields
            .map(|field| field.name)
            .filter(|name| !is_shareable(name.as_bytes()) && !is_judged_here(name));
        for name in withheld.take(WITHHELD_MAX) {
            self.add(
                name,
                "not sent in a fetch whose answer others may get: it could change what is stored",
                "RFC 9111 §7.1",
            );
        }
    }
}

/// Withheld because the cache answers it itself.
fn is_judged_here(name: &str) -> bool {
    conditional::CONDITIONS
        .iter()
        .chain(&["range", "x-if-match"])
        .any(|known| known.eq_ignore_ascii_case(name))
}
