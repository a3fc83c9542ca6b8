//! Compiles operators, and what goes through lists.

use cel::common::ast::{CallExpr, ComprehensionExpr, Expr, IdedExpr, LiteralValue, operators};

use super::{Compiled, Compiler};
use crate::expression::datum::DatumKind;
use crate::expression::tree::{Order, Quantifier, Sign, TreeNode, TreeStep};

impl<'a> Compiler<'a> {
    /// Compiles the call of an operator. Returns None if it is none.
    pub(super) fn operator(&mut self, part: &'a IdedExpr, call: &'a CallExpr) -> Option<Compiled> {
        let order = |order| Some(order);
        Some(match call.func_name.as_str() {
            operators::INDEX => self.index(call),
            operators::IN => self.is_in(part, call),
            operators::LOGICAL_AND => self.junction(part, call, TreeStep::And),
            operators::LOGICAL_OR => self.junction(part, call, TreeStep::Or),
            operators::LOGICAL_NOT => {
                let inner = self.condition(call.args.first()?);
                inner.map(|inner| {
                    (TreeNode { at: self.at(part), step: TreeStep::Not(Box::new(inner)) }, DatumKind::Bool)
                })
            }
            operators::CONDITIONAL => self.conditional(part, call),
            operators::EQUALS => self.equality(part, call, TreeStep::Equal),
            operators::NOT_EQUALS => self.equality(part, call, TreeStep::Unequal),
            operators::NEGATE => self.negative(part, call),
            name => {
                let found = match name {
                    operators::LESS => order(Order::Less),
                    operators::LESS_EQUALS => order(Order::LessOrEqual),
                    operators::GREATER => order(Order::Greater),
                    operators::GREATER_EQUALS => order(Order::GreaterOrEqual),
                    _ => None,
                };
                if let Some(found) = found {
                    return Some(self.ordered(part, call, found));
                }
                let sign = match name {
                    operators::ADD => Sign::Plus,
                    operators::SUBSTRACT => Sign::Minus,
                    operators::MULTIPLY => Sign::Times,
                    operators::DIVIDE => Sign::Divided,
                    operators::MODULO => Sign::Rest,
                    _ => return None,
                };
                self.arithmetic(part, call, sign)
            }
        })
    }

    /// Compiles what must be true or false.
    fn condition(&mut self, part: &'a IdedExpr) -> Option<TreeNode> {
        let (term, kind) = self.of(part)?;
        if !kind.may_be(&DatumKind::Bool) {
            self.wrong(part, format!("this must be true or false, and it is {kind}"));
            return None;
        }
        Some(term)
    }

    /// Compiles both sides, so that the mistakes of both are told.
    fn sides(&mut self, call: &'a CallExpr) -> Option<[(TreeNode, DatumKind); 2]> {
        let [one, other] = &call.args[..] else { return None };
        let (one, other) = (self.of(one), self.of(other));
        Some([one?, other?])
    }

    fn junction(
        &mut self,
        part: &'a IdedExpr,
        call: &'a CallExpr,
        step: fn(Box<[TreeNode; 2]>) -> TreeStep,
    ) -> Compiled {
        let [one, other] = &call.args[..] else { return None };
        let (one, other) = (self.condition(one), self.condition(other));
        Some((TreeNode { at: self.at(part), step: step(Box::new([one?, other?])) }, DatumKind::Bool))
    }

    fn conditional(&mut self, part: &'a IdedExpr, call: &'a CallExpr) -> Compiled {
        let [condition, then, otherwise] = &call.args[..] else { return None };
        let (condition, then, otherwise) = (self.condition(condition), self.of(then), self.of(otherwise));
        let (condition, (then, kind), (otherwise, other)) = (condition?, then?, otherwise?);
        if !kind.may_be(&other) {
            return self.wrong(part, format!("one side of `:` is {kind}, the other {other}"));
        }
        let kind = if kind == other { kind } else { DatumKind::Any };
        Some((TreeNode { at: self.at(part), step: TreeStep::If(Box::new([condition, then, otherwise])) }, kind))
    }

    fn equality(
        &mut self,
        part: &'a IdedExpr,
        call: &'a CallExpr,
        step: fn(Box<[TreeNode; 2]>) -> TreeStep,
    ) -> Compiled {
        let [(one, kind), (other, other_kind)] = self.sides(call)?;
        let are_numbers = kind.may_be_number() && other_kind.may_be_number();
        if !(kind.may_be(&other_kind) || are_numbers) {
            return self.wrong(part, format!("{kind} and {other_kind} are never equal"));
        }
        Some((TreeNode { at: self.at(part), step: step(Box::new([one, other])) }, DatumKind::Bool))
    }

    fn ordered(&mut self, part: &'a IdedExpr, call: &'a CallExpr, order: Order) -> Compiled {
        let [(one, kind), (other, other_kind)] = self.sides(call)?;
        let numbers = kind.may_be_number() && other_kind.may_be_number();
        let texts = kind.may_be(&DatumKind::Text) && other_kind.may_be(&DatumKind::Text);
        let bools = kind.may_be(&DatumKind::Bool) && other_kind.may_be(&DatumKind::Bool);
        if !numbers && !texts && !bools {
            return self.wrong(part, format!("{kind} and {other_kind} have no order"));
        }
        Some((TreeNode { at: self.at(part), step: TreeStep::Ordered(order, Box::new([one, other])) }, DatumKind::Bool))
    }

    fn arithmetic(&mut self, part: &'a IdedExpr, call: &'a CallExpr, sign: Sign) -> Compiled {
        let [(one, kind), (other, other_kind)] = self.sides(call)?;
        let can = |kind: &DatumKind| match kind {
            DatumKind::Int | DatumKind::Any => true,
            DatumKind::Double => sign != Sign::Rest,
            DatumKind::Text => sign == Sign::Plus,
            _ => false,
        };
        if !can(&kind) || !can(&other_kind) || !kind.may_be(&other_kind) {
            let hint = if is_mixed(&kind, &other_kind) { "; convert one, as in double(1)" } else { "" };
            return self.wrong(part, format!("this cannot be done with {kind} and {other_kind}{hint}"));
        }
        let kind = if kind == DatumKind::Any { other_kind } else { kind };
        Some((TreeNode { at: self.at(part), step: TreeStep::Arithmetic(sign, Box::new([one, other])) }, kind))
    }

    fn negative(&mut self, part: &'a IdedExpr, call: &'a CallExpr) -> Compiled {
        let (term, kind) = self.of(call.args.first()?)?;
        if !kind.may_be_number() {
            return self.wrong(part, format!("`-` needs a number, and this is {kind}"));
        }
        Some((TreeNode { at: self.at(part), step: TreeStep::Negative(Box::new(term)) }, kind))
    }

    /// What the crate has made of `list.exists(x, …)`, `list.all(x, …)` and `list.exists_one(x, …)`.
    pub(super) fn quantified(&mut self, part: &'a IdedExpr, made: &'a ComprehensionExpr) -> Compiled {
        let Expr::Call(step) = &made.loop_step.expr else { return self.wrong(part, "this cannot be done here") };
        let found = match (&made.accu_init.expr, step.func_name.as_str(), &step.args[..]) {
            (Expr::Literal(LiteralValue::Boolean(_)), operators::LOGICAL_OR, [_, test]) => (Quantifier::Some, test),
            (Expr::Literal(LiteralValue::Boolean(_)), operators::LOGICAL_AND, [_, test]) => (Quantifier::All, test),
            (Expr::Literal(LiteralValue::Int(_)), operators::CONDITIONAL, [test, ..]) => (Quantifier::One, test),
            _ => {
                return self.wrong(part, "lists cannot be made here; ask `exists`, `all` or `exists_one` of the list");
            }
        };
        if made.iter_var2.is_some() {
            return self.wrong(part, "one name for the member is enough");
        }
        let (list, kind) = self.of(&made.iter_range)?;
        let member = match kind {
            DatumKind::List(member) => *member,
            DatumKind::Any => DatumKind::Any,
            other => return self.wrong(&made.iter_range, format!("this needs a list, and it is {other}")),
        };
        self.locals.push((&made.iter_var, member));
        let test = self.condition(found.1);
        self.locals.pop();
        let step = TreeStep::Quantified(found.0, Box::new([list, test?]));
        Some((TreeNode { at: self.at(part), step }, DatumKind::Bool))
    }
}

fn is_mixed(one: &DatumKind, other: &DatumKind) -> bool {
    matches!((one, other), (DatumKind::Int, DatumKind::Double) | (DatumKind::Double, DatumKind::Int))
}
