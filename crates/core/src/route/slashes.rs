//! `%2F` in paths. A route that keeps it takes it for a letter of its segment; services may decode it before they look for what is asked
//! for, and so come to what another route guards.

use pylae_http::message::target::{ENCODED_SLASH, Target, TargetError};

use super::{RouteMatch, Router};

/// Why a path was refused that leads to two places which are guarded differently.
const TWO_PLACES: TargetError =
    TargetError("encoded slash in the path; read as a slash it leads to where others are let in");

impl Router {
    /// Whether a request for `target` may go where it was `found` to go, for all that `%2F` may mean.
    ///
    /// The route must keep `%2F`, and where the path with `/` in its place has a route too, it must let in the same: `find` finds it,
    /// and `alike` compares two routes. A path that has routes for other methods alone is not open to this one.
    pub fn check_slashes(
        &self,
        target: &Target,
        found: RouteMatch,
        find: impl FnOnce(&[u8]) -> RouteMatch,
        alike: impl FnOnce(usize, usize) -> bool,
    ) -> Result<(), TargetError> {
        if !target.has_slashes() {
            return Ok(());
        }
        let route = match found {
            RouteMatch::Route(route) if self.rules[route].keeps_slashes => route,
            RouteMatch::Route(_) | RouteMatch::NotFound => return Err(ENCODED_SLASH),
            RouteMatch::MethodNotAllowed => return Ok(()),
        };
        match find(&target.routing_path_with_slashes_decoded()) {
            RouteMatch::NotFound => Ok(()),
            RouteMatch::Route(other) if other == route || alike(route, other) => Ok(()),
            RouteMatch::Route(_) | RouteMatch::MethodNotAllowed => Err(TWO_PLACES),
        }
    }
}
