//! What the doctor says of a good meter and of broken ones.

use meterd::simulator::{MeterSettings, Settings};
use meterd::units::Period;
use serde_json::{Value, json};

use crate::harness::config::STDIN;
use crate::harness::{Config, Folder, Result, Sim, lines, meter, text};

const DEFINITION: &str = include_str!("../../src/simulator/meters/default.json");

/// A meter, the simulator that has it, and the configuration that sends to it.
struct Scene {
    definition: Value,
    settings: Settings,
    config: Config,
}

impl Scene {
    /// One in which nothing is wrong.
    fn new() -> Result<Self> {
        let settings = Settings { schema_check: false, ..Settings::default() };
        let config = Config { request_timeout: "125s", ..meter::contract("", STDIN) };
        Ok(Self { definition: serde_json::from_str(DEFINITION)?, settings, config })
    }

    /// One with these fields in the configuration instead of the export's.
    fn with_fields(meter: &str) -> Result<Self> {
        let scene = Self::new()?;
        let config = meter::config("", format!("{meter}{STDIN}"));
        Ok(Self { config: Config { request_timeout: "125s", ..config }, ..scene })
    }

    /// An operator of the meter.
    fn operator(&mut self, index: usize) -> &mut Value {
        &mut self.definition["versions"][0]["tasks"][index]
    }

    fn property(&mut self, name: &str) -> &mut Value {
        &mut self.definition["schemas"][0]["schema"]["properties"][name]
    }

    /// Runs the agent once so that the schema is kept, and gives folder and simulator.
    fn play(self) -> Result<(Folder, Sim)> {
        let folder = Folder::new()?;
        let definition = Some(self.definition.to_string());
        let of_meter = MeterSettings { id: 97, global_id: "g1".to_owned(), definition };
        let sim = Sim::with_settings(Settings { meters: vec![of_meter], ..self.settings })?;
        let config = Config { base_url: sim.url(), ..self.config };
        folder.run_to_end(&config, lines(0..3).as_bytes())?;
        Ok((folder, sim))
    }

    /// What the doctor prints, and its exit code.
    fn look(self) -> Result<String> {
        let (folder, sim) = self.play()?;
        doctor(&folder, &sim)
    }
}

fn doctor(folder: &Folder, sim: &Sim) -> Result<String> {
    let output = folder.command(&["doctor", "--meter", "m", "--timeout", "1s"])?;
    let errors = String::from_utf8(output.stderr)?;
    let code = output.status.code().ok_or("no exit code")?;
    let printed = String::from_utf8(output.stdout)?;
    Ok(meter::steady(&format!("{printed}{errors}exit code {code}"), &sim.url()))
}

#[test]
fn nothing_is_wrong_with_a_good_meter() -> Result {
    let (folder, sim) = Scene::new()?.play()?;
    insta::assert_snapshot!(doctor(&folder, &sim)?);
    let report = folder.json(&["doctor", "--meter", "m", "--json"])?;
    assert_eq!(report["money_at_risk"], false);
    assert_eq!(text(&report, "/findings/0/check")?, "token");
    assert_eq!(text(&report, "/findings/0/verdict")?, "ok");
    Ok(())
}

#[test]
fn a_source_that_is_not_the_streaming_api() -> Result {
    let mut scene = Scene::new()?;
    scene.operator(0)["operatorType"] = json!("LOCAL_FILE");
    insta::assert_snapshot!(scene.look()?);
    Ok(())
}

#[test]
fn a_schema_that_is_not_the_one_that_is_validated_with() -> Result {
    let mut scene = Scene::with_fields("")?;
    scene.definition["schemas"][0]["schema"]["required"] = json!(["CustomerId", "Region"]);
    *scene.property("Region") = json!({"type": "string"});
    scene.property("Quantity")["type"] = json!("integer");
    insta::assert_snapshot!(scene.look()?);
    Ok(())
}

#[test]
fn a_meter_that_does_not_run() -> Result {
    let (folder, sim) = Scene::new()?.play()?;
    folder.json(&["meter", "stop", "--meter", "m", "--force", "--json"])?;
    insta::assert_snapshot!(doctor(&folder, &sim)?);
    Ok(())
}

#[test]
fn a_meter_without_a_deduplicator() -> Result {
    let mut scene = Scene::new()?;
    scene.operator(1)["operatorType"] = json!("FILTER");
    insta::assert_snapshot!(scene.look()?);
    Ok(())
}

#[test]
fn a_deduplicator_on_another_field() -> Result {
    let mut scene = Scene::new()?;
    scene.operator(1)["metadata"]["specificFields"] = json!(["CustomerId", "UsageDate"]);
    insta::assert_snapshot!(scene.look()?);
    Ok(())
}

#[test]
fn a_deduplicator_that_forgets_too_soon() -> Result {
    let mut scene = Scene::new()?;
    scene.operator(1)["metadata"]["ttl"] = json!("12 hours");
    insta::assert_snapshot!(scene.look()?);
    let mut scene = Scene::new()?;
    scene.operator(1)["metadata"]["maxSize"] = json!(1000);
    let told = scene.look()?;
    assert!(told.contains("30d and 1000 keys; 80000 events can be under way here"), "{told}");
    Ok(())
}

#[test]
fn a_backlog_that_is_late_already() -> Result {
    let mut scene = Scene::new()?;
    *scene.operator(2) = json!({
        "id": "3", "name": "Sum", "nodeType": "PROCESSOR", "operatorType": "AGGREGATOR",
        "metadata": {"timeoutType": "EventTime", "maxOutOfOrderness": "1ms"},
    });
    let (folder, sim) = scene.play()?;
    sim.replace_faults(&["status=403@g1"])?;
    let mut agent = folder.start_with_pipe()?;
    agent.write(lines(3..6).as_bytes())?;
    folder.wait_counted("stored", 3)?;
    agent.kill()?;
    let told = doctor(&folder, &sim)?;
    let age = told.split_once("that waits is ").and_then(|(_, rest)| rest.split_once(" old"));
    let (age, _) = age.ok_or_else(|| format!("no age: {told}"))?;
    insta::assert_snapshot!(told.replace(&format!("is {age} old"), "is (age) old"));
    Ok(())
}

#[test]
fn times_that_the_meter_reads_otherwise() -> Result {
    let mut scene = Scene::with_fields("")?;
    *scene.property("UsageDate") =
        json!({"type": "datetime", "timeFormat": "yyyy-MM-dd'T'HH:mm:ss'Z'"});
    scene.definition["typeDefinition"]["fieldMappings"] =
        json!([{"name": "startDateTime", "field": "UsageDate", "dateFormat": "yyyy-MM-dd"}]);
    insta::assert_snapshot!(scene.look()?);
    Ok(())
}

#[test]
fn a_clock_that_is_wrong() -> Result {
    let mut scene = Scene::new()?;
    scene.settings.clock_ahead_seconds = 3600;
    *scene.property("UsageDate") = json!({"type": "datetime"});
    scene.config.meter.push_str("\nevent_ahead_max = \"365d\"");
    let told = scene.look()?;
    let skew = told.lines().find_map(|line| line.split_once("clock: ")?.1.split_once(" behind"));
    let (skew, _) = skew.ok_or_else(|| format!("no skew: {told}"))?;
    let seconds = skew.parse::<Period>()?.duration().as_secs();
    assert!((3000..=3600).contains(&seconds), "{skew}");
    insta::assert_snapshot!(told.replace(skew, "(an hour)"));
    Ok(())
}

#[test]
fn a_token_that_nobody_gives() -> Result {
    let mut scene = Scene::new()?;
    scene.settings.credentials = Some(("agent".to_owned(), "hush-hush".to_owned()));
    scene.config.auth = "client_id = \"agent\"\nclient_secret = \"hush-hush\"".to_owned();
    let (folder, sim) = scene.play()?;
    let text = std::fs::read_to_string(folder.config())?;
    std::fs::write(folder.config(), text.replace("hush-hush", "wrong"))?;
    insta::assert_snapshot!(doctor(&folder, &sim)?);
    let output = folder.command(&["check", "--online", "--timeout", "1s"])?;
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8(output.stdout)?.contains("problem: token: "));
    Ok(())
}

#[test]
fn a_meter_that_is_not_there_and_one_that_nobody_answers_for() -> Result {
    let (folder, sim) = Scene::new()?.play()?;
    let config = std::fs::read_to_string(folder.config())?;
    std::fs::write(folder.config(), config.replace("id = 97", "id = 98"))?;
    insta::assert_snapshot!(doctor(&folder, &sim)?);
    std::fs::write(folder.config(), config)?;
    sim.replace_faults(&["status=503"])?;
    let told = doctor(&folder, &sim)?;
    assert!(told.ends_with("exit code 0"), "{told}");
    assert!(told.contains("unknown  run status: Mediation could not be reached in time"), "{told}");
    let output = folder.command(&["check", "--online", "--timeout", "1s"])?;
    assert_eq!(output.status.code(), Some(69));
    Ok(())
}

#[test]
fn a_check_asks_mediation_when_it_is_told_to() -> Result {
    let (folder, sim) = Scene::new()?.play()?;
    let before = sim.exchanges().len();
    let check = |arguments: &[&str]| -> Result<String> {
        let output = folder.command(arguments)?;
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
        Ok(String::from_utf8(output.stdout)?)
    };
    assert_eq!(check(&["check"])?, "configuration is good\n");
    assert_eq!(sim.exchanges().len(), before);
    insta::assert_snapshot!(check(&["check", "--online"])?, @r"
    configuration is good
    token: there is one
    meter m: RUNNING (5)
    meter m: its schema has 5 fields
    ");
    Ok(())
}
