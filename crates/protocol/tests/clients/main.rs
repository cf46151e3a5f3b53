//! CoAP programs of other people against our endpoint, both ways, over a network that loses a tenth of everything:
//! libcoap's `coap-client` (Debian package libcoap3-bin) and aiocoap (PyPI).
#![expect(clippy::unwrap_used, reason = "a test ends where it cannot go on")]

mod alone;
mod lossy;

use std::net::{SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use motehub_protocol::coap::{Code, Failure, Method, Request, Response};

use alone::{Alone, LARGE_BYTES, ask, large};
use lossy::Lossy;

/// The largest body that is taken.
const BODY: usize = 64 * 1024;

/// Our server behind the network.
fn server() -> (Alone, Lossy) {
    let alone = Alone::start();
    let lossy = Lossy::start(alone.address);
    (alone, lossy)
}

/// Runs `coap-client` with a method and a path. Returns what it wrote.
fn coap_client(at: SocketAddr, words: &[&str], path: &str) -> Vec<u8> {
    let done = Command::new("coap-client-notls")
        .args(["-B", "120", "-v", "0"])
        .args(words)
        .arg(format!("coap://{at}{path}"))
        .output()
        .unwrap_or_else(|error| panic!("coap-client-notls: {error}; run xtask/setup.sh test"));
    assert!(done.status.success(), "{words:?} {path}: {}", String::from_utf8_lossy(&done.stderr));
    done.stdout.strip_suffix(b"\n").map_or(done.stdout.clone(), <[u8]>::to_vec)
}

#[test]
fn libcoap_speaks_with_our_server() {
    let (alone, lossy) = server();
    let at = lossy.address;
    let text = |words: &[&str], path: &str| String::from_utf8(coap_client(at, words, path)).unwrap();
    assert!(text(&["-m", "get"], "/.well-known/core").contains("</large>"));
    text(&["-m", "put", "-e", "one"], "/things/a");
    assert_eq!(text(&["-m", "get"], "/things/a"), "one");
    text(&["-m", "post", "-e", " and two"], "/things/a");
    assert_eq!(text(&["-m", "get"], "/things/a"), "one and two");
    text(&["-m", "delete"], "/things/a");
    assert_eq!(alone.thing("things/a"), None);

    let folder = std::env::temp_dir().join(format!("motehub-coap-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let (sent, got) = (folder.join("sent"), folder.join("got"));
    coap_client(at, &["-m", "get", "-o", got.to_str().unwrap()], "/large");
    assert!(std::fs::read(&got).unwrap() == large(LARGE_BYTES), "64 kB came in blocks");
    std::fs::write(&sent, large(BODY)).unwrap();
    coap_client(at, &["-m", "put", "-b", "1024", "-f", sent.to_str().unwrap()], "/things/b");
    assert!(alone.thing("things/b").as_deref() == Some(&large(BODY)), "64 kB went in blocks");
    std::fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn libcoap_observes_our_server() {
    let (alone, lossy) = server();
    coap_client(lossy.address, &["-m", "put", "-e", "first;"], "/things/c");
    let observer = Command::new("coap-client-notls")
        .args(["-B", "120", "-s", "20", "-m", "get"])
        .arg(format!("coap://{}/things/c", lossy.address))
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    alone.wait_for("an observer", |state| state.observers == 1);
    coap_client(lossy.address, &["-m", "put", "-e", "second;"], "/things/c");
    let said = String::from_utf8(observer.wait_with_output().unwrap().stdout).unwrap();
    assert!(said.contains("first;") && said.contains("second;"), "{said}");
}

#[test]
fn aiocoap_speaks_with_our_server() {
    let (alone, lossy) = server();
    let done = aiocoap(&["client", &format!("coap://{}", lossy.address)]).wait_with_output().unwrap();
    let said = format!("{}{}", String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
    assert!(done.status.success(), "{said}");
    assert!(alone.thing("things/b").as_deref() == Some(&large(BODY)), "64 kB went in blocks");
}

#[test]
fn our_client_speaks_with_aiocoap() {
    let port = free_port();
    let mut server = Ended(aiocoap(&["server", &port.to_string()]));
    let lossy = Lossy::start(SocketAddr::from(([127, 0, 0, 1], port)));
    let get = |path: &str| Request::new(Method::Get, path);
    let one = |request: Request| ask(lossy.address, request, 1).pop().unwrap();
    let text = |answer: Result<Response, Failure>| {
        let answer = answer.unwrap();
        (answer.code, String::from_utf8(answer.payload().to_vec()).unwrap())
    };
    // It takes its time to start.
    let mut list = one(get("/.well-known/core"));
    for _ in 0..10 {
        if list.is_ok() {
            break;
        }
        assert!(server.0.try_wait().unwrap().is_none(), "the server of aiocoap ended");
        list = one(get("/.well-known/core"));
    }
    assert!(text(list).1.contains("</thing>"));
    let put = |body: &[u8]| Request { payload: body.to_vec(), ..Request::new(Method::Put, "/thing") };
    assert_eq!(text(one(put(b"hello"))).0, Code::CHANGED);
    assert_eq!(text(one(get("/thing"))), (Code::CONTENT, "hello".to_owned()));
    assert_eq!(
        text(one(Request { payload: b"!".to_vec(), ..Request::new(Method::Post, "/thing") })).0,
        Code::CHANGED
    );
    assert_eq!(text(one(get("/thing"))).1, "hello!");
    assert_eq!(text(one(Request::new(Method::Delete, "/thing"))).0, Code::DELETED);
    assert_eq!(text(one(get("/nothing"))).0, Code::NOT_FOUND);
    assert_eq!(one(put(&large(60_000))).unwrap().code, Code::CHANGED);
    assert!(one(get("/thing")).unwrap().payload() == large(60_000));
    let seen = ask(lossy.address, Request { observe: Some(true), ..get("/count") }, 3);
    let seen: Vec<i64> = seen.into_iter().map(|answer| text(answer).1.parse().unwrap()).collect();
    assert!(seen.windows(2).all(|pair| pair[0] < pair[1]), "{seen:?}");
}

/// A port that nobody had a moment ago.
fn free_port() -> u16 {
    UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// A process that ends with the test.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn aiocoap(words: &[&str]) -> Child {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let python: PathBuf =
        std::env::var_os("PYTHON").map_or_else(|| root.join(".tools/venv/bin/python"), Into::into);
    Command::new(&python)
        .arg(root.join("tests/interop/aiocoap_peer.py"))
        .args(words)
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .unwrap_or_else(|error| panic!("{}: {error}; run xtask/setup.sh test", python.display()))
}
