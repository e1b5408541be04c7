//! The log at level debug: what became of one batch, by its track id.

use serde_json::Value;

use crate::harness::agent::Input;
use crate::harness::config::STDIN;
use crate::harness::{Agent, Config, Folder, Result, Sim, event, number, text};

const STORED: &str = "a batch is being stored";
const SENT: &str = "a batch is sent";
const ENDED: &str = "a request came to its end";
const RECORDED: &str = "an attempt is on record";
const GONE: &str = "a refused batch has gone";
const DELIVERED: &str = "the receipt of a batch is stored";

/// What is logged of one batch: its messages in their order.
fn trace(records: &[Value], track_id: &str) -> Vec<String> {
    let is_its = |record: &&Value| record.get("track_id").is_some_and(|id| id == track_id);
    let message = |record: &Value| text(record, "/message").unwrap_or_default().to_owned();
    records.iter().filter(is_its).map(message).collect()
}

#[test]
fn one_batch_is_followed_by_its_track_id_from_the_store_to_its_last_parts() -> Result {
    let folder = Folder::new()?;
    // The refused batch takes one of them, though it is answered; the first half takes the other.
    let sim = Sim::with_faults(&["reset-afterx2"])?;
    let limits = "requests_in_flight_max = 1".to_owned();
    folder.configure(&Config { limits, ..Config::new(&sim.url(), STDIN) })?;
    let environment = [("METERD__LOG__LEVEL", "debug")];
    let mut agent =
        Agent::spawn_with(&folder.config(), folder.as_ref(), Input::Pipe, &environment)?;
    agent.wait_ready()?;
    // Good here and wrong at the simulator, which takes no numbers as times.
    let good = event(1);
    let (before, rest) = good.split_once("\"UsageDate\":\"").ok_or("no time")?;
    let (_, after) = rest.split_once('"').ok_or("no end of the time")?;
    let poison = format!("{before}\"UsageDate\":1763705651123{after}");
    agent.write(format!("{}\n{poison}\n", event(0)).as_bytes())?;
    agent.close_stdin();
    agent.wait_success()?;

    let log = agent.log()?;
    let records: Vec<Value> =
        log.lines().map(serde_json::from_str).collect::<std::result::Result<_, _>>()?;
    let stored = agent.all_logged(STORED)?;
    let [batch, halves @ ..] = stored.as_slice() else { return Err("nothing is stored".into()) };
    let track_id = text(batch, "/track_id")?;
    assert_eq!(trace(&records, track_id), [STORED, SENT, ENDED, GONE]);
    // Its halves name it: one is lost on its way once, and one is refused again.
    let [good, wrong] = halves else { return Err("not two halves".into()) };
    for half in [good, wrong] {
        assert_eq!(text(half, "/instead_of")?, track_id);
    }
    let good = text(good, "/track_id")?;
    assert_eq!(trace(&records, good), [STORED, SENT, ENDED, RECORDED, SENT, ENDED, DELIVERED]);
    assert_eq!(trace(&records, text(wrong, "/track_id")?), [STORED, SENT, ENDED, GONE]);
    let ends = agent.all_logged(ENDED)?;
    let outcomes = ends.iter().filter(|end| end["track_id"] == good).map(|end| &end["outcome"]);
    assert_eq!(outcomes.collect::<Vec<_>>(), ["unknown", "delivered"]);
    let [receipt] = folder.receipts()?.try_into().map_err(|_| "not one receipt")?;
    assert_eq!(good, text(&receipt, "/track_id")?);
    assert_eq!(number(&folder.status()?, "/equation/dead_lettered")?, 1);
    // Nothing of an event is in it.
    assert!(!log.contains("1763705651123"));
    Ok(())
}
