//! The shell: HTTP API, ingest, rollouts, live feed, dashboard.
