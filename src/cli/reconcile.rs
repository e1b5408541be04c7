//! `meterd reconcile`: what was delivered beside what Mediation made of it.

use std::sync::Arc;

use super::failure::Failure;
use super::output::{print, print_json};
use super::run::runtime;
use super::store::StoreArguments;
use super::time::instant;
use super::{log, meter};
use crate::clock::Timestamp;
use crate::config::LoadFor;
use crate::control::Client;
use crate::control::reconcile::{Comparison, Report, Shown};
use crate::meter::Meter;
use crate::store::editor::Editor;
use crate::units::Period;

/// The arguments of `meterd reconcile`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    store: StoreArguments,
    /// Only this meter [default: every meter of the configuration that has an id]
    #[arg(long, value_name = "NAME")]
    meter: Option<String>,
    /// Deliveries from here: a time such as 2026-11-21T06:00:00Z, or an age such as 2h [default: as
    /// long before the end as reconcile.window]
    #[arg(long, value_name = "TIME", value_parser = instant)]
    from: Option<Timestamp>,
    /// Deliveries before this, never younger than two times reconcile.delay [default: that]
    #[arg(long, value_name = "TIME", value_parser = instant)]
    to: Option<Timestamp>,
    /// How long each request is tried
    #[arg(long, value_name = "DURATION", default_value = "5m")]
    timeout: Period,
    /// Print a JSON array
    #[arg(long)]
    json: bool,
}

/// Compares, files what was refused, and prints what came of it; fails with exit code 1 when
/// something is missing in Mediation.
pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let loaded = arguments.store.loaded(LoadFor::Reconcile)?;
    log::start(&loaded.log);
    let settings = loaded.settings;
    let meters = meters(arguments, &settings.meters)?;
    let span = settings.reconcile.span(arguments.from, arguments.to, Timestamp::now())?;
    let mut editor = Editor::open(&settings.store.directory)?;
    let runtime = runtime()?;
    let client = {
        let _inside = runtime.enter();
        Client::connect(&settings.delivery.tenant, arguments.timeout.duration())?
    };
    let mut reports = Vec::new();
    for meter in meters {
        let version = meter::version_of(meter)?;
        let receipts_keep = settings.store.receipts_keep;
        let comparison = Comparison { meter, version: &version, span, receipts_keep };
        let report = runtime.block_on(comparison.run(&client, &mut editor))?;
        if !arguments.json {
            print(&text(&report))?;
        }
        reports.push(report);
    }
    if arguments.json {
        print_json(&reports)?;
    }
    if reports.iter().all(|report| report.even) {
        return Ok(());
    }
    // Everything was said.
    Err(Failure::new(Failure::FOUND, ""))
}

/// The meters that are meant, at least one.
fn meters<'m>(
    arguments: &Arguments,
    configured: &'m [Arc<Meter>],
) -> Result<Vec<&'m Arc<Meter>>, Failure> {
    if let Some(name) = &arguments.meter {
        return Ok(vec![meter::named(name, configured)?]);
    }
    let meters: Vec<_> = configured.iter().filter(|meter| meter.id.is_some()).collect();
    if meters.is_empty() {
        let message = "no meter of the configuration has an id: it is needed to ask Mediation";
        return Err(Failure::new(Failure::CONFIGURATION, message));
    }
    Ok(meters)
}

/// The report for people.
fn text(report: &Report) -> String {
    let line = |what: &str, shown: &Shown, more: String| {
        let quantity = shown.quantity.map(|sum| format!("quantity {sum}")).unwrap_or_default();
        let line = format!("  {what:<28} {:>10} events  {quantity:<24} {more}", shown.events);
        line.trim_end().to_owned()
    };
    let counted = |events| Shown { events, quantity: None };
    let filed = format!("{} new dead letters", report.filed);
    let waiting = report.waiting.events;
    let explained = format!("{waiting} wait as dead letters, {} unexplained", report.unexplained);
    let mut lines = vec![
        format!("{}, delivered from {} to {}", report.meter, report.from, report.to),
        line("answered with success", &report.sent, String::new()),
        line("refused afterwards", &report.refused, filed),
        line("repeats, dropped", &report.repeats, "harmless".to_owned()),
        line("put out by Mediation", &counted(report.output), String::new()),
        line("difference", &report.difference, explained),
    ];
    lines.extend(report.unseen.iter().map(|unseen| format!("  note: {unseen}")));
    if !report.even {
        let verdict = if waiting > 0 {
            "NOT EVEN: see `meterd dead-letters list --reason refused_after_delivery`"
        } else {
            "NOT EVEN"
        };
        lines.push(format!("  {verdict}"));
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quantity::Quantity;

    fn shown(events: i64, quantity: Option<&str>) -> Shown {
        Shown { events, quantity: quantity.and_then(|sum| Quantity::read(sum.as_bytes())) }
    }

    #[test]
    fn a_report_says_what_is_missing_and_what_it_could_not_see() {
        let report = Report {
            meter: "api-calls".to_owned(),
            from: Timestamp::from_millis(1_763_337_600_000),
            to: Timestamp::from_millis(1_763_424_000_000),
            at: Timestamp::from_millis(1_763_430_000_000),
            sent: shown(100_000, Some("250000.5")),
            refused: shown(25, Some("62.5")),
            filed: 25,
            waiting: shown(25, Some("62.5")),
            repeats: shown(300, Some("750")),
            output: 99_975,
            difference: shown(25, Some("62.5")),
            unexplained: 0,
            maybe_within: 0,
            maybe_before: 0,
            maybe_repeats: 0,
            even: false,
            unseen: vec!["12 delivered events are younger than what was compared".to_owned()],
        };
        insta::assert_snapshot!(text(&report), @"
        api-calls, delivered from 2025-11-17T00:00:00.000Z to 2025-11-18T00:00:00.000Z
          answered with success            100000 events  quantity 250000.5
          refused afterwards                   25 events  quantity 62.5            25 new dead letters
          repeats, dropped                    300 events  quantity 750             harmless
          put out by Mediation              99975 events
          difference                           25 events  quantity 62.5            25 wait as dead letters, 0 unexplained
          note: 12 delivered events are younger than what was compared
          NOT EVEN: see `meterd dead-letters list --reason refused_after_delivery`
        ");
        let even = Report {
            waiting: shown(0, None),
            difference: shown(0, None),
            even: true,
            unseen: Vec::new(),
            ..report
        };
        assert!(text(&even).ends_with("0 wait as dead letters, 0 unexplained"));
    }
}
