//! Lines that are no events: each with its reason, its place and its bytes; the others go on.

use std::io::Write;
use std::net::TcpStream;

use serde_json::Value;

use crate::harness::config::{STDIN, TCP};
use crate::harness::{Config, Folder, Result, Sim, event, lines, number, text};

/// A line, the reason that it is refused for, and the field.
type Row = (Vec<u8>, &'static str, Option<&'static str>);

fn bad_lines() -> Vec<Row> {
    let with = |from: &str, to: &str| event(0).replace(from, to).into_bytes();
    let deep = format!(",\"Deep\":{}{}}}", "[".repeat(1000), "]".repeat(1000));
    let mut not_utf8 = with("C-00000", "C-?");
    not_utf8.iter_mut().filter(|byte| **byte == b'?').for_each(|byte| *byte = 0xff);
    vec![
        (br#"{"CustomerId":"C","#.to_vec(), "invalid_json", None),
        (b"no JSON at all".to_vec(), "invalid_json", None),
        (with("}", "} {}"), "invalid_json", None),
        (with("\"Quantity\":0.00", "\"Quantity\":01"), "invalid_json", None),
        (b"[1,2]".to_vec(), "not_an_object", None),
        (b"\"text\"".to_vec(), "not_an_object", None),
        (not_utf8, "invalid_utf8", None),
        (with("\"Quantity\"", "\"CustomerId\""), "duplicate_key", Some("CustomerId")),
        (with("}", &deep), "too_deep", None),
        (with("CustomerId", "Customer"), "missing_field", Some("CustomerId")),
        (with("\"C-00000\"", "null"), "missing_field", Some("CustomerId")),
        (with("\"C-00000\"", "5"), "wrong_type", Some("CustomerId")),
        (with("\"Quantity\":0.00", "\"Quantity\":\"0\""), "wrong_type", Some("Quantity")),
        (with("2026-11-21T", "tomorrow "), "invalid_datetime", Some("UsageDate")),
        (with("\"Quantity\":0.00", "\"Quantity\":1e400"), "number_out_of_range", Some("Quantity")),
        (with("}", ",\"Other\":1}"), "unknown_field", Some("Other")),
    ]
}

/// Bad lines with a good one before each and a blank one behind it.
fn mixed_input() -> Vec<u8> {
    let mut input = Vec::new();
    for (number, (line, _, _)) in (0..).zip(bad_lines()) {
        input.extend_from_slice(event(number).as_bytes());
        input.push(b'\n');
        input.extend_from_slice(&line);
        input.extend_from_slice(b"\n  \r\n");
    }
    input
}

fn check_letters(letters: &[Value], source: &str, label: &str) -> Result {
    let rows = bad_lines();
    assert_eq!(letters.len(), rows.len());
    for (index, (letter, (line, reason, field))) in letters.iter().zip(rows).enumerate() {
        assert_eq!(text(letter, "/reason")?, reason, "{letter}");
        assert_eq!(letter["field"].as_str(), field, "{letter}");
        assert_eq!(text(letter, "/source")?, source);
        assert_eq!(text(letter, "/meter")?, "m");
        assert_eq!(text(letter, "/position")?, format!("{label}#{}", index * 3 + 1));
        assert_eq!(text(letter, "/event")?, String::from_utf8_lossy(&line));
        assert!(!text(letter, "/detail")?.is_empty(), "{letter}");
    }
    Ok(())
}

#[test]
fn each_kind_of_bad_line_is_kept_with_its_reason_and_place() -> Result {
    let folder = Folder::new()?;
    let sim = Sim::start()?;
    let mut config = Config::new(&sim.url(), STDIN);
    config.meter = "event_id_field = \"EventId\"\nunknown_fields = \"reject\"".to_owned();
    folder.run_to_end(&config, &mixed_input())?;
    let count = bad_lines().len() as u64;
    sim.check_exactly_once(count)?;
    check_letters(&folder.dead_letters()?, "pipe", "stdin")?;
    let status = folder.status()?;
    for (path, expected) in [("read", 3), ("dead_lettered", 1), ("ignored", 1), ("delivered", 1)] {
        let found = number(&status, &format!("/equation/{path}"))?;
        assert_eq!(found.cast_unsigned(), expected * count, "{path}: {status}");
    }
    assert_eq!(number(&status, "/sources/pipe/dead_lettered")?.cast_unsigned(), count);
    Ok(())
}

#[test]
fn bad_lines_of_a_connection_name_its_peer() -> Result {
    let folder = Folder::new()?;
    let sim = Sim::start()?;
    let mut config = Config::new(&sim.url(), TCP);
    config.meter = "event_id_field = \"EventId\"\nunknown_fields = \"reject\"".to_owned();
    folder.configure(&config)?;
    let mut agent = folder.start()?;
    let mut stream = TcpStream::connect(agent.tcp_address()?)?;
    let label = stream.local_addr()?.to_string();
    stream.write_all(&mixed_input())?;
    drop(stream);
    folder.wait_counted("read", bad_lines().len().cast_signed() as i64 * 3)?;
    sim.wait_events(bad_lines().len() as u64)?;
    agent.stop()?;
    check_letters(&folder.dead_letters()?, "net", &label)
}

#[test]
fn a_letter_is_shown_with_everything_that_is_known() -> Result {
    let folder = Folder::new()?;
    let sim = Sim::start()?;
    let line = event(0).replace("\"C-00000\"", "5");
    folder.run_to_end(&Config::new(&sim.url(), STDIN), line.as_bytes())?;
    let letters = folder.dead_letters()?;
    let id = number(letters.first().ok_or("no letter")?, "/id")?.to_string();
    let shown = folder.json(&["dead-letters", "show", &id, "--json"])?;
    assert_eq!(Some(&shown), letters.first());
    let output = folder.command(&["dead-letters", "show", &id])?;
    let printed = String::from_utf8(output.stdout)?;
    for part in ["wrong_type", "CustomerId", "stdin#0", line.as_str()] {
        assert!(printed.contains(part), "{part}: {printed}");
    }
    assert_eq!(folder.command(&["dead-letters", "show", "77"])?.status.code(), Some(1));
    Ok(())
}

#[test]
fn a_line_that_is_too_long_names_its_size_and_stops_nothing() -> Result {
    let folder = Folder::new()?;
    let sim = Sim::start()?;
    let sources = format!("{STDIN}line_bytes_max = \"64KiB\"\n{TCP}line_bytes_max = \"64KiB\"\n");
    folder.configure(&Config::new(&sim.url(), sources))?;
    let mut agent = folder.start_with_pipe()?;
    let long = format!("{{\"CustomerId\":\"{}\"}}\n", "x".repeat(1 << 20));
    agent.write(format!("{}{long}{}", lines(0..1), lines(1..2)).as_bytes())?;
    let mut stream = TcpStream::connect(agent.tcp_address()?)?;
    stream.write_all(format!("{}{long}{}", lines(2..3), lines(3..4)).as_bytes())?;
    let label = format!("{}#1", stream.local_addr()?);
    sim.wait_events(4)?;
    agent.stop()?;
    sim.check_exactly_once(4)?;
    let letters = folder.dead_letters()?;
    assert_eq!(letters.len(), 2);
    for letter in &letters {
        assert_eq!(text(letter, "/reason")?, "line_too_long");
        assert!(text(letter, "/detail")?.contains(&(long.len() - 1).to_string()), "{letter}");
        let expected = if text(letter, "/source")? == "pipe" { "stdin#1" } else { &label };
        assert_eq!(text(letter, "/position")?, expected);
        assert!(text(letter, "/event")?.len() <= 64 << 10);
    }
    assert_eq!(folder.counted("read")?, 6);
    Ok(())
}

#[test]
fn an_event_that_no_request_can_hold_is_a_dead_letter() -> Result {
    let folder = Folder::new()?;
    let sim = Sim::start()?;
    let mut config = Config::new(&sim.url(), format!("{STDIN}line_bytes_max = \"64KiB\"\n"));
    config.limits = "payload_bytes_max = \"64KiB\"".to_owned();
    let open = event(0).replace('}', ",\"Fill\":\"");
    let large = format!("{open}{}\"}}", "x".repeat((64 << 10) - open.len() - 2));
    assert_eq!(large.len(), 64 << 10);
    folder.run_to_end(&config, format!("{large}\n{}", lines(0..1)).as_bytes())?;
    sim.check_exactly_once(1)?;
    let letters = folder.dead_letters()?;
    assert_eq!(letters.len(), 1);
    assert!(letters.iter().all(|letter| letter["reason"] == "event_too_large"), "{letters:?}");
    Ok(())
}

#[test]
fn half_a_line_before_a_disconnect_is_a_dead_letter() -> Result {
    let folder = Folder::new()?;
    let sim = Sim::start()?;
    folder.configure(&Config::new(&sim.url(), TCP))?;
    let mut agent = folder.start()?;
    let mut stream = TcpStream::connect(agent.tcp_address()?)?;
    let half = "{\"CustomerId\":\"C-0";
    stream.write_all(format!("{}{half}", lines(0..5)).as_bytes())?;
    let position = format!("{}#5", stream.local_addr()?);
    drop(stream);
    folder.wait_counted("dead_lettered", 1)?;
    let letters = folder.dead_letters()?;
    let letter = letters.first().ok_or("no letter")?;
    assert_eq!(text(letter, "/reason")?, "partial_line");
    assert_eq!(text(letter, "/position")?, position);
    assert_eq!(text(letter, "/event")?, half);
    sim.wait_events(5)?;
    agent.stop()
}
