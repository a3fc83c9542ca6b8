//! What an exchange shows to an expression, and when.

use std::time::Duration;

use crate::exchange::Exchange;

/// What an exchange shows to an expression.
#[derive(Clone, Copy, Debug)]
pub struct ExpressionScope<'a> {
    /// The exchange.
    pub exchange: &'a Exchange,
    /// Its route and service.
    pub names: RouteNames<'a>,
    /// How it has ended, once it is over.
    pub conclusion: Option<Conclusion>,
}

/// What a route and its service are called.
#[derive(Clone, Copy, Debug, Default)]
pub struct RouteNames<'a> {
    /// Name of the route; empty if there is none.
    pub route: &'a str,
    /// Name of the service; empty if there is none, or it is not known yet.
    pub service: &'a str,
}

/// How an exchange has ended.
#[derive(Clone, Copy, Debug)]
pub struct Conclusion {
    /// Whether the whole response was sent.
    pub complete: bool,
    /// From the complete request head to the last byte of the response.
    pub duration: Duration,
}

/// What is known when an expression is evaluated. Each moment knows what those before it do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ExpressionMoment {
    /// The route is known, the user is not.
    Routed,
    /// The user is known.
    Authenticated,
    /// The exchange is over.
    Over,
}
