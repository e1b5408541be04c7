//! Standard output. A reader that has gone away is not an error.

use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::failure::Failure;

/// Prints `text` and a line end.
pub(super) fn print(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    match writeln!(out, "{text}").and_then(|()| out.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(Failure::new(Failure::IO, format!("print the result: {error}")))
        }
        _ => Ok(()),
    }
}

/// Prints `document` as JSON, indented.
pub(super) fn print_json(document: &impl serde::Serialize) -> Result<(), Failure> {
    let text = serde_json::to_string_pretty(document);
    print(&text.map_err(|error| Failure::new(Failure::SOFTWARE, error.to_string()))?)
}

/// Where an export goes: a new file, or standard output.
pub(super) struct Sink {
    out: BufWriter<Box<dyn Write>>,
    /// The file, for messages and for its sync.
    file: Option<(PathBuf, File)>,
}

impl Sink {
    /// A file at `path`, for its owner only: events are nobody else's business. It must not be
    /// there yet. Without a path, standard output.
    pub(super) fn open(path: Option<&Path>) -> Result<Self, Failure> {
        let Some(path) = path else {
            return Ok(Self { out: BufWriter::new(Box::new(io::stdout().lock())), file: None });
        };
        let failed = |error| {
            Failure::of_io(Failure::CANNOT_CREATE, &format!("create {}", path.display()), &error)
        };
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
        let file = file.map_err(failed)?;
        let out: Box<dyn Write> = Box::new(file.try_clone().map_err(failed)?);
        Ok(Self { out: BufWriter::new(out), file: Some((path.to_owned(), file)) })
    }

    /// Writes; false when nobody reads any more.
    pub(super) fn write(
        &mut self,
        write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
    ) -> Result<bool, Failure> {
        match write(&mut self.out) {
            Ok(()) => Ok(true),
            Err(error) => self.broken(&error).map(|()| false),
        }
    }

    /// Ends the output; a file is on its disk then.
    pub(super) fn finish(mut self) -> Result<(), Failure> {
        let synced = self.file.as_ref().map_or(Ok(()), |(_, file)| file.sync_all());
        match self.out.flush().and(synced) {
            Ok(()) => Ok(()),
            Err(error) => self.broken(&error),
        }
    }

    fn broken(&self, error: &io::Error) -> Result<(), Failure> {
        match &self.file {
            None if error.kind() == ErrorKind::BrokenPipe => Ok(()),
            None => Err(Failure::of_io(Failure::IO, "print the result", error)),
            Some((path, _)) => {
                Err(Failure::of_io(Failure::IO, &format!("write {}", path.display()), error))
            }
        }
    }
}

/// Rows under a header, each column as wide as its widest cell.
pub(super) fn table(header: &[&str], rows: &[Vec<String>]) -> String {
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count());
        cells.chain(header.get(column).map(|name| name.len())).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..header.len()).map(width).collect();
    let line = |cells: &[String]| {
        let padded = cells.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
        padded.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    let header: Vec<String> = header.iter().map(|name| (*name).to_owned()).collect();
    let lines = std::iter::once(&header).chain(rows).map(|row| line(row));
    lines.collect::<Vec<_>>().join("\n")
}

/// `text` on one line, without control characters, cut at `chars_max`.
pub(super) fn one_line(text: &str, chars_max: usize) -> String {
    let clean = |letter: char| if letter.is_control() { ' ' } else { letter };
    let cut: String = text.chars().take(chars_max).map(clean).collect();
    if text.chars().count() > chars_max { cut + "..." } else { cut }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = vec![vec!["a".into(), "1".into()], vec!["long".into(), "22".into()]];
        assert_eq!(table(&["name", "n"], &rows), "name  n\na     1\nlong  22");
    }

    #[test]
    fn text_is_cut_and_cannot_move_the_cursor() {
        assert_eq!(one_line("a\u{1b}[2Jb", 4), "a [2...");
    }
}
