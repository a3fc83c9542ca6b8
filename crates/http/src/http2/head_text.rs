//! Heads and trailers that were received, written as HTTP/1.1, so that one parser decides about both protocols. What is
//! special to HTTP/2 is checked here (RFC 9113 sections 8.2 and 8.3).

use crate::class;
use crate::http2::hpack::{HeadPart, HpackField};
use crate::{KnownLines, Name};

/// What a section of fields is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Section {
    Request,
    Response,
    Trailers,
}

/// What a head says that concerns its stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct HeadFacts {
    pub(super) content_length: Option<u64>,
    /// Of a response.
    pub(super) status: u16,
    /// The request opens a WebSocket: its text asks for an upgrade, without a key.
    pub(super) websocket: bool,
}

/// Memory that heads are gathered in, for the next one too.
#[derive(Debug, Default)]
pub(super) struct HeadScratch {
    pseudo: Vec<u8>,
    cookies: Vec<u8>,
}

/// A head that is being written.
pub(super) struct HeadText<'a> {
    section: Section,
    out: &'a mut Vec<u8>,
    /// Where the head begins in `out`.
    start: usize,
    /// The field lines of a request.
    lines: &'a mut KnownLines,
    scratch: &'a mut HeadScratch,
    /// Length of `out` from which on nothing is written any more: the parser refuses a head of that size.
    end: usize,
    pseudo: PseudoFields,
    /// True once the first line is written, after which there is no pseudo-field.
    begun: bool,
    has_host: bool,
    facts: HeadFacts,
}

/// Where the pseudo-fields are in `HeadScratch::pseudo`.
#[derive(Default)]
struct PseudoFields {
    method: Option<(usize, usize)>,
    scheme: Option<(usize, usize)>,
    authority: Option<(usize, usize)>,
    path: Option<(usize, usize)>,
    protocol: Option<(usize, usize)>,
    status: Option<(usize, usize)>,
}

impl HeadScratch {
    /// Gives the memory back.
    pub(super) fn rest(&mut self) {
        *self = Self::default();
    }
}

impl<'a> HeadText<'a> {
    /// Begins to append to `out`, up to about `max` bytes. `lines` are found if it is a request.
    pub(super) fn new(
        section: Section,
        max: usize,
        out: &'a mut Vec<u8>,
        lines: &'a mut KnownLines,
        scratch: &'a mut HeadScratch,
    ) -> Self {
        scratch.pseudo.clear();
        scratch.cookies.clear();
        lines.clear();
        let start = out.len();
        let end = start + max;
        let begun = section == Section::Trailers;
        let (pseudo, facts) = (PseudoFields::default(), HeadFacts::default());
        Self { section, out, start, lines, scratch, end, pseudo, begun, has_host: false, facts }
    }

    /// Appends a field. Fails with what makes the message malformed.
    pub(super) fn field(&mut self, field: HpackField<'_>) -> Result<(), &'static str> {
        let (pseudo, request) = (&mut self.pseudo, self.section == Section::Request);
        let place = match field.part() {
            HeadPart::Line { id, underscore } => return self.line(field, id, underscore),
            HeadPart::Malformed => return Err("a field that no message of HTTP/2 may have"),
            _ if self.begun => return Err("a pseudo-field behind other fields"),
            HeadPart::Status if !request => &mut pseudo.status,
            HeadPart::Method if request => &mut pseudo.method,
            HeadPart::Scheme if request => &mut pseudo.scheme,
            HeadPart::Authority if request => &mut pseudo.authority,
            HeadPart::Path if request => &mut pseudo.path,
            HeadPart::Protocol if request => &mut pseudo.protocol,
            _ => return Err("a pseudo-field that does not belong there"),
        };
        if place.is_some() {
            return Err("a pseudo-field twice");
        }
        let start = self.scratch.pseudo.len();
        self.scratch.pseudo.extend_from_slice(field.value());
        *place = Some((start, self.scratch.pseudo.len()));
        Ok(())
    }

    fn line(&mut self, field: HpackField<'_>, id: Name, underscore: bool) -> Result<(), &'static str> {
        if !self.begun {
            self.begin()?;
        }
        match if underscore { Name::Other } else { id } {
            Name::Host if self.section == Section::Request => return self.host(field),
            Name::Cookie if self.section != Section::Trailers => {
                // Cookie crumbs are joined to one field (RFC 9113 section 8.2.3).
                let cookies = &mut self.scratch.cookies;
                if !field.value().is_empty() && self.out.len() + cookies.len() <= self.end {
                    cookies.extend_from_slice(if cookies.is_empty() { b"" } else { b"; " });
                    cookies.extend_from_slice(field.value());
                }
                return Ok(());
            }
            Name::SecWebsocketKey if self.facts.websocket => return Ok(()),
            Name::ContentLength if self.section != Section::Trailers => {
                if self.facts.content_length.is_some() {
                    return Err("more than one Content-Length");
                }
                self.facts.content_length = Some(content_length(field.value())?);
            }
            _ => {}
        }
        if self.out.len() <= self.end {
            self.add(field, id, underscore);
        }
        Ok(())
    }

    fn add(&mut self, field: HpackField<'_>, id: Name, underscore: bool) {
        let at = self.out.len() - self.start;
        self.out.extend_from_slice(field.line());
        self.lines.add(at, field.name().len(), field.line().len(), (id, underscore));
    }

    /// Writes a line that is not as it was received.
    fn write(&mut self, name: &str, value: impl FnOnce(&HeadScratch) -> &[u8], id: Name) {
        let at = self.out.len();
        self.out.extend_from_slice(name.as_bytes());
        self.out.extend_from_slice(b": ");
        self.out.extend_from_slice(value(self.scratch));
        self.out.extend_from_slice(b"\r\n");
        self.lines.add(at - self.start, name.len(), self.out.len() - at, (id, false));
    }

    /// Takes the Host of a request, which `:authority` replaces if it is there (RFC 9113 section 8.3.1).
    fn host(&mut self, field: HpackField<'_>) -> Result<(), &'static str> {
        match self.pseudo.authority {
            _ if self.has_host => Err("more than one Host"),
            Some((start, end)) => {
                self.has_host = true;
                let same = self.scratch.pseudo[start..end].eq_ignore_ascii_case(field.value());
                if same { Ok(()) } else { Err("a Host that is not the authority") }
            }
            None => {
                self.has_host = true;
                self.add(field, Name::Host, false);
                Ok(())
            }
        }
    }

    /// Writes the first line, once all pseudo-fields have come.
    fn begin(&mut self) -> Result<(), &'static str> {
        self.begun = true;
        let Self { out, scratch, pseudo, facts, .. } = self;
        let text = |place: Option<(usize, usize)>| place.map(|(start, end)| &scratch.pseudo[start..end]);
        if self.section == Section::Response {
            let status = text(pseudo.status).ok_or("an answer without a status")?;
            let digits = <&[u8; 3]>::try_from(status).ok().filter(|digits| digits.iter().all(u8::is_ascii_digit));
            let digits = digits.ok_or("a status that is no number of three digits")?;
            facts.status = digits.iter().fold(0, |status, digit| status * 10 + u16::from(digit - b'0'));
            if facts.status == 101 {
                // RFC 9113 section 8.6.
                return Err("101 Switching Protocols");
            }
            append(out, [b"HTTP/1.1 ", status, b" \r\n"]);
            return Ok(());
        }
        let method = text(pseudo.method).filter(|method| class::is_token(method)).ok_or("no method")?;
        let (authority, path) = (text(pseudo.authority), text(pseudo.path));
        let (method, target) = match (method, text(pseudo.protocol)) {
            (b"CONNECT", None) => {
                if path.is_some() || pseudo.scheme.is_some() {
                    return Err("a CONNECT with a path or a scheme");
                }
                (method, authority)
            }
            (b"CONNECT", Some(protocol)) => {
                check_scheme(text(pseudo.scheme))?;
                check_path(method, path)?;
                facts.websocket = protocol == b"websocket";
                if facts.websocket { (&b"GET"[..], path) } else { (method, authority) }
            }
            (_, Some(_)) => return Err("a protocol without CONNECT"),
            (_, None) => {
                check_scheme(text(pseudo.scheme))?;
                check_path(method, path)?;
                (method, path)
            }
        };
        let target = target.filter(|target| is_target(target)).ok_or("no authority")?;
        append(out, [method, b" ", target, b" HTTP/1.1\r\n"]);
        if let Some((start, end)) = pseudo.authority {
            self.write("host", |scratch| &scratch.pseudo[start..end], Name::Host);
        }
        Ok(())
    }

    /// Ends the head. `has_body`: the stream does not end with it. A head that is too large remains incomplete, for its
    /// parser to refuse.
    pub(super) fn finish(mut self, has_body: bool) -> Result<HeadFacts, &'static str> {
        if !self.begun {
            self.begin()?;
        }
        if self.section == Section::Request {
            if !self.has_host && self.pseudo.authority.is_none() {
                return Err("neither an authority nor a Host");
            }
            if self.facts.websocket {
                self.out.extend_from_slice(b"connection: upgrade\r\nupgrade: websocket\r\n");
            } else if has_body && self.facts.content_length.is_none() {
                self.write("transfer-encoding", |_| b"chunked", Name::TransferEncoding);
            }
        }
        if !self.scratch.cookies.is_empty() {
            self.write("cookie", |scratch| &scratch.cookies, Name::Cookie);
        }
        if self.out.len() <= self.end {
            // The owner adds a key to the head of a WebSocket.
            if self.section == Section::Request && !self.facts.websocket {
                self.lines.complete(self.out.len() - self.start);
            }
            self.out.extend_from_slice(b"\r\n");
        } else if self.section == Section::Trailers {
            return Err("trailers that are too large");
        }
        Ok(self.facts)
    }
}

fn append<const N: usize>(out: &mut Vec<u8>, parts: [&[u8]; N]) {
    for part in parts {
        out.extend_from_slice(part);
    }
}

fn is_target(bytes: &[u8]) -> bool {
    !bytes.is_empty() && class::target_end_from(bytes, 0) == bytes.len()
}

fn check_scheme(scheme: Option<&[u8]>) -> Result<(), &'static str> {
    let known =
        scheme.is_some_and(|scheme| scheme.eq_ignore_ascii_case(b"http") || scheme.eq_ignore_ascii_case(b"https"));
    if known { Ok(()) } else { Err("neither http nor https as scheme") }
}

/// RFC 9113 section 8.3.1.
fn check_path(method: &[u8], path: Option<&[u8]>) -> Result<(), &'static str> {
    match path {
        Some(b"*") if method == b"OPTIONS" => Ok(()),
        Some(path @ [b'/', ..]) if is_target(path) => Ok(()),
        _ => Err("no path"),
    }
}

fn content_length(value: &[u8]) -> Result<u64, &'static str> {
    let digits = !value.is_empty() && value.len() <= 19 && value.iter().all(u8::is_ascii_digit);
    if !digits {
        return Err("a Content-Length that is no length");
    }
    Ok(value.iter().fold(0, |length, digit| length * 10 + u64::from(digit - b'0')))
}
