//! Verification of JSON Web Tokens.

use std::time::Duration;

use pylae_policies::authentication::TokenVerifier;
use pyo3::prelude::*;

use crate::errors::plan_error;
use crate::plan::parse_part;

/// Id, mail address, role and permissions of a user.
type UserFields = (String, String, String, Vec<String>);

/// Verifies tokens as the authenticator `jwt` does. Times are in nanoseconds since the Unix epoch.
#[pyclass(name = "TokenVerifier", frozen)]
pub(super) struct PyTokenVerifier(TokenVerifier);

#[pymethods]
impl PyTokenVerifier {
    /// `settings` is an authenticator of the plan whose keys are at hand.
    #[new]
    fn make(settings: &str) -> PyResult<Self> {
        TokenVerifier::build(parse_part(settings)?).map(Self).map_err(|problems| plan_error(&problems))
    }

    /// Returns whose token it is, or why it is refused.
    fn verify(&self, token: &str, wall: u64) -> (Option<UserFields>, &'static str) {
        match self.0.verify(token, Duration::from_nanos(wall)) {
            Ok(user) => (Some((user.id.clone(), user.email.clone(), user.role.clone(), user.permissions.clone())), ""),
            Err(why) => (None, why),
        }
    }
}
