//! The pictures of the page in the documents, taken of the real program: `just images`.

use std::f64::consts::TAU;
use std::fs::File;
use std::io::Write;
use std::net::TcpStream;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::harness::browser::Look;
use crate::harness::{Browser, Folder, Result, Sim, event, fail, lines, number, pause, until};

/// How long traffic is made before the pictures at rest, and during the outage.
const REST: Duration = Duration::from_secs(150);
const OUTAGE: Duration = Duration::from_secs(70);

const STEP: Duration = Duration::from_millis(200);

fn configuration(folder: &Folder, sim: &Sim) -> String {
    let (state, log) = (folder.state(), folder.path("usage.jsonl"));
    format!(
        "[agent]\nname = \"edge-1\"\nstate_dir = \"{}\"\n[mediation]\nbase_url = \"{}\"\n\
         [admin]\nlisten = \"127.0.0.1:0\"\n[log]\nformat = \"json\"\n\
         [meters.api-calls]\nglobal_id = \"g1\"\nevent_id_field = \"EventId\"\n\
         [meters.storage]\nglobal_id = \"g2\"\nevent_id_field = \"EventId\"\n\
         [sources.gateway]\ntype = \"file\"\nmeter = \"api-calls\"\npaths = [\"{}\"]\n\
         [sources.volumes]\ntype = \"tcp\"\nmeter = \"storage\"\nlisten = \"127.0.0.1:0\"\n",
        state.display(),
        sim.url(),
        log.display(),
    )
}

/// Two applications whose load comes in waves.
struct Traffic {
    log: File,
    stream: TcpStream,
    written: u64,
    begin: Instant,
}

impl Traffic {
    fn flow(&mut self, time: Duration) -> Result {
        let end = Instant::now() + time;
        while Instant::now() < end {
            let wave = (self.begin.elapsed().as_secs_f64() / 90.0 * TAU).sin();
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "40 to 160"
            )]
            let count = (100.0 + 50.0 * wave + fastrand::f64() * 20.0 - 10.0) as u64;
            let next = self.written + count;
            self.log.write_all(lines(self.written..next).as_bytes())?;
            self.stream.write_all(lines(next..next + count / 4).as_bytes())?;
            self.written = next + count / 4;
            pause(STEP);
        }
        Ok(())
    }
}

/// Takes a picture of the whole page in three forms.
fn take(browser: &Browser, name: &str) -> Result {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/images");
    for (form, width, is_dark) in
        [("light", 1180, false), ("dark", 1180, true), ("phone", 360, is_night(name))]
    {
        browser.look(Look { width, height: 800, is_dark })?;
        let height = browser.run("return document.documentElement.scrollHeight")?;
        let height = u32::try_from(number(&height, "")?)?;
        browser.look(Look { width, height, is_dark })?;
        // Charts follow the width at the next frame, and numbers at the next look.
        browser.run("window.before = document.getElementById('rate-in').textContent")?;
        browser.wait("document.getElementById('rate-in').textContent !== window.before")?;
        browser.screenshot(&directory.join(format!("page-{name}-{form}.png")))?;
    }
    Ok(())
}

fn is_night(name: &str) -> bool {
    name == "outage"
}

#[test]
#[ignore = "takes five minutes and changes docs/images: just images"]
fn the_page_at_rest_and_during_an_outage() -> Result {
    let Some(browser) = Browser::start()? else { return fail("there is no browser") };
    let (folder, sim) = (Folder::new()?, Sim::start()?);
    std::fs::write(folder.config(), configuration(&folder, &sim))?;
    let mut agent = folder.start()?;
    let stream = TcpStream::connect(agent.tcp_address()?)?;
    let log = File::create(folder.path("usage.jsonl"))?;
    let mut traffic = Traffic { log, stream, written: 0, begin: Instant::now() };
    traffic.flow(REST)?;
    browser.open(&format!("http://{}/", agent.admin_address()?))?;
    browser.wait("document.querySelectorAll('path.curve').length === 4")?;
    std::thread::scope(|scope| -> Result {
        let taking = scope.spawn(|| take(&browser, "rest"));
        traffic.flow(Duration::from_secs(15))?;
        taking.join().map_err(|_| "the pictures failed")?
    })?;

    sim.replace_faults(&["status=503"])?;
    let wrong = event(0).replace("\"Quantity\":", "\"Quantity\":\"many\",\"Was\":");
    traffic.log.write_all(format!("{wrong}\n{{\"CustomerId\":\n").as_bytes())?;
    traffic.flow(OUTAGE)?;
    until("dead letters", || Ok((folder.counted("dead_lettered")? == 2).then_some(())))?;
    browser.run("document.querySelector('#reasons button').click()")?;
    browser.wait("document.querySelectorAll('#letters li').length === 2")?;
    std::thread::scope(|scope| -> Result {
        let taking = scope.spawn(|| take(&browser, "outage"));
        traffic.flow(Duration::from_secs(15))?;
        taking.join().map_err(|_| "the pictures failed")?
    })?;
    sim.replace_faults(&[])?;
    agent.stop()
}
