use super::*;
use proptest::prelude::*;

fn read(text: &str) -> Result<(), Reason> {
    let mut scan = Scan::new(text.as_bytes());
    scan.skip_space();
    scan.value(0, &mut Vec::new()).map_err(|fault| fault.reason)?;
    scan.skip_space();
    if scan.at == text.len() { Ok(()) } else { Err(Reason::InvalidJson) }
}

#[test]
fn what_is_json_is_read_to_its_end() {
    for good in [
        "{}",
        "[]",
        "[[],{}]",
        " { \"a\" : [ 1 , 2.5e-3 , -0 ] } ",
        "\"\\ud83d\\ude00\"",
        "true",
        "false",
        "null",
        "0",
        "-0.0E+10",
        "{\"a\":1,\"b\":{\"a\":1}}",
        "\"\u{7f}é\"",
    ] {
        assert_eq!(read(good), Ok(()), "{good}");
    }
}

#[test]
fn what_is_nearly_json_is_refused() {
    for bad in [
        "",
        "{",
        "}",
        "{\"a\"}",
        "{\"a\":}",
        "{\"a\":1,}",
        "[1,]",
        "[1 2]",
        "01",
        "1.",
        ".5",
        "+1",
        "1e",
        "-",
        "NaN",
        "Infinity",
        "nul",
        "'a'",
        "{a:1}",
        "\"\\x\"",
        "\"\\ud800\"",
        "\"a\nb\"",
        "\"a",
        "1 2",
        "{\"a\":1}}",
        "\u{feff}{}",
        "// c\n1",
    ] {
        assert_eq!(read(bad), Err(Reason::InvalidJson), "{bad}");
    }
}

#[test]
fn a_key_twice_is_found_however_it_is_spelt() {
    for bad in [r#"{"a":1,"a":2}"#, r#"{"a":1,"b":2,"\u0061":3}"#, r#"[{"x":{"a":1,"a":1}}]"#] {
        assert_eq!(read(bad), Err(Reason::DuplicateKey), "{bad}");
    }
    let many: Vec<String> = (0..100).map(|index| format!("\"k{}\":0", index % 99)).collect();
    assert_eq!(read(&format!("{{{}}}", many.join(","))), Err(Reason::DuplicateKey));
}

#[test]
fn nesting_is_bounded() {
    let nested = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
    assert_eq!(read(&nested(64)), Ok(()));
    assert_eq!(read(&nested(65)), Err(Reason::TooDeep));
}

/// JSON texts, some of them broken by one changed byte.
fn json() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("null".to_owned()),
        Just("true".to_owned()),
        any::<i64>().prop_map(|number| number.to_string()),
        any::<f64>().prop_filter_map("finite", |number| {
            number.is_finite().then(|| format!("{number:e}"))
        }),
        any::<String>().prop_map(|text| serde_json::json!(text).to_string()),
    ];
    leaf.prop_recursive(4, 32, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4)
                .prop_map(|items| format!("[{}]", items.join(" ,"))),
            prop::collection::btree_map("[a-c\\\\\"é]{0,3}", inner, 0..4).prop_map(|members| {
                let members: Vec<String> = members
                    .iter()
                    .map(|(key, value)| format!("{} : {value}", serde_json::json!(key)))
                    .collect();
                format!("{{{}}}", members.join(","))
            }),
        ]
    })
}

proptest! {
    #[test]
    fn every_json_text_is_read(text in json()) {
        prop_assert_eq!(read(&text), Ok(()));
    }

    #[test]
    fn a_changed_byte_is_judged_as_serde_json_judges_it(
        text in json(), at: prop::sample::Index, byte in 0x20_u8..0x7f,
    ) {
        let mut bytes = text.into_bytes();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        if let Ok(text) = String::from_utf8(bytes) {
            let theirs = serde_json::from_str::<serde_json::Value>(&text);
            match read(&text) {
                // They accept a key twice and refuse numbers beyond a double.
                Ok(()) => prop_assert!(
                    theirs.as_ref().map_err(ToString::to_string)
                        .map_or_else(|error| error.contains("out of range"), |_| true),
                    "{:?}", text
                ),
                Err(Reason::DuplicateKey) => prop_assert!(theirs.is_ok()),
                Err(_) => prop_assert!(theirs.is_err(), "{:?}", text),
            }
        }
    }
}
