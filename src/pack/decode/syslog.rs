//! Syslog messages: what stands around a record. RFC 5424, RFC 3164, and what syslog daemons
//! write into files, which is either of them without its priority.
//!
//! A time of RFC 3164 says neither year nor zone, so it is none.

use std::fmt::Write;

use super::super::record::{Kind, Record};
use super::super::validate::Refusal;
use super::unparsable;
use crate::mapping::SyslogPart;

const MONTHS: &str = "Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec";

/// The parts of a message.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Message<'l> {
    /// Facility and severity.
    priority: Option<u8>,
    timestamp: Option<&'l str>,
    hostname: Option<&'l str>,
    app: Option<&'l str>,
    process: Option<&'l str>,
    kind: Option<&'l str>,
    /// Structured data with all its brackets.
    data: &'l str,
    /// What is behind all of these.
    pub text: &'l str,
}

impl<'l> Message<'l> {
    /// Takes a message apart.
    pub fn parse(line: &'l str) -> Result<Self, Refusal> {
        let (priority, rest) = match line.strip_prefix('<') {
            Some(rest) => priority(rest)
                .ok_or_else(|| unparsable("byte 0: a priority such as <14> was expected"))?,
            None => (None, line),
        };
        let message = match rest.strip_prefix("1 ").filter(|_| priority.is_some()) {
            Some(rest) => Self::modern(rest),
            None => Self::traditional(rest),
        };
        let message = message.ok_or_else(|| unparsable("the line is no syslog message"))?;
        Ok(Self { priority, ..message })
    }

    /// RFC 5424, behind its version.
    fn modern(rest: &'l str) -> Option<Self> {
        let mut parts = rest.splitn(6, ' ');
        let mut part = || parts.next().map(|part| (part != "-").then_some(part));
        let (timestamp, hostname, app) = (part()?, part()?, part()?);
        let (process, kind) = (part()?, part()?);
        let rest = parts.next()?;
        let end = data_end(rest)?;
        let (data, rest) = rest.split_at_checked(end)?;
        let text = match rest.strip_prefix(' ') {
            Some(text) => text.strip_prefix('\u{feff}').unwrap_or(text),
            None if rest.is_empty() => rest,
            None => return None,
        };
        Some(Self { priority: None, timestamp, hostname, app, process, kind, data, text })
    }

    /// RFC 3164, and lines of files, behind the priority.
    fn traditional(rest: &'l str) -> Option<Self> {
        let (timestamp, rest) = if is_dated(rest) {
            let (timestamp, rest) = rest.split_once(' ')?;
            (Some(timestamp), rest)
        } else {
            (None, without_year(rest)?)
        };
        let (first, behind) = rest.split_once(' ').unwrap_or((rest, ""));
        // Programs that write to the local socket leave the host out.
        let is_tag = first.ends_with(':');
        let (hostname, rest) = if is_tag { (None, rest) } else { (Some(first), behind) };
        let message = Self { timestamp, hostname, text: rest, ..Self::default() };
        Some(match tag(rest) {
            Some((app, process, text)) => Self { app: Some(app), process, text, ..message },
            None => message,
        })
    }

    /// Notes the parts that `wanted` names, each in its slot.
    pub fn put(&self, wanted: &[(SyslogPart, usize)], record: &mut Record) {
        for (part, slot) in wanted {
            let text = match part {
                SyslogPart::Facility => {
                    put_number(self.priority.map(|number| number >> 3), *slot, record);
                    continue;
                }
                SyslogPart::Severity => {
                    put_number(self.priority.map(|number| number & 7), *slot, record);
                    continue;
                }
                SyslogPart::Timestamp => self.timestamp,
                SyslogPart::Hostname => self.hostname,
                SyslogPart::App => self.app,
                SyslogPart::Process => self.process,
                SyslogPart::MessageId => self.kind,
                SyslogPart::Message => Some(self.text),
                SyslogPart::Data { element, name } => {
                    if let Some(value) = parameter(self.data, element, name) {
                        record.put(*slot, Kind::Text, &value);
                    }
                    continue;
                }
            };
            if let Some(text) = text {
                record.put(*slot, Kind::Text, text);
            }
        }
    }
}

fn put_number(number: Option<u8>, slot: usize, record: &mut Record) {
    if let Some(number) = number {
        record.put_with(slot, Kind::Text, |out| {
            // Writing to a String cannot fail.
            let _ = write!(out, "{number}");
        });
    }
}

/// The priority whose inside `rest` begins with, and what is behind it.
fn priority(rest: &str) -> Option<(Option<u8>, &str)> {
    let (digits, rest) = rest.split_once('>')?;
    let is_number = (1..=3).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit());
    let number = digits.parse::<u8>().ok().filter(|number| is_number && *number <= 191)?;
    Some((Some(number), rest))
}

/// Whether `rest` begins with a year and month, as RFC 3339 writes them.
fn is_dated(rest: &str) -> bool {
    let start = rest.as_bytes().first_chunk::<5>();
    start.is_some_and(|start| start[..4].iter().all(u8::is_ascii_digit) && start[4] == b'-')
}

/// What is behind `Nov 21 06:14:11 `.
fn without_year(rest: &str) -> Option<&str> {
    let (time, rest) = rest.split_at_checked(16)?;
    let (month, time) = time.split_at_checked(3)?;
    let is_month = MONTHS.split(' ').any(|name| name == month);
    let is_right =
        time.bytes().zip("_dd_dd:dd:dd_".bytes()).enumerate().all(|(index, (found, expected))| {
            match expected {
                b'_' => found == b' ',
                // The first digit of a day may be a blank.
                b'd' => found.is_ascii_digit() || (index == 1 && found == b' '),
                _ => found == expected,
            }
        });
    (is_month && is_right).then_some(rest)
}

/// `app:` or `app[process]:` at the beginning of `rest`, and the text behind it.
fn tag(rest: &str) -> Option<(&str, Option<&str>, &str)> {
    let end = rest.find([':', ' ', '['])?;
    let (app, behind) = rest.split_at(end);
    let (process, behind) = match behind.strip_prefix('[') {
        Some(inside) => {
            let (process, behind) = inside.split_once(']')?;
            (Some(process), behind)
        }
        None => (None, behind),
    };
    let text = behind.strip_prefix(':')?;
    (!app.is_empty()).then_some((app, process, text.strip_prefix(' ').unwrap_or(text)))
}

/// Where the structured data at the beginning of `rest` ends; none: it is wrong.
fn data_end(rest: &str) -> Option<usize> {
    if rest.starts_with('-') {
        return Some(1);
    }
    let mut at = 0;
    while rest.get(at..)?.starts_with('[') {
        at += element_end(rest.get(at..)?)?;
    }
    (at > 0).then_some(at)
}

/// Where the element at the beginning of `rest` ends.
fn element_end(rest: &str) -> Option<usize> {
    let (mut is_quoted, mut is_escaped) = (false, false);
    let end = rest.bytes().position(|byte| {
        is_quoted ^= byte == b'"' && !is_escaped;
        is_escaped = is_quoted && byte == b'\\' && !is_escaped;
        byte == b']' && !is_quoted
    });
    end.map(|end| end + 1)
}

/// The value of the parameter `name` in the element with this id.
fn parameter(data: &str, element: &str, name: &str) -> Option<String> {
    let mut rest = data;
    while rest.starts_with('[') {
        let (found, behind) = rest.split_at_checked(element_end(rest)?)?;
        rest = behind;
        let inside = found.get(1..found.len() - 1)?;
        let (id, mut parameters) = inside.split_once(' ').unwrap_or((inside, ""));
        while let Some((found, value)) = parameters.split_once("=\"") {
            let end = quote_at(value)?;
            if id == element && found.trim_ascii_start() == name {
                return value.get(..end).map(unescaped);
            }
            parameters = value.get(end + 1..)?;
        }
    }
    None
}

/// Where the quote stands that ends a value.
fn quote_at(value: &str) -> Option<usize> {
    let mut is_escaped = false;
    value.bytes().position(|byte| {
        let is_end = byte == b'"' && !is_escaped;
        is_escaped = byte == b'\\' && !is_escaped;
        is_end
    })
}

/// Quotes, backslashes and brackets stand behind a backslash; any other backslash is itself.
fn unescaped(value: &str) -> String {
    let mut text = String::with_capacity(value.len());
    let mut characters = value.chars().peekable();
    while let Some(character) = characters.next() {
        let escaped = characters.peek().copied().filter(|next| ['"', '\\', ']'].contains(next));
        match (character, escaped) {
            ('\\', Some(next)) => {
                text.push(next);
                characters.next();
            }
            _ => text.push(character),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dead_letter::Reason;
    use crate::pack::testing::shown;
    use proptest::prelude::*;

    fn data(element: &str, name: &str) -> SyslogPart {
        SyslogPart::Data { element: element.to_owned(), name: name.to_owned() }
    }

    fn parts(line: &str) -> Result<Vec<String>, Reason> {
        let wanted = [
            SyslogPart::Facility,
            SyslogPart::Severity,
            SyslogPart::Timestamp,
            SyslogPart::Hostname,
            SyslogPart::App,
            SyslogPart::Process,
            SyslogPart::MessageId,
            SyslogPart::Message,
            data("use@1", "n"),
        ];
        let wanted: Vec<_> =
            wanted.into_iter().enumerate().map(|(slot, part)| (part, slot)).collect();
        let mut record = Record::default();
        record.clear(wanted.len());
        Message::parse(line).map_err(|refusal| refusal.reason)?.put(&wanted, &mut record);
        Ok(shown(&record, wanted.len()))
    }

    #[test]
    fn messages_of_both_rfcs_and_of_files_are_taken_apart() {
        for (line, expected) in [
            (
                "<165>1 2026-11-21T06:14:11.003Z h.example app 8710 ID47 - \u{feff}{\"a\":1}",
                [
                    "20",
                    "5",
                    "2026-11-21T06:14:11.003Z",
                    "h.example",
                    "app",
                    "8710",
                    "ID47",
                    "{\"a\":1}",
                    "-",
                ],
            ),
            ("<14>1 - - - - - -", ["1", "6", "-", "-", "-", "-", "-", "-", "-"]),
            (
                r#"<14>1 - h a - - [x y="]\"]"][use@1 m="0" n="1\]\"\\\x"] text"#,
                ["1", "6", "-", "h", "a", "-", "-", "text", r#"1]"\\x"#],
            ),
            (
                "<34>Nov  1 06:14:11 host su[12]: 'su root' failed",
                ["4", "2", "-", "host", "su", "12", "-", "'su root' failed", "-"],
            ),
            ("<13>Nov 21 06:14:11 app: text", ["1", "5", "-", "-", "app", "-", "-", "text", "-"]),
            (
                "Nov 21 06:14:11 host app[1]: a: b",
                ["-", "-", "-", "host", "app", "1", "-", "a: b", "-"],
            ),
            (
                "2026-11-21T06:14:11.5+01:00 host app: x",
                ["-", "-", "2026-11-21T06:14:11.5+01:00", "host", "app", "-", "-", "x", "-"],
            ),
            (
                "<13>Nov 21 06:14:11 host no tag here",
                ["1", "5", "-", "host", "-", "-", "-", "no tag here", "-"],
            ),
        ] {
            assert_eq!(parts(line).expect("a message"), expected, "{line}");
        }
    }

    #[test]
    fn what_is_no_message_is_refused() {
        for line in [
            "",
            "text",
            "{\"a\":1}",
            "<14>",
            "<192>Nov 21 06:14:11 h a: x",
            "<x>Nov 21 06:14:11 h a: x",
            "<14>1 - - -",
            "<14>1 - - - - - [x",
            "<14>1 - - - - - [x y=\"]",
            "<14>1 - - - - - -x",
            "Nov 2 06:14:11 h a: x",
            "nov 21 06:14:11 h a: x",
            "é".repeat(20).as_str(),
        ] {
            assert_eq!(parts(line), Err(Reason::Unparsable), "{line}");
        }
    }

    proptest! {
        #[test]
        fn arbitrary_texts_do_no_harm(text: String, data in "[\\[\\]a=\" \\\\é]{0,30}") {
            let _ = parts(&text);
            let _ = parts(&format!("<14>1 - h a - - {data} {text}"));
            let _ = parts(&format!("<14>1 - h a - - [use@1 n=\"{data}\"] {text}"));
        }

        #[test]
        fn a_parameter_comes_back_as_it_was_written(value: String) {
            let escaped: String = value.chars().flat_map(|c| {
                ['"', '\\', ']'].contains(&c).then_some('\\').into_iter().chain([c])
            }).collect();
            let line = format!("<14>1 - - - - - [use@1 n=\"{escaped}\"] x");
            let found = parts(&line).expect("a message");
            let expected = if value.is_empty() { "-" } else { value.as_str() };
            prop_assert_eq!(found.last().map(String::as_str), Some(expected));
        }
    }
}
