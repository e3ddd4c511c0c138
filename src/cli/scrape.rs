//! Scrape: where a monitoring system asks for a run's metrics: `GET /metrics`.
//!
//! In: requests, which say nothing that matters. Out: Prometheus' text.

use axum::Router;
use axum::http::header::CONTENT_TYPE;
use axum::routing::get;

use crate::engine::metrics::Metrics;

/// What it is, as scrapers know it.
const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The paths of an address.
pub(crate) fn router(metrics: Metrics) -> Router {
    Router::new().route("/metrics", get(async move || ([(CONTENT_TYPE, TEXT)], metrics.text())))
}
