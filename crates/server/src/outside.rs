//! Posting to addresses outside, for people and rules that name them: it must not reach what only the hub can.
//!
//! Names are looked up here, once for each connection, and what is connected to is what was looked at: an address
//! that is not public is refused unless a setting names its network, however it was written or looked up. Redirects
//! are not followed, no proxy is used, certificates are checked, and the hub's own ports are refused always.

use std::collections::HashSet;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::Duration;

use motehub_domain::network::Network;
use motehub_domain::webhook::Answer;
use tokio::sync::oneshot;
use ureq::Agent;
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{DefaultConnector, NextTimeout};

/// Most bytes that are read of an answer; it is cut off then.
const ANSWER_BYTES_MAX: u64 = 64 * 1024;
/// How long one post may take, from the name to the end of the answer.
const POST_MAX: Duration = Duration::from_secs(10);
/// How long a connection is kept for the next post.
const IDLE_MAX: Duration = Duration::from_secs(15);

/// Something to post.
#[derive(Debug)]
pub(crate) struct Post {
    /// Where.
    pub(crate) url: String,
    /// JSON.
    pub(crate) body: String,
    /// Further headers.
    pub(crate) headers: Vec<(&'static str, String)>,
}

/// The way outside.
pub(crate) struct Outside(Agent);

impl Outside {
    /// To public addresses and those of some networks, but to none of our own ports.
    pub(crate) fn new(networks: &[Network], own_ports: HashSet<u16>) -> Self {
        Self::by(DefaultResolver::default(), networks, own_ports)
    }

    fn by(names: impl Resolver, networks: &[Network], own_ports: HashSet<u16>) -> Self {
        let config = Agent::config_builder()
            .timeout_global(Some(POST_MAX))
            .max_idle_connections_per_host(1)
            .max_idle_age(IDLE_MAX)
            .max_redirects(0)
            .http_status_as_error(false)
            .proxy(None)
            .user_agent(concat!("motehub/", env!("CARGO_PKG_VERSION")))
            .tls_config(crate::authorities::tls())
            .build();
        let watched = Watched { names, networks: networks.to_vec(), own_ports };
        Self(Agent::with_parts(config, DefaultConnector::default(), watched))
    }

    /// Posts on a thread of its own: a slow address holds up nobody, also not the end of this program.
    pub(crate) async fn post(&self, post: Post) -> Answer {
        let (told, answer) = oneshot::channel();
        let agent = self.0.clone();
        let thread = std::thread::Builder::new().name("outside".to_owned());
        let spawned = thread.spawn(move || drop(told.send(send(&agent, &post))));
        match spawned {
            Ok(_) => answer.await.unwrap_or_else(|_| Answer::new(None, "the post ended without an answer")),
            Err(error) => Answer::new(None, &format!("no thread for it: {error}")),
        }
    }
}

fn send(agent: &Agent, post: &Post) -> Answer {
    let mut request = agent.post(&post.url).content_type("application/json");
    for (name, value) in &post.headers {
        request = request.header(*name, value);
    }
    let mut answer = match request.send(&post.body) {
        Ok(answer) => answer,
        Err(error) => return Answer::new(None, &error.to_string()),
    };
    let status = answer.status().as_u16();
    let read = answer.body_mut().with_config().limit(ANSWER_BYTES_MAX).read_to_vec();
    let text = match (read, status) {
        (_, 300..400) => "it answered with a redirect, which is not followed".to_owned(),
        (Ok(bytes), _) => String::from_utf8_lossy(&bytes).into_owned(),
        // It has answered: that it goes on talking for too long changes nothing about that.
        (Err(error), _) => format!("its answer was not read to the end: {error}"),
    };
    Answer::new(Some(status), &text)
}

/// Looks names up and leaves out what must not be reached.
#[derive(Debug)]
struct Watched<R> {
    names: R,
    networks: Vec<Network>,
    own_ports: HashSet<u16>,
}

impl<R: Resolver> Resolver for Watched<R> {
    fn resolve(
        &self,
        uri: &ureq::http::Uri,
        config: &ureq::config::Config,
        timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let all = self.names.resolve(uri, config, timeout)?;
        let mut allowed = self.empty();
        for address in all.iter().filter(|address| self.may_reach(**address)) {
            allowed.push(*address);
        }
        match all.iter().find(|address| !self.may_reach(**address)) {
            Some(address) if allowed.is_empty() => Err(ureq::Error::Other(self.refusal(*address).into())),
            _ => Ok(allowed),
        }
    }
}

impl<R> Watched<R> {
    fn may_reach(&self, address: SocketAddr) -> bool {
        let ip = address.ip().to_canonical();
        let is_allowed = is_public(ip) || self.networks.iter().any(|network| network.contains(ip));
        is_allowed && !self.is_ours(address)
    }

    /// Whether it is a port of ours, by whichever address of this machine.
    fn is_ours(&self, address: SocketAddr) -> bool {
        self.own_ports.contains(&address.port()) && UdpSocket::bind((address.ip(), 0)).is_ok()
    }

    fn refusal(&self, address: SocketAddr) -> String {
        let ip = address.ip().to_canonical();
        match self.is_ours(address) {
            true => format!("{address} is the hub itself"),
            false => format!("{ip} is not a public address; allow it with --webhook-network {ip}"),
        }
    }
}

fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => {
            let [a, b, ..] = v4.octets();
            let is_shared = a == 100 && (64..128).contains(&b);
            let is_special = a == 0 || a >= 240 || (a == 192 && b == 0) || (a == 198 && (b == 18 || b == 19));
            !(v4.is_private()
                || v4.is_loopback()
                || v4.is_link_local()
                || v4.is_multicast()
                || v4.is_documentation()
                || is_shared
                || is_special)
        }
        IpAddr::V6(v6) => match v6.to_ipv4() {
            Some(v4) => is_public(IpAddr::V4(v4)),
            None => {
                let first = v6.segments()[0];
                // Global unicast, without documentation and the ways to other networks.
                first & 0xe000 == 0x2000
                    && v6.segments()[..2] != [0x2001, 0xdb8]
                    && first != 0x2002
                    && v6.segments()[..2] != [0x2001, 0]
            }
        },
    }
}

#[cfg(test)]
mod tests;
