//! A program in VRL that makes the events of a source: compiled once, told off with line and column.
//!
//! A program must make the same event of a record whenever it reads it, and reach for nothing but the
//! record: functions that look at the clock, at chance or beyond the process are not there for it.

use std::fmt;
use std::sync::Arc;

use vrl::compiler::state::ExternalEnv;
use vrl::compiler::{CompileConfig, Function, compile_with_external};
use vrl::diagnostic::{Diagnostic, DiagnosticList, Severity};
use vrl::path::{OwnedSegment, OwnedTargetPath, PathPrefix};

use super::Reference;

/// How a record becomes an event.
#[derive(Debug, Clone)]
pub struct Transform {
    /// What is run for each record.
    pub program: Program,
    /// What it reads beside the record: the keys behind `%`, and the place that they stand for.
    pub around: Vec<(Vec<String>, Reference)>,
}

/// A program that is right in itself.
#[derive(Clone)]
pub struct Program {
    text: Arc<str>,
    compiled: Arc<vrl::compiler::Program>,
}

/// One thing that is wrong with a program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    /// Line and column.
    pub place: Place,
    /// What the compiler says.
    pub what: String,
}

/// A place in the text of a program; both count from 1, columns in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// The line.
    pub line: usize,
    /// The character in it.
    pub column: usize,
}

/// Functions of VRL's library that a program does not have, and why.
const LEFT_OUT: [(&[&str], &str); 4] = [
    (
        &["now", "random_bool", "random_bytes", "random_float", "random_int", "uuid_v4", "uuid_v7"],
        "a record that is read again must become the same event",
    ),
    (
        &["parse_syslog", "parse_klog", "parse_linux_authorization"],
        "it takes the year from the clock; format = \"syslog\" reads syslog",
    ),
    (&["log", "to_regex"], "it writes to the log, where no part of an event may be"),
    (
        &["decode_gzip", "decode_zlib", "decode_zstd", "decode_snappy", "decode_lz4"],
        "nothing bounds what a few bytes unfold to",
    ),
];

impl Program {
    /// Compiles `text`, or tells every mistake that the compiler has found.
    pub fn compile(text: &str) -> Result<Self, Vec<Mistake>> {
        let mut functions = vrl::stdlib::all();
        functions.retain(|function| why_left_out(function.identifier()).is_none());
        let mut config = CompileConfig::default();
        // What is around a record is not the program's to change.
        config.set_read_only_path(OwnedTargetPath::metadata_root(), true);
        let compiled = compile(text, &functions, config).map_err(|found| {
            let wrong = found.iter().filter(|it| it.severity != Severity::Warning);
            wrong.map(|diagnostic| Mistake::of(diagnostic, text)).collect::<Vec<_>>()
        })?;
        Ok(Self { text: text.into(), compiled: Arc::new(compiled) })
    }

    /// The program itself.
    pub fn compiled(&self) -> &vrl::compiler::Program {
        &self.compiled
    }

    /// The place of byte `at` of the program.
    pub fn place(&self, at: usize) -> Place {
        Place::of(&self.text, at)
    }

    /// The keys of each value that it reads behind `%`.
    pub fn around(&self) -> Vec<Vec<String>> {
        let queries = &self.compiled.info().target_queries;
        let around = queries.iter().filter(|query| query.prefix == PathPrefix::Metadata);
        let mut found: Vec<Vec<String>> = around
            .map(|query| {
                let key = |segment: &OwnedSegment| match segment {
                    OwnedSegment::Field(key) => key.to_string(),
                    OwnedSegment::Index(index) => format!("[{index}]"),
                };
                query.path.segments.iter().map(key).collect()
            })
            .collect();
        found.sort();
        found.dedup();
        found
    }
}

impl fmt::Debug for Program {
    /// All of it: sources with different programs are different.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.text.fmt(out)
    }
}

fn compile(
    text: &str,
    functions: &[Box<dyn Function>],
    config: CompileConfig,
) -> Result<vrl::compiler::Program, DiagnosticList> {
    let compiled = compile_with_external(text, functions, &ExternalEnv::default(), config)?;
    Ok(compiled.program)
}

fn why_left_out(function: &str) -> Option<&'static str> {
    LEFT_OUT.iter().find(|(names, _)| names.contains(&function)).map(|(_, why)| *why)
}

impl Mistake {
    fn of(diagnostic: &Diagnostic, text: &str) -> Self {
        let labels = &diagnostic.labels;
        let label = labels.iter().find(|label| label.primary).or(labels.first());
        let span = label.map(|label| label.span).unwrap_or_default();
        let named = text.get(span.range()).and_then(why_left_out);
        let mut said = vec![diagnostic.message.clone()];
        match named {
            Some(why) => said.push(format!("meterd leaves it out: {why}")),
            None => said.extend(labels.iter().map(|label| label.message.clone())),
        }
        // The first label often repeats the message, and one that ends in a colon goes on in the next.
        let mut what = String::new();
        for words in &said {
            if what.ends_with(&**words) {
                continue;
            }
            if !what.is_empty() {
                what.push_str(if what.ends_with(':') { " " } else { "; " });
            }
            what.push_str(words);
        }
        Self { place: Place::of(text, span.start()), what }
    }
}

impl Place {
    fn of(text: &str, at: usize) -> Self {
        // A span of the compiler may end behind the text, and begin within a character.
        let before: String =
            text.char_indices().take_while(|(i, _)| *i < at).map(|it| it.1).collect();
        let line = before.rsplit('\n').next().unwrap_or_default();
        Self { line: before.matches('\n').count() + 1, column: line.chars().count() + 1 }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "line {}, column {}", self.line, self.column)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mistakes(text: &str) -> Vec<String> {
        let mistakes = Program::compile(text).err().unwrap_or_default();
        mistakes.iter().map(|mistake| format!("{}: {}", mistake.place, mistake.what)).collect()
    }

    #[test]
    fn each_mistake_is_told_with_its_line_and_column() {
        let told = [
            ".a = to_int(.b)\n.x = \"ü\"; .c = dwoncase(.d)\n.e = upcase!(1, 2, 3)\n",
            ".a = \n.b = ]",
            "%file.name = 1",
        ];
        let told: Vec<String> = told.into_iter().flat_map(mistakes).collect();
        insta::assert_snapshot!(told.join("\n"), @r#"
        line 1, column 6: unhandled fallible assignment; this expression is fallible because at least one argument's type cannot be verified to be valid; or change this to an infallible assignment: .a, err = to_int(.b)
        line 2, column 16: call to undefined function; did you mean "downcase"?
        line 3, column 14: wrong number of function arguments; too many function arguments; this function takes a maximum of 1 argument
        line 2, column 6: syntax error; unexpected syntax token: "RBracket"; expected one of: "identifier", "string literal", "raw string literal", "integer literal", "float literal", "regex literal", "timestamp literal", "function call", "path literal", "if", "null", "true", "false", "abort", "return", "\n", "_", "!", "[", "{", "("
        line 1, column 1: mutation of read-only value
        "#);
    }

    #[test]
    fn a_function_that_makes_another_event_each_time_is_not_there() {
        for function in LEFT_OUT.iter().flat_map(|(names, _)| names.iter()) {
            let told = mistakes(&format!("\n  .a = {function}!(.b)")).join("\n");
            let why = why_left_out(function).expect("a reason");
            let expected = format!("call to undefined function; meterd leaves it out: {why}");
            assert!(told.starts_with("line 2, column 8: "), "{told}");
            assert!(told.contains(&expected), "{told}");
            let known = vrl::stdlib::all();
            assert!(known.iter().any(|known| known.identifier() == *function), "{function}");
        }
    }

    /// What another version of VRL adds has to be looked at: does it reach beyond the record?
    #[test]
    fn functions_beyond_the_process_are_not_built_in() {
        let known = vrl::stdlib::all();
        for function in ["get_env_var", "get_hostname", "http_request", "dns_lookup", "reverse_dns"]
        {
            assert!(!known.iter().any(|known| known.identifier() == function), "{function}");
        }
        assert_eq!(known.len(), 181);
    }

    #[test]
    fn what_is_read_around_the_record_is_known() {
        let program = Program::compile(".a = %file.name\n.b = %syslog.\"o@1\".ip\n.c = %file.name");
        let around = program.map(|program| program.around()).expect("a program");
        assert_eq!(around, [vec!["file", "name"], vec!["syslog", "o@1", "ip"]]);
    }
}
