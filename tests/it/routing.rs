//! One source whose records name their meters: each event reaches its own, whatever becomes of the
//! others, and the account is settled together.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::Value;

use crate::harness::chaos::Act;
use crate::harness::seed::seed;
use crate::harness::{Chaos, Config, Folder, RawServer, Reply, Result, event, pause, text, until};

/// Two meters beside the one that every test has.
const METERS: &str = "[meters.second]\nglobal_id = \"g2\"\nevent_id_field = \"EventId\"\n\
    [meters.third]\nglobal_id = \"g3\"\nevent_id_field = \"EventId\"\n";

/// The kinds of events, each with the global id of its meter.
const KINDS: [(&str, &str); 3] = [("api", "g1"), ("storage", "g2"), ("traffic", "g3")];

const MAP: &str = "map = { api = \"m\", storage = \"second\", traffic = \"third\" }";

/// Neither in turn nor in equal shares.
fn kind(number: u64) -> (&'static str, &'static str) {
    KINDS[usize::from(number % 7 > 3) + usize::from(number.is_multiple_of(11))]
}

/// Event `number`, which says of which kind it is.
fn named(number: u64) -> String {
    event(number).replacen('{', &format!("{{\"Kind\":\"{}\",", kind(number).0), 1)
}

fn named_lines(numbers: std::ops::Range<u64>) -> String {
    numbers.map(|number| named(number) + "\n").collect()
}

/// How many of `numbers` are for this meter.
fn count_of(meter: &str, numbers: std::ops::Range<u64>) -> Result<i64> {
    Ok(i64::try_from(numbers.filter(|number| kind(*number).1 == meter).count())?)
}

fn pipe(meter: &str) -> String {
    format!("{METERS}[sources.pipe]\ntype = \"stdin\"\nmeter = {meter}\n")
}

fn file(path: &Path) -> String {
    let path = path.display();
    format!(
        "{METERS}[sources.app]\ntype = \"file\"\nmeter = {{ from = \"Kind\", {MAP} }}\n\
         paths = [\"{path}\"]\npoll_interval = \"100ms\"\n"
    )
}

/// Events, by the last part of the path that they were sent to.
type Sent = BTreeMap<String, Vec<Value>>;

fn sent(server: &RawServer) -> Result<Sent> {
    let mut sent = Sent::new();
    for request in server.requests() {
        let path = request.line.split(' ').nth(1).unwrap_or_default();
        let meter = path.rsplit('/').next().unwrap_or_default().to_owned();
        let events: Vec<Value> = serde_json::from_slice(&request.payload()?)?;
        sent.entry(meter).or_default().extend(events);
    }
    Ok(sent)
}

/// Runs standard input to its end: what each meter got, and its dead letters as `meter reason`.
fn run(source: &str, input: &str) -> Result<(Sent, Vec<String>)> {
    let folder = Folder::new()?;
    let server = RawServer::start(|_, _| Reply::success())?;
    folder.run_to_end(&Config::new(&server.url(), source), input.as_bytes())?;
    let shown = |one: Value| Ok(format!("{} {}", text(&one, "/meter")?, text(&one, "/reason")?));
    let letters = folder.dead_letters()?.into_iter().map(shown).collect::<Result<_>>()?;
    Ok((sent(&server)?, letters))
}

fn quantities(events: &[Value]) -> Vec<Option<u64>> {
    events.iter().map(|event| event["Quantity"].as_u64()).collect()
}

#[test]
fn records_go_to_the_meter_that_they_name_or_to_the_default_or_nowhere() -> Result {
    let line = |start: &str| {
        let rest = "\"CustomerId\":\"C\",\"UsageIdentifier\":\"u\",\"UsageDate\":\"2026-11-21\"";
        format!("{{{start},{rest}}}\n")
    };
    let input = [
        line("\"Quantity\":1,\"Kind\":{\"is\":\"api\"}"),
        line("\"Quantity\":2,\"Kind\":{\"is\":\"storage\"}"),
        line("\"Quantity\":3,\"Kind\":{\"is\":\"other\"}"),
        line("\"Quantity\":\"4\",\"Kind\":{\"is\":\"storage\"}"),
        line("\"Quantity\":5"),
    ]
    .concat();
    let (sent, letters) = run(&pipe(&format!("{{ from = \"/Kind/is\", {MAP} }}")), &input)?;
    assert_eq!(quantities(&sent["g1"]), [Some(1)]);
    assert_eq!(quantities(&sent["g2"]), [Some(2)]);
    assert_eq!(letters, [" unknown_meter", "second wrong_type", " unknown_meter"]);
    let default = format!("{{ from = \"/Kind/is\", {MAP}, default = \"third\" }}");
    let (sent, letters) = run(&pipe(&default), &input)?;
    assert_eq!(quantities(&sent["g3"]), [Some(3), Some(5)]);
    assert_eq!(letters, ["second wrong_type"]);
    Ok(())
}

#[test]
fn rules_make_of_each_record_what_its_meter_wants() -> Result {
    let keys = "format = \"csv\"\n[[meters.third.schema.fields]]\nname = \"Customer\"\n\
        type = \"string\"\nrequired = true\n[[meters.third.schema.fields]]\nname = \"Quantity\"\n\
        type = \"string\"\n[sources.pipe.fields]\nCustomer = { from = \"c\" }\n\
        CustomerId = { from = \"c\" }\nUsageIdentifier = { value = \"u\" }\n\
        UsageDate = { value = \"2026-11-21\" }\nQuantity = { from = \"q\" }\n";
    let input = "meter,c,q\nm,a,1.50\nthird,b,2.50\nfourth,b,2.50\nthird,,1\n";
    let (sent, letters) = run(&(pipe("{ from = \"meter\" }") + keys), input)?;
    let [of_m] = sent["g1"].as_slice() else { return Err("one event of g1".into()) };
    let [of_third] = sent["g3"].as_slice() else { return Err("one event of g3".into()) };
    assert_eq!((&of_m["CustomerId"], of_m.get("Customer")), (&"a".into(), None));
    assert_eq!((&of_third["Customer"], &of_third["Quantity"]), (&"b".into(), &"2.50".into()));
    assert_eq!(of_third.get("CustomerId"), None);
    assert_eq!(letters, [" unknown_meter", "third missing_field"]);
    Ok(())
}

/// One meter is refused, one is slow and one flows, and the agent is killed at random: in the end
/// each event was taken once, by its own meter.
#[test]
fn a_killed_agent_carries_each_line_of_a_file_to_its_own_meter_once() -> Result {
    const KILLS: u32 = 12;
    let seed = seed()?;
    let mut random = fastrand::Rng::with_seed(seed);
    let folder = Folder::new()?;
    let is_well = Arc::new(AtomicBool::new(false));
    let well = Arc::clone(&is_well);
    let chaos = Chaos::start(seed, move |coming| match coming?.meter {
        "g1" => Some(Act::success_after(Duration::from_millis(5))),
        "g2" if !well.load(Ordering::Relaxed) => Some(Act::status(403)),
        _ => None,
    })?;
    let path = folder.path("mixed.jsonl");
    let mut log = OpenOptions::new().create(true).append(true).open(&path)?;
    folder.configure(&Config {
        limits: "events_per_request_max = 50\nrequests_per_minute = 1_000_000".to_owned(),
        ..Config::new(&chaos.url(), file(&path))
    })?;
    let mut written = 0;
    for _ in 0..KILLS {
        let mut agent = folder.spawn()?;
        for _ in 0..random.u32(1..6) {
            let end = written + random.u64(1..400);
            log.write_all(named_lines(written..end).as_bytes())?;
            written = end;
            pause(Duration::from_millis(random.u64(1..80)));
        }
        agent.kill()?;
    }
    log.write_all(named_lines(written..written + 300).as_bytes())?;
    let count = written + 300;
    let mut agent = folder.start()?;
    let refused = count_of("g2", 0..count)?;
    // All but the events of the meter that is refused flow.
    folder.wait_counted("delivered", count.cast_signed() - refused)?;
    assert_eq!(folder.wait_counted("stored", refused)?["meters"]["second"]["stored"], refused);
    is_well.store(true, Ordering::Relaxed);
    folder.wait_counted("delivered", count.cast_signed())?;
    agent.stop()?;
    assert_eq!(folder.counted("read")?, count.cast_signed());
    let books = chaos.books();
    books.check_complete(count)?;
    assert!(books.accepted().values().all(|times| *times == 1), "an event was taken twice");
    for entry in &books.entries {
        let astray = entry.events.iter().find(|number| kind(**number).1 != entry.meter);
        assert_eq!(astray, None, "at {}", entry.meter);
    }
    Ok(())
}

#[test]
fn a_file_is_not_removed_while_one_of_its_meters_is_refused() -> Result {
    let folder = Folder::new()?;
    let is_well = Arc::new(AtomicBool::new(false));
    let well = Arc::clone(&is_well);
    let chaos = Chaos::start(0, move |coming| {
        let is_refused = coming?.meter == "g2" && !well.load(Ordering::Relaxed);
        is_refused.then_some(Act::status(403))
    })?;
    let path = folder.path("mixed.jsonl");
    std::fs::write(&path, named_lines(0..100))?;
    folder.configure(&Config::new(&chaos.url(), file(&path) + "remove_after = \"1s\"\n"))?;
    let mut agent = folder.start()?;
    folder.wait_counted("delivered", 100 - count_of("g2", 0..100)?)?;
    // The time after which it may be removed has come several times.
    let tries = || chaos.books().entries.iter().filter(|entry| entry.meter == "g2").count();
    until("ten tries", || Ok((tries() >= 10).then_some(())))?;
    assert!(path.exists());
    is_well.store(true, Ordering::Relaxed);
    until("the file to be removed", || Ok((!path.exists()).then_some(())))?;
    assert_eq!(folder.counted("delivered")?, 100);
    agent.stop()
}

#[test]
fn a_letter_of_no_meter_finds_its_own_once_the_source_knows_it() -> Result {
    let folder = Folder::new()?;
    let server = RawServer::start(|_, _| Reply::success())?;
    let config =
        |map: &str| Config::new(&server.url(), pipe(&format!("{{ from = \"Kind\", {map} }}")));
    folder.run_to_end(&config("map = { api = \"m\" }"), named_lines(0..40).as_bytes())?;
    let letters = folder.dead_letters()?;
    let unrouted = 40 - count_of("g1", 0..40)?;
    assert_eq!(i64::try_from(letters.len())?, unrouted);
    assert!(letters.iter().all(|letter| letter["meter"] == ""), "{letters:?}");
    let status = folder.status()?;
    assert_eq!(status["sources"]["pipe"]["dead_lettered"], unrouted);
    assert_eq!(status["meters"].get(""), None, "{status}");
    // As long as nothing has changed they stay.
    assert_eq!(folder.command(&["dead-letters", "replay", "--all"])?.status.code(), Some(1));
    folder.configure(&config(MAP))?;
    let replayed = folder.command(&["dead-letters", "replay", "--all"])?;
    assert!(replayed.status.success(), "{replayed:?}");
    folder.run_to_end(&config(MAP), b"")?;
    assert_eq!(folder.counted("delivered")?, 40);
    assert_eq!(folder.counted("dead_lettered")?, 0);
    for (meter, events) in sent(&server)? {
        let ids: Vec<_> = events.iter().filter_map(|event| event["EventId"].as_str()).collect();
        let wanted = (0..40).filter(|number| kind(*number).1 == meter);
        let wanted: Vec<_> = wanted.map(crate::harness::event_id).collect();
        assert_eq!(ids, wanted, "{meter}");
    }
    Ok(())
}
