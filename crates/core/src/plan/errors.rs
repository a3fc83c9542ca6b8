//! Error pages: what clients get in place of the gateway's own error bodies.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Error pages by the statuses that they are for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ErrorPages(BTreeMap<PageKey, ErrorPage>);

impl ErrorPages {
    /// The entries for a status, the most precise first, with their keys.
    pub fn of(&self, status: u16) -> impl Iterator<Item = (PageKey, &ErrorPage)> {
        let keys = [PageKey::Status(status), PageKey::Family(status / 100), PageKey::Default];
        keys.into_iter().filter_map(|key| Some((key, self.0.get(&key)?)))
    }
}

/// The statuses that an error page is for. In the plan `404`, `4xx` or `default`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum PageKey {
    /// One status.
    Status(u16),
    /// All statuses with this first digit.
    Family(u16),
    /// Every error.
    Default,
}

impl FromStr for PageKey {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "4xx" => Ok(Self::Family(4)),
            "5xx" => Ok(Self::Family(5)),
            "default" => Ok(Self::Default),
            _ => match text.parse() {
                Ok(status @ 400..=599) if text.len() == 3 => Ok(Self::Status(status)),
                _ => Err(format!("`{text}` is no status from 400 to 599, `4xx`, `5xx` or `default`")),
            },
        }
    }
}

impl fmt::Display for PageKey {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status(status) => write!(to, "{status}"),
            Self::Family(family) => write!(to, "{family}xx"),
            Self::Default => to.write_str("default"),
        }
    }
}

impl Serialize for PageKey {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for PageKey {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        String::deserialize(from)?.parse().map_err(serde::de::Error::custom)
    }
}

/// An error in the formats in which there is a page for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ErrorPage {
    /// `text/html`.
    pub html: Option<PageTemplate>,
    /// `application/json`. Values are only in its strings, apart from the status, which is a number wherever it is.
    pub json: Option<PageTemplate>,
}

/// A page in its parts.
pub type PageTemplate = Vec<PagePart>;

/// A part of a page.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PagePart {
    /// Is sent as it is.
    Text(String),
    /// Is filled in, escaped.
    Value(PageValue),
}

/// What can be filled in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PageValue {
    /// The status code.
    Status,
    /// Its phrase, e.g. `Not Found`.
    Title,
    /// A sentence for people.
    Detail,
    /// The stable code for machines, e.g. `no_route`.
    Code,
    /// The path that the client has asked for.
    Path,
    /// The request id.
    RequestId,
    /// The time.
    Timestamp,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_read_as_they_are_written() {
        for text in ["400", "404", "599", "4xx", "5xx", "default"] {
            assert_eq!(text.parse::<PageKey>().unwrap().to_string(), text);
        }
        for text in ["399", "600", "4XX", "3xx", "0404", "+404", "", "Default", "4", "99999"] {
            assert!(text.parse::<PageKey>().is_err(), "{text}");
        }
    }

    #[test]
    fn the_most_precise_entry_comes_first() {
        let pages: ErrorPages = serde_json::from_str(
            r#"{"default": {"html": [], "json": null}, "4xx": {"html": null, "json": []}, "404": {"html": [], "json": []}}"#,
        )
        .unwrap();
        let keys = |status| pages.of(status).map(|(key, _)| key.to_string()).collect::<Vec<_>>();
        assert_eq!(keys(404), ["404", "4xx", "default"]);
        assert_eq!(keys(499), ["4xx", "default"]);
        assert_eq!(keys(500), ["default"]);
        assert!(ErrorPages::default().of(404).next().is_none());
    }
}
