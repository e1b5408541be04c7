//! Programs in VRL that make events of records; and what a meterd without VRL says of them.

use std::process::Output;

use crate::harness::config::STDIN;
use crate::harness::{Config, Folder, Result};

/// `check` prints what it finds, `run` complains of it.
fn printed(output: Output) -> Result<String> {
    Ok(String::from_utf8([output.stdout, output.stderr].concat())?)
}

#[cfg(not(feature = "vrl"))]
#[test]
fn without_the_feature_a_program_is_refused_with_words_that_say_how_to_have_it() -> Result {
    let folder = Folder::new()?;
    let keys = "transform = '.a = '\n";
    folder.configure(&Config::new("http://127.0.0.1:1", format!("{STDIN}{keys}")))?;
    for command in ["check", "run"] {
        let output = folder.command(&[command])?;
        assert_eq!(output.status.code(), Some(78));
        let errors = printed(output)?;
        assert!(errors.contains("sources.pipe.transform: found a program in VRL"), "{errors}");
        assert!(errors.contains("`cargo build --release --features vrl`"), "{errors}");
    }
    assert!(!folder.state().exists());
    Ok(())
}

#[cfg(feature = "vrl")]
mod with_vrl {
    use std::fmt::Write;

    use serde_json::Value;

    use super::*;
    use crate::formats::{check_example, letters, payloads, run};
    use crate::harness::config::file;
    use crate::harness::{RawServer, Reply, text, until};
    use crate::reload::{REFUSED, RELOADED, problems, reload};

    /// The documented four fields of a record with a sum in it; `x` is none.
    const PROGRAM: &str = r#"transform = '''
if .c == "x" { abort }
. = {
    "CustomerId": .c, "UsageIdentifier": "u", "UsageDate": "2026-11-21",
    "Quantity": to_float!(.q) * 2
}
'''
"#;

    fn made(customer: &str, quantity: &str) -> String {
        format!(
            r#"{{"CustomerId":"{customer}","Quantity":{quantity},"UsageDate":"2026-11-21","UsageIdentifier":"u"}}"#
        )
    }

    #[test]
    fn each_record_is_an_event_ignored_or_a_dead_letter_and_stops_no_other() -> Result {
        let lines = [
            r#"{"c":"a","q":1.25}"#,
            r#"{"c":"x","q":1}"#,
            r#"{"c":"b","q":"many"}"#,
            r#"{"c":"c","q":12345678901234567890}"#,
            r#"{"c":7,"q":1}"#,
            r#"{"c":"d","q":"4","test":true}"#,
            r#"{"c":"e","q":"4"}"#,
        ];
        let select = "[[sources.pipe.select]]\nfield = \"test\"\nexists = false\n";
        let input = lines.join("\n") + "\n";
        let (sent, dead, counted) = run(&format!("{PROGRAM}{select}"), &input)?;
        assert_eq!(sent, format!("[{},{}]", made("a", "2.5"), made("e", "8.0")));
        let expected = [
            format!("transform_failed - {}", lines[2]),
            format!("number_out_of_range q {}", lines[3]),
            format!("wrong_type CustomerId {}", lines[4]),
        ];
        assert_eq!(letters(&dead)?, expected);
        let told = text(&dead[0], "/detail")?;
        assert!(told.starts_with("line 4, column 17: ") && told.contains("to_float"), "{told}");
        assert_eq!(counted, [7, 2]);
        Ok(())
    }

    #[test]
    fn records_of_each_format_make_the_same_event() -> Result {
        for (format, input) in [
            ("format = \"logfmt\"", "q=1.25 flag c=a\n"),
            ("format = \"csv\"", "q,other,c\n1.25,,a\n"),
            ("format = \"regex\"\npattern = '^(?<c>\\S+) (?<q>\\S+)$'", "a 1.25\n"),
            ("format = \"json-array\"", "[{\"c\":\"a\",\"q\":1.25}]\n"),
            ("format = \"syslog\"", "<14>1 - h - - - - {\"c\":\"a\",\"q\":1.25}\n"),
        ] {
            let (sent, dead, _) = run(&format!("{format}\n{PROGRAM}"), input)?;
            assert_eq!(sent, format!("[{}]", made("a", "2.5")), "{format}");
            assert_eq!(letters(&dead)?, [] as [&str; 0], "{format}");
        }
        let around = PROGRAM.replace(".c,", "%syslog.app,").replace(".q", "%syslog.\"o@1\".q");
        let keys = format!("format = \"syslog\"\nmessage_format = \"text\"\n{around}");
        let (sent, ..) = run(&keys, "<14>1 - h a - - [o@1 q=\"1.25\"] any text\n")?;
        assert_eq!(sent, format!("[{}]", made("a", "2.5")));
        Ok(())
    }

    #[test]
    fn what_becomes_of_a_record_can_be_looked_at_before() -> Result {
        let folder = Folder::new()?;
        folder.configure(&Config::new("http://127.0.0.1:1", format!("{STDIN}{PROGRAM}")))?;
        std::fs::write(
            folder.path("a.jsonl"),
            "{\"c\":\"a\",\"q\":1}\n{\"c\":\"x\"}\n{\"q\":\"a\"}\n",
        )?;
        for command in [
            ["verify", "--source", "pipe", "a.jsonl"].as_slice(),
            &["send", "--dry-run", "--source", "pipe", "a.jsonl"],
        ] {
            let output = folder.command(command)?;
            assert_eq!(output.status.code(), Some(1), "{output:?}");
            let printed = String::from_utf8(output.stdout)?;
            let event = made("a", "2.0").replace('}', ",\"EventId\":");
            assert!(printed.contains(&format!("  out  {event}")), "{printed}");
            assert!(printed.contains("  why  transform_failed: line 4, column 17: "), "{printed}");
            assert!(printed.ends_with("1 valid, 1 refused, 1 ignored\n"), "{printed}");
        }
        Ok(())
    }

    #[test]
    fn every_mistake_is_told_with_line_and_column_beside_all_others() -> Result {
        let folder = Folder::new()?;
        let keys = "transform_file = \"usage.vrl\"\n";
        let mut config = Config::new("http://127.0.0.1:1", format!("{STDIN}{keys}"));
        config.limits = "requests_in_flight_max = 0".to_owned();
        folder.configure(&config)?;
        std::fs::write(folder.path("usage.vrl"), ".a = to_int(.b)\n\n.t = now()\n.n = %file.name")?;
        let output = folder.command(&["check"])?;
        assert_eq!(output.status.code(), Some(78));
        let errors = printed(output)?;
        let path = folder.path("usage.vrl").display().to_string();
        for expected in [
            "mediation.limits.requests_in_flight_max: ".to_owned(),
            format!("sources.pipe.transform_file: found {path}, line 1, column 6: "),
            format!(
                "sources.pipe.transform_file: found {path}, line 3, column 6: call to undefined function"
            ),
            "a record that is read again must become the same event".to_owned(),
        ] {
            assert!(errors.contains(&expected), "{expected}: {errors}");
        }
        std::fs::write(folder.path("usage.vrl"), ".n = %file.name")?;
        let errors = printed(folder.command(&["check"])?)?;
        assert!(
            errors.contains("transform_file: found \"file:name\", expected no part"),
            "{errors}"
        );
        Ok(())
    }

    #[test]
    fn a_reload_takes_a_changed_program_and_one_with_a_mistake_changes_nothing() -> Result {
        let folder = Folder::new()?;
        let server = RawServer::start(|_, _| Reply::success())?;
        let (log, program) = (folder.path("calls.jsonl"), folder.path("usage.vrl"));
        let write = |factor: u32| -> Result {
            let text = PROGRAM.split("'''").nth(1).ok_or("no program")?;
            Ok(std::fs::write(&program, text.replace("* 2", &format!("* {factor}")))?)
        };
        let keys = "transform_file = \"usage.vrl\"\n";
        let config = Config::new(&server.url(), format!("{}{keys}", file(&log)));
        folder.configure(&Config { meter: String::new(), ..config })?;
        write(2)?;
        let mut agent = folder.start()?;
        let mut written = String::new();
        let mut delivered = |customer: &str, quantity: &str| -> Result {
            writeln!(written, "{{\"c\":\"{customer}\",\"q\":1}}")?;
            std::fs::write(&log, &written)?;
            let expected = made(customer, quantity);
            until(&expected, || Ok(payloads(&server)?.contains(&expected).then_some(())))
        };
        delivered("a", "2.0")?;
        write(3)?;
        reload(&agent, RELOADED)?;
        delivered("b", "3.0")?;
        std::fs::write(&program, ".a = 1\n.b = to_int(.c)\n")?;
        reload(&agent, REFUSED)?;
        let said = problems(&agent)?.join("\n");
        assert!(said.contains("sources.app.transform_file: "), "{said}");
        assert!(said.contains("usage.vrl, line 2, column 6: "), "{said}");
        delivered("c", "3.0")?;
        agent.stop()
    }

    #[test]
    fn a_dead_letter_is_an_event_with_its_own_id_once_the_program_is_mended() -> Result {
        let folder = Folder::new()?;
        let server = RawServer::start(|_, _| Reply::success())?;
        let mut config = Config::new(&server.url(), format!("{STDIN}{PROGRAM}"));
        let agent = folder.run_to_end(&config, b"{\"c\":\"a\",\"q\":\"1,5\"}\n")?;
        drop(agent);
        let dead = folder.dead_letters()?;
        assert_eq!(letters(&dead)?, ["transform_failed - {\"c\":\"a\",\"q\":\"1,5\"}"]);
        config.sources =
            config.sources.replace("to_float!(.q)", "to_float!(replace!(.q, \",\", \".\"))");
        folder.configure(&config)?;
        folder.json(&["dead-letters", "replay", "--all", "--json"])?;
        folder.run_to_end(&config, b"")?;
        assert_eq!(folder.dead_letters()?, Vec::<Value>::new());
        let event = made("a", "3.0").replace('}', "");
        let id = text(&dead[0], "/event_id")?;
        assert_eq!(payloads(&server)?, format!("[{event},\"EventId\":\"{id}\"}}]"));
        Ok(())
    }

    #[test]
    fn the_example_is_run_as_it_is_shipped() -> Result {
        let line = |tokens: &str| {
            format!(
                "{{\"time\":\"2026-11-21T06:14:11Z\",\"account\":\"acme/eu\",\"model\":\"Large-2\",\"tokens\":{tokens}}}\n"
            )
        };
        let input = [r#"{"in":1200,"out":345}"#, r#"{"in":0,"out":0}"#, r#"{"in":1}"#];
        let input: String = input.into_iter().map(line).collect();
        let event = "{\"CustomerId\":\"acme\",\"Quantity\":1545,\"UsageDate\":\"2026-11-21T06:14:11Z\",\
                     \"UsageIdentifier\":\"large-2\"}";
        check_example("transform.toml", "calls.jsonl", &input, &[event], &["transform_failed -"])
    }
}
