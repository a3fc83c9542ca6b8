//! Why an expression could not be evaluated.

/// Why an expression could not be evaluated for a request. It holds nothing of the request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExpressionFailure {
    /// Where in the text.
    at: u32,
    why: FailureReason,
}

/// What went wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
enum FailureReason {
    Invalid,
    Absent,
    Repeated,
    NotText,
    WrongKind { found: &'static str, wanted: &'static str },
    OutOfRange,
    DividedByZero,
    NotConvertible,
    TooExpensive,
    TooLong,
}

impl ExpressionFailure {
    pub(super) fn invalid() -> Self {
        Self { at: 0, why: FailureReason::Invalid }
    }

    /// A claim, field, parameter or cookie is not there.
    pub(super) fn absent(at: u32) -> Self {
        Self { at, why: FailureReason::Absent }
    }

    /// A field, parameter or cookie is there more than once.
    pub(super) fn repeated(at: u32) -> Self {
        Self { at, why: FailureReason::Repeated }
    }

    pub(super) fn not_text(at: u32) -> Self {
        Self { at, why: FailureReason::NotText }
    }

    pub(super) fn wrong_kind(at: u32, found: &'static str, wanted: &'static str) -> Self {
        Self { at, why: FailureReason::WrongKind { found, wanted } }
    }

    /// A number or a position is out of range.
    pub(super) fn out_of_range(at: u32) -> Self {
        Self { at, why: FailureReason::OutOfRange }
    }

    pub(super) fn divided_by_zero(at: u32) -> Self {
        Self { at, why: FailureReason::DividedByZero }
    }

    pub(super) fn not_convertible(at: u32) -> Self {
        Self { at, why: FailureReason::NotConvertible }
    }

    pub(super) fn too_expensive(at: u32) -> Self {
        Self { at, why: FailureReason::TooExpensive }
    }

    pub(super) fn too_long(at: u32) -> Self {
        Self { at, why: FailureReason::TooLong }
    }

    /// Says what failed, with its place in the text.
    pub(super) fn tell(&self, text: &str) -> String {
        let why = match self.why {
            FailureReason::Invalid => "the expression has mistakes".to_owned(),
            FailureReason::Absent => "it is absent; ask `has(…)` first".to_owned(),
            FailureReason::Repeated => "it was sent more than once, so it has no one value".to_owned(),
            FailureReason::NotText => "it is no text in UTF-8".to_owned(),
            FailureReason::WrongKind { found, wanted } => format!("it is {found}, not {wanted}"),
            FailureReason::OutOfRange => "a number is out of range".to_owned(),
            FailureReason::DividedByZero => "division by zero".to_owned(),
            FailureReason::NotConvertible => "it cannot be converted".to_owned(),
            FailureReason::TooExpensive => "it takes too many steps".to_owned(),
            FailureReason::TooLong => "a text gets too long".to_owned(),
        };
        let at = super::Mistake::at(text, self.at as usize, why);
        format!("{} (line {}, column {} of the expression)", at.message, at.line, at.column)
    }
}
