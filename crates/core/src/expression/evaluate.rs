//! Evaluates a compiled expression.

mod compare;
mod numbers;

use std::cell::RefCell;
use std::net::IpAddr;

use super::budget::Budget;
use super::datum::{Datum, Listed};
use super::failure::ExpressionFailure;
use super::functions::{self, expect_text};
use super::scope::ExpressionScope;
use super::tree::{Quantifier, TextPattern, TreeNode, TreeStep};
use super::variable::Variable;

/// One evaluation.
pub(super) struct Evaluation<'a> {
    scope: &'a ExpressionScope<'a>,
    budget: Budget,
    /// Members of the lists that are gone through, from the outside in.
    locals: RefCell<Vec<Datum<'a>>>,
}

impl<'a> Evaluation<'a> {
    pub(super) fn new(scope: &'a ExpressionScope<'a>) -> Self {
        Self { scope, budget: Budget::new(), locals: RefCell::default() }
    }

    /// Evaluates a term.
    pub(super) fn of(&self, term: &'a TreeNode) -> Result<Datum<'a>, ExpressionFailure> {
        let at = term.at;
        self.budget.take(1, at)?;
        match &term.step {
            TreeStep::Constant(datum) => Ok(datum.borrow()),
            TreeStep::Variable(variable) => variable.read(self.scope, at),
            TreeStep::Equal(pair) => {
                compare::are_equal(&self.budget, &self.of(&pair[0])?, &self.of(&pair[1])?, at).map(Datum::Bool)
            }
            TreeStep::Unequal(pair) => compare::are_equal(&self.budget, &self.of(&pair[0])?, &self.of(&pair[1])?, at)
                .map(|equal| Datum::Bool(!equal)),
            TreeStep::And(pair) => self.either(pair, false),
            TreeStep::Or(pair) => self.either(pair, true),
            TreeStep::Not(inner) => Ok(Datum::Bool(!self.truth(inner)?)),
            TreeStep::If(three) => self.of(&three[if self.truth(&three[0])? { 1 } else { 2 }]),
            TreeStep::In(pair) => {
                compare::is_in(&self.budget, &self.of(&pair[0])?, &self.of(&pair[1])?, at).map(Datum::Bool)
            }
            TreeStep::Ordered(order, pair) => {
                compare::is_ordered(&self.budget, *order, &self.of(&pair[0])?, &self.of(&pair[1])?, at).map(Datum::Bool)
            }
            TreeStep::Arithmetic(sign, pair) => {
                numbers::arithmetic(&self.budget, *sign, self.of(&pair[0])?, self.of(&pair[1])?, at)
            }
            TreeStep::Negative(inner) => numbers::negative(&self.of(inner)?, at),
            TreeStep::List(members) => members
                .iter()
                .map(|member| self.of(member))
                .collect::<Result<_, _>>()
                .map(Listed::Made)
                .map(Datum::List),
            TreeStep::Local(number) => {
                self.locals.borrow().get(*number).cloned().ok_or_else(ExpressionFailure::invalid)
            }
            TreeStep::Call(function, given) => {
                let mut given = given.iter().map(|term| self.of(term));
                let first = given.next().unwrap_or(Ok(Datum::Null))?;
                functions::call(&self.budget, *function, first, given.next().transpose()?, at)
            }
            TreeStep::Claim(..) | TreeStep::HasClaim(..) | TreeStep::Index(..) => self.claim(&term.step, at),
            TreeStep::Field(..) | TreeStep::FieldValues(..) | TreeStep::HasField(..) => self.field(&term.step, at),
            TreeStep::Matches(text, pattern) => self.matches(text, pattern, at).map(Datum::Bool),
            TreeStep::InNetwork(address, network) => {
                self.address(address, at).map(|address| Datum::Bool(network.contains(&address)))
            }
            TreeStep::Quantified(quantifier, pair) => self.quantified(*quantifier, pair, at).map(Datum::Bool),
        }
    }

    /// Evaluates a condition.
    fn truth(&self, term: &'a TreeNode) -> Result<bool, ExpressionFailure> {
        match self.of(term)? {
            Datum::Bool(answer) => Ok(answer),
            other => Err(ExpressionFailure::wrong_kind(term.at, other.kind_name(), "true or false")),
        }
    }

    /// `&&`, which is decided by one `false`, and `||`, which is decided by one `true`: on either side, whatever fails
    /// on the other one.
    fn either(&self, pair: &'a [TreeNode; 2], decisive: bool) -> Result<Datum<'a>, ExpressionFailure> {
        let first = self.truth(&pair[0]);
        if first == Ok(decisive) {
            return Ok(Datum::Bool(decisive));
        }
        let second = self.truth(&pair[1])?;
        if second == decisive { Ok(Datum::Bool(decisive)) } else { first.map(Datum::Bool) }
    }

    fn claim(&self, step: &'a TreeStep, at: u32) -> Result<Datum<'a>, ExpressionFailure> {
        match step {
            TreeStep::Claim(of, name) => match self.of(of)? {
                Datum::Claims(claims) => {
                    claims.get(&**name).map(Datum::of_json).ok_or_else(|| ExpressionFailure::absent(at))
                }
                // There is no user.
                Datum::Null => Err(ExpressionFailure::absent(at)),
                other => Err(ExpressionFailure::wrong_kind(at, other.kind_name(), "a set of claims")),
            },
            TreeStep::HasClaim(of, name) => match self.of(of)? {
                Datum::Claims(claims) => Ok(Datum::Bool(claims.contains_key(&**name))),
                Datum::Null => Ok(Datum::Bool(false)),
                other => Err(ExpressionFailure::wrong_kind(at, other.kind_name(), "a set of claims")),
            },
            TreeStep::Index(pair) => match (self.of(&pair[0])?, self.of(&pair[1])?) {
                (Datum::List(list), Datum::Int(index)) => {
                    let found = usize::try_from(index).ok().and_then(|index| list.get(index));
                    found.ok_or_else(|| ExpressionFailure::out_of_range(at))
                }
                (Datum::Claims(claims), Datum::Text(name)) => {
                    claims.get(&*name).map(Datum::of_json).ok_or_else(|| ExpressionFailure::absent(at))
                }
                (Datum::Null, _) => Err(ExpressionFailure::absent(at)),
                (_, other) => Err(ExpressionFailure::wrong_kind(at, other.kind_name(), "what its members go by")),
            },
            _ => Err(ExpressionFailure::invalid()),
        }
    }

    fn field(&self, step: &'a TreeStep, at: u32) -> Result<Datum<'a>, ExpressionFailure> {
        let (TreeStep::Field(source, name) | TreeStep::FieldValues(source, name) | TreeStep::HasField(source, name)) =
            step
        else {
            return Err(ExpressionFailure::invalid());
        };
        self.budget.take_bytes(source.size(self.scope), at)?;
        let name = expect_text(self.of(name)?, at)?;
        match step {
            TreeStep::Field(..) => source.value(self.scope, &name, at),
            TreeStep::FieldValues(..) => source.values(self.scope, &name, at).map(|all| Datum::List(Listed::Made(all))),
            _ => Ok(Datum::Bool(source.has(self.scope, &name))),
        }
    }

    fn matches(&self, text: &'a TreeNode, pattern: &TextPattern, at: u32) -> Result<bool, ExpressionFailure> {
        let text = expect_text(self.of(text)?, at)?;
        self.budget.take(u32::try_from(text.len() / pattern.bytes_per_step).unwrap_or(u32::MAX), at)?;
        Ok(pattern.regex.is_match(text.as_bytes()))
    }

    fn address(&self, term: &'a TreeNode, at: u32) -> Result<IpAddr, ExpressionFailure> {
        // Need not become a text first.
        if matches!(term.step, TreeStep::Variable(Variable::ClientAddress)) {
            return Ok(self.scope.exchange.request.origin.client.to_canonical());
        }
        let text = expect_text(self.of(term)?, at)?;
        let address: IpAddr = text.parse().map_err(|_| ExpressionFailure::not_convertible(at))?;
        Ok(address.to_canonical())
    }

    /// Goes through a list. One member decides whatever fails for others, except for `exists_one`, which has to know
    /// them all.
    fn quantified(&self, quantifier: Quantifier, pair: &'a [TreeNode; 2], at: u32) -> Result<bool, ExpressionFailure> {
        let list = match self.of(&pair[0])? {
            Datum::List(list) => list,
            other => return Err(ExpressionFailure::wrong_kind(at, other.kind_name(), "a list")),
        };
        let decisive = quantifier == Quantifier::Some;
        let (mut met, mut failed) = (0, None);
        let decided = list.any(|member| {
            self.budget.take(1, at)?;
            self.locals.borrow_mut().push(member);
            let answer = self.truth(&pair[1]);
            self.locals.borrow_mut().pop();
            match (quantifier, answer) {
                (Quantifier::One, answer) => {
                    met += usize::from(answer?);
                    Ok(false)
                }
                (_, Ok(answer)) => Ok(answer == decisive),
                (_, Err(failure)) => {
                    failed.get_or_insert(failure);
                    Ok(false)
                }
            }
        })?;
        match (quantifier, decided, failed) {
            (Quantifier::One, ..) => Ok(met == 1),
            (_, true, _) => Ok(decisive),
            (_, false, Some(failure)) => Err(failure),
            (_, false, None) => Ok(!decisive),
        }
    }
}
