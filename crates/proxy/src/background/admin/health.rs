//! `/health` while no Python code can run: who has the token is told which hook does not return.

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, digest};
use parking_lot::Mutex;
use pylae_http::{Method, RequestHead};

/// Describes how the gateway is doing, as JSON. None if it has stopped.
pub(crate) type HealthSource = Box<dyn Fn() -> Option<String> + Send + Sync>;

/// Who may be told, and what.
pub(super) struct AdminHealth {
    /// Hash of the token; None if everyone who can connect may see all.
    token: Mutex<Option<Vec<u8>>>,
    source: HealthSource,
}

impl AdminHealth {
    pub(super) fn new(token: Option<&str>, source: HealthSource) -> Self {
        Self { token: Mutex::new(token.map(hash)), source }
    }

    pub(super) fn set_token(&self, token: &str) {
        if let Some(hashed) = &mut *self.token.lock() {
            *hashed = hash(token);
        }
    }

    /// Returns the document if this is a request for it with the token.
    pub(super) fn answer(&self, head: &RequestHead, buf: &[u8]) -> Option<String> {
        let path = head.target.of(buf).split(|&byte| byte == b'?').next();
        if path != Some(b"/health") || head.method != Method::Get || !self.is_allowed(head, buf) {
            return None;
        }
        (self.source)()
    }

    fn is_allowed(&self, head: &RequestHead, buf: &[u8]) -> bool {
        let token = self.token.lock();
        let Some(hashed) = &*token else { return true };
        let mut given = head.fields.values(buf, "authorization");
        let (Some(value), None) = (given.next(), given.next()) else { return false };
        let Some((scheme, credential)) = value.split_at_checked(7) else { return false };
        // Hashes are compared, so that time tells nothing of the token's length either.
        let given = digest(&SHA256, credential);
        scheme.eq_ignore_ascii_case(b"bearer ") && verify_slices_are_equal(given.as_ref(), hashed).is_ok()
    }
}

fn hash(token: &str) -> Vec<u8> {
    digest(&SHA256, token.as_bytes()).as_ref().to_vec()
}
