//! Where the admin listener is, and who it is for.

use super::*;

/// What is listened on with this as `[admin]`.
fn listen(purpose: LoadFor, typed: &str) -> Result<Option<String>, Error> {
    let text = format!("{LEAST}[admin]\n{typed}\n");
    let loaded = load_str(purpose, &text, Format::Toml, std::iter::empty())?;
    Ok(loaded.settings.admin.listen.map(|address| address.to_string()))
}

#[test]
fn it_is_on_loopback_unless_it_is_turned_off_or_elsewhere() -> Tested {
    let run = |typed| listen(LoadFor::Run, typed);
    assert_eq!(run("")?.as_deref(), Some("127.0.0.1:9180"));
    assert_eq!(run("listen = \"[::1]:1\"")?.as_deref(), Some("[::1]:1"));
    assert_eq!(run("listen = \"0.0.0.0:1\"\ntoken = \"abc\"")?.as_deref(), Some("0.0.0.0:1"));
    assert_eq!(run("listen = \"\"")?, None);
    assert_eq!(listen(LoadFor::Send, "")?, None);
    Ok(())
}

#[test]
fn what_is_wrong_with_it_is_told() {
    let problems = |typed: &str| problems_of(load_text(&format!("{LEAST}[admin]\n{typed}\n")));
    assert_eq!(
        problems("listen = \"9180\"\nlag_max = \"1ms\""),
        "admin.lag_max: found \"1ms\", expected 1s to 365d\n\
         admin.listen: found \"9180\", expected an address and port, such as \"127.0.0.1:9180\", or \
         \"\" for none"
    );
    assert_eq!(
        problems("listen = \"0.0.0.0:9180\""),
        "admin.listen: found 0.0.0.0:9180, expected a loopback address, or admin.token_file beside it"
    );
}
