//! Error pages: which one a client gets, and what is filled in.

use std::borrow::Cow;

use pylae_http::encode;

use crate::plan::{ErrorPages, PageKey, PagePart, PageTemplate, PageValue};
use crate::request::accept::Wanted;

/// Most bytes of a value that is filled in, before it is escaped. The rest is cut off.
const MAX_VALUE: usize = 1024;

/// The pages that an error may become.
#[derive(Clone, Copy, Debug, Default)]
pub struct FoundPages<'a> {
    /// For clients that want HTML, with its key.
    pub html: Option<(PageKey, &'a PageTemplate)>,
    /// For other clients, with its key.
    pub json: Option<(PageKey, &'a PageTemplate)>,
}

/// The format of an error body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorFormat {
    /// JSON.
    Json,
    /// HTML.
    Html,
    /// Plain text.
    Text,
}

impl<'a> FoundPages<'a> {
    /// The pages for a status: for each format the most precise entry of the first of `layers` that has one.
    pub fn of(status: u16, layers: &[&'a ErrorPages]) -> Self {
        let mut found = Self::default();
        for (key, page) in layers.iter().flat_map(|pages| pages.of(status)) {
            found.html = found.html.or(page.html.as_ref().map(|template| (key, template)));
            found.json = found.json.or(page.json.as_ref().map(|template| (key, template)));
        }
        found
    }

    /// Returns true if what a client gets depends on its Accept.
    pub fn is_some(&self) -> bool {
        self.html.is_some() || self.json.is_some()
    }

    /// The format for a client with these lines of Accept. Where there is an HTML page, clients get it that want HTML
    /// more than JSON, as browsers do; otherwise JSON unless the client accepts only HTML or plain text.
    pub fn choose<'b>(&self, accept: impl Iterator<Item = &'b [u8]>) -> ErrorFormat {
        let Wanted { json, html, text } = Wanted::read(accept);
        if html.weight > 0 && html > json && self.html.is_some() {
            ErrorFormat::Html
        } else if json.weight > 0 || (html.weight == 0 && text.weight == 0) {
            ErrorFormat::Json
        } else if html.weight >= text.weight {
            ErrorFormat::Html
        } else {
            ErrorFormat::Text
        }
    }

    /// The page in a format.
    pub fn in_format(&self, format: ErrorFormat) -> Option<&'a PageTemplate> {
        let (_, template) = match format {
            ErrorFormat::Json => self.json,
            ErrorFormat::Html => self.html,
            ErrorFormat::Text => None,
        }?;
        Some(template)
    }
}

/// What is filled in.
pub(super) struct PageValues<'a> {
    pub(super) status: u16,
    pub(super) detail: &'a str,
    pub(super) code: &'a str,
    pub(super) path: &'a [u8],
    pub(super) request_id: &'a [u8],
    pub(super) timestamp: &'a str,
}

impl<'a> PageValues<'a> {
    fn get(&self, value: PageValue) -> Cow<'a, str> {
        match value {
            PageValue::Status => self.status.to_string().into(),
            PageValue::Title => encode::reason(self.status).into(),
            PageValue::Detail => self.detail.into(),
            PageValue::Code => self.code.into(),
            PageValue::Path => String::from_utf8_lossy(&self.path[..self.path.len().min(MAX_VALUE + 1)]),
            PageValue::RequestId => String::from_utf8_lossy(self.request_id),
            PageValue::Timestamp => self.timestamp.into(),
        }
    }
}

/// Fills in a page. Whatever the values are, they stay where they are put: text in HTML, a part of a string in JSON.
pub(super) fn fill(template: &PageTemplate, format: ErrorFormat, values: &PageValues<'_>) -> String {
    let escape = if format == ErrorFormat::Html { escape_html } else { escape_json };
    let mut out = String::new();
    for part in template {
        match part {
            PagePart::Text(text) => out.push_str(text),
            PagePart::Value(value) => {
                let value = values.get(*value);
                let clipped = clip(&value);
                escape(clipped, &mut out);
                if clipped.len() < value.len() {
                    out.push('…');
                }
            }
        }
    }
    out
}

/// As much of a value as is filled in.
fn clip(value: &str) -> &str {
    let end = (0..=MAX_VALUE.min(value.len())).rev().find(|end| value.is_char_boundary(*end));
    &value[..end.unwrap_or_default()]
}

/// Appends a text for the content of an element or a quoted attribute.
pub(super) fn escape_html(text: &str, out: &mut String) {
    for letter in text.chars() {
        match letter {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            // HTML has no way to say them.
            _ if letter.is_control() && !matches!(letter, '\t' | '\n') => out.push(char::REPLACEMENT_CHARACTER),
            _ => out.push(letter),
        }
    }
}

/// Appends a text for the inside of a JSON string.
fn escape_json(text: &str, out: &mut String) {
    // Cannot fail: it is a string.
    let quoted = serde_json::to_string(text).unwrap_or_default();
    out.push_str(quoted.get(1..quoted.len() - 1).unwrap_or_default());
}

#[cfg(test)]
mod tests;
