//! Which files a round is about, without a look at all of them.
//!
//! A file that is at rest is looked at when its name was told by the kernel, or with all the others.
//! Every other file stands in a list: whoever gives a file a turn notes it, and only the end of a round
//! takes it out. A file may stand there in vain, but none that waits is missing.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::ffi::OsString;

use crate::source::file::followed::Followed;
use crate::source::file::identity::Key;

/// What waits, and what names mean.
#[derive(Debug, Default)]
pub(super) struct Attention {
    restless: BTreeSet<Key>,
    names: HashMap<OsString, Vec<Key>>,
}

impl Attention {
    /// All that is in `table`, after any of it may have changed.
    pub(super) fn of(table: &BTreeMap<Key, Followed>) -> Self {
        let mut attention = Self::default();
        for (key, file) in table {
            attention.note_new(*key, file);
        }
        attention
    }

    /// Of a file that has come.
    pub(super) fn note_new(&mut self, key: Key, file: &Followed) {
        self.note_name(key, file);
        self.note(key, file);
    }

    /// Of a file to which something was done.
    pub(super) fn note(&mut self, key: Key, file: &Followed) {
        if is_restless(file) {
            self.restless.insert(key);
        }
    }

    fn note_name(&mut self, key: Key, file: &Followed) {
        let Some(name) = file.name() else { return };
        match self.names.get_mut(name) {
            Some(keys) if keys.contains(&key) => {}
            Some(keys) => keys.push(key),
            None => {
                self.names.insert(name.to_owned(), vec![key]);
            }
        }
    }

    /// Has the files with the names `touched` looked at.
    pub(super) fn touch(&mut self, touched: &HashSet<OsString>) {
        let keys = touched.iter().filter_map(|name| self.names.get(name)).flatten();
        self.restless.extend(keys);
    }

    /// Those that wait.
    pub(super) fn restless<'t>(
        &self,
        table: &'t BTreeMap<Key, Followed>,
    ) -> impl Iterator<Item = (Key, &'t Followed)> {
        self.restless.iter().filter_map(|key| Some((*key, table.get(key)?)))
    }

    /// Lets those go that wait for nothing any more.
    pub(super) fn calm(&mut self, table: &BTreeMap<Key, Followed>) {
        self.restless.retain(|key| table.get(key).is_some_and(is_restless));
    }
}

/// Whether something is to be done without a word of the kernel.
fn is_restless(file: &Followed) -> bool {
    file.has_more || file.is_held_back() || file.displaced_at.is_some()
}
