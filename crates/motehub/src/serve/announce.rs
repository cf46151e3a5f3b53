//! What a hub says when everything is bound.

use motehub_server::Server;
use serde_json::json;

/// One line of JSON that programs wait for, and the set-up link for the person at the terminal.
#[expect(clippy::print_stdout, reason = "the ready line is part of the command line's contract")]
pub(super) fn ready(server: &Server) {
    let addresses = server.addresses();
    let mut line = json!({
        "ready": true, "http": addresses.http.to_string(), "mqtt": addresses.mqtt.to_string(),
    });
    if let Some(address) = addresses.https {
        line["https"] = json!(address.to_string());
    }
    if let Some(address) = addresses.mqtt_tls {
        line["mqtt_tls"] = json!(address.to_string());
    }
    if let Some(address) = addresses.mqtt_ws {
        line["mqtt_ws"] = json!(address.to_string());
    }
    if let Some(address) = addresses.coap {
        line["coap"] = json!(address.to_string());
    }
    if let Some(address) = addresses.coaps {
        line["coaps"] = json!(address.to_string());
    }
    if let Some(address) = addresses.mdash {
        line["mdash"] = json!(address.to_string());
    }
    if let Some(address) = addresses.aws {
        line["aws"] = json!(address.to_string());
    }
    if let Some(address) = addresses.pyaiot {
        line["pyaiot"] = json!(address.to_string());
    }
    if let Some(address) = addresses.pusher.plain {
        line["pusher"] = json!(address.to_string());
    }
    if let Some(address) = addresses.pusher.tls {
        line["pusher_tls"] = json!(address.to_string());
    }
    if let Some(address) = addresses.line {
        line["line"] = json!(address.to_string());
    }
    if let Some(address) = addresses.logstash {
        line["logstash"] = json!(address.to_string());
    }
    let nodes = addresses.nodes;
    let of_nodes = [("nodes_ws", nodes.websocket), ("nodes_mqtt", nodes.mqtt), ("mqtt_sn", nodes.mqtt_sn)];
    for (name, address) in of_nodes {
        if let Some(address) = address {
            line[name] = json!(address.to_string());
        }
    }
    println!("{line}");
    if let Some(link) = server.setup_link() {
        eprintln!(
            "\nThere is no administrator yet. Open this link within an hour to make the first one:\n\n  {link}\n"
        );
    }
}
