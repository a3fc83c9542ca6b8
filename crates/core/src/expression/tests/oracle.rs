//! What an expression says is what the interpreter of the `cel` crate says of the same values.

use std::sync::Arc;

use cel::objects::Map;
use cel::{Context, Program, Value};
use serde_json::json;

use super::*;

fn claims() -> serde_json::Value {
    json!({"a": "x", "b": 3, "c": true, "d": 1.5, "e": ["x", "y", "z"], "f": [1, 2, 3], "g": {"h": "x", "i": 2}})
}

/// Expressions over claims, most of them sound.
fn text() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("user.claims.a".to_owned()),
        Just("user.claims.b".to_owned()),
        Just("user.claims.c".to_owned()),
        Just("user.claims.d".to_owned()),
        Just("user.claims.e".to_owned()),
        Just("user.claims.f[1]".to_owned()),
        Just("user.claims.g.h".to_owned()),
        Just("user.claims['g'].i".to_owned()),
        Just("user.claims.absent".to_owned()),
        Just("has(user.claims.a)".to_owned()),
        Just("has(user.claims.absent)".to_owned()),
        Just("'x'".to_owned()),
        Just("'xyz'".to_owned()),
        Just("true".to_owned()),
        Just("false".to_owned()),
        (-4_i64..5).prop_map(|number| number.to_string()),
        Just("9223372036854775807".to_owned()),
        Just("1.5".to_owned()),
        Just("[1, 'x']".to_owned()),
    ];
    leaf.prop_recursive(4, 24, 3, |inner| {
        let binary = prop_oneof![
            Just("&&"),
            Just("||"),
            Just("=="),
            Just("!="),
            Just("<"),
            Just(">="),
            Just("+"),
            Just("-"),
            Just("*"),
            Just("/"),
            Just("%"),
            Just("in"),
        ];
        prop_oneof![
            (inner.clone(), binary, inner.clone()).prop_map(|(one, sign, other)| format!("({one} {sign} {other})")),
            inner.clone().prop_map(|one| format!("!({one})")),
            inner.clone().prop_map(|one| format!("size({one})")),
            (inner.clone(), inner.clone(), inner.clone()).prop_map(|(a, b, c)| format!("({a} ? {b} : {c})")),
            (inner.clone(), inner.clone()).prop_map(|(one, other)| format!("({one}).startsWith({other})")),
            (inner.clone(), inner.clone()).prop_map(|(one, other)| format!("({one}).exists(m, m == {other})")),
            (inner.clone(), inner.clone()).prop_map(|(one, other)| format!("({one}).all(m, m != {other})")),
            (inner.clone(), inner).prop_map(|(one, other)| format!("({one}).exists_one(m, m == {other})")),
        ]
    })
}

/// The crate takes whole numbers of JSON for unsigned ones, which it does not add to others.
fn signed(value: Value) -> Value {
    match value {
        Value::UInt(number) => Value::Int(number.try_into().unwrap()),
        Value::List(values) => Value::List(Arc::new(values.iter().cloned().map(signed).collect())),
        Value::Map(members) => {
            let members = members.map.iter().map(|(name, value)| (name.clone(), signed(value.clone())));
            Value::Map(Map { map: Arc::new(members.collect()) })
        }
        other => other,
    }
}

fn of_the_crate(text: &str) -> Option<bool> {
    let mut context = Context::default();
    let user = cel::to_value(json!({"claims": claims()})).unwrap();
    context.add_variable_from_value("user", signed(user));
    match Program::compile(text).ok()?.execute(&context) {
        Ok(Value::Bool(answer)) => Some(answer),
        _ => None,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(5000))]

    #[test]
    fn answers_are_those_of_the_crate(text in text()) {
        let asked = with_user(HEAD, claims());
        let expression = Expression::new(&text);
        if expression.check(ExpressionMoment::Over, ExpressionUse::Condition).is_err() {
            // What types refuse is refused before there is a request.
            return Ok(());
        }
        let ours = expression.is_met(&scope(&asked)).ok();
        prop_assert_eq!(ours, of_the_crate(&text), "{}", text);
    }
}
