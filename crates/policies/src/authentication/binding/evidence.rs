//! What a request shows besides its token.

use std::sync::Arc;

use pylae_core::Exchange;
use pylae_core::connection::certificate::Certificate;
use pylae_core::location::client_address;
use pylae_http::Name;

use crate::authentication::outcome::credential;

/// Maximum bytes of a proof. One with an RSA key of 4096 bits has about two thousand.
const MAX_PROOF: usize = 4096;

/// The scheme by which a token was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scheme {
    /// RFC 6750 section 2.1.
    Bearer,
    /// RFC 9449 section 7.1.
    Dpop,
}

/// A token in `Authorization`.
#[derive(Clone, Copy)]
pub(crate) struct SentToken<'e> {
    pub(crate) scheme: Scheme,
    pub(crate) text: &'e [u8],
}

impl<'e> SentToken<'e> {
    #[inline]
    pub(crate) fn of(exchange: &'e Exchange) -> Option<Self> {
        if let Some(text) = credential(exchange, "bearer") {
            return Some(Self { scheme: Scheme::Bearer, text });
        }
        credential(exchange, "dpop").map(|text| Self { scheme: Scheme::Dpop, text })
    }
}

/// How a token was sent, and all that may show that it was sent by its owner.
pub(crate) struct Evidence {
    pub(crate) scheme: Scheme,
    pub(super) proof: SentProof,
    /// As the client has written it.
    pub(super) method: Vec<u8>,
    /// The address that the client asked for, canonical and without query; None if it named no host.
    pub(super) address: Option<Vec<u8>>,
    pub(super) certificate: Option<Arc<Certificate>>,
}

/// The field `DPoP`.
pub(super) enum SentProof {
    None,
    One(Vec<u8>),
    Several,
    TooLarge,
}

impl Evidence {
    pub(crate) fn of(exchange: &Exchange, scheme: Scheme) -> Self {
        let request = &exchange.request;
        let certificate = request.origin.certificate.clone();
        if scheme == Scheme::Bearer {
            return Self { scheme, proof: SentProof::None, method: Vec::new(), address: None, certificate };
        }
        let fields = &request.head.fields;
        let proof = match (fields.count(Name::Dpop), fields.get(&request.buffer, Name::Dpop)) {
            (1, Some(text)) if text.len() <= MAX_PROOF => SentProof::One(text.to_vec()),
            (1, _) => SentProof::TooLarge,
            (0, _) => SentProof::None,
            _ => SentProof::Several,
        };
        let method = request.head.method_span.of(&request.buffer).to_vec();
        Self { scheme, proof, method, address: client_address(exchange), certificate }
    }
}
