//! `--name value` options.

use std::str::FromStr;

/// Options that take no value.
const FLAGS: &[&str] = &["gate", "grpc", "chunked", "awake"];

pub(crate) struct Args {
    options: Vec<(String, String)>,
}

impl Args {
    pub(crate) fn parse(mut words: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut options = Vec::new();
        while let Some(word) = words.next() {
            let name = word.strip_prefix("--").ok_or_else(|| format!("expected an option, found {word:?}"))?;
            let value = if FLAGS.contains(&name) {
                String::new()
            } else {
                words.next().ok_or_else(|| format!("--{name} needs a value"))?
            };
            options.push((name.to_owned(), value));
        }
        Ok(Self { options })
    }

    /// Refuses every option that is not in `known`.
    pub(crate) fn only(&self, known: &[&str]) -> Result<(), String> {
        match self.options.iter().find(|(name, _)| !known.contains(&name.as_str())) {
            Some((name, _)) => Err(format!("unknown option --{name}")),
            None => Ok(()),
        }
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.options.iter().any(|(known, _)| known == name)
    }

    pub(crate) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.options.iter().filter(move |(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    pub(crate) fn get<T: FromStr>(&self, name: &str) -> Result<Option<T>, String> {
        self.all(name)
            .last()
            .map(|text| text.parse().map_err(|_| format!("--{name}: {text:?} is not a valid value")))
            .transpose()
    }

    pub(crate) fn require<T: FromStr>(&self, name: &str) -> Result<T, String> {
        self.get(name)?.ok_or_else(|| format!("--{name} is required"))
    }
}
