//! Compiles the calls of functions.

use cel::common::ast::{CallExpr, Expr, IdedExpr, LiteralValue};
use ipnet::IpNet;

use super::{Compiled, Compiler, pattern};
use crate::expression::datum::DatumKind;
use crate::expression::functions::{Function, GLOBALS, METHODS};
use crate::expression::mistake::suggestion;
use crate::expression::tree::{TreeNode, TreeStep};

impl<'a> Compiler<'a> {
    pub(super) fn call(&mut self, part: &'a IdedExpr, call: &'a CallExpr) -> Compiled {
        if call.target.is_none()
            && let Some(compiled) = self.operator(part, call)
        {
            return compiled;
        }
        match (call.func_name.as_str(), call.target.as_deref(), &call.args[..]) {
            ("matches", Some(text), [pattern]) | ("matches", None, [text, pattern]) => {
                self.matches(part, text, pattern)
            }
            ("containsIP", Some(network), [address]) => self.in_network(part, network, address),
            ("values", Some(fields), [name]) => self.values(part, fields, name),
            ("cidr", None, _) => {
                self.wrong(part, "ask it for an address: cidr('10.0.0.0/8').containsIP(client.address)")
            }
            (name, target, _) => match Function::find(name, target.is_some()) {
                Some(function) => self.function(part, call, function),
                None => self.unknown(part, name, target.is_some()),
            },
        }
    }

    fn unknown(&mut self, part: &'a IdedExpr, name: &str, on_value: bool) -> Compiled {
        if matches!(name, "duration" | "timestamp") {
            return self.wrong(part, "times are seconds since 1970 here, as in `request.time`");
        }
        let known = if on_value { METHODS } else { GLOBALS };
        let hint = suggestion(name, known.iter().copied());
        let hint = if hint.is_empty() { format!("; there are {}", known.join(", ")) } else { hint };
        self.wrong(part, format!("there is no function `{name}`{hint}"))
    }

    fn function(&mut self, part: &'a IdedExpr, call: &'a CallExpr, function: Function) -> Compiled {
        let given: Vec<&'a IdedExpr> = call.target.as_deref().into_iter().chain(&call.args).collect();
        if given.len() != function.arity() {
            let wanted = function.arity() - usize::from(call.target.is_some());
            return self.wrong(part, format!("`{}` takes {wanted} here, not {}", call.func_name, call.args.len()));
        }
        let mut terms = Vec::with_capacity(given.len());
        for one in given {
            let (term, kind) = self.of(one)?;
            if !function.takes(&kind) {
                return self.wrong(one, format!("`{}` cannot take {kind}", call.func_name));
            }
            terms.push(term);
        }
        Some((TreeNode { at: self.at(part), step: TreeStep::Call(function, terms.into()) }, function.kind()))
    }

    /// `text.matches('pattern')`: the pattern is compiled here, once.
    fn matches(&mut self, part: &'a IdedExpr, text: &'a IdedExpr, written: &'a IdedExpr) -> Compiled {
        let (term, kind) = self.of(text)?;
        if !kind.may_be(&DatumKind::Text) {
            return self.wrong(text, format!("`matches` needs a text, and this is {kind}"));
        }
        let Expr::Literal(LiteralValue::String(text)) = &written.expr else {
            return self.wrong(written, "the pattern must be a text that stands here");
        };
        match pattern::compile(text.inner()) {
            Ok(pattern) => {
                let step = TreeStep::Matches(Box::new(term), Box::new(pattern));
                Some((TreeNode { at: self.at(part), step }, DatumKind::Bool))
            }
            Err(why) => self.wrong(written, why),
        }
    }

    /// `cidr('10.0.0.0/8').containsIP(address)`
    fn in_network(&mut self, part: &'a IdedExpr, network: &'a IdedExpr, address: &'a IdedExpr) -> Compiled {
        let written = match &network.expr {
            Expr::Call(call) if call.func_name == "cidr" && call.target.is_none() => match &call.args[..] {
                [IdedExpr { expr: Expr::Literal(LiteralValue::String(text)), .. }] => Some(text.inner()),
                _ => None,
            },
            _ => None,
        };
        let Some(written) = written else {
            return self.wrong(network, "write the network here, as in cidr('10.0.0.0/8').containsIP(client.address)");
        };
        let Ok(parsed) = written.parse::<IpNet>() else {
            return self.wrong(network, format!("`{written}` is not a network such as 10.0.0.0/8"));
        };
        let (term, kind) = self.of(address)?;
        if !kind.may_be(&DatumKind::Text) {
            return self.wrong(address, format!("an address is a text, and this is {kind}"));
        }
        let step = TreeStep::InNetwork(Box::new(term), parsed.trunc());
        Some((TreeNode { at: self.at(part), step }, DatumKind::Bool))
    }

    /// `request.headers.values('accept')`
    fn values(&mut self, part: &'a IdedExpr, fields: &'a IdedExpr, name: &'a IdedExpr) -> Compiled {
        let Some(source) = self.fields(fields) else {
            return self.wrong(part, "only headers, query and cookies have `values`");
        };
        let name = self.name_of_field(source, name)?;
        let kind = DatumKind::List(Box::new(DatumKind::Text));
        Some((TreeNode { at: self.at(part), step: TreeStep::FieldValues(source, name) }, kind))
    }
}
