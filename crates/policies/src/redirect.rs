//! Redirects the client to another URL.

use pylae_core::{Answer, Exchange, Problem, Rejection, Verdict};
use serde::{Deserialize, Serialize};

use crate::{Parts, Policy};

/// What the plan says.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The target, a URL or a path. It may contain `{host}`, `{path}` and values that the match captures.
    to: String,
    status: u16,
    /// Whether the request's query is appended.
    keep_query: bool,
    /// Whether requests over TLS pass without a redirect.
    insecure_only: bool,
}

/// Answers with `Location`.
#[derive(Debug)]
pub struct Redirect {
    pieces: Vec<RedirectPiece>,
    config: Config,
}

#[derive(Debug, PartialEq, Eq)]
enum RedirectPiece {
    Literal(Box<[u8]>),
    /// Host and port of the request.
    Host,
    /// Host and port of the request, as the target's authority.
    Authority,
    /// The request's host without its port, because the template gives one.
    AuthorityHost,
    Path,
    /// Index into the route's parameters.
    Param(usize),
}

impl Policy for Redirect {
    type Config = Config;

    fn build(config: Config, parts: &Parts<'_>) -> Result<Self, Vec<Problem>> {
        let mut problems = Vec::new();
        if !matches!(config.status, 301 | 302 | 303 | 307 | 308) {
            problems.push(Problem::at("status", "is not a redirect: 301, 302, 303, 307 or 308"));
        }
        match parse_template(&config.to, parts.params) {
            Ok(pieces) if problems.is_empty() => return Ok(Self { pieces, config }),
            Ok(_) => {}
            Err(message) => problems.push(Problem::at("to", message)),
        }
        Err(problems)
    }

    fn on_request(&self, exchange: &mut Exchange) -> Verdict {
        if self.config.insecure_only && exchange.request.origin.secure {
            return Verdict::Continue;
        }
        if self.lacks_host(exchange) {
            return Verdict::Reject(Box::new(Rejection {
                status: 400,
                code: "host_missing",
                message: "the redirect needs the host of the request, and the request has none".into(),
                headers: Vec::new(),
            }));
        }
        let headers = vec![("Location".into(), self.location(exchange))];
        Verdict::Answer(Box::new(Answer { status: self.config.status, headers, body: [].into() }))
    }

    fn preview(&self, exchange: &Exchange) -> String {
        if self.config.insecure_only && exchange.request.origin.secure {
            return "lets the request pass: the client uses TLS".to_owned();
        }
        if self.lacks_host(exchange) {
            return "rejects with 400: the request names no host".to_owned();
        }
        format!("redirects with {} to {}", self.config.status, String::from_utf8_lossy(&self.location(exchange)))
    }
}

impl Redirect {
    /// Returns true if the target needs the request's host but the request has none: HTTP/1.0 does not require Host.
    fn lacks_host(&self, exchange: &Exchange) -> bool {
        let names_authority =
            |piece: &RedirectPiece| matches!(piece, RedirectPiece::Authority | RedirectPiece::AuthorityHost);
        exchange.request.host_name().is_empty() && self.pieces.iter().any(names_authority)
    }

    fn location(&self, exchange: &Exchange) -> Vec<u8> {
        let mut location = Vec::with_capacity(128);
        for piece in &self.pieces {
            location.extend_from_slice(match piece {
                RedirectPiece::Literal(text) => text,
                RedirectPiece::Host | RedirectPiece::Authority => &exchange.request.host,
                RedirectPiece::AuthorityHost => exchange.request.host_name(),
                RedirectPiece::Path => &exchange.request.target.path,
                RedirectPiece::Param(at) => {
                    exchange.request.params.get(*at).map_or(&[], |span| span.of(exchange.request.target.routing_path()))
                }
            });
        }
        // A client would read what follows `//` as a host, and a parameter may start with `/`.
        let slashes = location.iter().take_while(|byte| **byte == b'/').count();
        location.drain(..slashes.saturating_sub(1));
        if let Some(query) = exchange.request.query().filter(|_| self.config.keep_query) {
            location.push(if location.contains(&b'?') { b'&' } else { b'?' });
            location.extend_from_slice(query);
        }
        location
    }
}

/// Splits a template into pieces. A captured value is refused in the authority, where it could name another host.
fn parse_template(template: &str, params: &[Box<str>]) -> Result<Vec<RedirectPiece>, String> {
    let visible = |byte: u8| byte.is_ascii_graphic() && !b"\"<>\\^`|#".contains(&byte);
    if !template.bytes().all(visible) {
        return Err("a target has no spaces, `#` or characters that must be percent-encoded".into());
    }
    let authority = ["https://", "http://"].iter().find_map(|scheme| template.strip_prefix(scheme));
    if authority.is_none() && !template.starts_with('/') && !template.starts_with("{path}") {
        return Err("must start with https://, http:// or `/`".into());
    }
    let path_at = authority.map_or(0, |rest| {
        let path = ["/", "?", "{path}"].iter().filter_map(|end| rest.find(end)).min().unwrap_or(rest.len());
        template.len() - rest.len() + path
    });
    if authority.is_some_and(|rest| template.len() - rest.len() == path_at) {
        return Err("names no host".into());
    }
    let mut pieces = Vec::new();
    let mut at = 0;
    while let Some(open) = template[at..].find('{').map(|found| at + found) {
        let close = template[open..].find('}').map(|found| open + found).ok_or("`{` without `}`")?;
        let name = &template[open + 1..close];
        let piece = match (name, params.iter().position(|param| **param == *name)) {
            (_, Some(param)) if open >= path_at => RedirectPiece::Param(param),
            ("host", _) if open < path_at && template[close + 1..].starts_with(':') => RedirectPiece::AuthorityHost,
            ("host", _) if open < path_at => RedirectPiece::Authority,
            ("host", _) => RedirectPiece::Host,
            ("path", _) if open >= path_at => RedirectPiece::Path,
            (_, Some(_)) => return Err(format!("`{{{name}}}` cannot be in the host: it could name any host")),
            _ => return Err(format!("`{{{name}}}` is not captured by the match; {}", known_names(params))),
        };
        push_literal(&mut pieces, &template[at..open])?;
        pieces.push(piece);
        at = close + 1;
    }
    push_literal(&mut pieces, &template[at..])?;
    Ok(pieces)
}

fn push_literal(pieces: &mut Vec<RedirectPiece>, text: &str) -> Result<(), String> {
    if text.contains('}') {
        return Err("`}` without `{`".into());
    }
    if !text.is_empty() {
        pieces.push(RedirectPiece::Literal(text.as_bytes().into()));
    }
    Ok(())
}

fn known_names(params: &[Box<str>]) -> String {
    let names = ["host", "path"].into_iter().chain(params.iter().map(|name| &**name));
    format!("there are {}", names.map(|name| format!("`{{{name}}}`")).collect::<Vec<_>>().join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates_that_could_lead_elsewhere_are_refused() {
        let params = ["rest".into(), "host".into()];
        for template in [
            "https://{rest}/x",
            "https://a.example{rest}",
            "https://{rest}{path}",
            "https://",
            "https:///x",
            "{rest}",
            "evil.example",
            "javascript:alert(1)",
            "/{other}",
            "/{rest",
            "/rest}",
            "/a b",
            "/a#b",
            "/\\evil.example",
            "https://{path}",
        ] {
            assert!(parse_template(template, &params).is_err(), "{template}");
        }
    }

    #[test]
    fn templates_are_read() {
        let pieces = parse_template("https://{host}:8443/v2/{rest}?from={host}", &["rest".into()]).unwrap();
        let literal = |text: &str| RedirectPiece::Literal(text.as_bytes().into());
        let port = literal(":8443/v2/");
        let expected = [
            literal("https://"),
            RedirectPiece::AuthorityHost,
            port,
            RedirectPiece::Param(0),
            literal("?from="),
            RedirectPiece::Host,
        ];
        assert_eq!(pieces, expected);
        let pieces = parse_template("http://{host}{path}", &[]).unwrap();
        assert_eq!(pieces, [literal("http://"), RedirectPiece::Authority, RedirectPiece::Path]);
    }
}
