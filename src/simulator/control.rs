//! The simulator's own endpoints, below `/simulator`.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::extract::{Path, Request, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde_json::json;

use super::faults::Fault;
use super::{Shared, answer, ingest, lock};

/// `GET /simulator/stats`.
pub(super) async fn stats(State(shared): State<Arc<Shared>>) -> Response {
    off_thread(move || answer::document(StatusCode::OK, &shared.ledger.stats())).await
}

/// `GET /simulator/events/{meter}`: every event id and how often it was accepted.
pub(super) async fn events(
    State(shared): State<Arc<Shared>>,
    Path(meter): Path<String>,
) -> Response {
    let counts = move || {
        shared.ledger.with_event_counts(&meter, |counts| answer::document(StatusCode::OK, counts))
    };
    off_thread(counts).await
}

/// `GET /simulator/exchanges`: the latest requests to the meter APIs with their answers.
pub(super) async fn exchanges(State(shared): State<Arc<Shared>>) -> Response {
    off_thread(move || answer::document(StatusCode::OK, &lock(&shared.exchanges).list())).await
}

/// `POST /simulator/faults`: a JSON array of faults, as they are written on the command line,
/// takes the place of those in force.
pub(super) async fn replace_faults(
    State(shared): State<Arc<Shared>>,
    specs: Result<Json<Vec<String>>, JsonRejection>,
) -> Response {
    let refused = |message: String| {
        answer::document(StatusCode::BAD_REQUEST, &json!({"success": false, "message": message}))
    };
    let Json(specs) = match specs {
        Ok(specs) => specs,
        Err(rejection) => return refused(rejection.body_text()),
    };
    match specs.iter().map(|spec| spec.parse()).collect::<Result<Vec<Fault>, _>>() {
        Ok(faults) => {
            lock(&shared.plan).replace(faults);
            answer::document(StatusCode::OK, &json!({"success": true}))
        }
        Err(error) => refused(error.to_string()),
    }
}

/// `POST /simulator/reset`: counts begin again, faults and tokens stay.
pub(super) async fn reset(State(shared): State<Arc<Shared>>) -> Response {
    off_thread(move || {
        shared.ledger.reset();
        answer::document(StatusCode::OK, &json!({"success": true}))
    })
    .await
}

/// Everything else.
pub(super) async fn not_found(request: Request) -> Response {
    let _ = ingest::take(request.into_body(), 0).await;
    answer::refusal(StatusCode::NOT_FOUND, "", "Not found.")
}

/// Books of some million ids take their time.
async fn off_thread(make: impl FnOnce() -> Response + Send + 'static) -> Response {
    tokio::task::spawn_blocking(make)
        .await
        .unwrap_or_else(|_| answer::on_request(StatusCode::INTERNAL_SERVER_ERROR, None))
}
