//! The meter APIs over real sockets.

use reqwest::header::CONTENT_TYPE;

use super::super::{MeterSettings, WhenStopped};
use super::*;

const ERRORS: &str = "/meters/97/auditTrail/entries?exportType=ERROR&runType=NORMAL\
     &queryFromTime=2020-01-01T00:00:00%2B0000&queryToTime=2099-01-01T00:00:00%2B0000";

fn with_meter() -> Settings {
    let meter = MeterSettings { id: 97, global_id: "m".to_owned(), definition: None };
    Settings { meters: vec![meter], schema_check: false, ..Settings::default() }
}

impl Bench {
    async fn api(&self, method: &str, path: &str, body: &Value) -> reqwest::Result<Response> {
        let method = if method == "GET" { reqwest::Method::GET } else { reqwest::Method::POST };
        let request = self.client.request(method, self.url(path));
        let request = request.header(CONTENT_TYPE, "application/json");
        if body.is_null() {
            request.send().await
        } else {
            request.body(body.to_string()).send().await
        }
    }

    /// What is answered with 200.
    async fn said(
        &self,
        method: &str,
        path: &str,
        body: &Value,
    ) -> Result<Value, Box<dyn std::error::Error>> {
        let response = self.api(method, path, body).await?;
        let status = response.status();
        let document = json_of(response).await?;
        if status == StatusCode::OK {
            Ok(document)
        } else {
            Err(format!("{status} {document}").into())
        }
    }

    /// The status and the code of a refusal.
    async fn refused(
        &self,
        method: &str,
        path: &str,
        body: &Value,
    ) -> Result<(u16, String), Box<dyn std::error::Error>> {
        let response = self.api(method, path, body).await?;
        let status = response.status().as_u16();
        let document = json_of(response).await?;
        let code = ["/errors/0/code", "/error/code"]
            .iter()
            .find_map(|path| document.pointer(path)?.as_str());
        Ok((status, code.unwrap_or_default().to_owned()))
    }
}

#[tokio::test]
async fn a_run_with_a_key_exists_once_and_a_stop_passes() -> Outcome {
    with(with_meter(), async |bench: Bench| {
        let (run, stop) = ("/meters/run/97/0.0.1", "/meters/stop/97/0.0.1");
        let status = "/meters/97/0.0.1/runStatus";
        let key = json!({"uniqueKey": "k"});
        assert_eq!(bench.refused("POST", run, &key).await?, (400, "70002121".to_owned()));
        assert_eq!(bench.said("POST", stop, &Value::Null).await?, json!({"success": true}));
        assert_eq!(bench.refused("POST", stop, &Value::Null).await?, (400, "70003043".to_owned()));
        for expected in [14, 6, 6] {
            let said = bench.said("GET", status, &Value::Null).await?;
            assert_eq!(said["data"]["runStatus"], expected);
        }
        assert_eq!(bench.refused("POST", stop, &Value::Null).await?, (400, "70002122".to_owned()));
        assert_eq!(
            bench.said("POST", run, &key).await?["data"]["statusDescription"],
            "INITIALIZING"
        );
        assert_eq!(bench.refused("POST", run, &key).await?, (400, "70002131".to_owned()));
        let other = "/meters/run/97/0.0.2";
        assert_eq!(bench.refused("POST", other, &key).await?, (400, "70002104".to_owned()));
        let missing = "/meters/export/98";
        assert_eq!(
            bench.refused("GET", missing, &Value::Null).await?,
            (404, "70002103".to_owned())
        );
        Ok(())
    })
    .await
}

#[tokio::test]
async fn what_is_refused_after_the_200_is_in_the_trail_and_in_the_counts() -> Outcome {
    with(with_meter(), async |bench: Bench| {
        let mut events: Vec<Value> = (0..70).map(|number| event(&format!("e-{number}"))).collect();
        events.extend((0..40).map(|number| event(&format!("e-{number}"))));
        events.extend((0..25).map(|_| json!({"CustomerId": 7})));
        assert_eq!(bench.send("t", &Value::from(events)).await?.status(), StatusCode::OK);
        let (mut path, mut sizes, mut codes) =
            (format!("{ERRORS}&pageSize=50"), Vec::new(), Vec::new());
        loop {
            let page = bench.said("GET", &path, &Value::Null).await?;
            let entries = page["data"].as_array().cloned().unwrap_or_default();
            sizes.push(entries.len());
            codes.extend(entries.into_iter().map(|mut entry| entry["errorCode"].take()));
            match page["nextPage"].as_str() {
                Some("null") | None => break,
                Some(cursor) => path = format!("{ERRORS}&pageSize=50&cursor={cursor}"),
            }
        }
        assert_eq!(sizes, [50, 15]);
        assert_eq!(codes.iter().filter(|code| *code == "70001204").count(), 40);
        let query = json!({"runType": "NORMAL", "groupBy": ["errorCode"]});
        let said = bench.said("POST", "/meters/97/summary", &query).await?;
        let expected = json!([
            {"dimensions": {"errorCode": "70000000"}, "output": 0, "totalErrorCount": 25},
            {"dimensions": {"errorCode": "70001204"}, "output": 0, "totalErrorCount": 40},
        ]);
        assert_eq!(said["data"]["output"], expected);
        let query = json!({"runType": "NORMAL", "groupBy": ["sessionId"]});
        let said = bench.said("POST", "/meters/97/summary", &query).await?;
        let expected = json!([
            {"dimensions": {"sessionId": "R-00000001"}, "output": 70, "totalErrorCount": 65},
        ]);
        assert_eq!(said["data"]["output"], expected);
        Ok(())
    })
    .await
}

#[tokio::test]
async fn events_for_a_meter_that_stands_are_kept_or_refused() -> Outcome {
    for when_stopped in [WhenStopped::Keep, WhenStopped::Refuse] {
        with(Settings { when_stopped, ..with_meter() }, async |bench: Bench| {
            bench.said("POST", "/meters/stop/97/0.0.1?forceStop=true", &Value::Null).await?;
            let status = bench.send("t", &event("a")).await?.status().as_u16();
            assert_eq!(status, if when_stopped == WhenStopped::Keep { 200 } else { 400 });
            bench.said("POST", "/meters/run/97/0.0.1", &Value::Null).await?;
            let query = json!({"runType": "NORMAL", "groupBy": []});
            let said = bench.said("POST", "/meters/97/summary", &query).await?;
            let output = said.pointer("/data/output/0/output").cloned();
            assert_eq!(output, (when_stopped == WhenStopped::Keep).then(|| json!(1)));
            Ok(())
        })
        .await?;
    }
    Ok(())
}

#[tokio::test]
async fn an_export_can_be_imported_and_is_the_same_again() -> Outcome {
    with(with_meter(), async |bench: Bench| {
        let export = bench.api("GET", "/meters/export/97", &Value::Null).await?.text().await?;
        let body = format!(
            "--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"m.json\"\r\n\r\n\
             {export}\r\n--b\r\nContent-Disposition: form-data; name=\"globalId\"\r\n\r\nnew\r\n--b--\r\n"
        );
        let request = bench.client.post(bench.url("/meters/import")).body(body);
        let request = request.header(CONTENT_TYPE, "multipart/form-data; boundary=b");
        let answer = json_of(request.send().await?).await?;
        assert_eq!((&answer["data"]["id"], &answer["data"]["globalId"]), (&json!(98), &json!("new")));
        let again = bench.api("GET", "/meters/export/98", &Value::Null).await?.text().await?;
        assert_eq!(again, export);
        Ok(())
    })
    .await
}

#[tokio::test]
async fn answers_are_compressed_and_faults_strike_one_operation() -> Outcome {
    let faults =
        vec!["status=503,retry-after=7x1@api/export".parse()?, "reset-afterx1@api/stop".parse()?];
    with(Settings { faults, ..with_meter() }, async |bench: Bench| {
        let status = bench.api("GET", "/meters/97/0.0.1/runStatus", &Value::Null).await?;
        assert_eq!(status.status(), StatusCode::OK);
        let refused = bench.api("GET", "/meters/export/97", &Value::Null).await?;
        assert_eq!((refused.status().as_u16(), header(&refused, "retry-after")), (503, Some("7")));
        assert!(json_of(refused).await?["reasons"].is_array());
        let request = bench.client.get(bench.url("/meters/export/97"));
        let request =
            request.header("accept-encoding", "gzip").header(CONTENT_TYPE, "application/json");
        let answer = request.header("zuora-track-id", "t-9").send().await?;
        assert_eq!(header(&answer, "content-encoding"), Some("gzip"));
        assert_eq!(header(&answer, "zuora-track-id"), Some("t-9"));
        assert!(bench.api("POST", "/meters/stop/97/0.0.1", &Value::Null).await.is_err());
        let said = bench.said("GET", "/meters/97/0.0.1/runStatus", &Value::Null).await?;
        assert_eq!(said["data"]["runStatusDescription"], "STOPPING");
        let statuses: Vec<_> = bench.handle.exchanges().iter().map(|it| it.status).collect();
        assert_eq!(statuses, [Some(200), Some(503), Some(200), None, Some(200)]);
        Ok(())
    })
    .await
}

#[tokio::test]
async fn who_calls_names_the_entity_and_the_type_of_the_body() -> Outcome {
    let settings = Settings { entity_id: Some("e".to_owned()), ..with_meter() };
    with(settings, async |bench: Bench| {
        let get = || bench.client.get(bench.url("/meters/export/97"));
        let typed = || get().header(CONTENT_TYPE, "application/json");
        assert_eq!(get().send().await?.status(), 400);
        assert_eq!(typed().send().await?.status(), 400);
        let named = |ids: &str| typed().header("zuora-entity-ids", ids);
        assert_eq!(named("e,f").send().await?.status(), 400);
        assert_eq!(named("f").send().await?.status(), 401);
        assert_eq!(named("e").send().await?.status(), 200);
        Ok(())
    })
    .await
}
