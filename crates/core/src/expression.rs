//! Conditions and keys that a configuration states as expressions in CEL, the Common Expression Language.
//!
//! The `cel` crate reads the text. What it means is decided here: each expression is checked against the
//! [variables](variable) and functions that exist, with their types, and compiled once. Evaluating it reads the
//! exchange in place, allocates only where a text is put together or decoded, and has a bounded [cost](budget). What
//! cannot be told (a claim that is absent, a field that is repeated) is a [`ExpressionFailure`], never a guess.

mod budget;
mod compile;
mod datum;
mod evaluate;
mod explain;
mod failed;
mod failure;
mod functions;
mod lookup;
mod mistake;
mod scope;
mod text;
mod tree;
mod variable;

use std::hash::{Hash, Hasher};

use serde::{Deserialize, Serialize};

pub use self::budget::MAX_COST;
use self::datum::{Datum, DatumKind};
use self::evaluate::Evaluation;
pub use self::explain::ExplainedPart;
pub use self::failed::{ExpressionPlace, FailedExpressions};
pub use self::failure::ExpressionFailure;
pub use self::mistake::Mistake;
pub use self::scope::{Conclusion, ExpressionMoment, ExpressionScope, RouteNames};
pub use self::text::{MAX_LENGTH, MAX_TOKENS};
use self::tree::Tree;
pub use self::variable::{VARIABLES, Variable, VariableRow};

/// Longest key that an expression may give, in bytes.
pub const MAX_KEY: usize = 1024;

/// What an expression has to give.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExpressionUse {
    /// True or false.
    Condition,
    /// A text or a whole number, by which requests are told apart.
    Key,
}

/// An expression of a configuration. In the plan it is its text; one with mistakes can be read too, so that
/// [`check`](Self::check) can tell all of them.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub struct Expression {
    text: Box<str>,
    compiled: Result<Tree, Vec<Mistake>>,
}

impl Expression {
    /// Reads and compiles an expression.
    pub fn new(text: &str) -> Self {
        Self { text: text.into(), compiled: text::read(text).and_then(|parsed| compile::compile(&parsed)) }
    }

    /// The text, as it was written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Returns all mistakes of the expression where it is evaluated at `moment` and has to give what is `wanted`.
    pub fn check(&self, moment: ExpressionMoment, wanted: ExpressionUse) -> Result<(), Vec<Mistake>> {
        let tree = self.compiled.as_ref().map_err(Clone::clone)?;
        let mut mistakes: Vec<Mistake> =
            tree.variables.iter().filter_map(|used| used.check(moment, &self.text)).collect();
        let fits = match wanted {
            ExpressionUse::Condition => matches!(tree.kind, DatumKind::Bool | DatumKind::Any),
            ExpressionUse::Key => {
                matches!(tree.kind, DatumKind::Text | DatumKind::Int | DatumKind::Bool | DatumKind::Any)
            }
        };
        if !fits {
            let what = match wanted {
                ExpressionUse::Condition => "a condition must be true or false",
                ExpressionUse::Key => "a key must be a text or a whole number",
            };
            mistakes.push(Mistake::at(&self.text, 0, format!("{what}, and this is {}", tree.kind)));
        }
        if mistakes.is_empty() { Ok(()) } else { Err(mistakes) }
    }

    /// Returns true if the expression reads the user.
    pub fn reads_user(&self) -> bool {
        self.compiled.as_ref().is_ok_and(|tree| tree.variables.iter().any(|used| used.variable.is_of_user()))
    }

    /// Returns true if the condition is met. One that cannot be told is neither met nor not met: it is up to the caller
    /// what is safe then.
    #[inline]
    pub fn is_met(&self, scope: &ExpressionScope<'_>) -> Result<bool, ExpressionFailure> {
        match self.evaluate(scope)? {
            Datum::Bool(met) => Ok(met),
            other => Err(ExpressionFailure::wrong_kind(0, other.kind_name(), "true or false")),
        }
    }

    /// Appends the key that the expression gives. Different keys never give the same bytes.
    pub fn write_key(&self, scope: &ExpressionScope<'_>, out: &mut Vec<u8>) -> Result<(), ExpressionFailure> {
        match self.evaluate(scope)? {
            Datum::Text(text) if text.len() > MAX_KEY => Err(ExpressionFailure::too_long(0)),
            Datum::Text(text) => {
                out.push(b't');
                out.extend_from_slice(&(text.len() as u32).to_le_bytes());
                out.extend_from_slice(text.as_bytes());
                Ok(())
            }
            Datum::Int(number) => {
                out.push(b'i');
                out.extend_from_slice(&number.to_le_bytes());
                Ok(())
            }
            Datum::Bool(answer) => {
                out.push(if answer { b'y' } else { b'n' });
                Ok(())
            }
            other => Err(ExpressionFailure::wrong_kind(0, other.kind_name(), "a text or a whole number")),
        }
    }

    /// Says what a failure of this expression is about, for operators: it names what is read, never what was sent.
    pub fn tell(&self, failure: &ExpressionFailure) -> String {
        failure.tell(&self.text)
    }

    /// Evaluates each part of a condition that is joined by `&&`, or the whole of any other, without side effects.
    pub fn explain(&self, scope: &ExpressionScope<'_>) -> Vec<ExplainedPart> {
        let parts = explain::parts(&self.text).map(|text| {
            let part = Self::new(text);
            ExplainedPart::new(text, part.is_met(scope).map_err(|failure| part.tell(&failure)))
        });
        parts.collect()
    }

    fn evaluate<'a>(&'a self, scope: &'a ExpressionScope<'a>) -> Result<Datum<'a>, ExpressionFailure> {
        match &self.compiled {
            Ok(tree) => Evaluation::new(scope).of(&tree.root),
            // No plan with such an expression is ever served.
            Err(_) => Err(ExpressionFailure::invalid()),
        }
    }
}

impl From<String> for Expression {
    fn from(text: String) -> Self {
        Self::new(&text)
    }
}

impl From<Expression> for String {
    fn from(expression: Expression) -> Self {
        expression.text.into()
    }
}

impl PartialEq for Expression {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Expression {}

impl Hash for Expression {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.text.hash(state);
    }
}

#[cfg(test)]
mod tests;
