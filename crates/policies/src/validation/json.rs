//! Untrusted JSON: its size is bounded before it is parsed, and duplicate keys are refused.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

/// Depth limit of the parser itself.
pub(super) const MAX_DEPTH: u8 = 127;

/// Checks depth and number of values in one pass without allocating. Does not check that the JSON is well-formed.
pub(super) fn scan(body: &[u8], max_depth: u8, max_values: u32) -> Result<(), &'static str> {
    let (mut depth, mut values) = (0_u32, 1_u32);
    let mut bytes = body.iter();
    while let Some(byte) = bytes.next() {
        match byte {
            b'"' => {
                // Skip the string, including escaped quotes. The parser reports a missing end.
                while let Some(byte) = bytes.next() {
                    match byte {
                        b'\\' => drop(bytes.next()),
                        b'"' => break,
                        _ => {}
                    }
                }
            }
            b'[' | b'{' => {
                depth += 1;
                values += 1;
                if depth > u32::from(max_depth) {
                    return Err("the body is nested too deeply");
                }
            }
            b']' | b'}' => depth = depth.saturating_sub(1),
            b',' | b':' => values += 1,
            _ => continue,
        }
        if values > max_values {
            return Err("the body has too many values");
        }
    }
    Ok(())
}

/// Checks that `body` is JSON without duplicate keys.
pub(super) fn check(body: &[u8]) -> Result<(), String> {
    parse(body).map(drop)
}

/// Parses `body`. Duplicate keys are refused, because the service might read the other one.
pub(super) fn parse(body: &[u8]) -> Result<Value, String> {
    let mut parser = serde_json::Deserializer::from_slice(body);
    let parsed = Strict.deserialize(&mut parser).and_then(|value| parser.end().map(|()| value));
    parsed.map_err(|error| {
        let (line, column) = (error.line(), error.column());
        let what = if error.is_data() { "has a key twice in one object" } else { "is not JSON" };
        format!("the body {what} (line {line}, column {column})")
    })
}

/// Deserializes a value and refuses duplicate keys.
struct Strict;

impl<'de> DeserializeSeed<'de> for Strict {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Value, D::Error> {
        from.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict {
    type Value = Value;

    fn expecting(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str("JSON")
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_string<E: Error>(self, value: String) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut from: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(value) = from.next_element_seed(Strict)? {
            list.push(value);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut from: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        while let Some(key) = from.next_key::<String>()? {
            let value = from.next_value_seed(Strict)?;
            if object.insert(key, value).is_some() {
                return Err(A::Error::custom("a key twice"));
            }
        }
        Ok(Value::Object(object))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_found_in_one_pass() {
        let deep = |n: usize| "[".repeat(n) + &"]".repeat(n);
        assert_eq!(scan(deep(64).as_bytes(), 64, 1000), Ok(()));
        assert!(scan(deep(65).as_bytes(), 64, 1000).is_err());
        assert!(scan("[".repeat(10_000).as_bytes(), 64, 100_000).is_err());
        assert!(scan("{\"a\":".repeat(10_000).as_bytes(), 64, 100_000).is_err());
        assert_eq!(scan(br#"["[[[[\"[[[", "{"]"#, 1, 3), Ok(()));
        assert!(scan(br#"["a", "b", "c"]"#, 1, 3).is_err());
        assert_eq!(scan(br#""open"#, 1, 1), Ok(()));
        assert_eq!(scan(b"\"\\", 1, 1), Ok(()));
        assert_eq!(scan(b"]]]][", 1, 2), Ok(()));
    }

    #[test]
    fn only_one_meaning_passes() {
        for good in ["1", "-0.5e3", "null", "\"\\u00e9\"", " [1, {\"a\": {\"b\": []}}] ", "18446744073709551615", "{}"]
        {
            let parsed = parse(good.as_bytes()).unwrap();
            assert_eq!(parsed, serde_json::from_str::<Value>(good).unwrap(), "{good}");
        }
        for bad in
            ["", "{", "[1,]", "{\"a\":1,}", "01", "NaN", "'a'", "1 2", "\u{feff}{}", "\"\\ud800\"", "{\"a\":1,\"a\":2}"]
        {
            assert!(parse(bad.as_bytes()).is_err(), "{bad}");
        }
        assert!(parse(b"[{\"a\":1,\"\\u0061\":2}]").unwrap_err().contains("twice"));
        assert!(parse(b"\"\xff\"").is_err());
    }
}
