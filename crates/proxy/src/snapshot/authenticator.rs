//! The functions of authenticators, called as hooks.

use std::sync::Arc;

use pylae_core::Exchange;
use pylae_core::hook::{Hooks, Step};
use pylae_policies::authentication::{AskedFunction, FunctionEnd, FunctionResult, IdentityFunction};

/// The function of one authenticator: the only hook of its stage.
pub(super) struct HookedFunction(pub(super) Arc<dyn Hooks>);

impl IdentityFunction for HookedFunction {
    fn ask(&self, mut exchange: Box<Exchange>) -> AskedFunction {
        let step = self.0.on_request(&mut exchange);
        match end_of(step) {
            Ok(end) => AskedFunction::Ended(Box::new(FunctionResult { exchange, end })),
            Err(step) => AskedFunction::Pending(Box::pin(wait(Arc::clone(&self.0), exchange, step))),
        }
    }
}

/// Waits until the function has ended, each time as long as the step says.
async fn wait(hooks: Arc<dyn Hooks>, mut exchange: Box<Exchange>, mut step: Step) -> Box<FunctionResult> {
    loop {
        step = match step {
            Step::Wait { mut until, timeout } => {
                let in_time = tokio::time::timeout(timeout, &mut until).await.is_ok();
                drop(until);
                hooks.resume(&mut exchange, in_time)
            }
            step => step,
        };
        match end_of(step) {
            Ok(end) => return Box::new(FunctionResult { exchange, end }),
            Err(waiting) => step = waiting,
        }
    }
}

/// Returns how the function has ended, or the step back if it has not.
fn end_of(step: Step) -> Result<FunctionEnd, Step> {
    match step {
        Step::Continue => Ok(FunctionEnd::Continue),
        Step::Answer(answer) => Ok(FunctionEnd::Answer(answer)),
        Step::Reject(rejection) => Ok(FunctionEnd::Reject(rejection)),
        step @ Step::Wait { .. } => Err(step),
    }
}
