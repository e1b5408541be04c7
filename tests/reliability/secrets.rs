//! Secrets that can be recognised, through a run with faults at the most talkative level: they are in
//! no log, no file of the store, no page, no metric, no message and no argument.

use std::fs;
use std::path::Path;

use rustix::process::Signal;

use crate::harness::client::Post;
use crate::harness::config::{HTTP, file};
use crate::harness::{
    Agent, Config, Folder, RawServer, Reply, Request, Result, lines, number, text, until,
};
use crate::scorecard::Scored;

const CLIENT_SECRET: &str = "marked-client-secret-91f3";
const ACCESS_TOKEN: &str = "marked-access-token-5c1a";
const ADMIN_TOKEN: &str = "marked-admin-token-77b0";
const PEER_TOKEN: &str = "marked-peer-token-e2d4";
/// What somebody tries who has none.
const WRONG_TOKEN: &str = "marked-wrong-token-0aa8";

/// What all secrets have in common.
const MARK: &str = "marked-";

/// What the far end does, in turn.
const FAULTS: [&str; 5] = [
    "401 Unauthorized",
    "429 Too Many Requests",
    "500 Internal Server Error",
    "302 Found",
    "503 Service Unavailable",
];

/// A far end that gives tokens, and repeats what it is told where it is at fault.
fn far_end() -> Result<RawServer> {
    RawServer::start(|request_number, request: &Request| {
        if request.line.contains("/oauth/token") {
            return match request_number % 4 {
                1 => Reply::answer("500 Internal Server Error", "", "no"),
                _ => Reply::answer("200 OK", "", &token()),
            };
        }
        match FAULTS.get(request_number % 8) {
            Some(status) => Reply::answer(status, "location: http://127.0.0.1:1/\r\n", "no"),
            None if request_number % 8 == 5 => Reply::BytesThenClose(b"rubbish\r\n".to_vec()),
            None => Reply::success(),
        }
    })
}

fn token() -> String {
    format!(r#"{{"access_token":"{ACCESS_TOKEN}","expires_in":1}}"#)
}

/// The places where a mark was found.
#[derive(Debug, Default)]
struct Search {
    looked_at: u64,
    hits: Vec<String>,
}

impl Search {
    fn look(&mut self, name: &str, bytes: &[u8]) {
        self.looked_at += 1;
        let is_marked = bytes.windows(MARK.len()).any(|window| window == MARK.as_bytes());
        if is_marked {
            let around = String::from_utf8_lossy(bytes);
            let at = around.find(MARK).unwrap_or_default();
            let start = around[..at].rfind('\n').unwrap_or_default();
            self.hits
                .push(format!("{name}: {}", around[start..].lines().take(2).collect::<String>()));
        }
    }

    /// Looks at every file below `directory`.
    fn look_below(&mut self, directory: &Path) -> Result {
        for entry in fs::read_dir(directory)? {
            let path = entry?.path();
            if path.is_dir() {
                self.look_below(&path)?;
            } else {
                self.look(&path.display().to_string(), &fs::read(&path)?);
            }
        }
        Ok(())
    }

    /// Looks at what a command prints.
    fn look_at_command(&mut self, folder: &Folder, arguments: &[&str]) -> Result {
        let output = folder.command(arguments)?;
        let printed = [output.stdout, output.stderr].concat();
        self.look(&arguments.join(" "), &printed);
        Ok(())
    }
}

/// A configuration with every secret there is, in files of a folder of their own.
fn configure(folder: &Folder, secrets: &Folder, url: &str) -> Result {
    let secret = |name: &str, text: &str| -> Result<String> {
        fs::write(secrets.path(name), text)?;
        Ok(secrets.path(name).display().to_string())
    };
    let client_secret = secret("client_secret", CLIENT_SECRET)?;
    let admin = secret("admin_token", ADMIN_TOKEN)?;
    let peers = secret("peer_tokens", PEER_TOKEN)?;
    let log = folder.path("usage.jsonl");
    fs::write(&log, lines(0..200))?;
    let http = format!("{HTTP}token_file = \"{peers}\"\n");
    let config = Config {
        auth: format!("client_id = \"agent\"\nclient_secret_file = \"{client_secret}\""),
        admin: format!("listen = \"127.0.0.1:0\"\ntoken_file = \"{admin}\""),
        limits: "events_per_request_max = 10".to_owned(),
        ..Config::new(url, format!("{}{http}", file(&log)))
    };
    let talkative = config.text(&folder.state()).replace("level = \"info\"", "level = \"trace\"");
    Ok(fs::write(folder.config(), talkative)?)
}

/// Asks for everything that the admin address has, with and without the token.
fn look_at_pages(search: &mut Search, agent: &mut Agent) -> Result {
    let address = agent.admin_address()?;
    for path in ["/", "/healthz", "/readyz", "/metrics", "/status", "/nowhere"] {
        for token in [ADMIN_TOKEN, WRONG_TOKEN] {
            let headers = format!("authorization: Bearer {token}\r\n");
            let answer = get(address, path, &headers)?;
            search.look(path, &answer);
        }
    }
    Ok(())
}

fn get(address: std::net::SocketAddr, path: &str, headers: &str) -> Result<Vec<u8>> {
    use std::io::{Read, Write};
    let mut stream = std::net::TcpStream::connect(address)?;
    stream.set_read_timeout(Some(std::time::Duration::from_secs(30)))?;
    let head =
        format!("GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n{headers}\r\n");
    stream.write_all(head.as_bytes())?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    Ok(answer)
}

/// Sends events with the token and with a wrong one, whole and broken ones.
fn send(search: &mut Search, agent: &mut Agent) -> Result {
    let address = agent.listening("http")?;
    let bodies = [lines(200..210), "no event\n".to_owned()];
    for (token, body) in [PEER_TOKEN, WRONG_TOKEN]
        .iter()
        .flat_map(|token| bodies.iter().map(move |body| (token, body)))
    {
        let headers =
            format!("authorization: Bearer {token}\r\ncontent-type: application/x-ndjson\r\n");
        let path = "/usage/bulk/g1";
        let answer = Post { address, path, headers, body: body.as_bytes() }.send()?;
        search.look("an answer", &answer.body);
    }
    Ok(())
}

#[test]
fn a_secret_is_nowhere_but_where_it_was_given() -> Result {
    let scored = Scored::begin("S2", "")?;
    let (folder, secrets) = (Folder::new()?, Folder::new()?);
    let server = far_end()?;
    configure(&folder, &secrets, &server.url())?;
    let mut search = Search::default();
    let mut agent = folder.start()?;
    send(&mut search, &mut agent)?;
    until("the faults to be through", || {
        let delivered = number(&folder.status()?, "/equation/delivered")?;
        Ok((delivered == 210).then_some(()))
    })?;
    agent.signal(Signal::HUP)?;
    agent.wait_logged("reading the configuration again")?;
    look_at_pages(&mut search, &mut agent)?;
    let process = format!("/proc/{}", agent.id());
    for name in ["cmdline", "environ", "comm", "status"] {
        search.look(name, &fs::read(format!("{process}/{name}"))?);
    }
    for arguments in [
        &["status", "--json"][..],
        &["receipts", "list", "--json"],
        &["dead-letters", "list", "--json"],
        &["check"],
        &["check", "--online"],
        &["doctor", "--meter", "m"],
        &["store", "check"],
    ] {
        search.look_at_command(&folder, arguments)?;
    }
    // Files of the store while its log is there, and behind its end.
    search.look_below(&folder.state())?;
    agent.stop()?;
    // A secret in the wrong place is not repeated by the message about it.
    let config = fs::read_to_string(folder.config())?;
    let broken =
        config.replace("client_id = \"agent\"", &format!("client_secret = {CLIENT_SECRET}"));
    let wrong = secrets.path("wrong.toml");
    fs::write(&wrong, broken)?;
    let wrong = wrong.display().to_string();
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_meterd"))
        .args(["check", "-c", &wrong])
        .output()?;
    assert!(!output.status.success());
    search.look("check of a broken file", &[output.stdout, output.stderr].concat());
    search.look_below(folder.as_ref())?;
    let log = agent.log()?;
    assert!(log.contains("\"TRACE\"") || log.contains("\"DEBUG\""), "the log is not talkative");
    // The secrets were used.
    let used = server.requests().iter().any(|request| {
        request.header("authorization").is_some_and(|value| value.contains(ACCESS_TOKEN))
    });
    assert!(used, "{}", text(&folder.status()?, "/agent").unwrap_or_default());
    assert!(search.hits.is_empty(), "{:#?}", search.hits);
    scored.shown(&format!(
        "5 marked secrets, {} files, pages, messages and answers searched, {} bytes of log: 0 hits",
        search.looked_at,
        log.len()
    ))
}
