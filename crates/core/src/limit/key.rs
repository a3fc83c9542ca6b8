//! Keys of limits: which requests are counted together.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::expression::Expression;

/// The properties of a request that keys are made of.
pub trait KeySource {
    /// Id of the authenticated user.
    fn user_id(&self) -> Option<&[u8]>;
    /// Address of the client, from trusted proxies if there are any.
    fn client_ip(&self) -> IpAddr;
    /// First value of the request field `name` (lower case).
    fn header<'a>(&'a self, name: &'a str) -> Option<&'a [u8]>;
    /// Name of the route.
    fn route(&self) -> &str;
    /// Appends the key that an expression gives, or returns false if it cannot be told.
    fn write_expression(&self, expression: &Expression, out: &mut Vec<u8>) -> bool;
}

/// One part of a key. In the plan a string: `auto`, `user`, `ip`, `header:NAME`, `expression:TEXT`, `route` or
/// `global`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum KeyPart {
    /// The user if there is one, the client address otherwise.
    Auto,
    /// The user. All requests without one share a key.
    User,
    /// The client address; of IPv6 the first 64 bits, the least that one client controls.
    Ip,
    /// The first value of a request field, name in lower case. All requests without it share a key.
    Header(String),
    /// What an expression gives. All requests for which it cannot be told share a key.
    Expression(Box<Expression>),
    /// The route.
    Route,
    /// One key for everything.
    Global,
}

/// An unknown part.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not auto, user, ip, header:NAME, expression:TEXT, route or global")]
pub struct UnknownPart(String);

impl TryFrom<String> for KeyPart {
    type Error = UnknownPart;

    fn try_from(text: String) -> Result<Self, UnknownPart> {
        Ok(match text.as_str() {
            "auto" => Self::Auto,
            "user" => Self::User,
            "ip" => Self::Ip,
            "route" => Self::Route,
            "global" => Self::Global,
            _ => match text.split_once(':') {
                Some(("header", name)) if is_token(name) => Self::Header(name.to_ascii_lowercase()),
                Some(("expression", written)) => Self::Expression(Box::new(Expression::new(written))),
                _ => return Err(UnknownPart(text)),
            },
        })
    }
}

impl From<KeyPart> for String {
    fn from(part: KeyPart) -> Self {
        match part {
            KeyPart::Auto => "auto".into(),
            KeyPart::User => "user".into(),
            KeyPart::Ip => "ip".into(),
            KeyPart::Header(name) => format!("header:{name}"),
            KeyPart::Expression(expression) => format!("expression:{}", expression.text()),
            KeyPart::Route => "route".into(),
            KeyPart::Global => "global".into(),
        }
    }
}

/// Formats the key as in the plan: parts joined by `+`.
impl std::fmt::Display for LimitKey {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (index, part) in self.0.iter().enumerate() {
            write!(to, "{}{}", if index > 0 { "+" } else { "" }, String::from(part.clone()))?;
        }
        Ok(())
    }
}

/// RFC 9110 section 5.6.2.
fn is_token(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}

/// The parts that make up a key; no parts means the same as `global`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct LimitKey(pub Vec<KeyPart>);

impl LimitKey {
    /// Returns true if the key needs the result of authentication.
    pub fn needs_user(&self) -> bool {
        self.0.iter().any(|part| match part {
            KeyPart::Auto | KeyPart::User => true,
            KeyPart::Expression(expression) => expression.reads_user(),
            _ => false,
        })
    }

    /// The expressions among the parts.
    pub fn expressions(&self) -> impl Iterator<Item = &Expression> {
        self.0.iter().filter_map(|part| match part {
            KeyPart::Expression(expression) => Some(&**expression),
            _ => None,
        })
    }

    /// Appends the key of a request. The encoding is unambiguous: different values never give the same bytes.
    pub fn write_key(&self, parts: &impl KeySource, out: &mut Vec<u8>) {
        for part in &self.0 {
            match part {
                KeyPart::Auto => match parts.user_id() {
                    Some(id) => value(out, b'u', Some(id)),
                    None => address(out, parts.client_ip()),
                },
                KeyPart::User => value(out, b'u', parts.user_id()),
                KeyPart::Ip => address(out, parts.client_ip()),
                KeyPart::Header(name) => value(out, b'h', parts.header(name)),
                KeyPart::Expression(expression) => {
                    let start = out.len();
                    out.push(b'e');
                    if !parts.write_expression(expression, out) {
                        out.truncate(start);
                        out.push(b'-');
                    }
                }
                KeyPart::Route => value(out, b'r', Some(parts.route().as_bytes())),
                KeyPart::Global => {}
            }
        }
    }
}

/// Writes a value with its length; an absent value differs from an empty one.
fn value(out: &mut Vec<u8>, kind: u8, value: Option<&[u8]>) {
    match value {
        Some(value) => {
            out.push(kind);
            out.extend_from_slice(&(value.len() as u32).to_le_bytes());
            out.extend_from_slice(value);
        }
        None => out.push(b'-'),
    }
}

fn address(out: &mut Vec<u8>, ip: IpAddr) {
    match ip.to_canonical() {
        IpAddr::V4(ip) => {
            out.push(b'4');
            out.extend_from_slice(&ip.octets());
        }
        IpAddr::V6(ip) => {
            out.push(b'6');
            out.extend_from_slice(&ip.octets()[..8]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Fake {
        user: Option<&'static str>,
        ip: &'static str,
        tenant: Option<&'static str>,
    }

    impl KeySource for Fake {
        fn user_id(&self) -> Option<&[u8]> {
            self.user.map(str::as_bytes)
        }

        fn client_ip(&self) -> IpAddr {
            self.ip.parse().unwrap()
        }

        fn header<'a>(&'a self, name: &'a str) -> Option<&'a [u8]> {
            self.tenant.filter(|_| name == "x-tenant").map(str::as_bytes)
        }

        fn route(&self) -> &'static str {
            "orders"
        }

        fn write_expression(&self, expression: &Expression, out: &mut Vec<u8>) -> bool {
            out.extend_from_slice(expression.text().as_bytes());
            expression.text() != "user.claims.absent"
        }
    }

    fn key(parts: &str, user: Option<&'static str>, ip: &'static str, tenant: Option<&'static str>) -> Vec<u8> {
        let key: LimitKey = serde_json::from_str(parts).unwrap();
        let mut out = Vec::new();
        key.write_key(&Fake { user, ip, tenant }, &mut out);
        out
    }

    #[test]
    fn parts_read_and_write_back() {
        let text = r#"["auto","user","ip","header:x-tenant","expression:user.id","route","global"]"#;
        let key: LimitKey = serde_json::from_str(text).unwrap();
        assert_eq!(serde_json::to_string(&key).unwrap(), text);
        assert_eq!(key.to_string(), "auto+user+ip+header:x-tenant+expression:user.id+route+global");
        assert_eq!(serde_json::from_str::<LimitKey>(r#"["header:X-Tenant"]"#).unwrap().0[0], key.0[3]);
        assert!(key.needs_user() && !LimitKey(vec![KeyPart::Ip]).needs_user());
        let of = |text: &str| LimitKey(vec![KeyPart::Expression(Box::new(Expression::new(text)))]);
        assert!(of("user.id").needs_user() && !of("route.name").needs_user());
        for wrong in ["", "IP", "header:", "header:a b", "cookie:x"] {
            assert!(KeyPart::try_from(wrong.to_owned()).is_err(), "{wrong}");
        }
    }

    #[test]
    fn addresses_and_users() {
        let ip = |ip| key(r#"["ip"]"#, None, ip, None);
        assert_eq!(ip("2001:db8::1"), ip("2001:db8::ffff:1"));
        assert_ne!(ip("2001:db8::1"), ip("2001:db8:0:1::1"));
        assert_ne!(ip("192.0.2.1"), ip("192.0.2.2"));
        assert_eq!(ip("192.0.2.1"), ip("::ffff:192.0.2.1"));
        let auto = |user, ip| key(r#"["auto"]"#, user, ip, None);
        assert_eq!(auto(Some("7"), "192.0.2.1"), auto(Some("7"), "192.0.2.2"));
        assert_ne!(auto(None, "192.0.2.1"), auto(None, "192.0.2.2"));
        assert_eq!(key(r#"["global"]"#, Some("7"), "192.0.2.1", None), b"");
    }

    #[test]
    fn combinations_are_not_ambiguous() {
        let both = |user, tenant| key(r#"["user","header:x-tenant"]"#, user, "192.0.2.1", tenant);
        assert_ne!(both(Some("ab"), Some("c")), both(Some("a"), Some("bc")));
        assert_ne!(both(Some("a"), None), both(None, Some("a")));
        assert_ne!(both(Some("a"), None), both(Some("a"), Some("")));
        // One that cannot be told is like no other, and leaves nothing behind.
        let absent = key(r#"["expression:user.claims.absent"]"#, None, "192.0.2.1", None);
        assert_eq!(absent, b"-");
        assert_ne!(key(r#"["expression:user.id"]"#, None, "192.0.2.1", None), absent);
    }
}
