//! What the product understood, looked up by its API and waited for with a deadline.
//!
//! - `online NAME`, `offline NAME`
//! - `device NAME running.version=1 state=ok pending=null`; `problem NAME "a part of it"`
//! - `task NAME Failed "a part of the reason"` the newest; `tasks NAME Done Cancelled` all, newest first;
//!   `moves NAME Offered Fetching` every state a task of the device took, as stated, oldest first
//! - `command NAME Done "a part of the reason or result"` the newest of a device
//! - `inbox NAME riot coap` who knocked: the dialect that it seems to speak, and over what; its id is remembered
//! - `deployment NAME Done`
//! - `telemetry NAME t=21.5 open=true@1800000000000` among its points; `points NAME 3` how many it has
//! - `logged NAME warn:low_battery info:hello` its log lines, newest first; `quarantined NAME 1` how many versions are
//! - `stated NAME uplink_refused 1 "a part of it"` how many facts of a kind there are, and what the newest says
//! - `shadow NAME 3 {"reported":{"on":true}}` its version and state
//! - `reports NAME {"on":true}` what of its shadow it reports, whatever the version
//! - `counted METRIC 3` how much a counter has grown since the start

use serde_json::Value;

use crate::Outcome;
use crate::wait::until;
use crate::world::World;

impl World {
    pub(crate) fn understood(&mut self, text: &str) -> Outcome {
        let text = self.expand(text)?;
        let (text, part) = match text.split_once(" \"") {
            Some((text, part)) => (text, part.strip_suffix('"').ok_or("a quote is missing")?),
            None => (text.as_str(), ""),
        };
        let words: Vec<&str> = text.split(' ').collect();
        let [kind, name, rest @ ..] = words.as_slice() else { return Err("a fact and a name".to_owned()) };
        let wanted = rest.join(" ");
        until(|| {
            let got = self.fact(kind, name, rest)?;
            let is_so = got.0 == wanted && got.1.contains(part);
            if is_so { Ok(()) } else { Err(format!("expected {wanted} {part:?}, got {} {:?}", got.0, got.1)) }
        })?;
        if *kind == "inbox" {
            let knock = self.knock(name).map(|knock| self::text(&knock["id"])).unwrap_or_default();
            self.remember(name, knock);
        }
        Ok(())
    }

    fn knock(&self, name: &str) -> Option<Value> {
        items(&self.look("/inbox")).find(|knock| knock["name"] == *name).cloned()
    }

    /// The fact as it stands, in the words of the transcript, and what is said about it.
    fn fact(&self, kind: &str, name: &str, wanted: &[&str]) -> Result<(String, String), String> {
        let plain = |text: String| Ok((text, String::new()));
        let device = |path: &str| Ok::<_, String>(self.look(&format!("/devices/{}{path}", self.id(name)?)));
        match kind {
            "online" | "offline" => {
                let is_as_said = device("")?["online"] == (kind == "online");
                plain(if is_as_said { String::new() } else { "it is not".to_owned() })
            }
            "inbox" => {
                let words =
                    |knock: Value| format!("{} {}", text(&knock["dialect"]), text(&knock["transport"]));
                plain(self.knock(name).map(words).unwrap_or_default())
            }
            "device" => {
                let view = device("")?;
                let fields = wanted.iter().filter_map(|word| word.split_once('='));
                plain(
                    fields
                        .map(|(field, _)| format!("{field}={}", at(&view, field)))
                        .collect::<Vec<_>>()
                        .join(" "),
                )
            }
            "problem" => Ok((String::new(), text(&device("")?["problem"]))),
            "task" => {
                let tasks = device("/tasks")?;
                let newest = &tasks["items"][0];
                Ok((text(&newest["state"]), text(&newest["reason"])))
            }
            "tasks" => {
                let tasks = device("/tasks")?;
                plain(items(&tasks).map(|task| text(&task["state"])).collect::<Vec<_>>().join(" "))
            }
            "command" => {
                let commands = device("/commands")?;
                let newest = &commands["items"][0];
                Ok((text(&newest["state"]), format!("{} {}", text(&newest["reason"]), newest["result"])))
            }
            "moves" => {
                let list =
                    self.look(&format!("/activity?kind=task_moved&limit=1000&device={}", self.id(name)?));
                let mut states: Vec<String> =
                    items(&list).map(|fact| text(&fact["after"]["state"])).collect();
                states.reverse();
                plain(states.join(" "))
            }
            "shadow" => {
                let shadow = device("/shadow")?;
                plain(format!("{} {}", shadow["version"], shadow["state"]))
            }
            "reports" => plain(device("/shadow")?["state"]["reported"].to_string()),
            "deployment" => plain(text(&self.look(&format!("/deployments/{}", self.id(name)?))["state"])),
            "telemetry" => {
                let list = device("/telemetry")?;
                let points: Vec<[String; 2]> = items(&list)
                    .map(|point| {
                        let value = format!("{}={}", text(&point["metric"]), point["value"]);
                        [format!("{value}@{}", point["time"]), value]
                    })
                    .collect();
                let is_there =
                    |word: &&&str| points.iter().any(|[at, value]| at == **word || value == **word);
                match wanted.iter().find(|word| !is_there(word)) {
                    None => plain(wanted.join(" ")),
                    Some(_) => plain(points.iter().map(|[at, _]| at.as_str()).collect::<Vec<_>>().join(" ")),
                }
            }
            "points" => plain(items(&device("/telemetry")?).count().to_string()),
            "stated" => {
                let [fact, ..] = wanted else { return Err("which fact?".to_owned()) };
                let list = self.look(&format!("/activity?kind={fact}&limit=1000&device={}", self.id(name)?));
                Ok((format!("{fact} {}", items(&list).count()), list["items"][0]["after"].to_string()))
            }
            "logged" => {
                let lines = device("/log")?;
                let words = items(&lines).map(|l| format!("{}:{}", text(&l["level"]), text(&l["text"])));
                plain(words.map(|word| word.replace(' ', "_")).collect::<Vec<_>>().join(" "))
            }
            "quarantined" => {
                let view = device("")?;
                plain(view["quarantined"].as_array().map_or(0, Vec::len).to_string())
            }
            "counted" => plain(self.grown(name).to_string()),
            _ => Err(format!("there is no fact called {kind}")),
        }
    }
}

fn items(list: &Value) -> impl Iterator<Item = &Value> {
    list["items"].as_array().into_iter().flatten()
}

/// A text without its quotes; any other value as JSON.
fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn at(value: &Value, path: &str) -> String {
    text(path.split('.').fold(value, |value, name| &value[name]))
}
