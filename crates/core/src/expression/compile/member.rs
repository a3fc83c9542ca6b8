//! Compiles members: `request.path`, `user.claims.tier`, `request.headers['X-Tenant']`, `has(user.claims.tier)`.

use cel::common::ast::{CallExpr, Expr, IdedExpr, LiteralValue, SelectExpr};

use super::{Compiled, Compiler};
use crate::expression::datum::{Datum, DatumKind};
use crate::expression::lookup::LookupSource;
use crate::expression::mistake::suggestion;
use crate::expression::tree::{TreeNode, TreeStep};
use crate::expression::variable::{UsedVariable, Variable, VariableRow};

impl<'a> Compiler<'a> {
    /// The variable that a part of the tree names, if it names one.
    fn row(&self, part: &'a IdedExpr) -> Option<(&'a SelectExpr, &'static VariableRow)> {
        let Expr::Select(select) = &part.expr else { return None };
        let Expr::Ident(root) = &select.operand.expr else { return None };
        let hidden = self.locals.iter().any(|(local, _)| local == root);
        Some((select, Variable::find(root, &select.field).filter(|_| !hidden && !select.test)?))
    }

    /// The fields that a part of the tree names, if it names some.
    pub(super) fn fields(&mut self, part: &'a IdedExpr) -> Option<LookupSource> {
        let (_, row) = self.row(part)?;
        let source = row.kind().err()?;
        self.variables.push(UsedVariable { variable: row.variable(), at: self.at(part) });
        Some(source)
    }

    pub(super) fn select(&mut self, part: &'a IdedExpr, select: &'a SelectExpr) -> Compiled {
        let at = self.at(&select.operand);
        if let Some((_, row)) = self.row(part) {
            let Ok(kind) = row.kind() else {
                return self.wrong(part, format!("name one of them, such as `{}['name']`", row.name));
            };
            self.variables.push(UsedVariable { variable: row.variable(), at });
            return Some((TreeNode { at, step: TreeStep::Variable(row.variable()) }, kind));
        }
        if let Expr::Ident(root) = &select.operand.expr
            && !self.locals.iter().any(|(local, _)| local == root)
            && Variable::members(root).next().is_some()
        {
            if select.test && Variable::find(root, &select.field).is_some() {
                let message = format!("`{root}.{}` is always there; compare it, or ask `user.known`", select.field);
                return self.wrong(&select.operand, message);
            }
            let hint = suggestion(&select.field, Variable::members(root));
            let known: Vec<_> = Variable::members(root).collect();
            let known = if hint.is_empty() { format!("; it has {}", known.join(", ")) } else { hint };
            return self.wrong(&select.operand, format!("`{root}` has no `{}`{known}", select.field));
        }
        if let Some(source) = self.fields(&select.operand) {
            let name = Box::new(field_name(source, &select.field, at));
            let (step, kind) = if select.test {
                (TreeStep::HasField(source, name), DatumKind::Bool)
            } else {
                (TreeStep::Field(source, name), DatumKind::Text)
            };
            return Some((TreeNode { at, step }, kind));
        }
        let (of, kind) = self.of(&select.operand)?;
        if !matches!(kind, DatumKind::Claims | DatumKind::Any) {
            return self.wrong(part, format!("this is {kind}, which has no `{}`", select.field));
        }
        let (of, name) = (Box::new(of), select.field.as_str().into());
        let (step, kind) = if select.test {
            (TreeStep::HasClaim(of, name), DatumKind::Bool)
        } else {
            (TreeStep::Claim(of, name), DatumKind::Any)
        };
        Some((TreeNode { at, step }, kind))
    }

    /// What stands between brackets as the name of a field.
    pub(super) fn name_of_field(&mut self, source: LookupSource, part: &'a IdedExpr) -> Option<Box<TreeNode>> {
        if let Expr::Literal(LiteralValue::String(name)) = &part.expr {
            return Some(Box::new(field_name(source, name.inner(), self.at(part))));
        }
        let (name, kind) = self.of(part)?;
        if !kind.may_be(&DatumKind::Text) {
            self.wrong(part, format!("fields go by texts, and this is {kind}"));
            return None;
        }
        Some(Box::new(name))
    }

    /// `of[by]`
    pub(super) fn index(&mut self, call: &'a CallExpr) -> Compiled {
        let [of, by] = &call.args[..] else { return None };
        let at = self.at(of);
        if let Some(source) = self.fields(of) {
            let name = self.name_of_field(source, by)?;
            return Some((TreeNode { at, step: TreeStep::Field(source, name) }, DatumKind::Text));
        }
        let (of_term, of_kind) = self.of(of)?;
        let (by_term, by_kind) = self.of(by)?;
        let (wanted, kind) = match of_kind {
            DatumKind::List(member) => (DatumKind::Int, *member),
            DatumKind::Claims => (DatumKind::Text, DatumKind::Any),
            DatumKind::Any => (DatumKind::Any, DatumKind::Any),
            other => return self.wrong(of, format!("this is {other}, which has no members")),
        };
        if !by_kind.may_be(&wanted) {
            return self.wrong(by, format!("members go by {wanted} here, and this is {by_kind}"));
        }
        Some((TreeNode { at, step: TreeStep::Index(Box::new([of_term, by_term])) }, kind))
    }

    /// `item in list`
    pub(super) fn is_in(&mut self, part: &'a IdedExpr, call: &'a CallExpr) -> Compiled {
        let [item, list] = &call.args[..] else { return None };
        let at = self.at(part);
        if let Some(source) = self.fields(list) {
            let name = self.name_of_field(source, item)?;
            return Some((TreeNode { at, step: TreeStep::HasField(source, name) }, DatumKind::Bool));
        }
        let (item_term, item_kind) = self.of(item)?;
        let (list_term, list_kind) = self.of(list)?;
        let fits = match &list_kind {
            DatumKind::List(member) => item_kind.may_be(member) || is_number(&item_kind) && is_number(member),
            DatumKind::Claims => item_kind.may_be(&DatumKind::Text),
            DatumKind::Any => true,
            other => return self.wrong(list, format!("`in` needs a list or claims, and this is {other}")),
        };
        if !fits {
            return self.wrong(part, format!("{item_kind} can never be in this"));
        }
        Some((TreeNode { at, step: TreeStep::In(Box::new([item_term, list_term])) }, DatumKind::Bool))
    }
}

fn is_number(kind: &DatumKind) -> bool {
    matches!(kind, DatumKind::Int | DatumKind::Double)
}

/// The name of a field, as it is looked for.
fn field_name(source: LookupSource, name: &str, at: u32) -> TreeNode {
    let name = match source {
        LookupSource::Request | LookupSource::Response => name.to_ascii_lowercase(),
        LookupSource::Query | LookupSource::Cookies => name.to_owned(),
    };
    TreeNode { at, step: TreeStep::Constant(Datum::Text(name.into())) }
}
