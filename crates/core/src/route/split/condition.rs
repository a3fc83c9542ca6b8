//! The conditions of a member.

use crate::exchange::Exchange;
use crate::expression::{Expression, ExpressionMoment, ExpressionScope, ExpressionUse, Mistake, RouteNames};
use crate::plan::{Problem, WhenPlan};
use crate::route::matching::predicate::{ConditionSource, Predicate, ValuePatterns};

/// Conditions of a member, all of which a request must meet.
pub(crate) struct MemberConditions {
    pub(super) predicates: Box<[Predicate]>,
    pub(super) expression: Option<Expression>,
}

impl MemberConditions {
    /// Reads the conditions of a member. Problems have paths under `at`.
    pub(super) fn read(when: &WhenPlan, at: &str, patterns: &mut ValuePatterns, problems: &mut Vec<Problem>) -> Self {
        let mut found = Vec::new();
        for (source, key, list) in
            [(ConditionSource::Field, "headers", &when.headers), (ConditionSource::Cookie, "cookies", &when.cookies)]
        {
            for (place, condition) in list.iter().enumerate() {
                match Predicate::build(source, condition, patterns) {
                    Ok(predicate) => found.push(predicate),
                    Err((part, message)) => problems.push(Problem::at(format!("{at}.{key}[{place}].{part}"), message)),
                }
            }
        }
        let expression = when.expression.as_deref().map(Expression::new);
        if let Some(Err(mistakes)) =
            expression.as_ref().map(|one| one.check(ExpressionMoment::Routed, ExpressionUse::Condition))
        {
            let told = |mistake: Mistake| Problem::at(format!("{at}.expression"), mistake.to_string());
            problems.extend(mistakes.into_iter().map(told));
        }
        Self { predicates: found.into(), expression }
    }

    /// Returns true if the expression is met or there is none, or says why that cannot be told.
    pub(super) fn meets_expression(&self, exchange: &Exchange, route: &str) -> Result<bool, String> {
        let Some(expression) = &self.expression else { return Ok(true) };
        let scope = scope(exchange, route);
        expression.is_met(&scope).map_err(|failure| expression.tell(&failure))
    }

    /// What the parts of the expression say of a request.
    pub(super) fn explain(&self, exchange: &Exchange, route: &str) -> Vec<String> {
        let scope = scope(exchange, route);
        let parts = self.expression.iter().flat_map(|expression| expression.explain(&scope));
        parts.map(|part| part.to_string()).collect()
    }
}

fn scope<'a>(exchange: &'a Exchange, route: &'a str) -> ExpressionScope<'a> {
    ExpressionScope { exchange, names: RouteNames { route, service: "" }, conclusion: None }
}
