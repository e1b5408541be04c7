//! What stops the program before it does anything.

use crate::harness::config::{self, TCP};
use crate::harness::{Config, Folder, Result, Sim, event};

#[test]
fn five_mistakes_are_five_messages_and_nothing_is_created() -> Result {
    let folder = Folder::new()?;
    let mut config = Config::new("http://rest.zuora.com", TCP.replace("\"m\"", "\"n\""));
    config.mediation = "tennant = \"production\"".to_owned();
    config.limits = "requests_in_flight_max = 0".to_owned();
    config.store = "bytes_max = \"10 gigs\"".to_owned();
    folder.configure(&config)?;
    let output = folder.command(&["run"])?;
    assert_eq!(output.status.code(), Some(78));
    let errors = String::from_utf8(output.stderr)?;
    assert!(errors.contains("5 problems"), "{errors}");
    for (key, right) in [
        ("mediation.base_url", "https"),
        ("mediation.limits.requests_in_flight_max", "1 to 1000"),
        ("mediation.tennant", "\"tenant\""),
        ("sources.net.meter", "\"m\""),
        ("store.bytes_max", "4MB"),
    ] {
        let line = errors.lines().find(|line| line.trim_start().starts_with(&format!("{key}:")));
        assert!(line.is_some_and(|line| line.contains(right)), "{key}: {errors}");
    }
    assert!(!folder.state().exists());
    Ok(())
}

#[test]
fn a_file_that_is_not_there_is_named() -> Result {
    let folder = Folder::new()?;
    let output = folder.command(&["run"])?;
    assert_eq!(output.status.code(), Some(78));
    let errors = String::from_utf8(output.stderr)?;
    assert!(errors.contains(&folder.config().display().to_string()), "{errors}");
    Ok(())
}

#[test]
fn a_command_line_that_cannot_be_meant_exits_with_2() -> Result {
    let folder = Folder::new()?;
    assert_eq!(folder.command(&["fly"])?.status.code(), Some(2));
    assert_eq!(folder.command(&["run", "--fly"])?.status.code(), Some(2));
    Ok(())
}

#[test]
fn a_second_agent_on_one_store_is_turned_away_and_the_first_goes_on() -> Result {
    let folder = Folder::new()?;
    let sim = Sim::start()?;
    folder.configure(&Config::new(&sim.url(), config::STDIN))?;
    let mut agent = folder.start_with_pipe()?;
    for arguments in [["run"].as_slice(), ["send", "--meter", "m"].as_slice()] {
        let output = folder.command(arguments)?;
        assert_eq!(output.status.code(), Some(75), "{arguments:?}");
        let errors = String::from_utf8(output.stderr)?;
        assert!(errors.contains(&format!("process {}", agent.id())), "{errors}");
    }
    agent.write(format!("{}\n", event(0)).as_bytes())?;
    sim.wait_events(1)?;
    agent.stop()
}

#[test]
fn a_store_that_cannot_be_made_exits_with_its_own_code() -> Result {
    let folder = Folder::new()?;
    folder.configure(&Config::new("http://127.0.0.1:1", config::STDIN))?;
    std::fs::write(folder.state(), "a file in the place of the directory")?;
    let output = folder.command(&["run"])?;
    assert_eq!(output.status.code(), Some(73), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

#[test]
fn a_store_of_another_program_is_left_alone() -> Result {
    let folder = Folder::new()?;
    folder.configure(&Config::new("http://127.0.0.1:1", config::STDIN))?;
    let path = folder.directory("state")?.join("meterd.db");
    std::fs::write(
        &path,
        "this is no database at all, and more than a hundred bytes long".repeat(9),
    )?;
    let before = std::fs::read(&path)?;
    let output = folder.command(&["run"])?;
    assert_eq!(output.status.code(), Some(65), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(std::fs::read(&path)?, before);
    Ok(())
}

#[test]
fn a_port_that_is_taken_is_named() -> Result {
    let folder = Folder::new()?;
    let taken = std::net::TcpListener::bind("127.0.0.1:0")?;
    let address = taken.local_addr()?.to_string();
    folder.configure(&Config::new("http://127.0.0.1:1", TCP.replace("127.0.0.1:0", &address)))?;
    let output = folder.command(&["run"])?;
    assert_eq!(output.status.code(), Some(78));
    let errors = String::from_utf8(output.stderr)?;
    assert!(errors.contains(&address) && errors.contains("net"), "{errors}");
    Ok(())
}
