//! Bugs that were put in on purpose, as patches in `bugs/`: a suite that does not find them would not
//! find others either. The first line of a patch says what is wrong, the second who has to find it.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::harness::seed::say;
use crate::harness::{Result, fail};
use crate::scorecard::{ROWS, Scored};

/// What cargo needs to build the program and this test.
const PARTS: [&str; 9] = [
    "Cargo.toml",
    "Cargo.lock",
    "src",
    "tests",
    "benches",
    "config",
    "docs",
    "fuzz/targets",
    "README.md",
];

struct Bug {
    patch: PathBuf,
    what: String,
    /// The test that has to fail.
    test: String,
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn bugs() -> Result<Vec<Bug>> {
    let mut bugs = Vec::new();
    for entry in std::fs::read_dir(root().join("tests/reliability/bugs"))? {
        let patch = entry?.path();
        let text = std::fs::read_to_string(&patch)?;
        let mut lines = text.lines();
        let what = lines.next().unwrap_or_default().to_owned();
        let test = lines.next().and_then(|line| line.strip_prefix("Caught by: "));
        let test = test.ok_or_else(|| format!("{}: who catches it?", patch.display()))?.to_owned();
        bugs.push(Bug { patch, what, test });
    }
    bugs.sort_by(|one, other| one.patch.cmp(&other.patch));
    Ok(bugs)
}

fn run(command: &mut Command) -> Result<Output> {
    let output = command.output().map_err(|error| format!("{command:?}: {error}"))?;
    if output.status.success() {
        return Ok(output);
    }
    fail(format!("{command:?}: {}", String::from_utf8_lossy(&output.stderr)))
}

/// A fresh copy of the project in `tree`, with what was there before kept out of the way.
fn copy(tree: &Path) -> Result {
    if tree.exists() {
        std::fs::remove_dir_all(tree)?;
    }
    std::fs::create_dir_all(tree)?;
    let mut command = Command::new("cp");
    command.args(["-r", "-p", "--parents"]).args(PARTS).arg(tree).current_dir(root());
    run(&mut command).map(drop)
}

fn apply(patch: &Path, tree: &Path, options: &[&str]) -> Result {
    let mut command = Command::new("patch");
    command.args(["-p0", "--forward", "--input"]).arg(patch).args(options).current_dir(tree);
    run(&mut command).map(drop)
}

/// Fails unless the test of `bug` does in a tree with it. Gives what that one said.
fn catch(bug: &Bug, workplace: &Path) -> Result<String> {
    let tree = workplace.join("tree");
    copy(&tree)?;
    apply(&bug.patch, &tree, &[])?;
    let cargo = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO"));
        command.args(["test", "--locked", "--test", "reliability"]).args(arguments);
        command.current_dir(&tree).env("CARGO_TARGET_DIR", workplace.join("target"));
        command.env("METERD_IT_FULL", "1");
        command
    };
    run(&mut cargo(&["--no-run"]))?;
    let output = cargo(&["--", &bug.test]).output()?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() || said.contains("running 0 tests") {
        return fail(format!("{} does not catch it: {}", bug.test, bug.what));
    }
    Ok(said)
}

#[test]
fn every_seeded_bug_still_fits_the_code() -> Result {
    let bugs = bugs()?;
    assert_eq!(bugs.len(), 12);
    for bug in bugs {
        apply(&bug.patch, root(), &["--dry-run"])?;
    }
    Ok(())
}

#[test]
#[ignore = "builds the program for each: `just seeded-bugs`"]
fn every_seeded_bug_is_caught() -> Result {
    let workplace = Path::new(env!("CARGO_TARGET_TMPDIR")).join("seeded");
    let chosen = std::env::var("METERD_IT_BUGS").unwrap_or_default();
    for bug in bugs()? {
        let name = bug.patch.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let row = ROWS.iter().find(|row| row.id == "L5").ok_or("no row")?;
        let part = row.parts.iter().find(|part| name.starts_with(**part)).ok_or("no part")?;
        if !chosen.is_empty() && !chosen.split(',').any(|wanted| wanted == *part) {
            continue;
        }
        let scored = Scored::begin("L5", part)?;
        let said = catch(&bug, &workplace)?;
        let is_telling = |line: &&str| line.starts_with("Error: ") || line.contains("assertion");
        say(said.lines().find(is_telling).unwrap_or_default());
        let what = bug.what.trim_end_matches('.');
        scored.shown(&format!("{what}: caught by `{}`", bug.test))?;
    }
    Ok(())
}
