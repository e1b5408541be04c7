//! Health, metrics and status over HTTP.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use crate::harness::config::{STDIN, TCP, file};
use crate::harness::sim::ReservedPort;
use crate::harness::{Config, Folder, Result, Sim, event, lines, number, until};

/// A configuration with an admin listener on a free port.
fn config(sim: &Sim) -> Config {
    Config { admin: "listen = \"127.0.0.1:0\"".to_owned(), ..Config::new(&sim.url(), STDIN) }
}

/// Status and body of the answer to a request with these headers.
fn ask(address: SocketAddr, request: &str) -> Result<(u16, String)> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    stream.write_all(request.as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").ok_or_else(|| format!("answer: {answer}"))?;
    Ok((head.split(' ').nth(1).ok_or("no status")?.parse()?, body.to_owned()))
}

pub(super) fn fetch(address: SocketAddr, path: &str) -> Result<(u16, String)> {
    ask(address, &format!("GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n"))
}

/// The value of a metric with its labels; none when it is not there.
fn metric(metrics: &str, name: &str) -> Option<f64> {
    let line = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))?;
    line.parse().ok()
}

#[test]
fn health_readiness_and_status_follow_what_happens() -> Result {
    let folder = Folder::new()?;
    let sim = Sim::with_faults(&["status=403"])?;
    folder.configure(&config(&sim))?;
    let mut agent = folder.start_with_pipe()?;
    let at = agent.admin_address()?;
    assert_eq!(fetch(at, "/readyz")?.0, 200);
    agent.write(lines(0..10).as_bytes())?;
    folder.wait_state("held")?;
    let (status, body) = fetch(at, "/readyz")?;
    assert_eq!(status, 503, "{body}");
    let document: Value = serde_json::from_str(&body)?;
    let failing = document["failing"][0].as_str().ok_or("nothing fails")?;
    assert!(failing.starts_with("meter m is held: 403"), "{failing}");
    // Not being ready is no reason to be killed.
    assert_eq!(
        fetch(at, "/healthz")?,
        (200, "{\n  \"status\": \"ok\",\n  \"failing\": []\n}\n".into())
    );
    let status: Value = serde_json::from_str(&fetch(at, "/status")?.1)?;
    assert_eq!(number(&status, "/equation/stored")?, 10);
    assert!(status["store"]["bytes_max"].is_number(), "{status}");

    let health = |ready: bool, at: SocketAddr| -> Result<Option<i32>> {
        let admin = format!("listen = \"{at}\"");
        folder.configure(&Config { admin, ..config(&sim) })?;
        let arguments: &[&str] = if ready { &["health", "--ready"] } else { &["health"] };
        Ok(folder.command(arguments)?.status.code())
    };
    assert_eq!((health(false, at)?, health(true, at)?), (Some(0), Some(1)));
    sim.replace_faults(&[])?;
    folder.wait_counted("delivered", 10)?;
    until("ready again", || Ok((fetch(at, "/readyz")?.0 == 200).then_some(())))?;
    assert_eq!(health(true, at)?, Some(0));
    agent.stop()?;
    assert_eq!(health(false, at)?, Some(69));
    Ok(())
}

/// Every metric that others rely on.
const METRICS: [&str; 25] = [
    "meterd_source_lag_bytes{source=\"app\"}",
    "meterd_source_connections{source=\"net\"}",
    "meterd_rate_limit_wait_seconds_total",
    "meterd_events_read_total{source=\"pipe\"}",
    "meterd_events_ignored_total{source=\"pipe\"}",
    "meterd_bytes_read_total{source=\"pipe\"}",
    "meterd_events_delivered_total{meter=\"m\"}",
    "meterd_events_dead_lettered_total{meter=\"m\",reason=\"wrong_type\"}",
    "meterd_events_stored{meter=\"m\"}",
    "meterd_oldest_undelivered_seconds{meter=\"m\"}",
    "meterd_lane_state{meter=\"m\",state=\"running\"}",
    "meterd_lane_state{meter=\"m\",state=\"held\"}",
    "meterd_requests_total{meter=\"m\",status=\"200\"}",
    "meterd_requests_total{meter=\"m\",status=\"503\"}",
    "meterd_retries_total{meter=\"m\",reason=\"unavailable\"}",
    "meterd_unknown_outcomes_total{meter=\"m\"}",
    "meterd_payload_bytes_total{meter=\"m\"}",
    "meterd_wire_bytes_total{meter=\"m\"}",
    "meterd_request_duration_seconds_count{meter=\"m\"}",
    "meterd_store_bytes",
    "meterd_store_bytes_max",
    "meterd_store_commit_duration_seconds_count",
    "process_resident_memory_bytes",
    "process_cpu_seconds_total",
    "process_open_fds",
];

#[test]
fn metrics_say_what_happened() -> Result {
    let folder = Folder::new()?;
    let sim = Sim::with_faults(&["status=503x2"])?;
    let log = folder.path("usage.jsonl");
    std::fs::write(&log, "\n")?;
    folder.configure(&Config { sources: format!("{STDIN}{TCP}{}", file(&log)), ..config(&sim) })?;
    let mut agent = folder.start_with_pipe()?;
    let at = agent.admin_address()?;
    let connected = TcpStream::connect(agent.tcp_address()?)?;
    let wrong = event(10).replace("\"C-00010\"", "5");
    agent.write(format!("{}{wrong}\n\n", lines(0..10)).as_bytes())?;
    folder.wait_counted("delivered", 10)?;
    folder.wait_state("running")?;
    let (status, metrics) = fetch(at, "/metrics")?;
    assert_eq!(status, 200);
    for name in METRICS {
        assert!(metric(&metrics, name).is_some(), "{name}: {metrics}");
    }
    let value = |name: &str| metric(&metrics, name);
    assert_eq!(value("meterd_events_read_total{source=\"pipe\"}"), Some(12.0));
    assert_eq!(value("meterd_events_ignored_total{source=\"pipe\"}"), Some(1.0));
    assert_eq!(value("meterd_events_delivered_total{meter=\"m\"}"), Some(10.0));
    assert_eq!(value("meterd_requests_total{meter=\"m\",status=\"503\"}"), Some(2.0));
    assert_eq!(value("meterd_lane_state{meter=\"m\",state=\"running\"}"), Some(1.0));
    let version = concat!("meterd_build_info{version=\"", env!("CARGO_PKG_VERSION"), "\"}");
    assert_eq!(value(version), Some(1.0));
    let open =
        "GET /metrics HTTP/1.0\r\nHost: localhost\r\nAccept: application/openmetrics-text\r\n\r\n";
    assert!(ask(at, open)?.1.ends_with("# EOF\n"));
    assert!(metrics.contains("# TYPE meterd_events_read_total counter\n"), "{metrics}");
    check_with_promtool(&metrics)?;
    check_dashboard(&folder, &metrics)?;

    let open = "meterd_source_connections{source=\"net\"}";
    let lag = "meterd_source_lag_bytes{source=\"app\"}";
    let wait = |name: &str, expected: f64| {
        until(
            name,
            || Ok((metric(&fetch(at, "/metrics")?.1, name) == Some(expected)).then_some(())),
        )
    };
    wait(open, 1.0)?;
    drop(connected);
    wait(open, 0.0)?;
    wait(lag, 0.0)?;
    // Half a line is not read to its end.
    std::fs::write(&log, "\nhalf")?;
    wait(lag, 4.0)?;
    let status: Value = serde_json::from_str(&fetch(at, "/status")?.1)?;
    assert_eq!(number(&status, "/sources/app/lag_bytes")?, 4);
    agent.stop()
}

#[test]
fn waits_for_the_rate_are_counted() -> Result {
    let folder = Folder::new()?;
    let sim = Sim::start()?;
    let limits = "requests_per_minute = 60\nevents_per_request_max = 1".to_owned();
    folder.configure(&Config { limits, ..config(&sim) })?;
    let mut agent = folder.start_with_pipe()?;
    let at = agent.admin_address()?;
    agent.write(lines(0..10).as_bytes())?;
    until("a wait for the rate", || {
        let metrics = fetch(at, "/metrics")?.1;
        let waited = metric(&metrics, "meterd_rate_limit_wait_seconds_total");
        Ok(waited.is_some_and(|seconds| seconds >= 1.0).then_some(()))
    })?;
    agent.signal(rustix::process::Signal::KILL)
}

/// The names of metrics in `text`, without what tells the parts of a histogram.
fn names(text: &str) -> BTreeSet<String> {
    let words = text.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_');
    let names = words.filter(|word| word.starts_with("meterd_") || word.starts_with("process_"));
    let part = |name: &str| {
        let parts = ["_bucket", "_sum", "_count"];
        parts.iter().find_map(|part| name.strip_suffix(part)).unwrap_or(name).to_owned()
    };
    names.map(part).collect()
}

/// The dashboard asks for each metric that there is and for no other, and Prometheus understands how.
fn check_dashboard(folder: &Folder, metrics: &str) -> Result {
    let dashboard: Value = serde_json::from_str(include_str!("../../docs/grafana.json"))?;
    let panels = dashboard["panels"].as_array().ok_or("no panels")?;
    let targets = panels.iter().filter_map(|panel| panel["targets"].as_array()).flatten();
    let queries: Vec<&str> = targets.filter_map(|target| target["expr"].as_str()).collect();
    let types = metrics.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next());
    let there: BTreeSet<String> = types.map(str::to_owned).collect();
    assert_eq!(names(&queries.join("\n")), there);
    let rule = |(number, query): (usize, &&str)| {
        let query = query.replace("$__rate_interval", "5m").replace("$instance", ".*");
        serde_json::json!({"record": format!("panel:{number}"), "expr": query})
    };
    let rules: Vec<Value> = queries.iter().enumerate().map(rule).collect();
    let rules = serde_json::json!({"groups": [{"name": "dashboard", "rules": rules}]});
    std::fs::write(folder.path("dashboard.yml"), rules.to_string())?;
    let Ok(output) = Command::new("promtool")
        .args(["check", "rules", "dashboard.yml"])
        .current_dir(folder)
        .output()
    else {
        writeln!(std::io::stderr(), "SKIPPED: there is no promtool, install prometheus")?;
        return Ok(());
    };
    assert!(output.status.success(), "{output:?}");
    Ok(())
}

/// Prometheus' own judgement, where its tool is.
fn check_with_promtool(metrics: &str) -> Result {
    let mut promtool = Command::new("promtool");
    promtool.args(["check", "metrics"]).stdin(Stdio::piped()).stderr(Stdio::piped());
    let Ok(mut promtool) = promtool.spawn() else {
        writeln!(std::io::stderr(), "SKIPPED: there is no promtool, install prometheus")?;
        return Ok(());
    };
    promtool.stdin.take().ok_or("no input")?.write_all(metrics.as_bytes())?;
    let output = promtool.wait_with_output()?;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

#[test]
fn a_real_prometheus_takes_the_metrics_and_the_alerts() -> Result {
    let rules = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/alerts.yml");
    let cases = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/alerts.test.yml");
    let Ok(tested) = Command::new("promtool").args(["test", "rules", cases]).output() else {
        writeln!(std::io::stderr(), "SKIPPED: there is no promtool, install prometheus")?;
        return Ok(());
    };
    assert!(tested.status.success(), "{tested:?}");
    let folder = Folder::new()?;
    let sim = Sim::start()?;
    folder.configure(&config(&sim))?;
    let mut agent = folder.start_with_pipe()?;
    let at = agent.admin_address()?;
    agent.write(lines(0..10).as_bytes())?;
    folder.wait_counted("delivered", 10)?;
    let port = ReservedPort::new()?;
    let prometheus_at = port.address();
    let scrape = format!(
        "global: {{ scrape_interval: 1s }}\nrule_files: [\"{rules}\"]\nscrape_configs:\n\
         - {{ job_name: meterd, static_configs: [ {{ targets: [\"{at}\"] }} ] }}\n"
    );
    std::fs::write(folder.path("prometheus.yml"), scrape)?;
    drop(port);
    let mut prometheus = Command::new("prometheus")
        .args(["--config.file=prometheus.yml", "--storage.tsdb.path=tsdb"])
        .arg(format!("--web.listen-address={prometheus_at}"))
        .current_dir(&folder)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    let delivered = until("the metric in Prometheus", || {
        let query = "/api/v1/query?query=meterd_events_delivered_total";
        let Ok((200, answer)) = fetch(prometheus_at, query) else { return Ok(None) };
        let answer: Value = serde_json::from_str(&answer)?;
        Ok(answer.pointer("/data/result/0/value/1").and_then(Value::as_str).map(str::to_owned))
    });
    prometheus.kill()?;
    prometheus.wait()?;
    assert_eq!(delivered?, "10");
    agent.stop()
}

#[test]
fn only_who_should_is_answered() -> Result {
    let folder = Folder::new()?;
    let sim = Sim::start()?;
    folder.configure(&config(&sim))?;
    let mut agent = folder.start_with_pipe()?;
    let at = agent.admin_address()?;
    let of = |request: &str| ask(at, request).map(|(status, _)| status);
    assert_eq!(of("GET /healthz HTTP/1.0\r\nHost: rebound.example\r\n\r\n")?, 421);
    assert_eq!(of("POST /healthz HTTP/1.0\r\nHost: localhost\r\ncontent-length: 0\r\n\r\n")?, 405);
    assert_eq!(of("GET /other HTTP/1.0\r\nHost: localhost\r\n\r\n")?, 404);
    assert_eq!(
        of(&format!(
            "GET /healthz HTTP/1.0\r\nHost: localhost\r\nX: {}\r\n\r\n",
            "x".repeat(20_000)
        ))?,
        431
    );
    agent.stop()?;

    std::fs::write(folder.path("token"), "abc\n")?;
    let admin = "listen = \"0.0.0.0:0\"\ntoken_file = \"token\"".to_owned();
    folder.configure(&Config { admin, ..config(&sim) })?;
    let mut agent = folder.start_with_pipe()?;
    let port = agent.admin_address()?.port();
    let at = SocketAddr::from(([127, 0, 0, 1], port));
    let of = |headers: &str| ask(at, &format!("GET /healthz HTTP/1.0\r\n{headers}\r\n"));
    assert_eq!(of("Host: localhost\r\n")?.0, 401);
    assert_eq!(of("Host: x.example\r\nAuthorization: Bearer abd\r\n")?.0, 401);
    assert_eq!(of("Host: x.example\r\nAuthorization: Bearer abc\r\n")?.0, 200);
    agent.stop()?;

    let admin = "listen = \"0.0.0.0:9180\"".to_owned();
    folder.configure(&Config { admin, ..config(&sim) })?;
    let refused = folder.command(&["run"])?;
    assert_eq!(refused.status.code(), Some(78));
    let said = String::from_utf8(refused.stderr)?;
    assert!(said.contains("admin.listen: found 0.0.0.0:9180, expected a loopback"), "{said}");
    Ok(())
}

#[test]
fn an_address_that_is_taken_is_named() -> Result {
    let folder = Folder::new()?;
    let sim = Sim::start()?;
    let taken = std::net::TcpListener::bind("127.0.0.1:0")?;
    let address = taken.local_addr()?;
    folder.configure(&Config { admin: format!("listen = \"{address}\""), ..config(&sim) })?;
    let refused = folder.command(&["run"])?;
    assert_eq!(refused.status.code(), Some(78));
    let said = String::from_utf8(refused.stderr)?;
    assert!(said.contains(&format!("admin: cannot listen on {address}")), "{said}");
    Ok(())
}
