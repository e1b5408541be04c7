use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixListener;

use super::*;
use crate::config::{self, Format, LoadFor};

type Tested = std::result::Result<(), Box<dyn std::error::Error>>;

fn environment(rows: &[(&str, &str)]) -> HashMap<String, String> {
    rows.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn settings(text: &str) -> std::result::Result<AgentSettings, config::Error> {
    let loaded = config::load_str(LoadFor::Run, text, Format::Toml, std::iter::empty());
    loaded.map(|loaded| loaded.settings)
}

fn rules(text: &str) -> std::result::Result<Rules, config::Error> {
    Ok(Rules::new(&settings(text)?, &environment(&[])))
}

/// A configuration with these keys of the agent and these sources.
fn text(agent: &str, sources: &str) -> String {
    format!(
        "[agent]\nstate_dir = \"/var/lib/meterd\"\n{agent}\n[mediation]\n\
         base_url = \"https://rest.zuora.com\"\nproxy = \"http://proxy.test:3128\"\n\
         [mediation.auth]\nclient_id = \"i\"\nclient_secret = \"s\"\n\
         token_url = \"https://login.test:8443/token\"\n[meters.m]\n\
         upload_url = \"https://upload.test:444/x\"\n{sources}"
    )
}

const FILE: &str = "[sources.f]\ntype = \"file\"\nmeter = \"m\"\n";

/// What is let in that a configuration names, in words.
fn said(rules: &Rules) -> BTreeSet<String> {
    let paths = rules.paths.iter().filter(|rule| rule.key != SYSTEM);
    let paths = paths.map(|rule| format!("{} {:?} {}", rule.key, rule.access, rule.path.display()));
    let ports = rules.ports.iter().filter(|rule| rule.key != SYSTEM);
    paths
        .chain(ports.map(|rule| format!("{} {:?} {}", rule.key, rule.r#use, rule.number)))
        .collect()
}

#[test]
fn what_a_configuration_names_is_let_in() -> Tested {
    let always = [
        "agent.state_dir Store /var/lib/meterd",
        "mediation.base_url Connect 443",
        "mediation.proxy Connect 3128",
        "mediation.auth.token_url Connect 8443",
        "meters.m.upload_url Connect 444",
        "admin.listen Listen 9180",
    ];
    let rows: [(String, &[&str]); 6] = [
        (format!("{FILE}paths = [\"/var/log/app/*.log\"]"), &["sources.f.paths Read /var/log/app"]),
        (
            format!("{FILE}paths = [\"/a/*/b/*.log\", \"/c/d.log\"]\nremove_after = \"1h\""),
            &["sources.f.paths Remove /a", "sources.f.paths Remove /c"],
        ),
        (
            "[sources.t]\ntype = \"tcp\"\nmeter = \"m\"\nlisten = \"127.0.0.1:9170\"".into(),
            &["sources.t.listen Listen 9170"],
        ),
        (
            "[sources.h]\ntype = \"http\"\nlisten = \"127.0.0.1:9171\"".into(),
            &["sources.h.listen Listen 9171"],
        ),
        (
            "[sources.u]\ntype = \"unix\"\nmeter = \"m\"\npath = \"/run/meterd/u\"".into(),
            &["sources.u.path Sockets /run/meterd"],
        ),
        ("[sources.p]\ntype = \"stdin\"\nmeter = \"m\"".into(), &[]),
    ];
    for (sources, expected) in rows {
        let found = said(&rules(&text("", &sources))?);
        let expected = always.iter().chain(expected).map(|word| (*word).to_owned()).collect();
        assert_eq!(found, expected, "{sources}");
    }
    Ok(())
}

#[test]
fn files_are_let_in_by_their_directory_and_by_that_of_what_they_link_to() -> Tested {
    let (links, secrets) = (tempfile::tempdir()?, tempfile::tempdir()?);
    let (link, secret) = (links.path().join("token"), secrets.path().join("1"));
    std::fs::write(&secret, "token")?;
    std::os::unix::fs::symlink(&secret, &link)?;
    let sources = "[sources.p]\ntype = \"stdin\"\nmeter = \"m\"\n[admin]\ntoken_file = \"FILE\"";
    let sources = sources.replace("FILE", &link.display().to_string());
    let found = said(&rules(&text("sandbox_read = [\"/var/log/pods\"]", &sources))?);
    for (key, directory) in [
        ("admin.token_file", links.path()),
        ("admin.token_file", &secrets.path().canonicalize()?),
        ("agent.sandbox_read", Path::new("/var/log/pods")),
    ] {
        let expected = format!("{key} Read {}", directory.display());
        assert!(found.contains(&expected), "{expected}: {found:?}");
    }
    assert_eq!(directory_of(Path::new("/token")), Path::new("/token"));
    assert_eq!(directory_of(Path::new("token")), Path::new("."));
    Ok(())
}

#[test]
fn the_environment_names_proxies_and_authorities() -> Tested {
    let named = environment(&[
        ("HTTPS_PROXY", "proxy.test:3129"),
        ("http_proxy", "http://user:password@other.test"),
        ("SSL_CERT_DIR", "/opt/ca:/opt/more"),
        ("ALL_PROXY", ""),
    ]);
    let settings = settings(&text("", "[sources.p]\ntype = \"stdin\"\nmeter = \"m\""))?;
    let rules = Rules::new(&settings, &named);
    let is_system = |rule: &&PortRule| rule.key == SYSTEM;
    let ports: Vec<u16> = rules.ports.iter().filter(is_system).map(|rule| rule.number).collect();
    assert_eq!(ports, [53, 80, 3129]);
    for path in ["/opt/ca", "/opt/more", "/etc"] {
        assert!(rules.paths.iter().any(|rule| rule.path == Path::new(path)), "{path}");
    }
    Ok(())
}

#[test]
fn what_was_let_in_at_the_start_is_enough_or_is_not() -> Tested {
    let folder = tempfile::tempdir()?;
    let root = folder.path().canonicalize()?;
    std::fs::create_dir(root.join("logs"))?;
    std::os::unix::fs::symlink(root.join("logs"), root.join("link"))?;
    let source = |paths: &str, more: &str| {
        let paths = paths.replace("ROOT", &root.display().to_string());
        rules(&text("", &format!("{FILE}paths = [\"{paths}\"]\n{more}")))
    };
    let removes = "remove_after = \"1h\"";
    for (before, wanted, is_enough) in [
        (("ROOT/logs/*", ""), ("ROOT/logs/*", ""), true),
        (("ROOT/logs/*", ""), ("ROOT/logs/below/*", ""), true),
        (("ROOT/logs/*", ""), ("ROOT/link/*", ""), true),
        (("ROOT/logs/*", removes), ("ROOT/logs/*", ""), true),
        (("ROOT/gone/*", ""), ("ROOT/gone/*", ""), true),
        (("ROOT/logs/*", ""), ("ROOT/logs/*", removes), false),
        (("ROOT/logs/*", ""), ("ROOT/*", ""), false),
        (("ROOT/logs/*", ""), ("ROOT/logs2/*", ""), false),
    ] {
        let refused = source(before.0, before.1)?.refused(&source(wanted.0, wanted.1)?);
        assert_eq!(refused.is_empty(), is_enough, "{before:?} {wanted:?} {refused:?}");
    }
    Ok(())
}

#[test]
fn the_kernel_denies_what_is_not_let_in() -> Tested {
    let (inside, outside) = (tempfile::tempdir()?, tempfile::tempdir()?);
    let root = inside.path().to_owned();
    for directory in ["state", "logs", "sockets"] {
        std::fs::create_dir(root.join(directory))?;
    }
    let (read, secret) = (root.join("logs/a.log"), outside.path().join("secret"));
    std::fs::write(&read, "a")?;
    std::fs::write(&secret, "secret")?;
    let (near, far) = (TcpListener::bind("127.0.0.1:0")?, TcpListener::bind("127.0.0.1:0")?);
    let (near, far) = (near.local_addr()?, far.local_addr()?);
    let text = format!(
        "[agent]\nstate_dir = \"ROOT/state\"\n[mediation]\nbase_url = \"http://{near}\"\n\
         [admin]\nlisten = \"\"\n[meters.m]\nglobal_id = \"g\"\n{FILE}paths = [\"ROOT/logs/*\"]\n\
         [sources.u]\ntype = \"unix\"\nmeter = \"m\"\npath = \"ROOT/sockets/u\"\n"
    );
    let settings = settings(&text.replace("ROOT", &root.display().to_string()))?;
    let found = std::thread::Builder::new().spawn(move || {
        let sandbox = Sandbox::enforce(&settings, &environment(&[]));
        if matches!(sandbox.state, State::Unsupported) {
            return None;
        }
        let log = root.join("logs/b.log");
        Some((
            sandbox,
            [
                std::fs::read(&read).is_ok(),
                std::fs::write(root.join("state/db"), "x").is_ok(),
                UnixListener::bind(root.join("sockets/u")).is_ok(),
                std::fs::read("/proc/self/stat").is_ok(),
                std::fs::read("/etc/passwd").is_ok(),
            ],
            [
                std::fs::read(&secret).is_ok(),
                std::fs::write(&log, "x").is_ok(),
                std::fs::remove_file(&read).is_ok(),
                std::fs::read_dir("/").is_ok(),
                std::process::Command::new("/bin/true").status().is_ok(),
            ],
            TcpStream::connect(near).err(),
            TcpStream::connect(far).err(),
            TcpListener::bind("127.0.0.1:0").err(),
        ))
    })?;
    let found = found.join().map_err(|_| "the thread panicked")?;
    let Some((sandbox, may, may_not, near, far, bound)) = found else {
        std::io::Write::write_all(
            &mut std::io::stderr(),
            b"SKIPPED: this kernel has no Landlock\n",
        )?;
        return Ok(());
    };
    let State::Enforced { version, is_full, above } = sandbox.state else {
        return Err(format!("{:?}", sandbox.state).into());
    };
    assert!(above.is_empty());
    assert_eq!(may, [true; 5]);
    assert_eq!(may_not, [false; 5]);
    // Ports are restricted from version 4, Linux 6.7.
    let denied = |error: Option<std::io::Error>| error.map(|error| error.kind());
    assert!(near.is_none());
    if version >= 4 {
        assert_eq!(denied(far), Some(std::io::ErrorKind::PermissionDenied));
        assert_eq!(denied(bound), Some(std::io::ErrorKind::PermissionDenied));
    }
    assert!(is_full || version < 6);
    Ok(())
}
