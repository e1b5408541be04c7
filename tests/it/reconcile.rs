//! What Mediation refused after the 200 is found, filed once, and delivered after a fix.

use std::path::Path;
use std::process::Output;
use std::time::Duration;

use meterd::simulator::{MeterSettings, Settings};
use serde_json::{Value, json};

use crate::admin::fetch;
use crate::harness::config::{STDIN, file};
use crate::harness::sim::ReservedPort;
use crate::harness::wait::until_within;
use crate::harness::{Config, Folder, Result, Sim, event, meter, number, text, until};

/// The simulator's meter with one more field, a text.
fn with_region() -> Result<Settings> {
    let mut definition: Value =
        serde_json::from_str(include_str!("../../src/simulator/meters/default.json"))?;
    definition["schemas"][0]["schema"]["properties"]["Region"] = json!({"type": "string"});
    let meters = vec![MeterSettings {
        id: 97,
        global_id: "g1".to_owned(),
        definition: Some(definition.to_string()),
    }];
    Ok(Settings { meters, ..meter::settings() })
}

/// A configuration that compares what is two seconds old.
fn config(sim: &Sim, sources: &str) -> Config {
    meter::config(&sim.url(), format!("[reconcile]\ndelay = \"1s\"\n{sources}"))
}

/// Event `number` without an id of its own, with a region that the meter takes or refuses.
fn line(number: u64, is_good: bool) -> String {
    let region = if is_good { "\"eu\"" } else { "5" };
    event(number).replace("\"EventId\":", &format!("\"Region\":{region},\"Number\":")) + "\n"
}

/// The sum of the quantities of events, in hundredths.
fn hundredths(numbers: impl Iterator<Item = u64>) -> u64 {
    numbers.map(|number| number % 13 * 100 + number % 100).sum()
}

/// A sum of hundredths as it is printed.
fn shown(hundredths: u64) -> String {
    let text = format!("{}.{:02}", hundredths / 100, hundredths % 100);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

fn report(output: &Output) -> Result<Value> {
    let reports: Value = serde_json::from_slice(&output.stdout)
        .map_err(|error| format!("{error}: {}", String::from_utf8_lossy(&output.stderr)))?;
    reports.get(0).cloned().ok_or_else(|| "no report".into())
}

/// Compares once everything is old enough: nothing younger is left.
fn reconciled(folder: &Folder) -> Result<(Option<i32>, Value)> {
    until_old(folder)?;
    let output = folder.command(&["reconcile", "--json"])?;
    Ok((output.status.code(), report(&output)?))
}

/// Waits until every receipt is old enough to be looked at.
fn until_old(folder: &Folder) -> Result {
    let receipts = folder.receipts()?;
    let newest = receipts
        .iter()
        .map(|receipt| text(receipt, "/delivered_at"))
        .max_by_key(|at| at.as_ref().map(ToString::to_string).unwrap_or_default());
    let newest: jiff::Timestamp = newest.ok_or("no receipt")??.parse()?;
    until("receipts to be old", || {
        let age = jiff::Timestamp::now().duration_since(newest);
        Ok((age.as_secs() >= 5).then_some(()))
    })
}

/// The refused letters with regions that the meter takes, as a file.
fn mend(folder: &Folder) -> Result<String> {
    let reason = ["dead-letters", "export", "--reason", "refused_after_delivery"];
    let output = folder.command(&reason)?;
    assert!(output.status.success(), "{output:?}");
    let path = folder.path("mended.jsonl");
    let mended =
        String::from_utf8(output.stdout)?.replace("\\\"Region\\\":5", "\\\"Region\\\":\\\"eu\\\"");
    std::fs::write(&path, mended)?;
    Ok(path.display().to_string())
}

/// Replaces `count` events from `first` on by some that are refused: delivers them all.
fn deliver_refused(count: u64) -> Result<(Folder, Sim)> {
    let folder = Folder::new()?;
    let sim = Sim::with_settings(with_region()?)?;
    let input: String = (0..count).map(|number| line(number, false)).collect();
    folder.run_to_end(&config(&sim, STDIN), input.as_bytes())?;
    until_old(&folder)?;
    Ok((folder, sim))
}

#[test]
fn of_a_hundred_thousand_events_exactly_those_refused_and_repeated_are_found() -> Result {
    const COUNT: u64 = 100_000;
    const REPEATED: u64 = 300;
    let is_refused = |number: u64| number >= REPEATED && number.is_multiple_of(3989);
    let refused: Vec<u64> = (0..COUNT).filter(|number| is_refused(*number)).collect();
    assert_eq!(refused.len(), 25);
    let lines = |numbers: std::ops::Range<u64>| -> String {
        numbers.map(|number| line(number, !is_refused(number))).collect()
    };
    let folder = Folder::new()?;
    let sim = Sim::with_settings(with_region()?)?;
    // Accepted, and nobody hears of it: the first batch is sent again.
    sim.replace_faults(&["reset-afterx1"])?;
    let log = folder.path("usage.jsonl");
    std::fs::write(&log, lines(0..REPEATED))?;
    folder.configure(&config(&sim, &file(&log)))?;
    let mut agent = folder.start()?;
    folder.wait_counted("delivered", i64::try_from(REPEATED)?)?;
    append(&log, &lines(REPEATED..COUNT))?;
    until_within(Duration::from_secs(240), "all events", || {
        Ok((folder.counted("delivered")? == 100_000).then_some(()))
    })?;

    let (code, found) = reconciled(&folder)?;
    let sums = [
        ("/sent", COUNT, hundredths(0..COUNT)),
        ("/refused", 25, hundredths(refused.iter().copied())),
        ("/waiting", 25, hundredths(refused.iter().copied())),
        ("/difference", 25, hundredths(refused.iter().copied())),
        ("/repeats", REPEATED, hundredths(0..REPEATED)),
    ];
    for (key, events, hundredths) in sums {
        assert_eq!(number(&found, &format!("{key}/events"))?, i64::try_from(events)?, "{found}");
        assert_eq!(text(&found, &format!("{key}/quantity"))?, shown(hundredths), "{key} {found}");
    }
    assert_eq!((number(&found, "/filed")?, number(&found, "/output")?), (25, 99_975), "{found}");
    assert_eq!((number(&found, "/unexplained")?, found["unseen"].clone()), (0, json!([])));
    assert_eq!((code, found["even"].clone()), (Some(1), json!(false)));
    let ids: Vec<Value> = folder
        .dead_letters()?
        .iter()
        .map(|letter| {
            assert_eq!(text(letter, "/reason")?, "refused_after_delivery");
            assert_eq!((text(letter, "/code")?, text(letter, "/source")?), ("70000000", "app"));
            let words =
                "Mediation: Streaming API (STREAMING_API_SOURCE): Field Region is no string.";
            assert_eq!(text(letter, "/detail")?, words);
            Ok(letter["event_id"].clone())
        })
        .collect::<Result<_>>()?;
    assert_eq!((ids.len(), folder.counted("delivered")?), (25, 99_975));

    let (code, again) = reconciled(&folder)?;
    assert_eq!(
        (code, number(&again, "/filed")?, number(&again, "/refused/events")?),
        (Some(1), 0, 25)
    );

    let mended = mend(&folder)?;
    let replayed = folder.command(&["dead-letters", "replay", "--from", &mended])?;
    assert!(replayed.status.success(), "{replayed:?}");
    folder.wait_counted("delivered", 100_000)?;
    let (code, found) = reconciled(&folder)?;
    assert_eq!((code, found["even"].clone()), (Some(0), json!(true)), "{found}");
    assert_eq!(found["difference"], json!({"events": 0, "quantity": "0"}), "{found}");
    assert_eq!(number(&found, "/output")?, 100_000, "{found}");
    assert_eq!(number(&found, "/sent/events")?, 100_025, "{found}");
    agent.stop()?;
    let there = sim.events();
    assert_eq!(there.len(), 100_000);
    // Under the ids that they had: once before the fix, once behind it.
    assert!(ids.iter().all(|id| id.as_str().and_then(|id| there.get(id)) == Some(&2)));
    Ok(())
}

fn append(path: &Path, text: &str) -> Result {
    use std::io::Write;
    let mut file = std::fs::OpenOptions::new().append(true).open(path)?;
    Ok(file.write_all(text.as_bytes())?)
}

#[test]
fn side_by_side_each_refusal_is_filed_once() -> Result {
    let (folder, _sim) = deliver_refused(1200)?;
    let commands = [(); 4].map(|()| folder.child(&["reconcile", "--json"]));
    let mut filed = 0;
    for command in commands {
        let output = command?.wait_with_output()?;
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        filed += number(&report(&output)?, "/filed")?;
    }
    assert_eq!((filed, folder.counted("dead_lettered")?), (1200, 1200));
    assert_eq!(folder.counted("delivered")?, 0);
    Ok(())
}

#[test]
fn what_is_cut_off_in_the_middle_goes_on_where_it_was() -> Result {
    let (folder, sim) = deliver_refused(1200)?;
    sim.replace_faults(&["slow=1s@api/audit"])?;
    let mut killed = folder.child(&["reconcile"])?;
    until("a page to be filed", || Ok((folder.counted("dead_lettered")? >= 500).then_some(())))?;
    killed.kill()?;
    killed.wait()?;
    let filed = folder.counted("dead_lettered")?;
    assert!((500..1200).contains(&filed), "{filed}");

    // The next one fails at a page behind the first.
    let failing = folder.child(&["reconcile"])?;
    let asked = || sim.exchanges().iter().filter(|it| it["operation"] == "audit").count();
    let before = asked();
    until("a page to be asked for", || Ok((asked() > before).then_some(())))?;
    sim.replace_faults(&["status=400,code=70000000@api/audit"])?;
    assert_eq!(failing.wait_with_output()?.status.code(), Some(1));

    sim.replace_faults(&[])?;
    let (code, found) = reconciled(&folder)?;
    assert_eq!((code, number(&found, "/refused/events")?), (Some(1), 1200));
    assert_eq!(folder.counted("dead_lettered")?, 1200);
    Ok(())
}

#[test]
fn without_mediation_nothing_changes() -> Result {
    let (folder, sim) = deliver_refused(5)?;
    let before = folder.status()?["equation"].clone();
    let port = ReservedPort::new()?;
    let unreachable = meter::config(&port.url(), format!("[reconcile]\ndelay = \"1s\"\n{STDIN}"));
    folder.configure(&unreachable)?;
    let output = folder.command(&["reconcile", "--timeout", "300ms"])?;
    assert_eq!(output.status.code(), Some(69), "{output:?}");
    assert_eq!(folder.status()?["equation"], before);
    folder.configure(&config(&sim, STDIN))?;
    assert_eq!(number(&reconciled(&folder)?.1, "/filed")?, 5);
    Ok(())
}

#[test]
fn events_with_ids_of_their_own_are_filed_for_a_sole_sender_only() -> Result {
    let folder = Folder::new()?;
    let sim = Sim::with_settings(with_region()?)?;
    let own = |number| event(number).replace("\"EventId\":", "\"Region\":5,\"EventId\":") + "\n";
    let input: String = (0..7).map(own).chain((7..9).map(|number| event(number) + "\n")).collect();
    let mut config = config(&sim, STDIN);
    folder.run_to_end(&config, input.as_bytes())?;
    let (code, found) = reconciled(&folder)?;
    let counts = (number(&found, "/filed")?, number(&found, "/unexplained")?);
    assert_eq!((code, counts), (Some(1), (0, 7)), "{found}");
    assert!(text(&found, "/unseen/0")?.starts_with("7 refused events are not known"), "{found}");
    config.meter.push_str("\nsole_sender = true");
    folder.configure(&config)?;
    let (_, found) = reconciled(&folder)?;
    let counts = (number(&found, "/filed")?, number(&found, "/unexplained")?);
    assert_eq!((counts, folder.counted("dead_lettered")?), ((7, 0), 7), "{found}");
    Ok(())
}

#[test]
fn what_cannot_be_compared_is_said() -> Result {
    let (folder, _sim) = deliver_refused(1)?;
    let check = |arguments: &[&str], code: i32, words: &str| {
        let output = folder.command(&[&["reconcile"], arguments].concat())?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{said}");
        assert!(said.contains(words), "{said}");
        Ok::<(), crate::harness::Error>(())
    };
    check(&["--from", "1s"], 2, "once they are two delays old, 2s")?;
    check(&["--meter", "x"], 78, "there is no meter \"x\"")?;
    check(&["--from", "yesterday"], 2, "expected a time such as")
}

#[test]
fn the_daemon_compares_by_itself_and_tells_once() -> Result {
    let folder = Folder::new()?;
    let sim = Sim::with_settings(with_region()?)?;
    let mut config = config(&sim, "every = \"1s\"\n");
    config.sources.push_str(STDIN);
    config.admin = "listen = \"127.0.0.1:0\"".to_owned();
    folder.configure(&config)?;
    let mut agent = folder.start_with_pipe()?;
    let input: String = (0..40).map(|number| line(number, number >= 5)).collect();
    agent.write(input.as_bytes())?;
    folder.wait_counted("dead_lettered", 5)?;
    let at = |status: &Value| text(status, "/meters/m/reconciled/at").map(str::to_owned);
    let first = until("the first round", || Ok(at(&folder.status()?).ok()))?;
    // Two more rounds find the same and say nothing.
    let waiting = until("two more rounds", || {
        let status = folder.status()?;
        let is_later = at(&status)? > first && agent_asked(&sim) >= 4;
        Ok((is_later && number(&status, "/meters/m/reconciled/delivered")? == 35).then_some(status))
    })?;
    let found = &waiting["meters"]["m"]["reconciled"];
    let counts = ["output", "refused", "waiting", "repeats", "unexplained"];
    let counts = counts.map(|key| found[key].as_i64());
    assert_eq!(counts, [Some(35), Some(5), Some(5), Some(0), Some(0)], "{found}");
    assert_eq!(agent.times_logged("Mediation refused events after it had accepted them")?, 1);
    let metrics = fetch(agent.admin_address()?, "/metrics")?.1;
    for line in [
        "meterd_events_refused_after_delivery_total{meter=\"m\"} 5",
        "meterd_events_delivered_total{meter=\"m\"} 40",
        "meterd_reconcile_waiting{meter=\"m\"} 5",
        "meterd_reconcile_even{meter=\"m\"} 0",
    ] {
        assert!(metrics.lines().any(|there| there.starts_with(line)), "{line} in {metrics}");
    }

    sim.replace_faults(&["status=400@api/audit"])?;
    until("a failure", || agent.logged("failed to reconcile, trying again"))?;
    agent.stop()
}

/// How often the audit trail was asked for.
fn agent_asked(sim: &Sim) -> usize {
    sim.exchanges().iter().filter(|exchange| exchange["operation"] == "audit").count()
}
