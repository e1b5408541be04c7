//! Any text is a configuration or has problems. The first byte chooses the language and the command.

use meterd::config::{Error, Format, LoadFor, load_str};

const PURPOSES: [LoadFor; 7] = [
    LoadFor::Run,
    LoadFor::Send,
    LoadFor::Mend,
    LoadFor::Ask,
    LoadFor::Control,
    LoadFor::Reconcile,
    LoadFor::Look,
];

/// Stands in front of every value that must not be shown.
const SECRET: &str = "SECRET-";

/// Runs the target on `input`.
pub(super) fn run(input: &[u8]) {
    let Some((&choice, text)) = input.split_first() else { return };
    let Ok(text) = std::str::from_utf8(text) else { return };
    let format = match choice & 3 {
        0 | 1 => Format::Toml,
        2 => Format::Yaml,
        _ => Format::Json,
    };
    let purpose = PURPOSES[usize::from(choice >> 2) % PURPOSES.len()];
    // The first lines may be variables of the environment.
    let mut lines = text.lines().map_while(|line| line.strip_prefix('$')?.split_once('='));
    let variables: Vec<(String, String)> =
        lines.by_ref().map(|(name, value)| (format!("METERD__{name}"), value.to_owned())).collect();
    let text = text.lines().skip(variables.len()).collect::<Vec<_>>().join(
        "
",
    );
    match load_str(purpose, &text, format, variables.into_iter()) {
        Ok(loaded) => {
            let shown = format!("{loaded:?}");
            assert!(!shown.contains(SECRET) || !names_secret(&text), "a secret is shown");
        }
        Err(Error::Problems(problems)) => {
            assert!(!problems.is_empty(), "refused without a reason");
            for problem in &problems {
                assert!(!problem.to_string().is_empty());
            }
        }
        Err(Error::Syntax { message, .. }) => assert!(!message.is_empty()),
        Err(error) => unreachable!("nothing is read: {error}"),
    }
}

/// Whether the text has a secret only where one is meant to stand.
fn names_secret(text: &str) -> bool {
    let mut with_secret = text.lines().filter(|line| line.contains(SECRET));
    with_secret.clone().count() == 1
        && with_secret.all(|line| {
            line.trim_start().starts_with("client_secret = \"SECRET-")
                && line.matches('"').count() == 2
        })
}
