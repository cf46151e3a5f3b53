//! `motehub ctl token`: API tokens, with access keys for programs that sign as AWS does. The first token is made by
//! `motehub token add`, where the hub runs.

use clap::Subcommand;
use serde_json::json;

use super::print::{cell, out, table};
use super::{Caller, find};

#[derive(Subcommand)]
pub(super) enum Verb {
    /// List API tokens
    List,
    /// Make an API token; its secret is shown only now
    Add {
        /// What uses it; unique
        name: String,
        /// viewer, manager, engineer or admin
        #[arg(long)]
        role: String,
        /// When it ends: an RFC 3339 time [default: never]
        #[arg(long, value_name = "TIME")]
        expires_at: Option<String>,
        /// With an access key, for boto3 and other programs that sign as AWS does (SigV4)
        #[arg(long)]
        access_key: bool,
    },
    /// Revoke a token and its access key: they stop at once
    Revoke {
        /// Its id or name
        token: String,
    },
}

pub(super) fn run(caller: &Caller, verb: &Verb) -> anyhow::Result<()> {
    match verb {
        Verb::List => caller.show(&caller.get("/tokens")?, |list| {
            let rows = list["items"].as_array().into_iter().flatten();
            let keys = ["name", "role", "expires_at", "last_used_at", "access_key_id", "id"];
            let rows: Vec<_> = rows.map(|one| keys.map(|key| cell(&one[key])).to_vec()).collect();
            table(&["NAME", "ROLE", "ENDS", "LAST USED", "ACCESS KEY", "ID"], &rows)
        }),
        Verb::Add { name, role, expires_at, access_key } => {
            let new =
                json!({ "name": name, "role": role, "expires_at": expires_at, "access_key": access_key });
            caller.show(&caller.post("/tokens", &new)?, |made| {
                let parts = [
                    ("token", "token"),
                    ("access_key_id", "access key id"),
                    ("secret_access_key", "secret access key"),
                ];
                let given = parts.iter().filter(|(key, _)| !made[*key].is_null());
                let lines = given.map(|(key, name)| format!("{name:<18} {}\n", cell(&made[*key])));
                format!("{}(shown only now: keep it)\n", lines.collect::<String>())
            })
        }
        Verb::Revoke { token } => {
            let found = find::one(caller, "token", token)?;
            caller.api.call("DELETE", &format!("/tokens/{}", cell(&found["id"])), None)?;
            if caller.json { Ok(()) } else { out(&format!("revoked {}\n", cell(&found["name"]))) }
        }
    }
}
