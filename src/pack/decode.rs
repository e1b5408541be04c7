//! From the text of a record to the values that its mapping looks at.
//!
//! Each format is strict: what is not exactly as it says is refused with the place of the mistake.
//! Values keep the characters in which they came.

mod captures;
mod csv;
mod json;
mod logfmt;
pub mod syslog;

use super::json::Fault;
use super::record::{Places, Record};
use super::validate::Refusal;
use crate::dead_letter::Reason;
use crate::mapping::{Format, Mapping};

pub use json::elements;

/// Reads the records of one format.
#[derive(Debug)]
pub struct Decoder {
    form: Form,
}

#[derive(Debug)]
enum Form {
    Json(json::Json),
    Csv(csv::Csv),
    Logfmt(logfmt::Logfmt),
    Captures(captures::Captures),
    Text,
}

impl Decoder {
    /// A decoder for the records of `mapping`, which looks at `places`.
    pub fn new(mapping: &Mapping, places: &Places) -> Self {
        let form = match &mapping.format {
            Format::Json | Format::JsonArray => Form::Json(json::Json::new(places)),
            Format::Csv(settings) => Form::Csv(csv::Csv::new(settings, mapping, places)),
            Format::Logfmt => Form::Logfmt(logfmt::Logfmt::new(places)),
            Format::Regex(pattern) => Form::Captures(captures::Captures::new(pattern, places)),
            Format::Text => Form::Text,
        };
        Self { form }
    }

    /// Takes `header` for the names of the columns from here on; none: it is not known.
    pub fn begin(&mut self, header: Option<&[u8]>, places: &Places) {
        if let Form::Csv(csv) = &mut self.form {
            csv.begin(header, places);
        }
    }

    /// Why the header that was given last is none.
    pub fn header_fault(&self) -> Option<Refusal> {
        match &self.form {
            Form::Csv(csv) => csv.header_fault(),
            _ => None,
        }
    }

    /// Notes the values of `text` in `record`.
    pub fn decode(&mut self, text: &str, record: &mut Record) -> Result<(), Refusal> {
        match &mut self.form {
            Form::Json(json) => json.decode(text, record),
            Form::Csv(csv) => csv.decode(text, record),
            Form::Logfmt(logfmt) => logfmt.decode(text, record),
            Form::Captures(captures) => captures.decode(text, record),
            Form::Text => Ok(()),
        }
    }

    /// Gives the name and value of each field of `text`, which is not JSON, in their order.
    #[cfg(feature = "vrl")]
    pub fn each(&mut self, text: &str, take: &mut dyn FnMut(&str, &str)) -> Result<(), Refusal> {
        match &mut self.form {
            Form::Csv(csv) => csv.each(text, take),
            Form::Logfmt(_) => logfmt::each(text, |_, name, value| {
                take(name, &value);
                Ok(())
            }),
            Form::Captures(captures) => captures.each(text, take),
            Form::Json(_) | Form::Text => Ok(()),
        }
    }
}

/// A text that is no record of its format.
#[cold]
fn unparsable(detail: impl Into<String>) -> Refusal {
    Refusal { reason: Reason::Unparsable, field: None, detail: detail.into() }
}

/// A fault of JSON as a refusal.
#[cold]
pub(super) fn faulty(fault: Fault) -> Refusal {
    let detail = format!("byte {}: {}", fault.at, fault.what);
    Refusal { reason: fault.reason, field: None, detail }
}
