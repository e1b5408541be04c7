//! What the references leave open, decided one way and the other.

use super::super::{Assumptions, MeterSettings};
use super::*;

/// Source, deduplicator, aggregator that waits ten seconds, and a sink behind each of the latter.
fn definition() -> Result<String, Box<dyn std::error::Error>> {
    let mut document: Value = serde_json::from_str(include_str!("../meters/default.json"))?;
    let task = |id: &str, kind: &str, before: &[&str], metadata: Value| {
        let before: Vec<Value> = before.iter().map(|id| json!({"id": id})).collect();
        json!({"id": id, "name": kind, "operatorType": kind, "predecessors": before, "metadata": metadata})
    };
    let keys = json!({"specificFields": ["EventId"], "ttl": "30 days", "maxSize": 1000});
    // Not in the order in which events go.
    document["versions"][0]["tasks"] = json!([
        task("5", "KAFKA", &["2", "3"], json!({})),
        task("4", "EVENT_STORE", &["3"], json!({})),
        task("3", "AGGREGATOR", &["2"], json!({"maxOutOfOrderness": "10s"})),
        task("2", "DEDUPLICATE", &["1"], keys),
        task("1", "ZUORA_BULK_API", &[], json!({})),
    ]);
    document["schemas"][0]["schema"]["properties"]["UsageDate"] = json!({"type": "datetime"});
    Ok(document.to_string())
}

fn settings(assumed: &str) -> Result<Settings, Box<dyn std::error::Error>> {
    let definition = Some(definition()?);
    let meter = MeterSettings { id: 97, global_id: "m".to_owned(), definition };
    let assumptions = if assumed.is_empty() { Assumptions::default() } else { assumed.parse()? };
    Ok(Settings { meters: vec![meter], schema_check: false, assumptions, ..Settings::default() })
}

/// An event of this second.
fn at(id: &str, second: u32) -> Value {
    let mut event = event(id);
    event["UsageDate"] = format!("2026-11-21T06:00:{second:02}+0000").into();
    event
}

impl Bench {
    /// What comes out of a summary: the output of each group.
    async fn output(&self, group_by: &[&str]) -> Result<Vec<u64>, Box<dyn std::error::Error>> {
        let query = json!({"runType": "NORMAL", "groupBy": group_by});
        let request = self.client.post(self.url("/meters/97/summary")).body(query.to_string());
        let request = request.header("content-type", "application/json");
        let said = json_of(request.send().await?).await?;
        let rows = said["data"]["output"].as_array().cloned().unwrap_or_default();
        Ok(rows.iter().filter_map(|row| row["output"].as_u64()).collect())
    }

    async fn get(&self, path: &str) -> Result<Value, Box<dyn std::error::Error>> {
        let request = self.client.get(self.url(path)).header("content-type", "application/json");
        json_of(request.send().await?).await
    }

    async fn asked(&self, path: &str, body: &Value) -> Result<u16, Box<dyn std::error::Error>> {
        let request = self.client.post(self.url(path)).body(body.to_string());
        let request = request.header("content-type", "application/json");
        Ok(request.send().await?.status().as_u16())
    }

    /// The run status; who looks sees a state that passes.
    async fn state(&self) -> Result<String, Box<dyn std::error::Error>> {
        let said = self.get("/meters/97/0.0.1/runStatus").await?;
        Ok(said["data"]["runStatusDescription"].as_str().unwrap_or_default().to_owned())
    }
}

const SPAN: &str = "runType=NORMAL&queryFromTime=2020-01-01T00:00:00%2B0000\
     &queryToTime=2099-01-01T00:00:00%2B0000";

#[tokio::test]
async fn events_go_by_the_graph_and_late_ones_are_refused() -> Outcome {
    // By operator: 1 to 5. The last event is a repeat, the third comes too late.
    let rows: [(&str, [u64; 5], u64); 5] = [
        ("", [4, 3, 2, 2, 3], 5),
        ("late-data=kept", [4, 3, 3, 3, 3], 6),
        ("several-ways=each", [4, 3, 2, 2, 5], 7),
        ("output=all", [4, 3, 2, 2, 3], 14),
        // Sinks first: the deduplicator is the fourth that it comes to.
        ("operator-order=listed", [2, 2, 3, 4, 4], 2),
    ];
    for (assumed, by_operator, output) in rows {
        with(settings(assumed)?, async |bench: Bench| {
            let events = [at("a", 30), at("b", 29), at("c", 10), at("a", 30)];
            assert_eq!(bench.send("t", &events.to_vec().into()).await?.status(), StatusCode::OK);
            assert_eq!(bench.output(&["processorId"]).await?, by_operator, "{assumed}");
            assert_eq!(bench.output(&["sessionId"]).await?, [output], "{assumed}");
            Ok(())
        })
        .await?;
    }
    Ok(())
}

#[tokio::test]
async fn entries_have_the_event_or_a_text_with_it() -> Outcome {
    for (assumed, is_text) in [("", false), ("payload=text", true)] {
        with(settings(assumed)?, async |bench: Bench| {
            let events = vec![at("a", 30), at("a", 30)];
            assert_eq!(bench.send("t", &events.into()).await?.status(), StatusCode::OK);
            let path = format!("/meters/97/auditTrail/entries?exportType=ERROR&{SPAN}");
            let entry = bench.get(&path).await?["data"][0].clone();
            assert_eq!(entry["errorCode"], "70001204");
            let payload = match entry["payload"].as_str() {
                Some(text) => serde_json::from_str(text)?,
                None => entry["payload"].clone(),
            };
            assert_eq!((entry["payload"].is_string(), payload), (is_text, at("a", 30)));
            Ok(())
        })
        .await?;
    }
    Ok(())
}

#[tokio::test]
async fn of_successes_a_hundred_or_all_are_kept() -> Outcome {
    for (assumed, kept) in [("", 100), ("samples=all", 300)] {
        with(settings(assumed)?, async |bench: Bench| {
            let events: Vec<Value> = (0..150).map(|number| at(&number.to_string(), 30)).collect();
            assert_eq!(bench.send("t", &events.into()).await?.status(), StatusCode::OK);
            let path =
                format!("/meters/97/auditTrail/entries?exportType=SAMPLE&pageSize=500&{SPAN}");
            let entries = bench.get(&path).await?;
            // Each event comes out of two sinks.
            assert_eq!(entries["data"].as_array().map(Vec::len), Some(kept), "{assumed}");
            Ok(())
        })
        .await?;
    }
    Ok(())
}

#[tokio::test]
async fn the_last_second_of_a_time_belongs_to_it_or_does_not() -> Outcome {
    for (assumed, is_within) in [("", true), ("span-end=outside", false)] {
        with(settings(assumed)?, async |bench: Bench| {
            let events = vec![at("a", 30), at("a", 30)];
            assert_eq!(bench.send("t", &events.into()).await?.status(), StatusCode::OK);
            let path = format!("/meters/97/auditTrail/entries?exportType=ERROR&{SPAN}");
            let entry = bench.get(&path).await?["data"][0].clone();
            let second = entry["timestamp"].as_str().and_then(|time| time.get(..19));
            let second = second.ok_or("no time")?;
            let path = format!(
                "/meters/97/auditTrail/entries?exportType=ERROR&runType=NORMAL\
                 &queryFromTime=2020-01-01T00:00:00%2B0000&queryToTime={second}%2B0000"
            );
            let found = bench.get(&path).await?["data"].as_array().map(Vec::len);
            assert_eq!(found, Some(usize::from(is_within)), "{assumed}");
            Ok(())
        })
        .await?;
    }
    Ok(())
}

#[tokio::test]
async fn runs_tests_and_imports_of_a_meter_that_runs_do_as_assumed() -> Outcome {
    let (run, debug) = ("/meters/run/97/0.0.1", "/meters/debug/97/0.0.1");
    let rows = [
        ("", 400, ["RUNNING", "RUNNING", "RUNNING"], ["STOPPING", "PAUSED"]),
        (
            "run-while-running=started",
            200,
            ["INITIALIZING", "RUNNING", "RUNNING"],
            ["STOPPING", "PAUSED"],
        ),
        ("test-of-running=seen", 400, ["RUNNING", "TESTING", "TESTING_PASSED"], ["", ""]),
        ("import-of-running=pauses", 400, ["RUNNING", "RUNNING", "PAUSED"], ["", ""]),
        ("passing-states=unseen", 400, ["RUNNING", "RUNNING", "RUNNING"], ["PAUSED", "PAUSED"]),
    ];
    for (assumed, status, states, stopped) in rows {
        with(settings(assumed)?, async |bench: Bench| {
            assert_eq!(bench.asked(run, &json!({})).await?, status, "{assumed}");
            let mut seen = vec![bench.state().await?];
            let test = json!({"sourceOptions": [{"testData": [at("x", 1)]}]});
            assert_eq!(bench.asked(debug, &test).await?, 200, "{assumed}");
            seen.push(bench.state().await?);
            assert_eq!(import(&bench).await?, 200, "{assumed}");
            seen.push(bench.state().await?);
            assert_eq!(seen, states, "{assumed}");
            if bench.asked("/meters/stop/97/0.0.1", &Value::Null).await? == 200 {
                let seen = [bench.state().await?, bench.state().await?];
                assert_eq!(seen, stopped, "{assumed}");
            } else {
                assert_eq!(stopped, ["", ""], "{assumed}");
            }
            Ok(())
        })
        .await?;
    }
    Ok(())
}

#[tokio::test]
async fn keys_are_forgotten_at_an_import_or_are_not() -> Outcome {
    for (assumed, repeats) in [("", 0), ("import-remembers=yes", 1)] {
        with(settings(assumed)?, async |bench: Bench| {
            assert_eq!(bench.send("t", &at("a", 30)).await?.status(), StatusCode::OK);
            assert_eq!(import(&bench).await?, 200);
            assert_eq!(bench.send("u", &at("a", 30)).await?.status(), StatusCode::OK);
            let path = format!("/meters/97/auditTrail/entries?exportType=ERROR&{SPAN}");
            let found = bench.get(&path).await?["data"].as_array().map(Vec::len);
            assert_eq!(found, Some(repeats), "{assumed}");
            Ok(())
        })
        .await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_meter_whose_tasks_lead_in_a_circle_is_refused() -> Outcome {
    with(settings("")?, async |bench: Bench| {
        let circle =
            definition()?.replace(r#""predecessors":[]"#, r#""predecessors":[{"id":"4"}]"#);
        assert_eq!(import_of(&bench, &circle).await?, 400);
        Ok(())
    })
    .await
}

async fn import(bench: &Bench) -> Result<u16, Box<dyn std::error::Error>> {
    import_of(bench, &definition()?).await
}

/// Imports this definition for the meter that is there.
async fn import_of(bench: &Bench, definition: &str) -> Result<u16, Box<dyn std::error::Error>> {
    let body = format!(
        "--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"m.json\"\r\n\r\n\
         {definition}\r\n--b\r\nContent-Disposition: form-data; name=\"globalId\"\r\n\r\nm\r\n--b--\r\n"
    );
    let request = bench.client.post(bench.url("/meters/import")).body(body);
    let request = request.header("content-type", "multipart/form-data; boundary=b");
    Ok(request.send().await?.status().as_u16())
}
