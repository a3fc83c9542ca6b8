//! A call of a script, and what comes of it.
//!
//! The folder has the scripts of limits, and what they are asked and answer. Each does in the store what a pure
//! function of `pylae_core::limit` does with a state. [`registry`] has those of where instances come from.

#[cfg(test)]
mod fixture;
pub(crate) mod ledger;
pub(crate) mod places;
pub(crate) mod registry;

use std::fmt::Write as _;
use std::sync::OnceLock;

use aws_lc_rs::digest;
use redis::Value;

/// A Lua script that the store runs. It names one key, so that a Cluster can run it.
#[derive(Debug)]
pub(crate) struct Script {
    /// For the log.
    pub(crate) name: &'static str,
    pub(crate) source: &'static str,
    hash: OnceLock<String>,
}

/// One call of a script.
#[derive(Clone, Debug)]
pub(crate) struct ScriptCall {
    pub(crate) script: &'static Script,
    pub(crate) key: Vec<u8>,
    pub(crate) args: Vec<ScriptArg>,
}

/// An argument of a script.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ScriptArg {
    Integer(i64),
    Bytes(Vec<u8>),
}

/// What a script returns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreValue {
    /// Nothing, which is what Lua's `false` becomes too.
    Nil,
    /// A whole number.
    Integer(i64),
    /// A string.
    Bytes(Vec<u8>),
    /// What a table becomes.
    Array(Vec<StoreValue>),
}

/// What comes of a call.
pub(crate) type StoreResult = Result<StoreValue, StoreError>;

/// Why a call has no result.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum StoreError {
    /// The server is not connected. It has not run the script, unless the connection broke meanwhile.
    #[error("the store is not available")]
    Unavailable,
    /// The server may have run the script.
    #[error("the store did not answer in time")]
    TimedOut,
    /// Too many calls wait. The server has not run the script.
    #[error("too many calls to the store wait")]
    Busy,
    /// The server ran the script, but too few replicas acknowledged it.
    #[error("too few replicas of the store have acknowledged the change")]
    NotReplicated,
    /// The server refused, for example because it is out of memory. The text is the server's.
    #[error("the store refused: {0}")]
    Refused(String),
}

impl Script {
    pub(crate) const fn new(name: &'static str, source: &'static str) -> Self {
        Self { name, source, hash: OnceLock::new() }
    }

    /// The name by which a server knows a script that it has.
    pub(super) fn hash(&self) -> &str {
        self.hash.get_or_init(|| {
            let digest = digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, self.source.as_bytes());
            digest.as_ref().iter().fold(String::with_capacity(40), |mut hex, byte| {
                // Writing to a String cannot fail.
                let _ = write!(hex, "{byte:02x}");
                hex
            })
        })
    }
}

impl ScriptCall {
    /// Adds the call to a pipeline. With `source`, the server need not have the script.
    pub(super) fn add_to(&self, pipeline: &mut redis::Pipeline, source: bool) {
        if source {
            pipeline.cmd("EVAL").arg(self.script.source);
        } else {
            pipeline.cmd("EVALSHA").arg(self.script.hash());
        }
        pipeline.arg(1).arg(&self.key[..]);
        for arg in &self.args {
            match arg {
                ScriptArg::Integer(number) => pipeline.arg(*number),
                ScriptArg::Bytes(bytes) => pipeline.arg(&bytes[..]),
            };
        }
    }
}

impl From<i64> for ScriptArg {
    fn from(number: i64) -> Self {
        Self::Integer(number)
    }
}

impl From<Vec<u8>> for ScriptArg {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Bytes(bytes)
    }
}

impl StoreError {
    /// The label `kind` of the metrics.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Unavailable => "unavailable",
            Self::TimedOut => "timeout",
            Self::Busy => "busy",
            Self::NotReplicated => "not_replicated",
            Self::Refused(_) => "refused",
        }
    }

    pub(super) const KINDS: [&'static str; 5] = ["unavailable", "timeout", "busy", "not_replicated", "refused"];
}

impl StoreValue {
    /// The value of an answer, or the server's error.
    pub(super) fn read(value: Value) -> Result<Self, String> {
        Ok(match value {
            Value::Nil => Self::Nil,
            Value::Int(number) => Self::Integer(number),
            Value::BulkString(bytes) => Self::Bytes(bytes),
            Value::SimpleString(text) => Self::Bytes(text.into_bytes()),
            Value::Okay => Self::Bytes(b"OK".to_vec()),
            Value::Array(items) => Self::Array(items.into_iter().map(Self::read).collect::<Result<_, _>>()?),
            Value::ServerError(error) => return Err(error_text(&error)),
            // Other types belong to RESP3, which is not spoken.
            other => return Err(format!("an answer of an unknown type: {other:?}")),
        })
    }

    pub(crate) fn as_integer(&self) -> Option<i64> {
        match self {
            Self::Integer(number) => Some(*number),
            _ => None,
        }
    }

    pub(crate) fn as_bytes(&self) -> Option<&[u8]> {
        match self {
            Self::Bytes(bytes) => Some(bytes),
            _ => None,
        }
    }

    pub(crate) fn as_array(&self) -> Option<&[Self]> {
        match self {
            Self::Array(items) => Some(items),
            _ => None,
        }
    }
}

/// A server's error as it wrote it: a code in capitals, and a text.
pub(super) fn error_text(error: &redis::ServerError) -> String {
    match error.details() {
        Some(details) => format!("{} {details}", error.code()),
        None => error.code().to_owned(),
    }
}
