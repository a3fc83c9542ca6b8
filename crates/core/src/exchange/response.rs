//! A response, as policies and stages see it.

use pylae_http::encode::{FieldSource, Via};
use pylae_http::message::connection::ConnectionOptions;
use pylae_http::{Edits, Name, NameSet, ResponseHead};

use super::transform::Transforms;

/// The response that the client gets, from an instance or from the gateway itself.
#[derive(Debug, Default)]
pub struct Response {
    /// Status to send; 0 until it is known.
    pub status: u16,
    /// Changes to the head before it is sent to the client.
    pub edits: Edits,
    /// The instance's bytes: the head, and whatever arrived after it.
    pub buffer: Vec<u8>,
    /// The instance's head, as positions in `buffer`. Empty when the gateway itself answers.
    pub head: ResponseHead,
    /// The options of its Connection field.
    pub options: ConnectionOptions,
    /// Protocol in which the instance sent it.
    pub via: Via,
    /// Length of the instance's body, if there is a body and the length is known.
    pub body_length: Option<u64>,
    /// Transforms that the body passes before it is sent.
    pub transforms: Transforms,
    /// Code of the halt that the gateway answered: [`Halt::code`](crate::Halt::code).
    pub code: Option<&'static str>,
}

impl Response {
    /// Prepares for the next response and keeps the memory.
    pub(super) fn reset(&mut self) {
        let Self { status, edits, buffer: _, head: _, options: _, via: _, body_length, transforms, code } = self;
        *status = 0;
        edits.clear();
        *body_length = None;
        transforms.clear();
        *code = None;
        self.clear();
    }

    /// Drops the instance's bytes and everything that refers to them.
    pub(super) fn clear(&mut self) {
        self.buffer.clear();
        self.head.clear();
        self.options.clear();
        self.via = Via::default();
    }

    /// Returns true for an instance's response, false for one of the gateway itself.
    pub fn is_relayed(&self) -> bool {
        self.head.len > 0
    }

    /// Returns true for a stream of server-sent events (`text/event-stream`, HTML section 9.2).
    pub fn is_event_stream(&self) -> bool {
        let media = self.head.fields.get(&self.buffer, Name::ContentType).unwrap_or_default();
        let essence = media.split(|byte| *byte == b';').next().unwrap_or_default();
        essence.trim_ascii_end().eq_ignore_ascii_case(b"text/event-stream")
    }

    /// Returns the value of a field as the client will see it: that of an edit, or else the first that the instance
    /// sent.
    pub fn value<'a>(&'a self, name: &str) -> Option<&'a [u8]> {
        self.edits.get(name.as_bytes()).or_else(|| self.kept_values(name).next())
    }

    /// Returns all values of a field as the client will see them: first those of the instance that are kept, then those
    /// of edits.
    pub fn values<'a>(&'a self, name: &str) -> impl Iterator<Item = &'a [u8]> {
        let added = self.edits.added().filter(move |(field, _)| field.eq_ignore_ascii_case(name.as_bytes()));
        self.kept_values(name).chain(added.map(|(_, value)| value))
    }

    /// Returns true if the body has a content coding before the transforms.
    pub fn is_coded(&self) -> bool {
        // Behind a transform the field may be that of its output.
        let coding = if self.transforms.is_empty() {
            self.value(Name::ContentEncoding.as_str())
        } else {
            self.head.fields.get(&self.buffer, Name::ContentEncoding)
        };
        coding.is_some_and(|coding| !coding.eq_ignore_ascii_case(b"identity"))
    }

    /// Adds the request field `name` to `Vary` (RFC 9110 section 12.5.5), unless it is listed already.
    pub fn vary(&mut self, name: &str) {
        let names = |line: &[u8]| {
            let mut members = line.split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
            members.any(|member| member == b"*" || member.eq_ignore_ascii_case(name.as_bytes()))
        };
        if !self.values("vary").any(names) {
            // Cannot fail: all callers pass literals.
            let _ = self.edits.append(b"Vary", name.as_bytes());
        }
    }

    /// Returns the instance's values of a field, or none if the field is not forwarded.
    fn kept_values<'a>(&'a self, name: &str) -> impl Iterator<Item = &'a [u8]> {
        let bytes = name.as_bytes();
        let kept = !self.edits.removes(Name::classify(bytes), bytes) && !self.options.nominates(&self.buffer, bytes);
        self.head.fields.values(&self.buffer, name).filter(move |_| kept)
    }

    /// The fields to send to the client: those of the instance with the edits applied.
    pub fn fields(&self) -> FieldSource<'_> {
        let Self { head, buffer, options, edits, .. } = self;
        FieldSource { fields: &head.fields, buf: buffer, options, drop: NameSet::EMPTY, edits }
    }
}
