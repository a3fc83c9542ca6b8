//! What an answer must be, and the comparison of the bytes that came with it.

use memchr::memmem;

const MAX_HEAD: usize = 64 << 10;

/// A header that must be in the answer, with its value if that matters.
pub(crate) struct Required {
    pub(crate) name: String,
    pub(crate) value: Option<String>,
}

impl Required {
    /// From `NAME` or `NAME: VALUE`.
    pub(crate) fn parse(text: &str) -> Self {
        match text.split_once(':') {
            Some((name, value)) => Self { name: name.trim().to_owned(), value: Some(value.trim().to_owned()) },
            None => Self { name: text.trim().to_owned(), value: None },
        }
    }
}

pub(crate) struct Expected {
    pub(crate) status: u16,
    pub(crate) body: Vec<u8>,
    pub(crate) headers: Vec<Required>,
    /// There is no head: the body is all.
    pub(crate) bare: bool,
}

/// How far one answer has come.
#[derive(Default)]
pub(crate) struct Answer {
    head: Vec<u8>,
    in_body: bool,
    body_seen: usize,
    close: bool,
}

/// One answer checked.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    More,
    /// Complete; `close` if the server said that it closes the connection.
    Done {
        close: bool,
    },
}

impl Answer {
    /// Takes the next bytes of the answer, or says in what they are wrong.
    pub(crate) fn feed(&mut self, mut input: &[u8], expected: &Expected) -> Result<Progress, String> {
        if !self.in_body && !expected.bare {
            let Some(rest) = self.feed_head(input, expected)? else { return Ok(Progress::More) };
            input = rest;
        }
        let wanted = &expected.body[self.body_seen..];
        if input.len() > wanted.len() {
            return Err(format!("{} bytes more than the body has", input.len() - wanted.len()));
        }
        if input != &wanted[..input.len()] {
            let at = input.iter().zip(wanted).take_while(|(got, want)| got == want).count();
            return Err(format!("body differs from byte {} on", self.body_seen + at));
        }
        self.body_seen += input.len();
        if input.len() < wanted.len() {
            return Ok(Progress::More);
        }
        let close = self.close;
        self.head.clear();
        (self.in_body, self.body_seen, self.close) = (false, 0, false);
        Ok(Progress::Done { close })
    }

    /// Whether nothing of an answer has come yet.
    pub(crate) fn is_empty(&self) -> bool {
        !self.in_body && self.head.is_empty()
    }

    /// Collects and checks the head; what follows it, once it is whole.
    fn feed_head<'a>(&mut self, input: &'a [u8], expected: &Expected) -> Result<Option<&'a [u8]>, String> {
        if self.head.is_empty()
            && let Some(end) = memmem::find(input, b"\r\n\r\n")
        {
            self.close = check_head(&input[..end + 2], expected)?;
            self.in_body = true;
            return Ok(Some(&input[end + 4..]));
        }
        let before = self.head.len();
        self.head.extend_from_slice(input);
        let Some(end) = memmem::find(&self.head, b"\r\n\r\n") else {
            return if self.head.len() > MAX_HEAD { Err("head without an end".to_owned()) } else { Ok(None) };
        };
        self.close = check_head(&self.head[..end + 2], expected)?;
        self.in_body = true;
        Ok(Some(&input[end + 4 - before..]))
    }
}

/// Checks status line, framing and required headers; gives whether the server closes afterwards.
fn check_head(head: &[u8], expected: &Expected) -> Result<bool, String> {
    let head = std::str::from_utf8(head).map_err(|_| "head is not text".to_owned())?;
    let (line, fields) = head.split_once("\r\n").unwrap_or((head, ""));
    let status = line.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)).and_then(|code| code.parse().ok());
    if status != Some(expected.status) {
        return Err(format!("status line {line:?}, expected {}", expected.status));
    }
    let mut length = None;
    let mut close = false;
    let mut found = 0_usize;
    for field in fields.split_terminator("\r\n") {
        let (name, value) = field.split_once(':').ok_or_else(|| format!("header line {field:?}"))?;
        let value = value.trim();
        if name.eq_ignore_ascii_case("content-length") {
            let parsed: usize = value.parse().map_err(|_| format!("content-length {value:?}"))?;
            if length.replace(parsed).is_some() {
                return Err("two content-length headers".to_owned());
            }
        } else if name.eq_ignore_ascii_case("transfer-encoding") {
            return Err("chunked body where the origin states a length".to_owned());
        } else if name.eq_ignore_ascii_case("connection") {
            close = value.eq_ignore_ascii_case("close");
        }
        let matches = |want: &&Required| {
            want.name.eq_ignore_ascii_case(name) && want.value.as_ref().is_none_or(|wanted| wanted == value)
        };
        found += expected.headers.iter().filter(matches).count();
    }
    if found < expected.headers.len() {
        let missing = expected.headers.iter().map(|want| want.name.as_str()).collect::<Vec<_>>().join(", ");
        return Err(format!("not every required header ({missing}) is in {head:?}"));
    }
    if length.unwrap_or(0) != expected.body.len() {
        return Err(format!("content-length {length:?}, expected {}", expected.body.len()));
    }
    Ok(close)
}

#[cfg(test)]
mod tests;
