//! Holds the documents against the program: what a table says is what the code does, examples are
//! accepted, links lead somewhere.

use std::collections::BTreeSet;
use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::Command;

use meterd::clock::Timestamp;
use meterd::config::{self, Format, LoadFor};
use meterd::dead_letter::REASONS;
use meterd::tenant::outcome::{Answer, Outcome, of_answer};

type Result<T = ()> = std::result::Result<T, Box<dyn Error>>;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(name: &str) -> Result<String> {
    let path = root().join(name);
    Ok(std::fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?)
}

/// Every Markdown file of the project.
fn documents() -> Result<Vec<(PathBuf, String)>> {
    let mut directories = vec![root().to_owned()];
    let mut documents = Vec::new();
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(directory)? {
            let path = entry?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if path.is_dir() && name != "target" && !name.starts_with('.') {
                directories.push(path);
            } else if path.extension().is_some_and(|ending| ending == "md") {
                documents.push((path.clone(), std::fs::read_to_string(path)?));
            }
        }
    }
    assert!(documents.len() > 5, "the documents were not found");
    Ok(documents)
}

/// The part of `text` under `heading`, up to the next heading.
fn chapter<'t>(text: &'t str, heading: &str) -> Result<&'t str> {
    let start = format!("\n{heading}\n");
    let at = text.find(&start).ok_or_else(|| format!("there is no {heading:?}"))?;
    let rest = &text[at + start.len()..];
    Ok(&rest[..rest.find("\n## ").unwrap_or(rest.len())])
}

/// The cells of the first table of `chapter`, without its head.
fn table(chapter: &str) -> Vec<Vec<String>> {
    let rows = chapter.lines().skip_while(|line| !line.starts_with('|'));
    let rows = rows.take_while(|line| line.starts_with('|')).skip(2);
    let cells = |row: &str| row.split('|').map(|cell| cell.trim().to_owned()).collect();
    rows.map(|row| cells(row.trim_matches('|'))).collect()
}

/// The blocks of `text` that are marked as `language`.
fn blocks<'t>(text: &'t str, language: &str) -> Vec<&'t str> {
    let start = format!("```{language}\n");
    let pieces = text.split(&start).skip(1);
    pieces.filter_map(|piece| piece.split("\n```").next()).collect()
}

/// What `meterd` prints when it is called with `arguments`, which must succeed.
fn meterd(arguments: &[&str]) -> Result<String> {
    let output = Command::new(env!("CARGO_BIN_EXE_meterd")).args(arguments).output()?;
    assert!(output.status.success(), "meterd {}", arguments.join(" "));
    Ok(String::from_utf8(output.stdout)?)
}

/// The commands that a help text lists.
fn listed(help: &str) -> BTreeSet<String> {
    let lines = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    let lines = lines.take_while(|line| !line.is_empty());
    let names = lines.filter_map(|line| line.strip_prefix("  ")?.split(' ').next());
    names.filter(|name| !name.is_empty() && *name != "help").map(str::to_owned).collect()
}

#[test]
fn the_readme_has_every_command() -> Result {
    let mut there = BTreeSet::new();
    for command in listed(&meterd(&["--help"])?) {
        let below = listed(&meterd(&[&command, "--help"])?);
        if below.is_empty() {
            there.insert(format!("`meterd {command}`"));
        }
        there.extend(below.iter().map(|name| format!("`meterd {command} {name}`")));
    }
    let readme = read("README.md")?;
    let told: BTreeSet<String> =
        table(chapter(&readme, "## Commands")?).into_iter().map(|row| row[0].clone()).collect();
    assert_eq!(told, there);
    Ok(())
}

#[test]
fn the_readme_has_every_exit_code() -> Result {
    let help = meterd(&["--help"])?;
    let (_, codes) = help.split_once("Exit codes:").ok_or("no exit codes")?;
    let numbers = codes.split(|letter: char| !letter.is_ascii_digit());
    let there: BTreeSet<&str> = numbers.filter(|number| !number.is_empty()).collect();
    let readme = read("README.md")?;
    let rows = table(chapter(&readme, "## Exit codes")?);
    let told: BTreeSet<&str> = rows.iter().map(|row| row[0].as_str()).collect();
    assert_eq!(told, there);
    Ok(())
}

#[test]
fn the_readme_has_every_reason_for_a_dead_letter() -> Result {
    let readme = read("README.md")?;
    let rows = table(chapter(&readme, "## Dead letters")?);
    let told: Vec<&str> = rows.iter().map(|row| row[0].trim_matches('`')).collect();
    assert_eq!(told, REASONS.map(meterd::dead_letter::Reason::name));
    Ok(())
}

#[test]
fn the_readme_tells_what_each_status_means() -> Result {
    let readme = read("README.md")?;
    let rows = table(chapter(&readme, "## Answers")?);
    for status in 200..600_u16 {
        let exact = status.to_string();
        let class = format!("{}xx", status / 100);
        let row = |wanted: &str| {
            rows.iter().find(|row| row[0].split(", ").any(|listed| listed == wanted))
        };
        let row = row(&exact).or_else(|| row(&class)).or_else(|| row("everything else"));
        let told = row.ok_or_else(|| format!("nothing is said of {status}"))?[1].as_str();
        let answer = Answer { status, ..Answer::default() };
        let expected = match of_answer(&answer, Timestamp::from_millis(0)) {
            Outcome::Delivered { .. } => "**delivered**",
            Outcome::Unauthorized(_) => "**new token**",
            Outcome::Retry { .. } => "**retry**",
            Outcome::Hold(_) => "**hold**",
            Outcome::Refused { .. } => "**cut**",
            Outcome::Unknown(_) => "unknown",
        };
        assert_eq!(told, expected, "{status}");
    }
    Ok(())
}

#[test]
fn the_configuration_in_the_readme_is_good_but_for_its_secret() -> Result {
    let readme = read("README.md")?;
    let example = blocks(&readme, "toml");
    let [example] = example.as_slice() else { return Err("one example was expected".into()) };
    let secret = |value: &str| {
        let key = "METERD__MEDIATION__AUTH__CLIENT_SECRET_FILE";
        std::iter::once((key.to_owned(), value.to_owned()))
    };
    match config::load_str(LoadFor::Run, example, Format::Toml, std::iter::empty()) {
        Err(config::Error::Problems(problems)) => {
            let keys: BTreeSet<&str> =
                problems.iter().map(|problem| problem.key.as_str()).collect();
            let expected =
                ["mediation.auth.client_secret_file"].into_iter().collect::<BTreeSet<_>>();
            assert_eq!(keys, expected, "{problems:?}");
        }
        other => return Err(format!("a missing secret was expected, {other:?}").into()),
    }
    let file = tempfile::NamedTempFile::new()?;
    std::fs::write(file.path(), "secret\n")?;
    let environment = secret(&file.path().display().to_string());
    let loaded = config::load_str(LoadFor::Run, example, Format::Toml, environment)?;
    assert_eq!(loaded.warnings, []);
    Ok(())
}

#[test]
fn examples_of_formats_are_good() -> Result {
    let guide = read("docs/formats.md")?;
    let mut examples: Vec<String> = blocks(&guide, "toml").into_iter().map(str::to_owned).collect();
    assert_eq!(examples.len(), 4);
    for entry in std::fs::read_dir(root().join("config/examples"))? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        assert!(guide.contains(&format!("config/examples/{name}")), "{name} is not in the guide");
        examples.push(std::fs::read_to_string(path)?);
    }
    assert_eq!(examples.len(), 10);
    // The program in these needs the feature.
    examples.retain(|example| cfg!(feature = "vrl") || !example.contains("\ntransform"));
    let file = tempfile::NamedTempFile::new()?;
    std::fs::write(file.path(), "secret\n")?;
    let secret = file.path().display().to_string();
    for example in examples {
        let example = example.replace("/run/credentials/meterd.service/client_secret", &secret);
        let loaded = config::load_str(LoadFor::Run, &example, Format::Toml, std::iter::empty())?;
        assert_eq!(loaded.warnings, [], "{example}");
        let is_shown = |source: &meterd::agent::Source| {
            source.mapping.is_some() || source.destination.routing().is_some()
        };
        assert!(loaded.settings.sources.iter().all(is_shown));
    }
    Ok(())
}

#[test]
fn every_log_message_is_explained() -> Result {
    let operations = read("docs/operations.md")?;
    let log = chapter(&operations, "## Log")?;
    let mut directories = vec![root().join("src")];
    let mut missing = Vec::new();
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(directory)? {
            let path = entry?.path();
            if path.is_dir() {
                directories.push(path);
                continue;
            }
            for (level, message) in messages(&std::fs::read_to_string(path)?) {
                // What is behind a colon is a value.
                let message = match message.split_once(": {") {
                    Some((constant, _)) => format!("{constant}: ..."),
                    None => message,
                };
                if !log.contains(&format!("\n| {level} | {message} |")) {
                    missing.push(format!("{level} {message}"));
                }
            }
        }
    }
    assert!(missing.is_empty(), "not in docs/operations.md: {missing:#?}");
    Ok(())
}

/// The messages of `text` that an operator may see, with their levels.
fn messages(text: &str) -> Vec<(&'static str, String)> {
    let mut messages = Vec::new();
    for (call, level) in [("info!(", "INFO"), ("warn!(", "WARN"), ("error!(", "ERROR")] {
        for piece in text.split(&format!("tracing::{call}")).skip(1) {
            // The message is the last argument; no field is a text with a semicolon in it.
            let arguments = piece.split(';').next().unwrap_or_default();
            if let Some(message) = arguments.rsplit('"').nth(1) {
                messages.push((level, message.to_owned()));
            }
        }
    }
    messages
}

#[test]
fn the_queries_fit_the_tables() -> Result {
    let document = read("docs/store.md")?;
    let directory = tempfile::tempdir()?;
    let settings = meterd::store::Settings {
        directory: directory.path().to_owned(),
        bytes_max: 1 << 30,
        receipts_keep: std::time::Duration::from_secs(60),
    };
    drop(meterd::store::Store::open(&settings, "test")?);
    let connection = rusqlite::Connection::open(directory.path().join(meterd::store::FILE_NAME))?;
    for query in blocks(&document, "sql").into_iter().filter(|sql| !sql.contains("writefile")) {
        let mut statement =
            connection.prepare(query).map_err(|error| format!("{query}: {error}"))?;
        let mut rows = statement.query([])?;
        while rows.next()?.is_some() {}
    }
    let tables = "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'";
    let mut statement = connection.prepare(tables)?;
    let there: BTreeSet<String> =
        statement.query_map([], |row| row.get(0))?.collect::<rusqlite::Result<_>>()?;
    let rows = table(chapter(&document, "## Tables")?);
    let told: BTreeSet<String> =
        rows.iter().map(|row| row[0].trim_matches('`').to_owned()).collect();
    assert_eq!(told, there);
    Ok(())
}

#[test]
fn links_lead_somewhere() -> Result {
    let mut broken = Vec::new();
    for (path, text) in documents()? {
        let prose = without_blocks(&text);
        for link in prose.split("](").skip(1).filter_map(|piece| piece.split(')').next()) {
            if link.contains("://") {
                continue;
            }
            let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
            let target = match file {
                "" => path.clone(),
                file => path.parent().unwrap_or(root()).join(file),
            };
            let Ok(target) = target.canonicalize() else {
                broken.push(format!("{}: {link}", path.display()));
                continue;
            };
            let is_ours = target.starts_with(root().canonicalize()?);
            let has_anchor =
                anchor.is_empty() || anchors(&std::fs::read_to_string(&target)?).contains(anchor);
            if !is_ours || !has_anchor {
                broken.push(format!("{}: {link}", path.display()));
            }
        }
    }
    assert!(broken.is_empty(), "{broken:#?}");
    Ok(())
}

fn without_blocks(text: &str) -> String {
    let pieces = text.split("\n```").enumerate();
    pieces.filter(|(index, _)| index % 2 == 0).map(|(_, piece)| piece).collect()
}

/// The anchors of the headings of `text`.
fn anchors(text: &str) -> BTreeSet<String> {
    let headings = text.lines().filter_map(|line| line.strip_prefix('#'));
    let kept = |letter: &char| letter.is_alphanumeric() || "-_ ".contains(*letter);
    let anchor = |heading: &str| {
        let heading = heading.trim_start_matches('#').trim().to_lowercase();
        heading.chars().filter(kept).collect::<String>().replace(' ', "-")
    };
    headings.map(anchor).collect()
}

/// A document that names a directory of its author's machine helps nobody else.
#[test]
fn documents_name_only_paths_that_every_system_has() -> Result {
    const ROOTS: [&str; 12] =
        ["dev", "etc", "home", "lib", "proc", "run", "sys", "tmp", "usr", "var", "meters", "usage"];
    // Paths of URLs.
    const ENDPOINTS: [&str; 10] = [
        "simulator",
        "oauth",
        "healthz",
        "readyz",
        "status",
        "metrics",
        "events",
        "dead-letters",
        "receipts",
        "",
    ];
    let mut foreign = Vec::new();
    for (path, text) in documents()? {
        let words =
            text.split(|letter: char| letter.is_whitespace() || "`\"'()=,;".contains(letter));
        for word in words.filter_map(|word| word.strip_prefix('/')) {
            let first = word.split('/').next().unwrap_or_default();
            if !ROOTS.contains(&first) && !ENDPOINTS.contains(&first) {
                foreign.push(format!("{}: /{word}", path.display()));
            }
        }
        if text.contains("](/") || text.contains("../../..") {
            foreign.push(format!("{}: a link out of the project", path.display()));
        }
    }
    assert!(foreign.is_empty(), "{foreign:#?}");
    Ok(())
}
