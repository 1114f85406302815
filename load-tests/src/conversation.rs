//! Requests and the answers they must get, as data: a case is a few steps in order, a table is many cases.
//!
//! The same table runs against the origin and through the front door. What a step expects must hold in both; a step may
//! also say whether the front door has the answer already ([`Step::hit`], [`Step::miss`]).
//!
//! Texts hold variables: `$b` is the case's own bucket, others are kept from earlier answers ([`Step::keep`]).

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::panic::Location;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::client::{Connection, Request, Response};

/// What the answers go through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Through {
    /// Nothing: the origin answers.
    Nothing,
    /// The front door, which says so.
    FrontDoor,
}

/// Variables by name.
pub type Kept = BTreeMap<String, String>;

type Check = Box<dyn Fn(&Response, &Kept) -> Result<()> + Send + Sync>;

/// One request and what is expected of its answer.
pub struct Step {
    at: &'static Location<'static>,
    after: Duration,
    request: Request,
    chunked: bool,
    statuses: Vec<u16>,
    checks: Vec<Check>,
    kept: Vec<(&'static str, &'static str)>,
    x_cache: Option<&'static str>,
}

impl fmt::Debug for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let target: String = self.request.target.chars().take(80).collect();
        write!(
            f,
            "{} {target} ({}:{})",
            self.request.method,
            self.at.file(),
            self.at.line()
        )
    }
}

impl Step {
    #[track_caller]
    pub fn new(method: &str, target: &str) -> Step {
        Step {
            at: Location::caller(),
            after: Duration::ZERO,
            request: Request::new(method, target),
            chunked: false,
            statuses: Vec::new(),
            checks: Vec::new(),
            kept: Vec::new(),
            x_cache: None,
        }
    }

    /// Waits before the request is sent.
    #[must_use]
    pub fn after(mut self, wait: Duration) -> Step {
        self.after = wait;
        self
    }

    #[must_use]
    pub fn field(mut self, name: &str, value: &str) -> Step {
        self.request.fields.append(name, value);
        self
    }

    #[must_use]
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Step {
        self.request.body = body.into();
        self
    }

    /// A body of this type.
    #[must_use]
    pub fn typed(self, content_type: &str, body: impl Into<Vec<u8>>) -> Step {
        self.field("Content-Type", content_type).body(body)
    }

    /// Sends the body in chunks.
    #[must_use]
    pub fn chunked(mut self) -> Step {
        self.chunked = true;
        self.field("Transfer-Encoding", "chunked")
    }

    /// The status of the answer.
    #[must_use]
    pub fn is(self, status: u16) -> Step {
        self.is_one_of(&[status])
    }

    /// The status, where several are right.
    #[must_use]
    pub fn is_one_of(mut self, statuses: &[u16]) -> Step {
        self.statuses = statuses.to_vec();
        self
    }

    /// Anything else about the answer.
    #[must_use]
    pub fn check(
        mut self,
        check: impl Fn(&Response, &Kept) -> Result<()> + Send + Sync + 'static,
    ) -> Step {
        self.checks.push(Box::new(check));
        self
    }

    /// A field with exactly this value.
    #[must_use]
    pub fn has(self, name: &'static str, value: &str) -> Step {
        let value = value.to_owned();
        self.check(move |answer, kept| {
            let (found, expected) = (answer.field(name), fill(&value, kept));
            ensure!(
                found == Some(&expected),
                "{name} is {found:?}, not {expected:?}"
            );
            Ok(())
        })
    }

    /// A field whose list has this member.
    #[must_use]
    pub fn lists(self, name: &'static str, member: &'static str) -> Step {
        self.check(move |answer, _| {
            let found = answer.head.fields.joined(name);
            ensure!(
                answer.head.fields.has_token(name, member),
                "{name} is {found:?}, without {member:?}"
            );
            Ok(())
        })
    }

    /// A field whose value begins like this.
    #[must_use]
    pub fn begins(self, name: &'static str, value: &'static str) -> Step {
        self.check(move |answer, _| {
            let found = answer.field(name);
            ensure!(
                found.is_some_and(|found| found.starts_with(value)),
                "{name} is {found:?}, not {value}..."
            );
            Ok(())
        })
    }

    /// No such field.
    #[must_use]
    pub fn lacks(self, name: &'static str) -> Step {
        self.check(move |answer, _| {
            let found = answer.field(name);
            ensure!(found.is_none(), "{name} is there: {found:?}");
            Ok(())
        })
    }

    /// Exactly this body.
    #[must_use]
    pub fn says(self, body: impl Into<Vec<u8>>) -> Step {
        let body = body.into();
        self.check(move |answer, _| {
            ensure!(
                answer.body == body,
                "the body is not {:?}",
                body[..body.len().min(80)].escape_ascii().to_string()
            );
            Ok(())
        })
    }

    /// A body with this text in it.
    #[must_use]
    pub fn mentions(self, text: &'static str) -> Step {
        self.check(move |answer, kept| {
            let text = fill(text, kept);
            ensure!(
                answer.text().contains(&text),
                "the body does not mention {text:?}"
            );
            Ok(())
        })
    }

    /// A JSON body that equals this one; the order of members does not matter.
    #[must_use]
    pub fn says_json(self, json: &str) -> Step {
        let json = json.to_owned();
        self.check(move |answer, kept| {
            let found: serde_json::Value =
                serde_json::from_slice(&answer.body).context("the body is not JSON")?;
            let expected: serde_json::Value = serde_json::from_str(&fill(&json, kept))?;
            ensure!(found == expected, "the body is {found}, not {expected}");
            Ok(())
        })
    }

    /// Keeps a field's value as a variable. A field that is not there fails the step.
    #[must_use]
    pub fn keep(mut self, field: &'static str, variable: &'static str) -> Step {
        self.kept.push((field, variable));
        self
    }

    /// The front door has it.
    #[must_use]
    pub fn hit(mut self) -> Step {
        self.x_cache = Some("HIT");
        self
    }

    /// The front door has to ask.
    #[must_use]
    pub fn miss(mut self) -> Step {
        self.x_cache = Some("MISS");
        self
    }

    fn to_bytes(&self, kept: &Kept) -> Vec<u8> {
        let mut request = Request::new(&self.request.method, &fill(&self.request.target, kept));
        for (name, value) in self.request.fields.iter() {
            let value = std::str::from_utf8(value)
                .map_or(value.to_vec(), |text| fill(text, kept).into_bytes());
            request.fields.append(name, value);
        }
        request.body = match std::str::from_utf8(&self.request.body) {
            Ok(text) => fill(text, kept).into_bytes(),
            Err(_) => self.request.body.clone(),
        };
        if self.chunked {
            let mut framed = Vec::new();
            for chunk in request.body.chunks(1000) {
                framed.extend(format!("{:x}\r\n", chunk.len()).into_bytes());
                framed.extend(chunk);
                framed.extend(b"\r\n");
            }
            framed.extend(b"0\r\n\r\n");
            request.body = framed;
        }
        request.to_bytes()
    }

    fn judge(&self, answer: &Response, through: Through, kept: &mut Kept) -> Result<()> {
        ensure!(
            self.statuses.contains(&answer.status()),
            "the status is {}, not {:?}",
            answer.status(),
            self.statuses
        );
        for check in &self.checks {
            check(answer, kept)?;
        }
        if through == Through::FrontDoor {
            ensure!(answer.head.fields.has("X-Cache"), "no X-Cache");
            if let Some(expected) = self.x_cache {
                let found = answer.field("X-Cache");
                ensure!(
                    found == Some(expected),
                    "X-Cache is {found:?}, not {expected}"
                );
            }
        }
        for (field, variable) in &self.kept {
            let value = answer.field(field).with_context(|| format!("no {field}"))?;
            kept.insert((*variable).to_owned(), value.to_owned());
        }
        Ok(())
    }
}

/// Puts variables in. A longer name is looked for first, so that `$b` does not take the place of `$before`.
fn fill(text: &str, kept: &Kept) -> String {
    let mut names: Vec<&String> = kept.keys().collect();
    names.sort_by_key(|name| std::cmp::Reverse(name.len()));
    names.into_iter().fold(text.to_owned(), |text, name| {
        text.replace(&format!("${name}"), &kept[name])
    })
}

/// Steps in order, in a bucket of their own.
#[derive(Debug)]
pub struct Case {
    name: &'static str,
    steps: Vec<Step>,
}

/// Names steps.
pub fn case(name: &'static str, steps: impl IntoIterator<Item = Step>) -> Case {
    Case {
        name,
        steps: steps.into_iter().collect(),
    }
}

/// Runs all cases, each in a bucket of its own.
///
/// # Panics
/// When any step got another answer than it expects, with all of them. A case ends at its first failure.
pub async fn run(address: SocketAddr, through: Through, cases: &[Case]) {
    let mut failures = Vec::new();
    for (number, case) in cases.iter().enumerate() {
        let bucket = format!("case-{number}");
        let mut kept = Kept::from([("b".to_owned(), bucket)]);
        let mut connection = None;
        for step in &case.steps {
            tokio::time::sleep(step.after).await;
            let judged = match take_step(step, address, &mut connection, &kept).await {
                Ok(answer) => {
                    let judged = step.judge(&answer, through, &mut kept);
                    judged.map_err(|problem| format!("{problem:#}\n    {answer:?}"))
                }
                Err(problem) => Err(format!("{problem:#}")),
            };
            if let Err(problem) = judged {
                failures.push(format!("{}: {step:?}: {problem}", case.name));
                break;
            }
        }
    }
    assert!(
        failures.is_empty(),
        "{} of {} cases failed:\n\n{}\n",
        failures.len(),
        cases.len(),
        failures.join("\n\n")
    );
}

/// Sends the step over the case's connection, as long as the server keeps that open.
async fn take_step(
    step: &Step,
    address: SocketAddr,
    connection: &mut Option<Connection>,
    kept: &Kept,
) -> Result<Response> {
    let mut open = match connection.take() {
        Some(open) => open,
        None => Connection::open(address).await?,
    };
    // A server that refuses a body may close before it has read it; its answer is there all the same.
    let sent = open.send_raw(&step.to_bytes(kept)).await;
    let answer = open.receive(&step.request.method).await;
    let answer = match (sent, answer) {
        (_, Ok(answer)) => answer,
        (Err(problem), Err(_)) | (Ok(()), Err(problem)) => return Err(problem),
    };
    if !answer.head.fields.has_token("Connection", "close") {
        *connection = Some(open);
    }
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::Backend;

    async fn echo() -> Backend {
        Backend::start(|mut exchange| async move {
            let said = exchange.seen.body.clone();
            exchange
                .reply(200, &[("ETag", "\"1\""), ("X-Cache", "MISS")], said)
                .await?;
            Ok(exchange)
        })
        .await
    }

    #[tokio::test]
    async fn variables_go_from_answers_to_requests() {
        let backend = echo().await;
        let cases = [case(
            "echo",
            [
                Step::new("PUT", "/$b/k")
                    .body("1")
                    .is(200)
                    .keep("ETag", "before")
                    .says("1")
                    .miss(),
                Step::new("PUT", "/$b/k")
                    .chunked()
                    .body("$before")
                    .is(200)
                    .says("\"1\"")
                    .has("ETag", "$before")
                    .says_json("\"1\""),
            ],
        )];
        run(backend.address, Through::FrontDoor, &cases).await;
        assert_eq!(backend.count("/case-0/k"), 2);
    }

    #[tokio::test]
    #[should_panic(expected = "2 of 3 cases failed")]
    async fn wrong_answers_are_all_reported() {
        let backend = echo().await;
        let cases = [
            case("right", [Step::new("GET", "/").is(200)]),
            case("wrong status", [Step::new("GET", "/").is(404)]),
            case("wrong field", [Step::new("GET", "/").is(200).lacks("ETag")]),
        ];
        run(backend.address, Through::Nothing, &cases).await;
    }
}
