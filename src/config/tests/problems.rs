//! Everything that can be wrong, and how it is told.

use super::*;

mod listeners;
mod schemas;

#[test]
fn five_mistakes_are_five_messages_with_their_keys() {
    let text = r#"
        [mediation]
        base_url = "http://rest.zuora.com"
        tennant = "production"
        auth.bearer_token = "hidden"
        [batch]
        compression_level = "fast"
        [meters.api-calls]
        global_id = "8a8a"
        [sources.app]
        type = "file"
        meter = "api-cals"
        paths = ["/var/log/[app"]
    "#;
    insta::assert_snapshot!(problems_of(load_text(text)), @r#"
    batch.compression_level: found "fast", expected a whole number from 1 to 9
    mediation.base_url: found "http://rest.zuora.com", expected https: plain http is for loopback addresses only
    mediation.tennant: found an unknown key, expected a known key; did you mean "tenant"?
    sources.app.meter: found "api-cals", expected the name of a meter; did you mean "api-calls"?
    sources.app.paths[0]: found "/var/log/[app", expected a valid pattern: invalid range pattern at character 10
    "#);
}

/// Replaces `from` in a good configuration by `to`, and expects these problems.
fn check(from: &str, to: &str, expected: &[&str]) {
    const GOOD: &str = r#"
[agent]
name = "edge-1"
[mediation]
base_url = "http://localhost:1"
#mediation
[mediation.auth]
#auth
[mediation.limits]
#limits
[store]
#store
[batch]
#batch
[delivery]
#delivery
[log]
#log
[meters.m]
global_id = "8a8a"
#meter
[meters.m.schema]
fields = [{name="a",type="string"}]
[sources.a]
type = "file"
meter = "m"
paths = ["/x"]
#file
[sources.b]
type = "tcp"
meter = "m"
listen = "127.0.0.1:1"
#tcp
[sources.c]
type = "stdin"
meter = "m"
#stdin
"#;
    assert!(GOOD.contains(from), "{from}");
    let problems = problems_of(load_text(&GOOD.replacen(from, to, 1)));
    assert_eq!(problems.lines().collect::<Vec<_>>(), expected, "{to}");
}

#[test]
fn values_out_of_range_say_the_range() {
    let number = "expected a whole number from";
    check(
        "#batch",
        "compression_level = 10",
        &[&format!("batch.compression_level: found 10, {number} 1 to 9")],
    );
    check("#batch", "workers = -1", &[&format!("batch.workers: found -1, {number} 0 to 256")]);
    check(
        "#limits",
        "requests_in_flight_max = 0",
        &[&format!("mediation.limits.requests_in_flight_max: found 0, {number} 1 to 1000")],
    );
    check(
        "#limits",
        "payload_bytes_max = 0",
        &["mediation.limits.payload_bytes_max: found 0, expected 64 to 64MiB"],
    );
    check(
        "#store",
        "bytes_max = \"10 gigs\"",
        &["store.bytes_max: found \"10 gigs\", expected a size such as 4MB, 256KiB or 1000 \
         (B, kB, MB, GB, TB, KiB, MiB, GiB, TiB)"],
    );
    check(
        "#batch",
        "linger_max = 5",
        &["batch.linger_max: found 5, expected a duration with its unit, such as 500ms, 2s or 15m"],
    );
    check("#batch", "linger_max = \"0s\"", &["batch.linger_max: found \"0s\", expected 1ms to 1m"]);
    check(
        "#log",
        "level = \"loud\"",
        &["log.level: found \"loud\", expected one of \"error\", \"warn\", \"info\", \"debug\", \
         \"trace\""],
    );
    check(
        "#delivery",
        "on_unknown = \"retry\"",
        &["delivery.on_unknown: found \"retry\", expected one of \"resend\", \"hold\""],
    );
    check(
        "edge-1",
        "edge 1",
        &["agent.name: found \"edge 1\", expected 1 to 64 letters, digits, '.', '_' or '-'"],
    );
}

#[test]
fn values_of_the_wrong_type_say_the_right_one() {
    check(
        "paths = [\"/x\"]",
        "paths = \"/x\"",
        &["sources.a.paths: found \"/x\", expected a list of texts in quotes"],
    );
    check(
        "paths = [\"/x\"]",
        "paths = [1]",
        &["sources.a.paths[0]: found 1, expected a text in quotes"],
    );
    check(
        "[store]\n#store",
        "[other]",
        &["other: found an unknown key, expected one of admin, agent, batch, delivery, log, \
          mediation, meters, reconcile, sources, store"],
    );
    check(
        "[agent]\nname = \"edge-1\"",
        "agent = 1",
        &["agent: found a whole number, expected a table, [agent]"],
    );
    check(
        "type=\"string\"",
        "type=\"text\"",
        &[
            "meters.m.schema.fields[0].type: found \"text\", expected one of \"string\", \"number\", \
         \"integer\", \"boolean\", \"datetime\", \"any\"",
        ],
    );
    check(
        ",type=\"string\"",
        "",
        &[
            "meters.m.schema.fields[0].type: found nothing, expected one of string, number, integer, \
         boolean, datetime, any",
        ],
    );
}

#[test]
fn values_that_contradict_each_other_are_told() {
    check(
        "#mediation",
        "connect_timeout = \"3m\"",
        &["mediation.connect_timeout: found 3m, expected at most request_timeout, 125s"],
    );
    check(
        "#delivery",
        "backoff_base = \"2m\"",
        &["delivery.backoff_base: found 2m, expected at most backoff_max, 1m"],
    );
    check(
        "name = \"edge-1\"",
        "intake_bytes_max = \"1MB\"",
        &["agent.intake_bytes_max: found 1MB, expected at least 4 x \
         mediation.limits.payload_bytes_max, 16MB"],
    );
    check(
        "#stdin",
        "line_bytes_max = \"5MB\"",
        &["sources.c.line_bytes_max: found 5MB, expected at most \
         mediation.limits.payload_bytes_max, 4MB"],
    );
    check(
        "#mediation",
        "client_cert_file = \"/dev/null\"",
        &["mediation.client_key_file: found nothing, expected the key of client_cert_file"],
    );
    check(
        "#auth",
        "client_id = \"a\"\nbearer_token = \"b\"",
        &["mediation.auth: found client credentials and a bearer token, expected one of the two"],
    );
    check(
        "#auth",
        "client_id = \"a\"",
        &[
            "mediation.auth.client_secret_file: found nothing, expected the file with the secret of \
         client_id",
        ],
    );
    check(
        "#meter",
        "upload_url = \"http://localhost/\"",
        &["meters.m.upload_url: found both upload_url and global_id, expected one of the two"],
    );
    check("#meter", "event_id_field = \"b\"", &[]);
    check(
        "{name=\"a\",type=\"string\"}]",
        "{name=\"a\",type=\"number\"}]\n[meters.n]\n\
        global_id = \"n\"\nevent_id_field = \"Quantity\"",
        &["meters.n.event_id_field: found \"Quantity\", a field of type number, expected a field \
         of type string"],
    );
}

#[test]
fn what_cannot_be_compared_is_told() {
    check("#meter", "quantity_field = \"\"\nsole_sender = true\noutput_operator = \"2\"", &[]);
    check(
        "#meter",
        "quantity_field = \"Amount\"",
        &["meters.m.quantity_field: found \"Amount\", which the schema does not list, expected a \
         field of the schema of type number or integer, or \"\" for none"],
    );
    check(
        "#meter",
        "[reconcile]\nevery = \"1h\"\ndelay = \"10ms\"",
        &[
            "reconcile.delay: found \"10ms\", expected 1s to 31d",
            "reconcile.every: found no meter with an id, expected `id` in at least one section \
             [meters.NAME]: what has none is not asked for",
        ],
    );
}

#[test]
fn sources_that_collide_are_told() {
    check(
        "[sources.c]",
        "[sources.c2]\ntype = \"stdin\"\nmeter = \"m\"\n[sources.c]",
        &[
            "sources.c2.type: found a second stdin source beside sources.c, expected one stdin source",
        ],
    );
    let second = "[sources.d]\ntype = \"tcp\"\nmeter = \"m\"\nlisten = \"0.0.0.0:1\"\n[sources.c]";
    check(
        "[sources.c]",
        second,
        &[
            "sources.d.listen: found 0.0.0.0:1, which sources.b takes, expected an address of its own",
        ],
    );
    check("[sources.c]", &second.replace(":1", ":2"), &[]);
    let twice = "[sources.d]\ntype = \"file\"\nmeter = \"m\"\npaths = [\"/x\"]\n[sources.c]";
    check(
        "[sources.c]",
        twice,
        &["sources.d.paths[0]: found \"/x\", which sources.a reads for the same meter, expected \
         each file in one source: its events would be sent twice"],
    );
}

#[test]
fn endpoints_are_https_or_on_this_host() {
    for (url, found, expected) in [
        ("http://rest.zuora.com", "", "https: plain http is for loopback addresses only"),
        ("http://127.0.0.1.evil.com", "", "https: plain http is for loopback addresses only"),
        ("ftp://localhost", "", "a URL that begins with https://"),
        ("rest.zuora.com", "", "a URL such as https://rest.zuora.com"),
        (
            "http://me:hidden@localhost",
            "...@localhost",
            "a URL without user name and password: see [mediation.auth]",
        ),
        ("http://localhost/?token=hidden", "http://localhost/", "a URL without a query"),
    ] {
        let found = if found.is_empty() { url } else { found };
        let expected = format!("mediation.base_url: found {found:?}, expected {expected}");
        check("http://localhost:1", url, &[&expected]);
    }
    for url in ["http://127.9.9.9", "http://[::1]:80", "http://LOCALHOST/x/"] {
        check("http://localhost:1", url, &[]);
    }
    check(
        "http://localhost:1",
        "https://rest.zuora.com",
        &["mediation.auth: found no credentials, expected client_id and client_secret_file, or \
         bearer_token_file"],
    );
    check(
        "#mediation",
        "proxy = \"http://me:hidden@proxy:1\"",
        &[
            "mediation.proxy: found \"...@proxy:1\", expected a URL without password; set HTTPS_PROXY \
         in the environment instead",
        ],
    );
    check(
        "#mediation",
        "ingest_path = \"/usage\"",
        &["mediation.ingest_path: found \"/usage\", expected a path that begins with / and has \
         {meter} once, such as /meters/streaming/ingestion/{meter} or /usage/bulk/{meter}"],
    );
}

#[test]
fn what_the_meter_apis_need_is_checked() {
    let expected = "expected the id as Mediation shows it, such as 97";
    for (typed, found) in [("0", "0"), ("-1", "-1"), ("\"a b\"", "\"a b\""), ("1.5", "1.5")] {
        let problem = format!("meters.m.id: found {found}, {expected}");
        check("#meter", &format!("id = {typed}"), &[&problem]);
    }
    check(
        "#meter",
        "version = \"1/2\"",
        &["meters.m.version: found \"1/2\", expected a version such as 0.0.1"],
    );
}

#[test]
fn limits_and_formats_that_cannot_be_are_told() {
    check(
        "#meter",
        "event_age_max = \"35\"\ninteger_digits_max = 41\nfour_byte_characters = \"drop\"",
        &[
            "meters.m.event_age_max: found \"35\", expected a duration with its unit, such as 500ms, \
         2s or 15m",
            "meters.m.four_byte_characters: found \"drop\", expected one of \"keep\", \"reject\"",
            "meters.m.integer_digits_max: found 41, expected a whole number from 0 to 40",
        ],
    );
    check(
        "#meter",
        "event_ahead_max = \"5m\"",
        &[
            "meters.m.event_ahead_max: found a limit for times, and a schema without a field of type \
         datetime, expected such a field, or the key to be left out",
        ],
    );
    check(
        "type=\"string\"",
        "type=\"datetime\",format=\"YYYY-MM-dd\"",
        &[
            "meters.m.schema.fields[0].format: found \"YYYY-MM-dd\", expected epoch_ms, epoch_s, or a \
         pattern of yyyy, MM, dd, HH, mm, ss, SSS, Z, X, XX, XXX and text in single quotes, where \
         \"YYYY\" is none of them",
        ],
    );
    check(
        "type=\"string\"",
        "type=\"string\",format=\"epoch_ms\"",
        &[
            "meters.m.schema.fields[0].format: found a format of a field of type string, expected the \
         key to be left out: formats are for fields of type datetime",
        ],
    );
}

#[test]
fn missing_keys_and_files_are_told() {
    check(
        "meter = \"m\"\npaths = [\"/x\"]",
        "",
        &[
            "sources.a.meter: found nothing, expected the name of one of the meters",
            "sources.a.paths: found nothing, expected at least one path or pattern, such as \
         \"/var/log/app/*.jsonl\"",
        ],
    );
    check(
        "global_id = \"8a8a\"",
        "",
        &["meters.m.global_id: found nothing, expected the meter's global id, or its upload_url \
         instead"],
    );
    check(
        "base_url = \"http://localhost:1\"",
        "",
        &["mediation.base_url: found nothing, expected the URL of your data center, such as \
         https://rest.zuora.com"],
    );
    check(
        "#mediation",
        "ca_file = \"/nowhere/ca.pem\"",
        &["mediation.ca_file: found /nowhere/ca.pem: No such file or directory (os error 2), \
         expected a readable file"],
    );
    check(
        "fields = [{name=\"a\",type=\"string\"}]",
        "file = \"/dev/zero\"",
        &["meters.m.schema.file: found /dev/zero: not a regular file, expected a readable file"],
    );
    let fields = "{name=\"a\",type=\"any\"}, {name=\"a\",type=\"any\"}";
    check(
        "{name=\"a\",type=\"string\"}",
        fields,
        &[
            "meters.m.schema.fields: found field \"a\" is listed twice, expected fields that have a \
         name each, no name twice",
        ],
    );
}

#[test]
fn secrets_are_in_no_message() {
    for (from, to) in [
        ("#auth", "client_secrt = \"hidden\""),
        ("#auth", "client_secret = [\"hidden\"]"),
        ("#auth", "bearer_token = \"hidden hidden\""),
        ("[mediation.auth]", "auth = \"hidden\"\n[mediation.other]"),
        ("#mediation", "bearer_token = \"hidden\""),
    ] {
        let text =
            LEAST.replace("[meters.api-calls]", "[mediation.auth]\n#auth\n[meters.api-calls]");
        let text = text.replace("\n[mediation.auth]", "\n#mediation\n[mediation.auth]");
        assert!(text.contains(from));
        let problems = problems_of(load_text(&text.replacen(from, to, 1)));
        assert!(!problems.is_empty(), "{to}");
        assert!(!problems.contains("hidden"), "{problems}");
    }
}

#[test]
fn a_syntax_error_has_its_place_and_not_the_text() {
    let cases = [
        ("[mediation]\nclient_secret = \"hidden", Format::Toml, "text:2:24"),
        ("a: b\nc: 'hidden", Format::Yaml, "text:2:4"),
        ("{\"a\":\n\"hidden\" \"b\"}", Format::Json, "text:2:10"),
        ("hidden line 1 column 2", Format::Yaml, "text"),
        ("a = 99999999999999999999", Format::Toml, "text"),
        ("a = 1\na = 2", Format::Toml, "text:2:1"),
    ];
    for (text, format, expected) in cases {
        let error = load_str(LoadFor::Run, text, format, std::iter::empty());
        let Err(Error::Syntax { place, message }) = error else {
            assert_eq!(text, "", "is not refused");
            continue;
        };
        assert_eq!(place, expected, "{message}");
        assert!(!message.contains("hidden") && !message.is_empty(), "{message}");
        assert!(!message.contains(['|', '\n']), "{message}");
    }
}

#[test]
fn variables_are_told_by_their_names() {
    let environment = [
        ("METERD__BATCH__WORKERS", "many"),
        ("METERD__MEDIATION__BASE_ULR", "hidden"),
        ("METERD__MEDIATION__AUTH", "hidden"),
        ("METERD__MEDIATION__AUTH__CLIENT_ID", "a"),
        ("METERD__METERS", "hidden"),
        ("METERD__SOURCES__APP__PATHS[999999999999]", "hidden"),
        ("METERD__SOURCES__APP__meter", "api-calls"),
        ("METERD__SOURCES__APP__METER", "api-calls"),
        ("METERD__", "hidden"),
    ];
    let problems = problems_of(load_with(LEAST, &environment));
    insta::assert_snapshot!(problems, @r#"
    METERD__: found a variable that names no key, expected names like METERD__SECTION__KEY of letters, digits, _ and -
    METERD__MEDIATION__AUTH: found a value for a whole section, expected a variable for each key in it, METERD__MEDIATION__AUTH__KEY
    METERD__METERS: found a value for a whole section, expected a variable for each key in it, METERD__METERS__KEY
    METERD__SOURCES__APP__PATHS[999999999999]: found a variable that names no key, expected names like METERD__SECTION__KEY of letters, digits, _ and -
    METERD__SOURCES__APP__meter: found the same key as in METERD__SOURCES__APP__METER, expected one of the two
    batch.workers: found "many" in METERD__BATCH__WORKERS, expected a whole number from 0 to 256
    mediation.auth.client_secret_file: found nothing, expected the file with the secret of client_id
    mediation.base_ulr: found an unknown key in METERD__MEDIATION__BASE_ULR, expected a known key; did you mean "base_url"?
    "#);
}

#[test]
fn names_that_would_be_paths_are_refused() {
    let problems = problems_of(load_text(&format!("\"a[99999999999]\" = 1\n{LEAST}")));
    assert_eq!(
        problems,
        "a[99999999999]: found an unknown key, expected sections such as [agent] and [mediation]"
    );
}
