//! `POST /oauth/token`: client credentials for a bearer token, and the tokens that are good.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Form;
use axum::extract::State;
use axum::extract::rejection::FormRejection;
use axum::http::StatusCode;
use axum::response::Response;
use fastrand::Rng;
use serde::Deserialize;
use serde_json::json;

use super::{Shared, answer, lock};

/// The form that a client sends.
#[derive(Deserialize)]
pub(super) struct TokenRequest {
    client_id: String,
    client_secret: String,
    grant_type: String,
}

/// The tokens that were given out and are still good.
#[derive(Debug)]
pub(super) struct Tokens {
    expiries: HashMap<String, Instant>,
    time_to_live: Duration,
    rng: Rng,
}

impl Tokens {
    /// No tokens yet.
    pub(super) fn new(time_to_live: Duration, seed: u64) -> Self {
        Self { expiries: HashMap::new(), time_to_live, rng: Rng::with_seed(seed) }
    }

    fn issue(&mut self, now: Instant) -> String {
        // What has expired goes, so that the map holds no more than one life's tokens.
        self.expiries.retain(|_, expiry| *expiry > now);
        let token = format!("{:032x}", self.rng.u128(..));
        self.expiries.insert(token.clone(), now + self.time_to_live);
        token
    }

    /// Whether the value of an `Authorization` header names a token that is still good.
    pub(super) fn is_good(&self, authorization: &str, now: Instant) -> bool {
        let Some((scheme, token)) = authorization.split_once(' ') else { return false };
        scheme.eq_ignore_ascii_case("bearer")
            && self.expiries.get(token.trim()).is_some_and(|expiry| *expiry > now)
    }
}

/// Gives out a token.
pub(super) async fn issue(
    State(shared): State<Arc<Shared>>,
    form: Result<Form<TokenRequest>, FormRejection>,
) -> Response {
    shared.ledger.call_token();
    if let Some((status, retry_after)) = lock(&shared.plan).draw_token() {
        shared.ledger.play("token-status");
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let response = answer::on_request(status, None);
        return match retry_after {
            Some(seconds) => answer::retry_after(response, seconds),
            None => response,
        };
    }
    let refused = |message: &str| answer::refusal(StatusCode::BAD_REQUEST, "invalid", message);
    let Ok(Form(request)) = form else {
        return refused("client_id, client_secret and grant_type are wanted, form-encoded");
    };
    if request.grant_type != "client_credentials" {
        return refused("grant_type should be client_credentials");
    }
    if let Some((id, secret)) = &shared.settings.credentials
        && (*id != request.client_id || *secret != request.client_secret)
    {
        return answer::refusal(StatusCode::UNAUTHORIZED, "", "Invalid client id or secret.");
    }
    let token = lock(&shared.tokens).issue(Instant::now());
    let value = json!({
        "jti": token.chars().rev().collect::<String>(),
        "access_token": token,
        "token_type": "bearer",
        "expires_in": shared.settings.token_ttl.as_secs(),
        "scope": "user.simulator entity.simulator service.usage.write tenant.1",
    });
    answer::document(StatusCode::OK, &value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_good_until_it_expires() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut tokens = Tokens::new(Duration::from_secs(10), 0);
        let first = tokens.issue(start);
        assert!(tokens.is_good(&format!("Bearer {first}"), at(9)));
        assert!(tokens.is_good(&format!("bearer  {first}"), at(9)));
        assert!(!tokens.is_good(&format!("Bearer {first}"), at(10)));
        assert!(!tokens.is_good(&format!("Basic {first}"), at(0)));
        assert!(!tokens.is_good("Bearer other", at(0)));
        let second = tokens.issue(at(11));
        assert_ne!(first, second);
        assert_eq!(tokens.expiries.len(), 1);
    }
}
