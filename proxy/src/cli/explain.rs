//! `lacquer explain`: a question to the operator's port of a running front door.

use std::io;
use std::str::FromStr;

use config::BackendAddress;

use super::order::{Connection, TargetUrl, read_body};
use crate::http::{Fields, Method, Scheme};

/// A request to explain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    pub method: String,
    pub url: TargetUrl,
    pub fields: Vec<FieldArgument>,
    /// The host of a URL that names none.
    pub own_host: String,
    pub form: AnswerForm,
}

/// What the answer is read by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AnswerForm {
    Text,
    Json,
}

/// `Name: value`, as `-H` takes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldArgument {
    name: String,
    value: String,
}

/// A text that is no field.
#[derive(Debug, thiserror::Error)]
pub enum FieldArgumentError {
    #[error("write it as 'Name: value'")]
    Colon,
    #[error(transparent)]
    Field(#[from] crate::http::InvalidField),
}

impl FromStr for FieldArgument {
    type Err = FieldArgumentError;

    fn from_str(text: &str) -> Result<FieldArgument, FieldArgumentError> {
        let (name, value) = text.split_once(':').ok_or(FieldArgumentError::Colon)?;
        let value = value.trim();
        Fields::new().try_append(name.as_bytes(), value.as_bytes())?;
        Ok(FieldArgument {
            name: name.to_owned(),
            value: value.to_owned(),
        })
    }
}

/// A method name (RFC 9110 §9.1).
pub(super) fn method(text: &str) -> Result<String, String> {
    match Method::parse(text.as_bytes()) {
        Some(method) => Ok(method.to_string()),
        None => Err("a method is a word without spaces, such as GET".to_owned()),
    }
}

impl Question {
    /// The head of the request in question. A Host among the fields stands over the URL's host.
    fn head(&self) -> String {
        let is_host = |field: &&FieldArgument| field.name.eq_ignore_ascii_case("host");
        let named = self.fields.iter().find(is_host);
        let host = match named {
            Some(field) => field.value.as_str(),
            None => self.url.authority().unwrap_or(&self.own_host),
        };
        let (method, target) = (&self.method, self.url.target());
        // The absolute form is how a target names its scheme; the asterisk and CONNECT have none.
        let mut head = match self.url.scheme() {
            Scheme::Https => format!("{method} https://{host}{target} HTTP/1.1\r\n"),
            Scheme::Http => format!("{method} {target} HTTP/1.1\r\n"),
        };
        if named.is_none() {
            head.push_str(&format!("Host: {host}\r\n"));
        }
        for FieldArgument { name, value } in &self.fields {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head + "\r\n"
    }

    fn request(&self, to: &BackendAddress) -> String {
        let host = match to {
            BackendAddress::Host { .. } => to.to_string(),
            BackendAddress::Unix(_) => "localhost".to_owned(),
        };
        let accept = match self.form {
            AnswerForm::Text => "text/plain",
            AnswerForm::Json => "application/json",
        };
        let head = self.head();
        format!(
            "POST /explain HTTP/1.1\r\nHost: {host}\r\nUser-Agent: lacquer/{}\r\nAccept: {accept}\r\n\
             Content-Type: message/http\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{head}",
            env!("CARGO_PKG_VERSION"),
            head.len()
        )
    }
}

/// Why there is no explanation.
#[derive(Debug, thiserror::Error)]
pub enum ExplainError {
    #[error(
        "no front door answers at {to}, the operator's port (metrics.address); is it running? --to ADDR names another"
    )]
    Connect {
        to: BackendAddress,
        source: io::Error,
    },
    #[error("the front door at {to} did not answer")]
    Exchange {
        to: BackendAddress,
        source: io::Error,
    },
    #[error("what answers at {to} is no operator's port of a front door")]
    NotHttp { to: BackendAddress },
    #[error("what answers at {to} does not explain: {status} {text}{}", advice(*.status))]
    Refused {
        to: BackendAddress,
        status: u16,
        text: String,
    },
}

fn advice(status: u16) -> &'static str {
    match status {
        404 | 405 => {
            " (is it the operator's port of this version? metrics.address says where that is)"
        }
        _ => "",
    }
}

/// Asks, and gives the explanation as it came.
pub fn ask(question: &Question, to: &BackendAddress) -> Result<String, ExplainError> {
    let mut connection = Connection::open(to).map_err(|source| ExplainError::Connect {
        to: to.clone(),
        source,
    })?;
    let reply = connection
        .exchange(question.request(to).as_bytes())
        .map_err(|source| ExplainError::Exchange {
            to: to.clone(),
            source,
        })?;
    let (status, body) =
        read_body(&reply).ok_or_else(|| ExplainError::NotHttp { to: to.clone() })?;
    let text = String::from_utf8_lossy(body);
    match status {
        200 => Ok(printable(&text)),
        _ => Err(ExplainError::Refused {
            to: to.clone(),
            status,
            text: printable(text.lines().next().unwrap_or_default()),
        }),
    }
}

/// Fit for a terminal, whoever has answered.
fn printable(text: &str) -> String {
    text.chars()
        .filter(|character| *character == '\n' || !character.is_control())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(scheme_and_path: &str, fields: &[&str], expected: &str) {
        let question = Question {
            method: "GET".to_owned(),
            url: scheme_and_path.parse().unwrap(),
            fields: fields.iter().map(|field| field.parse().unwrap()).collect(),
            own_host: "127.0.0.1:6081".to_owned(),
            form: AnswerForm::Text,
        };
        assert_eq!(question.head(), expected);
    }

    #[test]
    fn question_is_the_head_of_a_request() {
        check(
            "http://h:81/a?b",
            &[],
            "GET /a?b HTTP/1.1\r\nHost: h:81\r\n\r\n",
        );
        check("/a", &[], "GET /a HTTP/1.1\r\nHost: 127.0.0.1:6081\r\n\r\n");
        check(
            "https://h/a",
            &["Accept:x"],
            "GET https://h/a HTTP/1.1\r\nHost: h\r\nAccept: x\r\n\r\n",
        );
        check(
            "http://h/a",
            &["X: 1", "host: other"],
            "GET /a HTTP/1.1\r\nX: 1\r\nhost: other\r\n\r\n",
        );
    }

    #[test]
    fn fields_that_are_none_are_refused() {
        for text in ["x", "a b: c", ": c", "x: a\r\nb: c", "x: \u{7}"] {
            assert!(text.parse::<FieldArgument>().is_err(), "{text:?}");
        }
        for text in ["", "GE T", "GET\r\n"] {
            assert!(method(text).is_err(), "{text:?}");
        }
        assert_eq!(
            method("get"),
            Ok("get".to_owned()),
            "another method than GET"
        );
    }
}
