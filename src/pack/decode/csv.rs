//! Comma-separated values, a row a line. Quotes are read strictly: they stand around a whole value
//! or not at all, and end on the line on which they begin.

use std::borrow::Cow;

use csv_core::{ReadRecordResult, Reader, ReaderBuilder, Terminator};

use super::super::record::{Kind, Places, Record};
use super::super::validate::Refusal;
use super::unparsable;
use crate::mapping::{self, Absent, Mapping, Reference};

/// What Excel and others put before the first line of a file.
const BYTE_ORDER_MARK: char = '\u{feff}';

#[derive(Debug)]
pub(super) struct Csv {
    splitter: Splitter,
    /// The header that `columns` were made of; of configured columns there is none.
    header: Option<Vec<u8>>,
    has_header: bool,
    /// For each column the slot of its values, if they are wanted.
    columns: Result<Vec<Option<usize>>, Cow<'static, str>>,
    /// The names of the columns.
    #[cfg(feature = "vrl")]
    names: Vec<String>,
    /// Columns that a header must have: without them every row would be refused, or passed over.
    needed: Vec<String>,
}

impl Csv {
    pub(super) fn new(settings: &mapping::Csv, mapping: &Mapping, places: &Places) -> Self {
        let rules = mapping.rules.iter().flatten().flatten();
        let needed_by_rules = rules.filter(|rule| rule.absent == Absent::Refuse);
        let selected = mapping.select.iter().map(|condition| &condition.at);
        let needed = selected.chain(needed_by_rules.flat_map(mapping::Rule::references));
        let needed = needed.filter_map(|reference| match reference {
            Reference::Field(keys) => keys.first().cloned(),
            _ => None,
        });
        let columns = settings.columns.as_ref().map(|names| slots(names, places));
        Self {
            splitter: Splitter::new(settings),
            header: None,
            has_header: settings.columns.is_none(),
            columns: columns.ok_or(Cow::Borrowed("the header of the file is not known")),
            #[cfg(feature = "vrl")]
            names: settings.columns.clone().unwrap_or_default(),
            needed: needed.collect(),
        }
    }

    pub(super) fn begin(&mut self, header: Option<&[u8]>, places: &Places) {
        if self.has_header && self.header.as_deref() != header {
            self.header = header.map(<[u8]>::to_vec);
            self.columns = self.read_header(header, places);
        }
    }

    pub(super) fn header_fault(&self) -> Option<Refusal> {
        self.columns.as_ref().err().map(|fault| unparsable(fault.as_ref()))
    }

    fn read_header(
        &mut self,
        header: Option<&[u8]>,
        places: &Places,
    ) -> Result<Vec<Option<usize>>, Cow<'static, str>> {
        let header = header.ok_or("the header of the file is not known")?;
        let header = std::str::from_utf8(header).map_err(|_| "the header is not UTF-8")?;
        let header = header.trim_start_matches(BYTE_ORDER_MARK);
        let mut names = Vec::new();
        self.splitter.split(header, |name| names.push(name.to_owned()))?;
        for (index, name) in names.iter().enumerate() {
            if names.iter().take(index).any(|earlier| earlier == name) {
                return Err(format!("the header has column {} twice", index + 1).into());
            }
        }
        if let Some(missing) = self.needed.iter().find(|needed| !names.contains(needed)) {
            return Err(format!("the header has no column {missing:?}").into());
        }
        let slots = slots(&names, places);
        #[cfg(feature = "vrl")]
        (self.names = names);
        Ok(slots)
    }

    #[cfg(feature = "vrl")]
    pub(super) fn each(
        &mut self,
        text: &str,
        take: &mut dyn FnMut(&str, &str),
    ) -> Result<(), Refusal> {
        let mut names = self.names.iter();
        let split = self.splitter.split(text, |value| {
            if let Some(name) = names.next() {
                take(name, value);
            }
        });
        split.map_err(unparsable)
    }

    pub(super) fn decode(&mut self, text: &str, record: &mut Record) -> Result<(), Refusal> {
        let columns = self.columns.as_ref().map_err(|fault| unparsable(fault.as_ref()))?;
        let mut values = 0;
        let split = self.splitter.split(text, |value| {
            if let Some(Some(slot)) = columns.get(values) {
                record.put(*slot, Kind::Text, value);
            }
            values += 1;
        });
        split.map_err(unparsable)?;
        if values == columns.len() {
            Ok(())
        } else {
            Err(unparsable(format!("{values} values were found for {} columns", columns.len())))
        }
    }
}

fn slots(names: &[String], places: &Places) -> Vec<Option<usize>> {
    names.iter().map(|name| places.field(name)).collect()
}

#[derive(Debug)]
struct Splitter {
    reader: Box<Reader>,
    delimiter: u8,
    quote: u8,
    /// The values of a row without their quotes, one behind the other, and where each ends.
    output: Vec<u8>,
    ends: Vec<usize>,
}

impl Splitter {
    fn new(settings: &mapping::Csv) -> Self {
        let (delimiter, quote) = (settings.delimiter, settings.quote);
        let mut builder = ReaderBuilder::new();
        // A carriage return within a row is a character like any other.
        builder.delimiter(delimiter).quote(quote).terminator(Terminator::Any(b'\n'));
        let (output, ends) = (Vec::new(), vec![0; 64]);
        Self { reader: Box::new(builder.build()), delimiter, quote, output, ends }
    }

    /// Gives each value of the row `text`.
    fn split(&mut self, text: &str, mut take: impl FnMut(&str)) -> Result<(), &'static str> {
        let row = text.as_bytes();
        if memchr::memchr(self.quote, row).is_some() {
            self.check_quotes(row)?;
        }
        if self.output.len() < row.len() {
            self.output.resize(row.len(), 0);
        }
        let values = loop {
            self.reader.reset();
            let (_, _, written, ended) =
                self.reader.read_record(row, &mut self.output, &mut self.ends);
            let rest = self.ends.get_mut(ended..).unwrap_or_default();
            let output = self.output.get_mut(written..).unwrap_or_default();
            // Nothing more is the end of the row.
            let (result, _, _, last) = self.reader.read_record(&[], output, rest);
            if matches!(result, ReadRecordResult::Record | ReadRecordResult::End) {
                break ended + last;
            }
            let more = self.ends.len() * 2;
            self.ends.resize(more, 0);
        };
        let mut start = 0;
        for &end in self.ends.get(..values).unwrap_or_default() {
            let value = self.output.get(start..end).unwrap_or_default();
            take(std::str::from_utf8(value).map_err(|_| "a value is not UTF-8")?);
            start = end;
        }
        Ok(())
    }

    /// Whether quotes stand around whole values only, and are closed.
    fn check_quotes(&self, row: &[u8]) -> Result<(), &'static str> {
        let mut rest = row;
        loop {
            let Some(mut inside) = rest.strip_prefix(&[self.quote]) else {
                let end = memchr::memchr(self.delimiter, rest);
                let value = rest.get(..end.unwrap_or(rest.len())).unwrap_or_default();
                if memchr::memchr(self.quote, value).is_some() {
                    return Err("a quote stands within a value that does not begin with one");
                }
                match end.and_then(|end| rest.get(end + 1..)) {
                    Some(behind) => rest = behind,
                    None => return Ok(()),
                }
                continue;
            };
            loop {
                let Some(end) = memchr::memchr(self.quote, inside) else {
                    return Err("the quotes of a value are not closed on its line");
                };
                inside = inside.get(end + 1..).unwrap_or_default();
                match inside.split_first() {
                    None => return Ok(()),
                    Some((&next, behind)) if next == self.quote => inside = behind,
                    Some((&next, behind)) if next == self.delimiter => {
                        rest = behind;
                        break;
                    }
                    Some(_) => return Err("something stands between a quote and the delimiter"),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dead_letter::Reason;
    use crate::mapping::Format;
    use crate::pack::testing::{bare, field, places, select, shown};
    use proptest::prelude::*;

    const COMMA: mapping::Csv = mapping::Csv { columns: None, delimiter: b',', quote: b'"' };

    fn split(settings: &mapping::Csv, row: &str) -> Result<Vec<String>, &'static str> {
        let mut values = Vec::new();
        let split = Splitter::new(settings).split(row, |value| values.push(value.to_owned()));
        split.map(|()| values)
    }

    #[test]
    fn rows_are_split_at_delimiters_outside_quotes() {
        for (row, expected) in [
            ("a,b", ["a", "b"].as_slice()),
            ("a", &["a"]),
            (",", &["", ""]),
            (" a , b ", &[" a ", " b "]),
            ("\"a,b\",\"c\"\"d\"", &["a,b", "c\"d"]),
            ("\"\",é", &["", "é"]),
            ("a\rb,c", &["a\rb", "c"]),
        ] {
            assert_eq!(
                split(&COMMA, row).as_deref(),
                Ok(&expected.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>()[..]),
                "{row}"
            );
        }
        let other = mapping::Csv { columns: None, delimiter: b';', quote: b'\'' };
        assert_eq!(split(&other, "'a;b';\"c").expect("split"), ["a;b", "\"c"]);
        let many = "x,".repeat(1000);
        assert_eq!(split(&COMMA, &many).map(|values| values.len()), Ok(1001));
    }

    #[test]
    fn quotes_that_are_not_around_a_whole_value_are_refused() {
        for row in ["a\"b", "\"a", "\"a\"b", "\"a\" ,b", "a,\"b", "\"\"\"", "a,b\"", "\"a\",b\"c\""]
        {
            assert!(split(&COMMA, row).is_err(), "{row}");
        }
    }

    fn decode(
        settings: &mapping::Csv,
        header: Option<&str>,
        row: &str,
    ) -> Result<Vec<String>, String> {
        let references = [field(&["b"]), field(&["a"])];
        let mapping =
            Mapping { select: select(&references[0]), ..bare(Format::Csv(settings.clone())) };
        let places = places(&references);
        let mut csv = Csv::new(settings, &mapping, &places);
        csv.begin(header.map(str::as_bytes), &places);
        let mut record = Record::default();
        record.clear(places.len());
        let decoded = csv.decode(row, &mut record);
        assert!(
            decoded.as_ref().is_ok_and(|()| true)
                || decoded.as_ref().is_err_and(|refusal| refusal.reason == Reason::Unparsable)
        );
        decoded.map(|()| shown(&record, 2)).map_err(|refusal| refusal.detail)
    }

    #[test]
    fn values_are_named_by_the_header_or_the_configuration() {
        assert_eq!(decode(&COMMA, Some("a,c,b"), "1,2,3").expect("decoded"), ["3", "1"]);
        assert_eq!(decode(&COMMA, Some("\u{feff}\"b\""), "3").expect("decoded"), ["3", "-"]);
        let listed = mapping::Csv { columns: Some(vec!["a".into(), "b".into()]), ..COMMA };
        assert_eq!(decode(&listed, Some("x"), "1,").expect("decoded"), ["-", "1"]);
        for (settings, header, row, expected) in [
            (&COMMA, Some("a,b"), "1", "1 values were found for 2 columns"),
            (&COMMA, Some("a,b"), "1,2,3", "3 values were found for 2 columns"),
            (&listed, None, "1,2,3", "3 values were found for 2 columns"),
            (&COMMA, None, "1,2", "the header of the file is not known"),
            (&COMMA, Some("a,c"), "1,2", "the header has no column \"b\""),
            (&COMMA, Some("a,b,a"), "1,2,3", "the header has column 3 twice"),
            (&COMMA, Some("a,\"b"), "1,2", "the quotes of a value are not closed on its line"),
        ] {
            assert_eq!(decode(settings, header, row), Err(expected.to_owned()), "{row}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_comes_back(
            values in prop::collection::vec("[^\n]{0,6}|[\", x]{0,6}", 1..6), quote_all: bool,
        ) {
            // A row of one empty value is a blank line.
            prop_assume!(values.len() > 1 || !values[0].is_empty());
            // The parser takes a mark at the beginning of a text for what it is.
            prop_assume!(!values[0].starts_with(BYTE_ORDER_MARK));
            let written: Vec<String> = values.iter().map(|value| {
                if quote_all || value.contains([',', '"']) {
                    format!("\"{}\"", value.replace('"', "\"\""))
                } else {
                    value.clone()
                }
            }).collect();
            prop_assert_eq!(split(&COMMA, &written.join(",")), Ok(values));
        }

        #[test]
        fn arbitrary_texts_do_no_harm(text in "\\PC*|[\",a]{0,30}", header in "[\",ab]{0,8}") {
            let _ = split(&COMMA, &text);
            let _ = decode(&COMMA, Some(&header), &text);
        }
    }
}
