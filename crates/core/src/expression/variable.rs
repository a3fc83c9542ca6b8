//! The variables of expressions: this is the only list of them.

use std::borrow::Cow;

use super::datum::{Datum, DatumKind, Listed};
use super::failure::ExpressionFailure;
use super::lookup::LookupSource;
use super::mistake::Mistake;
use super::scope::{ExpressionMoment, ExpressionScope};
use crate::exchange::user::User;

/// What a variable is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Held {
    Bool,
    Int,
    Double,
    Text,
    Texts,
    Claims,
    Fields(LookupSource),
}

/// A row of the table.
#[derive(Clone, Copy, Debug)]
pub struct VariableRow {
    /// Name, e.g. `request.method`.
    pub name: &'static str,
    variable: Variable,
    held: Held,
    /// What it is, for people.
    pub about: &'static str,
}

impl VariableRow {
    /// Its type, as CEL calls it.
    pub fn cel_type(&self) -> &'static str {
        match self.held {
            Held::Bool => "bool",
            Held::Int => "int",
            Held::Double => "double",
            Held::Text => "string",
            Held::Texts => "list(string)",
            Held::Claims => "map(string, dyn)",
            Held::Fields(_) => "map(string, string)",
        }
    }
}

/// Declares [`Variable`] and [`VARIABLES`].
macro_rules! variables {
    ($($variable:ident $name:literal $held:expr, $about:literal;)+) => {
        /// A variable.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Variable {
            $(#[doc = $about] $variable),+
        }

        /// All variables.
        pub const VARIABLES: &[VariableRow] = &[
            $(VariableRow { name: $name, variable: Variable::$variable, held: $held, about: $about }),+
        ];
    };
}

variables! {
    RequestId "request.id" Held::Text, "The request id.";
    Method "request.method" Held::Text, "The method, such as `GET`.";
    Scheme "request.scheme" Held::Text, "`https` if the client speaks TLS to the gateway, else `http`.";
    Host "request.host" Held::Text, "The host in lower case, without port.";
    Path "request.path" Held::Text, "The canonical path that routes and policies judge, without parameters of segments.";
    Headers "request.headers" Held::Fields(LookupSource::Request), "The header fields by name. The case of names does \
        not matter.";
    Query "request.query" Held::Fields(LookupSource::Query), "The query parameters by name, decoded.";
    Cookies "request.cookies" Held::Fields(LookupSource::Cookies), "The cookies by name.";
    Time "request.time" Held::Int, "When the request came, in seconds since 1970, as in claims such as `iat`.";
    ClientAddress "client.address" Held::Text, "The client's IP address; behind trusted proxies, the one they report.";
    RouteName "route.name" Held::Text, "The name of the route; empty if no route takes the request.";
    ServiceName "service.name" Held::Text, "The name of the route's service; empty where the route has none, or a \
        split decides. In a log, the service that got the request.";
    UserKnown "user.known" Held::Bool, "Whether there is an authenticated user. Without one, the texts below are \
        empty, and so are the lists and the claims.";
    UserId "user.id" Held::Text, "The user's id.";
    UserEmail "user.email" Held::Text, "The user's mail address.";
    UserRole "user.role" Held::Text, "The user's role, as the credential has it.";
    UserRoles "user.roles" Held::Texts, "The user's roles, one by one.";
    UserPermissions "user.permissions" Held::Texts, "The user's permissions.";
    UserClaims "user.claims" Held::Claims, "The claims of the credential, by name.";
    UserVia "user.via" Held::Text, "The kind of the authenticator, such as `jwt`.";
    Status "response.status" Held::Int, "The status of the response.";
    ResponseHeaders "response.headers" Held::Fields(LookupSource::Response), "The fields of the response by name.";
    ResponseError "response.error" Held::Text, "The code of the gateway's own error, such as `rate_limited`; empty if \
        there is none.";
    ResponseComplete "response.complete" Held::Bool, "Whether the whole response was sent.";
    ResponseDuration "response.duration" Held::Double, "Seconds from the request's head to the last byte of the \
        response.";
}

/// A variable that an expression reads, and where.
#[derive(Clone, Copy, Debug)]
pub(super) struct UsedVariable {
    pub(super) variable: Variable,
    pub(super) at: u32,
}

impl UsedVariable {
    /// Returns a mistake if the variable is not known yet at `moment`.
    pub(super) fn check(self, moment: ExpressionMoment, text: &str) -> Option<Mistake> {
        if self.variable.known_from() <= moment {
            return None;
        }
        let name = self.variable.row().name;
        let message = match self.variable.known_from() {
            ExpressionMoment::Over => {
                format!("`{name}` is not known before the response was sent; only a log may ask for it")
            }
            _ => format!("`{name}` is not known here, before authentication"),
        };
        Some(Mistake::at(text, self.at as usize, message))
    }
}

impl Variable {
    /// The variable of a name in two parts.
    pub(super) fn find(root: &str, member: &str) -> Option<&'static VariableRow> {
        let is_it = |row: &&VariableRow| row.name.split_once('.') == Some((root, member));
        VARIABLES.iter().find(is_it)
    }

    /// The members of a name such as `request`; none if there is no such name.
    pub(super) fn members(root: &str) -> impl Iterator<Item = &'static str> {
        let parts = VARIABLES.iter().filter_map(|row| row.name.split_once('.'));
        parts.filter(move |(first, _)| *first == root).map(|(_, member)| member)
    }

    /// The names that variables begin with.
    pub(super) fn roots() -> impl Iterator<Item = &'static str> {
        VARIABLES.iter().filter_map(|row| row.name.split('.').next())
    }

    fn row(self) -> &'static VariableRow {
        &VARIABLES[self as usize]
    }

    fn known_from(self) -> ExpressionMoment {
        match self.row().name.split('.').next() {
            Some("response") => ExpressionMoment::Over,
            Some("user") => ExpressionMoment::Authenticated,
            _ => ExpressionMoment::Routed,
        }
    }

    pub(super) fn is_of_user(self) -> bool {
        self.known_from() == ExpressionMoment::Authenticated
    }

    /// Reads the variable. One that holds fields has no value of its own.
    #[inline]
    pub(super) fn read<'a>(self, scope: &ExpressionScope<'a>, at: u32) -> Result<Datum<'a>, ExpressionFailure> {
        let request = &scope.exchange.request;
        let text =
            |bytes: &'a [u8]| std::str::from_utf8(bytes).map(Datum::text).map_err(|_| ExpressionFailure::not_text(at));
        let user = request.user.as_deref();
        let of_user = |read: fn(&User) -> &str| Datum::text(user.map_or("", read));
        Ok(match self {
            Self::RequestId => text(&request.id)?,
            Self::Method => text(request.head.method_span.of(&request.buffer))?,
            Self::Scheme => Datum::text(if request.origin.secure { "https" } else { "http" }),
            Self::Host => text(request.host_name())?,
            Self::Path => text(request.target.routing_path())?,
            Self::Time => Datum::Int(i64::try_from(scope.exchange.times.wall.as_secs()).unwrap_or(i64::MAX)),
            Self::ClientAddress => Datum::Text(Cow::Owned(request.origin.client.to_canonical().to_string())),
            Self::RouteName => Datum::text(scope.names.route),
            Self::ServiceName => Datum::text(scope.names.service),
            Self::UserKnown => Datum::Bool(user.is_some()),
            Self::UserId => of_user(|user| &user.id),
            Self::UserEmail => of_user(|user| &user.email),
            Self::UserRole => of_user(|user| &user.role),
            Self::UserVia => of_user(|user| user.via),
            Self::UserRoles => Datum::List(Listed::Parts(user.map_or("", |user| &user.role))),
            Self::UserPermissions => Datum::List(Listed::Texts(user.map_or(&[], |user| &user.permissions))),
            Self::UserClaims => user.map_or(Datum::Null, |user| Datum::Claims(&user.claims)),
            Self::Status => Datum::Int(scope.exchange.response.status.into()),
            Self::ResponseError => Datum::text(scope.exchange.response.code.unwrap_or_default()),
            Self::ResponseComplete => Datum::Bool(scope.conclusion.is_some_and(|end| end.complete)),
            Self::ResponseDuration => Datum::Double(scope.conclusion.map_or(0.0, |end| end.duration.as_secs_f64())),
            Self::Headers | Self::Query | Self::Cookies | Self::ResponseHeaders => {
                return Err(ExpressionFailure::invalid());
            }
        })
    }
}

impl VariableRow {
    pub(super) fn variable(&self) -> Variable {
        self.variable
    }

    /// What a value of the variable is; None if it holds fields, which are no value.
    pub(super) fn kind(&self) -> Result<DatumKind, LookupSource> {
        Ok(match self.held {
            Held::Bool => DatumKind::Bool,
            Held::Int => DatumKind::Int,
            Held::Double => DatumKind::Double,
            Held::Text => DatumKind::Text,
            Held::Texts => DatumKind::List(Box::new(DatumKind::Text)),
            Held::Claims => DatumKind::Claims,
            Held::Fields(source) => return Err(source),
        })
    }
}
