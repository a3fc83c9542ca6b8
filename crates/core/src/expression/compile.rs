//! Checks what the `cel` crate has read against what exists, and compiles it.

mod call;
mod member;
mod operator;
mod pattern;

use cel::common::ast::{Expr, IdedExpr, LiteralValue};

use super::datum::{Datum, DatumKind, Listed};
use super::mistake::{Mistake, suggestion};
use super::text::ParsedExpression;
use super::tree::{Tree, TreeNode, TreeStep};
use super::variable::{UsedVariable, Variable};

/// How deep the tree may be.
const MAX_LEVELS: usize = 200;

/// Compiles an expression, or returns everything that is wrong with it.
pub(super) fn compile(parsed: &ParsedExpression<'_>) -> Result<Tree, Vec<Mistake>> {
    let mut compiler = Compiler { parsed, locals: vec![], variables: vec![], mistakes: vec![], level: 0 };
    match compiler.of(&parsed.root) {
        Some((root, kind)) if compiler.mistakes.is_empty() => Ok(Tree { root, kind, variables: compiler.variables }),
        _ => Err(compiler.mistakes),
    }
}

/// A term and what it gives. None stands for a mistake that was reported.
type Compiled = Option<(TreeNode, DatumKind)>;

struct Compiler<'a> {
    parsed: &'a ParsedExpression<'a>,
    /// Names for the members of the lists that are gone through.
    locals: Vec<(&'a str, DatumKind)>,
    variables: Vec<UsedVariable>,
    mistakes: Vec<Mistake>,
    level: usize,
}

impl<'a> Compiler<'a> {
    fn at(&self, part: &IdedExpr) -> u32 {
        self.parsed.offset(part) as u32
    }

    /// Reports a mistake.
    fn wrong(&mut self, part: &IdedExpr, message: impl Into<String>) -> Compiled {
        self.mistakes.push(Mistake::at(self.parsed.text, self.parsed.offset(part), message));
        None
    }

    fn of(&mut self, part: &'a IdedExpr) -> Compiled {
        if self.level == MAX_LEVELS {
            return self.wrong(part, "the expression is nested too deeply");
        }
        self.level += 1;
        let compiled = self.part(part);
        self.level -= 1;
        compiled
    }

    fn part(&mut self, part: &'a IdedExpr) -> Compiled {
        let at = self.at(part);
        match &part.expr {
            Expr::Literal(literal) => self.literal(part, literal),
            Expr::Ident(name) => self.name(part, name),
            Expr::Select(select) => self.select(part, select),
            Expr::Call(call) => self.call(part, call),
            Expr::List(list) => {
                let members: Vec<_> = list.elements.iter().map(|member| self.of(member)).collect();
                let members: Vec<_> = members.into_iter().collect::<Option<_>>()?;
                let same = members
                    .iter()
                    .map(|(_, kind)| kind.clone())
                    .reduce(|one, other| if one == other { one } else { DatumKind::Any });
                let kind = DatumKind::List(Box::new(same.unwrap_or(DatumKind::Any)));
                Some((TreeNode { at, step: list_of(members.into_iter().map(|(term, _)| term).collect()) }, kind))
            }
            Expr::Comprehension(comprehension) => self.quantified(part, comprehension),
            Expr::Map(_) => self.wrong(part, "maps cannot be made here"),
            Expr::Struct(_) => self.wrong(part, "messages cannot be made here"),
            Expr::Unspecified => self.wrong(part, "this is not an expression"),
        }
    }

    fn literal(&mut self, part: &IdedExpr, literal: &LiteralValue) -> Compiled {
        let (datum, kind) = match literal {
            LiteralValue::Boolean(value) => (Datum::Bool(*value.inner()), DatumKind::Bool),
            LiteralValue::Int(value) => (Datum::Int(*value.inner()), DatumKind::Int),
            LiteralValue::Double(value) => (Datum::Double(*value.inner()), DatumKind::Double),
            LiteralValue::String(value) => (Datum::Text(value.inner().to_owned().into()), DatumKind::Text),
            LiteralValue::Null => (Datum::Null, DatumKind::Null),
            LiteralValue::UInt(_) => return self.wrong(part, "write whole numbers without `u`"),
            LiteralValue::Bytes(_) => return self.wrong(part, "write texts without `b`"),
        };
        Some((TreeNode { at: self.at(part), step: TreeStep::Constant(datum) }, kind))
    }

    /// A name that stands alone.
    fn name(&mut self, part: &IdedExpr, name: &str) -> Compiled {
        if let Some(number) = self.locals.iter().rposition(|(local, _)| *local == name) {
            let kind = self.locals[number].1.clone();
            return Some((TreeNode { at: self.at(part), step: TreeStep::Local(number) }, kind));
        }
        if let Some(member) = Variable::members(name).next() {
            return self
                .wrong(part, format!("`{name}` is no value by itself; name a part of it, such as `{name}.{member}`"));
        }
        let mut names: Vec<&str> = Variable::roots().collect();
        names.extend(self.locals.iter().map(|(local, _)| *local));
        let hint = suggestion(name, names.into_iter());
        let known =
            if hint.is_empty() { "; there are request, client, route, service, user and response" } else { &hint };
        self.wrong(part, format!("there is no variable `{name}`{known}"))
    }
}

/// A list, which is constant if all its members are.
fn list_of(members: Vec<TreeNode>) -> TreeStep {
    let constants = members.iter().map(|term| match &term.step {
        TreeStep::Constant(datum) => Some(datum.clone()),
        _ => None,
    });
    match constants.collect::<Option<Vec<_>>>() {
        Some(constants) => TreeStep::Constant(Datum::List(Listed::Made(constants))),
        None => TreeStep::List(members.into()),
    }
}
