//! Where a socket is: a page asks through a balancer whether it may hear a channel, so that may be another node.

use std::fmt;
use std::sync::Arc;

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use motehub_domain::id::PusherAppId;
use motehub_protocol::pusher::Channel;
use serde::{Deserialize, Serialize};

use super::own::Grant;
use super::rooms::{Line, SocketId};
use crate::app::App;
use crate::cluster::ask::Question;

/// Where a socket is.
pub(super) enum Place {
    /// At this node.
    Here(Arc<Line>),
    /// At another one.
    At(String),
}

/// What a node says of a socket that it has.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Found {
    node: String,
    app: String,
}

/// A node is told that one of its sockets may hear a channel, and by which headers of a request.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct LetIn {
    socket: String,
    channel: String,
    proofs: Vec<(String, String)>,
}

impl fmt::Debug for LetIn {
    /// Without the secrets in it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LetIn({}, {})", self.socket, self.channel)
    }
}

impl App {
    /// By which app a socket is here or at another node, and where.
    pub(super) async fn place_of(&self, socket: SocketId) -> Option<(PusherAppId, Place)> {
        if let Some((app, line)) = self.pusher.rooms.find(socket) {
            return Some((app, Place::Here(line)));
        }
        let Found { node, app } = self.ask_who_knows(&Question::Socket(socket.to_string())).await?;
        Some((app.parse().ok()?, Place::At(node)))
    }

    /// A socket may hear one of the hub's own channels. False if it is gone meanwhile.
    pub(super) async fn let_in(
        &self,
        place: Place,
        socket: SocketId,
        channel: Channel,
        grant: Grant,
    ) -> bool {
        match place {
            Place::Here(line) => {
                line.grant(channel, grant);
                true
            }
            Place::At(node) => {
                let proofs = grant.0.iter().filter_map(|(name, value)| {
                    Some((name.as_str().to_owned(), value.to_str().ok()?.to_owned()))
                });
                let let_in = LetIn {
                    socket: socket.to_string(),
                    channel: channel.as_str().to_owned(),
                    proofs: proofs.collect(),
                };
                self.ask_node(&node, &Question::LetIn(let_in)).await.unwrap_or(false)
            }
        }
    }

    /// What this node says to another one of a socket.
    pub(crate) fn socket_here(&self, socket: &str) -> Option<Found> {
        let (app, _) = self.pusher.rooms.find(socket.parse().ok()?)?;
        Some(Found { node: self.cluster.node().to_owned(), app: app.to_string() })
    }

    /// Another node has let a socket of this one in. False if it is not here.
    pub(crate) fn let_in_here(&self, told: &LetIn) -> bool {
        let found = told.socket.parse().ok().and_then(|socket| self.pusher.rooms.find(socket));
        let (Some((_, line)), Ok(channel)) = (found, Channel::parse(&told.channel)) else { return false };
        let mut headers = HeaderMap::new();
        for (name, value) in &told.proofs {
            if let (Ok(name), Ok(value)) = (name.parse::<HeaderName>(), HeaderValue::from_str(value)) {
                headers.insert(name, value);
            }
        }
        line.grant(channel, Grant(headers));
        true
    }
}
