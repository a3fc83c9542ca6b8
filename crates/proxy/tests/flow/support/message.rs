//! HTTP/1 messages as received.

/// Lower-case names and values, in order and with repetitions.
pub(crate) type Fields = Vec<(String, String)>;

/// A request or a response.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Message {
    pub(crate) start: String,
    pub(crate) fields: Fields,
    pub(crate) body: Vec<u8>,
    pub(crate) trailers: Fields,
}

impl Message {
    /// Parses a head, empty line included.
    pub(crate) fn of_head(head: &[u8]) -> Self {
        let text = latin1(head);
        let mut lines = text.strip_suffix("\r\n\r\n").expect("a head ends with an empty line").split("\r\n");
        let start = lines.next().unwrap_or_default().to_owned();
        Self { start, fields: lines.map(field).collect(), ..Self::default() }
    }

    /// Status of a response.
    pub(crate) fn status(&self) -> u16 {
        self.start.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status")
    }

    /// Method of a request.
    pub(crate) fn method(&self) -> &str {
        self.start.split(' ').next().expect("a method")
    }

    /// Target of a request.
    pub(crate) fn target(&self) -> &str {
        self.start.split(' ').nth(1).expect("a target")
    }

    /// All values of a field.
    pub(crate) fn all(&self, name: &str) -> Vec<&str> {
        self.fields.iter().filter(|(known, _)| known == name).map(|(_, value)| &**value).collect()
    }

    /// The value of a field. Fails if the field is repeated.
    pub(crate) fn single(&self, name: &str) -> Option<&str> {
        let values = self.all(name);
        assert!(values.len() < 2, "{name} is repeated: {values:?}");
        values.first().copied()
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        !self.all(name).is_empty()
    }

    /// The body as text.
    pub(crate) fn text(&self) -> String {
        latin1(&self.body)
    }

    /// Summarizes an error response of the gateway: its status, the last part of the `type` of its problem details and
    /// its Connection field, as in `404 no_route` or `408 head_timeout, close`.
    pub(crate) fn refusal(&self) -> String {
        assert_eq!(self.single("content-type"), Some("application/problem+json"), "{self:?}");
        let body: serde_json::Value = serde_json::from_slice(&self.body).expect("problem details");
        let kind = body["type"].as_str().and_then(|kind| kind.strip_prefix("urn:pylae:error:")).expect("a type");
        let connection = self.single("connection").map_or_else(String::new, |said| format!(", {said}"));
        format!("{} {kind}{connection}", self.status())
    }
}

/// Parses one line of a head or of trailers.
pub(crate) fn field(line: &str) -> (String, String) {
    let (name, value) = line.split_once(':').unwrap_or_else(|| panic!("not a field: {line:?}"));
    (name.to_ascii_lowercase(), value.trim_matches([' ', '\t']).to_owned())
}

pub(crate) fn latin1(bytes: &[u8]) -> String {
    bytes.iter().copied().map(char::from).collect()
}
