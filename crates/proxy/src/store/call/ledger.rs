//! The ledger of a limit in the store: see [`pylae_core::limit::Ledger`], whose work `ledger.lua` does.

use pylae_core::limit::{GENERATION, LeaseReport, LedgerAnswer, LedgerCall, LimitAlgorithm};

use super::{Script, ScriptArg, ScriptCall, StoreValue};

static LEDGER: Script = Script::new("ledger", include_str!("ledger.lua"));

/// Whole numbers up to this one are exact in the script.
const EXACT: u64 = 1 << 53;
/// More tokens than any state counts.
const MOST_TOKENS: u64 = 1 << 40;

/// The call of the script. With `clear`, the key is deleted first.
pub(crate) fn call(key: Vec<u8>, call: &LedgerCall, clear: bool) -> ScriptCall {
    let shape = &call.shape;
    let numbers = [
        u64::from(clear),
        match shape.algorithm() {
            LimitAlgorithm::TokenBucket => 1,
            LimitAlgorithm::SlidingWindow => 2,
            LimitAlgorithm::FixedWindow => 3,
        },
        shape.limit().into(),
        shape.capacity().into(),
        shape.per(),
        shape.refill().into(),
        shape.every(),
        call.credits.min(MOST_TOKENS),
        call.credit_age,
        call.debits.min(MOST_TOKENS),
        u64::from(call.hold),
        call.lease.into(),
        call.share.into(),
        call.used.len() as u64,
        call.returned.len() as u64,
        call.takes.len() as u64,
    ];
    let report = |report: &LeaseReport| [report.generation, report.count.into()];
    let reports = call.used.iter().chain(&call.returned).flat_map(report);
    let takes = call.takes.iter().flat_map(|take| [take.cost.into(), take.count.into()]);
    let args = numbers.into_iter().chain(reports).chain(takes).map(integer).collect();
    ScriptCall { script: &LEDGER, key, args }
}

fn integer(number: u64) -> ScriptArg {
    ScriptArg::Integer(number.min(EXACT - 1).cast_signed())
}

/// The answer to a call; None if it cannot be one.
pub(crate) fn answer(call: &LedgerCall, value: &StoreValue) -> Option<LedgerAnswer> {
    let items = value.as_array()?;
    let number = |place: usize, most: u64| {
        let number = u64::try_from(items.get(place)?.as_integer()?).ok()?;
        (number <= most).then_some(number)
    };
    let token = |place: usize, most: u32| u32::try_from(number(place, most.into())?).ok();
    let asked = call.takes.iter().fold(0, |sum: u32, take| sum.saturating_add(take.count));
    Some(LedgerAnswer {
        granted: token(0, asked)?,
        leased: token(1, call.lease)?,
        generation: number(2, EXACT)?,
        valid_for: number(3, 2 * GENERATION)?,
        left: token(4, call.shape.capacity())?,
        ready_after: match items.get(5)?.as_integer()? {
            -1 => u64::MAX,
            _ => number(5, EXACT)?,
        },
        full_after: number(6, EXACT)?,
        replaced: number(7, 1)? == 1,
    })
}

#[cfg(test)]
mod tests;
