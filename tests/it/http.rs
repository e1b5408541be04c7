//! The HTTP source: what the endpoint's own clients send is taken and answered as there.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;

use crate::harness::client::{Post, post, read_answer};
use crate::harness::config::HTTP;
use crate::harness::events::bulky_event;
use crate::harness::{Agent, Config, Folder, Result, Sim, event, lines, number, text, until};

fn start(folder: &Folder, sim: &Sim, more: &str) -> Result<(Agent, SocketAddr)> {
    folder.configure(&Config::new(&sim.url(), format!("{HTTP}{more}\n")))?;
    let mut agent = folder.start()?;
    let address = agent.tcp_address()?;
    Ok((agent, address))
}

fn array(numbers: std::ops::Range<u64>) -> String {
    format!("[{}]", numbers.map(event).collect::<Vec<_>>().join(",\n "))
}

pub(crate) fn gzip(bytes: &[u8]) -> Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes)?;
    Ok(encoder.finish()?)
}

#[test]
fn events_in_every_form_are_stored_before_they_are_answered_and_delivered_once() -> Result {
    let folder = Folder::new()?;
    let sim = Sim::start()?;
    let (mut agent, address) = start(&folder, &sim, "")?;
    let json = "content-type: application/json; charset=utf-8\r\n".to_owned();
    let zipped = gzip(array(3..500).as_bytes())?;
    let pretty = event(2).replace(',', ",\r\n  ");
    let requests = [
        ("/usage/bulk/g1", json.clone(), event(0).into_bytes()),
        ("/meters/streaming/ingestion/g1", String::new(), array(1..2).into_bytes()),
        ("/usage/bulk/m", json.clone(), pretty.into_bytes()),
        ("/usage/bulk/g1", format!("{json}content-encoding: gzip\r\n"), zipped),
        (
            "/usage/bulk/g1",
            "content-type: application/x-ndjson\r\n".to_owned(),
            format!("{}\n{}", lines(500..600), event(600)).into_bytes(),
        ),
    ];
    for (sent, (path, headers, body)) in requests.into_iter().enumerate() {
        let headers = format!("{headers}zuora-track-id: call-{sent}\r\n");
        let answer = Post { address, path, headers, body: &body }.send()?;
        assert_eq!(answer.status, 200, "{path} {:?}", answer.json());
        assert_eq!(answer.header("zuora-track-id"), Some(format!("call-{sent}").as_str()));
        let said = answer.json()?;
        assert_eq!(said.pointer("/success"), Some(&true.into()));
        assert!(!text(&said, "/message")?.is_empty());
    }
    // What was answered is in the store, whatever happens now.
    agent.kill()?;
    assert_eq!(folder.counted("read")?, 602);
    let mut agent = folder.start()?;
    sim.wait_events(601)?;
    folder.wait_counted("delivered", 601)?;
    assert_eq!(folder.counted("ignored")?, 1);
    agent.stop()?;
    sim.check_complete(601)
}

#[test]
fn a_request_with_bad_events_is_refused_with_each_of_them_and_nothing_of_it_is_kept() -> Result {
    let folder = Folder::new()?;
    let sim = Sim::start()?;
    let (mut agent, address) = start(&folder, &sim, "")?;
    let wrong = event(1).replace("\"Quantity\":", "\"Quantity\":\"x\",\"Was\":");
    let body = format!("[{},{wrong},{},{{}},7]", event(0), event(2));
    let answer = post(address, body.as_bytes())?;
    assert_eq!(answer.status, 400);
    let said = answer.json()?;
    assert_eq!(said.pointer("/success"), Some(&false.into()));
    let told: Vec<(i64, String, String)> = (0..3)
        .map(|at| -> Result<_> {
            let of = |name: &str| format!("/errors/{at}/{name}");
            assert_eq!(text(&said, &of("code"))?, "70000000");
            let field = said.pointer(&of("field")).and_then(|field| field.as_str());
            let reason = text(&said, &of("reason"))?.to_owned();
            Ok((number(&said, &of("index"))?, field.unwrap_or_default().to_owned(), reason))
        })
        .collect::<Result<_>>()?;
    let expected = [
        (1, "Quantity", "wrong_type"),
        (3, "CustomerId", "missing_field"),
        (4, "", "not_an_object"),
    ];
    assert_eq!(told, expected.map(|(at, field, why)| (at, field.to_owned(), why.to_owned())));
    for (body, says) in [
        ("", "empty"),
        ("[]", "no event"),
        ("[{}", "comma"),
        ("{\"a\":\"x\ny\"}", "line end"),
        ("nonsense", "value"),
        ("{} {}", "follows"),
    ] {
        let answer = post(address, body.as_bytes())?;
        let said = answer.json()?;
        assert_eq!(answer.status, 400, "{body}");
        assert!(text(&said, "/errors/0/message")?.contains(says), "{body}: {said}");
    }
    assert_eq!(post(address, array(0..3).as_bytes())?.status, 200);
    sim.wait_events(3)?;
    agent.stop()?;
    assert_eq!((folder.counted("read")?, folder.counted("dead_lettered")?), (3, 0));
    sim.check_exactly_once(3)
}

#[test]
fn what_is_not_for_it_is_answered_as_the_endpoint_does() -> Result {
    let folder = Folder::new()?;
    let sim = Sim::start()?;
    let (mut agent, address) = start(&folder, &sim, "body_bytes_max = \"64KiB\"")?;
    let bomb = gzip(&vec![b' '; 8 << 20])?;
    let large = vec![b' '; 100_000];
    let zip = "content-encoding: gzip\r\n";
    let rows: [(&str, &str, &[u8], u16, &str); 8] = [
        ("/usage/bulk/other", "", b"{}", 404, "/message"),
        ("/", "", b"{}", 404, "/message"),
        ("/usage/bulk/g1/more", "", b"{}", 404, "/message"),
        ("/usage/bulk/g1", "content-type: text/csv\r\n", b"{}", 415, "/message"),
        ("/usage/bulk/g1", "content-encoding: br\r\n", b"{}", 415, "/message"),
        ("/usage/bulk/g1", "", &large, 413, "/message"),
        ("/usage/bulk/g1", zip, &bomb, 413, "/message"),
        ("/usage/bulk/g1", zip, b"no gzip", 400, "/errors/0/message"),
    ];
    for (path, headers, body, status, words) in rows {
        let answer = Post { address, path, headers: headers.to_owned(), body }.send()?;
        assert_eq!(answer.status, status, "{path} {headers}");
        assert!(!text(&answer.json()?, words)?.is_empty());
    }
    let mut stream = TcpStream::connect(address)?;
    stream.write_all(b"GET /usage/bulk/g1 HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")?;
    assert_eq!(read_answer(&mut stream)?.status, 405);
    agent.stop()?;
    assert_eq!(folder.counted("read")?, 0);
    Ok(())
}

#[test]
fn only_who_has_a_token_is_let_in() -> Result {
    let folder = Folder::new()?;
    let sim = Sim::start()?;
    let file = folder.path("tokens");
    std::fs::write(&file, "old-token\nnew-token\n")?;
    let more = format!("token_file = \"{}\"", file.display());
    let (mut agent, address) = start(&folder, &sim, &more)?;
    let body = event(0);
    let send = |headers: &str| {
        let (path, headers) = ("/usage/bulk/g1", headers.to_owned());
        Post { address, path, headers, body: body.as_bytes() }.send()
    };
    for headers in ["", "authorization: Bearer wrong\r\n", "authorization: Basic new-token\r\n"] {
        let answer = send(headers)?;
        assert_eq!((answer.status, answer.header("www-authenticate")), (401, Some("Bearer")));
    }
    assert_eq!(send("authorization: Bearer new-token\r\n")?.status, 200);
    // An application that asks for a token first needs no change but its secret.
    let ask = |secret: &str| {
        let form = format!("client_id=app&client_secret={secret}&grant_type=client_credentials");
        let headers = String::new();
        Post { address, path: "/oauth/token", headers, body: form.as_bytes() }.send()
    };
    assert_eq!(ask("wrong")?.status, 401);
    let token = ask("old-token")?.json()?;
    assert_eq!(text(&token, "/access_token")?, "old-token");
    sim.wait_events(1)?;
    agent.stop()?;
    assert!(!agent.log()?.contains("-token"));
    sim.check_exactly_once(1)
}

#[test]
fn a_repeat_with_the_same_key_is_answered_and_not_stored_again() -> Result {
    let folder = Folder::new()?;
    let sim = Sim::start()?;
    let (mut agent, mut address) = start(&folder, &sim, "")?;
    let body = array(0..10);
    let zipped = gzip(body.as_bytes())?;
    let send = |address, headers: &str, body: &[u8]| -> Result<u16> {
        let (path, headers) = ("/usage/bulk/g1", headers.to_owned());
        Ok(Post { address, path, headers, body }.send()?.status)
    };
    let key = "idempotency-key: k1\r\n";
    assert_eq!(send(address, key, body.as_bytes())?, 200);
    assert_eq!(send(address, key, body.as_bytes())?, 200);
    // The events count, not how they are written on the wire.
    assert_eq!(send(address, &format!("{key}content-encoding: gzip\r\n"), &zipped)?, 200);
    // Not said for each of them.
    assert_eq!(agent.times_logged("requests are repeated, they are stored already")?, 1);
    agent.kill()?;
    agent = folder.start()?;
    address = agent.tcp_address()?;
    assert_eq!(send(address, key, body.as_bytes())?, 200);
    let meterd = "user-agent: meterd/0.1.0\r\nzuora-track-id: edge-1\r\n";
    let next = array(10..20);
    for _ in 0..2 {
        assert_eq!(send(address, meterd, next.as_bytes())?, 200);
    }
    assert_eq!(folder.counted("read")?, 20);
    // Another key, another body, or a track id that may be anybody's: other events.
    assert_eq!(send(address, "idempotency-key: k2\r\n", body.as_bytes())?, 200);
    assert_eq!(send(address, key, array(20..30).as_bytes())?, 200);
    for _ in 0..2 {
        assert_eq!(send(address, "zuora-track-id: k1\r\n", array(30..40).as_bytes())?, 200);
    }
    folder.wait_counted("delivered", 60)?;
    agent.stop()?;
    sim.check_complete(40)
}

#[test]
fn many_repeats_at_one_time_are_stored_once() -> Result {
    const EVENTS: u64 = 500;
    let folder = Folder::new()?;
    let sim = Sim::start()?;
    let (mut agent, address) = start(&folder, &sim, "")?;
    std::thread::scope(|scope| -> Result {
        let mut clients = Vec::new();
        for client in 0..8_u64 {
            clients.push(std::thread::Builder::new().spawn_scoped(scope, move || -> Result {
                for step in 0..50 {
                    // Each in its own order, so that repeats meet first tries at every stage.
                    let part = (step + client * 7) % 50;
                    let body = array(part * 10..part * 10 + 10);
                    let headers = format!("idempotency-key: part-{part}\r\n");
                    let path = "/usage/bulk/g1";
                    let answer = Post { address, path, headers, body: body.as_bytes() }.send()?;
                    assert_eq!(answer.status, 200);
                }
                Ok(())
            })?);
        }
        let mut ends = clients.into_iter();
        ends.try_for_each(|client| client.join().map_err(|_| "a client panicked")?)
    })?;
    folder.wait_counted("delivered", EVENTS.cast_signed())?;
    agent.stop()?;
    sim.check_exactly_once(EVENTS)
}

#[test]
fn a_full_store_is_answered_with_when_to_come_again() -> Result {
    let folder = Folder::new()?;
    let sim = Sim::with_faults(&["status=503"])?;
    let config =
        Config { store: "bytes_max = \"1MiB\"".to_owned(), ..Config::new(&sim.url(), HTTP) };
    folder.configure(&config)?;
    let mut agent = folder.start()?;
    let address = agent.tcp_address()?;
    let mut sent = 0;
    let refused = until("the store to be full", || {
        let body: String =
            (sent..sent + 100).map(|number| bulky_event(number, 1000) + "\n").collect();
        let headers = "content-type: application/x-ndjson\r\n".to_owned();
        let request = Post { address, path: "/usage/bulk/g1", headers, body: body.as_bytes() };
        let mut stream = TcpStream::connect(address)?;
        stream.write_all(&request.bytes())?;
        // One that found room in the buffers only is not answered yet: nobody waits for it here.
        stream.set_read_timeout(Some(Duration::from_millis(500)))?;
        let mut start = [0; 12];
        if stream.read_exact(&mut start).is_err() {
            sent += 100;
            return Ok(None);
        }
        if start == *b"HTTP/1.1 200" {
            sent += 100;
            return Ok(None);
        }
        assert_eq!(&start, b"HTTP/1.1 503");
        Ok(Some(request.send()?))
    })?;
    assert_eq!(refused.status, 503);
    assert!(refused.header("retry-after").is_some());
    sim.replace_faults(&[])?;
    sim.wait_events(sent)?;
    until("room again", || {
        Ok((post(address, event(sent).as_bytes())?.status == 200).then_some(()))
    })?;
    agent.stop()?;
    sim.check_complete(sent + 1)
}

#[test]
fn clients_that_dawdle_or_talk_too_much_are_cut_off_and_others_are_served() -> Result {
    let folder = Folder::new()?;
    let sim = Sim::start()?;
    let more = "idle_timeout = \"300ms\"\nbody_timeout = \"300ms\"\nconnections_max = 50";
    let (mut agent, address) = start(&folder, &sim, more)?;
    let mut silent = TcpStream::connect(address)?;
    let mut half_head = TcpStream::connect(address)?;
    half_head.write_all(b"POST /usage/bulk/g1 HT")?;
    let mut half_body = TcpStream::connect(address)?;
    half_body.write_all(
        b"POST /usage/bulk/g1 HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\nconnection: close\r\n\r\n{",
    )?;
    let mut endless = TcpStream::connect(address)?;
    endless.write_all(b"POST /usage/bulk/g1 HTTP/1.1\r\nx: ")?;
    // An error is as good: whoever is cut off may be told by a reset.
    let _ = endless.write_all(&vec![b'x'; 100_000]);
    let answer = read_answer(&mut endless)?;
    assert_eq!(answer.status, 431);
    assert_eq!(read_answer(&mut half_body)?.status, 408);
    for stream in [&mut silent, &mut half_head] {
        stream.set_read_timeout(Some(Duration::from_secs(60)))?;
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest);
        assert!(rest.is_empty() || rest.starts_with(b"HTTP/1.1 408"), "{rest:?}");
    }
    assert_eq!(post(address, event(0).as_bytes())?.status, 200);
    sim.wait_events(1)?;
    agent.stop()?;
    sim.check_exactly_once(1)
}

#[test]
fn a_stop_answers_what_is_under_way() -> Result {
    let folder = Folder::new()?;
    let sim = Sim::start()?;
    let (mut agent, address) = start(&folder, &sim, "")?;
    let mut idle = TcpStream::connect(address)?;
    let body = event(0);
    let (path, headers) = ("/usage/bulk/g1", String::new());
    let request = Post { address, path, headers, body: body.as_bytes() }.bytes();
    let (start, rest) = request.split_at(request.len() - 10);
    let mut under_way = TcpStream::connect(address)?;
    under_way.write_all(start)?;
    // The head was read once the next connection is served.
    assert_eq!(post(address, event(1).as_bytes())?.status, 200);
    agent.signal(rustix::process::Signal::TERM)?;
    agent.wait_logged("stopping")?;
    under_way.write_all(rest)?;
    let answer = read_answer(&mut under_way)?;
    assert!(answer.status == 200 || answer.status == 503, "{}", answer.status);
    let stored = u64::from(answer.status == 200);
    assert_eq!(idle.read(&mut [0]).unwrap_or(0), 0);
    agent.wait_success()?;
    assert_eq!(folder.counted("read")?, 1 + stored.cast_signed());
    Ok(())
}

#[test]
fn half_a_request_does_not_hold_up_a_stop() -> Result {
    let folder = Folder::new()?;
    let sim = Sim::start()?;
    folder.configure(&Config { shutdown_grace: "2s", ..Config::new(&sim.url(), HTTP) })?;
    let mut agent = folder.start()?;
    let address = agent.tcp_address()?;
    let mut half_head = TcpStream::connect(address)?;
    half_head.write_all(b"POST /usage/bulk/g1 HT")?;
    let mut half_body = TcpStream::connect(address)?;
    half_body
        .write_all(b"POST /usage/bulk/g1 HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n{")?;
    assert_eq!(post(address, event(0).as_bytes())?.status, 200);
    agent.stop()?;
    assert_eq!(folder.counted("read")?, 1);
    Ok(())
}

#[test]
fn a_request_for_which_there_is_no_room_is_asked_to_come_again() -> Result {
    const BODY_BYTES: usize = 4 << 20;
    let folder = Folder::new()?;
    let sim = Sim::start()?;
    let (mut agent, address) = start(&folder, &sim, "body_bytes_max = \"4MiB\"")?;
    // Four bodies of the largest size, each with its last byte still to come, take all the room.
    let mut held = Vec::new();
    for number in 0..4 {
        let event = bulky_event(number, 1000);
        let mut body = vec![b' '; BODY_BYTES - event.len()];
        body.extend_from_slice(event.as_bytes());
        let (path, headers) = ("/usage/bulk/g1", String::new());
        let mut request = Post { address, path, headers, body: &body }.bytes();
        let last = request.pop().ok_or("a body")?;
        let mut stream = TcpStream::connect(address)?;
        stream.write_all(&request)?;
        held.push((stream, last));
    }
    let mut sent = 4;
    let answer = until("all the room to be taken", || {
        let answer = post(address, event(sent).as_bytes())?;
        if answer.status == 200 {
            sent += 1;
        }
        Ok((answer.status != 200).then_some(answer))
    })?;
    assert_eq!((answer.status, answer.header("retry-after")), (429, Some("1")));
    assert!(!text(&answer.json()?, "/message")?.is_empty());
    for (mut stream, last) in held {
        stream.write_all(&[last])?;
        assert_eq!(read_answer(&mut stream)?.status, 200);
    }
    assert_eq!(post(address, event(sent).as_bytes())?.status, 200);
    sim.wait_events(sent + 1)?;
    agent.stop()?;
    sim.check_exactly_once(sent + 1)
}
