//! The manual and the completions know every command.

use std::io::Write;
use std::process::{Command, Output, Stdio};

use crate::harness::{Folder, Result};

fn meterd(arguments: &[&str]) -> Result<Output> {
    Ok(Command::new(env!("CARGO_BIN_EXE_meterd")).args(arguments).output()?)
}

/// The commands that `--help` of `path` lists.
fn commands(path: &[&str]) -> Result<Vec<String>> {
    let help = String::from_utf8(meterd(&[path, &["--help"]].concat())?.stdout)?;
    let (_, listed) = help.split_once("Commands:\n").unwrap_or_default();
    let names = listed.lines().take_while(|line| line.starts_with("  "));
    let names = names.filter(|line| !line.starts_with("   "));
    let names = names.filter_map(|line| line.split_whitespace().next());
    Ok(names.filter(|name| *name != "help").map(Into::into).collect())
}

#[test]
fn every_command_has_a_page_that_names_its_options() -> Result {
    let folder = Folder::new()?;
    let directory = folder.path("man");
    let written = meterd(&["man", "--output", &directory.display().to_string()])?;
    assert!(written.status.success(), "{written:?}");
    let mut pages = vec!["meterd".to_owned()];
    for name in commands(&[])? {
        let below = commands(&[&name])?;
        pages.extend(below.iter().map(|below| format!("meterd-{name}-{below}")));
        pages.push(format!("meterd-{name}"));
    }
    assert!(pages.len() > 15, "{pages:?}");
    for name in &pages {
        let page = std::fs::read_to_string(directory.join(format!("{name}.1")))?;
        let escaped = name.replace('-', "\\-");
        assert!(page.contains(&format!(".SH NAME\n{escaped}")), "{name}: {page}");
    }
    assert_eq!(std::fs::read_dir(&directory)?.count(), pages.len());
    let replay = std::fs::read_to_string(directory.join("meterd-dead-letters-replay.1"))?;
    assert!(replay.contains("\\-\\-from") && replay.contains("Only say what would"), "{replay}");
    let first = meterd(&["man"])?.stdout;
    assert!(String::from_utf8(first)?.starts_with(".ie"));
    Ok(())
}

#[test]
fn completions_are_scripts_that_the_shell_takes() -> Result {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let output = meterd(&["completions", shell])?;
        let script = String::from_utf8(output.stdout)?;
        for command in commands(&[])? {
            assert!(script.contains(&command), "{shell} does not know {command}");
        }
        if shell == "bash" {
            let mut check = Command::new("bash").arg("-n").stdin(Stdio::piped()).spawn()?;
            check.stdin.take().ok_or("no input")?.write_all(script.as_bytes())?;
            assert!(check.wait()?.success());
        }
    }
    assert_eq!(meterd(&["completions", "csh"])?.status.code(), Some(2));
    Ok(())
}
