//! Unix sockets: connections and datagrams, the file's rights, and what lies in its way.

use std::io::Write;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::path::PathBuf;

use crate::harness::{Config, Folder, Result, Sim, event, lines, number};

fn socket(folder: &Folder, more: &str) -> (PathBuf, String) {
    let path = folder.path("usage.sock");
    let shown = path.display();
    let source =
        format!("[sources.local]\ntype = \"unix\"\nmeter = \"m\"\npath = \"{shown}\"\n{more}\n");
    (path, source)
}

#[test]
fn lines_over_a_unix_socket_are_delivered_once() -> Result {
    let folder = Folder::new()?;
    let sim = Sim::start()?;
    let (path, source) = socket(&folder, "mode = \"0600\"");
    folder.configure(&Config::new(&sim.url(), source))?;
    let mut agent = folder.start()?;
    assert_eq!(std::fs::symlink_metadata(&path)?.mode() & 0o777, 0o600);
    for start in [0, 500] {
        UnixStream::connect(&path)?.write_all(lines(start..start + 500).as_bytes())?;
    }
    sim.wait_events(1000)?;
    folder.wait_counted("delivered", 1000)?;
    agent.stop()?;
    assert!(!path.exists());
    sim.check_exactly_once(1000)
}

#[test]
fn each_datagram_is_whole_lines() -> Result {
    let folder = Folder::new()?;
    let sim = Sim::start()?;
    let (path, source) = socket(&folder, "socket = \"datagram\"\nline_bytes_max = \"4KiB\"");
    folder.configure(&Config::new(&sim.url(), source))?;
    let mut agent = folder.start()?;
    let sender = UnixDatagram::unbound()?;
    sender.connect(&path)?;
    for number in 0..100 {
        sender.send(event(number).as_bytes())?;
    }
    sender.send(lines(100..200).as_bytes())?;
    sender.send(b"")?;
    sender.send(&[b'x'; 5000])?;
    sender.send(b"{\"half\":")?;
    sender.send(event(200).as_bytes())?;
    sim.wait_events(201)?;
    let status = folder.wait_counted("dead_lettered", 2)?;
    assert_eq!(number(&status, "/equation/read")?, 203);
    agent.stop()?;
    sim.check_exactly_once(201)
}

#[test]
fn what_a_killed_agent_left_is_replaced_and_what_is_no_socket_is_not() -> Result {
    let folder = Folder::new()?;
    let sim = Sim::start()?;
    let (path, source) = socket(&folder, "");
    folder.configure(&Config::new(&sim.url(), source))?;
    let mut agent = folder.start()?;
    agent.kill()?;
    assert!(std::fs::symlink_metadata(&path)?.file_type().is_socket());
    let mut agent = folder.start()?;
    UnixStream::connect(&path)?.write_all(lines(0..1).as_bytes())?;
    sim.wait_events(1)?;
    agent.stop()?;

    let precious = folder.path("precious");
    std::fs::write(&precious, "data")?;
    std::os::unix::fs::symlink(&precious, &path)?;
    let output = folder.command(&["run"])?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && said.contains("no socket"), "{said}");
    assert_eq!(std::fs::read(&precious)?, b"data");
    assert!(std::fs::symlink_metadata(&path)?.is_symlink());

    std::fs::remove_file(&path)?;
    let _other = UnixListener::bind(&path)?;
    let output = folder.command(&["run"])?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && said.contains("somebody listens there"), "{said}");
    assert!(path.exists());
    Ok(())
}
