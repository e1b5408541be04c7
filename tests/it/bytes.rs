//! What goes over the wire: events byte for byte, and the headers.

use crate::harness::config::STDIN;
use crate::harness::{Config, Folder, RawServer, Reply, Request, Result, lines};

/// Fields as applications write them, behind the ones that must be there.
const ODD_FIELDS: [&str; 10] = [
    r#""Quantity":1.10"#,
    r#""Quantity":1e2"#,
    r#""Quantity":1234567890123.123456789"#,
    r#""Quantity":-0.0E-0,"Extra":0.1e1"#,
    r#""Quantity":1,"Name":"Zoë 東京 🚀 ﷽""#,
    r#""Quantity":2,"Escapes":"\u00e9\ud83d\ude80\/\"\\\b\f\n\r\t\u0000""#,
    r#""Quantity" : 3 ,  "Spaces" :	[ 1 , 2 , { } ]"#,
    r#""Quantity":4,"Nested":{"a":{"b":[null,true,false,{"c":1.000}]}}"#,
    r#""Quantity":5,"":"the empty key","a.b/c~d":0"#,
    r#""Quantity":6,"Exact":9007199254740993,"Big":12345678901234567890.123456789012345"#,
];

fn odd_event(fields: &str) -> String {
    let known = r#""CustomerId":"C","UsageIdentifier":"u","UsageDate":"2026-11-21T06:14:11Z""#;
    format!("{{{known},{fields}}}")
}

fn single_request(
    config: &Config,
    folder: &Folder,
    server: &RawServer,
    input: &str,
) -> Result<Request> {
    folder.run_to_end(config, input.as_bytes())?;
    let mut requests = server.requests();
    assert_eq!(folder.dead_letters()?, Vec::<serde_json::Value>::new());
    if requests.len() == 1 { requests.pop() } else { None }.ok_or_else(|| "not one request".into())
}

#[test]
fn events_arrive_byte_for_byte() -> Result {
    let folder = Folder::new()?;
    let server = RawServer::start(|_, _| Reply::success())?;
    let config = Config { meter: String::new(), ..Config::new(&server.url(), STDIN) };
    let events = ODD_FIELDS.map(odd_event);
    let request = single_request(&config, &folder, &server, &events.join("\n"))?;
    assert_eq!(String::from_utf8(request.payload()?)?, format!("[{}]", events.join(",")));
    Ok(())
}

#[test]
fn the_event_id_is_all_that_is_added() -> Result {
    let folder = Folder::new()?;
    let server = RawServer::start(|_, _| Reply::success())?;
    let config = Config::new(&server.url(), STDIN);
    let events = ODD_FIELDS.map(odd_event);
    let request = single_request(&config, &folder, &server, &events.join("\r\n"))?;
    let mut rest = String::from_utf8(request.payload()?)?;
    let receipts = folder.receipts()?;
    let first = receipts.first().and_then(|receipt| receipt["first_event_id"].as_str());
    let (origin, _) = first.and_then(|id| id.split_once('-')).ok_or("no first event id")?;
    for (index, event) in events.iter().enumerate() {
        let open = event.strip_suffix('}').ok_or("no object")?;
        let before = if index == 0 { '[' } else { ',' };
        let expected = format!("{before}{open},\"EventId\":\"{origin}-{index}\"}}");
        rest = rest.strip_prefix(&expected).ok_or(format!("{expected}: {rest}"))?.to_owned();
    }
    assert_eq!(rest, "]");
    Ok(())
}

#[test]
fn times_go_out_in_the_format_of_their_field_and_all_else_as_it_came() -> Result {
    let folder = Folder::new()?;
    let server = RawServer::start(|_, _| Reply::success())?;
    let meter = "event_age_max = \"36500d\"\nfour_byte_characters = \"reject\"\n\
                 [[meters.m.schema.fields]]\nname = \"At\"\ntype = \"datetime\"\n\
                 format = \"yyyy-MM-dd'T'HH:mm:ss.SSSX\"\n";
    let config = Config { meter: meter.to_owned(), ..Config::new(&server.url(), STDIN) };
    let came = "{ \"n\" : 1.10, \"At\" :\"2026-11-21T07:14:11+01:00\" ,\"t\":\"é\"}\n{\"At\":1795241651500}\n";
    let request = single_request(&config, &folder, &server, came)?;
    let expected = "[{ \"n\" : 1.10, \"At\" :\"2026-11-21T06:14:11.000Z\" ,\"t\":\"é\"},\
                    {\"At\":\"2026-11-21T06:14:11.500Z\"}]";
    assert_eq!(String::from_utf8(request.payload()?)?, expected);
    Ok(())
}

#[test]
fn an_event_keeps_the_id_that_it_has() -> Result {
    let folder = Folder::new()?;
    let server = RawServer::start(|_, _| Reply::success())?;
    let request =
        single_request(&Config::new(&server.url(), STDIN), &folder, &server, &lines(0..3))?;
    let expected = format!("[{}]", lines(0..3).trim_end().replace('\n', ","));
    assert_eq!(String::from_utf8(request.payload()?)?, expected);
    Ok(())
}

#[test]
fn headers_are_the_ones_that_mediation_documents() -> Result {
    let folder = Folder::new()?;
    let server = RawServer::start(|_, _| Reply::success())?;
    let mut config = Config::new(&server.url(), STDIN);
    config.mediation = "entity_ids = \"e1, e2\"\norg_ids = \"o1\"".to_owned();
    config.auth = "bearer_token = \"abc\"".to_owned();
    config.agent = String::new();
    let request = single_request(&config, &folder, &server, &lines(0..3))?;
    assert_eq!(request.line, "POST /meters/streaming/ingestion/g1 HTTP/1.1");
    assert_eq!(request.header("zuora-entity-ids"), Some("e1, e2"));
    assert_eq!(request.header("zuora-org-ids"), Some("o1"));
    assert_eq!(request.header("content-type"), Some("application/json"));
    assert_eq!(request.header("content-encoding"), Some("gzip"));
    assert_eq!(request.header("authorization"), Some("Bearer abc"));
    assert!(request.header("user-agent").is_some_and(|agent| agent.starts_with("meterd/")));
    Ok(())
}

#[test]
fn ids_that_are_not_set_are_not_sent() -> Result {
    let folder = Folder::new()?;
    let server = RawServer::start(|_, _| Reply::success())?;
    let mut config = Config::new(&server.url(), STDIN);
    config.mediation = "ingest_path = \"/usage/bulk/{meter}\"".to_owned();
    let request = single_request(&config, &folder, &server, &lines(0..3))?;
    assert_eq!(request.line, "POST /usage/bulk/g1 HTTP/1.1");
    for name in ["zuora-entity-ids", "zuora-org-ids", "authorization"] {
        assert_eq!(request.header(name), None, "{name}");
    }
    Ok(())
}

#[test]
fn track_ids_are_short_plain_and_never_the_same() -> Result {
    let folder = Folder::new()?;
    let server = RawServer::start(|_, _| Reply::success())?;
    let mut config = Config::new(&server.url(), STDIN);
    config.limits = "events_per_request_max = 1".to_owned();
    let name = "a-very-long.name_of-an-agent-in-a-fleet-that-is-large";
    let text = config.text(&folder.state()).replace("name = \"it\"", &format!("name = \"{name}\""));
    std::fs::write(folder.config(), text)?;
    for run in 0..2 {
        let mut agent = folder.start_with_pipe()?;
        agent.write(lines(run * 20..run * 20 + 20).as_bytes())?;
        agent.close_stdin();
        agent.wait_success()?;
    }
    let mut ids = std::collections::HashSet::new();
    for request in server.requests() {
        let id = request.header("zuora-track-id").ok_or("no track id")?;
        assert!((1..=64).contains(&id.len()), "{id}");
        let plain = |byte: u8| byte.is_ascii_graphic() && !b":;\"'".contains(&byte);
        assert!(id.bytes().all(plain), "{id}");
        ids.insert(id.to_owned());
    }
    assert_eq!(ids.len(), 40);
    let receipts = folder.receipts()?;
    assert!(receipts.iter().all(|receipt| {
        receipt["track_id"].as_str().is_some_and(|track_id| ids.contains(track_id))
    }));
    Ok(())
}
