use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

#[derive(Clone, Copy, PartialEq, Eq)]
/// What the proxy does with connections.
enum Mode {
    /// Everything passes.
    Open,
    /// Connections are closed, new ones refused.
    Cut,
    /// Connections stay open and are accepted, but nothing passes.
    Frozen,
}

/// A TCP proxy to a database that can be cut and restored, for the shop of one test.
pub struct Proxy {
    url: String,
    mode: watch::Sender<Mode>,
    received: Arc<AtomicU64>,
}

impl Proxy {
    /// To the server of this URL.
    pub async fn to(url: &str) -> Self {
        let (scheme, rest) = url.split_once("://").expect("a URL");
        let (login, host) = rest.rsplit_once('@').map_or(("", rest), |(login, host)| (login, host));
        let (authority, path) = host.split_once('/').unwrap_or((host, ""));
        let port = if scheme.starts_with("redis") { 6379 } else { 3306 };
        let server = if authority.contains(':') { authority.to_owned() } else { format!("{authority}:{port}") };
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address").to_string();
        let login = if login.is_empty() { String::new() } else { format!("{login}@") };
        let (mode, receiver) = watch::channel(Mode::Open);
        let received = Arc::default();
        tokio::spawn(serve(listener, address.clone(), server, receiver, Arc::clone(&received)));
        Self { url: format!("{scheme}://{login}{address}/{path}"), mode, received }
    }

    /// How many bytes have come from the server so far.
    pub fn received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }

    pub fn url(&self) -> &str {
        &self.url
    }

    pub fn restore(&self) {
        self.mode.send_replace(Mode::Open);
    }

    pub fn cut(&self) {
        self.mode.send_replace(Mode::Cut);
    }

    pub fn freeze(&self) {
        self.mode.send_replace(Mode::Frozen);
    }
}

async fn serve(
    listener: TcpListener,
    address: String,
    server: String,
    mut mode: watch::Receiver<Mode>,
    received: Arc<AtomicU64>,
) {
    let mut listener = Some(listener);
    let modes = mode.clone();
    loop {
        let Some(open) = &listener else {
            if mode.wait_for(|mode| *mode != Mode::Cut).await.is_err() {
                return;
            }
            listener = TcpListener::bind(&address).await.ok();
            continue;
        };
        tokio::select! {
            accepted = open.accept() => {
                if let Ok((client, _)) = accepted {
                    tokio::spawn(connect(client, server.clone(), modes.clone(), Arc::clone(&received)));
                }
            }
            gone = is_cut(&mut mode) => {
                if gone.is_err() {
                    return;
                }
                listener = None;
            }
        }
    }
}

/// Waits until the proxy is cut; an error once it is dropped.
async fn is_cut(mode: &mut watch::Receiver<Mode>) -> Result<(), watch::error::RecvError> {
    mode.wait_for(|mode| *mode == Mode::Cut).await.map(drop)
}

async fn connect(client: TcpStream, server: String, mut mode: watch::Receiver<Mode>, received: Arc<AtomicU64>) {
    if !mode.wait_for(|mode| *mode != Mode::Frozen).await.is_ok_and(|mode| *mode == Mode::Open) {
        return;
    }
    let Ok(server) = TcpStream::connect(server).await else {
        return;
    };
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let sent = AtomicU64::new(0);
    tokio::join!(pass(from_client, to_server, mode.clone(), &sent), pass(from_server, to_client, mode, &received));
}

async fn pass(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut mode: watch::Receiver<Mode>, bytes: &AtomicU64) {
    let mut buffer = vec![0; 16 * 1024];
    loop {
        let read = tokio::select! {
            read = from.read(&mut buffer) => read,
            _ = is_cut(&mut mode) => return,
        };
        let Ok(length @ 1..) = read else {
            return;
        };
        bytes.fetch_add(length as u64, Ordering::Relaxed);
        let thawed = mode.wait_for(|mode| *mode != Mode::Frozen).await;
        if !thawed.is_ok_and(|mode| *mode == Mode::Open) {
            return;
        }
        if to.write_all(&buffer[..length]).await.is_err() {
            return;
        }
    }
}
