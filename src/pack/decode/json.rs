//! JSON: one pass over the object, which looks into the members that lead to a wanted value and
//! checks the rest. Nothing is built but the wanted values.

use super::super::json::{DEPTH_MAX, Fault, Scan, Text, duplicate, repeated_key};
use super::super::record::{Kind, Places, Record};
use super::super::text;
use super::super::validate::{Refusal, no_object};
use super::faulty;
use crate::dead_letter::Reason;
use crate::mapping::Reference;

/// The places that are wanted, as a tree of keys.
#[derive(Debug)]
pub(super) struct Json {
    top: Node,
    keys: Vec<Text>,
}

/// What is wanted of one value.
#[derive(Debug, Default)]
struct Node {
    /// The value itself.
    slot: Option<usize>,
    /// Values in it, by their key or index.
    inside: Vec<(String, Node)>,
}

impl Json {
    pub(super) fn new(places: &Places) -> Self {
        let mut top = Node::default();
        for (slot, place) in places.all() {
            if let Reference::Field(keys) = place {
                top.want(keys, slot);
            }
        }
        Self { top, keys: Vec::new() }
    }

    pub(super) fn decode(&mut self, text: &str, record: &mut Record) -> Result<(), Refusal> {
        let line = text.as_bytes();
        self.keys.clear();
        let mut scan = Scan::new(line);
        scan.skip_space();
        if scan.peek() != b'{' {
            return Err(faulty(no_object(&mut scan, line)));
        }
        let mut walk = Walk { text, keys: &mut self.keys, record };
        walk.object(&mut scan, &self.top, 1).map_err(|fault| walk.refusal(fault))?;
        scan.skip_space();
        if scan.at == line.len() {
            Ok(())
        } else {
            Err(faulty(scan.syntax("something follows the record on its line")))
        }
    }
}

impl Node {
    fn want(&mut self, keys: &[String], slot: usize) {
        let Some((first, rest)) = keys.split_first() else {
            self.slot = Some(slot);
            return;
        };
        let known = self.inside.iter().position(|(key, _)| key == first);
        let index = known.unwrap_or_else(|| {
            self.inside.push((first.clone(), Self::default()));
            self.inside.len() - 1
        });
        if let Some((_, node)) = self.inside.get_mut(index) {
            node.want(rest, slot);
        }
    }

    fn at(&self, key: &str) -> Option<&Self> {
        self.inside.iter().find(|(wanted, _)| wanted == key).map(|(_, node)| node)
    }
}

struct Walk<'w> {
    text: &'w str,
    keys: &'w mut Vec<Text>,
    record: &'w mut Record,
}

impl Walk<'_> {
    fn object(&mut self, scan: &mut Scan<'_>, node: &Node, depth: u32) -> Result<(), Fault> {
        open(scan, depth)?;
        if scan.peek() == b'}' {
            scan.at += 1;
            return Ok(());
        }
        let first_key = self.keys.len();
        loop {
            let key = scan.key()?;
            self.keys.push(key);
            scan.skip_space();
            let wanted = if key.escaped {
                node.at(&key.decode(self.text.as_bytes()))
            } else {
                node.at(self.text.get(key.start..key.end).unwrap_or_default())
            };
            match wanted {
                Some(wanted) => self.value(scan, wanted, depth)?,
                None => scan.value(depth, self.keys)?,
            }
            if scan.closes(b'}')? {
                break;
            }
        }
        let keys = self.keys.get_mut(first_key..).unwrap_or_default();
        let repeated = repeated_key(self.text.as_bytes(), keys);
        self.keys.truncate(first_key);
        repeated.map_or(Ok(()), |key| Err(duplicate(key)))
    }

    fn array(&mut self, scan: &mut Scan<'_>, node: &Node, depth: u32) -> Result<(), Fault> {
        open(scan, depth)?;
        if scan.peek() == b']' {
            scan.at += 1;
            return Ok(());
        }
        let mut index = 0_usize;
        loop {
            match node.at(&index.to_string()) {
                Some(wanted) => self.value(scan, wanted, depth)?,
                None => scan.value(depth, self.keys)?,
            }
            if scan.closes(b']')? {
                return Ok(());
            }
            index += 1;
        }
    }

    /// A value that is wanted, or holds some that are.
    fn value(&mut self, scan: &mut Scan<'_>, node: &Node, depth: u32) -> Result<(), Fault> {
        let start = scan.at;
        let kind = match scan.peek() {
            b'"' => {
                let found = scan.string()?;
                if let Some(slot) = node.slot {
                    self.put_string(slot, found);
                }
                return Ok(());
            }
            b'n' => return scan.word(),
            b'{' if !node.inside.is_empty() => {
                self.object(scan, node, depth + 1)?;
                Kind::Composite
            }
            b'[' if !node.inside.is_empty() => {
                self.array(scan, node, depth + 1)?;
                Kind::Composite
            }
            b'{' | b'[' => {
                scan.value(depth, self.keys)?;
                Kind::Composite
            }
            _ => {
                scan.value(depth, self.keys)?;
                Kind::Literal
            }
        };
        if let Some(slot) = node.slot {
            self.record.put(slot, kind, self.text.get(start..scan.at).unwrap_or_default());
        }
        Ok(())
    }

    fn put_string(&mut self, slot: usize, found: Text) {
        if found.escaped {
            let decoded = found.decode(self.text.as_bytes());
            self.record.put(slot, Kind::Text, &decoded);
        } else {
            let inside = self.text.get(found.start..found.end).unwrap_or_default();
            self.record.put(slot, Kind::Text, inside);
        }
    }

    #[cold]
    fn refusal(&self, fault: Fault) -> Refusal {
        let mut refusal = faulty(fault);
        if fault.reason == Reason::DuplicateKey {
            let inside = self.text.get(fault.at..).unwrap_or_default().as_bytes();
            let end = text::plain_run(inside, 0).at;
            let key = String::from_utf8_lossy(inside.get(..end).unwrap_or_default());
            refusal.field = Some(key.into_owned());
        }
        refusal
    }
}

fn open(scan: &mut Scan<'_>, depth: u32) -> Result<(), Fault> {
    if depth > DEPTH_MAX {
        let what = "objects and arrays are nested deeper than 64 levels";
        return Err(Fault { reason: Reason::TooDeep, at: scan.at, what });
    }
    scan.at += 1;
    scan.skip_space();
    Ok(())
}

/// Finds the elements of the array that `text` is, and notes where each begins and ends. Of any
/// other text, the only element is all of it.
pub fn elements(text: &str, found: &mut Vec<(usize, usize)>) -> Result<(), Refusal> {
    let line = text.as_bytes();
    let mut scan = Scan::new(line);
    scan.skip_space();
    if scan.peek() != b'[' {
        found.push((0, line.len()));
        return Ok(());
    }
    let mut keys = Vec::new();
    elements_of(&mut scan, &mut keys, found).map_err(faulty)?;
    scan.skip_space();
    if scan.at == line.len() {
        Ok(())
    } else {
        Err(faulty(scan.syntax("something follows the array on its line")))
    }
}

fn elements_of(
    scan: &mut Scan<'_>,
    keys: &mut Vec<Text>,
    found: &mut Vec<(usize, usize)>,
) -> Result<(), Fault> {
    open(scan, 1)?;
    if scan.peek() == b']' {
        scan.at += 1;
        return Ok(());
    }
    loop {
        let start = scan.at;
        // An event's own depth is counted from itself.
        scan.value(0, keys)?;
        found.push((start, scan.at));
        if scan.closes(b']')? {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pack::record::Value;
    use crate::pack::testing::{field, places};
    use proptest::prelude::*;

    fn decode(paths: &[&[&str]], text: &str) -> Result<Vec<String>, Refusal> {
        let references: Vec<_> = paths.iter().map(|path| field(path)).collect();
        let places = places(&references);
        let mut record = Record::default();
        record.clear(places.len());
        Json::new(&places).decode(text, &mut record)?;
        let shown = |slot| match record.value(slot) {
            Value::Nothing => "-".to_owned(),
            Value::Text(text) => format!("'{text}'"),
            Value::Literal(text) | Value::Composite(text) => text.to_owned(),
        };
        Ok((0..paths.len()).map(shown).collect())
    }

    #[test]
    fn values_are_found_by_their_keys_at_any_depth() {
        let text =
            r#" {"a":{"b":[1.50,{"c":"x\u00e9\n"}],"b2":null},"d":"","\u0065":true,"f":{"g":1}} "#;
        let rows: [(&[&str], &str); 12] = [
            (&["a", "b", "0"], "1.50"),
            (&["a", "b", "1", "c"], "'xé\n'"),
            (&["a", "b", "2"], "-"),
            (&["a", "b", "01"], "-"),
            (&["a", "b2"], "-"),
            (&["a", "b2", "c"], "-"),
            (&["d"], "-"),
            (&["e"], "true"),
            (&["f"], r#"{"g":1}"#),
            (&["f", "g"], "1"),
            (&["f", "g", "h"], "-"),
            (&["z"], "-"),
        ];
        let paths: Vec<&[&str]> = rows.iter().map(|(path, _)| *path).collect();
        let expected: Vec<&str> = rows.iter().map(|(_, value)| *value).collect();
        assert_eq!(decode(&paths, text).expect("decoded"), expected);
    }

    #[test]
    fn what_is_no_object_or_not_strict_is_refused() {
        let deep = format!("{{\"a\":{}{}}}", "[".repeat(70), "]".repeat(70));
        for (text, reason) in [
            ("", Reason::InvalidJson),
            ("text", Reason::InvalidJson),
            ("{\"a\":1", Reason::InvalidJson),
            ("{\"a\":1}x", Reason::InvalidJson),
            ("{\"a\":{\"b\":01}}", Reason::InvalidJson),
            ("[1]", Reason::NotAnObject),
            ("7", Reason::NotAnObject),
            ("{\"a\":1,\"a\":2}", Reason::DuplicateKey),
            ("{\"a\":{\"b\":1,\"\\u0062\":1}}", Reason::DuplicateKey),
            ("{\"z\":{\"b\":1,\"b\":1}}", Reason::DuplicateKey),
            (&deep, Reason::TooDeep),
        ] {
            for path in [["a", "b"].as_slice(), &["a", "0", "0"]] {
                let refused = decode(&[path], text).map_err(|refusal| refusal.reason);
                assert_eq!(refused, Err(reason), "{text}");
            }
        }
    }

    #[test]
    fn an_array_has_its_elements_and_anything_else_is_one() {
        let found = |text: &str| {
            let mut found = Vec::new();
            let outcome = elements(text, &mut found).map_err(|refusal| refusal.reason);
            outcome.map(|()| {
                found.iter().map(|&(start, end)| text[start..end].to_owned()).collect::<Vec<_>>()
            })
        };
        assert_eq!(
            found(" [ {\"a\":[1]} , 2 ] ").as_deref(),
            Ok(&["{\"a\":[1]}".into(), "2".into()][..])
        );
        assert_eq!(found("[]").as_deref(), Ok(&[][..]));
        assert_eq!(found("{}").as_deref(), Ok(&["{}".to_owned()][..]));
        assert_eq!(found("[{},]"), Err(Reason::InvalidJson));
        assert_eq!(found("[{}] x"), Err(Reason::InvalidJson));
        assert_eq!(found("[{}"), Err(Reason::InvalidJson));
    }

    proptest! {
        /// The oracle builds the whole tree.
        #[test]
        fn values_are_those_that_a_parser_finds(
            a in any::<Option<String>>(), n: i32, list in prop::collection::vec(any::<bool>(), 0..4),
        ) {
            let tree = serde_json::json!({"x": {"a": a, "b/~": [n, list]}, "n": n});
            let text = tree.to_string();
            let paths: [&[&str]; 4] = [&["x", "a"], &["x", "b/~", "0"], &["x", "b/~", "1"], &["n"]];
            let found = decode(&paths, &text).expect("decoded");
            let expected = [
                a.filter(|a| !a.is_empty()).map_or("-".into(), |a| format!("'{a}'")),
                n.to_string(),
                serde_json::Value::from(list).to_string(),
                n.to_string(),
            ];
            prop_assert_eq!(found, expected);
        }

        #[test]
        fn arbitrary_texts_do_no_harm(text in "\\PC*|[\\[\\]{},:\"a01e.-]{0,60}") {
            let (mut found, places) = (Vec::new(), [["a"].as_slice(), &["a", "1"]]);
            let strict = serde_json::from_str::<serde_json::Value>(&text);
            let decoded = decode(&places, &text);
            prop_assert!(decoded.is_err() || strict.is_ok(), "{}", text);
            let _ = elements(&text, &mut found);
        }
    }
}
