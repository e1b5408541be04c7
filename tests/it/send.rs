//! `meterd send`: to the end, then a receipt and an exit code that scripts can trust.

use std::fs::File;
use std::io::Write;
use std::process::{Command, Stdio};

use flate2::Compression;
use flate2::write::GzEncoder;

use crate::harness::sim::ReservedPort;
use crate::harness::{Config, Folder, Result, Sim, lines, number};

const SEND: [&str; 3] = ["send", "--meter", "m"];

fn folder(url: &str) -> Result<Folder> {
    let folder = Folder::new()?;
    folder.configure(&Config::new(url, ""))?;
    Ok(folder)
}

fn compress(text: &str) -> Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(text.as_bytes())?;
    Ok(encoder.finish()?)
}

#[test]
fn standard_input_is_delivered_and_a_receipt_printed() -> Result {
    let sim = Sim::start()?;
    let folder = folder(&sim.url())?;
    for input in [lines(0..500), lines(500..1000).trim_end().to_owned()] {
        let output = folder.command_with_input(&SEND, input.as_bytes())?;
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "{errors}");
        assert!(String::from_utf8(output.stdout)?.contains("delivered"));
    }
    sim.check_exactly_once(1000)?;
    assert_eq!(folder.counted("delivered")?, 1000);
    Ok(())
}

#[test]
fn a_bad_line_exits_with_1_and_the_others_are_delivered() -> Result {
    let sim = Sim::start()?;
    let folder = folder(&sim.url())?;
    let input = format!("{}not an event\n{}", lines(0..5), lines(5..10));
    let output = folder.command_with_input(&SEND, input.as_bytes())?;
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8(output.stderr)?.contains("dead-letters"));
    sim.check_exactly_once(10)
}

#[test]
fn without_a_server_the_time_out_exits_with_69_and_the_next_send_delivers() -> Result {
    let port = ReservedPort::new()?;
    let folder = folder(&port.url())?;
    let timed: Vec<&str> = SEND.into_iter().chain(["--timeout", "500ms"]).collect();
    let output = folder.command_with_input(&timed, lines(0..300).as_bytes())?;
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(69), "{errors}");
    assert!(errors.contains("300 events are not delivered"), "{errors}");
    assert_eq!(folder.counted("stored")?, 300);
    let sim = Sim::on(port)?;
    let output = folder.command_with_input(&SEND, lines(300..400).as_bytes())?;
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    sim.check_exactly_once(400)?;
    assert_eq!(folder.unknown_attempts()?, 0);
    Ok(())
}

#[test]
fn a_meter_that_is_not_there_is_a_configuration_error() -> Result {
    let folder = folder("http://127.0.0.1:1")?;
    let output = folder.command(&["send", "--meter", "n"])?;
    assert_eq!(output.status.code(), Some(78));
    assert!(!folder.state().exists());
    Ok(())
}

#[test]
fn files_plain_and_compressed_are_delivered_whole() -> Result {
    let sim = Sim::start()?;
    let folder = folder(&sim.url())?;
    let (plain, compressed) = (folder.path("a.jsonl"), folder.path("b.jsonl.gz"));
    std::fs::write(&plain, lines(0..700))?;
    // Two members, as log rotation with appending makes them, and no line end at the end.
    let mut bytes = compress(&lines(700..900))?;
    bytes.extend(compress(lines(900..1000).trim_end())?);
    std::fs::write(&compressed, bytes)?;
    let output = folder.command(&["send", "--meter", "m", "a.jsonl", "b.jsonl.gz"])?;
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    sim.check_exactly_once(1000)?;
    assert_eq!(folder.counted("delivered")?, 1000);
    Ok(())
}

#[test]
fn one_wrong_name_sends_nothing() -> Result {
    let sim = Sim::start()?;
    let folder = folder(&sim.url())?;
    std::fs::write(folder.path("a.jsonl"), lines(0..10))?;
    let output = folder.command(&["send", "--meter", "m", "a.jsonl", "missing.jsonl"])?;
    assert_ne!(output.status.code(), Some(0));
    assert!(String::from_utf8(output.stderr)?.contains("missing.jsonl"));
    assert_eq!(sim.stats().requests, 0);
    Ok(())
}

#[test]
fn a_damaged_archive_is_no_success_and_what_was_whole_is_delivered_once() -> Result {
    let sim = Sim::start()?;
    let folder = folder(&sim.url())?;
    let mut bytes = compress(&lines(0..5000))?;
    bytes.truncate(bytes.len() / 2);
    File::create(folder.path("cut.gz"))?.write_all(&bytes)?;
    let output = folder.command(&["send", "--meter", "m", "cut.gz"])?;
    assert_ne!(output.status.code(), Some(0), "half an archive was called delivered");
    folder.status()?;
    assert!(sim.events().values().all(|times| *times == 1));
    Ok(())
}

#[test]
fn a_send_that_was_killed_goes_on_where_it_stopped() -> Result {
    let sim = Sim::with_faults(&["slow=20ms"])?;
    let folder = Folder::new()?;
    folder.configure(&Config {
        limits: "events_per_request_max = 200\nrequests_in_flight_max = 2".to_owned(),
        ..Config::new(&sim.url(), "")
    })?;
    std::fs::write(folder.path("a.jsonl"), lines(0..20_000))?;
    std::fs::write(folder.path("b.jsonl.gz"), compress(&lines(20_000..30_000))?)?;
    let arguments = ["send", "--meter", "m", "a.jsonl", "b.jsonl.gz"];
    let kills = 6;
    for kill in 0..kills {
        let mut child = folder.child(&arguments)?;
        sim.wait_events(kill * 1500 + 1)?;
        child.kill()?;
        child.wait()?;
        folder.status()?;
    }
    let output = folder.command(&arguments)?;
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    sim.check_complete(30_000)?;
    assert_eq!(folder.counted("read")?, 30_000);
    let stats = sim.stats();
    assert_eq!(stats.repeats_altered, 0);
    for repeat in &stats.repeats {
        let receipt = folder.json(&["receipts", "show", &repeat.track_id, "--json"])?;
        assert!(number(&receipt, "/outcome_unknown_attempts")? >= 1, "{repeat:?}: {receipt}");
    }
    Ok(())
}

#[test]
fn a_file_that_was_sent_is_not_sent_again() -> Result {
    let sim = Sim::start()?;
    let folder = folder(&sim.url())?;
    std::fs::write(folder.path("a.jsonl"), lines(0..100))?;
    let arguments = ["send", "--meter", "m", "a.jsonl"];
    for _ in 0..2 {
        let output = folder.command(&arguments)?;
        assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    }
    sim.check_exactly_once(100)
}

/// What `send` shows on a terminal, which util-linux's `script` is for it.
fn on_a_terminal(folder: &Folder, arguments: &str) -> Result<String> {
    let program = env!("CARGO_BIN_EXE_meterd");
    let config = folder.config();
    let line = format!("{program} send --meter m {arguments} -c {}", config.display());
    let output = Command::new("script")
        .args(["--quiet", "--return", "--command", &line, "/dev/null"])
        .env("TERM", "xterm")
        .env("COLUMNS", "200")
        .current_dir(folder.path("."))
        .stdin(Stdio::null())
        .output()?;
    assert!(output.status.success(), "{output:?}");
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[test]
fn a_terminal_shows_how_far_it_has_come_and_how_long_it_takes() -> Result {
    let sim = Sim::with_faults(&["hang=300ms"])?;
    let folder = Folder::new()?;
    let limits = "events_per_request_max = 100\nrequests_in_flight_max = 2".to_owned();
    folder.configure(&Config { limits, ..Config::new(&sim.url(), "") })?;
    std::fs::write(folder.path("plain"), lines(0..400))?;
    std::fs::write(folder.path("packed"), compress(&lines(400..800))?)?;
    let shown = on_a_terminal(&folder, "plain packed")?;
    let draws: Vec<&str> = shown.split('\r').collect();
    let total = " of ";
    assert!(draws.iter().any(|draw| draw.contains(" left") && draw.contains(total)), "{shown}");
    assert!(draws.iter().any(|draw| draw.contains(" events/s")), "{shown}");
    let is_end = |draw: &&str| draw.contains("100 %") && draw.contains("800 events delivered");
    assert!(draws.iter().any(is_end), "{shown}");
    // What an earlier run has delivered is behind it at once.
    let shown = on_a_terminal(&folder, "plain packed")?;
    assert!(shown.contains("100 %") && shown.contains(", 0 events delivered"), "{shown}");
    sim.check_exactly_once(800)
}
