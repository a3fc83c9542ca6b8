//! Which requests to the admin address are probes, and what they are answered.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::SystemTime;

use pylae_http::message::host;
use pylae_http::{HeadLimits, Method, Name, RequestHead};

use crate::telemetry::liveness::Liveness;

/// Largest head of a probe. Whatever is larger is for Python.
pub(super) const HEAD: usize = 16 * 1024;
const LIMITS: HeadLimits = HeadLimits { head: HEAD, target: 8 * 1024, fields: 100 };
/// What every answer of the admin API has (`pylae/admin/guard.py`), and the end of the connection.
const ALWAYS: &str = "cache-control: no-store\r\nx-content-type-options: nosniff\r\n\
    content-security-policy: default-src 'none'; frame-ancestors 'none'\r\nreferrer-policy: no-referrer\r\n\
    cross-origin-resource-policy: same-origin\r\nconnection: close\r\n";

/// Names besides the loopback ones that the admin API may be asked for under, or None if any is right.
pub(super) type AdminHosts = Option<BTreeSet<String>>;

/// What the bytes that have come so far are.
pub(super) enum Sighting {
    /// Not enough to tell.
    More,
    /// No probe, or one that a browser may have been made to send: Python refuses those.
    Other,
    Probe(Probe),
}

/// A request for `/live` or `/ready`.
#[derive(Clone, Copy)]
pub(super) struct Probe {
    for_live: bool,
    method: Method,
    /// Size of its head.
    pub(super) len: usize,
}

/// Looks at `buf`, the first bytes of a connection to the address `own`. `head` has what earlier looks have seen.
pub(super) fn inspect(head: &mut RequestHead, buf: &[u8], hosts: &AdminHosts, own: Option<IpAddr>) -> Sighting {
    let Ok(complete) = head.parse(buf, &LIMITS) else { return Sighting::Other };
    if head.target.len == 0 {
        return Sighting::More;
    }
    let path = head.target.of(buf).split(|&byte| byte == b'?').next();
    let for_live = match path {
        Some(b"/live") => true,
        Some(b"/ready") => false,
        _ => return Sighting::Other,
    };
    if !complete {
        return Sighting::More;
    }
    if !is_harmless(head, buf) || !is_answered_for(head, buf, hosts, own) {
        return Sighting::Other;
    }
    Sighting::Probe(Probe { for_live, method: head.method, len: head.len })
}

/// Parses a request that is there completely, if it is for us and no page of another origin has caused it.
pub(super) fn admissible(buf: &[u8], hosts: &AdminHosts, own: Option<IpAddr>) -> Option<RequestHead> {
    let mut head = RequestHead::default();
    let complete = head.parse(buf, &LIMITS).is_ok_and(|complete| complete);
    (complete && is_harmless(&head, buf) && is_answered_for(&head, buf, hosts, own)).then_some(head)
}

/// The answer with this document about how the gateway is doing.
pub(super) fn health(document: &str) -> String {
    response("200 OK", "application/json", "", document)
}

/// True if no page of another origin has made a browser send this.
fn is_harmless(head: &RequestHead, buf: &[u8]) -> bool {
    let mut sites = head.fields.values(buf, "sec-fetch-site");
    let own = sites.next().is_none_or(|site| matches!(site, b"same-origin" | b"none"));
    own && sites.next().is_none() && head.fields.values(buf, "origin").next().is_none()
}

/// True if the request has one Host, and that is ours.
fn is_answered_for(head: &RequestHead, buf: &[u8], hosts: &AdminHosts, own: Option<IpAddr>) -> bool {
    if head.fields.count(Name::Host) != 1 {
        return false;
    }
    let mut name = Vec::new();
    let given = head.fields.get(buf, Name::Host).unwrap_or_default();
    let (Ok(len), Some(hosts)) = (host::canonical(given, &mut name), hosts) else {
        return hosts.is_none() && !given.is_empty();
    };
    let Ok(name) = std::str::from_utf8(&name[..len]) else { return false };
    let address = name.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>().ok();
    name == "localhost"
        || hosts.contains(name)
        || address.is_some_and(|address| address.is_loopback() || Some(address) == own)
}

impl Probe {
    /// The answer.
    pub(super) fn answer(self, liveness: &Liveness) -> String {
        if !matches!(self.method, Method::Get | Method::Head) {
            let body = problem(405, "Method Not Allowed", "Method Not Allowed", "");
            return response("405 Method Not Allowed", PROBLEM, "allow: GET, HEAD\r\n", &body);
        }
        let status = if self.for_live { liveness.live() } else { liveness.ready() };
        let line = if matches!(status, "live" | "ready") { "200 OK" } else { "503 Service Unavailable" };
        let mut answer = response(line, "application/json", "", &format!(r#"{{"status":"{status}"}}"#));
        if self.method == Method::Head {
            let end = answer.find("\r\n\r\n").map_or(0, |end| end + 4);
            answer.truncate(end);
        }
        answer
    }
}

const PROBLEM: &str = "application/problem+json";

/// The answer to a request that Python did not take in time.
pub(super) fn stuck() -> String {
    let detail = "the control plane does not answer; `/live` and `/ready` say whether requests are served";
    let body = problem(503, "Service Unavailable", detail, r#","code":"control_plane_stuck""#);
    response("503 Service Unavailable", PROBLEM, "retry-after: 5\r\n", &body)
}

/// The answer to a request without TLS where TLS is spoken.
pub(super) fn needs_tls() -> String {
    let detail = "the admin API speaks TLS here: use https://";
    response("400 Bad Request", PROBLEM, "", &problem(400, "Bad Request", detail, ""))
}

/// The document that the admin API refuses with (`pylae/admin/problems.py`).
fn problem(status: u16, title: &str, detail: &str, more: &str) -> String {
    format!(
        r#"{{"type":"about:blank","title":"{title}","status":{status},"detail":"{detail}","error":"{detail}"{more}}}"#
    )
}

fn response(line: &str, media_type: &str, fields: &str, body: &str) -> String {
    let date = httpdate::fmt_http_date(SystemTime::now());
    let length = body.len();
    format!(
        "HTTP/1.1 {line}\r\ndate: {date}\r\ncontent-type: {media_type}\r\ncontent-length: {length}\r\n\
         {ALWAYS}{fields}\r\n{body}"
    )
}

#[cfg(test)]
mod tests;
