use super::state::MAX_OUTPUT;
use super::*;
use crate::http2::error::Http2Code;
use crate::http2::hpack::HpackEncoder;

mod joined;
mod known;
mod model;
mod rules;
