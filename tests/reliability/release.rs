//! What is given away: what it is made of, and that it is the same bytes wherever it is built.

use std::path::Path;
use std::process::Command;

use crate::harness::seed::say;
use crate::harness::{Result, fail};
use crate::scorecard::Scored;

/// What `tests/system/NAME` says, if it succeeds.
fn system(name: &str) -> Result<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let output = Command::new(root.join("tests/system").join(name)).current_dir(root).output()?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() {
        return Ok(said);
    }
    fail(format!("{name}: {said}{}", String::from_utf8_lossy(&output.stderr)))
}

#[test]
#[ignore = "the gate does the same: `just reproducible`"]
fn the_dependencies_are_in_order() -> Result {
    let scored = Scored::begin("S4", "dependencies")?;
    let said = system("dependencies")?;
    let skipped: Vec<&str> =
        said.lines().filter_map(|line| line.strip_prefix("SKIPPED: ")).collect();
    for what in &skipped {
        say(&format!("SKIPPED: {what}"));
    }
    let advisories = if skipped.is_empty() {
        "advisories ok".to_owned()
    } else {
        format!("not shown: {}", skipped.join("; "))
    };
    scored.shown(&format!("bans, licences and sources ok; {advisories}"))
}

#[test]
#[ignore = "builds the release twice, a quarter of an hour: `just reproducible`"]
fn two_builds_elsewhere_are_the_same_bytes() -> Result {
    let scored = Scored::begin("S4", "two builds")?;
    let said = system("reproducible")?;
    let equal = said.lines().find_map(|line| line.strip_prefix("equal: "));
    scored.shown(equal.ok_or("it does not say what was equal")?)
}
