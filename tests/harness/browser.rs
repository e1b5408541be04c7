//! A headless Chromium, driven by `chromedriver`.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::client::{Post, read_sized_answer};
use super::{Result, fail, text, until};

/// What Chromium needs to run as root and to ask nobody for anything.
const FLAGS: [&str; 9] = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
];

/// How often the driver is started before it has a port.
const TRIES_MAX: usize = 20;

/// What a window looks like.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Look {
    pub(crate) width: u32,
    pub(crate) height: u32,
    pub(crate) is_dark: bool,
}

/// A browser with one window; ended when dropped.
#[derive(Debug)]
pub(crate) struct Browser {
    driver: Child,
    address: SocketAddr,
    session: String,
    profile: TempDir,
}

/// The driver and its port; none: it found none that is free for both versions of the protocol, of which it
/// takes one at random.
fn start_driver() -> std::io::Result<Option<(Child, u16)>> {
    let mut driver = Command::new("chromedriver");
    driver.arg("--port=0").stdout(Stdio::piped()).stderr(Stdio::null());
    let mut driver = driver.spawn()?;
    let lines = driver.stdout.take().map(BufReader::new).into_iter().flat_map(BufRead::lines);
    let port_in = |line: &str| {
        let (_, port) = line.split_once("started successfully on port ")?;
        port.trim_end_matches('.').parse().ok()
    };
    match lines.map_while(std::io::Result::ok).find_map(|line| port_in(&line)) {
        Some(port) => Ok(Some((driver, port))),
        None => driver.wait().map(|_| None),
    }
}

impl Browser {
    /// A new one; none, with words, where Chromium or its driver is missing.
    pub(crate) fn start() -> Result<Option<Self>> {
        let Ok(started) = (0..TRIES_MAX).find_map(|_| start_driver().transpose()).transpose()
        else {
            let words = "SKIPPED: there is no browser, install chromium and chromium-driver";
            writeln!(std::io::stderr(), "{words}")?;
            return Ok(None);
        };
        let (driver, port) = started.ok_or("the driver has no port")?;
        let profile = tempfile::tempdir()?;
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let session = String::new();
        let mut browser = Self { driver, address, session, profile };
        browser.open_session()?;
        Ok(Some(browser))
    }

    fn open_session(&mut self) -> Result {
        let profile = format!("--user-data-dir={}", self.profile.path().display());
        let flags: Vec<&str> = FLAGS.iter().copied().chain([profile.as_str()]).collect();
        let wanted = json!({"capabilities": {"alwaysMatch": {
            "goog:chromeOptions": {"args": flags},
            "goog:loggingPrefs": {"browser": "ALL"},
        }}});
        let answer = self.post("/session", &wanted)?;
        self.session = format!("/session/{}", text(&answer, "/sessionId")?);
        Ok(())
    }

    /// Opens a page and waits until it is loaded.
    pub(crate) fn open(&self, url: &str) -> Result {
        self.tell("url", &json!({"url": url})).map(|_| ())
    }

    /// Runs the body of a function in the page, and gives what it returns.
    pub(crate) fn run(&self, script: &str) -> Result<Value> {
        self.tell("execute/sync", &json!({"script": script, "args": []}))
    }

    /// Waits until an expression is true in the page.
    pub(crate) fn wait(&self, expression: &str) -> Result {
        let script = format!("return Boolean({expression})");
        let waited = until(expression, || Ok(self.run(&script)?.as_bool().filter(|is| *is)));
        waited.map(|_| ()).or_else(|error| {
            let seen = self.run("return document.body.innerText")?;
            fail(format!("{error}, the page says {seen}, its console {:?}", self.console()?))
        })
    }

    /// What the console says since it was asked before, violations of the policy included.
    pub(crate) fn console(&self) -> Result<Vec<String>> {
        let log = self.tell("se/log", &json!({"type": "browser"}))?;
        let entries = log.as_array().ok_or("no log")?.iter();
        Ok(entries.filter_map(|entry| entry["message"].as_str()).map(str::to_owned).collect())
    }

    /// The window as a phone, a desk or the night has it.
    pub(crate) fn look(&self, look: Look) -> Result {
        let Look { width, height, is_dark } = look;
        let metrics =
            json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": false});
        self.command("Emulation.setDeviceMetricsOverride", &metrics)?;
        let scheme = if is_dark { "dark" } else { "light" };
        let features = json!([{"name": "prefers-color-scheme", "value": scheme}]);
        self.command("Emulation.setEmulatedMedia", &json!({"features": features})).map(|_| ())
    }

    /// Writes what the whole page looks like as PNG.
    pub(crate) fn screenshot(&self, path: &Path) -> Result {
        let wanted =
            json!({"format": "png", "captureBeyondViewport": true, "optimizeForSpeed": false});
        let taken = self.command("Page.captureScreenshot", &wanted)?;
        Ok(std::fs::write(path, STANDARD.decode(text(&taken, "/data")?)?)?)
    }

    /// A command of the `DevTools` protocol.
    fn command(&self, command: &str, parameters: &Value) -> Result<Value> {
        self.tell("goog/cdp/execute", &json!({"cmd": command, "params": parameters}))
    }

    fn tell(&self, what: &str, document: &Value) -> Result<Value> {
        self.post(&format!("{}/{what}", self.session), document)
    }

    fn post(&self, path: &str, document: &Value) -> Result<Value> {
        let body = document.to_string();
        let headers = "content-type: application/json\r\n".to_owned();
        let body = body.as_bytes();
        // The driver leaves the connection open, whatever it is asked.
        let mut stream = TcpStream::connect(self.address)?;
        stream.write_all(&Post { address: self.address, path, headers, body }.bytes())?;
        let answer = read_sized_answer(&stream)?;
        let mut document = answer.json()?;
        match answer.status {
            200 => Ok(document["value"].take()),
            _ => fail(format!("{path}: {document}")),
        }
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // Ends the browser; the driver ends with the test whatever becomes of it.
        let _ = self.command("Browser.close", &json!({}));
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}
