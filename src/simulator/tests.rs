//! The simulator over real sockets.

use std::future::Future;
use std::io::Write;
use std::net::SocketAddr;
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;
use reqwest::{Client, RequestBuilder, Response, StatusCode};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

mod api;
mod assumptions;

use super::{Error, Handle, Limits, Mode, Settings, Simulator};

type Outcome = Result<(), Box<dyn std::error::Error>>;

/// A simulator that serves, and a client for it.
struct Bench {
    address: SocketAddr,
    handle: Handle,
    client: Client,
}

impl Bench {
    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    fn post(&self, track_id: &str, body: impl Into<reqwest::Body>) -> RequestBuilder {
        let request = self.client.post(self.url("/meters/streaming/ingestion/m"));
        let request = request.header("content-type", "application/json");
        request.header("zuora-track-id", track_id).body(body)
    }

    async fn send(&self, track_id: &str, body: &Value) -> reqwest::Result<Response> {
        self.post(track_id, body.to_string()).send().await
    }

    /// Sends an event over a bare socket, and reads all that comes back.
    async fn send_raw(&self) -> std::io::Result<Vec<u8>> {
        let body = event("raw").to_string();
        let head = format!(
            "POST /usage/bulk/m HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n\
             zuora-track-id: raw\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        let mut stream = TcpStream::connect(self.address).await?;
        stream.write_all(head.as_bytes()).await?;
        stream.write_all(body.as_bytes()).await?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await?;
        Ok(answer)
    }
}

/// Runs `test` against a simulator, and ends it.
async fn with<F: Future<Output = Outcome>>(
    settings: Settings,
    test: impl FnOnce(Bench) -> F,
) -> Outcome {
    // Another test may have been first; without a provider not even plain HTTP has a client.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let simulator = Simulator::bind(settings).await?;
    let client = Client::builder().no_proxy().timeout(Duration::from_secs(20)).build()?;
    let bench = Bench { address: simulator.address(), handle: simulator.handle(), client };
    let until = CancellationToken::new();
    let served = tokio::spawn(simulator.serve(until.clone()));
    let outcome = test(bench).await;
    until.cancel();
    served.await??;
    outcome
}

fn faulty(fault: &str) -> Result<Settings, super::faults::Error> {
    Ok(Settings { faults: vec![fault.parse()?], ..Settings::default() })
}

fn event(id: &str) -> Value {
    json!({
        "CustomerId": "c", "UsageIdentifier": "u", "Quantity": 1,
        "UsageDate": "2026-11-21T06:00:00+0000", "EventId": id,
    })
}

fn gzip(payload: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(payload)?;
    encoder.finish()
}

fn header<'a>(response: &'a Response, name: &str) -> Option<&'a str> {
    response.headers().get(name).and_then(|value| value.to_str().ok())
}

async fn json_of(response: Response) -> Result<Value, Box<dyn std::error::Error>> {
    Ok(serde_json::from_slice(&response.bytes().await?)?)
}

#[tokio::test]
async fn only_loopback_is_listened_on() {
    for listen in ["0.0.0.0:0", "[::]:0", "192.0.2.1:80"] {
        let listen = listen.parse().unwrap_or_else(|_| SocketAddr::from(([0, 0, 0, 0], 0)));
        let refused = Simulator::bind(Settings { listen, ..Settings::default() }).await;
        assert!(matches!(refused, Err(Error::NotLoopback(_))), "{listen}");
    }
}

#[tokio::test]
async fn accepted_events_are_in_the_books() -> Outcome {
    with(Settings::default(), async |bench: Bench| {
        let answer = bench.send("t-1", &event("a")).await?;
        assert_eq!(answer.status(), StatusCode::OK);
        assert_eq!(header(&answer, "zuora-track-id"), Some("t-1"));
        assert_eq!(header(&answer, "ratelimit-limit"), Some("50000, 50000;w=60"));
        assert_eq!(header(&answer, "ratelimit-remaining"), Some("49999"));
        assert_eq!(json_of(answer).await?["success"], true);
        let batch = serde_json::to_vec(&(0..500).map(|_| event("b")).collect::<Vec<_>>())?;
        let packed = bench.post("t-2", gzip(&batch)?).header("content-encoding", "gzip");
        assert_eq!(packed.send().await?.status(), StatusCode::OK);
        let events = bench.client.get(bench.url("/simulator/events/m")).send().await?;
        assert_eq!(json_of(events).await?, json!({"a": 1, "b": 500}));
        let stats = json_of(bench.client.get(bench.url("/simulator/stats")).send().await?).await?;
        assert_eq!(stats["requests_by_status"], json!({"200": 2}));
        assert_eq!(stats["events_accepted"], 501);
        assert_eq!((&stats["distinct_ids"], &stats["duplicated_ids"]), (&json!(2), &json!(1)));
        assert_eq!(stats["answered"], 2);
        assert_eq!(stats["payload_bytes"], batch.len() + event("a").to_string().len());
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_large_body_is_counted_without_parsing() -> Outcome {
    let settings = Settings { mode: Mode::Count, ..Settings::default() };
    with(settings, async |bench: Bench| {
        let batch = serde_json::to_vec(&vec![event("a"); 10_000])?;
        let packed = gzip(&batch)?;
        let answer = bench.post("t", packed).header("content-encoding", "gzip").send().await?;
        assert_eq!(answer.status(), StatusCode::OK);
        assert_eq!(bench.post("t", batch).send().await?.status(), StatusCode::OK);
        assert_eq!(bench.handle.stats().events_accepted, 20_000);
        assert_eq!(bench.handle.stats().repeats_altered, 1);
        Ok(())
    })
    .await
}

#[tokio::test]
async fn what_is_wrong_with_a_request_is_answered_with_400() -> Outcome {
    with(Settings::default(), async |bench: Bench| {
        let mut wrong = event("a");
        wrong["Quantity"] = json!("1");
        let answer = bench.send("t", &json!([event("a"), wrong])).await?;
        assert_eq!(answer.status(), StatusCode::BAD_REQUEST);
        let body = json_of(answer).await?;
        assert_eq!(body["errors"][0]["code"], "70000000");
        assert_eq!(body["errors"][0]["message"], "event 1: Quantity is no number");
        assert_eq!(body["success"], false);
        let statuses = [
            bench.send("bad:track", &event("a")).await?,
            bench.send("t", &json!([])).await?,
            bench.send("t", &json!(vec![event("a"); 10_001])).await?,
            bench.post("t", "{}").header("content-encoding", "br").send().await?,
            bench.post("t", "no gzip").header("content-encoding", "gzip").send().await?,
            bench.client.post(bench.url("/usage/bulk/m")).body("{}").send().await?,
        ];
        for answer in statuses {
            assert_eq!(answer.status(), StatusCode::BAD_REQUEST);
            assert!(json_of(answer).await?["errors"].is_array());
        }
        assert_eq!(bench.handle.stats().events_accepted, 0);
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_payload_that_is_too_large_is_answered_with_413_packed_or_not() -> Outcome {
    with(Settings::default(), async |bench: Bench| {
        let large = vec![b' '; 4_000_001];
        let bomb = gzip(&vec![b' '; 64_000_000])?;
        for (body, coding) in [(large, "identity"), (bomb, "gzip")] {
            let answer = bench.post("t", body).header("content-encoding", coding).send().await?;
            assert_eq!(answer.status(), StatusCode::PAYLOAD_TOO_LARGE);
            assert_eq!(json_of(answer).await?, json!({"message": "Payload too large."}));
        }
        let huge = vec![b' '; 20_000_000];
        assert_eq!(bench.post("t", huge).send().await?.status(), StatusCode::PAYLOAD_TOO_LARGE);
        Ok(())
    })
    .await
}

#[tokio::test]
async fn calls_above_the_limit_are_answered_with_429_and_when_to_come_again() -> Outcome {
    let limits = Limits { calls_per_minute: 2, ..Limits::PRODUCTION };
    with(Settings { limits, ..Settings::default() }, async |bench: Bench| {
        for remaining in ["1", "0"] {
            let answer = bench.send("t", &event("a")).await?;
            assert_eq!(header(&answer, "ratelimit-remaining"), Some(remaining));
        }
        let answer = bench.send("t", &event("a")).await?;
        assert_eq!(answer.status(), StatusCode::TOO_MANY_REQUESTS);
        let wait = header(&answer, "retry-after").and_then(|wait| wait.parse::<u64>().ok());
        assert!(wait.is_some_and(|seconds| (1..=60).contains(&seconds)));
        assert!(header(&answer, "ratelimit-reset").is_some());
        assert_eq!(json_of(answer).await?, json!({"message": "Too many requests."}));
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_token_is_wanted_once_there_are_credentials() -> Outcome {
    let credentials = Some(("id".to_owned(), "secret".to_owned()));
    with(Settings { credentials, ..Settings::default() }, async |bench: Bench| {
        let ask = |secret: &str| {
            let form = format!("client_id=id&client_secret={secret}&grant_type=client_credentials");
            let request = bench.client.post(bench.url("/oauth/token")).body(form);
            request.header("content-type", "application/x-www-form-urlencoded").send()
        };
        assert_eq!(bench.send("t", &event("a")).await?.status(), StatusCode::UNAUTHORIZED);
        assert_eq!(ask("guess").await?.status(), StatusCode::UNAUTHORIZED);
        let token = json_of(ask("secret").await?).await?;
        assert_eq!((&token["token_type"], &token["expires_in"]), (&json!("bearer"), &json!(3599)));
        let bearer = token["access_token"].as_str().unwrap_or_default();
        let answer = bench.post("t", event("a").to_string()).bearer_auth(bearer).send().await?;
        assert_eq!(answer.status(), StatusCode::OK);
        let answer = bench.post("t", event("a").to_string()).bearer_auth("old").send().await?;
        assert_eq!(json_of(answer).await?, json!({"message": "Unauthorized."}));
        assert_eq!(bench.handle.stats().token_calls, 2);
        Ok(())
    })
    .await
}

#[tokio::test]
async fn who_sends_much_to_the_wrong_place_reads_the_answer() -> Outcome {
    let credentials = Some(("id".to_owned(), "secret".to_owned()));
    with(Settings { credentials, ..Settings::default() }, async |bench: Bench| {
        let much = || vec![b' '; 8_000_000];
        assert_eq!(bench.post("t", much()).send().await?.status(), StatusCode::UNAUTHORIZED);
        let lost = bench.client.post(bench.url("/meters/ingestion/m")).body(much()).send().await?;
        assert_eq!(lost.status(), StatusCode::NOT_FOUND);
        assert_eq!(json_of(lost).await?, json!({"message": "Not found."}));
        Ok(())
    })
    .await
}

#[tokio::test]
async fn reset_after_accepts_and_sends_not_one_byte() -> Outcome {
    with(faulty("reset-afterx1")?, async |bench: Bench| {
        assert_eq!(bench.send_raw().await?, b"");
        let stats = bench.handle.stats();
        assert_eq!((stats.events_accepted, stats.requests_without_answer), (1, 1));
        assert_eq!(bench.send("raw", &event("raw")).await?.status(), StatusCode::OK);
        let stats = bench.handle.stats();
        assert_eq!((stats.repeats_unexplained, stats.duplicated_ids), (0, 1));
        assert_eq!(stats.repeats.first().map(|repeat| repeat.unanswered), Some(1));
        assert_eq!(bench.send("raw", &event("raw")).await?.status(), StatusCode::OK);
        assert_eq!(bench.handle.stats().repeats_unexplained, 1);
        Ok(())
    })
    .await
}

#[tokio::test]
async fn reset_before_accepts_nothing() -> Outcome {
    with(faulty("reset-beforex1")?, async |bench: Bench| {
        // The kernel may report a reset instead of an end, because the body was not read.
        let answer = bench.send_raw().await.unwrap_or_default();
        assert_eq!(answer, b"");
        let stats = bench.handle.stats();
        assert_eq!((stats.requests, stats.requests_without_answer), (1, 1));
        assert_eq!(stats.events_accepted, 0);
        assert_eq!(stats.faults_played.get("reset-before"), Some(&1));
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_half_answer_has_a_status_and_a_body_that_ends_too_early() -> Outcome {
    with(faulty("half-answer")?, async |bench: Bench| {
        let raw = String::from_utf8(bench.send_raw().await?)?;
        assert!(raw.starts_with("HTTP/1.1 200") && raw.ends_with(r#"{"success":tr"#), "{raw}");
        let answer = bench.send("t", &event("a")).await?;
        assert!(answer.status() == StatusCode::OK && answer.bytes().await.is_err());
        let stats = bench.handle.stats();
        assert_eq!((stats.events_accepted, stats.answered), (2, 0));
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_client_that_does_not_wait_out_a_hang_has_an_excuse() -> Outcome {
    with(faulty("hang=1hx1")?, async |bench: Bench| {
        let impatient = bench.post("t", event("a").to_string());
        let lost = impatient.timeout(Duration::from_millis(50)).send().await;
        assert!(lost.is_err_and(|error| error.is_timeout()));
        assert_eq!(bench.send("t", &event("a")).await?.status(), StatusCode::OK);
        let stats = bench.handle.stats();
        assert_eq!((stats.events_accepted, stats.repeats_unexplained), (2, 0));
        Ok(())
    })
    .await
}

#[tokio::test]
async fn answers_of_faults_have_the_form_of_their_status() -> Outcome {
    with(Settings::default(), async |bench: Bench| {
        let check = async |fault: &str, status: u16, form: Value, events: u64| -> Outcome {
            let faults = bench.client.post(bench.url("/simulator/faults"));
            let faults = faults.header("content-type", "application/json");
            let replaced = faults.body(json!([fault]).to_string()).send().await?;
            assert_eq!(replaced.status(), StatusCode::OK);
            bench.handle.reset();
            let answer = bench.send("t", &event("a")).await?;
            assert_eq!(answer.status(), status, "{fault}");
            assert_eq!(json_of(answer).await?, form, "{fault}");
            assert_eq!(bench.handle.stats().events_accepted, events, "{fault}");
            Ok(())
        };
        let reasons = json!({"reasons": [{"code": "503", "message": "Service unavailable."}]});
        check("status=503", 503, reasons, 0).await?;
        let coded = |code| json!([{"code": code, "message": "Validation failed."}]);
        let errors = json!({"errors": coded("70002001"), "success": false});
        check("status=400,code=70002001", 400, errors, 0).await?;
        check("unauthorized", 401, json!({"message": "Unauthorized."}), 0).await?;
        check("status=404", 404, json!({"message": "Meter not found."}), 0).await?;
        let received = json!({"success": true, "message": "Events were received."});
        check("status=202", 202, received.clone(), 1).await?;
        check("slow=5ms", 200, received, 1).await?;
        let error = json!([{"code": "70002005", "message": "The request was not processed."}]);
        check("no-success", 200, json!({"errors": error, "success": false}), 0).await
    })
    .await
}

#[tokio::test]
async fn rubbish_is_no_json_and_is_accepted() -> Outcome {
    with(faulty("rubbish")?, async |bench: Bench| {
        let answer = bench.send("t", &event("a")).await?;
        assert_eq!(answer.status(), StatusCode::OK);
        assert!(std::str::from_utf8(&answer.bytes().await?).is_err());
        let stats = bench.handle.stats();
        assert_eq!((stats.events_accepted, stats.answered), (1, 0));
        Ok(())
    })
    .await
}

#[tokio::test]
async fn faults_that_cannot_be_read_leave_those_in_force() -> Outcome {
    with(faulty("status=503")?, async |bench: Bench| {
        for body in [r#"["explode"]"#, r#"{"fault":1}"#, "x"] {
            let request = bench.client.post(bench.url("/simulator/faults")).body(body);
            let answer = request.header("content-type", "application/json").send().await?;
            assert_eq!(answer.status(), StatusCode::BAD_REQUEST);
        }
        assert_eq!(bench.send("t", &event("a")).await?.status(), StatusCode::SERVICE_UNAVAILABLE);
        Ok(())
    })
    .await
}

#[tokio::test]
async fn the_token_endpoint_fails_on_request() -> Outcome {
    with(faulty("token-status=503,retry-after=7x1")?, async |bench: Bench| {
        let ask = || {
            let form = "client_id=x&client_secret=y&grant_type=client_credentials";
            let request = bench.client.post(bench.url("/oauth/token")).body(form);
            request.header("content-type", "application/x-www-form-urlencoded").send()
        };
        let answer = ask().await?;
        assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(header(&answer, "retry-after"), Some("7"));
        assert_eq!(ask().await?.status(), StatusCode::OK);
        Ok(())
    })
    .await
}
