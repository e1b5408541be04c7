//! Dead letters that are put back by who looks at the page.

use std::sync::Arc;

use super::{Settings, Source};
use crate::admin;
use crate::chunk::SourceTag;
use crate::replay;
use crate::store::dead_letters::Filter;
use crate::store::editor::Editor;

impl Settings {
    /// What a replay of dead letters needs of them.
    pub fn replaying(&self) -> replay::Settings {
        let tag = |source: &Source| {
            let tag = SourceTag::new(Arc::clone(&source.name), source.destination.clone());
            (Arc::clone(&source.name), SourceTag { mapping: source.mapping.clone(), ..tag })
        };
        replay::Settings {
            agent: Arc::clone(&self.name),
            meters: self.meters.clone(),
            sources: self.sources.iter().map(tag).collect(),
            compression_level: self.pack.compression_level,
        }
    }
}

/// Puts dead letters back as `meterd dead-letters replay` does.
pub(super) fn of(settings: &Settings) -> admin::Replay {
    let directory = settings.store.directory.clone();
    let replaying = settings.replaying();
    admin::Replay(Arc::new(move |ids| {
        let filter = Filter::of_ids(ids);
        let wanted = replay::Wanted { filter, ..replay::Wanted::default() };
        let report = Editor::open(&directory)
            .map_err(replay::Error::from)
            .and_then(|mut editor| replay::run(&mut editor, &replaying, &wanted))
            .map_err(|error| error.to_string())?;
        serde_json::to_value(report).map_err(|error| error.to_string())
    }))
}
