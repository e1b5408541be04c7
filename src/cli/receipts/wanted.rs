//! Which receipts a command means, page by page.

use crate::cli::failure::Failure;
use crate::cli::time::instant;
use crate::clock::Timestamp;
use crate::store::reader::Reader;
use crate::store::receipts::{Filter, Receipt};

/// How many receipts are read at one time.
const PAGE: u32 = 1000;

/// Conditions; all of them have to be met.
#[derive(Debug, clap::Args)]
pub(super) struct Wanted {
    /// Only batches of this meter
    #[arg(long, value_name = "NAME")]
    meter: Option<String>,
    /// Only those delivered at this time or later: 2026-11-21T06:00:00Z, or an age such as 2h
    #[arg(long, value_name = "TIME", value_parser = instant)]
    from: Option<Timestamp>,
    /// Only those delivered before this time
    #[arg(long, value_name = "TIME", value_parser = instant)]
    to: Option<Timestamp>,
    /// Only batches of which an attempt's outcome is not known: they may be there twice
    #[arg(long)]
    unknown: bool,
}

impl Wanted {
    /// Hands over what is wanted of batches behind `after`, oldest first and a page at a time,
    /// until `take` says that it is enough.
    pub(super) fn pages(
        &self,
        reader: &Reader,
        after: i64,
        mut take: impl FnMut(Vec<Receipt>) -> Result<bool, Failure>,
    ) -> Result<(), Failure> {
        let filter = Filter {
            meter: self.meter.clone(),
            from: self.from,
            to: self.to,
            is_unknown: self.unknown,
        };
        // Of millions of receipts, only those around the time are looked at.
        let Some((first, last)) = reader.receipts_span(&filter)? else { return Ok(()) };
        let mut after = after.max(first - 1);
        loop {
            let page = reader.receipts(&filter, after..last, PAGE)?;
            let is_full = page.len() == PAGE as usize;
            after = page.last().map_or(last, |receipt| receipt.batch);
            if !take(page)? || !is_full {
                return Ok(());
            }
        }
    }
}
