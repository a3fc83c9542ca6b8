//! TLS records, without a socket: what came in is taken, what goes out is made.

use rustls::CommonState;
use rustls::client::{ClientConnectionData, UnbufferedClientConnection};
use rustls::server::{ServerConnectionData, UnbufferedServerConnection};
use rustls::unbuffered::{ConnectionState, EncodeError, EncodeTlsData, UnbufferedStatus, WriteTraffic};

/// What a record adds to its plaintext, at most, in any version.
pub(super) const RECORD_OVERHEAD: usize = 64;

/// Which end of the connection this is.
pub(super) enum Side {
    Server(UnbufferedServerConnection),
    Client(UnbufferedClientConnection),
}

/// What is done once everything that came in is taken.
pub(super) enum Then<'a> {
    Nothing,
    /// Encrypts the first into the second.
    Seal(&'a [u8], &'a mut [u8]),
    Close,
}

/// What became of bytes that came in.
#[derive(Default)]
pub(super) struct Advanced {
    pub(super) consumed: usize,
    pub(super) sealed: usize,
    pub(super) closed: bool,
    pub(super) error: Option<rustls::Error>,
}

impl Side {
    /// What both ends have in common.
    pub(super) fn common(&self) -> &CommonState {
        match self {
            Self::Server(server) => server,
            Self::Client(client) => client,
        }
    }

    /// See [`advance`].
    pub(super) fn advance(
        &mut self,
        bytes: &mut [u8],
        outgoing: &mut Vec<u8>,
        then: Then<'_>,
        plain: impl FnMut(&[u8]),
    ) -> Advanced {
        match self {
            Self::Server(server) => advance(server, bytes, outgoing, then, plain),
            Self::Client(client) => advance(client, bytes, outgoing, then, plain),
        }
    }
}

/// Either end's record layer.
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

/// Takes every whole record in `bytes`, hands plaintext to `plain`, appends what TLS itself has to say to `outgoing`, and
/// does what is to be done then. With an error the alert that tells the peer is in `outgoing`.
fn advance<R: Records>(
    records: &mut R,
    bytes: &mut [u8],
    outgoing: &mut Vec<u8>,
    then: Then<'_>,
    mut plain: impl FnMut(&[u8]),
) -> Advanced {
    let mut advanced = Advanced::default();
    loop {
        let UnbufferedStatus { mut discard, state } = records.records(&mut bytes[advanced.consumed..]);
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
            Ok(ConnectionState::PeerClosed) => advanced.closed = true,
            Ok(ConnectionState::WriteTraffic(traffic)) => {
                match write(traffic, then, outgoing) {
                    Ok(sealed) => advanced.sealed = sealed,
                    Err(error) => advanced.error = Some(error),
                }
                advanced.consumed += discard;
                return advanced;
            }
            Ok(_) => done = true,
            Err(error) => {
                advanced.error = Some(error);
                done = true;
            }
        }
        advanced.consumed += discard;
        if done {
            break;
        }
    }
    // The alert behind an error.
    while advanced.error.is_some() && records.wants_write() {
        let UnbufferedStatus { state: Ok(ConnectionState::EncodeTlsData(mut data)), .. } =
            records.records(&mut bytes[advanced.consumed..])
        else {
            break;
        };
        encode(&mut data, outgoing);
    }
    if advanced.error.is_none() && matches!(then, Then::Seal(..)) {
        advanced.error = Some(rustls::Error::HandshakeNotComplete);
    }
    advanced
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

fn write<D>(mut traffic: WriteTraffic<'_, D>, then: Then<'_>, outgoing: &mut Vec<u8>) -> Result<usize, rustls::Error> {
    let exhausted = |_| rustls::Error::EncryptError;
    match then {
        Then::Nothing => Ok(0),
        Then::Seal(bytes, into) => traffic.encrypt(bytes, into).map_err(exhausted),
        Then::Close => {
            let mut alert = [0; 2 * RECORD_OVERHEAD];
            let written = traffic.queue_close_notify(&mut alert).map_err(exhausted)?;
            outgoing.extend_from_slice(&alert[..written]);
            Ok(0)
        }
    }
}
