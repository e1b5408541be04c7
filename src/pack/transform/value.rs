//! Between JSON and the values of VRL. A number is the same number on both sides, or it is refused.
//!
//! VRL counts in whole numbers of 64 bits and in binary floats. A number with a fraction or an exponent
//! may become a float when the shortest text of that float says the same number: then it comes
//! out as it went in, perhaps in other digits (`1.50` as `1.5`).

use std::fmt::Write;

use vrl::value::{ObjectMap, Value};

use super::refusal;
use crate::dead_letter::Reason;
use crate::pack::decimal;
use crate::pack::decode::faulty;
use crate::pack::json::{Fault, Scan};
use crate::pack::validate::Refusal;

/// Reads an object that was found to be strict JSON.
pub(super) fn read(text: &str) -> Result<ObjectMap, Refusal> {
    let mut reader = Reader { text, scan: Scan::new(text.as_bytes()) };
    reader.scan.skip_space();
    reader.object().map_err(|stop| match stop {
        Stop::Fault(fault) => faulty(fault),
        Stop::Number(mut path) => {
            path.reverse();
            let detail = format!(
                "/{}: a number that VRL does not hold exactly; as a text in quotes it does",
                path.join("/")
            );
            Refusal { reason: Reason::NumberOutOfRange, field: path.into_iter().next(), detail }
        }
    })
}

struct Reader<'t> {
    text: &'t str,
    scan: Scan<'t>,
}

enum Stop {
    Fault(Fault),
    /// The keys that lead to it, the innermost first.
    Number(Vec<String>),
}

impl From<Fault> for Stop {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

impl Stop {
    fn below(self, key: &impl ToString) -> Self {
        match self {
            Self::Number(mut path) => {
                path.push(key.to_string());
                Self::Number(path)
            }
            Self::Fault(fault) => Self::Fault(fault),
        }
    }
}

impl Reader<'_> {
    fn value(&mut self) -> Result<Value, Stop> {
        let start = self.scan.at;
        match self.scan.peek() {
            b'"' => Ok(Value::from(self.string()?)),
            b'{' => self.object().map(Value::Object),
            b'[' => self.array().map(Value::Array),
            b'-' | b'0'..=b'9' => {
                let is_integer = self.scan.number()?;
                let literal = self.text.get(start..self.scan.at).unwrap_or_default();
                number(literal, is_integer).ok_or_else(|| Stop::Number(Vec::new()))
            }
            first => {
                self.scan.word()?;
                Ok(if first == b'n' { Value::Null } else { Value::Boolean(first == b't') })
            }
        }
    }

    fn string(&mut self) -> Result<String, Fault> {
        let found = self.scan.string()?;
        Ok(if found.escaped {
            found.decode(self.text.as_bytes())
        } else {
            self.text.get(found.start..found.end).unwrap_or_default().to_owned()
        })
    }

    /// The next byte is its opening brace. How deep it may be was looked at before.
    fn object(&mut self) -> Result<ObjectMap, Stop> {
        let mut object = ObjectMap::new();
        self.scan.at += 1;
        self.scan.skip_space();
        if self.scan.eat(b"}") {
            return Ok(object);
        }
        loop {
            let key = self.scan.key()?.decode(self.text.as_bytes());
            self.scan.skip_space();
            let value = self.value().map_err(|stop| stop.below(&key))?;
            object.insert(key.into(), value);
            if self.scan.closes(b'}')? {
                return Ok(object);
            }
        }
    }

    fn array(&mut self) -> Result<Vec<Value>, Stop> {
        let mut array = Vec::new();
        self.scan.at += 1;
        self.scan.skip_space();
        if self.scan.eat(b"]") {
            return Ok(array);
        }
        loop {
            array.push(self.value().map_err(|stop| stop.below(&array.len()))?);
            if self.scan.closes(b']')? {
                return Ok(array);
            }
        }
    }
}

/// The number that `literal` is; none: there is no such number in VRL.
fn number(literal: &str, is_integer: bool) -> Option<Value> {
    if is_integer {
        return literal.parse().ok().map(Value::Integer);
    }
    let float: f64 = literal.parse().ok()?;
    let mut shown = String::new();
    write_float(float, &mut shown)?;
    decimal::is_same(literal, &shown).then(|| Value::from_f64_or_zero(float))
}

/// Appends the shortest text that is read as this float; none: it is no number of JSON.
fn write_float(float: f64, out: &mut String) -> Option<()> {
    write!(out, "{}", serde_json::Number::from_f64(float)?).ok()
}

/// Appends `event` as JSON.
pub(super) fn write(event: &ObjectMap, out: &mut String) -> Result<(), Refusal> {
    write_object(event, out).map_err(|Wordless { mut path, what }| {
        path.reverse();
        let detail = format!("the program made of /{} {what}", path.join("/"));
        refusal(path.into_iter().next(), detail)
    })
}

/// A value that JSON has no words for.
struct Wordless {
    /// The keys that lead to it, the innermost first.
    path: Vec<String>,
    what: &'static str,
}

impl Wordless {
    fn below(mut self, key: &impl ToString) -> Self {
        self.path.push(key.to_string());
        self
    }
}

fn write_value(value: &Value, out: &mut String) -> Result<(), Wordless> {
    let wordless = |what| Wordless { path: Vec::new(), what };
    match value {
        Value::Bytes(bytes) => {
            let text = std::str::from_utf8(bytes);
            write_text(text.map_err(|_| wordless("bytes that are not UTF-8"))?, out);
        }
        Value::Timestamp(_) => write_text(&value.to_string_lossy(), out),
        Value::Regex(_) => return Err(wordless("a regular expression")),
        Value::Integer(integer) => {
            // Writing to a String cannot fail.
            let _ = write!(out, "{integer}");
        }
        Value::Float(float) => {
            let float = float.into_inner();
            write_float(float, out).ok_or_else(|| wordless("a number without bounds"))?;
        }
        Value::Boolean(boolean) => out.push_str(if *boolean { "true" } else { "false" }),
        Value::Null => out.push_str("null"),
        Value::Object(object) => write_object(object, out)?,
        Value::Array(array) => {
            out.push('[');
            for (index, value) in array.iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                write_value(value, out).map_err(|it| it.below(&index))?;
            }
            out.push(']');
        }
    }
    Ok(())
}

fn write_object(object: &ObjectMap, out: &mut String) -> Result<(), Wordless> {
    out.push('{');
    for (index, (key, value)) in object.iter().enumerate() {
        if index > 0 {
            out.push(',');
        }
        write_text(key, out);
        out.push(':');
        write_value(value, out).map_err(|it| it.below(key))?;
    }
    out.push('}');
    Ok(())
}

fn write_text(text: &str, out: &mut String) {
    out.push_str(&serde_json::Value::from(text).to_string());
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn through(text: &str) -> Result<String, (Reason, Option<String>, String)> {
        let refused = |it: Refusal| (it.reason, it.field, it.detail);
        let mut out = String::new();
        write(&read(text).map_err(refused)?, &mut out).map_err(refused)?;
        Ok(out)
    }

    #[test]
    fn a_record_comes_out_with_the_same_values() {
        for (text, expected) in [
            ("{}", "{}"),
            (
                r#" {"b" : [ ] , "a":{ },"c":[1 , null,true,false]} "#,
                r#"{"a":{},"b":[],"c":[1,null,true,false]}"#,
            ),
            (r#"{"\u0061":"\u00e9\n\"\ud83d\ude00"}"#, "{\"a\":\"é\\n\\\"😀\"}"),
            (
                "{\"a\":[-0,9223372036854775807,-9223372036854775808]}",
                "{\"a\":[0,9223372036854775807,-9223372036854775808]}",
            ),
            (
                "{\"a\":[1.50,0.1,2.0,1e3,1E-7,-0.0,0.30000000000000004]}",
                "{\"a\":[1.5,0.1,2.0,1000.0,1e-7,-0.0,0.30000000000000004]}",
            ),
        ] {
            assert_eq!(through(text).as_deref(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn a_number_that_would_change_is_refused_with_its_place() {
        for number in [
            "9223372036854775808",
            "-9223372036854775809",
            "0.1000000000000000000001",
            "12345678901234567.89",
            "1e400",
            "1e-400",
            "123456789012345678901234567890123456789.5",
        ] {
            let refused = through(&format!("{{\"a\":1,\"b\":[0,{{\"c\":{number}}}]}}"));
            let detail =
                "/b/1/c: a number that VRL does not hold exactly; as a text in quotes it does";
            let expected = (Reason::NumberOutOfRange, Some("b".to_owned()), detail.to_owned());
            assert_eq!(refused, Err(expected), "{number}");
        }
    }

    proptest! {
        /// Exact arithmetic has the last word: what passes is the number that came.
        #[test]
        fn no_number_changes(text in "-?(0|[1-9][0-9]{0,24})(\\.[0-9]{1,24})?([eE][+-]?[0-9]{1,3})?") {
            match through(&format!("{{\"n\":{text}}}")) {
                Ok(out) => {
                    let shown = &out[5..out.len() - 1];
                    prop_assert!(decimal::is_same(&text, shown), "{} became {}", text, shown);
                }
                Err((reason, ..)) => prop_assert_eq!(reason, Reason::NumberOutOfRange),
            }
        }

        /// What programs write that count in binary floats themselves is never refused.
        #[test]
        fn every_float_in_its_shortest_text_passes(float in any::<f64>().prop_filter("", |it| it.is_finite())) {
            let text = serde_json::json!({"n": float}).to_string();
            prop_assert_eq!(through(&text), Ok(text));
        }

        #[test]
        fn every_whole_number_of_64_bits_passes(number: i64) {
            let text = format!("{{\"n\":{number}}}");
            prop_assert_eq!(through(&text), Ok(text));
        }

        #[test]
        fn texts_come_out_as_they_are(key: String, value: String) {
            let text = serde_json::json!({key: [value]}).to_string();
            prop_assert_eq!(through(&text), Ok(text));
        }
    }
}
