//! Tokens: one for many requests, a new one when it is refused, and a hold when none helps.

use meterd::simulator::Settings;

use crate::harness::config::STDIN;
use crate::harness::{Config, Folder, RawServer, Reply, Result, Sim, lines};

const AUTH: &str = "client_id = \"agent\"\nclient_secret = \"hush-hush\"";

fn sim(faults: &[&str]) -> Result<Sim> {
    let credentials = Some(("agent".to_owned(), "hush-hush".to_owned()));
    let sim = Sim::with_settings(Settings { credentials, ..Settings::default() })?;
    sim.replace_faults(faults)?;
    Ok(sim)
}

fn config(url: &str) -> Config {
    Config { auth: AUTH.to_owned(), ..Config::new(url, STDIN) }
}

#[test]
fn one_token_serves_many_requests() -> Result {
    let folder = Folder::new()?;
    let sim = sim(&[])?;
    let config = Config { limits: "events_per_request_max = 10".to_owned(), ..config(&sim.url()) };
    folder.run_to_end(&config, lines(0..500).as_bytes())?;
    sim.check_exactly_once(500)?;
    let stats = sim.stats();
    // A slow writer makes some groups smaller than they may be.
    assert!(stats.requests_accepted >= 50, "{}", stats.requests_accepted);
    assert_eq!(stats.token_calls, 1);
    Ok(())
}

#[test]
fn a_token_that_is_refused_is_renewed_once() -> Result {
    let folder = Folder::new()?;
    let sim = sim(&["unauthorizedx1"])?;
    folder.run_to_end(&config(&sim.url()), lines(0..10).as_bytes())?;
    sim.check_exactly_once(10)?;
    assert_eq!(sim.stats().token_calls, 2);
    assert_eq!(folder.unknown_attempts()?, 0);
    Ok(())
}

#[test]
fn a_token_endpoint_that_is_ill_is_tried_again() -> Result {
    let folder = Folder::new()?;
    let sim = sim(&["token-status=500x2", "token-status=429x1"])?;
    folder.run_to_end(&config(&sim.url()), lines(0..10).as_bytes())?;
    sim.check_exactly_once(10)?;
    assert_eq!(sim.stats().token_calls, 4);
    Ok(())
}

#[test]
fn tokens_that_are_never_accepted_hold_the_meter_until_they_are() -> Result {
    let folder = Folder::new()?;
    let sim = sim(&["unauthorized"])?;
    folder.configure(&config(&sim.url()))?;
    let mut agent = folder.start_with_pipe()?;
    agent.write(lines(0..10).as_bytes())?;
    let reason = folder.wait_state("held")?;
    assert!(reason.contains("401") && reason.contains("token"), "{reason}");
    assert_eq!(folder.counted("stored")?, 10);
    sim.replace_faults(&[])?;
    folder.wait_counted("delivered", 10)?;
    folder.wait_state("running")?;
    agent.stop()?;
    sim.check_exactly_once(10)?;
    assert!(!agent.log()?.contains("hush-hush"));
    Ok(())
}

#[test]
fn wrong_credentials_hold_the_meter_and_say_so() -> Result {
    let folder = Folder::new()?;
    let sim = sim(&[])?;
    let mut config = config(&sim.url());
    config.auth = AUTH.replace("hush-hush", "wrong-one");
    folder.configure(&config)?;
    let mut agent = folder.start_with_pipe()?;
    agent.write(lines(0..10).as_bytes())?;
    let reason = folder.wait_state("held")?;
    assert!(reason.contains("client_secret"), "{reason}");
    assert!(!reason.contains("wrong-one"), "{reason}");
    agent.stop()?;
    assert_eq!(sim.stats().requests, 0);
    assert_eq!(folder.counted("stored")?, 10);
    Ok(())
}

#[test]
fn the_token_goes_with_every_request_and_into_no_log() -> Result {
    let folder = Folder::new()?;
    let server = RawServer::start(|_, request| {
        if request.line.contains("/oauth/token") {
            let token = r#"{"access_token":"t0ken-of-a-test","expires_in":"3599"}"#;
            Reply::answer("200 OK", "content-type: application/json\r\n", token)
        } else {
            Reply::success()
        }
    })?;
    let agent = folder.run_to_end(&config(&server.url()), lines(0..10).as_bytes())?;
    let requests = server.requests();
    let [asked, sent] = requests.as_slice() else { return Err("not two requests".into()) };
    assert_eq!(asked.line, "POST /oauth/token HTTP/1.1");
    assert_eq!(asked.header("content-type"), Some("application/x-www-form-urlencoded"));
    let form = String::from_utf8(asked.body.clone())?;
    assert_eq!(form, "client_id=agent&client_secret=hush-hush&grant_type=client_credentials");
    assert_eq!(sent.header("authorization"), Some("Bearer t0ken-of-a-test"));
    let log = agent.log()?;
    assert!(!log.contains("t0ken-of-a-test") && !log.contains("hush-hush"), "{log}");
    Ok(())
}
