//! `motehub demo`: a hub with a small fleet of virtual boards. Boards, scripts and the deployment are made over
//! the HTTP API, as a person or program would make them.

use std::fs;
use std::io::Write;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::Context;
use motehub_domain::access::Role;
use motehub_server::Addresses;
use motehub_sim::nodemcu::{BoardConfig, FleetConfig};
use serde_json::{Value, json};
use tokio::sync::oneshot;

use crate::api::Api;
use crate::serve;

mod lights;

/// Where the demo looks for a free port if the usual one is taken.
const ANY_PORT: &str = "127.0.0.1:0";
/// The boards: name, dialect, tags. Those of the native dialect run Motehub's agent.
const BOARDS: [(&str, &str, &[&str]); 9] = [
    ("Kitchen climate", "nodemcu", &["kitchen", "climate"]),
    ("Cellar climate", "nodemcu", &["cellar", "climate"]),
    ("Greenhouse climate", "nodemcu", &["garden", "climate"]),
    ("Workshop climate", "nodemcu", &["workshop", "climate"]),
    ("Kitchen lamp", "nodemcu", &["kitchen", "lamp"]),
    ("Porch lamp", "nodemcu", &["garden", "lamp"]),
    ("Stair light", "native", &["stairs", "light"]),
    ("Attic light", "native", &["attic", "light"]),
    ("Garage light", "native", &["garage", "light"]),
];
/// The chip id of the first board.
const FIRST_CHIP_ID: u32 = 10_801_001;

/// Where the demo listens and keeps its data.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// The folder that holds the demo hub and the flash of its boards
    #[arg(long, value_name = "DIR", default_value = "data/demo")]
    data: PathBuf,
    /// Where the dashboard listens [default: 127.0.0.1:8080, or any free port]
    #[arg(long, value_name = "ADDR")]
    http: Option<String>,
    /// Where MQTT listens [default: 127.0.0.1:1883, or any free port]
    #[arg(long, value_name = "ADDR")]
    mqtt: Option<String>,
}

/// Runs the demo until a signal ends it.
pub(crate) fn run(options: Options) -> anyhow::Result<()> {
    let http = options.http.unwrap_or_else(|| usual_or_any("127.0.0.1:8080"));
    let mqtt = options.mqtt.unwrap_or_else(|| usual_or_any("127.0.0.1:1883"));
    let data = options.data;
    let filter = tracing_subscriber::EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("warn"));
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .try_init();
    tokio::runtime::Runtime::new()?.block_on(async move {
        fs::create_dir_all(&data).with_context(|| format!("making {}", data.display()))?;
        let password = first_password(&data).await?;
        let settings = serve::settings(serve::Options {
            data: Some(data.clone()),
            http: Some(http),
            mqtt: Some(mqtt),
            mdash: Some(ANY_PORT.to_owned()),
            ..serve::Options::default()
        })?;
        let shutdown = serve::on_signals()?;
        let (bound, addresses) = oneshot::channel();
        let fleet = tokio::spawn({
            let shutdown = shutdown.clone();
            async move {
                let outcome = tokio::select! {
                    outcome = populate(&data, addresses, password) => outcome,
                    () = shutdown.cancelled() => return Ok(()),
                };
                let fleet = outcome.inspect_err(|_| shutdown.cancel())?;
                shutdown.cancelled().await;
                let (boards, lights) = fleet;
                lights.stop().await;
                boards.stop().await;
                anyhow::Ok(())
            }
        });
        serve::serve(settings, shutdown.clone(), |server| {
            let _ = bound.send(server.addresses());
        })
        .await?;
        shutdown.cancel();
        fleet.await?
    })
}

fn usual_or_any(usual: &str) -> String {
    let is_free = TcpListener::bind(usual).is_ok();
    if is_free { usual.to_owned() } else { ANY_PORT.to_owned() }
}

/// A one-time password for `admin` at the first start; later the person has one of their own.
async fn first_password(data: &Path) -> anyhow::Result<Option<String>> {
    if data.join("motehub.db").exists() {
        return Ok(None);
    }
    Ok(Some(motehub_server::add_user(&motehub_server::store_in(data), "admin", Role::Admin).await?))
}

async fn populate(
    data: &Path,
    addresses: oneshot::Receiver<Addresses>,
    password: Option<String>,
) -> anyhow::Result<(motehub_sim::nodemcu::FleetHandle, lights::Lights)> {
    let addresses = addresses.await.context("the hub did not start")?;
    let token_file = data.join("demo.token");
    let token = match fs::read_to_string(&token_file) {
        Ok(token) => token,
        Err(_) => {
            let token =
                motehub_server::add_token(&motehub_server::store_in(data), "demo", Role::Admin).await?;
            write_private(&token_file, &token)?;
            token
        }
    };
    let api = Api::new(&format!("http://{}", addresses.http), &token);
    let password = match password {
        Some(password) => Some(password),
        None => password_again(&api).await?,
    };
    say("making boards and scripts …");
    let boards = boards(&api, data).await?;
    let flash = data.join("flash");
    point_at(&flash, addresses)?;
    let mut config = FleetConfig::new(addresses.http.to_string(), addresses.mqtt.to_string());
    config.flash = Some(flash);
    config.quiet = true;
    config.sensors = vec!["adc=sine:280:640:120".to_owned()];
    config.boards = boards;
    let fleet = motehub_sim::nodemcu::spawn(&config)?;
    let (lights, claim_code) = lights::start(&api, data, addresses).await?;
    let deployments = scripts(&api).await?;
    say("deploying a script to the virtual boards; a task is Done after its health window …");
    for deployment in deployments {
        wait_until_ended(&api, &deployment).await?;
    }
    welcome(addresses.http, password.as_deref(), claim_code.as_deref());
    Ok((fleet, lights))
}

/// Nobody logged in since the first start: the former one-time password is gone from the terminal, so here is
/// another.
async fn password_again(api: &Api) -> anyhow::Result<Option<String>> {
    let users = api.get("/users").await?;
    let admin = users["items"].as_array().and_then(|users| users.iter().find(|user| user["name"] == "admin"));
    match admin {
        Some(admin) if admin["must_change_password"] == true => {
            let path = format!("/users/{}/password", text(&admin["id"]));
            Ok(Some(text(&api.post(&path, json!({})).await?["password"])))
        }
        _ => Ok(None),
    }
}

/// Registers the boards once; their credentials are kept beside the data, as a person would keep them.
async fn boards(api: &Api, data: &Path) -> anyhow::Result<Vec<BoardConfig>> {
    let file = data.join("boards.txt");
    let mut known = fs::read_to_string(&file).unwrap_or_default();
    for ((name, dialect, tags), chip_id) in BOARDS.iter().zip(FIRST_CHIP_ID..) {
        let chip = chip_id.to_string();
        if known.lines().any(|line| line.split(' ').next() == Some(&chip)) {
            continue;
        }
        let device = json!({ "name": name, "dialect": dialect, "external_id": chip, "tags": tags });
        let registered = api.post("/devices", device).await?;
        let device = if *dialect == "native" { text(&registered["id"]) } else { String::new() };
        known.push_str(format!("{chip_id} {} {device}", text(&registered["credential"])).trim_end());
        known.push('\n');
        write_private(&file, &known)?;
    }
    let boards = known.lines().map(|line| {
        let mut words = line.split_whitespace().map(str::to_owned);
        let chip_id = words.next().unwrap_or_default();
        let chip_id =
            chip_id.parse().with_context(|| format!("{}: {chip_id:?} is no chip id", file.display()))?;
        Ok(BoardConfig { chip_id, credential: words.next(), device: words.next() })
    });
    boards.collect()
}

/// Makes the scripts and deploys them, at the first start.
async fn scripts(api: &Api) -> anyhow::Result<Vec<String>> {
    if api.get("/scripts").await?["total"] != 0 {
        return Ok(Vec::new());
    }
    let climate = json!({
        "name": "climate", "language": "lua", "category": "sensors", "source": include_str!("demo/climate-1.lua"),
        "description": "Temperature and humidity of a room.", "comment": "temperature only",
    });
    let climate = text(&api.post("/scripts", climate).await?["id"]);
    let second =
        json!({ "source": include_str!("demo/climate-2.lua"), "comment": "door contact and free memory" });
    api.post(&format!("/scripts/{climate}/versions"), second).await?;
    let lamp = json!({
        "name": "lamp", "language": "lua", "category": "actors", "source": include_str!("demo/lamp.lua"),
        "description": "Blinks a lamp and says whether it is on.",
    });
    let lamp = text(&api.post("/scripts", lamp).await?["id"]);
    let light = json!({
        "name": "light", "language": "lua", "category": "actors", "source": include_str!("demo/light.lua"),
        "description": "A light with the command `light`: on, off or a brightness from 0 to 100.",
    });
    let light = text(&api.post("/scripts", light).await?["id"]);
    let mut begun = Vec::new();
    for (script, selector) in [(climate, "tag=climate"), (lamp, "tag=lamp"), (light, "tag=light")] {
        let deployment = json!({ "script": script, "selector": selector, "health_window_seconds": 5 });
        begun.push(text(&api.post("/deployments", deployment).await?["id"]));
    }
    Ok(begun)
}

async fn wait_until_ended(api: &Api, deployment: &str) -> anyhow::Result<()> {
    const ROUNDS_MAX: usize = 240;
    for _ in 0..ROUNDS_MAX {
        let state = api.get(&format!("/deployments/{deployment}")).await?;
        if state["state"] != "Running" {
            return Ok(());
        }
        tokio::time::sleep(std::time::Duration::from_millis(250)).await;
    }
    say("a deployment is still on its way; watch it in the dashboard");
    Ok(())
}

/// The boards keep their settings on their flash; the hub may have another port this time.
fn point_at(flash: &Path, addresses: Addresses) -> anyhow::Result<()> {
    let Ok(folders) = fs::read_dir(flash) else { return Ok(()) };
    for folder in folders {
        let folder = folder?.path();
        point_agent_at(&folder.join("config.json"), addresses)?;
        let path = folder.join("config.txt");
        let Ok(settings) = fs::read_to_string(&path) else { continue };
        let lines = settings.lines().map(|line| match line.split_once('=') {
            Some(("domain", value)) => {
                let prefix = value.split_once('/').map_or("", |(_, prefix)| prefix);
                format!("domain={}/{prefix}\n", addresses.http)
            }
            Some(("mqttbroker", _)) => format!("mqttbroker={}\n", addresses.mqtt.ip()),
            Some(("mqttport", _)) => format!("mqttport={}\n", addresses.mqtt.port()),
            _ => format!("{line}\n"),
        });
        fs::write(&path, lines.collect::<String>()).with_context(|| format!("writing {}", path.display()))?;
    }
    Ok(())
}

fn point_agent_at(path: &Path, addresses: Addresses) -> anyhow::Result<()> {
    let Ok(settings) = fs::read_to_string(path) else { return Ok(()) };
    let mut settings: Value =
        serde_json::from_str(&settings).with_context(|| format!("reading {}", path.display()))?;
    settings["hub"] = json!({
        "host": addresses.mqtt.ip().to_string(), "mqtt": addresses.mqtt.port(), "http": addresses.http.port(),
    });
    write_private(path, &format!("{settings:#}\n"))
}

fn write_private(path: &Path, text: &str) -> anyhow::Result<()> {
    let file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path);
    file.and_then(|mut file| file.write_all(text.as_bytes()))
        .with_context(|| format!("writing {}", path.display()))
}

fn welcome(http: SocketAddr, password: Option<&str>, claim_code: Option<&str>) {
    let login = match password {
        Some(password) => format!(
            "  name      admin\n  password  {password}   (one-time: choose your own at the first login)"
        ),
        None => "  name      admin\n  password  the one that you chose".to_owned(),
    };
    let claim = claim_code.map_or_else(String::new, |code| {
        format!("\nA customer claims the hall light at http://{http}/app with the code {code}\n")
    });
    say(&format!(
        "\nThe demo is running. Open it in a browser:\n\n  http://{http}\n\n{login}\n{claim}\nCtrl-C ends it."
    ));
}

fn say(sentence: &str) {
    eprintln!("{sentence}");
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
