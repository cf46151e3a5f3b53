//! The shell: it performs what the domain decides, and lets people and programs in.
//!
//! Bytes become an `Uplink` in a gateway; `ingest` gives it to a pure verb; `perform` is the only interpreter of
//! the `Effects` that come back: commit, then publish, then send.

mod access_key;
mod activity_file;
mod api;
mod app;
mod asks;
mod assets;
mod authorities;
mod aws;
mod backup;
mod boards;
mod cameras;
mod claims;
mod clock;
#[expect(dead_code, reason = "nodes begin to use each part of it one after the other")]
mod cluster;
mod codes;
mod commands;
mod dashboards;
mod deadlines;
mod exposition;
mod flows;
mod gateways;
mod hub;
mod inbox;
mod ingest;
mod jobs;
mod live;
mod mailer;
mod mdash;
mod mip;
mod mirror;
mod nodes;
mod outside;
mod perform;
mod presence;
mod pusher;
mod pyaiot;
mod random;
mod reports;
mod retention;
mod rollouts;
mod rotation;
mod rules;
mod secrets;
mod server;
mod settings;
mod shadows;
mod syntax;
mod tls;
mod units;
mod usage;
mod webhooks;

pub use api::openapi;
pub use authorities::machine_authorities;
pub use backup::{ArchiveError, backup, note_backup, part_of, restore, store_in};
pub use clock::Clock;
pub use cluster::NodeName;
pub use cluster::bus::BusUrl;
pub use nodes::Addresses as NodeAddresses;
pub use people::{PeopleError, add_gateway, add_token, add_user};
pub use pusher::Addresses as PusherAddresses;
pub use server::{Addresses, Server, lock};
pub use settings::{EspFirmware, Keep, Nodes, Pusher, Pyaiot, Settings, SmtpSecurity, SmtpSettings, Units};

mod people;
