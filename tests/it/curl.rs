//! The program curl with the request of the endpoint's documentation: every documented header, an
//! object or an array, plain or gzip. The HTTP source and the simulator get the same arguments and
//! have to answer alike, in the documented forms.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::harness::config::HTTP;
use crate::harness::events::event;
use crate::harness::{Config, Folder, Result, Sim, fail, text};
use meterd::simulator::Settings;

/// What curl saw.
#[derive(Debug)]
struct Seen {
    status: u16,
    content_type: String,
    track_id: String,
    encoding: String,
    body: Value,
}

/// Names of members with the kinds of their values, two levels deep; what the documentation does
/// not have is left out of errors.
fn form(value: &Value) -> String {
    match value {
        Value::Object(members) => {
            let members = members.iter().filter(|(name, _)| {
                ["success", "message", "errors", "code", "access_token", "token_type", "expires_in"]
                    .contains(&name.as_str())
            });
            let mut members: Vec<String> =
                members.map(|(name, value)| format!("{name}:{}", form(value))).collect();
            members.sort();
            format!("{{{}}}", members.join(","))
        }
        Value::Array(items) => format!("[{}]", items.first().map(form).unwrap_or_default()),
        Value::String(_) => "string".to_owned(),
        Value::Number(_) => "number".to_owned(),
        Value::Bool(value) => value.to_string(),
        Value::Null => "null".to_owned(),
    }
}

/// `curl ARGUMENTS URL`; everything that is written for a person stays away.
fn curl(url: &str, arguments: &[&str]) -> Result<Seen> {
    const WRITE_OUT: &str = "\n%{http_code}\t%header{content-type}\t%header{zuora-track-id}\t\
                             %header{content-encoding}";
    let output = Command::new("curl")
        .args(["--silent", "--show-error", "--noproxy", "*", "--max-time", "30"])
        .args(["--write-out", WRITE_OUT])
        .args(arguments)
        .arg(url)
        .output()?;
    if !output.status.success() {
        return fail(String::from_utf8_lossy(&output.stderr));
    }
    let output = String::from_utf8(output.stdout)?;
    let (body, said) = output.rsplit_once('\n').ok_or("nothing was written out")?;
    let said: Vec<&str> = said.split('\t').collect();
    let [status, content_type, track_id, encoding] = said[..] else { return fail("four words") };
    Ok(Seen {
        status: status.parse()?,
        content_type: content_type.to_owned(),
        track_id: track_id.to_owned(),
        encoding: encoding.to_owned(),
        body: serde_json::from_str(body)?,
    })
}

const INGESTION: &str = "/meters/streaming/ingestion/g1";

/// The documented headers, with `token`.
fn headers(token: &str) -> Vec<String> {
    let all = [
        "Content-Type: application/json".to_owned(),
        "Accept-Encoding: gzip".to_owned(),
        "Zuora-Track-Id: call-1".to_owned(),
        format!("Authorization: Bearer {token}"),
    ];
    all.into_iter().flat_map(|header| ["--header".to_owned(), header]).collect()
}

fn token(base: &str) -> Result<Seen> {
    let form = ["client_id=app", "client_secret=secret", "grant_type=client_credentials"];
    let form: Vec<&str> = form.iter().flat_map(|field| ["--data-urlencode", *field]).collect();
    curl(&format!("{base}/oauth/token"), &form)
}

fn gzip(path: &Path) -> Result<String> {
    let status = Command::new("gzip").args(["--keep", "--force"]).arg(path).status()?;
    if !status.success() {
        return fail("gzip failed");
    }
    Ok(format!("@{}.gz", path.display()))
}

#[test]
fn the_documented_request_is_answered_as_documented() -> Result {
    let folder = Folder::new()?;
    let credentials = Some(("app".to_owned(), "secret".to_owned()));
    let endpoint = Sim::with_settings(Settings { credentials, ..Settings::default() })?;
    let sim = Sim::start()?;
    let tokens = folder.path("tokens");
    std::fs::write(&tokens, "secret\n")?;
    let more = format!("token_file = \"{}\"\n", tokens.display());
    folder.configure(&Config::new(&sim.url(), format!("{HTTP}{more}")))?;
    let mut agent = folder.start()?;
    let bases = [format!("http://{}", agent.tcp_address()?), endpoint.url()];

    let tokens = [token(&bases[0])?, token(&bases[1])?];
    for seen in &tokens {
        assert_eq!(seen.status, 200);
        let expected = "{access_token:string,expires_in:number,token_type:string}";
        assert_eq!(form(&seen.body), expected);
    }
    let many = folder.path("events.json");
    std::fs::write(&many, format!("[{}]", (1..500).map(event).collect::<Vec<_>>().join(",")))?;
    let (plain, zipped) = (format!("@{}", many.display()), gzip(&many)?);
    let wrong = vec![event(0).replace("\"Quantity\":", "\"Quantity\":\"x\",\"Was\":"); 20];
    let (one, wrong) = (event(0), format!("[{}]", wrong.join(",")));
    let huge = folder.path("huge.json");
    std::fs::write(&huge, vec![b' '; 5 << 20])?;
    let huge = format!("@{}", huge.display());
    let wrong_token = ["--header", "Authorization: Bearer wrong"];
    let received = "{message:string,success:true}";
    let message = "{message:string}";
    let rows: [(&str, Vec<&str>, u16, &str); 6] = [
        ("an object", vec!["--data", &one], 200, received),
        ("an array", vec!["--data-binary", &plain], 200, received),
        (
            "gzip",
            vec!["--header", "Content-Encoding: gzip", "--data-binary", &zipped],
            200,
            received,
        ),
        (
            "events that are none",
            vec!["--data", &wrong],
            400,
            "{errors:[{code:string,message:string}],success:false}",
        ),
        ("too large", vec!["--data-binary", &huge], 413, message),
        ("no token", [&wrong_token[..], &["--data", &one]].concat(), 401, message),
    ];
    for (what, arguments, status, expected) in &rows {
        let mut answers = Vec::new();
        for (base, granted) in bases.iter().zip(&tokens) {
            let granted = text(&granted.body, "/access_token")?;
            let mut headers = headers(granted);
            if *status == 401 {
                headers.truncate(headers.len() - 2);
            }
            let all: Vec<&str> =
                headers.iter().map(String::as_str).chain(arguments.iter().copied()).collect();
            let all = [&["--compressed"][..], &all].concat();
            answers.push(curl(&format!("{base}{INGESTION}"), &all)?);
        }
        for seen in &answers {
            assert_eq!((seen.status, form(&seen.body).as_str()), (*status, *expected), "{what}");
            assert_eq!(seen.content_type, "application/json", "{what}");
            assert_eq!(seen.track_id, "call-1", "{what}");
        }
        let is_large = *status == 400;
        let encoding = if is_large { "gzip" } else { "" };
        assert_eq!(answers[0].encoding, encoding, "{what}");
    }
    // The same path with another meter; the simulator has every meter.
    let url = format!("{}/meters/streaming/ingestion/other", bases[0]);
    let authorization = "Authorization: Bearer secret";
    let seen = curl(&url, &["--header", authorization, "--json", &one])?;
    assert_eq!((seen.status, form(&seen.body).as_str()), (404, message));
    // Curl sent the array twice, and the documentation has no key that would make that known.
    sim.wait_events(500)?;
    folder.wait_counted("delivered", 999)?;
    agent.stop()?;
    sim.check_complete(500)
}
