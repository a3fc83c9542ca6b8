//! What policies and hooks cost, by route: the time of workers, waits and failures.

mod hooks;
mod page;
mod policies;
mod window;

pub use self::hooks::HookFigures;
pub(crate) use self::policies::{PolicyBlock, PolicyFigures};
pub use self::window::{Cost, CostKind, Costs, HookState, Spending};
pub(crate) use self::window::{CostGrowth, spent};
