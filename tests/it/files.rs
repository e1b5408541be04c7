//! Files of a source: links, what is too old, what is removed, and what is still to be read.

use std::fs::{self, File};
use std::time::{Duration, SystemTime};

use crate::harness::config::file;
use crate::harness::sim::ReservedPort;
use crate::harness::{Config, Folder, Result, Sim, lines, number, until};

const HOUR: Duration = Duration::from_secs(3600);

fn age(path: &std::path::Path, by: Duration) -> Result {
    Ok(File::options().append(true).open(path)?.set_modified(SystemTime::now() - by)?)
}

#[test]
fn a_link_and_its_target_are_one_file_through_rotations() -> Result {
    let folder = Folder::new()?;
    let sim = Sim::start()?;
    // As Kubernetes has them: the directory of links, and that of the pod, which comes later.
    let links = folder.directory("containers")?;
    let pods = folder.path("pods");
    let patterns =
        format!("{}\", \"{}", links.join("*.log").display(), pods.join("**/*.log").display());
    folder.configure(&Config::new(&sim.url(), file(std::path::Path::new(&patterns))))?;
    let mut agent = folder.start()?;
    let pod = folder.directory("pods/uid/app")?;
    fs::write(pod.join("0.log"), lines(0..10))?;
    std::os::unix::fs::symlink(pod.join("0.log"), links.join("app.log"))?;
    sim.wait_events(10)?;
    fs::rename(pod.join("0.log"), pod.join("0.log.20261121-061411"))?;
    fs::write(pod.join("0.log"), lines(10..30))?;
    folder.wait_counted("delivered", 30)?;
    agent.stop()?;
    sim.check_exactly_once(30)
}

#[test]
fn files_too_old_are_left_alone_until_they_are_written_to() -> Result {
    let folder = Folder::new()?;
    let sim = Sim::start()?;
    let (old, new) = (folder.path("old.jsonl"), folder.path("new.jsonl"));
    fs::write(&old, lines(10..20))?;
    age(&old, 2 * HOUR)?;
    fs::write(&new, lines(0..10))?;
    let sources = format!("{}ignore_older = \"1h\"\n", file(&folder.path("*.jsonl")));
    folder.configure(&Config::new(&sim.url(), sources))?;
    let mut agent = folder.start()?;
    folder.wait_counted("delivered", 10)?;
    assert_eq!(folder.counted("read")?, 10);
    age(&old, Duration::ZERO)?;
    folder.wait_counted("delivered", 20)?;
    agent.stop()?;
    sim.check_exactly_once(20)
}

#[test]
fn a_file_is_removed_only_when_it_is_delivered() -> Result {
    let folder = Folder::new()?;
    let port = ReservedPort::new()?;
    let logs = folder.directory("logs")?;
    let names = ["whole", "bad.1", "unfinished", "written"].map(|name| logs.join(name));
    let [whole, bad, unfinished, written] = &names;
    fs::write(whole, lines(0..10))?;
    let before_rotation = logs.join("bad");
    fs::write(&before_rotation, format!("{}no event\n", lines(10..20)))?;
    fs::write(unfinished, format!("{}{{\"Cust", lines(20..30)))?;
    fs::write(written, lines(30..40))?;
    for path in [whole, &before_rotation, unfinished] {
        age(path, 2 * HOUR)?;
    }
    let sources = format!("{}remove_after = \"1h\"\n", file(&logs.join("*")));
    folder.configure(&Config::new(&port.url(), sources))?;
    let mut agent = folder.start()?;
    // Read and not delivered: all are there, also after a restart.
    folder.wait_counted("stored", 40)?;
    agent.kill()?;
    fs::rename(&before_rotation, bad)?;
    assert!(names.iter().all(|path| path.exists()));
    let sim = Sim::on(port)?;
    let mut agent = folder.start()?;
    folder.wait_counted("delivered", 40)?;
    until("the file to be removed", || Ok((!whole.exists()).then_some(())))?;
    agent.wait_logged("a file was delivered and removed")?;
    assert!([bad, unfinished, written].iter().all(|path| path.exists()));
    agent.stop()?;
    assert_eq!(fs::read_dir(&logs)?.count(), 3);
    sim.check_exactly_once(40)
}

#[test]
fn the_status_tells_how_much_is_still_to_be_read() -> Result {
    let folder = Folder::new()?;
    let sim = Sim::start()?;
    let path = folder.path("usage.jsonl");
    fs::write(&path, lines(0..10))?;
    folder.configure(&Config::new(&sim.url(), file(&path)))?;
    let mut agent = folder.start()?;
    folder.wait_counted("delivered", 10)?;
    agent.stop()?;
    assert_eq!(number(&folder.status()?, "/sources/app/lag_bytes")?, 0);
    let more = lines(0..15);
    fs::write(&path, &more)?;
    let behind = more.len() - lines(0..10).len();
    assert_eq!(number(&folder.status()?, "/sources/app/lag_bytes")?, i64::try_from(behind)?);
    Ok(())
}
