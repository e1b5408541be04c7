//! `meterd verify` and `send --dry-run`: what would become of lines, and nothing else happens.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::process::Output;

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};

use crate::harness::config::STDIN;
use crate::harness::{Config, Folder, RawServer, Reply, Result, event, lines, text};

const VERIFY: [&str; 3] = ["verify", "--meter", "m"];

/// Nobody is there to send to.
fn folder(sources: &str) -> Result<Folder> {
    let folder = Folder::new()?;
    folder.configure(&Config::new("http://127.0.0.1:1", sources))?;
    Ok(folder)
}

fn with<'a>(arguments: &[&'a str], more: &[&'a str]) -> Vec<&'a str> {
    [arguments, more].concat()
}

/// The documents that a command printed, the last of which is the summary.
fn documents(output: &Output) -> Result<Vec<Value>> {
    let text = String::from_utf8(output.stdout.clone())?;
    Ok(text.lines().map(serde_json::from_str).collect::<std::result::Result<_, _>>()?)
}

#[test]
fn each_record_is_shown_with_the_event_or_the_reason_and_counted() -> Result {
    let folder = folder("")?;
    let plain = event(1).replace(",\"EventId\":\"event-00000001\"", "");
    let input = format!("{plain}\n\n{{\"Quantity\":\"x\"}}\r\nno JSON\u{1b}\n");
    std::fs::write(folder.path("usage.jsonl"), input)?;
    let output = folder.command(&with(&VERIFY, &["usage.jsonl"]))?;
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let printed = String::from_utf8(output.stdout)?;
    let printed: Vec<&str> = printed.lines().collect();
    let stamped = plain.replace('}', ",\"EventId\":\"");
    assert_eq!(printed[0], "usage.jsonl:0 line 1: valid for m");
    assert_eq!(printed[1], format!("  in   {plain}"));
    assert!(printed[2].starts_with(&format!("  out  {stamped}")), "{}", printed[2]);
    assert!(printed[2].ends_with("-0\"}"), "{}", printed[2]);
    let at = |offset: usize| plain.len() + offset;
    let expected = [
        format!("usage.jsonl:{} line 2: ignored", at(1)),
        "  in   ".to_owned(),
        format!("usage.jsonl:{} line 3: refused for m", at(2)),
        "  in   {\"Quantity\":\"x\"}".to_owned(),
        "  why  wrong_type Quantity: byte 12: a number was expected, a string was found".to_owned(),
        format!("usage.jsonl:{} line 4: refused for m", at(20)),
        "  in   no JSON ".to_owned(),
        "  why  invalid_json: byte 0: a value was expected".to_owned(),
        "1 valid, 2 refused, 1 ignored".to_owned(),
    ];
    assert_eq!(printed[3..], expected);
    assert!(!folder.state().exists(), "a store was made");
    let refused = folder.command(&with(&VERIFY, &["--refused", "usage.jsonl"]))?;
    let refused = String::from_utf8(refused.stdout)?;
    let refused: Vec<&str> = refused.lines().collect();
    assert_eq!(refused, printed[5..]);
    Ok(())
}

#[test]
fn files_pipes_and_archives_are_read_and_good_ones_exit_with_0() -> Result {
    let folder = folder("")?;
    let mut archive = GzEncoder::new(File::create(folder.path("a.gz"))?, Compression::fast());
    archive.write_all(lines(0..3).as_bytes())?;
    archive.finish()?;
    std::fs::write(folder.path("b.jsonl"), lines(3..5).trim_end())?;
    let arguments = with(&VERIFY, &["--json", "a.gz", "b.jsonl", "-"]);
    let output = folder.command_with_input(&arguments, lines(5..6).as_bytes())?;
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let documents = documents(&output)?;
    let summary = json!({"summary": {"valid": 6, "refused": 0, "ignored": 0}});
    assert_eq!(documents.last(), Some(&summary));
    let numbers: Vec<_> = documents.iter().filter_map(|one| one["line"].as_u64()).collect();
    assert_eq!(numbers, [1, 2, 3, 1, 2, 1]);
    for (document, number) in documents.iter().zip(0..6) {
        assert_eq!(document["record"], event(number));
        assert_eq!(document["event"], serde_json::from_str::<Value>(&event(number))?);
        assert_eq!((&document["outcome"], &document["meter"]), (&"valid".into(), &"m".into()));
    }
    Ok(())
}

/// A source with everything: a format, a selection, rules and two meters.
const SOURCE: &str = "[meters.other]\nglobal_id = \"g2\"\nevent_id_field = \"EventId\"\n\
    [sources.app]\ntype = \"file\"\npaths = [\"usage*.csv\"]\nformat = \"csv\"\n\
    meter = { from = \"kind\", map = { a = \"m\", b = \"other\" } }\n\
    select = [{ field = \"test\", exists = false }]\n[sources.app.fields]\n\
    CustomerId = { from = \"customer\", trim = true }\nUsageIdentifier = { from = \"file:name\" }\n\
    UsageDate = { from = \"at\", time_format = \"epoch_ms\" }\n\
    Quantity = { from = \"bytes\", unit = { from = \"kB\", to = \"B\" } }\n";

const CSV: &str = "kind,customer,at,bytes,test\na, C-1,1795241651000,1.50,\nb,C-2,1795241652000,2,\n\
    c,C-3,1795241653000,3,\na,C-4,yesterday,4,\nb,,1795241655000,5,\na,C-6,1795241656000,6,yes\n";

#[test]
fn what_is_shown_of_a_source_is_what_is_sent_of_it() -> Result {
    let server = RawServer::start(|_, _| Reply::success())?;
    let folder = Folder::new()?;
    folder.configure(&Config::new(&server.url(), SOURCE))?;
    std::fs::write(folder.path("usage.csv"), CSV)?;
    let source = ["--source", "app", "usage.csv"];
    let shown = folder.command(&with(&["verify", "--json"], &source))?;
    assert_eq!(shown.status.code(), Some(1));
    let documents = documents(&shown)?;
    let found: Vec<_> = documents
        .iter()
        .take(7)
        .map(|one| {
            let reason = one["reason"].as_str().unwrap_or("-");
            let field = one["field"].as_str().unwrap_or("-");
            Ok(format!("{} {} {reason} {field}", text(one, "/outcome")?, text(one, "/meter")?))
        })
        .collect::<Result<_>>()?;
    let expected = [
        "ignored  - -",
        "valid m - -",
        "valid other - -",
        "refused  unknown_meter -",
        "refused m invalid_datetime UsageDate",
        "refused other missing_field CustomerId",
        "ignored  - -",
    ];
    assert_eq!(found, expected);
    assert!(server.requests().is_empty() && !folder.state().exists());

    // The same text from `send`, which then sends the same events under the same ids.
    let verified = folder.command(&with(&["verify"], &source))?;
    let tried = folder.command(&with(&["send", "--dry-run"], &source))?;
    assert_eq!((&tried.stdout, tried.status.code()), (&verified.stdout, Some(1)));
    assert!(server.requests().is_empty() && !folder.state().exists());
    let sent = folder.command(&with(&["send"], &source))?;
    assert_eq!(sent.status.code(), Some(1), "{sent:?}");
    let printed = String::from_utf8(verified.stdout)?;
    let mut events: Vec<_> =
        printed.lines().filter_map(|line| line.strip_prefix("  out  ")).collect();
    let mut bodies = Vec::new();
    for request in server.requests() {
        bodies.push(String::from_utf8(request.payload()?)?);
    }
    bodies.sort();
    events.sort_unstable();
    assert_eq!(bodies, events.iter().map(|event| format!("[{event}]")).collect::<Vec<_>>());
    let letters = folder.dead_letters()?;
    let refused = documents.iter().filter(|one| one["outcome"] == "refused");
    for (letter, one) in letters.iter().zip(refused) {
        for (of_letter, of_one) in [
            ("event", "record"),
            ("position", "position"),
            ("detail", "detail"),
            ("meter", "meter"),
        ] {
            assert_eq!(letter[of_letter], one[of_one]);
        }
    }
    assert_eq!(letters.len(), 3);
    Ok(())
}

#[test]
fn a_limit_ends_a_pipe_that_has_no_end() -> Result {
    let folder = folder(STDIN)?;
    let mut child = folder.child(&with(&VERIFY, &["--limit", "2"]))?;
    let mut input = child.stdin.take().ok_or("no pipe")?;
    input.write_all(lines(0..5).as_bytes())?;
    // Standard input stays open.
    let status = child.wait()?;
    assert_eq!(status.code(), Some(0));
    let output = BufReader::new(child.stdout.take().ok_or("no output")?);
    let last = output.lines().last().ok_or("nothing was printed")??;
    assert_eq!(last, "2 valid, 0 refused, 0 ignored");
    drop(input);
    Ok(())
}

#[test]
fn what_cannot_be_looked_at_is_told() -> Result {
    let folder = folder("")?;
    let of = |arguments: &[&str]| folder.command(arguments);
    assert_eq!(of(&["verify", "--meter", "n", "-"])?.status.code(), Some(78));
    assert_eq!(of(&["verify", "-"])?.status.code(), Some(2));
    assert_eq!(of(&with(&VERIFY, &["--limit", "0", "-"]))?.status.code(), Some(2));
    assert_eq!(
        of(&["send", "--meter", "m", "--dry-run", "--timeout", "1s"])?.status.code(),
        Some(2)
    );
    assert_eq!(of(&with(&VERIFY, &["missing.jsonl"]))?.status.code(), Some(77));
    std::fs::write(folder.path("damaged.gz"), b"\x1f\x8b\x08\0 no archive")?;
    let damaged = of(&with(&VERIFY, &["damaged.gz"]))?;
    assert_ne!(damaged.status.code(), Some(0), "{damaged:?}");
    assert!(String::from_utf8_lossy(&damaged.stderr).contains("damaged.gz"), "{damaged:?}");
    Ok(())
}
