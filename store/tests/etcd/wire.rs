//! TCP forwarder to etcd that can be interrupted: it drops all connections when told so.
#![allow(dead_code, unreachable_pub, reason = "each test uses its part")]
#![allow(clippy::unwrap_used, reason = "a test ends there")]

use std::sync::Arc;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

pub struct Wire {
    pub port: u16,
    cut: Arc<watch::Sender<bool>>,
    task: JoinHandle<()>,
}

impl Wire {
    pub async fn to(port: u16) -> Wire {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let own = listener.local_addr().unwrap().port();
        let cut = Arc::new(watch::Sender::new(false));
        let state = Arc::clone(&cut);
        let task = tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                let mut state = state.subscribe();
                tokio::spawn(async move {
                    if *state.borrow() {
                        return;
                    }
                    tokio::select! {
                        () = forward(near, port) => {}
                        _ = state.wait_for(|cut| *cut) => {}
                    }
                });
            }
        });
        Wire {
            port: own,
            cut,
            task,
        }
    }

    /// Drops all connections, and every new one.
    pub fn cut(&self) {
        self.cut.send_replace(true);
    }

    pub fn mend(&self) {
        self.cut.send_replace(false);
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn forward(mut near: TcpStream, port: u16) {
    if let Ok(mut far) = TcpStream::connect(("127.0.0.1", port)).await {
        // Both sides are dropped however the copying ends.
        let _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
    }
}
