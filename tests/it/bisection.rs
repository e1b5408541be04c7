//! Batches that are refused: the wrong events are found, all others are delivered.

use crate::harness::config::STDIN;
use crate::harness::{
    Config, Folder, RawServer, Reply, Request, Result, Sim, event, lines, number,
};

/// An event that is good here and wrong at the simulator, which takes no numbers as times.
fn poison(sequence: u64) -> String {
    let good = event(sequence);
    let (before, rest) = good.split_once("\"UsageDate\":\"").unwrap_or((&good, ""));
    let (_, after) = rest.split_once('"').unwrap_or_default();
    format!("{before}\"UsageDate\":1763705651123{after}")
}

/// `count` events, of which those in `wrong` are poison.
fn mixed(count: u64, wrong: &[u64]) -> String {
    let line = |sequence| {
        let event = if wrong.contains(&sequence) { poison(sequence) } else { event(sequence) };
        event + "\n"
    };
    (0..count).map(line).collect()
}

#[test]
fn ten_poison_events_among_a_hundred_thousand_are_found_and_the_others_delivered() -> Result {
    const WRONG: [u64; 10] = [0, 1, 9_999, 10_000, 33_333, 50_000, 50_001, 77_777, 88_888, 99_999];
    let folder = Folder::new()?;
    let sim = Sim::with_faults(&[])?;
    folder.run_to_end(&Config::new(&sim.url(), STDIN), mixed(100_000, &WRONG).as_bytes())?;
    let stats = sim.stats();
    assert_eq!((stats.distinct_ids, stats.duplicated_ids), (99_990, 0));
    assert!(stats.requests < 250, "{} requests", stats.requests);
    let letters = folder.dead_letters()?;
    assert_eq!(letters.len(), WRONG.len());
    for letter in &letters {
        assert_eq!(letter["reason"], "refused", "{letter}");
        assert_eq!(letter["code"], "70000000", "{letter}");
        assert_eq!(letter["source"], "pipe", "{letter}");
        let detail = letter["detail"].as_str().unwrap_or_default();
        assert!(detail.starts_with("Mediation: ") && detail.contains("UsageDate"), "{letter}");
        let text = letter["event"].as_str().unwrap_or_default();
        assert!(WRONG.iter().any(|wrong| text == poison(*wrong)), "{text}");
    }
    let status = folder.status()?;
    assert_eq!(number(&status, "/equation/delivered")?, 99_990);
    assert_eq!(number(&status, "/sources/pipe/dead_lettered")?, 10);
    Ok(())
}

#[test]
fn a_wrong_set_up_is_not_cut() -> Result {
    for code in ["70002001", "70002004", "70002103", "70009999"] {
        let folder = Folder::new()?;
        let sim = Sim::with_faults(&[&format!("status=400,code={code}")])?;
        folder.configure(&Config::new(&sim.url(), STDIN))?;
        let mut agent = folder.start_with_pipe()?;
        agent.write(lines(0..10).as_bytes())?;
        let reason = folder.wait_state("held")?;
        assert!(reason.contains(code), "{reason}");
        agent.stop()?;
        assert_eq!(folder.dead_letters()?, Vec::<serde_json::Value>::new());
        assert_eq!(folder.counted("stored")?, 10);
    }
    Ok(())
}

#[test]
fn a_server_that_refuses_everything_does_not_get_the_backlog_into_the_dead_letters() -> Result {
    let folder = Folder::new()?;
    let server = RawServer::start(|_, _| Reply::answer("400 Bad Request", "", "<html>no</html>"))?;
    folder.configure(&Config {
        delivery: "backoff_base = \"50ms\"\nbackoff_max = \"200ms\"\nhold_interval = \"1h\"".into(),
        ..Config::new(&server.url(), STDIN)
    })?;
    let mut agent = folder.start_with_pipe()?;
    agent.write(lines(0..1000).as_bytes())?;
    let reason = folder.wait_state("held")?;
    assert!(reason.contains("in a row were refused"), "{reason}");
    agent.stop()?;
    let refused = folder.dead_letters()?.len();
    // Those that were under way at that moment come on top.
    assert!((20..=28).contains(&refused), "{refused}");
    Ok(())
}

#[test]
fn a_payload_that_is_too_large_is_halved_and_the_limit_is_remembered() -> Result {
    const LIMIT: usize = 40_000;
    let folder = Folder::new()?;
    let server = RawServer::start(|_, request: &Request| {
        let size = request.payload().map_or(usize::MAX, |payload| payload.len());
        if size > LIMIT {
            Reply::answer("413 Payload Too Large", "", r#"{"message":"Payload too large."}"#)
        } else {
            Reply::success()
        }
    })?;
    // Small groups of lines at first, so that there is something to remember the limit for.
    folder.configure(&Config::new(&server.url(), STDIN))?;
    let mut agent = folder.start_with_pipe()?;
    agent.write(lines(0..2000).as_bytes())?;
    folder.wait_counted("delivered", 2000)?;
    let before = server.requests().len();
    agent.write(lines(2000..4000).as_bytes())?;
    agent.close_stdin();
    agent.wait_success()?;
    assert_eq!(folder.counted("delivered")?, 4000);
    assert_eq!(folder.dead_letters()?, Vec::<serde_json::Value>::new());
    let refused = |requests: &[Request]| -> Result<usize> {
        let sizes = requests.iter().map(|request| Ok(request.payload()?.len()));
        Ok(sizes.collect::<Result<Vec<_>>>()?.into_iter().filter(|size| *size > LIMIT).count())
    };
    let requests = server.requests();
    let (first, second) = requests.split_at(before);
    assert!(refused(first)? >= 3, "{} requests", first.len());
    assert!(refused(second)? <= 2, "{} of {}", refused(second)?, second.len());
    Ok(())
}

#[test]
fn an_event_that_alone_is_too_large_is_a_dead_letter() -> Result {
    let folder = Folder::new()?;
    let server = RawServer::start(|_, request: &Request| {
        let payload = String::from_utf8(request.payload().unwrap_or_default()).unwrap_or_default();
        if payload.contains("LARGE") {
            Reply::answer("413 Payload Too Large", "", r#"{"message":"Payload too large."}"#)
        } else {
            Reply::success()
        }
    })?;
    let large = event(3).replacen('{', "{\"Note\":\"LARGE\",", 1) + "\n";
    let input = [lines(0..3), large, lines(4..10)].concat();
    folder.run_to_end(&Config::new(&server.url(), STDIN), input.as_bytes())?;
    let letters = folder.dead_letters()?;
    let reasons: Vec<_> = letters.iter().map(|letter| letter["reason"].as_str()).collect();
    assert_eq!(reasons, [Some("event_too_large")]);
    assert_eq!(folder.counted("delivered")?, 9);
    Ok(())
}
