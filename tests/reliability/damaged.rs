//! A store that the disk has damaged: it is said, nothing is lost that could be read, and what is
//! missing is counted.

use std::fs;
use std::path::Path;

use crate::harness::config::file;
use crate::harness::events::bulky_event;
use crate::harness::sim::ReservedPort;
use crate::harness::{Config, Folder, Result, Sim, number, text};

const PAGE_BYTES: usize = 16_384;

/// Overwrites a page that holds a part of a body, and nothing else.
fn damage(database: &Path) -> Result {
    let mut bytes = fs::read(database)?;
    // The second page of a chain: its first four bytes are the number of the next page.
    let pages = 3..bytes.len() / PAGE_BYTES;
    let is_middle = |page: &usize| {
        let head = bytes.get(page * PAGE_BYTES..page * PAGE_BYTES + 4);
        head.and_then(|head| <[u8; 4]>::try_from(head).ok()).map(u32::from_be_bytes)
            == u32::try_from(*page + 2).ok()
    };
    let page = pages.clone().find(is_middle).ok_or("no body has three pages")?;
    bytes[page * PAGE_BYTES..][..PAGE_BYTES].fill(0x5a);
    Ok(fs::write(database, bytes)?)
}

#[test]
fn what_a_damaged_store_still_holds_is_delivered_and_the_rest_is_counted() -> Result {
    const EVENTS: u64 = 400;
    let folder = Folder::new()?;
    let port = ReservedPort::new()?;
    let path = folder.path("usage.jsonl");
    let lines: String = (0..EVENTS).map(|number| bulky_event(number, 1500) + "\n").collect();
    fs::write(&path, lines)?;
    let limits = "payload_bytes_max = \"128KiB\"".to_owned();
    folder.configure(&Config { limits, ..Config::new(&port.url(), file(&path)) })?;
    let mut agent = folder.start()?;
    folder.wait_counted("stored", EVENTS.cast_signed())?;
    agent.stop()?;

    assert_eq!(folder.command(&["store", "check"])?.status.code(), Some(0));
    damage(&folder.state().join("meterd.db"))?;
    let output = folder.command(&["store", "check", "--json"])?;
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8(output.stderr)?.contains("meterd store salvage"));
    let faults: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    assert!(text(&faults, "/faults/0")?.len() > 10, "{faults}");

    let output = folder.command(&["store", "salvage", "new", "--json"])?;
    assert_eq!(output.status.code(), Some(1));
    let salvage: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    let lost = number(&salvage, "/missing/0/events")?;
    assert!(lost > 0 && lost < EVENTS.cast_signed() / 2, "{salvage}");
    assert_eq!(text(&salvage, "/missing/0/meter")?, "m");

    fs::rename(folder.state(), folder.path("damaged"))?;
    fs::rename(folder.path("new"), folder.state())?;
    let sim = Sim::on(port)?;
    let mut agent = folder.start()?;
    folder.wait_counted("delivered", EVENTS.cast_signed() - lost)?;
    agent.stop()?;
    let status = folder.status()?;
    assert_eq!(number(&status, "/equation/discarded")?, lost, "{status}");
    let events = sim.events();
    assert_eq!(events.len() as u64, EVENTS - lost.cast_unsigned());
    assert!(events.values().all(|times| *times == 1));
    Ok(())
}
