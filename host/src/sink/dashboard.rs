//! `/`: a page for people. Its files are part of the program, and it asks no other host for
//! anything; everything that it shows comes by `/ws` and the JSON pages.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, State};
use axum::http::{HeaderName, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use super::guard::{self, Guard};
use super::http::failed;

/// The page, with gaps for what differs from start to start.
const PAGE: &str = include_str!("dashboard/index.html");
const TOKEN_GAP: &str = "{{token}}";
const WHY_NOT_GAP: &str = "{{why_no_actions}}";
const HOST_GAP: &str = "{{host}}";

/// Name, type, text.
type File = (&'static str, &'static str, &'static str);

const SCRIPT: &str = "text/javascript; charset=utf-8";
const FILES: [File; 10] = [
    ("app.css", "text/css; charset=utf-8", include_str!("dashboard/app.css")),
    ("app.js", SCRIPT, include_str!("dashboard/app.js")),
    ("agent.js", SCRIPT, include_str!("dashboard/agent.js")),
    ("chart.js", SCRIPT, include_str!("dashboard/chart.js")),
    ("collectors.js", SCRIPT, include_str!("dashboard/collectors.js")),
    ("graphs.js", SCRIPT, include_str!("dashboard/graphs.js")),
    ("page.js", SCRIPT, include_str!("dashboard/page.js")),
    ("panels.js", SCRIPT, include_str!("dashboard/panels.js")),
    ("streams.js", SCRIPT, include_str!("dashboard/streams.js")),
    ("icon.svg", "image/svg+xml", include_str!("dashboard/icon.svg")),
];

/// Nothing from elsewhere, nothing that stands in the page itself, and in no frame.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
                      connect-src 'self'; base-uri 'none'; form-action 'none'; \
                      frame-ancestors 'none'";

const CAREFUL: [(HeaderName, &str); 5] = [
    (header::CONTENT_SECURITY_POLICY, POLICY),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::X_FRAME_OPTIONS, "DENY"),
    // Another agent may be there tomorrow, and the token is another at each start.
    (header::CACHE_CONTROL, "no-store"),
];

pub(super) fn router(guard: Arc<Guard>) -> Router {
    Router::new().route("/", get(page)).route("/assets/{file}", get(file)).with_state(guard)
}

async fn page(State(guard): State<Arc<Guard>>) -> Response {
    let token = guard.token();
    let page = PAGE
        .replace(TOKEN_GAP, token.unwrap_or_default())
        .replace(WHY_NOT_GAP, token.err().unwrap_or_default())
        .replace(HOST_GAP, &escaped(guard::machine_name().trim()));
    (CAREFUL, [(header::CONTENT_TYPE, "text/html; charset=utf-8")], page).into_response()
}

async fn file(Path(name): Path<String>) -> Response {
    match FILES.iter().find(|(known, ..)| *known == name) {
        Some((_, kind, text)) => (CAREFUL, [(header::CONTENT_TYPE, *kind)], *text).into_response(),
        None => failed(StatusCode::NOT_FOUND, "the page / needs no such file"),
    }
}

/// As text between tags, or in an attribute.
fn escaped(text: &str) -> String {
    let mut escaped = String::new();
    for letter in text.chars() {
        match letter {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            other => escaped.push(other),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machines_name_is_text_and_nothing_else() {
        assert_eq!(escaped("<b>\"a&b\""), "&lt;b&gt;&quot;a&amp;b&quot;");
    }

    #[test]
    fn every_file_that_the_page_names_is_there_and_all_are_small() {
        let files = FILES.iter().map(|(_, _, text)| *text).chain([PAGE]);
        assert!(files.clone().map(str::len).sum::<usize>() < 60_000);
        let there = |name: &str| FILES.iter().any(|(known, ..)| *known == name);
        for text in files {
            let linked = text.split("\"/assets/").skip(1);
            let imported = text.split("from \"./").skip(1);
            for rest in linked.chain(imported) {
                let name = rest.split('"').next().unwrap();
                assert!(there(name), "{name}");
            }
            assert!(!text.contains("innerHTML"), "what comes from plugins is text");
        }
    }
}
