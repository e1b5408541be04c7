//! Which dead letters a command means.

use clap::builder::PossibleValuesParser;

use crate::cli::failure::Failure;
use crate::cli::time::instant;
use crate::clock::Timestamp;
use crate::dead_letter::REASONS;
use crate::store::dead_letters::Filter;

/// Numbers and conditions; all of them have to be met.
#[derive(Debug, clap::Args)]
pub(super) struct Wanted {
    /// The numbers of letters
    #[arg(value_name = "NUMBER")]
    ids: Vec<i64>,
    /// Only letters of this meter
    #[arg(long, value_name = "NAME")]
    meter: Option<String>,
    /// Only letters of this source
    #[arg(long, value_name = "NAME")]
    source: Option<String>,
    /// Only letters with this reason
    #[arg(long, value_name = "REASON", value_parser = PossibleValuesParser::new(REASONS.map(|reason| reason.name())))]
    reason: Option<String>,
    /// Only letters stored at this time or later: 2026-11-21T06:00:00Z, or an age such as 2h
    #[arg(long, value_name = "TIME", value_parser = instant)]
    since: Option<Timestamp>,
    /// Only letters stored before this time
    #[arg(long, value_name = "TIME", value_parser = instant)]
    until: Option<Timestamp>,
}

impl Wanted {
    /// The condition for the store.
    pub(super) fn filter(&self) -> Filter {
        Filter {
            ids: self.ids.clone(),
            meter: self.meter.clone(),
            source: self.source.clone(),
            reason: self.reason.clone(),
            since: self.since,
            until: self.until,
        }
    }

    /// Whether there is no condition.
    pub(super) fn is_all(&self) -> bool {
        self.filter() == Filter::default()
    }

    /// Fails unless it is said which letters are meant, or that all of them are.
    pub(super) fn must_be_meant(&self, all: bool) -> Result<(), Failure> {
        if self.is_all() == all {
            return Ok(());
        }
        let message = if all {
            "--all means every letter: leave numbers and conditions away"
        } else {
            "say which letters: numbers, --meter, --source, --reason, --since, --until, or --all"
        };
        Err(Failure::new(Failure::USAGE, message))
    }
}
