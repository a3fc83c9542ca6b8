//! Rewrites the path for the instance.

#[cfg(test)]
mod tests;

use pylae_http::{Span, Target};

use super::matching::literal;
use crate::Problem;

/// A change of the path: `strip_prefix` or `rewrite` of a route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathEdit(Edit);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Edit {
    /// Removes this prefix, which has no trailing `/`.
    Strip(Box<[u8]>),
    Template(Box<[RewritePiece]>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum RewritePiece {
    Literal(Box<[u8]>),
    /// Index among the route's parameters.
    Param(usize),
}

impl PathEdit {
    /// Builds the edit from `rewrite` and `strip_prefix` of a route with these parameters; returns None if the path
    /// stays. Problems have paths relative to the route.
    pub fn build(
        rewrite: Option<&str>,
        strip_prefix: Option<&str>,
        params: &[Box<str>],
    ) -> Result<Option<Self>, Vec<Problem>> {
        let edit = match (rewrite, strip_prefix) {
            (None, None) => return Ok(None),
            (Some(_), Some(_)) => {
                let message = "`rewrite` replaces the whole path, so `strip_prefix` would do nothing; keep one of them";
                Err(Problem::at("rewrite", message))
            }
            (None, Some(prefix)) => literal::check_prefix(prefix)
                .map(|()| Edit::Strip(prefix.strip_suffix('/').unwrap_or(prefix).as_bytes().into()))
                .map_err(|message| Problem::at("strip_prefix", message)),
            (Some(template), None) => pieces(template, params)
                .map(|pieces| Edit::Template(pieces.into()))
                .map_err(|message| Problem::at("rewrite", message)),
        };
        edit.map(|edit| Some(Self(edit))).map_err(|problem| vec![problem])
    }

    /// Returns the prefix, without trailing `/`, that [`PathEdit::apply`] removes from `path`, a path without
    /// parameters; empty if none.
    pub fn stripped(&self, path: &[u8]) -> &[u8] {
        match &self.0 {
            Edit::Strip(prefix) if after_prefix(prefix, path).is_some() => prefix,
            Edit::Strip(_) | Edit::Template(_) => b"",
        }
    }

    /// Writes the new path to `out`, which is cleared first. `params` are the spans that the route's match has captured
    /// in the routing path. The result starts with `/` and is as canonical as the path: `//`, `.` and `..` segments
    /// that a cut leaves are dropped, so that no captured text leads out of what the template says. Replaced segments
    /// lose their parameters; the end of the path keeps them if it is taken over as a whole.
    pub fn apply(&self, target: &Target, params: &[Span], out: &mut Vec<u8>) {
        out.clear();
        let path = target.routing_path();
        match &self.0 {
            Edit::Strip(prefix) => {
                let rest = after_prefix(prefix, path);
                out.extend_from_slice(rest.map_or(&target.path, |rest| target.end_from(path.len() - rest.len())));
                if out.is_empty() {
                    out.push(b'/');
                }
            }
            Edit::Template(pieces) => {
                for (place, piece) in pieces.iter().enumerate() {
                    let text = match piece {
                        RewritePiece::Literal(text) => text,
                        RewritePiece::Param(at) => match params.get(*at) {
                            Some(span)
                                if target.has_parameters()
                                    && place + 1 == pieces.len()
                                    && is_whole_end(path, *span, out) =>
                            {
                                target.end_from(span.start as usize)
                            }
                            span => span.map_or(&[][..], |span| span.of(path)),
                        },
                    };
                    out.extend_from_slice(text);
                }
                normalize(out);
            }
        }
    }
}

/// Returns what follows `prefix` in `path`, if it consists of whole segments.
fn after_prefix<'p>(prefix: &[u8], path: &'p [u8]) -> Option<&'p [u8]> {
    path.strip_prefix(prefix).filter(|rest| rest.is_empty() || rest.starts_with(b"/"))
}

fn pieces(template: &str, params: &[Box<str>]) -> Result<Vec<RewritePiece>, String> {
    if !template.starts_with(['/', '{']) {
        return Err("a rewrite starts with `/`".into());
    }
    let mut pieces = Vec::new();
    let mut sample = String::new();
    let mut rest = template;
    while let Some((before, tail)) = rest.split_once('{') {
        let (name, after) = tail.split_once('}').ok_or("`{` without `}`")?;
        let Some(at) = params.iter().position(|p| &**p == name) else {
            let known: Vec<String> = params.iter().map(|p| format!("`{{{p}}}`")).collect();
            let known = if known.is_empty() {
                "the match of this route captures nothing".into()
            } else {
                format!("there are {}", known.join(", "))
            };
            return Err(format!("`{{{name}}}` is not captured by the match; {known}"));
        };
        if !before.is_empty() {
            pieces.push(RewritePiece::Literal(before.as_bytes().into()));
        }
        pieces.push(RewritePiece::Param(at));
        sample.push_str(before);
        sample.push('x');
        rest = after;
    }
    if rest.contains('}') || sample.contains('}') {
        return Err("`}` without `{`".into());
    }
    if !rest.is_empty() {
        pieces.push(RewritePiece::Literal(rest.as_bytes().into()));
    }
    sample.push_str(rest);
    if !sample.starts_with('/') {
        sample.insert(0, '/');
    }
    literal::check_sent(&sample)?;
    Ok(pieces)
}

/// Returns true if the capture at `span` is all segments of `path` from one of them on, and becomes whole segments
/// after `before`.
fn is_whole_end(path: &[u8], span: Span, before: &[u8]) -> bool {
    let start = span.start as usize;
    let starts = path.get(start) == Some(&b'/') || (path[..start].ends_with(b"/") && before.ends_with(b"/"));
    starts && span.end() == path.len()
}

/// Adds a leading `/` to `path` and drops empty segments except the last, and `.` and `..`.
fn normalize(path: &mut Vec<u8>) {
    if path.first() != Some(&b'/') {
        path.insert(0, b'/');
    }
    let odd = |pair: &[u8]| pair == b"//" || pair == b"/.";
    if !path.windows(2).any(odd) {
        return;
    }
    let (mut read, mut write) = (0, 0);
    while read < path.len() {
        // `read` is at a `/`.
        let end = path[read + 1..].iter().position(|b| *b == b'/').map_or(path.len(), |at| read + 1 + at);
        let last = end == path.len();
        let dropped = matches!(&path[read + 1..end], b"" | b"." | b"..");
        if !dropped {
            path.copy_within(read..end, write);
            write += end - read;
        } else if last {
            path[write] = b'/';
            write += 1;
        }
        read = end;
    }
    path.truncate(write);
}
