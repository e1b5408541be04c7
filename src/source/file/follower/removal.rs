//! Deleting files that are delivered, where `remove_after` asks for it; and forgetting those that
//! are gone.
//!
//! A file is deleted when it was not written to for that time, is read to its last byte, and the
//! store says that nothing of it waits and none of its dead letters is left. It is given another
//! name first: should a rotation have put another file in its place meanwhile, that one goes back.
//! A power cut between the two leaves the file under that name, where it is found by its inode and
//! deleted in its turn. It stays open for a while: what a writer still adds is read.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Instant;

use rustix::fs::{CWD, RenameFlags, renameat_with};

use crate::clock::Timestamp;
use crate::intake::Closed;
use crate::source::file::followed::{Followed, Standing};
use crate::source::file::follower::Follower;
use crate::source::file::identity::{Key, identity_of};
use crate::store::Error;
use crate::store::reader::Reader;

/// What is put before the name of a file that is about to be deleted.
const MARK: &str = ".meterd-removed-";

/// What asks the store.
#[derive(Debug)]
pub(super) struct Removal {
    directory: PathBuf,
    /// Opened at the first question.
    reader: Option<Reader>,
}

impl Removal {
    /// Asks the store in `directory`.
    pub(super) fn new(directory: &Path) -> Self {
        Self { directory: directory.to_owned(), reader: None }
    }

    fn reader(&mut self) -> Option<&Reader> {
        if self.reader.is_none() {
            let opened = Reader::open(&self.directory);
            self.reader = opened.inspect_err(cannot_ask).ok();
        }
        self.reader.as_ref()
    }
}

impl Follower<'_> {
    /// Deletes what is delivered and forgets what is gone.
    pub(super) fn clear_away(&mut self) -> Result<(), Closed> {
        if self.settings.remove_after.is_some() {
            self.remove_delivered();
        }
        self.forget_gone()
    }

    fn remove_delivered(&mut self) {
        let Some(time) = self.settings.remove_after else { return };
        let now = Timestamp::now();
        let is_due = |file: &Followed| {
            file.is_finished() && file.is_linked && file.place.written_at.after(time) <= now
        };
        let due: Vec<Key> =
            self.table.iter().filter(|(_, file)| is_due(file)).map(|(key, _)| *key).collect();
        for key in due {
            let Some(file) = self.table.get_mut(&key) else { continue };
            let Some(reader) = self.removal.reader() else { return };
            let (place, path) = (&file.place, file.label());
            let source = &self.context.tag.name;
            match reader.is_delivered(source, place.identity, place.offset) {
                Ok(true) => match remove(file) {
                    Ok(true) => tracing::info!(%path, "a file was delivered and removed"),
                    Ok(false) => self.is_astray = true,
                    Err(error) => file.complain_of_removal(&error),
                },
                Ok(false) => {}
                Err(error) => {
                    cannot_ask(&error);
                    return;
                }
            }
        }
    }

    /// Files that are gone and were not written to for long: no archive of them will come.
    fn forget_gone(&mut self) -> Result<(), Closed> {
        let (now, time) = (Timestamp::now(), self.pace.forget);
        let is_gone = |file: &Followed| {
            let is_let_go = file.standing == Standing::LetGo && file.vanished_at.is_none();
            is_let_go
                && !file.is_linked
                && file.place.written_at.after(time) <= now
                && matches!(file.metadata(), Ok(None))
        };
        let gone: Vec<Key> =
            self.table.iter().filter(|(_, file)| is_gone(file)).map(|(key, _)| *key).collect();
        for key in gone {
            if let Some(mut file) = self.table.remove(&key) {
                file.send_forgotten(self.context)?;
            }
        }
        Ok(())
    }
}

fn cannot_ask(error: &Error) {
    tracing::warn!(%error, "cannot ask the store: no file is removed");
}

/// Deletes the file; false when it is not, or not any more, what is known of it.
fn remove(file: &mut Followed) -> io::Result<bool> {
    if !file.open()? || !file.is_finished_now()? {
        return Ok(false);
    }
    let Some(name) = file.name().and_then(|name| name.to_str()) else { return Ok(false) };
    let name = name.strip_prefix(MARK).unwrap_or(name);
    let removed = file.path.with_file_name(format!("{MARK}{name}"));
    if removed != file.path {
        renameat_with(CWD, &file.path, CWD, &removed, RenameFlags::NOREPLACE)?;
        if Key::from(identity_of(&fs::symlink_metadata(&removed)?)) != file.key() {
            // Another one came under its name.
            renameat_with(CWD, &removed, CWD, &file.path, RenameFlags::NOREPLACE)?;
            return Ok(false);
        }
        file.move_to(removed);
    }
    if !file.is_finished_now()? {
        return Ok(false);
    }
    fs::remove_file(&file.path)?;
    file.standing = Standing::RotatedAway;
    (file.is_linked, file.active) = (false, Instant::now());
    Ok(true)
}
