//! Frames besides those with heads and bodies.

use super::mistakes::protocol;
use super::state::{Ending, Http2Connection, Role, SHUTDOWN};
use crate::http2::error::{Http2Code, Http2Error};
use crate::http2::frame::{self, FrameHeader, FramePayload};
use crate::http2::settings::Settings;
use crate::http2::stream::{StreamKey, StreamProgress, StreamReset};
use crate::http2::window::WindowOverflow;

impl Http2Connection {
    /// Acts on a complete frame, which is no DATA.
    pub(super) fn take_frame(&mut self, header: &FrameHeader, payload: &[u8]) -> Result<(), Http2Error> {
        if std::mem::take(&mut self.input.skip) {
            return Ok(());
        }
        let payload = match FramePayload::read(header, payload) {
            Ok(payload) => payload,
            Err(error) => return self.fault(header.stream, error),
        };
        match payload {
            FramePayload::Headers(headers) => self.take_headers(header, &headers),
            FramePayload::Continuation(block) => self.take_continuation(header, block),
            FramePayload::Settings(payload) => self.take_settings(payload),
            FramePayload::SettingsAck => {
                self.take_acknowledgement();
                Ok(())
            }
            FramePayload::Ping(data) => {
                frame::ping(&mut self.out, data, true);
                Ok(())
            }
            FramePayload::PingAck(data) => {
                if data == SHUTDOWN && self.ending == Ending::Announced {
                    self.say_last();
                }
                Ok(())
            }
            FramePayload::GoAway { last_stream, .. } => self.take_go_away(last_stream),
            FramePayload::WindowUpdate(more) => self.take_window_update(header.stream, more),
            FramePayload::RstStream(code) => self.take_reset(header.stream, code),
            FramePayload::Data(_) | FramePayload::Ignored => Ok(()),
        }
    }

    fn take_settings(&mut self, payload: &[u8]) -> Result<(), Http2Error> {
        let before = self.peer.initial_window_size;
        let mut peer = if self.introduced { self.peer } else { Settings::default() };
        peer.read(payload, self.role == Role::Client)?;
        self.peer = peer;
        self.introduced = true;
        self.encoder.set_max_table(self.peer.header_table_size as usize);
        frame::settings_ack(&mut self.out);
        let change = i64::from(self.peer.initial_window_size) - i64::from(before);
        if change == 0 {
            return Ok(());
        }
        let keys: Vec<_> = self.streams.keys().collect();
        for key in keys {
            // RFC 9113 section 6.9.2.
            self.widen(key, change).map_err(|_| overflow())?;
        }
        Ok(())
    }

    /// What this side grants holds from now on.
    fn take_acknowledgement(&mut self) {
        if self.acknowledged {
            return;
        }
        let before = self.stream_window();
        self.acknowledged = true;
        let change = i64::from(self.stream_window()) - i64::from(before);
        let keys: Vec<_> = self.streams.keys().collect();
        for key in keys {
            if let Some(stream) = self.streams.get_mut(key) {
                stream.receive_window.resize(change);
            }
        }
    }

    fn take_go_away(&mut self, last: u32) -> Result<(), Http2Error> {
        if self.peer_last.is_some_and(|before| last > before) {
            // RFC 9113 section 6.8.
            return Err(protocol("a GOAWAY that lets more streams in than the one before"));
        }
        self.peer_last = Some(last);
        if self.role == Role::Client {
            let left_out: Vec<_> = self.streams.keys().filter(|key| key.id > last).collect();
            for key in left_out {
                self.cut(key, StreamReset { code: None, unprocessed: true });
            }
        }
        Ok(())
    }

    fn take_window_update(&mut self, stream: u32, more: u32) -> Result<(), Http2Error> {
        if stream == 0 {
            return self.send_window.widen(i64::from(more)).map_err(|_| overflow());
        }
        match self.streams.find(stream) {
            Some(key) => match self.widen(key, i64::from(more)) {
                Ok(()) => Ok(()),
                Err(_) => self.fault(stream, Http2Error::stream(Http2Code::FLOW_CONTROL_ERROR, TOO_LARGE)),
            },
            None if self.is_idle(stream) => Err(protocol("WINDOW_UPDATE on a stream that nobody has opened")),
            None => Ok(()),
        }
    }

    fn widen(&mut self, key: StreamKey, by: i64) -> Result<(), WindowOverflow> {
        let Some(stream) = self.streams.get_mut(key) else { return Ok(()) };
        stream.send_window.widen(by)?;
        if stream.send_window.available() > 0 && std::mem::take(&mut stream.blocked) {
            self.change(key);
        }
        Ok(())
    }

    fn take_reset(&mut self, stream: u32, code: Http2Code) -> Result<(), Http2Error> {
        let Some(key) = self.streams.find(stream) else {
            return if self.is_idle(stream) {
                Err(protocol("RST_STREAM on a stream that nobody has opened"))
            } else {
                Ok(())
            };
        };
        self.cut(key, StreamReset { code: Some(code), unprocessed: code == Http2Code::REFUSED_STREAM });
        if self.role == Role::Server {
            self.discard(key);
        } else if let Some(stream) = self.streams.get(key)
            && stream.receiving == StreamProgress::Head
        {
            // What has come of a head that is incomplete is none.
            self.discard(key);
        }
        Ok(())
    }
}

const TOO_LARGE: &str = "a window that is too large";

fn overflow() -> Http2Error {
    Http2Error::connection(Http2Code::FLOW_CONTROL_ERROR, TOO_LARGE)
}
