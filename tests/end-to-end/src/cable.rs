//! A cable to a server: what goes through it can be ended, or go nowhere for a while.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};

/// A wire before a server that can be cut; it ends with the process.
pub struct Cable {
    /// Where the other end takes the server to be.
    pub address: String,
    wire: Arc<Wire>,
}

#[derive(Default)]
struct Wire {
    state: Mutex<State>,
    mended: Condvar,
}

#[derive(Default)]
struct State {
    is_cut: bool,
    is_pulled: bool,
    open: Vec<TcpStream>,
}

impl Cable {
    /// A whole one.
    pub fn to(server: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("it is bound").to_string();
        let wire = Arc::new(Wire::default());
        let (upstream, shared) = (server.to_owned(), wire.clone());
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let (upstream, wire) = (upstream.clone(), shared.clone());
                // A server that is down is a connection that ends.
                std::thread::spawn(move || drop(wire.join(&client, &upstream)));
            }
        });
        Self { address, wire }
    }

    /// Connections end, and none is made.
    pub fn cut(&self) {
        let mut state = self.wire.state.lock().expect("the state");
        state.is_cut = true;
        for end in state.open.drain(..) {
            let _ = end.shutdown(Shutdown::Both);
        }
    }

    /// Nothing arrives any more, and nobody is told: neither end notices but by silence. What was on its way arrives
    /// when it is mended, as TCP has it.
    pub fn pull(&self) {
        self.wire.state.lock().expect("the state").is_pulled = true;
    }

    /// It is whole again.
    pub fn mend(&self) {
        let mut state = self.wire.state.lock().expect("the state");
        (state.is_cut, state.is_pulled) = (false, false);
        self.wire.mended.notify_all();
    }
}

impl Wire {
    fn while_pulled(&self) -> std::sync::MutexGuard<'_, State> {
        let state = self.state.lock().expect("the state");
        self.mended.wait_while(state, |state| state.is_pulled).expect("the state")
    }

    fn join(self: &Arc<Self>, client: &TcpStream, upstream: &str) -> std::io::Result<()> {
        let mut state = self.while_pulled();
        if state.is_cut {
            return Ok(());
        }
        let server = TcpStream::connect(upstream)?;
        for (from, to) in [(client, &server), (&server, client)] {
            from.set_nodelay(true)?;
            state.open.push(from.try_clone()?);
            let (from, to, wire) = (from.try_clone()?, to.try_clone()?, self.clone());
            std::thread::spawn(move || {
                wire.carry(&from, &to);
                let _ = from.shutdown(Shutdown::Both);
                let _ = to.shutdown(Shutdown::Both);
            });
        }
        Ok(())
    }

    fn carry(&self, mut from: &TcpStream, mut to: &TcpStream) {
        let mut piece = vec![0; 64 * 1024];
        while let Ok(n @ 1..) = from.read(&mut piece) {
            drop(self.while_pulled());
            if to.write_all(&piece[..n]).is_err() {
                return;
            }
        }
        // The end of a connection travels as its bytes do.
        drop(self.while_pulled());
    }
}
