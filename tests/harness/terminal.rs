//! A program in a pseudo-terminal, and what it has drawn there.

use std::fs::File;
use std::io::{Read, Write};
use std::num::NonZero;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::fs::OFlags;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize};

use super::{Result, fail, until};

/// A terminal with a program in it, which is killed when this is dropped.
pub(crate) struct Terminal {
    pub(crate) child: Child,
    master: File,
    /// Held so that the terminal stays when the program has ended.
    slave: File,
    screen: Arc<Mutex<vt100::Parser>>,
}

impl Terminal {
    /// Runs `command` in a terminal of so many rows and columns.
    pub(crate) fn run(mut command: Command, [rows, columns]: [NonZero<u16>; 2]) -> Result<Self> {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY)?;
        grantpt(&master)?;
        unlockpt(&master)?;
        let name = ptsname(&master, Vec::new())?;
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
        let slave = File::from(rustix::fs::open(&name, flags, rustix::fs::Mode::empty())?);
        tcsetwinsize(&slave, size(rows, columns))?;
        let ends = [slave.try_clone()?, slave.try_clone()?, slave.try_clone()?];
        let [input, output, errors] = ends.map(Stdio::from);
        let child =
            command.env("TERM", "xterm-256color").stdin(input).stdout(output).stderr(errors);
        let child = child.spawn()?;
        let master = File::from(master);
        let screen = Arc::new(Mutex::new(vt100::Parser::new(rows, columns, 0)));
        let (mut reading, drawn) = (master.try_clone()?, Arc::clone(&screen));
        // Ends when the last holder of the other end is gone.
        std::thread::Builder::new().spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(count @ 1..) = reading.read(&mut bytes) {
                drawn.lock().unwrap_or_else(PoisonError::into_inner).process(&bytes[..count]);
            }
        })?;
        Ok(Self { child, master, slave, screen })
    }

    /// What is on the screen, a line each row.
    pub(crate) fn contents(&self) -> String {
        self.screen().screen().contents()
    }

    /// Waits until the screen has `words`.
    pub(crate) fn wait(&self, words: &str) -> Result {
        let waited = until(words, || Ok(self.contents().contains(words).then_some(())));
        waited.or_else(|error| fail(format!("{error}, the screen has\n{}", self.contents())))
    }

    /// Types `keys`.
    pub(crate) fn press(&mut self, keys: &[u8]) -> Result {
        Ok(self.master.write_all(keys)?)
    }

    /// Gives the window another size.
    pub(crate) fn resize(&self, [rows, columns]: [NonZero<u16>; 2]) -> Result {
        self.screen().screen_mut().set_size(rows, columns);
        Ok(tcsetwinsize(&self.slave, size(rows, columns))?)
    }

    /// Waits for the end of the program, and fails unless the terminal is as it was.
    pub(crate) fn wait_restored(&mut self) -> Result<Option<i32>> {
        let ended = until("the end of the program", || Ok(self.child.try_wait()?))?;
        until("the screen that was there before", || {
            let screen = self.screen();
            let is_before = !screen.screen().alternate_screen() && !screen.screen().hide_cursor();
            Ok(is_before.then_some(()))
        })?;
        let modes = tcgetattr(&self.slave)?.local_modes;
        assert!(
            modes.contains(LocalModes::ECHO | LocalModes::ICANON | LocalModes::ISIG),
            "{modes:?}"
        );
        Ok(ended.code())
    }

    fn screen(&self) -> std::sync::MutexGuard<'_, vt100::Parser> {
        self.screen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn size(rows: NonZero<u16>, columns: NonZero<u16>) -> Winsize {
    Winsize { ws_row: rows.get(), ws_col: columns.get(), ws_xpixel: 0, ws_ypixel: 0 }
}
