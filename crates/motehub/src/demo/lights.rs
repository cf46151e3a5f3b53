//! The demo's lights: two with Mongoose OS, one of them waiting for a customer with its claim code.

use std::fs;
use std::path::Path;

use anyhow::Context;
use motehub_server::Addresses;
use motehub_sim::mongoose::{FleetConfig, LightConfig, spawn};
use serde_json::json;
use tokio::task::JoinHandle;

use super::{text, write_private};
use crate::api::Api;

/// What they are called, and their own ids.
const LIGHTS: [(&str, &str); 2] = [("Hall light", "light-1"), ("Terrace light", "light-2")];

/// Lights that run; what happens to them is of no interest here.
pub(super) struct Lights(JoinHandle<()>);

impl Lights {
    /// Ends them.
    pub(super) async fn stop(self) {
        self.0.abort();
        let _ = self.0.await;
    }
}

/// Registers the lights once, and starts them. Gives the claim code of the first, if nobody claimed it.
pub(super) async fn start(
    api: &Api,
    data: &Path,
    addresses: Addresses,
) -> anyhow::Result<(Lights, Option<String>)> {
    let mdash = addresses.mdash.context("the hub has no mDash listener")?;
    let mut config = FleetConfig::new(format!("ws://{mdash}/api/v2/rpc"));
    let file = data.join("lights.txt");
    let mut known = fs::read_to_string(&file).unwrap_or_default();
    let mut claim_code = None;
    for (name, id) in LIGHTS {
        if !known.lines().any(|line| line.starts_with(&format!("{id} "))) {
            let device = json!({
                "name": name, "dialect": "mongoose", "external_id": id, "tags": ["mongoose"],
            });
            let made = api.post("/devices", device).await?;
            known.push_str(&format!("{id} {}\n", text(&made["credential"])));
            write_private(&file, &known)?;
            if claim_code.is_none() {
                let path = format!("/devices/{}/claim-code", text(&made["id"]));
                claim_code = Some(text(&api.post(&path, json!({})).await?["code"]));
            }
        }
    }
    config.lights = known
        .lines()
        .filter_map(|line| line.split_once(' '))
        .map(|(id, token)| LightConfig { id: id.to_owned(), token: token.to_owned() })
        .collect();
    let fleet = spawn(&config).await?;
    let lights = tokio::spawn(async move {
        // The whole of it, not its facts alone: the lights end with it.
        let mut fleet = fleet;
        while fleet.facts.recv().await.is_some() {}
    });
    Ok((Lights(lights), claim_code))
}
