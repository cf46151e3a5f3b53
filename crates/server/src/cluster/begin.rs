//! What a node looks at before it starts: whether it fits to the others on the same database. Each thing that is
//! wrong is one clear sentence, and nothing was begun then.

use std::io;
use std::path::Path;

use motehub_domain::time::Span;
use motehub_store::{Node, Store, StoreError};
use tokio::time::Instant;

use super::bus::Bus;
use super::heart;
use super::leases::TTL;
use super::{Cluster, VERSION};
use crate::clock::Clock;
use crate::settings::Settings;
use crate::{access_key, random, secrets};

/// How far the clock of a node may be from that of the database.
pub(super) const APART_MAX: Span = Span::seconds(30);
/// How often it is looked whether a node of the same name has gone.
const LOOK_EVERY: std::time::Duration = std::time::Duration::from_millis(250);

/// Files that all nodes of a hub have alike, by their place in the data folder, and what they are.
const ALIKE: [(&str, &str); 2] = [
    (access_key::FILE, "secrets of access keys, webhooks and CoAP keys are derived from it"),
    ("tls/ca.key", "the hub's authority, which signs certificates of devices"),
];

/// Joins the nodes of a hub on a store, or is alone.
pub(crate) async fn begin(settings: &Settings, store: &Store, installation: &str) -> io::Result<Cluster> {
    let refused = |why: String| io::Error::other(why);
    if !store.is_shared() {
        return match settings.bus {
            None => Ok(Cluster::alone(settings)),
            Some(_) => Err(refused(
                "--bus: several nodes share one PostgreSQL database: give each --store postgres://…, or leave \
                 out --bus for a hub that is alone"
                    .to_owned(),
            )),
        };
    }
    let ahead = ahead(settings, store).await.map_err(io::Error::other)?;
    if ahead.0.abs() > APART_MAX.0 {
        return Err(refused(format!(
            "the clock of this machine and that of the database are {} s apart: at most {} s are taken; have both \
             set by NTP",
            ahead.0.abs() / 1000,
            APART_MAX.0 / 1000
        )));
    }
    let me = Node {
        name: settings.node.to_string(),
        instance: random::secret(),
        version: VERSION.to_owned(),
        started_at: settings.clock.now() + ahead,
        seen_at: settings.clock.now() + ahead,
        address: settings.http.to_string(),
        figures: serde_json::json!({}),
    };
    for other in alive(settings, store, ahead).await? {
        if other.name != me.name {
            fits(settings, &other).map_err(refused)?;
        }
    }
    alike(&settings.data, store).await?;
    let bus = match &settings.bus {
        Some(url) => {
            Bus::open(url, installation, &me.name, &settings.clock).await.map_err(io::Error::other)?
        }
        None => Bus::none(),
    };
    come(settings, store, &me).await?;
    let others = alive(settings, store, ahead).await?;
    let cluster = Cluster::one_of(settings, me, bus, settings.bus.is_none());
    cluster.saw(others, ahead, settings.clock.now());
    Ok(cluster)
}

/// How far the clock of the database is ahead of ours. A clock that is moved by hand has nothing to do with it, as long
/// as nobody else is there.
pub(super) async fn ahead(settings: &Settings, store: &Store) -> Result<Span, StoreError> {
    match (&settings.clock, &settings.bus) {
        (Clock::Manual(_), None) => Ok(Span(0)),
        _ => store.ahead(settings.clock.now()).await,
    }
}

/// The nodes that live, as far as the database knows.
async fn alive(settings: &Settings, store: &Store, ahead: Span) -> io::Result<Vec<Node>> {
    let now = settings.clock.now() + ahead;
    let all = store.nodes().await.map_err(io::Error::other)?;
    Ok(all.into_iter().filter(|node| heart::is_alive(node, now)).collect())
}

fn fits(settings: &Settings, other: &Node) -> Result<(), String> {
    if minor(&other.version) != minor(VERSION) {
        return Err(format!(
            "the node {} runs Motehub {} and this is {VERSION}: all nodes of a hub have the same version; end those \
             of the other one first",
            other.name, other.version
        ));
    }
    if settings.bus.is_none() || other.figures["is_alone"] == true {
        let (with, without) = if settings.bus.is_none() { ("it", "this one") } else { ("this one", "it") };
        return Err(format!(
            "the node {} uses this database too: several nodes need --bus and --node; {with} may have a bus, {without} \
             has none",
            other.name
        ));
    }
    Ok(())
}

/// The part of a version that nodes have alike.
fn minor(version: &str) -> Vec<&str> {
    version.split('.').take(2).collect()
}

/// Takes the name of this node. One that was killed may look alive for a moment still.
async fn come(settings: &Settings, store: &Store, me: &Node) -> io::Result<()> {
    let give_up = Instant::now() + std::time::Duration::from_millis(TTL.0.unsigned_abs() + 1_000);
    loop {
        let now = settings.clock.now() + ahead(settings, store).await.map_err(io::Error::other)?;
        let mut beat = me.clone();
        (beat.seen_at, beat.figures) = (now, serde_json::json!({ "is_alone": settings.bus.is_none() }));
        if store.beat(&beat, now - TTL).await.map_err(io::Error::other)? {
            return Ok(());
        }
        if Instant::now() >= give_up {
            let name = &me.name;
            return Err(io::Error::new(
                io::ErrorKind::AddrInUse,
                format!(
                    "another node is called {name} and lives: give each node a name of its own, --node NAME"
                ),
            ));
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Secrets that are files are those of the first node: what one of them derived or signed, all have to know.
async fn alike(data: &Path, store: &Store) -> io::Result<()> {
    for (file, what) in ALIKE {
        let path = data.join(file);
        let Ok(bytes) = std::fs::read(&path) else { continue };
        let own = secrets::digest(&bytes).to_string();
        let key = format!("alike/{file}");
        let first = store.note_once(&key, own.as_bytes()).await.map_err(io::Error::other)?;
        if first != own.as_bytes() {
            return Err(io::Error::other(format!(
                "{} is another than that of the first node ({what}): copy it from there, with its mode",
                path.display()
            )));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_have_the_same_minor_version() {
        assert_eq!(minor("1.2.3"), minor("1.2.9"));
        assert_ne!(minor("1.2.3"), minor("1.3.0"));
    }
}
