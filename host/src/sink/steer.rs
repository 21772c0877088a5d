//! `POST /api/v1/collectors/NAME/restart`, `…/disable`, `…/enable`: what a person does with a
//! collector on the dashboard. Behind the guard, since it changes something.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router, middleware};
use serde_json::json;

use super::guard::{self, Guard};
use super::http::failed;
use crate::config::suggestion;
use crate::control::{Host, SteerError};

pub(super) fn router(host: Host, guard: Arc<Guard>) -> Router {
    let steer = post(steer).route_layer(middleware::from_fn_with_state(guard, guard::steering));
    Router::new().route("/api/v1/collectors/{collector}/{action}", steer).with_state(host)
}

async fn steer(
    State(host): State<Host>,
    Path((collector, action)): Path<(String, String)>,
) -> Response {
    let done = match action.as_str() {
        "restart" => host.restart(&collector).await.map(|()| true),
        "enable" => host.set_enabled(&collector, true).await,
        "disable" => host.set_enabled(&collector, false).await,
        other => {
            let hint = suggestion(other, &["restart", "enable", "disable"]);
            return failed(StatusCode::NOT_FOUND, &format!("no such action: `{other}`; {hint}"));
        }
    };
    match done {
        Ok(changed) => Json(json!({ "collector": collector, "changed": changed })).into_response(),
        Err(error) => failed(code_of(&error), &error.to_string()),
    }
}

fn code_of(error: &SteerError) -> StatusCode {
    match error {
        SteerError::Unknown { .. } => StatusCode::NOT_FOUND,
        SteerError::Absent { .. } | SteerError::Disabled(_) | SteerError::NoRounds(_) => {
            StatusCode::CONFLICT
        }
        SteerError::TooShort => StatusCode::BAD_REQUEST,
        SteerError::Ended => StatusCode::SERVICE_UNAVAILABLE,
    }
}
