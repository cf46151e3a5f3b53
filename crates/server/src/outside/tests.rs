//! No address inside is reached, however it is written, looked up or redirected to: listeners that count whoever
//! comes stay at zero.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;

/// A listener on an address of this machine, which counts who comes and answers with a fixed text.
struct Canary {
    port: u16,
    came: Arc<AtomicUsize>,
}

impl Canary {
    fn new(address: &str, answer: &'static str) -> Option<Self> {
        let listener = TcpListener::bind((address, 0)).ok()?;
        let port = listener.local_addr().ok()?.port();
        let came = Arc::new(AtomicUsize::new(0));
        let count = came.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                count.fetch_add(1, Ordering::SeqCst);
                let Ok(mut stream) = stream else { continue };
                let mut bytes = [0; 4096];
                let _ = stream.read(&mut bytes);
                let _ = stream.write_all(answer.as_bytes());
            }
        });
        Some(Self { port, came })
    }

    fn count(&self) -> usize {
        self.came.load(Ordering::SeqCst)
    }
}

const GOOD: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok";

fn post(url: &str) -> Post {
    Post { url: url.to_owned(), body: "{}".to_owned(), headers: Vec::new() }
}

fn networks(texts: &[&str]) -> Vec<Network> {
    texts.iter().map(|text| Network::parse("network", text).expect("a network")).collect()
}

/// Answers with the next of its addresses each time, as one that changes between check and use does.
#[derive(Debug)]
struct Rebinding(Vec<IpAddr>, AtomicUsize);

impl Resolver for Rebinding {
    fn resolve(
        &self,
        uri: &ureq::http::Uri,
        _: &ureq::config::Config,
        _: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let turn = self.1.fetch_add(1, Ordering::SeqCst);
        let mut found = self.empty();
        found.push((self.0[turn % self.0.len()], uri.port_u16().unwrap_or(80)).into());
        Ok(found)
    }
}

#[tokio::test]
async fn no_way_of_writing_an_address_reaches_inside() {
    let v4 = Canary::new("127.0.0.1", GOOD).expect("a listener");
    let v6 = Canary::new("::1", GOOD);
    let outside = Outside::new(&[], HashSet::new());
    let port = v4.port;
    let hosts = [
        "127.0.0.1",
        "127.1",
        "127.0.1",
        "127.0.0.1.",
        "127.1.2.3",
        "127.255.255.254",
        "localhost",
        "LOCALHOST",
        "localhost.",
        "0",
        "0.0.0.0",
        "0x7f.0.0.1",
        "0x7f000001",
        "0x7f.1",
        "0177.0.0.1",
        "0177.0.0.01",
        "017700000001",
        "2130706433",
        "00000177.0.0.1",
        "127.0.0.01",
        "0x7F.0x0.0x0.0x1",
        "10.0.0.1",
        "172.16.0.1",
        "172.31.255.255",
        "192.168.0.1",
        "192.168.1.254",
        "169.254.169.254",
        "0xa9fea9fe",
        "2852039166",
        "0251.0376.0251.0376",
        "100.64.0.1",
        "192.0.0.1",
        "192.0.2.1",
        "198.18.0.1",
        "198.51.100.1",
        "203.0.113.1",
        "224.0.0.1",
        "240.0.0.1",
        "255.255.255.255",
        "[::1]",
        "[::]",
        "[0:0:0:0:0:0:0:1]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[::127.0.0.1]",
        "[::ffff:0:127.0.0.1]",
        "[64:ff9b::7f00:1]",
        "[64:ff9b::127.0.0.1]",
        "[2002:7f00:1::]",
        "[2001:db8::1]",
        "[2001:0::1]",
        "[fe80::1]",
        "[fc00::1]",
        "[fd00:ec2::254]",
        "[fec0::1]",
        "[ff02::1]",
        "[::ffff:169.254.169.254]",
        "[::ffff:10.0.0.1]",
        "ip6-localhost",
        "metadata.google.internal",
    ];
    for host in hosts {
        let answer = outside.post(post(&format!("http://{host}:{port}/"))).await;
        assert_eq!(answer.status, None, "{host}: {answer:?}");
    }
    if let Some(v6) = &v6 {
        for host in ["[::1]", "localhost", "[::]"] {
            let answer = outside.post(post(&format!("http://{host}:{}/", v6.port))).await;
            assert_eq!(answer.status, None, "{host}: {answer:?}");
        }
        assert_eq!(v6.count(), 0);
    }
    for url in
        ["file:///etc/passwd", "ftp://127.0.0.1/", "gopher://127.0.0.1:6379/_x", "http://", "//127.0.0.1/"]
    {
        assert_eq!(outside.post(post(url)).await.status, None, "{url}");
    }
    assert_eq!(v4.count(), 0, "somebody came in");
}

#[tokio::test]
async fn a_redirect_leads_nowhere() {
    let inside = Canary::new("127.0.0.2", GOOD).expect("a listener");
    let outside = Outside::new(&networks(&["127.0.0.1"]), HashSet::new());
    for status in ["301 Moved", "302 Found", "303 See Other", "307 Temporary", "308 Permanent"] {
        let target = format!("http://127.0.0.2:{}/", inside.port);
        let answer = format!("HTTP/1.1 {status}\r\nLocation: {target}\r\nContent-Length: 0\r\n\r\n");
        let redirecting = Canary::new("127.0.0.1", answer.leak()).expect("a listener");
        let answer = outside.post(post(&format!("http://127.0.0.1:{}/", redirecting.port))).await;
        assert_eq!((answer.status, redirecting.count()), (status[..3].parse().ok(), 1));
        assert!(answer.text.contains("not followed"), "{answer:?}");
    }
    assert_eq!(inside.count(), 0);
}

#[tokio::test]
async fn a_name_that_changes_its_address_is_looked_at_each_time() {
    let inside = Canary::new("127.0.0.1", GOOD).expect("a listener");
    // Public first, inside then: whichever answer is checked is the one that is used. Nothing is at the public one.
    let addresses = ["127.0.0.1", "10.0.0.1", "169.254.169.254"].map(|ip| ip.parse().expect("an address"));
    let outside = Outside::by(Rebinding(addresses.into(), AtomicUsize::new(0)), &[], HashSet::new());
    for _ in 0..6 {
        let answer = outside.post(post(&format!("http://hook.example.com:{}/", inside.port))).await;
        assert!(answer.text.contains("--webhook-network"), "{answer:?}");
    }
    assert_eq!(inside.count(), 0);
}

#[tokio::test]
async fn a_network_opens_exactly_what_it_names() {
    let (named, other) = (Canary::new("127.0.0.1", GOOD), Canary::new("127.0.0.2", GOOD));
    let (named, other) = (named.expect("a listener"), other.expect("a listener"));
    let outside = Outside::new(&networks(&["127.0.0.1"]), HashSet::new());
    let answer = outside.post(post(&format!("http://2130706433:{}/", named.port))).await;
    assert_eq!((answer.status, answer.text.as_str(), named.count()), (Some(200), "ok", 1));
    let answer = outside.post(post(&format!("http://127.0.0.2:{}/", other.port))).await;
    assert!(answer.text.ends_with("--webhook-network 127.0.0.2"), "{answer:?}");
    assert_eq!(other.count(), 0);
    // The hub's own ports are closed to it even there.
    let ours = Outside::new(&networks(&["127.0.0.0/8"]), HashSet::from([named.port]));
    let answer = ours.post(post(&format!("http://127.0.0.1:{}/", named.port))).await;
    assert!(answer.text.contains("the hub itself"), "{answer:?}");
    assert_eq!(named.count(), 1);
}

#[tokio::test]
async fn long_and_broken_answers_are_bounded() {
    let long = format!("HTTP/1.1 200 OK\r\nContent-Length: 9000000\r\n\r\n{}", "x".repeat(9_000_000));
    let long = Canary::new("127.0.0.1", long.leak()).expect("a listener");
    let outside = Outside::new(&networks(&["127.0.0.1"]), HashSet::new());
    let answer = outside.post(post(&format!("http://127.0.0.1:{}/", long.port))).await;
    assert_eq!(answer.status, Some(200));
    assert!(answer.text.chars().count() <= 500, "{}", answer.text.len());
    let broken = Canary::new("127.0.0.1", "SSH-2.0-OpenSSH\r\n").expect("a listener");
    let answer = outside.post(post(&format!("http://127.0.0.1:{}/", broken.port))).await;
    assert_eq!(answer.status, None, "{answer:?}");
    let plain = outside.post(post(&format!("https://127.0.0.1:{}/", broken.port))).await;
    assert_eq!(plain.status, None, "{plain:?}");
}

#[test]
fn only_public_addresses_are_public() {
    for text in ["1.1.1.1", "93.184.216.34", "2606:4700:4700::1111"] {
        assert!(is_public(text.parse().expect("an address")), "{text}");
    }
}
