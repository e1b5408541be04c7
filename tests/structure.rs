//! Reads `src/` and fails on what the architecture forbids: an import against the direction, a
//! crate outside its home module, a file that has grown too long or says nothing by its name.
//!
//! Comments, texts and `#[cfg(test)]` items are taken out first: tests may import what they need.

use std::collections::BTreeMap;
use std::error::Error;
use std::io::Write as _;
use std::path::{Path, PathBuf};

type Result<T = ()> = std::result::Result<T, Box<dyn Error>>;

/// What crosses between the stages. `mediation` reads answers, `telemetry` counts.
const TYPES: [&str; 20] = [
    "body",
    "breaker",
    "chunk",
    "clock",
    "dead_letter",
    "group",
    "mapping",
    "mediation",
    "meter",
    "notice",
    "position",
    "quantity",
    "routing",
    "schema",
    "settlement",
    "stop",
    "telemetry",
    "time_format",
    "time_pattern",
    "units",
];

/// What holds something between two stages.
const STORES: [&str; 2] = ["intake", "store"];

/// One far end for all stages that send: its client, its token, its budget.
const FAR_ENDS: [&str; 1] = ["tenant"];

/// What works, each between two stores.
const STAGES: [&str; 6] = ["admin", "source", "pack", "committer", "delivery", "control"];

/// What puts the others together.
const WIRING: [&str; 7] = ["agent", "cli", "config", "demo", "replay", "simulator", "verify"];

/// Crates with one home each: nobody else names them.
const HOMES: [(&str, &[&str]); 18] = [
    ("reqwest", &["tenant/transport.rs"]),
    ("rustls", &["tenant/transport.rs", "source/listen/tls.rs"]),
    ("tokio_rustls", &["source/listen"]),
    ("ipnet", &["source/listen/network.rs"]),
    ("landlock", &["agent/sandbox/enforce.rs"]),
    ("listenfd", &["source/listen/inherited.rs"]),
    ("governor", &["tenant/pace.rs"]),
    ("prometheus_client", &["admin", "telemetry.rs"]),
    ("rusqlite", &["store"]),
    ("flate2", &["body", "body.rs", "source", "simulator", "tenant"]),
    ("zstd", &["source/file/archive.rs"]),
    ("lzma_rust2", &["source/file/archive.rs"]),
    ("config", &["config"]),
    ("clap", &["cli"]),
    ("ratatui", &["cli/top"]),
    ("regex", &["mapping.rs", "pack", "config"]),
    ("csv_core", &["pack/decode"]),
    ("vrl", &["mapping/transform.rs", "pack/transform"]),
];

/// Names that say nothing about what is in a file.
const EMPTY_WORDS: [&str; 5] = ["util", "common", "helper", "manager", "misc"];

const LINES_NOTED: usize = 400;
const LINES_MAX: usize = 500;

/// Whether `from` may name something of `to`; both are modules at the top.
fn may_import(from: &str, to: &str) -> bool {
    let is_type = TYPES.contains(&to);
    let is_store = STORES.contains(&to);
    let is_far_end = FAR_ENDS.contains(&to);
    if from == to {
        return true;
    }
    match from {
        from if TYPES.contains(&from) || STORES.contains(&from) || from == "simulator" => is_type,
        from if FAR_ENDS.contains(&from) => is_type,
        from if STAGES.contains(&from) => is_type || is_store || is_far_end,
        // What may be typed becomes the settings of every part; no part knows what was typed.
        "config" => is_type || is_store || is_far_end || STAGES.contains(&to) || to == "agent",
        // The page puts dead letters back.
        "agent" if to == "replay" => true,
        "agent" | "replay" | "verify" => is_type || is_store || is_far_end || STAGES.contains(&to),
        "demo" => !["cli", "config"].contains(&to),
        "cli" | "lib" | "main" => true,
        _ => false,
    }
}

/// A file of `src/`.
struct Source {
    /// Below `src/`, such as `store/lock.rs`.
    path: PathBuf,
    text: String,
    /// The text without comments, texts and items for tests.
    code: String,
}

impl Source {
    /// The names of its module: `["store", "lock"]`.
    fn module(&self) -> Vec<String> {
        let path = self.path.with_extension("");
        path.components().map(|part| part.as_os_str().to_string_lossy().into_owned()).collect()
    }

    /// Whether all of it is for tests.
    fn is_for_tests(&self) -> bool {
        self.module().iter().any(|name| name == "tests" || name == "testing")
    }

    /// Whether it is the file or in the directory that `home` names.
    fn is_in(&self, home: &str) -> bool {
        self.path == Path::new(home) || self.path.with_extension("").starts_with(home)
    }
}

fn sources() -> Result<Vec<Source>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut directories = vec![root.clone()];
    let mut sources = Vec::new();
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(directory)? {
            let path = entry?.path();
            if path.is_dir() {
                directories.push(path);
            } else if path.extension().is_some_and(|ending| ending == "rs") {
                let text = std::fs::read_to_string(&path)?;
                let code = without_test_items(&bare(&text));
                sources.push(Source { path: path.strip_prefix(&root)?.to_owned(), text, code });
            }
        }
    }
    sources.sort_by(|left, right| left.path.cmp(&right.path));
    assert!(sources.len() > 30, "src/ was not found");
    Ok(sources)
}

/// `text` without comments; of texts and characters only the quotes stay.
fn bare(text: &str) -> String {
    let letters: Vec<char> = text.chars().collect();
    let at = |index: usize| letters.get(index).copied().unwrap_or('\0');
    let mut bare = String::with_capacity(text.len());
    let mut index = 0;
    while index < letters.len() {
        let hashes = letters[index + 1..].iter().take_while(|letter| **letter == '#').count();
        let raw_hashes = (at(index) == 'r' && !bare.ends_with(is_name)).then_some(hashes);
        match (at(index), at(index + 1), raw_hashes) {
            ('/', '/', _) => {
                while index < letters.len() && at(index) != '\n' {
                    index += 1;
                }
            }
            ('r', _, Some(hashes)) if at(index + 1 + hashes) == '"' => {
                index += hashes + 2;
                let is_end = |from: usize| {
                    at(from) == '"' && (from + 1..=from + hashes).all(|ahead| at(ahead) == '#')
                };
                while index < letters.len() && !is_end(index) {
                    index += 1;
                }
                index += hashes + 1;
                bare.push_str("\"\"");
            }
            ('"', _, _) => {
                index += 1;
                while index < letters.len() && at(index) != '"' {
                    index += if at(index) == '\\' { 2 } else { 1 };
                }
                index += 1;
                bare.push_str("\"\"");
            }
            // A character, not a lifetime.
            ('\'', '\\', _) => {
                index += 3;
                while index < letters.len() && at(index) != '\'' {
                    index += 1;
                }
                index += 1;
            }
            ('\'', _, _) if at(index + 2) == '\'' => index += 3,
            (letter, _, _) => {
                bare.push(letter);
                index += 1;
            }
        }
    }
    bare
}

/// `code` without items that stand behind `#[cfg(test)]`.
fn without_test_items(code: &str) -> String {
    const MARK: &str = "#[cfg(test)]";
    let mut kept = String::new();
    let mut rest = code;
    while let Some(mark) = rest.find(MARK) {
        kept.push_str(&rest[..mark]);
        let behind = &rest[mark + MARK.len()..];
        let mut depth = 0_usize;
        let end = behind.char_indices().find(|(_, letter)| match letter {
            '{' => {
                depth += 1;
                false
            }
            '}' => {
                depth = depth.saturating_sub(1);
                depth == 0
            }
            ';' => depth == 0,
            _ => false,
        });
        rest = end.map_or("", |(end, _)| &behind[end + 1..]);
    }
    kept + rest
}

fn is_name(letter: char) -> bool {
    letter.is_alphanumeric() || letter == '_'
}

/// The name at the start of `code`.
fn name(code: &str) -> &str {
    &code[..code.find(|letter| !is_name(letter)).unwrap_or(code.len())]
}

/// The first names of what stands behind a `crate::` or the last `super::`: one, or those of a
/// group in braces.
fn first_names(code: &str) -> Vec<&str> {
    let Some(group) = code.trim_start().strip_prefix('{') else { return vec![name(code)] };
    let mut depth = 0_usize;
    let mut start = 0;
    let mut names = Vec::new();
    for (index, letter) in group.char_indices() {
        match letter {
            '{' => depth += 1,
            '}' | ',' if depth == 0 => {
                names.push(name(group[start..index].trim_start()));
                start = index + 1;
                if letter == '}' {
                    break;
                }
            }
            '}' => depth -= 1,
            _ => {}
        }
    }
    names.retain(|name| !name.is_empty());
    names
}

/// Every module at the top that the file names.
fn imports(source: &Source) -> Vec<&str> {
    let code = source.code.as_str();
    let mut names = Vec::new();
    for (at, found) in code.match_indices("crate::") {
        if !code[..at].ends_with(is_name) && !code[..at].ends_with('$') {
            names.extend(first_names(&code[at + found.len()..]));
        }
    }
    // `super::` reaches the top from a module at the depth of their number.
    for (at, found) in code.match_indices("super::") {
        if code[..at].ends_with(is_name) || code[..at].ends_with("super::") {
            continue;
        }
        let mut rest = &code[at + found.len()..];
        let mut ups = 1;
        while let Some(behind) = rest.strip_prefix(found) {
            (rest, ups) = (behind, ups + 1);
        }
        if ups == source.module().len() {
            names.extend(first_names(rest));
        }
    }
    names
}

/// Whether the file names the crate `wanted`.
fn names_crate(source: &Source, wanted: &str) -> bool {
    let path = format!("{wanted}::");
    source.code.match_indices(&path).any(|(at, _)| {
        let before = &source.code[..at];
        if let Some(before) = before.strip_suffix("::") {
            // `::config::` is the crate, `crate::config::` is not.
            return !before.ends_with(|letter| is_name(letter) || letter == '>');
        }
        // A module of ours with the same name is used by its last name elsewhere.
        let is_plain = !before.ends_with(is_name);
        is_plain && (wanted != "config" || before.trim_end().ends_with("use"))
    })
}

fn assert_none(faults: &[String]) {
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

#[test]
fn imports_go_in_one_direction() -> Result {
    let mut faults = Vec::new();
    for source in sources()?.iter().filter(|source| !source.is_for_tests()) {
        let module = source.module();
        let from = module.first().ok_or("a file without a name")?;
        for to in imports(source).into_iter().filter(|to| !may_import(from, to)) {
            faults.push(format!("src/{}: {from} may not import {to}", source.path.display()));
        }
    }
    assert_none(&faults);
    Ok(())
}

#[test]
fn every_module_has_a_place_in_the_architecture() -> Result {
    let placed =
        [TYPES.as_slice(), &STORES, &FAR_ENDS, &STAGES, &WIRING, &["lib", "main"]].concat();
    let mut faults = Vec::new();
    for source in sources()? {
        let module = source.module();
        if module.first().is_none_or(|top| !placed.contains(&top.as_str())) {
            faults.push(format!("src/{}: which kind of module is it?", source.path.display()));
        }
    }
    assert_none(&faults);
    Ok(())
}

#[test]
fn crates_stay_in_their_homes() -> Result {
    let mut faults = Vec::new();
    let sources = sources()?;
    for (wanted, homes) in HOMES {
        let users: Vec<&Source> = sources
            .iter()
            .filter(|source| !source.is_for_tests() && names_crate(source, wanted))
            .collect();
        if users.is_empty() {
            faults.push(format!("{wanted} is used nowhere"));
        }
        for source in users {
            if !homes.iter().any(|home| source.is_in(home)) {
                faults.push(format!("src/{}: {wanted} is not at home here", source.path.display()));
            }
        }
    }
    assert_none(&faults);
    Ok(())
}

#[test]
fn files_are_short_and_their_names_say_something() -> Result {
    let mut faults = Vec::new();
    for source in sources()? {
        let (path, lines) = (source.path.display(), source.text.lines().count());
        if lines > LINES_MAX {
            faults.push(format!("src/{path}: {lines} lines, at most {LINES_MAX} are accepted"));
        } else if lines > LINES_NOTED {
            writeln!(std::io::stderr(), "note: src/{path} has {lines} lines")?;
        }
        for name in source.module() {
            if name == "mod" || EMPTY_WORDS.iter().any(|word| name.contains(word)) {
                faults.push(format!("src/{path}: {name} says nothing about what is in it"));
            }
        }
        if !source.is_for_tests() && !source.text.starts_with("//!") {
            faults.push(format!("src/{path}: begins without a word on what it is for"));
        }
    }
    assert_none(&faults);
    Ok(())
}

#[test]
fn the_reader_of_sources_sees_what_the_compiler_sees() {
    let text = r##"
        //! crate::comment
        use crate::{alpha, beta::{Inner, Other}, gamma::*};
        use super::super::delta::Thing;
        const TEXT: &str = "crate::text \" crate::more";
        const RAW: &str = r#"crate::raw " "#;
        fn f<'a>(quote: char) -> &'a str { quote == '"' ; crate::epsilon::f('\'') }
        #[cfg(test)]
        use crate::zeta;
        #[cfg(test)]
        mod tests { use crate::eta; fn g() { {} } }
        fn h() { crate::theta::h() }
    "##;
    let source = Source {
        path: "top/inner.rs".into(),
        text: text.to_owned(),
        code: without_test_items(&bare(text)),
    };
    let expected = ["alpha", "beta", "gamma", "epsilon", "theta", "delta"];
    assert_eq!(imports(&source), expected);
}

#[test]
fn the_rules_hold_for_what_they_are_about() {
    let table: BTreeMap<(&str, &str), bool> = BTreeMap::from([
        (("chunk", "store"), false),
        (("store", "group"), true),
        (("store", "intake"), false),
        (("pack", "delivery"), false),
        (("delivery", "store"), true),
        (("delivery", "tenant"), true),
        (("tenant", "store"), false),
        (("tenant", "delivery"), false),
        (("control", "delivery"), false),
        (("simulator", "delivery"), false),
        (("agent", "config"), false),
        (("config", "agent"), true),
        (("demo", "cli"), false),
        (("cli", "demo"), true),
    ]);
    for ((from, to), expected) in table {
        assert_eq!(may_import(from, to), expected, "{from} -> {to}");
    }
}
