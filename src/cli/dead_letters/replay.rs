//! `meterd dead-letters replay`: puts letters back on their way.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::wanted::Wanted;
use crate::cli::failure::Failure;
use crate::cli::output::{one_line, print, print_json, table};
use crate::cli::store::StoreArguments;
use crate::config::LoadFor;
use crate::control::contract;
use crate::replay::{self, Report};
use crate::store::dead_letters::Filter;
use crate::store::editor::Editor;
use crate::store::reader::Reader;

/// Problems of a file that are told; more are counted.
const TOLD_MAX: usize = 20;

/// The arguments of `meterd dead-letters replay`.
#[derive(Debug, clap::Args)]
pub struct Replay {
    #[command(flatten)]
    wanted: Wanted,
    /// Every letter
    #[arg(long, conflicts_with = "from")]
    all: bool,
    /// The letters of this file, as `export` wrote it, with the events that it holds now; `-`:
    /// standard input
    #[arg(long, value_name = "FILE")]
    from: Option<PathBuf>,
    /// Only say what would become of them
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    store: StoreArguments,
    /// Print a JSON document
    #[arg(long)]
    json: bool,
}

/// Puts back what is wanted; fails with exit code 1 when a letter stays.
pub(super) fn run(arguments: &Replay) -> Result<(), Failure> {
    let mut wanted = replay::Wanted {
        filter: arguments.wanted.filter(),
        edits: BTreeMap::new(),
        is_dry: arguments.dry_run,
    };
    let loaded = arguments.store.load(LoadFor::Mend)?;
    let mut editor = Editor::open(&loaded.store.directory)?;
    contract::take_kept(&Reader::open(&loaded.store.directory)?, &loaded.meters)?;
    if let Some(path) = &arguments.from {
        if !arguments.wanted.is_all() {
            let message = "--from names its letters: leave numbers and conditions away";
            return Err(Failure::new(Failure::USAGE, message));
        }
        wanted.edits = read_edits(path, &editor)?;
        if wanted.edits.is_empty() {
            return tell(arguments, &Report::default());
        }
        wanted.filter = Filter::of_ids(wanted.edits.keys().copied().collect());
    } else {
        arguments.wanted.must_be_meant(arguments.all)?;
    }
    let report = replay::run(&mut editor, &loaded.replaying(), &wanted)?;
    tell(arguments, &report)
}

fn tell(arguments: &Replay, report: &Report) -> Result<(), Failure> {
    if arguments.json {
        print_json(report)?;
    } else {
        print(&text(report, arguments.dry_run))?;
    }
    if report.left.is_empty() && report.missing.is_empty() {
        return Ok(());
    }
    // Everything was said.
    Err(Failure::new(Failure::FOUND, ""))
}

fn text(report: &Report, is_dry: bool) -> String {
    let Report { replayed, left, missing } = report;
    let (verb, stay) = if is_dry { ("would be", "would stay") } else { ("are", "stay") };
    let mut parts = vec![format!("{replayed} dead letters {verb} events again")];
    if !left.is_empty() {
        let rows: Vec<Vec<String>> = left
            .iter()
            .map(|left| {
                vec![
                    left.id.to_string(),
                    left.reason.unwrap_or("").to_owned(),
                    one_line(left.field.as_deref().unwrap_or(""), 40),
                    one_line(&left.detail, 100),
                ]
            })
            .collect();
        let table = table(&["id", "reason", "field", "detail"], &rows);
        parts.push(format!("{} {stay} dead letters:\n{table}", left.len()));
    }
    if !missing.is_empty() {
        let ids: Vec<String> = missing.iter().map(ToString::to_string).collect();
        parts.push(format!("there is no dead letter {}", ids.join(", ")));
    }
    parts.join("\n")
}

/// A line of an exported file. What else is in it is for people.
#[derive(Debug, Deserialize)]
struct Edit<'l> {
    id: i64,
    source: Option<String>,
    position: Option<String>,
    #[serde(borrow)]
    event: &'l RawValue,
    event_base64: Option<String>,
}

/// The events of the file by the number of their letter.
fn read_edits(path: &Path, editor: &Editor) -> Result<BTreeMap<i64, Vec<u8>>, Failure> {
    let mut text = String::new();
    let read = if path == Path::new("-") {
        io::stdin().lock().read_to_string(&mut text)
    } else {
        File::open(path).and_then(|mut file| file.read_to_string(&mut text))
    };
    read.map_err(|error| Failure::new(Failure::IO, format!("read {}: {error}", path.display())))?;
    let mut edits = BTreeMap::new();
    let mut problems = Vec::new();
    for (line, number) in text.lines().zip(1..) {
        if line.trim().is_empty() {
            continue;
        }
        let (mut problem, place) = (None, format!("{}:{number}", path.display()));
        match read_edit(line, editor)? {
            Ok((id, event)) => {
                if edits.insert(id, event).is_some() {
                    problem = Some(format!("letter {id} is there twice"));
                }
            }
            Err(found) => problem = Some(found),
        }
        problems.extend(problem.map(|problem| format!("{place}: {problem}")));
    }
    if problems.is_empty() {
        return Ok(edits);
    }
    let count = problems.len();
    problems.truncate(TOLD_MAX);
    let more = if count > TOLD_MAX { "\n  ..." } else { "" };
    let message =
        format!("nothing was replayed: {count} problems\n  {}{more}", problems.join("\n  "));
    Err(Failure::new(Failure::FOUND, message))
}

/// The number and the event of a line, or what is wrong with it.
fn read_edit(line: &str, editor: &Editor) -> Result<Result<(i64, Vec<u8>), String>, Failure> {
    let edit: Edit<'_> = match serde_json::from_str(line) {
        Ok(edit) => edit,
        Err(error) => {
            return Ok(Err(format!("expected a line of `dead-letters export`: {error}")));
        }
    };
    let known = editor.dead_letters(&Filter::of_ids(vec![edit.id]), 0)?;
    let is_another = |letter: &crate::store::dead_letters::StoredLetter| {
        edit.source.as_ref().is_some_and(|source| *source != letter.source)
            || edit.position.as_ref().is_some_and(|position| *position != letter.position)
    };
    if known.first().is_some_and(is_another) {
        let id = edit.id;
        return Ok(Err(format!("letter {id} of this store is another one: not its export")));
    }
    Ok(event(&edit).map(|event| (edit.id, event)))
}

/// The line that takes the letter's place: a text as it is, an object as it is written.
fn event(edit: &Edit<'_>) -> Result<Vec<u8>, String> {
    let written = edit.event.get();
    if written.starts_with('{') {
        return Ok(written.as_bytes().to_vec());
    }
    let text: String = serde_json::from_str(written)
        .map_err(|_| "expected event to be an object, or a text that holds one".to_owned())?;
    if let Some(base64) = &edit.event_base64 {
        let bytes = STANDARD
            .decode(base64)
            .map_err(|error| format!("expected event_base64 to be base64: {error}"))?;
        // Beside an event that was edited, it is what is left of the export.
        if String::from_utf8_lossy(&bytes) == text {
            return Ok(bytes);
        }
    }
    if text.contains('\n') {
        return Err("the event has a line end in it: an event is one line".to_owned());
    }
    Ok(text.into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_edited_event_keeps_the_bytes_that_were_typed() {
        let check = |line: &str, expected: Result<&[u8], &str>| {
            let found = serde_json::from_str(line)
                .map_err(|error| error.to_string())
                .and_then(|edit: Edit<'_>| event(&edit));
            match (&found, expected) {
                (Ok(found), Ok(expected)) => assert_eq!(found, expected, "{line}"),
                (Err(found), Err(expected)) => assert!(found.contains(expected), "{line}: {found}"),
                _ => assert_eq!(found.is_ok(), expected.is_ok(), "{line}: {found:?}"),
            }
        };
        check(r#"{"id":1,"event":"{\"a\":1.50}"}"#, Ok(br#"{"a":1.50}"#));
        check(r#"{"id":1,"event":{"a":1.50, "b":1e2}}"#, Ok(br#"{"a":1.50, "b":1e2}"#));
        check(r#"{"id":1,"event":"\ufffd","event_base64":"/w=="}"#, Ok(&[0xff]));
        check(r#"{"id":1,"event":"{}","event_base64":"/w=="}"#, Ok(b"{}"));
        check(r#"{"id":1,"event":"\ufffd","event_base64":"?"}"#, Err("base64"));
        check(r#"{"id":1,"event":"{}\n{}"}"#, Err("one line"));
        check(r#"{"id":1,"event":[1]}"#, Err("an object"));
        check(r#"{"id":1}"#, Err("event"));
    }
}
