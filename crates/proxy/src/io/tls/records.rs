//! TLS records, without a socket: processes incoming records and produces outgoing ones.

use rustls::client::{ClientConnectionData, UnbufferedClientConnection};
use rustls::server::{ServerConnectionData, UnbufferedServerConnection};
use rustls::unbuffered::{ConnectionState, EncodeError, EncodeTlsData, UnbufferedStatus, WriteTraffic};
use rustls::{AlertDescription, CommonState, Error, PeerIncompatible, ProtocolVersion};

/// What a record adds to its plaintext, at most, in any version.
pub(super) const RECORD_OVERHEAD: usize = 64;

/// The version number in a `ClientHello`.
const TLS_1_2: [u8; 2] = [3, 3];

/// The rustls connection of either role.
pub(super) enum Side {
    Server(UnbufferedServerConnection),
    Client(UnbufferedClientConnection),
}

/// What to write once all incoming records are processed.
pub(super) enum WriteAction<'a> {
    None,
    /// Encrypt the first slice into the second.
    Encrypt(&'a [u8], &'a mut [u8]),
    CloseNotify,
}

/// The result of processing incoming bytes.
#[derive(Default)]
pub(super) struct Processed {
    pub(super) consumed: usize,
    pub(super) encrypted: usize,
    pub(super) closed: bool,
    pub(super) error: Option<Error>,
}

impl Side {
    /// The state that both roles have in common.
    pub(super) fn common(&self) -> &CommonState {
        match self {
            Self::Server(server) => server,
            Self::Client(client) => client,
        }
    }

    /// See [`process`].
    pub(super) fn process(
        &mut self,
        bytes: &mut [u8],
        outgoing: &mut Vec<u8>,
        action: WriteAction<'_>,
        plain: impl FnMut(&[u8]),
    ) -> Processed {
        match self {
            Self::Server(server) => {
                let processed = process(server, bytes, outgoing, action, plain);
                if let Some(error) = &processed.error
                    && let Some(alert) = alert_override(error, server.protocol_version(), bytes)
                {
                    replace_alert(outgoing, alert);
                }
                processed
            }
            Self::Client(client) => process(client, bytes, outgoing, action, plain),
        }
    }
}

/// The alert that the RFCs prescribe for `error`, if rustls sends another one. `bytes` is the client's last input.
fn alert_override(error: &Error, version: Option<ProtocolVersion>, bytes: &[u8]) -> Option<AlertDescription> {
    match error {
        // An older client lacks an extension of TLS 1.2: the version is what is wrong (RFC 5246 appendix E.1).
        Error::PeerIncompatible(PeerIncompatible::SignatureAlgorithmsExtensionRequired)
            if newest_version(bytes).is_some_and(|newest| newest < TLS_1_2) =>
        {
            Some(AlertDescription::ProtocolVersion)
        }
        // TLS 1.2 has no `certificate_required` alert (RFC 5246 section 7.4.6).
        Error::NoCertificatesPresented if version == Some(ProtocolVersion::TLSv1_2) => {
            Some(AlertDescription::HandshakeFailure)
        }
        _ => None,
    }
}

/// The version field of the `ClientHello` at the beginning of `bytes`: the newest version offered, without extensions.
fn newest_version(bytes: &[u8]) -> Option<[u8; 2]> {
    const HANDSHAKE: u8 = 22;
    const CLIENT_HELLO: u8 = 1;
    // Type, version and length of the record, then type and length of the message.
    match bytes {
        [HANDSHAKE, _, _, _, _, CLIENT_HELLO, _, _, _, major, minor, ..] => Some([*major, *minor]),
        _ => None,
    }
}

/// Replaces the fatal alert at the end of `outgoing`, if it is not encrypted.
fn replace_alert(outgoing: &mut [u8], alert: AlertDescription) {
    const ALERT: u8 = 21;
    const FATAL: u8 = 2;
    if let [.., ALERT, _, _, 0, 2, FATAL, description] = outgoing {
        *description = alert.into();
    }
}

/// The record layer of either role.
trait Records {
    type Data;
    fn records<'c, 'i>(&'c mut self, incoming: &'i mut [u8]) -> UnbufferedStatus<'c, 'i, Self::Data>;
    fn wants_write(&self) -> bool;
}

impl Records for UnbufferedServerConnection {
    type Data = ServerConnectionData;

    fn records<'c, 'i>(&'c mut self, incoming: &'i mut [u8]) -> UnbufferedStatus<'c, 'i, Self::Data> {
        self.process_tls_records(incoming)
    }

    fn wants_write(&self) -> bool {
        CommonState::wants_write(self)
    }
}

impl Records for UnbufferedClientConnection {
    type Data = ClientConnectionData;

    fn records<'c, 'i>(&'c mut self, incoming: &'i mut [u8]) -> UnbufferedStatus<'c, 'i, Self::Data> {
        self.process_tls_records(incoming)
    }

    fn wants_write(&self) -> bool {
        CommonState::wants_write(self)
    }
}

/// Processes every complete record in `bytes`: passes plaintext to `plain` and appends TLS messages to `outgoing`. Then
/// performs `action`. After an error `outgoing` ends with the alert for the peer.
fn process<R: Records>(
    records: &mut R,
    bytes: &mut [u8],
    outgoing: &mut Vec<u8>,
    action: WriteAction<'_>,
    mut plain: impl FnMut(&[u8]),
) -> Processed {
    let mut processed = Processed::default();
    loop {
        let UnbufferedStatus { mut discard, state } = records.records(&mut bytes[processed.consumed..]);
        let mut done = false;
        match state {
            Ok(ConnectionState::ReadTraffic(mut traffic)) => {
                while let Some(Ok(record)) = traffic.next_record() {
                    discard += record.discard;
                    plain(record.payload);
                }
            }
            Ok(ConnectionState::EncodeTlsData(mut data)) => encode(&mut data, outgoing),
            Ok(ConnectionState::TransmitTlsData(data)) => data.done(),
            Ok(ConnectionState::PeerClosed) => processed.closed = true,
            Ok(ConnectionState::WriteTraffic(traffic)) => {
                match write(traffic, action, outgoing) {
                    Ok(encrypted) => processed.encrypted = encrypted,
                    Err(error) => processed.error = Some(error),
                }
                processed.consumed += discard;
                return processed;
            }
            Ok(_) => done = true,
            Err(error) => {
                processed.error = Some(error);
                done = true;
            }
        }
        processed.consumed += discard;
        if done {
            break;
        }
    }
    // Encode the alert after an error.
    while processed.error.is_some() && records.wants_write() {
        let UnbufferedStatus { state: Ok(ConnectionState::EncodeTlsData(mut data)), .. } =
            records.records(&mut bytes[processed.consumed..])
        else {
            break;
        };
        encode(&mut data, outgoing);
    }
    if processed.error.is_none() && matches!(action, WriteAction::Encrypt(..)) {
        processed.error = Some(Error::HandshakeNotComplete);
    }
    processed
}

fn encode<D>(data: &mut EncodeTlsData<'_, D>, outgoing: &mut Vec<u8>) {
    let start = outgoing.len();
    let mut room = 0;
    loop {
        outgoing.resize(start + room, 0);
        match data.encode(&mut outgoing[start..]) {
            Ok(written) => return outgoing.truncate(start + written),
            Err(EncodeError::InsufficientSize(error)) => room = error.required_size,
            Err(EncodeError::AlreadyEncoded) => return outgoing.truncate(start),
        }
    }
}

fn write<D>(mut traffic: WriteTraffic<'_, D>, action: WriteAction<'_>, outgoing: &mut Vec<u8>) -> Result<usize, Error> {
    let exhausted = |_| Error::EncryptError;
    match action {
        WriteAction::None => Ok(0),
        WriteAction::Encrypt(bytes, into) => traffic.encrypt(bytes, into).map_err(exhausted),
        WriteAction::CloseNotify => {
            let mut alert = [0; 2 * RECORD_OVERHEAD];
            let written = traffic.queue_close_notify(&mut alert).map_err(exhausted)?;
            outgoing.extend_from_slice(&alert[..written]);
            Ok(0)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_client_older_than_tls_1_2_is_told_that_its_version_is_wrong() {
        let error = PeerIncompatible::SignatureAlgorithmsExtensionRequired.into();
        let hello = |newest: [u8; 2]| [&[22, 3, 1, 0, 45, 1, 0, 0, 41][..], &newest, &[0; 34]].concat();
        for newest in [[3, 0], [3, 1], [3, 2]] {
            assert_eq!(alert_override(&error, None, &hello(newest)), Some(AlertDescription::ProtocolVersion));
        }
        for bytes in [hello(TLS_1_2), hello([3, 4]), hello([3, 1])[..10].to_vec(), Vec::new()] {
            assert_eq!(alert_override(&error, None, &bytes), None, "{bytes:?}");
        }
    }

    #[test]
    fn alerts_of_tls_1_3_are_not_sent_in_tls_1_2() {
        let error = Error::NoCertificatesPresented;
        let said = |version| alert_override(&error, Some(version), &[]);
        assert_eq!(said(ProtocolVersion::TLSv1_2), Some(AlertDescription::HandshakeFailure));
        assert_eq!(said(ProtocolVersion::TLSv1_3), None);
    }

    #[test]
    fn an_alert_becomes_another_one_unless_it_is_encrypted() {
        let mut plain = [22, 3, 3, 21, 3, 3, 0, 2, 2, 49];
        replace_alert(&mut plain, AlertDescription::HandshakeFailure);
        assert_eq!(plain, [22, 3, 3, 21, 3, 3, 0, 2, 2, 40]);
        let mut sealed = [23, 3, 3, 0, 19, 7, 7, 7, 7, 7, 7, 7];
        replace_alert(&mut sealed, AlertDescription::HandshakeFailure);
        assert_eq!(sealed, [23, 3, 3, 0, 19, 7, 7, 7, 7, 7, 7, 7]);
    }
}
