//! Dead letters that come back, or are given up: with the same event id, once, whatever happens.

use std::process::Output;

use serde_json::{Value, json};

use crate::harness::config::STDIN;
use crate::harness::file_fault::Kind;
use crate::harness::{
    Config, FileFault, Folder, Result, Sim, event, event_id, lines, number, text, until,
};

/// Event `number` with a quantity that is no number.
fn wrong(number: u64) -> String {
    let whole = event(number);
    let (before, rest) = whole.split_once("\"Quantity\":").unwrap_or((&whole, ""));
    let (quantity, after) = rest.split_once(',').unwrap_or_default();
    format!("{before}\"Quantity\":\"{quantity}\",{after}")
}

fn wrong_lines(numbers: std::ops::Range<u64>) -> String {
    numbers.map(|number| wrong(number) + "\n").collect()
}

fn exported(folder: &Folder, arguments: &[&str]) -> Result<Vec<Value>> {
    let output = folder.command(&[&["dead-letters", "export"], arguments].concat())?;
    assert!(output.status.success(), "{output:?}");
    let lines = String::from_utf8(output.stdout)?;
    Ok(lines.lines().map(serde_json::from_str).collect::<std::result::Result<_, _>>()?)
}

/// Writes `letters` as a file to replay.
fn write_edits(folder: &Folder, letters: &[Value]) -> Result<String> {
    let path = folder.path("edits.jsonl");
    let text: String = letters.iter().map(|letter| letter.to_string() + "\n").collect();
    std::fs::write(&path, text)?;
    Ok(path.display().to_string())
}

/// The letters of wrong quantities, mended.
fn mended(letters: Vec<Value>) -> Result<Vec<Value>> {
    let mend = |mut letter: Value| {
        let number: u64 = text(&letter, "/event")?
            .split_once("event-")
            .and_then(|(_, rest)| rest.get(..8)?.parse().ok())
            .ok_or("no number of an event")?;
        letter["event"] = Value::from(event(number));
        Ok(letter)
    };
    letters.into_iter().map(mend).collect()
}

fn report(output: &Output) -> Result<Value> {
    serde_json::from_slice(&output.stdout).map_err(|error| format!("{error}: {output:?}").into())
}

#[test]
fn edited_letters_are_delivered_once_while_the_daemon_runs() -> Result {
    let folder = Folder::new()?;
    let sim = Sim::start()?;
    folder.configure(&Config::new(&sim.url(), STDIN))?;
    let mut agent = folder.start_with_pipe()?;
    agent.write(format!("{}{}", lines(0..5), wrong_lines(5..25)).as_bytes())?;
    folder.wait_counted("dead_lettered", 20)?;
    let file = write_edits(&folder, &mended(exported(&folder, &[])?)?)?;

    let tried = folder.command(&["dead-letters", "replay", "--from", &file, "--dry-run"])?;
    assert!(tried.status.success(), "{tried:?}");
    assert_eq!(folder.counted("dead_lettered")?, 20);

    let first = folder.command(&["dead-letters", "replay", "--json", "--from", &file])?;
    assert!(first.status.success(), "{first:?}");
    assert_eq!(report(&first)?, json!({"replayed": 20, "left": [], "missing": []}));
    let again = folder.command(&["dead-letters", "replay", "--json", "--from", &file])?;
    assert_eq!(again.status.code(), Some(1));
    assert_eq!(report(&again)?["replayed"], 0);
    assert_eq!(report(&again)?["missing"].as_array().map(Vec::len), Some(20));

    folder.wait_counted("delivered", 25)?;
    assert_eq!(folder.counted("dead_lettered")?, 0);
    assert_eq!(number(&folder.status()?, "/sources/pipe/dead_lettered")?, 0);
    agent.stop()?;
    sim.check_exactly_once(25)
}

#[test]
fn unedited_letters_are_delivered_under_their_own_id_once_the_meter_takes_them() -> Result {
    let folder = Folder::new()?;
    let sim = Sim::start()?;
    let mut config = Config::new(&sim.url(), STDIN);
    config.meter = "event_id_field = \"EventId\"\nunknown_fields = \"reject\"".to_owned();
    // Without an id of their own: they get the one of their place.
    let plain = |number| event(number).replace("\"EventId\"", "\"Other\"") + "\n";
    folder.run_to_end(&config, (0..3).map(plain).collect::<String>().as_bytes())?;
    let letters = folder.dead_letters()?;
    let ids: Vec<String> = letters
        .iter()
        .map(|letter| Ok(text(letter, "/event_id")?.to_owned()))
        .collect::<Result<_>>()?;
    assert!(ids.iter().enumerate().all(|(line, id)| id.ends_with(&format!("-{line}"))), "{ids:?}");

    let refused = folder.command(&["dead-letters", "replay", "--all", "--json"])?;
    assert_eq!(refused.status.code(), Some(1));
    assert_eq!(report(&refused)?["left"][2]["field"], "Other");
    config.meter = "event_id_field = \"EventId\"".to_owned();
    folder.configure(&config)?;
    assert!(folder.command(&["dead-letters", "replay", "--all"])?.status.success());
    folder.run_to_end(&config, b"")?;
    let there = sim.events();
    assert_eq!(there.len(), 3);
    assert!(ids.iter().all(|id| there.get(id) == Some(&1)), "{ids:?} {there:?}");
    let receipt = folder.receipts()?;
    assert_eq!(text(receipt.first().ok_or("no receipt")?, "/first_event_id")?, ids[0]);
    Ok(())
}

#[test]
fn letters_are_chosen_by_what_they_are() -> Result {
    let folder = Folder::new()?;
    let sim = Sim::start()?;
    let input = format!("{}no JSON\n{}", wrong_lines(0..3), wrong_lines(3..4));
    folder.run_to_end(&Config::new(&sim.url(), STDIN), input.as_bytes())?;
    let count = |arguments: &[&str]| -> Result<usize> {
        let all = [&["dead-letters", "list", "--json"], arguments].concat();
        folder.json(&all)?.as_array().map(Vec::len).ok_or_else(|| "not an array".into())
    };
    assert_eq!(count(&[])?, 5);
    assert_eq!(count(&["--reason", "wrong_type"])?, 4);
    assert_eq!(count(&["--reason", "invalid_json", "--meter", "m", "--source", "pipe"])?, 1);
    assert_eq!(count(&["--meter", "other"])?, 0);
    assert_eq!(count(&["--source", "other"])?, 0);
    assert_eq!(count(&["--since", "1h"])?, 5);
    assert_eq!(count(&["--until", "1h"])?, 0);
    assert_eq!(count(&["--since", "2020-01-01T00:00:00Z", "--until", "2999-01-01T00:00:00Z"])?, 5);
    assert_eq!(count(&["1", "5", "77"])?, 2);
    assert_eq!(count(&["--after", "2", "--limit", "2"])?, 2);
    for wrong in [
        &["dead-letters", "list", "--reason", "sad"][..],
        &["dead-letters", "list", "--since", "yesterday"],
        &["dead-letters", "replay"],
        &["dead-letters", "replay", "--all", "1"],
        &["dead-letters", "replay", "--from", "x", "1"],
        &["dead-letters", "discard", "--all"],
        &["dead-letters", "discard", "--because", "test data"],
        &["dead-letters", "discard", "--all", "--because", " "],
    ] {
        assert_eq!(folder.command(wrong)?.status.code(), Some(2), "{wrong:?}");
    }
    assert_eq!(folder.counted("dead_lettered")?, 5);
    Ok(())
}

#[test]
fn letters_are_given_up_for_a_reason_and_stay_counted() -> Result {
    let folder = Folder::new()?;
    let sim = Sim::start()?;
    folder.configure(&Config::new(&sim.url(), STDIN))?;
    let mut agent = folder.start_with_pipe()?;
    agent.write(format!("no JSON\n{}{}", wrong_lines(0..3), lines(3..5)).as_bytes())?;
    folder.wait_counted("delivered", 2)?;
    let discard = ["dead-letters", "discard", "--json", "--because", "test data"];
    let some = folder.command(&[&discard[..], &["--reason", "invalid_json"]].concat())?;
    assert_eq!(report(&some)?, json!({"discarded": 1}));
    assert_eq!(folder.counted("discarded")?, 1);
    let rest = folder.command(&[&discard[..], &["2", "3", "1"]].concat())?;
    assert_eq!(rest.status.code(), Some(1));
    assert_eq!(report(&rest)?, json!({"discarded": 2}));
    let status = folder.status()?;
    assert_eq!(number(&status, "/equation/discarded")?, 3);
    assert_eq!(number(&status, "/equation/dead_lettered")?, 1);
    assert_eq!(number(&status, "/sources/pipe/dead_lettered")?, 1);
    agent.stop()
}

#[test]
fn an_event_that_mediation_refused_keeps_its_id() -> Result {
    let folder = Folder::new()?;
    let sim = Sim::start()?;
    // Good here, wrong at the simulator, which takes no numbers as times.
    let poison = event(0).replace("\"2026-11-21T06:00:00+0000\"", "1763705651123");
    folder.run_to_end(&Config::new(&sim.url(), STDIN), poison.as_bytes())?;
    let mut letters = exported(&folder, &["--reason", "refused"])?;
    let letter = letters.first_mut().ok_or("no letter")?;
    assert_eq!((&letter["attempts"], &letter["outcome_unknown_attempts"]), (&json!(1), &json!(0)));
    assert_eq!(letter["event_id"], event_id(0));
    let shown = folder.command(&["dead-letters", "show", "1"])?;
    let shown = String::from_utf8(shown.stdout)?;
    assert!(shown.contains("attempts  1") && shown.contains("code      7000"), "{shown}");

    letter["event"] = serde_json::from_str(&event(1))?;
    let other = write_edits(&folder, &letters)?;
    let left = folder.command(&["dead-letters", "replay", "--json", "--from", &other])?;
    assert_eq!(left.status.code(), Some(1));
    let detail = text(&report(&left)?, "/left/0/detail")?.to_owned();
    assert!(detail.contains(&event_id(0)) && detail.contains(&event_id(1)), "{detail}");

    letters[0]["event"] = Value::from(event(0));
    let right = write_edits(&folder, &letters)?;
    assert!(folder.command(&["dead-letters", "replay", "--from", &right])?.status.success());
    folder.run_to_end(&Config::new(&sim.url(), STDIN), b"")?;
    sim.check_exactly_once(1)
}

#[test]
fn bytes_that_are_no_text_survive_an_export() -> Result {
    let folder = Folder::new()?;
    let sim = Sim::start()?;
    let line = [event(0).as_bytes(), b" \xff\n"].concat();
    folder.run_to_end(&Config::new(&sim.url(), STDIN), &line)?;
    let letters = exported(&folder, &[])?;
    assert!(letters[0]["event_base64"].is_string(), "{letters:?}");
    let file = write_edits(&folder, &letters)?;
    let left = folder.command(&["dead-letters", "replay", "--json", "--from", &file])?;
    assert_eq!(report(&left)?["left"][0]["id"], 1);
    let output = folder.path("letters.jsonl").display().to_string();
    assert!(folder.command(&["dead-letters", "export", "--output", &output])?.status.success());
    let again = folder.command(&["dead-letters", "export", "--output", &output])?;
    assert_eq!(again.status.code(), Some(73));
    Ok(())
}

#[test]
fn a_file_that_is_no_export_is_refused_with_every_line_that_is_wrong() -> Result {
    let folder = Folder::new()?;
    let sim = Sim::start()?;
    folder.run_to_end(&Config::new(&sim.url(), STDIN), wrong_lines(0..2).as_bytes())?;
    let mut letters = mended(exported(&folder, &[])?)?;
    letters[1]["position"] = Value::from("another:1");
    letters.push(letters[0].clone());
    letters.push(json!({"id": 1, "event": [1]}));
    letters.push(json!("text"));
    let file = write_edits(&folder, &letters)?;
    let output = folder.command(&["dead-letters", "replay", "--from", &file])?;
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8(output.stderr)?;
    for part in ["4 problems", ":2: letter 2", ":3: letter 1 is there twice", ":4: ", ":5: "] {
        assert!(said.contains(part), "{part}: {said}");
    }
    assert_eq!(folder.counted("dead_lettered")?, 2);
    Ok(())
}

/// Replays three letters with a SIGKILL before every call that changes a file, until one is not reached.
/// Each time, what was cut off is replayed again; gives the number of cuts.
fn kill_at_each_step(folder: &Folder, feed: impl Fn(u64) -> Result) -> Result<u64> {
    for step in 0.. {
        let first = step * 3;
        feed(first)?;
        let letters = mended(exported(folder, &[])?)?;
        assert_eq!(letters.len(), 3, "step {step}");
        let file = write_edits(folder, &letters)?;
        let arguments = ["dead-letters", "replay", "--from", &file];
        let is_cut =
            FileFault::once(Kind::KillBefore, step, &folder.state()).ends(folder, &arguments)?;
        // The equation holds whatever was cut off.
        let left = folder.counted("dead_lettered")?;
        assert!(left == 0 || left == 3, "{left} letters of 3 after step {step}");
        let again = folder.command(&arguments)?;
        assert_eq!(again.status.code(), Some(i32::from(left == 0)), "{again:?}");
        assert_eq!(folder.counted("dead_lettered")?, 0);
        if !is_cut {
            return Ok(step);
        }
    }
    Ok(0)
}

#[test]
fn a_replay_that_is_killed_at_any_step_loses_and_doubles_nothing() -> Result {
    let folder = Folder::new()?;
    let sim = Sim::start()?;
    let config = Config::new(&sim.url(), STDIN);
    let feed = |first| {
        folder.run_to_end(&config, wrong_lines(first..first + 3).as_bytes())?;
        Ok(())
    };
    let cuts = kill_at_each_step(&folder, feed)?;
    assert!(cuts > 10, "{cuts} cuts");
    folder.run_to_end(&config, b"")?;
    sim.check_exactly_once(3 * (cuts + 1))
}

#[test]
fn a_replay_that_is_killed_beside_the_daemon_loses_and_doubles_nothing() -> Result {
    let folder = Folder::new()?;
    let sim = Sim::start()?;
    folder.configure(&Config::new(&sim.url(), STDIN))?;
    let agent = std::cell::RefCell::new(folder.start_with_pipe()?);
    let feed = |first| {
        agent.borrow_mut().write(wrong_lines(first..first + 3).as_bytes())?;
        folder.wait_counted("dead_lettered", 3)?;
        Ok(())
    };
    let cuts = kill_at_each_step(&folder, feed)?;
    assert!(cuts > 5, "{cuts} cuts");
    let expected = 3 * (cuts + 1);
    until("every event", || Ok((sim.stats().distinct_ids == expected).then_some(())))?;
    agent.into_inner().stop()?;
    sim.check_exactly_once(expected)
}
