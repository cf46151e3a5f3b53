//! What a webhook posts to: a real HTTP server that can be down, refuse or hang, and keeps all that it took.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// One post.
#[derive(Debug, Clone)]
pub(crate) struct Posted {
    pub(crate) headers: HeaderMap,
    pub(crate) bytes: String,
    pub(crate) answered: u16,
}

/// The server.
pub(crate) struct Target {
    pub(crate) address: SocketAddr,
    shared: Arc<Shared>,
    running: Option<JoinHandle<()>>,
}

struct Shared {
    /// What it answers; none hangs.
    answer: Mutex<Option<(u16, String)>>,
    posted: Mutex<Vec<Posted>>,
}

impl Target {
    pub(crate) async fn start() -> Self {
        let answer = Mutex::new(Some((200, "thanks".to_owned())));
        let shared = Arc::new(Shared { answer, posted: Mutex::default() });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let running = Some(serve(listener, shared.clone()));
        Self { address, shared, running }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/hook", self.address)
    }

    /// Nobody answers at its address from now on.
    pub(crate) async fn down(&mut self) {
        if let Some(running) = self.running.take() {
            running.abort();
            let _ = running.await;
        }
    }

    /// It is there again, at the same address.
    pub(crate) async fn up(&mut self) {
        let listener = TcpListener::bind(self.address).await.unwrap();
        self.running = Some(serve(listener, self.shared.clone()));
    }

    pub(crate) fn answers(&self, status: u16, text: &str) {
        *self.shared.answer.lock().unwrap() = Some((status, text.to_owned()));
    }

    /// It takes connections and says nothing.
    pub(crate) fn hangs(&self) {
        *self.shared.answer.lock().unwrap() = None;
    }

    /// All posts so far.
    pub(crate) fn posted(&self) -> Vec<Posted> {
        self.shared.posted.lock().unwrap().clone()
    }

    /// The posts that were taken, once there are so many.
    pub(crate) async fn taken(&self, count: usize) -> Vec<Posted> {
        super::wait::until(&format!("{count} posts are taken"), || async {
            let taken: Vec<Posted> = self.posted().into_iter().filter(|post| post.answered < 300).collect();
            (taken.len() >= count).then_some(taken)
        })
        .await
    }
}

impl Posted {
    pub(crate) fn body(&self) -> Value {
        serde_json::from_str(&self.bytes).unwrap()
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).unwrap_or_else(|| panic!("no {name}")).to_str().unwrap()
    }
}

fn serve(listener: TcpListener, shared: Arc<Shared>) -> JoinHandle<()> {
    // Without keep-alive: what is down must not be reached by a connection from before.
    let router = axum::Router::new().route("/hook", axum::routing::post(take)).with_state(shared);
    tokio::spawn(async move {
        let _ = axum::serve(listener, router).await;
    })
}

async fn take(
    State(shared): State<Arc<Shared>>,
    headers: HeaderMap,
    bytes: String,
) -> (StatusCode, [(&'static str, &'static str); 1], String) {
    let answer = shared.answer.lock().unwrap().clone();
    let answered = answer.as_ref().map_or(599, |(status, _)| *status);
    shared.posted.lock().unwrap().push(Posted { headers, bytes, answered });
    let Some((status, text)) = answer else { std::future::pending().await };
    (StatusCode::from_u16(status).unwrap(), [("connection", "close")], text)
}
