//! The API over real sockets: who may call what, what each noun answers to good and bad input, and that nothing
//! that comes in is answered with a 5xx or a panic.
#![expect(clippy::unwrap_used, reason = "a test ends where it cannot go on")]

#[path = "../support/mod.rs"]
mod support;

mod access;
mod activity;
mod aws;
mod balancer;
mod bulk;
mod cameras;
mod cluster;
mod commands;
mod connections;
mod credentials;
mod crossing;
mod customers;
mod dashboards;
mod deployments;
mod devices;
mod firmware;
mod flows;
mod flows_run;
mod gateways;
mod groups;
mod history;
mod hub;
mod import;
mod import_iot_base;
mod import_mdash;
mod inbox;
mod input;
mod jobs;
mod links;
mod live;
mod mail;
mod mdash;
mod mdash_updates;
mod nodes;
mod pusher;
mod pusher_own;
mod pyaiot;
mod rules;
mod rules_meanwhile;
mod scripts;
mod selectors;
mod shadows;
mod stream;
mod telemetry;
mod webhooks;
