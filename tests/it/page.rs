//! The status page, in a browser; and what it asks for, over a bare socket.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::harness::browser::Look;
use crate::harness::client::{HttpAnswer, Post, read_answer};
use crate::harness::config::{STDIN, TCP};
use crate::harness::{Agent, Browser, Config, Folder, Result, Sim, event, lines, text, until};

const DESK: Look = Look { width: 1180, height: 900, is_dark: false };
const PHONE: Look = Look { width: 360, height: 740, is_dark: true };

/// A configuration with the page on a free port.
fn config(sim: &Sim) -> Config {
    let admin = "listen = \"127.0.0.1:0\"".to_owned();
    Config { admin, ..Config::new(&sim.url(), format!("{STDIN}{TCP}")) }
}

/// The same, with an admin token.
fn with_token(folder: &Folder, sim: &Sim) -> Result<Config> {
    std::fs::write(folder.path("token"), "right\n")?;
    let admin = "listen = \"127.0.0.1:0\"\ntoken_file = \"token\"".to_owned();
    Ok(Config { admin, ..config(sim) })
}

fn get(address: SocketAddr, path: &str, headers: &str) -> Result<HttpAnswer> {
    let mut stream = TcpStream::connect(address)?;
    stream.write_all(format!("GET {path} HTTP/1.0\r\n{headers}\r\n").as_bytes())?;
    read_answer(&mut stream)
}

fn local(address: SocketAddr) -> String {
    format!("Host: {address}\r\n")
}

/// Waits until something in the page says something.
fn wait_says(browser: &Browser, selector: &str, words: &str) -> Result {
    let (selector, words) = (json!(selector), json!(words));
    browser.wait(&format!("document.querySelector({selector})?.textContent.includes({words})"))
}

fn no_complaints(browser: &Browser) -> Result {
    assert_eq!(browser.console()?, Vec::<String>::new());
    Ok(())
}

#[test]
fn the_page_tells_what_happens_while_it_happens() -> Result {
    let Some(browser) = Browser::start()? else { return Ok(()) };
    let (folder, sim) = (Folder::new()?, Sim::start()?);
    folder.configure(&config(&sim))?;
    let mut agent = folder.start_with_pipe()?;
    let url = format!("http://{}/", agent.admin_address()?);
    agent.write(format!("{}\n", lines(0..10)).as_bytes())?;
    folder.wait_counted("delivered", 10)?;
    browser.look(DESK)?;
    browser.open(&url)?;
    wait_says(&browser, "#headline", "All is well")?;
    wait_says(&browser, "#agent", "it")?;
    wait_says(&browser, "#equation", "11 read=10 delivered+0 dead-lettered+1 passed over")?;
    wait_says(&browser, "#meters", "mrunning")?;
    wait_says(&browser, "#sources", "pipereading11")?;
    browser.run("window.sameDocument = true")?;

    // Charts are drawn, and grow.
    let drawn = "[...document.querySelectorAll('path.curve')].filter(\
                 (path) => /^M[\\d.,]+(L[\\d.,]+)+/.test(path.getAttribute('d'))).length === 4";
    browser.wait(drawn)?;
    let connected = TcpStream::connect(agent.tcp_address()?)?;
    wait_says(&browser, "#sources tr[data-name=net] td:last-child", "1")?;
    drop(connected);

    sim.replace_faults(&["status=403"])?;
    agent.write(lines(10..30).as_bytes())?;
    wait_says(&browser, "#headline", "meter m is held: 403")?;
    wait_says(&browser, "#troubles", "rights of the client")?;
    wait_says(&browser, "#meters .state", "held")?;
    wait_says(&browser, "#waiting", "20")?;
    browser.wait("document.title.startsWith('✖')")?;
    browser.look(PHONE)?;
    browser.wait("document.documentElement.scrollWidth <= 360")?;
    sim.replace_faults(&[])?;
    wait_says(&browser, "#headline", "All is well")?;
    wait_says(&browser, "#equation", "30 delivered")?;
    assert_eq!(browser.run("return window.sameDocument")?, true, "the page was loaded again");

    // A batch by its track id.
    let receipt = folder.receipts()?.into_iter().next().ok_or("no receipt")?;
    let track_id = json!(text(&receipt, "/track_id")?);
    let find = |track_id: &Value| {
        browser.run(&format!(
            "document.getElementById('track').value = {track_id};\
             document.querySelector('#find button').click()"
        ))
    };
    find(&track_id)?;
    wait_says(&browser, "#found", text(&receipt, "/sha256")?)?;
    no_complaints(&browser)?;
    find(&json!("it-0-99"))?;
    wait_says(&browser, "#found", "no such batch")?;
    // The browser itself tells of the 404.
    assert_eq!(browser.console()?.len(), 1);

    // A page that is open does not hold up the end.
    let begin = Instant::now();
    agent.stop()?;
    assert!(begin.elapsed() < Duration::from_secs(10), "{:?}", begin.elapsed());
    browser.wait("document.getElementById('link').className === 'lost'")
}

/// An event with a wrong quantity whose text is markup.
fn hostile() -> String {
    let markup = r"<script>window.owned=1</script><img src=x onerror=window.owned=1>\u202e";
    event(7).replace("api-call", markup).replace("\"Quantity\":", "\"Quantity\":\"<b>\",\"Was\":")
}

#[test]
fn a_hostile_dead_letter_is_text_and_is_not_replayed_without_a_token() -> Result {
    let Some(browser) = Browser::start()? else { return Ok(()) };
    let (folder, sim) = (Folder::new()?, Sim::start()?);
    folder.configure(&config(&sim))?;
    let mut agent = folder.start_with_pipe()?;
    let at = agent.admin_address()?;
    agent.write(format!("{}\n", hostile()).as_bytes())?;
    folder.wait_counted("dead_lettered", 1)?;
    browser.open(&format!("http://{at}/"))?;
    wait_says(&browser, "#headline", "a dead letter waits")?;
    wait_says(&browser, "#reasons", "m: wrong_type 1")?;
    browser.run("document.querySelector('#reasons button').click()")?;
    wait_says(&browser, "#letters pre", "<script>window.owned=1</script><img src=x")?;
    wait_says(&browser, "#letters .head", "Quantity")?;
    let made =
        browser.run("return document.querySelectorAll('#letters :is(script, img, b b)').length")?;
    assert_eq!(made, 0);
    assert_eq!(browser.run("return window.owned ?? null")?, Value::Null);
    wait_says(&browser, "#replay-note", "admin.token_file")?;
    assert_eq!(browser.run("return document.querySelectorAll('.replay').length")?, 0);
    no_complaints(&browser)?;

    let body = br#"{"ids":[1]}"#;
    let post = Post { address: at, path: "/dead-letters/replay", headers: String::new(), body };
    assert_eq!(post.send()?.status, 403);
    assert_eq!(folder.counted("dead_lettered")?, 1);
    agent.stop()
}

#[test]
fn with_the_token_a_letter_that_can_be_an_event_is_replayed() -> Result {
    let Some(browser) = Browser::start()? else { return Ok(()) };
    let (folder, sim) = (Folder::new()?, Sim::start()?);
    let strict = "event_id_field = \"EventId\"\nunknown_fields = \"reject\"".to_owned();
    let other = event(3).replacen('{', "{\"Other\":1,", 1);
    let input = format!("{}\n{other}\n", hostile());
    folder.run_to_end(
        &Config { meter: strict, ..Config::new(&sim.url(), STDIN) },
        input.as_bytes(),
    )?;
    folder.configure(&with_token(&folder, &sim)?)?;
    let mut agent = folder.start_with_pipe()?;
    let at = agent.admin_address()?;
    browser.open(&format!("http://{at}/"))?;
    browser.wait("!document.getElementById('ask').hidden")?;
    assert_eq!(browser.run("return document.getElementById('main').hidden")?, true);
    let give = |token: &str| {
        browser.run(&format!(
            "document.getElementById('token').value = '{token}';\
             document.querySelector('#ask button').click()"
        ))
    };
    give("wrong")?;
    wait_says(&browser, "#refused", "not the token")?;
    give("right")?;
    wait_says(&browser, "#headline", "2 dead letters wait")?;
    wait_says(&browser, "#reasons", "all 2")?;
    browser.run("document.querySelector('#reasons button').click()")?;
    browser.wait("document.querySelectorAll('.replay').length === 2")?;
    browser.run("document.querySelectorAll('.replay').forEach((button) => button.click())")?;
    folder.wait_counted("delivered", 1)?;
    wait_says(&browser, "#headline", "a dead letter waits")?;
    browser.wait("document.querySelectorAll('#letters li').length === 1")?;
    assert_eq!(folder.counted("dead_lettered")?, 1);
    let kept = browser.run(
        "return JSON.stringify([localStorage.length, sessionStorage.length, document.cookie])",
    )?;
    assert_eq!(kept, "[0,0,\"\"]");
    // The browser itself tells of the two requests without the right token.
    let complaints = browser.console()?;
    assert!(complaints.iter().all(|said| said.contains("401")), "{complaints:?}");

    let post = |headers: &str, body: &[u8]| {
        let headers = headers.to_owned();
        Ok::<_, crate::harness::Error>(
            Post { address: at, path: "/dead-letters/replay", headers, body }.send()?.status,
        )
    };
    let right = "authorization: Bearer right\r\n";
    assert_eq!(post("", b"{\"ids\":[1]}")?, 401);
    assert_eq!(post(right, b"{}")?, 400);
    assert_eq!(post(right, " ".repeat(40_000).as_bytes())?, 413);
    assert_eq!(post(right, b"{\"ids\":[1]}")?, 200);
    agent.stop()?;
    assert!(sim.has_event(3) && sim.stats().distinct_ids == 1);
    Ok(())
}

#[test]
fn every_answer_is_protected_and_nothing_is_told_to_who_may_not_ask() -> Result {
    let (folder, sim) = (Folder::new()?, Sim::start()?);
    folder.configure(&config(&sim))?;
    let mut agent = folder.start_with_pipe()?;
    let at = agent.admin_address()?;
    let paths =
        ["/", "/page.css", "/page.js", "/charts.js", "/dead-letters", "/receipts/x", "/status"];
    for path in paths {
        let answer = get(at, path, &local(at))?;
        assert_eq!(answer.status, if path == "/receipts/x" { 404 } else { 200 }, "{path}");
        let policy = answer.header("content-security-policy").ok_or("no policy")?;
        for part in ["default-src 'none'", "script-src 'self'", "frame-ancestors 'none'"] {
            assert!(policy.contains(part) && !policy.contains("unsafe"), "{path}: {policy}");
        }
        let expected = [
            ("x-content-type-options", "nosniff"),
            ("x-frame-options", "DENY"),
            ("referrer-policy", "no-referrer"),
            ("cache-control", "no-store"),
        ];
        for (name, value) in expected {
            assert_eq!(answer.header(name), Some(value), "{path} {name}");
        }
        assert_eq!(get(at, path, "Host: rebound.example\r\n")?.status, 421, "{path}");
    }
    assert_eq!(get(at, "/events", "Host: rebound.example\r\n")?.status, 421);
    agent.stop()?;

    folder.configure(&with_token(&folder, &sim)?)?;
    let mut agent = folder.start_with_pipe()?;
    let at = agent.admin_address()?;
    for path in paths {
        // The page itself tells nothing, and has to be there to type the token into.
        let is_page = ["/", "/page.css", "/page.js", "/charts.js"].contains(&path);
        let status = get(at, path, &local(at))?.status;
        assert_eq!(status, if is_page { 200 } else { 401 }, "{path}");
    }
    assert_eq!(get(at, "/events", &local(at))?.status, 401);
    agent.stop()
}

/// A stream of events, once its first bytes have come.
fn watch(agent: &mut Agent) -> Result<(String, TcpStream)> {
    let at = agent.admin_address()?;
    let mut stream = TcpStream::connect(at)?;
    stream.set_read_timeout(Some(Duration::from_secs(60)))?;
    stream.write_all(format!("GET /events HTTP/1.1\r\nHost: {at}\r\n\r\n").as_bytes())?;
    let mut bytes = [0; 4096];
    let count = stream.read(&mut bytes)?;
    Ok((String::from_utf8_lossy(&bytes[..count]).into_owned(), stream))
}

#[test]
fn watchers_are_bounded_and_end_with_the_agent() -> Result {
    let (folder, sim) = (Folder::new()?, Sim::start()?);
    folder.configure(&config(&sim))?;
    let mut agent = folder.start_with_pipe()?;
    let mut watchers = Vec::new();
    for _ in 0..8 {
        let (head, watcher) = watch(&mut agent)?;
        assert!(head.starts_with("HTTP/1.1 200") && head.contains("text/event-stream"), "{head}");
        watchers.push(watcher);
    }
    assert!(watch(&mut agent)?.0.starts_with("HTTP/1.1 503"));
    let at = agent.admin_address()?;
    assert_eq!(get(at, "/healthz", &local(at))?.status, 200);
    watchers.pop();
    until("a place that is given back", || {
        Ok(watch(&mut agent)?.0.starts_with("HTTP/1.1 200").then_some(()))
    })?;
    let begin = Instant::now();
    agent.stop()?;
    assert!(begin.elapsed() < Duration::from_secs(10), "{:?}", begin.elapsed());
    for mut watcher in watchers {
        let mut rest = Vec::new();
        watcher.read_to_end(&mut rest)?;
        assert!(rest.ends_with(b"0\r\n\r\n"), "the stream was cut off");
    }
    Ok(())
}

#[test]
fn a_token_that_is_changed_ends_open_pages_and_is_asked_for_from_then_on() -> Result {
    const RELOADED: &str = "configuration reloaded";
    let (folder, sim) = (Folder::new()?, Sim::start()?);
    folder.configure(&with_token(&folder, &sim)?)?;
    let mut agent = folder.start_with_pipe()?;
    let at = agent.admin_address()?;
    let bearer = |token: &str| format!("{}Authorization: Bearer {token}\r\n", local(at));
    let mut stream = TcpStream::connect(at)?;
    stream.set_read_timeout(Some(Duration::from_secs(60)))?;
    stream.write_all(format!("GET /events HTTP/1.1\r\n{}\r\n", bearer("right")).as_bytes())?;
    let reload = |times: usize| {
        agent.signal(Signal::HUP)?;
        until("the reload", || Ok((agent.times_logged(RELOADED)? == times).then_some(())))
    };
    // One that leaves the token as it is leaves the page open: it tells on, once a second.
    reload(1)?;
    let (mut told, mut bytes) = (String::new(), [0; 4096]);
    while told.matches("event: status").count() < 3 {
        let count = stream.read(&mut bytes)?;
        assert!(count > 0, "the stream has ended: {told}");
        told.push_str(&String::from_utf8_lossy(&bytes[..count]));
    }
    std::fs::write(folder.path("token"), "another\n")?;
    reload(2)?;
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest)?;
    assert!(rest.ends_with(b"0\r\n\r\n"), "the stream was cut off");
    let replay = |token: &str| -> Result<u16> {
        let post = Post {
            address: at,
            path: "/dead-letters/replay",
            headers: format!("Authorization: Bearer {token}\r\n"),
            body: br#"{"ids":[1]}"#,
        };
        Ok(post.send()?.status)
    };
    assert_eq!((replay("right")?, replay("another")?), (401, 200));
    for path in ["/events", "/status"] {
        assert_eq!(get(at, path, &bearer("right"))?.status, 401, "{path}");
    }
    assert_eq!(get(at, "/status", &bearer("another"))?.status, 200);
    agent.stop()
}
