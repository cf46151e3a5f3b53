//! Two ends on a real NATS.

use std::time::Duration;

use motehub_domain::time::Time;
use servers::Nats;
use tokio::io::AsyncWriteExt;

use super::*;

const WAIT: Duration = Duration::from_secs(10);

async fn end(url: &str, node: &str) -> Result<Bus, String> {
    let clock = Clock::manual(Time(1_800_000_000_000));
    open(BusUrl::parse(url).unwrap(), node, &clock).await
}

async fn open(url: BusUrl, node: &str, clock: &Clock) -> Result<Bus, String> {
    Bus::open(&url, "tests", node, clock).await.map_err(|error| error.to_string())
}

async fn next(heard: &mut Heard) -> Message {
    tokio::time::timeout(WAIT, heard.next()).await.expect("something is heard").unwrap()
}

async fn until(bus: &Bus, fits: impl Fn(&BusState) -> bool) -> BusState {
    let mut state = bus.state();
    let found = tokio::time::timeout(WAIT, state.wait_for(fits)).await;
    found.expect("the state of the bus changes").unwrap().clone()
}

#[tokio::test]
async fn what_one_node_says_others_hear_in_order() {
    let nats = Nats::start();
    let (one, two) = (end(&nats.url(), "one").await.unwrap(), end(&nats.url(), "two").await.unwrap());
    let mut heard = two.subscribe("device.*.down").await;
    let mut elsewhere = Bus::open(&BusUrl::parse(&nats.url()).unwrap(), "other", "x", &Clock::System)
        .await
        .unwrap()
        .subscribe(">")
        .await;
    two.flushed().await.unwrap();
    for n in 0..1_000_u32 {
        one.publish("device.7.down", n.to_be_bytes().to_vec());
    }
    for n in 0..1_000_u32 {
        let message = next(&mut heard).await;
        assert_eq!((message.subject(), &message.payload[..]), ("device.7.down", &n.to_be_bytes()[..]));
    }
    let nothing = tokio::time::timeout(Duration::ZERO, elsewhere.next()).await;
    assert!(nothing.is_err(), "installations hear each other");
}

#[tokio::test]
async fn a_request_is_answered_or_said_to_be_heard_by_nobody() {
    let nats = Nats::start();
    let (one, two) = (end(&nats.url(), "one").await.unwrap(), end(&nats.url(), "two").await.unwrap());
    assert_eq!(one.request("node.two.ask", "?", WAIT).await, Err(BusError::Nobody));
    let mut heard = two.subscribe("node.two.*").await;
    two.flushed().await.unwrap();
    tokio::spawn(async move {
        while let Some(message) = heard.next().await {
            if let Some(reply) = &message.reply {
                two.answer(reply, message.payload.clone());
            }
        }
    });
    assert_eq!(one.request("node.two.ask", "it is me", WAIT).await.unwrap(), "it is me");
    let alone = Bus::none();
    alone.publish("told", "nothing");
    assert_eq!(alone.request("node.two.ask", "?", WAIT).await, Err(BusError::Nobody));
    assert_eq!(alone.flushed().await, Ok(()));
}

#[tokio::test]
async fn the_bus_goes_and_comes_back() {
    let nats = Nats::start();
    let (one, two) = (end(&nats.url(), "one").await.unwrap(), end(&nats.url(), "two").await.unwrap());
    let mut heard = two.subscribe("told").await;
    two.flushed().await.unwrap();
    nats.kill();
    let away = until(&two, |state| *state != BusState::Here).await;
    assert!(matches!(away, BusState::Away { since: Time(1_800_000_000_000), .. }), "{away:?}");
    assert_eq!(two.request("told", "?", Duration::from_millis(10)).await, Err(BusError::Late));
    nats.start_again();
    until(&one, |state| *state == BusState::Here).await;
    until(&two, |state| *state == BusState::Here).await;
    two.flushed().await.unwrap();
    one.publish("told", "again");
    // What was published while it was away may come too, late.
    while next(&mut heard).await.payload != "again" {}
}

#[tokio::test]
async fn what_cannot_be_sent_is_dropped_and_never_blocks() {
    let nats = Nats::start_with("max_payload: 1000");
    let (one, two) = (end(&nats.url(), "one").await.unwrap(), end(&nats.url(), "two").await.unwrap());
    assert_eq!(one.payload_max(), 1000);
    let mut heard = two.subscribe("told").await;
    two.flushed().await.unwrap();
    one.publish("told", vec![0; 1001]);
    one.publish("told", "small");
    assert_eq!(next(&mut heard).await.payload, "small");
    nats.kill();
    for _ in 0..3 * WAITING_MAX {
        one.publish("told", "nobody hears it");
    }
}

#[tokio::test]
async fn who_may_not_come_in_is_told_so_without_the_secret() {
    let passwords = Nats::start_with("authorization { user: hub, password: \"right\" }");
    let tokens = Nats::start_with("authorization { token: \"right\" }");
    let keys = Nats::start_with(
        "authorization { users: [ { nkey: UDXU4RCSJNZOIQHZNWXHXORDPRTGNJAHAHFRGZNEEJCPQTT2M7NLCNF4 } ] }",
    );
    let right = |nats: &Nats, login: &str| nats.url().replace("nats://", &format!("nats://{login}@"));
    assert!(end(&right(&passwords, "hub:right"), "one").await.is_ok());
    assert!(end(&right(&tokens, "right"), "one").await.is_ok());
    let keyed = |seed: &str| BusUrl::parse(&keys.url()).unwrap().with_key(seed).unwrap();
    let seed = "SUACSSL3UAHUDXKFSNVUZRF5UHPMWZ6BFDTJ7M6USDXIEDNPPQYYYCU3VY";
    assert!(open(keyed(seed), "one", &Clock::System).await.is_ok());
    let mut refused = Vec::new();
    for (url, part) in [
        (passwords.url(), "it wants a login"),
        (right(&passwords, "hub:wr0ng"), "this user and password"),
        (right(&tokens, "wr0ng"), "this token"),
        (passwords.tls_url(), "does not speak TLS"),
    ] {
        refused.push((end(&url, "one").await.err().unwrap_or_default(), part));
    }
    let other = "SUAIBDPBAUTWCWBKIO6XHQNINK5FWJW4OHLXC3HQ2KFE4PEJUA44CNHTC4";
    refused.push((open(keyed(other), "one", &Clock::System).await.err().unwrap_or_default(), "this nkey"));
    for (refused, part) in refused {
        let shows = refused.contains("wr0ng") || refused.contains("SUA");
        assert!(refused.contains(part) && !shows && !refused.contains('\n'), "{part}: {refused:?}");
    }
}

#[tokio::test]
async fn only_a_bus_whose_certificate_is_trusted_is_taken() {
    let folder = tempfile::tempdir().unwrap();
    let authority = |name: &str| {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::default();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        let file = folder.path().join(format!("{name}.pem"));
        std::fs::write(&file, params.self_signed(&key).unwrap().pem()).unwrap();
        (file, rcgen::Issuer::new(params, key))
    };
    let ((right, issuer), (wrong, _)) = (authority("right"), authority("wrong"));
    let key = rcgen::KeyPair::generate().unwrap();
    let params = rcgen::CertificateParams::new(["localhost".to_owned()]).unwrap();
    std::fs::write(folder.path().join("bus.pem"), params.signed_by(&key, &issuer).unwrap().pem()).unwrap();
    std::fs::write(folder.path().join("bus.key"), key.serialize_pem()).unwrap();
    let keep = tempfile::tempdir().unwrap();
    std::fs::copy(folder.path().join("right.pem"), keep.path().join("right.pem")).unwrap();
    let nats =
        Nats::start_in(folder, "tls { cert_file: \"{folder}/bus.pem\", key_file: \"{folder}/bus.key\" }");
    let by = |file: std::path::PathBuf| BusUrl::parse(&nats.tls_url()).unwrap().with_authority(file);
    assert!(open(by(right), "one", &Clock::System).await.is_ok());
    for (url, part) in [
        (by(wrong), "an authority that is not trusted"),
        (BusUrl::parse(&nats.tls_url()).unwrap(), "an authority that is not trusted"),
        (by("/nowhere/ca.pem".into()), "no file /nowhere/ca.pem"),
    ] {
        let refused = open(url, "one", &Clock::System).await.err().unwrap_or_default();
        assert!(refused.contains(part), "{part}: {refused}");
    }
}

#[tokio::test]
async fn what_is_no_bus_or_an_old_one_is_named() {
    let says = |text: &'static str| async move {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            while let Ok((mut socket, _)) = listener.accept().await {
                let _ = socket.write_all(text.as_bytes()).await;
                let _ = tokio::io::copy(&mut socket, &mut tokio::io::sink()).await;
            }
        });
        end(&format!("nats://127.0.0.1:{port}"), "one").await.err().unwrap_or_default()
    };
    let old = says("INFO {\"version\":\"2.9.10\",\"max_payload\":1048576}\r\nPONG\r\n").await;
    assert!(old.contains("NATS 2.9.10 is too old") && old.contains("2.10"), "{old}");
    let other = says("SSH-2.0-OpenSSH_9.2\r\n").await;
    assert!(other.contains("does not speak NATS"), "{other}");
    let nobody = {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        listener.local_addr().unwrap().port()
    };
    let closed = end(&format!("nats://127.0.0.1:{nobody}"), "one").await.err().unwrap_or_default();
    assert!(closed.contains("cannot be reached"), "{closed}");
    let unknown = end("nats://nowhere.invalid", "one").await.err().unwrap_or_default();
    assert!(unknown.contains("no such host"), "{unknown}");
}
