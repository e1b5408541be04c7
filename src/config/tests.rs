//! Loading as a whole: layers, defaults, secrets, the example file.

mod admin;
mod breaker;
mod mapping;
mod problems;
mod routing;

use std::path::Path;
use std::time::Duration;

use super::*;
use crate::mediation::form::Id;
use crate::schema::FieldType;
use crate::source::Settings;
use crate::tenant::Credentials;

type Tested = Result<(), Box<dyn std::error::Error>>;

/// The least that can run.
const LEAST: &str = r#"
[mediation]
base_url = "http://127.0.0.1:8080/"
[meters.api-calls]
global_id = "8a8a/+"
[sources.app]
type = "file"
meter = "api-calls"
paths = ["/var/log/app/*.jsonl"]
"#;

fn load_text(text: &str) -> Result<Loaded, Error> {
    load_with(text, &[])
}

fn load_with(text: &str, environment: &[(&str, &str)]) -> Result<Loaded, Error> {
    load_str(LoadFor::Run, text, Format::Toml, owned(environment).into_iter())
}

fn owned(environment: &[(&str, &str)]) -> Vec<(String, String)> {
    environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

/// What is wrong, a line each; empty when nothing is.
fn problems_of(loaded: Result<Loaded, Error>) -> String {
    loaded.map_or_else(|error| error.to_string(), |_| String::new())
}

#[test]
fn who_asks_the_meter_apis_needs_a_base_url_and_no_sources() -> Tested {
    let ask = |text: &str| load_str(LoadFor::Control, text, Format::Toml, std::iter::empty());
    let meter = |id: &str| {
        let text = format!(
            "mediation.base_url = \"http://[::1]:1/\"\n[meters.m]\nglobal_id = \"g\"\n{id}"
        );
        let meters = ask(&text)?.settings.meters;
        Ok::<_, Error>(meters.first().map(|meter| (meter.id.clone(), meter.version.to_string())))
    };
    let expected = |id, version: &str| Some((id, version.to_owned()));
    assert_eq!(meter("")?, expected(None, "0.0.1"));
    assert_eq!(meter("id = 97")?, expected(Some(Id::Number(97)), "0.0.1"));
    let text = "id = \"8a-b\"\nversion = \"0.0.2\"";
    assert_eq!(meter(text)?, expected(Some(Id::Text("8a-b".to_owned())), "0.0.2"));
    assert!(ask("mediation.base_url = \"http://127.0.0.1:1\"")?.settings.meters.is_empty());
    let missing = "mediation.base_url: found nothing, expected the URL of your data center, such \
         as https://rest.zuora.com";
    assert_eq!(problems_of(ask("")), missing);
    Ok(())
}

#[test]
fn the_least_configuration_has_the_documented_defaults() -> Tested {
    let Loaded { settings, log, warnings } = load_text(LEAST)?;
    assert_eq!(warnings, []);
    assert_eq!(log, Log { format: LogFormat::Text, level: tracing::Level::INFO });
    assert!(!settings.name.is_empty());
    assert_eq!(settings.shutdown_grace, Duration::from_secs(20));
    assert_eq!(settings.intake_bytes_max, 16 << 20);
    assert_eq!(settings.store.directory, Path::new("/var/lib/meterd"));
    assert_eq!(settings.store.bytes_max, 10 << 30);
    assert_eq!(settings.store.receipts_keep, Duration::from_secs(90 * 86_400));
    assert_eq!(settings.pack.linger_max, Duration::from_secs(1));
    assert_eq!(settings.pack.compression_level, 2);
    assert!(settings.pack.workers >= 1);
    let tenant = &settings.delivery.tenant;
    assert!(matches!(tenant.credentials, Credentials::None));
    assert_eq!(tenant.connect_timeout, Duration::from_secs(5));
    assert_eq!(tenant.request_timeout, Duration::from_secs(125));
    assert_eq!((tenant.requests_per_minute, tenant.requests_in_flight_max), (50_000, 8));
    assert_eq!(tenant.backoff_base, Duration::from_secs(1));
    assert_eq!(tenant.backoff_max, Duration::from_secs(60));
    assert_eq!(tenant.retry_after_max, Duration::from_secs(900));
    assert_eq!(settings.delivery.hold_interval, Duration::from_secs(60));
    assert_eq!(settings.delivery.on_unknown, crate::delivery::OnUnknown::Resend);
    let [source] = settings.sources.as_slice() else { return Err("one source".into()) };
    let Settings::File(file) = &source.settings else { return Err("a file source".into()) };
    assert_eq!(file.line_bytes_max, 256 << 10);
    assert_eq!(file.poll_interval, Duration::from_secs(1));
    assert_eq!(file.open_files_max, 512);
    assert_eq!(source.breaker, Some(crate::breaker::Settings::default()));
    let [meter] = source.destination.meters() else { return Err("one meter".into()) };
    assert_eq!(meter.upload_url, "http://127.0.0.1:8080/meters/streaming/ingestion/8a8a%2F%2B");
    assert_eq!(meter.schema.or_open().schema, crate::schema::Schema::documented());
    Ok(())
}

#[test]
fn limits_follow_the_tenant_unless_they_are_set() -> Tested {
    for (tenant, payload, events, rate) in [
        ("production", 4_000_000, 10_000, 50_000),
        ("central-sandbox", 4_000_000, 10_000, 50_000),
        ("developer-sandbox", 2_000_000, 5_000, 5_000),
        ("api-sandbox", 1_000_000, 1_000, 600),
    ] {
        let settings = load_with(LEAST, &[("METERD__MEDIATION__TENANT", tenant)])?.settings;
        let limits = settings.meters.first().map(|meter| meter.limits).ok_or("no meter")?;
        assert_eq!(limits.payload_bytes_max, payload, "{tenant}");
        assert_eq!(limits.compressed_bytes_max, payload, "{tenant}");
        assert_eq!(limits.events_per_request_max, events, "{tenant}");
        assert_eq!(settings.delivery.tenant.requests_per_minute, rate, "{tenant}");
    }
    let large = [("METERD__MEDIATION__LIMITS__PAYLOAD_BYTES_MAX", "8MB")];
    assert_eq!(load_with(LEAST, &large)?.settings.intake_bytes_max, 32_000_000);
    Ok(())
}

#[test]
fn the_environment_wins_over_the_file() -> Tested {
    let environment = [
        ("METERD__AGENT__NAME", "edge-7"),
        ("METERD__BATCH__COMPRESSION_LEVEL", "9"),
        ("METERD__SOURCES__APP__PATHS", "/a/*.jsonl, /b"),
        ("METERD__SOURCES__IN__TYPE", "stdin"),
        ("METERD__SOURCES__IN__METER", "api-calls"),
        ("METERD__METERS__API-CALLS__EVENT_ID_FIELD", "Id"),
        ("STATE_DIRECTORY", "/run/one:/run/two"),
    ];
    let settings = load_with(LEAST, &environment)?.settings;
    assert_eq!(&*settings.name, "edge-7");
    assert_eq!(settings.pack.compression_level, 9);
    assert_eq!(settings.store.directory, Path::new("/run/one"));
    assert_eq!(settings.meters.first().and_then(|m| m.event_id_field.as_deref()), Some("Id"));
    let paths = settings.sources.first().map(|source| &source.settings);
    assert!(matches!(paths, Some(Settings::File(file)) if file.paths == ["/a/*.jsonl", "/b"]));
    assert!(matches!(settings.sources.get(1).map(|s| &s.settings), Some(Settings::Stdin(_))));
    Ok(())
}

#[test]
fn the_variables_that_kubernetes_injects_are_ignored() {
    let injected = [
        ("METERD_PORT", "tcp://10.0.0.1:80"),
        ("METERD_SERVICE_HOST", "10.0.0.1"),
        ("METERD_PORT_80_TCP", "tcp://10.0.0.1:80"),
        ("meterd__agent__name", "lower case"),
    ];
    assert_eq!(problems_of(load_with(LEAST, &injected)), "");
}

#[test]
fn toml_yaml_and_json_say_the_same() -> Tested {
    let yaml = "
mediation: {base_url: 'http://127.0.0.1:8080/'}
meters: {api-calls: {global_id: 8a8a/+}}
sources:
  app:
    type: file
    meter: api-calls
    paths: [/var/log/app/*.jsonl]
    exclude: ~
";
    let json = r#"{"mediation":{"base_url":"http://127.0.0.1:8080/"},
        "meters":{"api-calls":{"global_id":"8a8a/+"}},"sources":{"app":
        {"type":"file","meter":"api-calls","paths":["/var/log/app/*.jsonl"]}}}"#;
    let expected = format!("{:?}", load_text(LEAST)?.settings);
    for (text, format) in [(yaml, Format::Yaml), (json, Format::Json)] {
        let loaded = load_str(LoadFor::Run, text, format, std::iter::empty())?;
        assert_eq!(format!("{:?}", loaded.settings), expected);
    }
    Ok(())
}

#[test]
fn sending_needs_no_source() -> Tested {
    let without = LEAST.split("[sources.app]").next().unwrap_or_default();
    for (text, sources) in [(LEAST, 1), (without, 0)] {
        let loaded = load_str(LoadFor::Send, text, Format::Toml, std::iter::empty())?;
        assert_eq!(loaded.settings.sources.len(), sources);
        assert_eq!(loaded.settings.meters.len(), 1);
    }
    let problems = problems_of(load_text(without));
    assert_eq!(problems, "sources: found nothing, expected at least one section [sources.NAME]");
    Ok(())
}

#[test]
fn a_secret_file_wins_and_one_that_everybody_can_read_is_a_warning() -> Tested {
    use secrecy::ExposeSecret;
    let folder = tempfile::tempdir()?;
    let secret = folder.path().join("token");
    let file = folder.path().join("meterd.toml");
    std::fs::write(&secret, "from-file\n")?;
    let text = format!("{LEAST}\n[mediation.auth]\nbearer_token = \"literal\"\n");
    std::fs::write(&file, &text)?;
    let token = |environment: &[(&str, &str)], mode| -> Result<_, Box<dyn std::error::Error>> {
        std::fs::set_permissions(&secret, std::fs::Permissions::from_mode(mode))?;
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode))?;
        let loaded = load(LoadFor::Run, Some(&file), owned(environment).into_iter())?;
        assert!(!format!("{loaded:?}").contains("from-file"));
        assert!(!format!("{loaded:?}").contains("literal"));
        let Credentials::Bearer(token) = loaded.settings.delivery.tenant.credentials else {
            return Err("not a bearer token".into());
        };
        let warned = loaded.warnings.into_iter().map(|warning| warning.key).collect::<Vec<_>>();
        Ok((token.expose_secret().to_owned(), warned))
    };
    let literal = "mediation.auth.bearer_token".to_owned();
    let by_file = "mediation.auth.bearer_token_file".to_owned();
    assert_eq!(token(&[], 0o600)?, ("literal".to_owned(), vec![]));
    assert_eq!(token(&[], 0o644)?, ("literal".to_owned(), vec![literal.clone()]));
    let variable = ("METERD__MEDIATION__AUTH__BEARER_TOKEN", "variable");
    assert_eq!(token(&[variable], 0o644)?, ("variable".to_owned(), vec![]));
    let named = ("METERD__MEDIATION__AUTH__BEARER_TOKEN_FILE", "token");
    let both = [variable, named];
    assert_eq!(token(&both, 0o600)?, ("from-file".to_owned(), vec![literal.clone()]));
    assert_eq!(token(&both, 0o604)?, ("from-file".to_owned(), vec![literal, by_file]));
    Ok(())
}

#[test]
fn client_credentials_ask_for_their_token_at_the_base_url() -> Tested {
    let mut environment = vec![
        ("METERD__MEDIATION__AUTH__CLIENT_ID", "id"),
        ("METERD__MEDIATION__AUTH__CLIENT_SECRET", "secret"),
    ];
    let base = "http://127.0.0.1:8080/oauth/token";
    for expected in [base, "https://one.example.com/token"] {
        if expected != base {
            environment.push(("METERD__MEDIATION__AUTH__TOKEN_URL", expected));
        }
        let credentials = load_with(LEAST, &environment)?.settings.delivery.tenant.credentials;
        assert!(!format!("{credentials:?}").contains("\"secret\""));
        let Credentials::Client { token_url, id, .. } = credentials else {
            return Err("not client credentials".into());
        };
        assert_eq!((token_url.as_str(), id.as_str()), (expected, "id"));
    }
    Ok(())
}

#[test]
fn the_schema_is_listed_or_in_a_file_beside_the_configuration() -> Tested {
    let folder = tempfile::tempdir()?;
    let export = r#"{"schemas":[{"schema":{"properties":{"a":{"type":"geo"}}}}]}"#;
    std::fs::write(folder.path().join("export.json"), export)?;
    let file = folder.path().join("meterd.toml");
    let listed = "[[meters.api-calls.schema.fields]]\nname = \"a\"\ntype = \"integer\"\n";
    for (schema, kind, warnings) in [
        ("[meters.api-calls.schema]\nfile = \"export.json\"\n", FieldType::Any, 1),
        (listed, FieldType::Integer, 0),
    ] {
        std::fs::write(&file, [LEAST, schema].concat())?;
        let loaded = load(LoadFor::Run, Some(&file), std::iter::empty())?;
        let edition = loaded.settings.meters.first().map(|meter| meter.schema.or_open());
        let fields = edition.iter().flat_map(|edition| edition.schema.fields());
        let kinds: Vec<_> = fields.map(|field| field.kind).collect();
        assert_eq!(kinds, [kind]);
        assert_eq!(loaded.warnings.len(), warnings);
    }
    Ok(())
}

#[test]
fn a_file_is_read_by_its_ending_only() -> Tested {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("meterd.conf");
    std::fs::write(&file, LEAST)?;
    let refused = load(LoadFor::Run, Some(&file), std::iter::empty());
    assert!(matches!(refused, Err(Error::Ending { path }) if path == file));
    let missing = folder.path().join("meterd.toml");
    let refused = load(LoadFor::Run, Some(&missing), std::iter::empty());
    assert!(matches!(refused, Err(Error::Unreadable { path, .. }) if path == missing));
    Ok(())
}

proptest::proptest! {
    #[test]
    fn no_damage_to_a_file_is_a_crash(from in 0_usize..9_000, length in 0_usize..200, put in ".{0,4}") {
        let full = example_in_full();
        let damaged: String = full
            .chars()
            .take(from)
            .chain(put.chars())
            .chain(full.chars().skip(from + length))
            .collect();
        // Good or refused: what counts is that it answers.
        let _ = load_text(&damaged);
        let _ = load_str(LoadFor::Send, &put, Format::Json, std::iter::empty());
    }
}

/// The file that is shipped.
const EXAMPLE: &str = include_str!("../../config/meterd.toml");

/// The example with every commented key and section in force.
fn example_in_full() -> String {
    let in_force = |line: &'static str| {
        let rest = line.strip_prefix("# ")?;
        let key = rest.split(" = ").next().filter(|_| rest.contains(" = "))?;
        let is_key = key.chars().all(|c| c.is_ascii_lowercase() || c == '_');
        is_key.then_some(rest)
    };
    let section = |line: &'static str| {
        line.strip_prefix("# ").filter(|rest| rest.starts_with('[') && rest.ends_with(']'))
    };
    let lines =
        EXAMPLE.lines().map(|line| section(line).or_else(|| in_force(line)).unwrap_or(line));
    lines.collect::<Vec<_>>().join("\n")
}

/// What an operator has to add to the example.
const FILLED_IN: [(&str, &str); 3] = [
    ("METERD__MEDIATION__AUTH__CLIENT_ID", "id"),
    ("METERD__MEDIATION__AUTH__CLIENT_SECRET", "secret"),
    ("METERD__MEDIATION__AUTH__CLIENT_SECRET_FILE", ""),
];

#[test]
fn the_example_loads_as_it_is_and_says_the_defaults() -> Tested {
    let example = load_with(EXAMPLE, &FILLED_IN)?;
    assert_eq!(example.warnings, []);
    let least = r#"
        mediation.base_url = "https://rest.zuora.com"
        meters.api-calls.global_id = "8a8aa4c28f9d9c1a018f9e0c4c5d1234"
        sources.app = {type="file",meter="api-calls",paths=["/var/log/app/usage*.jsonl"]}
    "#;
    let least = load_with(least, &FILLED_IN)?;
    assert_eq!(format!("{:?}", example.settings), format!("{:?}", least.settings));
    assert_eq!(example.log, least.log);
    Ok(())
}

#[test]
fn the_example_loads_with_every_comment_in_force() -> Tested {
    let program = tempfile::NamedTempFile::new()?;
    let path = program.path().display().to_string();
    let example = example_in_full().replace("usage.vrl", &path);
    // A program needs the feature, and nothing else in the example does.
    let is_known = |line: &&str| cfg!(feature = "vrl") || !line.starts_with("transform");
    let example: Vec<&str> = example.lines().filter(is_known).collect();
    let loaded = load_with(&example.join("\n"), &FILLED_IN)?;
    assert_eq!(loaded.warnings, []);
    assert_eq!(loaded.settings.sources.len(), 11);
    assert_eq!(loaded.settings.intake_bytes_max, 16 << 20);
    Ok(())
}

#[test]
fn the_example_has_every_key_that_the_reader_knows() -> Tested {
    let table = parse(&example_in_full(), Format::Toml, "example")?;
    let mut written = BTreeSet::new();
    keys(&table, "", &mut written);
    let document = Document { file: None, readable_by_others: false };
    let (_, known) =
        evaluate_with_known(LoadFor::Run, table, &FILLED_IN.map(pair).into(), &document);
    let left_out: Vec<_> = known.difference(&written).collect();
    assert!(known.len() > 60, "{}", known.len());
    assert!(left_out.is_empty(), "not in config/meterd.toml: {left_out:?}");
    Ok(())
}

fn pair((name, value): (&str, &str)) -> (String, String) {
    (name.to_owned(), value.to_owned())
}

/// Every key of `table`, with `*` for names.
fn keys(table: &Map<String, Value>, path: &str, all: &mut BTreeSet<String>) {
    for (key, value) in table {
        let is_named = matches!(path, "meters" | "sources" | "sources.*.fields");
        let key = if is_named { "*" } else { key };
        let whole = if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
        match &value.kind {
            ValueKind::Table(inner) => keys(inner, &whole, all),
            ValueKind::Array(list) => {
                for item in list {
                    if let ValueKind::Table(inner) = &item.kind {
                        keys(inner, &whole, all);
                    }
                }
            }
            _ => {}
        }
        all.insert(whole);
    }
}
