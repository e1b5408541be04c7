//! What applications write besides events in JSON: each format, selection and mapping, through the
//! whole program. The examples that are shipped are run as they are.

use std::io::Write;
use std::net::TcpStream;
use std::path::PathBuf;

use serde_json::Value;

use crate::harness::config::{STDIN, TCP, file};
use crate::harness::{Agent, Config, Folder, RawServer, Reply, Result, Sim, text};

/// The documented four fields, from names of one letter.
const RULES: &str = "[sources.pipe.fields]\nCustomerId = { from = \"c\" }\n\
    UsageIdentifier = { value = \"u\" }\nUsageDate = { value = \"2026-11-21\" }\n\
    Quantity = { from = \"q\" }\n";

/// The event that [`RULES`] make.
fn made(customer: &str, quantity: &str) -> String {
    format!(
        r#"{{"CustomerId":"{customer}","UsageIdentifier":"u","UsageDate":"2026-11-21","Quantity":{quantity}}}"#
    )
}

/// What a source of standard input with these keys sends of `input`, its dead letters, and the
/// numbers of lines that were read and ignored.
pub(crate) fn run(keys: &str, input: &str) -> Result<(String, Vec<Value>, [i64; 2])> {
    let folder = Folder::new()?;
    let server = RawServer::start(|_, _| Reply::success())?;
    let config =
        Config { meter: String::new(), ..Config::new(&server.url(), format!("{STDIN}{keys}")) };
    folder.run_to_end(&config, input.as_bytes())?;
    Ok((payloads(&server)?, folder.dead_letters()?, counts(&folder)?))
}

pub(crate) fn payloads(server: &RawServer) -> Result<String> {
    let mut sent = String::new();
    for request in server.requests() {
        sent.push_str(&String::from_utf8(request.payload()?)?);
    }
    Ok(sent)
}

fn counts(folder: &Folder) -> Result<[i64; 2]> {
    Ok([folder.counted("read")?, folder.counted("ignored")?])
}

/// `reason field event` of each letter.
pub(crate) fn letters(letters: &[Value]) -> Result<Vec<String>> {
    let shown = |letter: &Value| {
        let field = letter["field"].as_str().unwrap_or("-");
        Ok(format!("{} {field} {}", text(letter, "/reason")?, text(letter, "/event")?))
    };
    letters.iter().map(shown).collect()
}

#[test]
fn records_in_json_are_selected_and_go_out_byte_for_byte() -> Result {
    let keys = "on_unparsable = \"ignore\"\n[[sources.pipe.select]]\nfield = \"/meta/type\"\n\
                equals = \"usage\"\n[[sources.pipe.select]]\nfield = \"test\"\nexists = false\n";
    let event = r#"{ "meta" : {"type":"usage"}, "CustomerId":"C","UsageIdentifier":"u","UsageDate":"2026-11-21","Quantity":1.10 }"#;
    let bad = event.replace("1.10", "\"1\"");
    let test = event.replace("{ ", "{\"test\":1,");
    let other = r#"{"meta":{"type":"debug"}}"#;
    let input = format!("{event}\nplain text\n{other}\n{bad}\n{test}\n[]\n\n");
    let (sent, dead, counted) = run(keys, &input)?;
    assert_eq!(sent, format!("[{event}]"));
    assert_eq!(letters(&dead)?, [format!("wrong_type Quantity {bad}")]);
    assert_eq!(counted, [7, 5]);
    Ok(())
}

#[test]
fn each_format_makes_the_same_events() -> Result {
    let events = [made("a", "1.10"), made("b \\\"x\\\"", "20")];
    let pattern = "format = \"regex\"\npattern = '^(?:<(?<c>[^>]*)> )?(?<q>[0-9.]+)$'\n";
    for (keys, input, refused) in [
        (
            "format = \"json\"\n",
            "{\"c\":\"a\",\"q\":1.10}\n{\"q\":\"20\",\"c\":\"b \\\"x\\\"\",\"x\":{}}\n{\"c\":null,\"q\":1}\n",
            "missing_field CustomerId {\"c\":null,\"q\":1}",
        ),
        (
            "format = \"json-array\"\n",
            "[{\"c\":\"a\",\"q\":1.10},{\"c\":\"b \\\"x\\\"\",\"q\":20}, {\"c\":\"c\",\"q\":[1]}]\n",
            "wrong_type Quantity {\"c\":\"c\",\"q\":[1]}",
        ),
        (
            "format = \"csv\"\ncsv.columns = [\"q\", \"c\"]\ncsv.delimiter = \";\"\n",
            "1.10;a\n20;\"b \"\"x\"\"\"\n20;\"b\n",
            "unparsable - 20;\"b",
        ),
        (
            "format = \"csv\"\n",
            "c,other,q\na,,1.10\n\"b \"\"x\"\"\",\"\",20\nc,1\n",
            "unparsable - c,other,q\nc,1",
        ),
        (
            "format = \"logfmt\"\n",
            "at=info c=a q=1.10\nq=20 c=\"b \\\"x\\\"\"\nc= q=1\n",
            "missing_field CustomerId c= q=1",
        ),
        (pattern, "<a> 1.10\n<b \"x\"> 20\n7\n", "missing_field CustomerId 7"),
        (
            "format = \"syslog\"\nmessage_format = \"logfmt\"\n",
            "<14>1 - h a - - - c=a q=1.10\n<14>Nov 21 06:14:11 h a: q=20 c=\"b \\\"x\\\"\"\nc=a q=1\n",
            "unparsable - c=a q=1",
        ),
    ] {
        let (sent, dead, _) = run(&format!("{keys}{RULES}"), input)?;
        assert_eq!(sent, format!("[{}]", events.join(",")), "{keys}");
        assert_eq!(letters(&dead)?, [refused], "{keys}");
    }
    Ok(())
}

#[test]
fn events_of_an_array_have_ids_of_their_own_and_all_are_counted() -> Result {
    let folder = Folder::new()?;
    let server = RawServer::start(|_, _| Reply::success())?;
    let logs = folder.directory("logs")?;
    let source = file(&logs.join("*.json"));
    let rules = RULES.replace("pipe", "app");
    let config = Config::new(&server.url(), format!("{source}format = \"json-array\"\n{rules}"));
    folder.configure(&config)?;
    let record = |customer: &str| format!("{{\"c\":\"{customer}\",\"q\":1}}");
    let lines = [
        format!("[{},{}]", record("a"), record("b")),
        record("c"),
        format!(" [ {{}}, {}]", record("d")),
        "[]".to_owned(),
    ];
    std::fs::write(logs.join("a.json"), lines.join("\n") + "\n")?;
    let mut agent = folder.start()?;
    folder.wait_counted("delivered", 4)?;
    agent.stop()?;
    assert_eq!(counts(&folder)?, [6, 1]);
    let events: Vec<Value> = serde_json::from_str(&payloads(&server)?)?;
    let dead = folder.dead_letters()?;
    let ids: Vec<&str> =
        events.iter().map(|event| text(event, "/EventId")).collect::<Result<_>>()?;
    let origin = ids[0].split('-').next().ok_or("no origin")?;
    let offsets = [1, 2 + record("a").len(), lines[0].len() + 1];
    let third = lines[0].len() + lines[1].len() + 2;
    let offsets = offsets.into_iter().chain([third + lines[2].len() - 1 - record("d").len()]);
    let expected: Vec<String> = offsets.map(|offset| format!("{origin}-{offset}")).collect();
    assert_eq!(ids, expected);
    assert_eq!(letters(&dead)?, ["missing_field CustomerId  {}"]);
    assert!(text(&dead[0], "/position")?.ends_with(&format!(":{}", third + 3)));
    Ok(())
}

#[test]
fn values_are_made_as_the_rules_say() -> Result {
    let keys = r#"format = "logfmt"
[sources.pipe.fields.CustomerId]
from = "user"
trim = true
lowercase = true
map = { alice = "C-1", "bob b" = "C-2" }
[sources.pipe.fields.UsageIdentifier]
template = "{{{kind}}}/{plan}"
default = "none"
[sources.pipe.fields.UsageDate]
from = "at"
time_format = "d MMM yyyy HH:mm"
time_zone = "-02:30"
[sources.pipe.fields.Quantity]
from = "took"
unit = { from = "written", to = "h" }
scale = "1.5"
decimals = 3
"#;
    let input = "user=\" Alice\" kind=a plan=b at=\"5 Nov 2026 06:14\" took=90min\n\
                 user=\"BOB B\" at=\"21 Nov 2026 22:00\" took=1s\n\
                 user=carol at=\"21 Nov 2026 22:00\" took=1s\n\
                 user=alice at=\"31 Nov 2026 22:00\" took=1s\n\
                 user=alice at=\"21 Nov 2026 22:00\" took=12\n";
    let (sent, dead, _) = run(keys, input)?;
    let expected = [
        r#"{"CustomerId":"C-1","UsageIdentifier":"{a}/b","UsageDate":"2026-11-05T08:44:00Z","Quantity":2.25}"#,
        r#"{"CustomerId":"C-2","UsageIdentifier":"none","UsageDate":"2026-11-22T00:30:00Z","Quantity":0}"#,
    ];
    assert_eq!(sent, format!("[{}]", expected.join(",")));
    let reasons: Vec<String> = letters(&dead)?
        .iter()
        .map(|letter| letter.split(' ').take(2).collect::<Vec<_>>().join(" "))
        .collect();
    assert_eq!(
        reasons,
        ["unmapped_value CustomerId", "invalid_datetime UsageDate", "wrong_type Quantity"]
    );
    Ok(())
}

#[test]
fn the_path_of_a_file_and_the_environment_are_sources_of_values() -> Result {
    let folder = Folder::new()?;
    let server = RawServer::start(|_, _| Reply::success())?;
    let logs = folder.directory("logs/acme")?;
    let keys = "format = \"logfmt\"\nfile_pattern = '/logs/(?<tenant>[^/]+)/'\n\
         [sources.app.fields]\nCustomerId = { from = \"file:tenant\" }\n\
         UsageIdentifier = { template = \"{file:name} {env:PATH_OF_NOBODY}\" }\n\
         UsageDate = { value = \"2026-11-21\" }\nQuantity = { from = \"q\" }\n";
    let pattern = file(&logs.join("*.log"));
    let mut config = Config::new(&server.url(), format!("{pattern}{keys}"));
    config.meter = String::new();
    folder.configure(&config)?;
    let refused = folder.command(&["run"])?;
    assert_eq!(refused.status.code(), Some(78));
    let errors = String::from_utf8(refused.stderr)?;
    assert!(errors.contains("the variable PATH_OF_NOBODY"), "{errors}");
    config.sources = config.sources.replace(" {env:PATH_OF_NOBODY}", "");
    folder.configure(&config)?;
    std::fs::write(logs.join("a.log"), "q=1\n")?;
    let mut agent = folder.start()?;
    folder.wait_counted("delivered", 1)?;
    agent.stop()?;
    let expected = made("acme", "1").replace("\"u\"", "\"a.log\"");
    assert_eq!(payloads(&server)?, format!("[{expected}]"));
    Ok(())
}

#[test]
fn a_header_is_found_again_after_a_crash_and_after_a_rotation() -> Result {
    let folder = Folder::new()?;
    let server = RawServer::start(|_, _| Reply::success())?;
    let logs = folder.directory("logs")?;
    let path = logs.join("usage.csv");
    let rules = RULES.replace("pipe", "app");
    let source = file(&logs.join("usage.csv"));
    let config = Config::new(&server.url(), format!("{source}format = \"csv\"\n{rules}"));
    folder.configure(&config)?;
    let mut csv = std::fs::File::create(&path)?;
    csv.write_all(b"q,c\n1,a\n")?;
    let mut agent = folder.start()?;
    folder.wait_counted("delivered", 1)?;
    agent.kill()?;
    // Written and rotated away while nobody looked; the new file has another header.
    csv.write_all(b"2,b\n3,c\n")?;
    std::fs::rename(&path, logs.join("usage.csv.1"))?;
    std::fs::write(&path, "c,x,q\nd,,4\n")?;
    let mut agent = folder.start()?;
    folder.wait_counted("delivered", 4)?;
    csv.write_all(b"5,e\n")?;
    folder.wait_counted("delivered", 5)?;
    agent.stop()?;
    let sent = payloads(&server)?;
    for (customer, quantity) in [("a", "1"), ("b", "2"), ("c", "3"), ("d", "4"), ("e", "5")] {
        let event = made(customer, quantity);
        let open = event.strip_suffix('}').ok_or("no object")?;
        assert_eq!(sent.matches(open).count(), 1, "{event}: {sent}");
    }
    assert_eq!(folder.dead_letters()?, Vec::<Value>::new());
    assert_eq!(counts(&folder)?, [7, 2]);
    Ok(())
}

#[test]
fn a_file_without_its_header_loses_nothing_silently() -> Result {
    let (sent, dead, counted) = run(&format!("format = \"csv\"\n{RULES}"), "a,1\nb,2\n")?;
    assert_eq!((sent.as_str(), counted), ("", [2, 0]));
    assert_eq!(letters(&dead)?, ["unparsable - a,1", "unparsable - a,1\nb,2"]);
    Ok(())
}

#[test]
fn messages_with_their_length_before_them_come_over_one_connection_with_lines() -> Result {
    let folder = Folder::new()?;
    let sim = Sim::start()?;
    let rules = RULES.replace("pipe", "net");
    let keys = format!("{TCP}line_bytes_max = \"1KiB\"\nformat = \"syslog\"\n{rules}");
    folder.configure(&Config::new(&sim.url(), keys))?;
    let mut agent = folder.start()?;
    let mut stream = TcpStream::connect(agent.tcp_address()?)?;
    let message = |customer: &str| format!("<14>1 - h app - - - {{\"c\":\"{customer}\",\"q\":1}}");
    let counted = |message: &str| format!("{} {message}", message.len());
    let long = counted(&message(&"x".repeat(2000)));
    let broken = counted(&message("a\nb"));
    let input = [
        counted(&message("a")),
        message("b") + "\n",
        long,
        counted(&message("c")),
        broken,
        counted(&message("d")),
    ];
    // In pieces, so that no read ends where a message does.
    for piece in input.concat().as_bytes().chunks(97) {
        stream.write_all(piece)?;
        stream.flush()?;
    }
    folder.wait_counted("read", 6)?;
    folder.wait_counted("delivered", 4)?;
    drop(stream);
    agent.stop()?;
    let dead = folder.dead_letters()?;
    let reasons: Vec<&str> =
        dead.iter().map(|letter| text(letter, "/reason")).collect::<Result<_>>()?;
    assert_eq!(reasons, ["line_too_long", "unparsable"]);
    Ok(())
}

#[test]
fn letters_are_put_back_through_the_mapping_of_their_source() -> Result {
    for (format, input, own) in [
        ("csv", "q,c\n1,a\n2,b\n", "q,c\n2,b"),
        ("json-array", "[{\"c\":\"a\",\"q\":1}, {\"c\":\"b\",\"q\":2}]\n", "{\"c\":\"b\",\"q\":2}"),
    ] {
        let folder = Folder::new()?;
        let server = RawServer::start(|_, _| Reply::success())?;
        let logs = folder.directory("logs")?;
        let source = file(&logs.join("*"));
        let rules = RULES.replace("pipe", "app").replace("\"c\"", "\"c\", map = { a = \"a\" }");
        let mut config =
            Config::new(&server.url(), format!("{source}format = \"{format}\"\n{rules}"));
        folder.configure(&config)?;
        std::fs::write(logs.join("usage"), input)?;
        let mut agent = folder.start()?;
        folder.wait_counted("delivered", 1)?;
        agent.stop()?;
        let dead = folder.dead_letters()?;
        assert_eq!(letters(&dead)?, [format!("unmapped_value CustomerId {own}")]);
        // The file may be gone when somebody knows what the value means.
        std::fs::remove_file(logs.join("usage"))?;
        config.sources = config.sources.replace("a = \"a\"", "a = \"a\", b = \"B\"");
        folder.configure(&config)?;
        folder.json(&["dead-letters", "replay", "--all", "--json"])?;
        let mut agent = folder.start()?;
        folder.wait_counted("delivered", 2)?;
        agent.stop()?;
        assert_eq!(folder.dead_letters()?, Vec::<Value>::new());
        let expected = made("B", "2").replace('}', "");
        let expected = format!("[{expected},\"EventId\":\"{}\"}}]", text(&dead[0], "/event_id")?);
        assert!(payloads(&server)?.ends_with(&expected), "{format}: {expected}");
    }
    Ok(())
}

#[test]
fn files_are_sent_as_a_source_reads_them() -> Result {
    let folder = Folder::new()?;
    let server = RawServer::start(|_, _| Reply::success())?;
    let source = file(&folder.path("nowhere"));
    let rules = RULES.replace("pipe", "app").replace("value = \"u\"", "from = \"file:name\"");
    let mut config = Config::new(&server.url(), format!("{source}format = \"csv\"\n{rules}"));
    config.meter = String::new();
    folder.configure(&config)?;
    let path = folder.path("export.csv").display().to_string();
    std::fs::write(&path, "q,c\n1,a\n2")?;
    let output = folder.command(&["send", "--source", "app", &path])?;
    assert_eq!(output.status.code(), Some(1), "{}", String::from_utf8_lossy(&output.stderr));
    let expected = made("a", "1").replace("\"u\"", "\"export.csv\"");
    assert_eq!(payloads(&server)?, format!("[{expected}]"));
    let dead = folder.dead_letters()?;
    assert_eq!(letters(&dead)?, ["unparsable - q,c\n2"]);
    assert_eq!(text(&dead[0], "/source")?, "app");
    // Again: nothing is left to send. Standard input has no path, and "nobody" is no source.
    folder.command(&["send", "--source", "app", &path])?;
    assert_eq!(server.requests().len(), 1);
    assert_eq!(folder.command(&["send", "--source", "app"])?.status.code(), Some(2));
    assert_eq!(folder.command(&["send", "--source", "nobody", &path])?.status.code(), Some(78));
    assert_eq!(folder.command(&["send", &path])?.status.code(), Some(2));
    Ok(())
}

/// An example as it is shipped, for a far end at `base_url` and the files of `folder`.
fn example(name: &str, base_url: &str, folder: &Folder) -> Result<String> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("config/examples").join(name);
    let shipped = std::fs::read_to_string(path)?;
    let secret = folder.path("secret");
    std::fs::write(&secret, "secret\n")?;
    let logs = folder.directory("logs")?;
    let directory = |line: &str| -> Option<String> {
        let start = line.find("[\"/var/")? + 2;
        line[start..].rfind('/').map(|end| line[start..start + end].to_owned())
    };
    let from = shipped.lines().find_map(directory).unwrap_or_else(|| "/nowhere".to_owned());
    let text = shipped
        .replace("https://rest.zuora.com", base_url)
        .replace("/run/credentials/meterd.service/client_secret", &secret.display().to_string())
        .replace("127.0.0.1:6514", "127.0.0.1:0")
        // Tests run side by side.
        .replace("[mediation]\n", "[admin]\nlisten = \"\"\n[mediation]\n")
        .replace(&from, &logs.display().to_string());
    let state = folder.state();
    Ok(format!(
        "agent.state_dir = \"{}\"\nbatch.linger_max = \"20ms\"\nlog.format = \"json\"\n{text}",
        state.display()
    ))
}

/// Runs an example with `input` in its file or connection, against the simulator and against a
/// server that keeps what comes. Gives the events, and each letter as `reason field`.
fn run_example(name: &str, log: &str, input: &str, events: i64) -> Result<(String, Vec<String>)> {
    let sim = Sim::start()?;
    let server = RawServer::start(|_, request| {
        if request.line.contains("/oauth/token") {
            Reply::answer(
                "200 OK",
                "",
                r#"{"access_token":"t","token_type":"bearer","expires_in":3600}"#,
            )
        } else {
            Reply::success()
        }
    })?;
    let mut found = None;
    for url in [sim.url(), server.url()] {
        let folder = Folder::new()?;
        std::fs::write(folder.config(), example(name, &url, &folder)?)?;
        let mut agent = folder.start()?;
        feed(&folder, &mut agent, log, input)?;
        folder.wait_counted("delivered", events)?;
        agent.stop()?;
        found = Some(folder);
    }
    assert_eq!(sim.stats().events_accepted.cast_signed(), events);
    let sent: Vec<String> = server
        .requests()
        .iter()
        .filter(|request| !request.line.contains("/oauth/token"))
        .map(|request| Ok(String::from_utf8(request.payload()?)?))
        .collect::<Result<_>>()?;
    let dead = found.ok_or("not run")?.dead_letters()?;
    let dead = letters(&dead)?
        .into_iter()
        .map(|letter| letter.split(' ').take(2).collect::<Vec<_>>().join(" "));
    Ok((sent.concat(), dead.collect()))
}

fn feed(folder: &Folder, agent: &mut Agent, log: &str, input: &str) -> Result {
    if log == "tcp" {
        let mut stream = TcpStream::connect(agent.tcp_address()?)?;
        return Ok(stream.write_all(input.as_bytes())?);
    }
    Ok(std::fs::write(folder.path("logs").join(log), input)?)
}

/// `sent` without the ids that were stamped.
fn without_ids(sent: &str) -> Result<String> {
    let mut rest = sent;
    let mut text = String::new();
    while let Some((before, behind)) = rest.split_once(",\"EventId\":\"") {
        text.push_str(before);
        rest = behind.split_once('"').ok_or("an open id")?.1;
    }
    Ok(text + rest)
}

pub(crate) fn check_example(
    name: &str,
    log: &str,
    input: &str,
    events: &[&str],
    dead: &[&str],
) -> Result {
    let (sent, letters) = run_example(name, log, input, i64::try_from(events.len())?)?;
    assert_eq!(without_ids(&sent)?, format!("[{}]", events.join(",")));
    assert_eq!(letters, dead);
    Ok(())
}

#[test]
fn the_example_for_nginx_in_json_does_what_it_says() -> Result {
    let line = |user: &str, status: &str, uri: &str, bytes: &str| {
        format!(
            "{{\"msec\":\"1795241651.123\",\"user\":\"{user}\",\"status\":\"{status}\",\"uri\":\"{uri}\",\"bytes\":\"{bytes}\"}}\n"
        )
    };
    let input = [
        line("acme", "200", "/v1/render", "1500000"),
        line("", "401", "/v1/render", "90"),
        line("", "200", "/healthz", "2"),
        line("", "200", "/v1/render", "7"),
        line("umbrella", "206", "/v1/b\\\\x", "1"),
    ];
    let events = [
        r#"{"CustomerId":"acme","UsageIdentifier":"egress","UsageDate":"2026-11-21T06:14:11.123Z","Quantity":0.0015}"#,
        r#"{"CustomerId":"umbrella","UsageIdentifier":"egress","UsageDate":"2026-11-21T06:14:11.123Z","Quantity":0.000000001}"#,
    ];
    check_example(
        "nginx-json.toml",
        "usage.log",
        &input.concat(),
        &events,
        &["missing_field CustomerId"],
    )
}

#[test]
fn the_example_for_the_combined_log_does_what_it_says() -> Result {
    let line = |user: &str, request: &str, status: u16| {
        format!(
            "192.0.2.7 - {user} [21/Nov/2026:07:14:11 +0100] \"{request}\" {status} 512 \"-\" \"curl/8.5.0\"\n"
        )
    };
    let input = [
        line("Acme", "GET /v1/render?x=1 HTTP/1.1", 200),
        line("-", "GET /v1/render HTTP/1.1", 200),
        line("-", "GET / HTTP/1.1", 200),
        line("acme", "POST /v1/jobs HTTP/2.0", 201),
        line("acme", "POST /v1/jobs HTTP/2.0", 500),
        line("-", "\\x16\\x03", 400),
    ];
    let event = |method: &str| {
        format!(
            r#"{{"CustomerId":"acme","UsageIdentifier":"api-{method}","UsageDate":"2026-11-21T06:14:11Z","Quantity":1}}"#
        )
    };
    let (get, post) = (event("GET"), event("POST"));
    let dead = ["missing_field CustomerId", "unparsable -"];
    check_example("nginx-combined.toml", "access.log", &input.concat(), &[&get, &post], &dead)
}

#[test]
fn the_example_for_an_export_does_what_it_says() -> Result {
    let input = "\u{feff}Konto;Tarif;Beginn;Dauer\r\n 4711 ;Ortsgespräch;21.11.2026 07:14:11;90\r\n\
                 4712;\"Ferngespräch\";21.11.2026 00:30:00;100\r\n4713;Notruf;21.11.2026 00:30:00;1\r\n";
    let events = [
        r#"{"CustomerId":"4711","UsageIdentifier":"call-local","UsageDate":"2026-11-21T06:14:11Z","Quantity":1.5}"#,
        r#"{"CustomerId":"4712","UsageIdentifier":"call-distance","UsageDate":"2026-11-20T23:30:00Z","Quantity":1.6667}"#,
    ];
    check_example(
        "csv-export.toml",
        "calls.csv",
        input,
        &events,
        &["unmapped_value UsageIdentifier"],
    )
}

#[test]
fn the_example_for_logfmt_does_what_it_says() -> Result {
    let input = "time=2026-11-21T06:14:11Z level=info msg=usage account=acme op=render took=12.5ms\n\
                 panic: something went wrong\n\tat main.go:17\n\
                 time=2026-11-21T06:14:12Z level=info msg=\"listening on :80\"\n\
                 time=2026-11-21T06:14:13Z level=info msg=usage account=acme op=render took=3s\n\
                 time=2026-11-21T06:14:14Z level=info msg=usage account=acme op=render took=soon\n";
    let events = [
        r#"{"CustomerId":"acme","UsageIdentifier":"render-seconds","UsageDate":"2026-11-21T06:14:11Z","Quantity":0.0125}"#,
        r#"{"CustomerId":"acme","UsageIdentifier":"render-seconds","UsageDate":"2026-11-21T06:14:13Z","Quantity":3}"#,
    ];
    check_example("logfmt.toml", "app.log", input, &events, &["wrong_type Quantity"])
}

#[test]
fn the_example_for_syslog_does_what_it_says() -> Result {
    let message = |app: &str, json: &str| {
        let text = format!("<134>1 2026-11-21T06:14:11.5Z edge-1 {app} 17 - - {json}");
        format!("{} {text}", text.len())
    };
    let input = [
        message("billing", r#"{"account":{"id":"acme"},"kind":"render","amount":1.10}"#),
        message("sshd", "session opened"),
        message("billing", r#"{"account":{"id":7},"kind":"zoë","amount":"2"}"#),
        message("billing", r#"{"account":{},"kind":"x","amount":1}"#),
    ];
    let events = [
        r#"{"CustomerId":"acme","UsageIdentifier":"render@edge-1","UsageDate":"2026-11-21T06:14:11.5Z","Quantity":1.10}"#,
        r#"{"CustomerId":"7","UsageIdentifier":"zoë@edge-1","UsageDate":"2026-11-21T06:14:11.5Z","Quantity":2}"#,
    ];
    let dead = ["missing_field CustomerId"];
    check_example("syslog.toml", "tcp", &input.concat(), &events, &dead)
}
