//! A strict reader of structured-field dictionaries and lists (RFC 8941 §4.2.1, §4.2.2).
//!
//! A field parses whole or not at all. Parameters and inner lists are checked and dropped: no field that is read
//! here gives them a meaning (RFC 9213 §2.1, RFC 9875 §2).

use smallvec::SmallVec;

use super::syntax::is_token_byte;

/// The value of a dictionary member, its text as written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Item<'a> {
    Integer(&'a [u8]),
    Decimal(&'a [u8]),
    /// Without quotes; escapes are left in.
    String(&'a [u8]),
    Token(&'a [u8]),
    ByteSequence,
    Boolean(bool),
    InnerList,
}

/// Members by key, in order of first occurrence.
pub(super) type Dictionary<'a> = SmallVec<[(&'a [u8], Item<'a>); 8]>;

/// Reads a dictionary from the joined lines of a field; `None` when it breaks any rule of the syntax.
/// The last of several members with one key counts (RFC 8941 §3.2).
pub(super) fn dictionary(text: &[u8]) -> Option<Dictionary<'_>> {
    let mut input = Input(text);
    let mut dictionary = Dictionary::new();
    input.skip_spaces();
    while !input.0.is_empty() {
        let key = input.key()?;
        let item = if input.eat(b'=') {
            input.item_or_inner_list()?
        } else {
            Item::Boolean(true)
        };
        input.parameters()?;
        match dictionary.iter_mut().find(|(known, _)| *known == key) {
            Some((_, value)) => *value = item,
            None => dictionary.push((key, item)),
        }
        input.skip_white_space();
        if input.0.is_empty() {
            break;
        }
        if !input.eat(b',') {
            return None;
        }
        input.skip_white_space();
        if input.0.is_empty() {
            return None;
        }
    }
    Some(dictionary)
}

/// Reads a list (RFC 8941 §4.2.1) and gives its Strings, unescaped; `None` when it breaks any rule of the syntax.
pub(super) fn strings(text: &[u8]) -> Option<Vec<String>> {
    let mut input = Input(text);
    let mut strings = Vec::new();
    input.skip_spaces();
    while !input.0.is_empty() {
        if let Item::String(escaped) = input.item_or_inner_list()? {
            strings.push(unescaped(escaped));
        }
        input.parameters()?;
        input.skip_white_space();
        if input.0.is_empty() {
            break;
        }
        if !input.eat(b',') {
            return None;
        }
        input.skip_white_space();
        if input.0.is_empty() {
            return None;
        }
    }
    Some(strings)
}

/// The reader lets only ASCII through, and a backslash before a quote or another alone.
fn unescaped(text: &[u8]) -> String {
    let mut bytes = text.iter();
    let mut string = String::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        let letter = match byte {
            b'\\' => bytes.next().unwrap_or(byte),
            _ => byte,
        };
        string.push(char::from(*letter));
    }
    string
}

struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn peek(&self) -> Option<u8> {
        self.0.first().copied()
    }

    fn eat(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        if found {
            self.0 = &self.0[1..];
        }
        found
    }

    fn take(&mut self, count: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(count);
        self.0 = rest;
        taken
    }

    fn take_while(&mut self, accept: impl Fn(u8) -> bool) -> &'a [u8] {
        let end = self.0.iter().position(|byte| !accept(*byte));
        self.take(end.unwrap_or(self.0.len()))
    }

    fn skip_spaces(&mut self) {
        self.take_while(|byte| byte == b' ');
    }

    fn skip_white_space(&mut self) {
        self.take_while(|byte| byte == b' ' || byte == b'\t');
    }

    /// RFC 8941 §4.2.3.3
    fn key(&mut self) -> Option<&'a [u8]> {
        match self.peek()? {
            b'a'..=b'z' | b'*' => Some(self.take_while(|byte| {
                byte.is_ascii_lowercase()
                    || byte.is_ascii_digit()
                    || matches!(byte, b'_' | b'-' | b'.' | b'*')
            })),
            _ => None,
        }
    }

    /// RFC 8941 §4.2.3.2
    fn parameters(&mut self) -> Option<()> {
        while self.eat(b';') {
            self.skip_spaces();
            self.key()?;
            if self.eat(b'=') {
                self.bare_item()?;
            }
        }
        Some(())
    }

    /// RFC 8941 §4.2.1.1 and §4.2.1.2, without the parameters that follow.
    fn item_or_inner_list(&mut self) -> Option<Item<'a>> {
        if !self.eat(b'(') {
            return self.bare_item();
        }
        loop {
            self.skip_spaces();
            if self.eat(b')') {
                return Some(Item::InnerList);
            }
            self.bare_item()?;
            self.parameters()?;
            if !matches!(self.peek()?, b' ' | b')') {
                return None;
            }
        }
    }

    /// RFC 8941 §4.2.3.1
    fn bare_item(&mut self) -> Option<Item<'a>> {
        match self.peek()? {
            b'-' | b'0'..=b'9' => self.number(),
            b'"' => self.string(),
            b'*' | b'A'..=b'Z' | b'a'..=b'z' => {
                Some(Item::Token(self.take_while(|byte| {
                    byte == b':' || byte == b'/' || is_token_byte(byte)
                })))
            }
            b':' => self.byte_sequence(),
            b'?' => self.boolean(),
            _ => None,
        }
    }

    /// RFC 8941 §4.2.4: 15 digits, or 12 before and 1 to 3 after the point.
    fn number(&mut self) -> Option<Item<'a>> {
        let start = self.0;
        self.eat(b'-');
        let digits = self.take_while(|byte| byte.is_ascii_digit()).len();
        if self.eat(b'.') {
            let fraction = self.take_while(|byte| byte.is_ascii_digit()).len();
            let text = &start[..start.len() - self.0.len()];
            ((1..=12).contains(&digits) && (1..=3).contains(&fraction))
                .then_some(Item::Decimal(text))
        } else {
            let text = &start[..start.len() - self.0.len()];
            (1..=15).contains(&digits).then_some(Item::Integer(text))
        }
    }

    /// RFC 8941 §4.2.5
    fn string(&mut self) -> Option<Item<'a>> {
        let mut position = 1;
        loop {
            match *self.0.get(position)? {
                b'"' => break,
                b'\\' => match self.0.get(position + 1)? {
                    b'"' | b'\\' => position += 2,
                    _ => return None,
                },
                b' '..=b'~' => position += 1,
                _ => return None,
            }
        }
        let quoted = self.take(position + 1);
        Some(Item::String(&quoted[1..position]))
    }

    /// RFC 8941 §4.2.7
    fn byte_sequence(&mut self) -> Option<Item<'a>> {
        self.eat(b':');
        self.take_while(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'='));
        self.eat(b':').then_some(Item::ByteSequence)
    }

    /// RFC 8941 §4.2.8
    fn boolean(&mut self) -> Option<Item<'a>> {
        self.eat(b'?');
        match self.peek()? {
            b'0' | b'1' => Some(Item::Boolean(self.take(1) == b"1")),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dictionaries_parse_whole_or_not_at_all() {
        fn check(text: &str, expected: Option<&[(&str, Item<'_>)]>) {
            let parsed = dictionary(text.as_bytes());
            let expected: Option<Dictionary<'_>> = expected.map(|members| {
                members
                    .iter()
                    .map(|(key, item)| (key.as_bytes(), *item))
                    .collect()
            });
            assert_eq!(parsed, expected, "{text}");
        }
        check("", Some(&[]));
        check("   ", Some(&[]));
        check("a", Some(&[("a", Item::Boolean(true))]));
        check("  a=1\t ", Some(&[("a", Item::Integer(b"1"))]));
        check(
            "max-age=600 ,\tno-store;x=1; y",
            Some(&[
                ("max-age", Item::Integer(b"600")),
                ("no-store", Item::Boolean(true)),
            ]),
        );
        check(
            "a=1, b=2, a=?0",
            Some(&[("a", Item::Boolean(false)), ("b", Item::Integer(b"2"))]),
        );
        check("a=-0.125", Some(&[("a", Item::Decimal(b"-0.125"))]));
        check(
            "a=999999999999999",
            Some(&[("a", Item::Integer(b"999999999999999"))]),
        );
        check(r#"a="x\", y""#, Some(&[("a", Item::String(br#"x\", y"#))]));
        check("a=:aGk=:", Some(&[("a", Item::ByteSequence)]));
        check("a=*x/y:z", Some(&[("a", Item::Token(b"*x/y:z"))]));
        check("a=(1 \"b\";c  d);e=1", Some(&[("a", Item::InnerList)]));

        for broken in [
            "a,",
            "a, ",
            ",a",
            "a,,b",
            "a b",
            "A=1",
            "1=a",
            "-a",
            "a=",
            "a =1",
            "a= 1",
            "\ta",
            "a;",
            "a;B",
            "a=1.",
            "a=.5",
            "a=1.2345",
            "a=1000000000000000",
            "a=1234567890123.0",
            "a=-",
            "a=+1",
            "a=\"x",
            "a=\"\\x\"",
            "a=\"\u{e9}\"",
            "a=:aGk",
            "a=:a b:",
            "a=?2",
            "a=?",
            "a=(1",
            "a=(1,2)",
            "a=(1\t2)",
            "a=(1\"b\")",
            "a=@1",
            "a={}",
            "\u{e9}",
        ] {
            check(broken, None);
        }
    }
}
