//! A response, as policies and stages see it.

use pylae_http::encode::{FieldSource, Via};
use pylae_http::message::connection::ConnectionOptions;
use pylae_http::{Edits, Name, NameSet, ResponseHead};

use super::transform::Transforms;

/// What a client is answered, whoever makes the answer.
#[derive(Debug, Default)]
pub struct Response {
    /// Its status, once there is one.
    pub status: u16,
    /// Changes to it on its way to the client.
    pub edits: Edits,
    /// The instance's bytes: the head, and what came behind it.
    pub buffer: Vec<u8>,
    /// The instance's head, as positions in `buffer`. Empty when the gateway itself answers.
    pub head: ResponseHead,
    /// What its Connection field said.
    pub options: ConnectionOptions,
    /// In which protocol it came from the instance.
    pub via: Via,
    /// Length of its body as it comes, if that is known and there is one.
    pub body_length: Option<u64>,
    /// What its body passes on its way to the client.
    pub transforms: Transforms,
    /// Why the gateway itself answered, if it was an early exit: [`Halt::code`](crate::Halt::code).
    pub code: Option<&'static str>,
}

impl Response {
    /// Forgets everything, and keeps the memory.
    pub(super) fn reset(&mut self) {
        let Self { status, edits, buffer: _, head: _, options: _, via: _, body_length, transforms, code } = self;
        *status = 0;
        edits.clear();
        *body_length = None;
        transforms.clear();
        *code = None;
        self.clear();
    }

    /// Forgets what an instance sent: its bytes, and all that lies in them.
    pub(super) fn clear(&mut self) {
        self.buffer.clear();
        self.head.clear();
        self.options.clear();
        self.via = Via::default();
    }

    /// Whether it is an instance's, not the gateway's own.
    pub fn is_relayed(&self) -> bool {
        self.head.len > 0
    }

    /// Whether it is a stream of events for a page to listen to (`text/event-stream`, HTML section 9.2).
    pub fn is_event_stream(&self) -> bool {
        let media = self.head.fields.get(&self.buffer, Name::ContentType).unwrap_or_default();
        let essence = media.split(|byte| *byte == b';').next().unwrap_or_default();
        essence.trim_ascii_end().eq_ignore_ascii_case(b"text/event-stream")
    }

    /// The value of a field as the client will see it: an edit's, or else the first that the instance sent.
    pub fn value<'a>(&'a self, name: &'a str) -> Option<&'a [u8]> {
        self.edits.get(name.as_bytes()).or_else(|| self.kept_values(name).next())
    }

    /// All values of a field as the client will see them: those of the instance that are kept, then those of edits.
    pub fn values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        let added = self.edits.added().filter(move |(field, _)| field.eq_ignore_ascii_case(name.as_bytes()));
        self.kept_values(name).chain(added.map(|(_, value)| value))
    }

    /// Values of a field that the instance sent, if they go on.
    fn kept_values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        let bytes = name.as_bytes();
        let kept = !self.edits.removes(Name::classify(bytes), bytes) && !self.options.nominates(&self.buffer, bytes);
        self.head.fields.values(&self.buffer, name).filter(move |_| kept)
    }

    /// The fields as they go on.
    pub fn fields(&self) -> FieldSource<'_> {
        let Self { head, buffer, options, edits, .. } = self;
        FieldSource { fields: &head.fields, buf: buffer, options, drop: NameSet::EMPTY, edits }
    }
}
