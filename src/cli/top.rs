//! `meterd top`: the status in a terminal, as it changes.
//!
//! It reads the store and asks nobody: it works without a token, and while the daemon is down. The
//! terminal is as it was afterwards, whatever the end.

mod screen;

use std::io::{self, IsTerminal};
use std::time::{Duration, Instant};

use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use tokio::sync::mpsc::Receiver;
use tokio::sync::mpsc::error::TryRecvError;

use super::failure::Failure;
use super::run::{requests, runtime};
use super::store::{Opened, StoreArguments};
use crate::admin::history::{History, Reading};
use crate::admin::verdict::{Facts, troubles};
use crate::agent::Request;
use crate::clock::Timestamp;
use crate::source::file;
use screen::Shown;

/// Between two looks at the store; a look is followed by a rest that is twenty times as long.
const TICK: Duration = Duration::from_secs(1);
const REST: u32 = 20;

/// So soon a key or a signal is heard.
const LISTEN: Duration = Duration::from_millis(100);

/// An event that waits for longer is told as trouble, as `admin.lag_max` has it by default.
const LAG_MAX: Duration = Duration::from_secs(900);

/// The arguments of `meterd top`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    store: StoreArguments,
}

/// Shows the status until `q`, Esc, Ctrl-C or a signal.
pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    if !io::stdout().is_terminal() || !io::stdin().is_terminal() {
        return Err(Failure::new(Failure::USAGE, "this is no terminal: see meterd status"));
    }
    let mut opened = arguments.store.open()?;
    let runtime = runtime()?;
    let mut signals = runtime.block_on(async { requests() })?;
    let failed = |error: io::Error| Failure::new(Failure::IO, format!("the terminal: {error}"));
    // A panic gives the terminal back as well.
    let mut terminal = ratatui::try_init().map_err(failed)?;
    let shown = show(&mut terminal, &mut opened, &mut signals);
    let restored = ratatui::try_restore();
    shown?;
    restored.map_err(failed)
}

/// Looks and draws until the end.
fn show(
    terminal: &mut DefaultTerminal,
    opened: &mut Opened,
    signals: &mut Receiver<Request>,
) -> Result<(), Failure> {
    let mut history = History::default();
    loop {
        let begin = Instant::now();
        let shown = look(opened, &mut history)?;
        let next = begin + TICK.max(begin.elapsed() * REST);
        loop {
            if let Err(error) = terminal.draw(|frame| screen::draw(frame, &shown)) {
                return Err(Failure::new(Failure::IO, format!("the terminal: {error}")));
            }
            match wait(next, signals) {
                Ok(Heard::Nothing) => break,
                Ok(Heard::Resize) => {}
                Ok(Heard::End) => return Ok(()),
                Err(error) => {
                    return Err(Failure::new(Failure::IO, format!("the terminal: {error}")));
                }
            }
        }
    }
}

fn look(opened: &mut Opened, history: &mut History) -> Result<Shown, Failure> {
    let now = Timestamp::now();
    let Opened { reader, bytes_max } = opened;
    let status = reader.status_with_lag(now, *bytes_max, file::lag_bytes)?;
    let rates = history.add(Reading::new(&status, Instant::now(), now));
    let is_full = bytes_max.is_some_and(|max| status.store.bytes >= max);
    let facts = Facts { commits_fail: false, is_full, lag_max: LAG_MAX };
    let troubles = troubles(&status, facts);
    Ok(Shown { at: now, status, troubles, rates, samples: history.all() })
}

/// What came of waiting.
enum Heard {
    Nothing,
    Resize,
    End,
}

/// Waits until `next`, or for a key or a signal.
fn wait(next: Instant, signals: &mut Receiver<Request>) -> io::Result<Heard> {
    loop {
        // Every signal that is listened to ends it.
        if !matches!(signals.try_recv(), Err(TryRecvError::Empty)) {
            return Ok(Heard::End);
        }
        let left = next.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(Heard::Nothing);
        }
        if !event::poll(left.min(LISTEN))? {
            continue;
        }
        match event::read()? {
            Event::Key(key) if ends(key) => return Ok(Heard::End),
            Event::Resize(..) => return Ok(Heard::Resize),
            _ => {}
        }
    }
}

fn ends(key: KeyEvent) -> bool {
    let is_control = key.modifiers.contains(KeyModifiers::CONTROL);
    key.kind != KeyEventKind::Release
        && match key.code {
            KeyCode::Char('q') | KeyCode::Esc => true,
            KeyCode::Char('c') => is_control,
            _ => false,
        }
}
