//! What the far end answers, and what becomes of the events.

use std::time::Duration;

use crate::harness::config::STDIN;
use crate::harness::{Config, Folder, RawServer, Reply, Result, Sim, lines, until};

const SUCCESS: (u16, u64) = (200, 1);

/// Ten events against `faults`, which must end by themselves, after so many outcomes that nobody knows; gives
/// the requests by status.
fn deliver_ten(faults: &[&str], unknown: i64) -> Result<Vec<(u16, u64)>> {
    let folder = Folder::new()?;
    let sim = Sim::with_faults(faults)?;
    folder.run_to_end(&Config::new(&sim.url(), STDIN), lines(0..10).as_bytes())?;
    sim.check_exactly_once(10)?;
    assert_eq!(folder.unknown_attempts()?, unknown, "{faults:?}");
    assert_eq!(folder.counted("delivered")?, 10);
    let stats = sim.stats();
    assert_eq!((stats.repeats_altered, stats.repeats_unexplained), (0, 0));
    Ok(stats.requests_by_status.into_iter().collect())
}

#[test]
fn a_server_that_is_ill_is_tried_again_until_it_is_well() -> Result {
    for status in [408, 425, 500, 502, 503, 504, 599] {
        let unknown = if matches!(status, 425 | 503) { 0 } else { 3 };
        let by_status = deliver_ten(&[&format!("status={status}x3")], unknown)?;
        assert_eq!(by_status, [SUCCESS, (status, 3)], "{status}");
    }
    Ok(())
}

#[test]
fn a_code_for_too_many_requests_in_a_success_is_tried_again() -> Result {
    assert_eq!(deliver_ten(&["no-successx2"], 0)?, [(200, 3)]);
    Ok(())
}

#[test]
fn a_success_that_is_none_for_an_unknown_reason_is_tried_again_before_a_person_is_needed() -> Result
{
    assert_eq!(deliver_ten(&["no-success,code=12345x4"], 0)?, [(200, 5)]);
    Ok(())
}

#[test]
fn a_duplicate_is_delivered_and_marked() -> Result {
    let refusal =
        r#"{"errors":[{"code":"70001204","message":"Duplicate event."}],"success":false}"#;
    let success = r#"{"success":true,"reasons":[{"code":70001204,"message":"Duplicate event."}]}"#;
    for (status, body, is_duplicate) in [
        ("400 Bad Request", refusal, true),
        ("409 Conflict", refusal, true),
        ("200 OK", refusal, true),
        ("200 OK", success, true),
        ("200 OK", "{}", false),
    ] {
        let folder = Folder::new()?;
        let server = RawServer::start(move |_, _| Reply::answer(status, "", body))?;
        folder.run_to_end(&Config::new(&server.url(), STDIN), lines(0..10).as_bytes())?;
        assert_eq!(server.requests().len(), 1, "{status}");
        assert_eq!(folder.counted("delivered")?, 10);
        let receipts = folder.receipts()?;
        let [receipt] = receipts.as_slice() else {
            return Err(format!("{status}: {} receipts", receipts.len()).into());
        };
        assert_eq!(receipt["duplicate"], is_duplicate, "{status}");
        for command in [["receipts", "list"].as_slice(), &["receipts", "show", "1"]] {
            let shown = String::from_utf8(folder.command(command)?.stdout)?;
            let code = status.split(' ').next().unwrap_or_default();
            assert_eq!(shown.contains(&format!("{code} duplicate")), is_duplicate, "{shown}");
        }
    }
    Ok(())
}

#[test]
fn retry_after_is_obeyed_as_seconds_and_as_a_reset_of_the_rate() -> Result {
    for header in ["Retry-After: 1\r\n", "ratelimit-remaining: 0\r\nratelimit-reset: 1\r\n"] {
        for status in ["429 Too Many Requests", "503 Service Unavailable"] {
            let folder = Folder::new()?;
            let server = RawServer::start(move |number, _| match number {
                0 => Reply::answer(status, header, ""),
                _ => Reply::success(),
            })?;
            folder.run_to_end(&Config::new(&server.url(), STDIN), lines(0..10).as_bytes())?;
            let requests = server.requests();
            let [first, second] = requests.as_slice() else {
                return Err(format!("{} requests", requests.len()).into());
            };
            let between = second.at - first.at;
            assert!(between >= Duration::from_secs(1), "{header} {status} {between:?}");
            assert_eq!(first.body, second.body);
        }
    }
    Ok(())
}

#[test]
fn what_the_server_asks_for_is_capped() -> Result {
    let folder = Folder::new()?;
    let sim = Sim::with_faults(&["status=429,retry-after=86400x1"])?;
    let mut config = Config::new(&sim.url(), STDIN);
    config.delivery += "\nretry_after_max = \"300ms\"";
    folder.run_to_end(&config, lines(0..10).as_bytes())?;
    sim.check_exactly_once(10)
}

#[test]
fn an_answer_that_only_a_person_can_change_holds_the_meter_and_drops_nothing() -> Result {
    for (fault, said) in [
        ("status=400,code=70002003", "70002003"),
        ("status=403", "70002006"),
        ("status=404", "/usage/bulk/{meter}"),
        ("status=302", "redirect"),
        ("status=422", "422"),
        ("no-success,code=70002006", "70002006"),
        ("no-success,code=12345", "5 refusals without a known reason, the last one: 200"),
    ] {
        let folder = Folder::new()?;
        let sim = Sim::with_faults(&[fault])?;
        folder.configure(&Config::new(&sim.url(), STDIN))?;
        let mut agent = folder.start_with_pipe()?;
        agent.write(lines(0..10).as_bytes())?;
        let reason = folder.wait_state("held")?;
        assert!(reason.contains(said), "{fault}: {reason}");
        // It is tried again, slowly, and nothing is given up.
        sim.wait_requests(2)?;
        assert_eq!(folder.counted("stored")?, 10);
        assert_eq!(folder.counted("dead_lettered")?, 0);
        let log = agent.log()?;
        assert_eq!(log.matches("meter held: a person is needed").count(), 1, "{log}");
        sim.replace_faults(&[])?;
        folder.wait_state("running")?;
        folder.wait_counted("delivered", 10)?;
        agent.stop()?;
        sim.check_exactly_once(10)?;
    }
    Ok(())
}

#[test]
fn answers_of_any_form_do_no_harm() -> Result {
    let bodies = [
        String::new(),
        "<html>200</html>".to_owned(),
        "{\"success\":tr".to_owned(),
        "[".repeat(50_000),
        "x".repeat(3_000_000),
        "\u{0}\u{1}\u{7f}".to_owned(),
    ];
    for body in bodies {
        let (ill, well) = (body.clone(), body.clone());
        let folder = Folder::new()?;
        let server = RawServer::start(move |number, _| match number {
            0 => Reply::answer("503 Service Unavailable", "", &ill),
            _ => Reply::answer("200 OK", "", &well),
        })?;
        folder.run_to_end(&Config::new(&server.url(), STDIN), lines(0..10).as_bytes())?;
        assert_eq!(server.requests().len(), 2, "{}", body.get(..20).unwrap_or(&body));
        assert_eq!(folder.counted("delivered")?, 10);
    }
    Ok(())
}

#[test]
fn a_held_meter_does_not_delay_another() -> Result {
    let folder = Folder::new()?;
    let sim = Sim::with_faults(&["status=404@g1"])?;
    let other = "[meters.other]\nglobal_id = \"g2\"\n\
                 [sources.net]\ntype = \"tcp\"\nmeter = \"other\"\nlisten = \"127.0.0.1:0\"\n";
    folder.configure(&Config::new(&sim.url(), format!("{STDIN}{other}")))?;
    let mut agent = folder.start_with_pipe()?;
    agent.write(lines(0..10).as_bytes())?;
    folder.wait_state("held")?;
    let mut stream = std::net::TcpStream::connect(agent.tcp_address()?)?;
    std::io::Write::write_all(&mut stream, lines(10..20).as_bytes())?;
    until("the other meter", || {
        Ok(sim.stats().meters.get("g2").filter(|meter| meter.distinct_ids == 10).map(|_| ()))
    })?;
    sim.replace_faults(&[])?;
    folder.wait_counted("delivered", 20)?;
    agent.stop()
}
