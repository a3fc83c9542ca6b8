//! What hooks have come to.

use pylae_http::Edits;

use super::changes::{read_told, write_told};
use super::{FlatReader, FlatWriter};
use crate::exchange::answer::Answer;
use crate::exchange::halt::Rejection;
use crate::hook::{self, Step, ToldCost};

/// What the hooks of a half have come to.
#[derive(Debug)]
pub enum HostedStep {
    /// The exchange continues.
    Continue,
    /// A hook answered.
    Answer(Box<Answer>),
    /// A hook failed or refused, which ends the exchange.
    Reject(Box<Rejection>),
}

/// Writes a step. What still waits has failed.
pub fn write_step(step: &Step, to: &mut FlatWriter) {
    match step {
        Step::Continue => to.byte(0),
        Step::Answer(answer) => {
            to.byte(1);
            to.short(answer.status.into());
            to.size(answer.headers.len());
            for (name, value) in &answer.headers {
                to.bytes(name.as_bytes());
                to.bytes(value);
            }
            to.bytes(&answer.body);
        }
        Step::Reject(rejection) => write_rejection(rejection, to),
        Step::Wait { .. } => write_rejection(&hook::failure(), to),
    }
}

fn write_rejection(rejection: &Rejection, to: &mut FlatWriter) {
    to.byte(2);
    to.short(rejection.status.into());
    to.bytes(rejection.code.as_bytes());
    to.bytes(rejection.message.as_bytes());
    to.size(rejection.headers.len());
    for (name, value) in &rejection.headers {
        to.bytes(name.as_bytes());
        to.bytes(value.as_bytes());
    }
}

/// Reads a step. Returns None for what no hook can have come to.
pub fn read_step(from: &mut FlatReader<'_>) -> Option<HostedStep> {
    match from.byte()? {
        0 => Some(HostedStep::Continue),
        1 => {
            let status = from.short()?.try_into().ok().filter(|status| (200..600).contains(status))?;
            let headers = read_fields(from)?.into_iter().map(|(name, value)| (name.into(), value)).collect();
            Some(HostedStep::Answer(Box::new(Answer { status, headers, body: from.bytes()?.into() })))
        }
        2 => {
            let status = from.short()?.try_into().ok().filter(|status| (400..600).contains(status))?;
            let code = from.text()?;
            let code = CODES.iter().find(|known| **known == code).copied()?;
            let message = from.text()?.to_owned().into();
            let text = |(name, value): (String, Vec<u8>)| Some((name.into(), String::from_utf8(value).ok()?));
            let headers = read_fields(from)?.into_iter().map(text).collect::<Option<_>>()?;
            Some(HostedStep::Reject(Box::new(Rejection { status, code, message, headers })))
        }
        _ => None,
    }
}

/// The codes of rejections that hooks cause.
const CODES: [&str; 3] = ["http_error", "hook_error", "hook_stuck"];

/// Reads fields of an answer, which are checked as those of any hook are.
fn read_fields(from: &mut FlatReader<'_>) -> Option<Vec<(String, Vec<u8>)>> {
    let mut edits = Edits::default();
    from.list(|from| {
        let (name, value) = (from.text()?, from.bytes()?);
        edits.append(name.as_bytes(), value).ok()?;
        Some((name.to_owned(), value.to_vec()))
    })
}

impl FlatWriter {
    /// Writes a true cost that a hook has told: the index of a limit, or None for all, and the cost.
    pub fn told(&mut self, told: ToldCost) {
        write_told(told, self);
    }
}

impl FlatReader<'_> {
    /// Reads a true cost.
    pub fn told(&mut self) -> Option<ToldCost> {
        read_told(self)
    }
}
