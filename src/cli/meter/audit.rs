//! `meterd meter audit`: audit entries as JSON lines.

use std::io::Write;

use super::super::failure::Failure;
use super::super::output::Sink;
use super::super::time::instant;
use super::MeterArguments;
use crate::clock::Timestamp;
use crate::control::audit::entries;
use crate::mediation::audit::{ExportType, PAGE_SIZE_MAX, Page, Query, one_line};
use crate::mediation::summary::RunType;
use crate::mediation::time::ApiTime;

/// The arguments of `meterd meter audit`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    meter: MeterArguments,
    /// Nothing before: a time such as 2026-11-21T06:00:00Z, or an age such as 2h
    #[arg(long, value_name = "TIME", value_parser = instant)]
    from: Timestamp,
    /// Nothing after [default: now]
    #[arg(long, value_name = "TIME", value_parser = instant)]
    to: Option<Timestamp>,
    #[command(flatten)]
    kind: Kind,
    /// Of tests instead of runs
    #[arg(long)]
    test: bool,
    /// Only this session
    #[arg(long, value_name = "ID")]
    session: Option<String>,
    /// Only this operator
    #[arg(long, value_name = "ID")]
    operator: Option<String>,
    /// Entries of one request
    #[arg(long, value_name = "N", default_value_t = PAGE_SIZE_MAX,
          value_parser = clap::value_parser!(u32).range(1..=i64::from(PAGE_SIZE_MAX)))]
    page_size: u32,
    /// As it always is: entries are JSON, one a line
    #[arg(long)]
    json: bool,
}

/// Which entries.
#[derive(Debug, clap::Args)]
#[group(multiple = false)]
struct Kind {
    /// Errors, as without this
    #[arg(long)]
    errors: bool,
    /// Records of success instead of errors
    #[arg(long)]
    samples: bool,
}

/// Prints every entry as it came, one a line, while further pages are fetched.
pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let (connected, meter) = arguments.meter.connect()?;
    let query = Query {
        export_type: if arguments.kind.samples { ExportType::Sample } else { ExportType::Error },
        run_type: if arguments.test { RunType::Debug } else { RunType::Normal },
        from: ApiTime(arguments.from),
        to: ApiTime(arguments.to.unwrap_or_else(Timestamp::now)),
        session_id: arguments.session.clone(),
        operator_id: arguments.operator.clone(),
        page_size: Some(arguments.page_size),
    };
    let mut sink = Sink::open(None)?;
    let mut is_read = true;
    let take = |page: &Page<'_>| {
        is_read = sink.write(|out| write_page(out, page))?;
        Ok::<bool, Failure>(is_read)
    };
    connected.runtime.block_on(entries(&connected.client, &meter, &query, take))?;
    if is_read { sink.finish() } else { Ok(()) }
}

fn write_page(out: &mut dyn Write, page: &Page<'_>) -> std::io::Result<()> {
    for entry in page.data.iter().flatten() {
        writeln!(out, "{}", one_line(entry.get()))?;
    }
    // Who reads along sees a page as soon as it is there.
    out.flush()
}
