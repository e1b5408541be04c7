//! The units of systemd: how open they are, and that the template is the service under other names.
//!
//! What the service does on a booted systemd is tried by `tests/system/run`.

use std::io::ErrorKind;
use std::path::Path;
use std::process::Command;

use crate::harness::Result;
use crate::harness::seed::say;
use crate::scorecard::Scored;

/// What `systemd-analyze security` may say of the service: 0 is shut, 10 is open.
const EXPOSURE_MAX: f64 = 1.5;

/// Other versions know other settings, and weigh them differently: the README has the figure of this one.
const VERSION: &str = "252";

fn read(name: &str) -> Result<String> {
    Ok(std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name))?)
}

/// The unit without what stands above its first section.
fn sections(name: &str) -> Result<String> {
    let text = read(name)?;
    let at = text.find("[Unit]").ok_or("no sections")?;
    Ok(text[at..].to_owned())
}

#[test]
fn the_template_is_the_service_under_the_names_of_an_instance() -> Result {
    // Behind each other: a name that was replaced is not replaced again.
    let names = [
        ("Usage events to", "Usage events of %i to"),
        ("/etc/meterd/meterd.toml", "/etc/meterd/%i.toml"),
        ("/var/lib/meterd,", "/var/lib/meterd/%i,"),
        ("StateDirectory=meterd", "StateDirectory=meterd/%i"),
        ("/run/meterd,", "/run/meterd@%i,"),
        ("RuntimeDirectory=meterd", "RuntimeDirectory=meterd@%i"),
        ("/run/credentials/meterd.service", "/run/credentials/meterd@%i.service"),
        ("is what the example configuration names", "is what client_secret_file has to name"),
        (":/etc/meterd/client_secret", ":/etc/meterd/%i.client_secret"),
    ];
    let mut expected = sections("systemd/meterd.service")?;
    for (service, instance) in names {
        assert!(expected.contains(service), "{service} is not in the unit");
        expected = expected.replace(service, instance);
    }
    assert_eq!(sections("systemd/meterd@.service")?, expected);
    Ok(())
}

#[test]
fn the_service_is_as_shut_as_the_readme_says() -> Result {
    let scored = Scored::begin("S1", "")?;
    let unit = Path::new(env!("CARGO_MANIFEST_DIR")).join("systemd/meterd.service");
    let unit = unit.to_str().ok_or("no name")?;
    let Some(text) = analyze(&["security", "--offline=true", "--no-pager", unit])? else {
        scored.skipped(&"there is no systemd-analyze".into());
        return Ok(());
    };
    let (_, verdict) =
        text.split_once("exposure level for meterd.service: ").ok_or("no verdict")?;
    let figure = verdict.split(' ').next().ok_or("no figure")?;
    assert!(figure.parse::<f64>()? <= EXPOSURE_MAX, "{verdict}");
    let version = analyze(&["--version"])?.ok_or("it is gone")?;
    if version.split_whitespace().nth(1) == Some(VERSION) {
        let told = format!("`systemd-analyze security` of systemd {VERSION} says {figure},");
        assert!(read("README.md")?.contains(&told), "not in the README: {told}");
    } else {
        say(&format!("SKIPPED: the README's figure is not of {version}"));
    }
    scored.shown(figure)
}

/// What `systemd-analyze` says; none where it is missing.
fn analyze(arguments: &[&str]) -> Result<Option<String>> {
    match Command::new("systemd-analyze").args(arguments).output() {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            say("SKIPPED: there is no systemd-analyze");
            Ok(None)
        }
        output => Ok(Some(String::from_utf8(output?.stdout)?)),
    }
}
