//! Equality and order. Values of different kinds are not equal; numbers are compared by what they are, whatever their
//! kind.

use std::cmp::Ordering;

use crate::expression::budget::Budget;
use crate::expression::datum::Datum;
use crate::expression::failure::ExpressionFailure;
use crate::expression::tree::Order;

/// Returns true if the values are equal.
pub(super) fn are_equal<'a>(
    budget: &Budget,
    one: &Datum<'a>,
    other: &Datum<'a>,
    at: u32,
) -> Result<bool, ExpressionFailure> {
    match (one, other) {
        (Datum::Text(one), Datum::Text(other)) => {
            budget.take_bytes(one.len().min(other.len()), at)?;
            Ok(one == other)
        }
        (Datum::Bool(one), Datum::Bool(other)) => Ok(one == other),
        (Datum::Null, Datum::Null) => Ok(true),
        (Datum::List(one), Datum::List(other)) => {
            if one.len() != other.len() {
                return Ok(false);
            }
            let mut index = 0;
            let differ = one.any(|member| {
                budget.take(1, at)?;
                index += 1;
                // Both have as many members.
                let other = other.get(index - 1).unwrap_or(Datum::Null);
                are_equal(budget, &member, &other, at).map(|equal| !equal)
            })?;
            Ok(!differ)
        }
        (Datum::Claims(one), Datum::Claims(other)) => {
            if one.len() != other.len() {
                return Ok(false);
            }
            for (name, claim) in *one {
                budget.take(1, at)?;
                let Some(other) = other.get(name) else { return Ok(false) };
                if !are_equal(budget, &Datum::of_json(claim), &Datum::of_json(other), at)? {
                    return Ok(false);
                }
            }
            Ok(true)
        }
        (one, other) => Ok(order_of_numbers(one, other) == Some(Ordering::Equal)),
    }
}

/// Compares two values by order.
pub(super) fn is_ordered<'a>(
    budget: &Budget,
    order: Order,
    one: &Datum<'a>,
    other: &Datum<'a>,
    at: u32,
) -> Result<bool, ExpressionFailure> {
    let found = match (one, other) {
        (Datum::Text(one), Datum::Text(other)) => {
            budget.take_bytes(one.len().min(other.len()), at)?;
            Some(one.cmp(other))
        }
        (Datum::Int(_) | Datum::Double(_), Datum::Int(_) | Datum::Double(_)) => order_of_numbers(one, other),
        (Datum::Bool(one), Datum::Bool(other)) => Some(one.cmp(other)),
        (one, other) => return Err(ExpressionFailure::wrong_kind(at, other.kind_name(), one.kind_name())),
    };
    Ok(found.is_some_and(|found| match order {
        Order::Less => found.is_lt(),
        Order::LessOrEqual => found.is_le(),
        Order::Greater => found.is_gt(),
        Order::GreaterOrEqual => found.is_ge(),
    }))
}

/// Returns true if a list has a member that equals `item`.
pub(super) fn is_in<'a>(
    budget: &Budget,
    item: &Datum<'a>,
    list: &Datum<'a>,
    at: u32,
) -> Result<bool, ExpressionFailure> {
    match list {
        Datum::List(list) => list.any(|member| {
            budget.take(1, at)?;
            are_equal(budget, &member, item, at)
        }),
        Datum::Claims(claims) => match item {
            Datum::Text(name) => Ok(claims.contains_key(&**name)),
            _ => Ok(false),
        },
        // There is no user.
        Datum::Null => Ok(false),
        other => Err(ExpressionFailure::wrong_kind(at, other.kind_name(), "a list")),
    }
}

/// The order of two numbers; None if one of the values is none.
fn order_of_numbers(one: &Datum<'_>, other: &Datum<'_>) -> Option<Ordering> {
    match (one, other) {
        (Datum::Int(one), Datum::Int(other)) => Some(one.cmp(other)),
        (Datum::Double(one), Datum::Double(other)) => one.partial_cmp(other),
        (Datum::Int(one), Datum::Double(other)) => order(*one, *other),
        (Datum::Double(one), Datum::Int(other)) => order(*other, *one).map(Ordering::reverse),
        _ => None,
    }
}

/// Compares a whole number with another one without losing digits of the first.
fn order(whole: i64, other: f64) -> Option<Ordering> {
    if other.is_nan() {
        return None;
    }
    if other >= 9_223_372_036_854_775_808.0 {
        return Some(Ordering::Less);
    }
    if other < -9_223_372_036_854_775_808.0 {
        return Some(Ordering::Greater);
    }
    // In range, so that the whole part is exact.
    let by_whole = whole.cmp(&(other.trunc() as i64));
    Some(by_whole.then_with(|| 0.0_f64.partial_cmp(&other.fract()).unwrap_or(Ordering::Equal)))
}
