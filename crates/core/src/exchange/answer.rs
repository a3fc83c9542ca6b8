//! The response that an early exit becomes: `application/problem+json` (RFC 9457), or what the client accepts instead.

mod page;

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use pylae_http::encode;
use serde::Serialize;

pub use self::page::{ErrorFormat, FoundPages};
use self::page::{PageValues, escape_html, fill};
use crate::exchange::Exchange;
use crate::exchange::halt::Halt;
use crate::request::grpc;

/// A complete response that the gateway makes itself and that is not an error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Status code, 200–599.
    pub status: u16,
    /// Header fields other than those of the framing.
    pub headers: Vec<(Cow<'static, str>, Vec<u8>)>,
    /// Body, possibly empty.
    pub body: Arc<[u8]>,
}

/// Media type of HTML.
const HTML: &str = "text/html; charset=utf-8";
/// Value of Retry-After if the cause gives none.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// The body of an error.
#[derive(Serialize)]
struct ErrorBody<'a> {
    r#type: String,
    title: &'a str,
    status: u16,
    detail: &'a str,
    instance: Cow<'a, str>,
    error: &'a str,
    request_id: Cow<'a, str>,
    timestamp: String,
}

/// Builds the response to a request that ended in `halt`; `wall` is the time since the Unix epoch, and `pages` are the
/// error pages for its status.
pub fn to_halt(halt: &Halt, exchange: &Exchange, wall: Duration, pages: FoundPages<'_>) -> Answer {
    let status = halt.status();
    let mut headers: Vec<(Cow<'static, str>, Vec<u8>)> = Vec::new();
    match halt {
        Halt::MethodNotAllowed(allow) => headers.push(("Allow".into(), allow.clone().into_bytes())),
        Halt::Unavailable(after) | Halt::BreakerOpen(after) => {
            headers.push(("Retry-After".into(), whole_seconds(*after)));
        }
        Halt::Overloaded | Halt::Shortage(_) => headers.push(("Retry-After".into(), whole_seconds(RETRY_AFTER))),
        Halt::Rejected(rejection) => {
            headers.extend(rejection.headers.iter().map(|(name, value)| (name.clone(), value.clone().into_bytes())));
        }
        _ => {}
    }
    let detail = halt.detail();
    if exchange.is_call() {
        // gRPC reports an error in the trailers; here the head carries them, because there is no body.
        headers.push(("Content-Type".into(), b"application/grpc".to_vec()));
        headers.push(("grpc-status".into(), grpc::status_of(status).to_string().into_bytes()));
        headers.push(("grpc-message".into(), grpc::encode_message(&detail).into_bytes()));
        return Answer { status, headers, body: Arc::default() };
    }
    let format = pages.choose(exchange.request.values("accept"));
    let (media_type, body) = match (pages.in_format(format), format) {
        (Some(page), _) => {
            let values = PageValues {
                status,
                detail: &detail,
                code: halt.code(),
                path: exchange.request.asked_path(),
                request_id: &exchange.request.id,
                timestamp: &timestamp(wall),
            };
            let media_type = if format == ErrorFormat::Html { HTML } else { "application/json" };
            (media_type, fill(page, format, &values))
        }
        (None, ErrorFormat::Json) => ("application/problem+json", json(halt, exchange, &detail, wall)),
        (None, ErrorFormat::Html) => (HTML, html(status, &detail, exchange)),
        (None, ErrorFormat::Text) => {
            ("text/plain; charset=utf-8", format!("{status} {}\n{detail}\n", encode::reason(status)))
        }
    };
    headers.push(("Content-Type".into(), media_type.into()));
    headers.push(("Cache-Control".into(), b"no-store".to_vec()));
    Answer { status, headers, body: body.into_bytes().into() }
}

/// Whole seconds, rounded up and at least one, so that a client that waits this long does not come back too early.
fn whole_seconds(span: Duration) -> Vec<u8> {
    let seconds = span.as_secs() + u64::from(span.subsec_nanos() > 0);
    seconds.max(1).to_string().into_bytes()
}

fn json(halt: &Halt, exchange: &Exchange, detail: &str, wall: Duration) -> String {
    let status = halt.status();
    let body = ErrorBody {
        r#type: format!("urn:pylae:error:{}", halt.code()),
        title: encode::reason(status),
        status,
        detail,
        instance: String::from_utf8_lossy(exchange.request.asked_path()),
        error: detail,
        request_id: String::from_utf8_lossy(&exchange.request.id),
        timestamp: timestamp(wall),
    };
    // Cannot fail: the body has only strings and a number.
    serde_json::to_string(&body).unwrap_or_default()
}

fn html(status: u16, detail: &str, exchange: &Exchange) -> String {
    let title = encode::reason(status);
    let id = String::from_utf8_lossy(&exchange.request.id);
    let mut shown = String::new();
    escape_html(detail, &mut shown);
    format!(
        "<!doctype html><html lang=\"en\"><title>{status} {title}</title><h1>{status} {title}</h1><p>{shown}</p><p><small>request {id}</small></p></html>\n"
    )
}

/// Formats a time as RFC 3339 in UTC, with milliseconds.
pub fn timestamp(wall: Duration) -> String {
    let (days, seconds) = (wall.as_secs() / 86_400, wall.as_secs() % 86_400);
    let (year, month, day) = civil_date(days);
    let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{:03}Z", wall.subsec_millis())
}

/// Converts a number of days since 1970-01-01 to year, month and day (H. Hinnant, *chrono-Compatible Low-Level Date
/// Algorithms*).
pub fn civil_date(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let era = shifted / 146_097;
    let day_of_era = shifted % 146_097;
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    (year_of_era + era * 400 + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timestamps_are_rfc_3339() {
        assert_eq!(timestamp(Duration::ZERO), "1970-01-01T00:00:00.000Z");
        assert_eq!(timestamp(Duration::from_millis(951_826_553_007)), "2000-02-29T12:15:53.007Z");
        assert_eq!(timestamp(Duration::from_secs(4_102_444_799)), "2099-12-31T23:59:59.000Z");
    }

    #[test]
    fn waiting_times_are_rounded_up() {
        assert_eq!(whole_seconds(Duration::ZERO), b"1");
        assert_eq!(whole_seconds(Duration::from_millis(1001)), b"2");
    }
}
