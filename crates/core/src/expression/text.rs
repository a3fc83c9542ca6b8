//! The text of an expression: how large it may be, and what the `cel` crate reads in it.

use cel::common::ast::{CallExpr, Expr, IdedExpr, SourceInfo, operators};
use cel::parser::Parser;

use super::mistake::Mistake;

/// Longest expression, in bytes.
pub const MAX_LENGTH: usize = 4096;
/// Most names, signs and values in one expression. It also bounds how deep the tree can get.
pub const MAX_TOKENS: usize = 400;
/// How deep brackets may be nested, and conditionals.
const MAX_DEPTH: u16 = 24;

/// A text, and the tree that the crate has read.
pub(super) struct ParsedExpression<'a> {
    pub(super) text: &'a str,
    pub(super) root: IdedExpr,
    places: SourceInfo,
}

impl ParsedExpression<'_> {
    /// The byte at which a part of the tree begins; of an operator, the byte where that stands.
    pub(super) fn offset(&self, part: &IdedExpr) -> usize {
        match &part.expr {
            Expr::Select(select) => return self.offset(&select.operand),
            Expr::Call(CallExpr { target: Some(target), .. }) => return self.offset(target),
            Expr::Call(call) if call.func_name == operators::INDEX && !call.args.is_empty() => {
                return self.offset(&call.args[0]);
            }
            _ => {}
        }
        self.places.offset_for(part.id).map_or(0, |(start, _)| start as usize)
    }
}

/// Reads a text of bounded size, or returns all that is wrong with it.
pub(super) fn read(text: &str) -> Result<ParsedExpression<'_>, Vec<Mistake>> {
    let wrong = |offset, message: String| Err(vec![Mistake::at(text, offset, message)]);
    if text.trim().is_empty() {
        return wrong(0, "the expression is empty".to_owned());
    }
    if text.len() > MAX_LENGTH {
        return wrong(0, format!("the expression has {} bytes, {MAX_LENGTH} are allowed", text.len()));
    }
    let (mut depth, mut tokens) = (0, 0);
    for token in Tokens::new(text) {
        tokens += 1;
        match token.sign {
            b'(' | b'[' | b'{' | b'?' => depth += 1,
            b')' | b']' | b'}' => depth = u16::saturating_sub(depth, 1),
            _ => {}
        }
        if depth > MAX_DEPTH {
            return wrong(token.start, format!("the expression is nested too deeply; {MAX_DEPTH} levels are allowed"));
        }
        if tokens > MAX_TOKENS {
            return wrong(token.start, format!("the expression is too long; {MAX_TOKENS} names and signs are allowed"));
        }
    }
    let parser = Parser::new().max_recursion_depth(4 * MAX_DEPTH);
    match parser.parse_with_source_info(text) {
        Ok((root, places)) => Ok(ParsedExpression { text, root, places }),
        Err(errors) => Err(errors.errors.iter().take(5).map(|error| explain(text, error)).collect()),
    }
}

/// A mistake of syntax in words that do not speak of the parser.
fn explain(text: &str, error: &cel::ParseError) -> Mistake {
    let line = usize::try_from(error.pos.0).unwrap_or(1).max(1);
    // The crate counts columns from 1, and 0 stands for an unknown place.
    let column = usize::try_from(error.pos.1).unwrap_or(1).max(1);
    let message = error.msg.strip_prefix("Syntax error: ").unwrap_or(&error.msg);
    let lone = text.bytes().zip(text.bytes().skip(1)).any(|pair| pair.0 == b'=' && pair.1 != b'=')
        && !text.contains("==")
        && !text.contains("!=");
    let hint = if lone { "; equality is `==`" } else { "" };
    let message = message.lines().next().unwrap_or_default();
    let message: String = message.chars().take(200).collect();
    Mistake { line, column, message: format!("this is not an expression: {message}{hint}") }
}

/// A name, a sign or a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Token {
    /// Byte at which it begins.
    pub(super) start: usize,
    /// Its first byte if it is a sign, `a` for a name or a number, and `"` for a text.
    pub(super) sign: u8,
}

/// Splits a text as CEL does, but without telling names, numbers and keywords apart. White space and comments are not
/// told.
pub(super) struct Tokens<'a> {
    text: &'a [u8],
    at: usize,
}

impl<'a> Tokens<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self { text: text.as_bytes(), at: 0 }
    }

    /// Moves behind the quoted text that begins at `at`.
    fn skip_quoted(&mut self, raw: bool) {
        let quote = self.text[self.at];
        let triple = self.text[self.at..].starts_with(&[quote; 3]);
        let end: &[u8] = if triple { &[quote; 3] } else { &[quote] };
        self.at += end.len();
        while self.at < self.text.len() && !self.text[self.at..].starts_with(end) {
            self.at += if self.text[self.at] == b'\\' && !raw { 2 } else { 1 };
        }
        self.at = (self.at + end.len()).min(self.text.len());
    }
}

impl Iterator for Tokens<'_> {
    type Item = Token;

    fn next(&mut self) -> Option<Token> {
        let is_name = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || !byte.is_ascii();
        loop {
            let rest = &self.text[self.at..];
            let first = *rest.first()?;
            if first.is_ascii_whitespace() || first == 0x0b {
                self.at += 1;
            } else if rest.starts_with(b"//") {
                self.at += rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len());
            } else {
                let start = self.at;
                let length = rest.iter().position(|byte| !is_name(*byte)).unwrap_or(rest.len());
                let prefix = &rest[..length];
                let quoted = rest.get(length).is_some_and(|byte| matches!(byte, b'"' | b'\''));
                let is_prefix = length <= 2 && prefix.iter().all(|byte| b"rRbB".contains(byte));
                if quoted && is_prefix {
                    self.at += length;
                    self.skip_quoted(prefix.iter().any(|byte| b"rR".contains(byte)));
                    return Some(Token { start, sign: b'"' });
                }
                self.at += length.max(1);
                return Some(Token { start, sign: if length > 0 { b'a' } else { first } });
            }
        }
    }
}
