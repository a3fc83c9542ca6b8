//! Arithmetic: of whole numbers with overflow as a failure, of other numbers, and texts that are put together.

use crate::expression::budget::Budget;
use crate::expression::datum::Datum;
use crate::expression::failure::ExpressionFailure;
use crate::expression::functions;
use crate::expression::tree::Sign;

/// Applies an operator to two values.
pub(super) fn arithmetic<'a>(
    budget: &Budget,
    sign: Sign,
    one: Datum<'a>,
    other: Datum<'a>,
    at: u32,
) -> Result<Datum<'a>, ExpressionFailure> {
    match (one, other) {
        (Datum::Int(one), Datum::Int(other)) => whole(sign, one, other, at).map(Datum::Int),
        (Datum::Double(one), Datum::Double(other)) => Ok(Datum::Double(match sign {
            Sign::Plus => one + other,
            Sign::Minus => one - other,
            Sign::Times => one * other,
            Sign::Divided => one / other,
            Sign::Rest => return Err(ExpressionFailure::wrong_kind(at, "a number", "a whole number")),
        })),
        (Datum::Text(one), Datum::Text(other)) if sign == Sign::Plus => functions::join(budget, one, &other, at),
        (one, other) => Err(ExpressionFailure::wrong_kind(at, other.kind_name(), one.kind_name())),
    }
}

fn whole(sign: Sign, one: i64, other: i64, at: u32) -> Result<i64, ExpressionFailure> {
    if other == 0 && matches!(sign, Sign::Divided | Sign::Rest) {
        return Err(ExpressionFailure::divided_by_zero(at));
    }
    let result = match sign {
        Sign::Plus => one.checked_add(other),
        Sign::Minus => one.checked_sub(other),
        Sign::Times => one.checked_mul(other),
        Sign::Divided => one.checked_div(other),
        Sign::Rest => one.checked_rem(other),
    };
    result.ok_or_else(|| ExpressionFailure::out_of_range(at))
}

/// The same number below zero.
pub(super) fn negative(value: &Datum<'_>, at: u32) -> Result<Datum<'static>, ExpressionFailure> {
    match value {
        Datum::Int(number) => number.checked_neg().map(Datum::Int).ok_or_else(|| ExpressionFailure::out_of_range(at)),
        Datum::Double(number) => Ok(Datum::Double(-number)),
        other => Err(ExpressionFailure::wrong_kind(at, other.kind_name(), "a number")),
    }
}
