//! `motehub ctl device camera` and `device positions`: what devices say of where they and their pictures are.

use std::path::Path;

use anyhow::Context;
use serde_json::{Value, json};

use super::Caller;
use super::find;
use super::print::{cell, table};

pub(super) fn run(
    caller: &Caller,
    device: &str,
    allow: Option<&str>,
    forbid: bool,
    picture: Option<&Path>,
) -> anyhow::Result<()> {
    let path = format!("/devices/{}/camera", find::id(caller, "device", device)?);
    if let Some(origin) = allow {
        caller.api.call("PUT", &path, Some(&json!({ "origin": origin })))?;
    }
    if forbid {
        caller.api.call("DELETE", &path, None)?;
    }
    if let Some(file) = picture {
        let mut bytes = Vec::new();
        caller.api.download(&format!("{path}/picture"), &mut bytes)?;
        std::fs::write(file, bytes).with_context(|| format!("--picture {}", file.display()))?;
    }
    caller.show(&caller.get(&path)?, |camera| {
        let allowed = match camera["allowed_origin"].as_str() {
            Some(origin) => format!("from {origin}"),
            None => "from nowhere: allow an origin with --allow".to_owned(),
        };
        format!("it says      {}\nis fetched   {allowed}\n", cell(&camera["address"]))
    })
}

pub(super) fn positions(list: &Value) -> String {
    let row = |item: &Value| ["name", "reach", "lat", "lng"].map(|key| cell(&item[key])).to_vec();
    let rows: Vec<_> = list["items"].as_array().into_iter().flatten().map(row).collect();
    let more = if list["more"] == true { "and more\n" } else { "" };
    format!("{}{more}", table(&["NAME", "REACH", "LAT", "LNG"], &rows))
}
