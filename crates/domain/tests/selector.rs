//! Any selector that can be thought of is printed as a text that reads as the same selector, and no text makes the
//! parser panic or point outside of the text.

use motehub_domain::selector::{FIELDS, Field, Kind, Operator, Selector, Value};
use motehub_domain::time::Span;
use proptest::prelude::*;

fn name() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-z_]{1,8}",
        "[a-zA-Z0-9_./-]{1,12}",
        "[^\\p{Cc}]{1,16}",
        prop::sample::select(vec!["and", "In", "tag", "ONLINE", "telemetry.x", "reported.", "5", "not"])
            .prop_map(str::to_owned),
    ]
}

fn field() -> impl Strategy<Value = Field> {
    prop_oneof![
        prop::sample::select(FIELDS).prop_map(|entry| Field::Known(entry.1)),
        name().prop_map(Field::Telemetry),
        name()
            .prop_filter("the parser takes it away", |name| !name.starts_with("attributes."))
            .prop_map(Field::Reported),
        name().prop_map(Field::Either),
    ]
}

fn value(kind: Kind, operator: Operator) -> BoxedStrategy<Value> {
    let text = prop_oneof!["[a-z0-9]{0,8}", "\\PC{0,12}", Just("true".to_owned())];
    let number = prop_oneof![any::<i32>().prop_map(f64::from), -1e6..1e6_f64];
    match (kind, operator) {
        (Kind::Texts | Kind::Text | Kind::Group, _) | (Kind::Any, Operator::Contains) => {
            text.prop_map(Value::Text).boxed()
        }
        (Kind::Number, _) => any::<i32>().prop_map(|n| Value::Number(f64::from(n))).boxed(),
        (Kind::Age, _) => (0..3_000_000_i64).prop_map(|s| Value::Age(Span::seconds(s))).boxed(),
        (Kind::Any, Operator::Equal | Operator::Unequal) => prop_oneof![
            text.prop_map(Value::Text),
            number.prop_map(Value::Number),
            any::<bool>().prop_map(Value::Truth)
        ]
        .boxed(),
        (Kind::Any, _) => number.prop_map(Value::Number).boxed(),
    }
}

fn term() -> impl Strategy<Value = Selector> {
    let compared = field().prop_flat_map(|field| {
        let kind = field.kind();
        let operators = prop::sample::select(kind.operators());
        operators.prop_flat_map(move |operator| {
            let field = field.clone();
            value(kind, operator).prop_map(move |value| Selector::Compare(field.clone(), operator, value))
        })
    });
    let among = field().prop_filter("takes in", |field| field.kind().has_in()).prop_flat_map(|field| {
        let values = prop::collection::vec(value(field.kind(), Operator::Equal), 1..4);
        values.prop_map(move |values| Selector::Among(field.clone(), values))
    });
    let there =
        field().prop_filter("takes exists", |field| field.kind().has_exists()).prop_map(Selector::Exists);
    let flag = prop::sample::select(vec![
        Selector::All,
        Selector::Online,
        Selector::Failing,
        Selector::Pending,
        Selector::Unauthenticated,
    ]);
    prop_oneof![flag, compared, among, there]
}

fn selector() -> impl Strategy<Value = Selector> {
    term().prop_recursive(4, 12, 2, |inner| {
        let pair = (inner.clone(), inner.clone());
        prop_oneof![
            inner.prop_map(|it| Selector::Not(Box::new(it))),
            pair.clone().prop_map(|(a, b)| Selector::And(Box::new(a), Box::new(b))),
            pair.prop_map(|(a, b)| Selector::Or(Box::new(a), Box::new(b))),
        ]
    })
}

proptest! {
    #[test]
    fn printing_and_parsing_agree(selector in selector()) {
        let text = selector.to_string();
        prop_assert_eq!(Selector::parse(&text), Ok(selector), "{}", text);
    }

    #[test]
    fn every_refusal_points_into_the_text(text in "[a-z0-9 ()=!~<>,\"\\\\ä.]{0,40}") {
        if let Err(refused) = Selector::parse(&text) {
            let position = refused.position.unwrap();
            prop_assert!((1..=text.chars().count() + 1).contains(&position), "{position} in {text:?}");
        }
    }
}
