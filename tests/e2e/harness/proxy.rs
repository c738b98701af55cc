use std::sync::atomic::{AtomicU8, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};

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

/// What to do when the server has answered a COMMIT, instead of passing the answer at once.
pub enum AtCommit {
    /// Close the connection.
    Close,
    /// Cut the proxy.
    Cut,
    /// Freeze another proxy, then pass the answer.
    Freeze(Proxy),
}

/// A text of a statement, and what to do at the commit of a transaction with it.
type Trap = Arc<Mutex<Option<(&'static str, AtCommit)>>>;

/// A TCP proxy to a database that can be cut and restored, for the shop of one test.
#[derive(Clone)]
pub struct Proxy {
    url: String,
    mode: watch::Sender<Mode>,
    at_commit: Trap,
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
        let mode = watch::Sender::new(Mode::Open);
        let at_commit = Trap::default();
        let proxy =
            Self { url: format!("{scheme}://{login}{address}/{path}"), mode, at_commit, received: Arc::default() };
        tokio::spawn(serve(listener, address, server, proxy.clone()));
        proxy
    }

    /// How many bytes have come from the server so far.
    pub fn received(&self) -> u64 {
        self.received.load(Relaxed)
    }

    pub fn url(&self) -> &str {
        &self.url
    }

    pub fn restore(&self) {
        self.mode.send_replace(Mode::Open);
    }

    /// For the next transaction with a statement that contains `text`, on a connection that has had none before: only the
    /// texts of statements are recognised, each of which is sent once.
    pub fn at_commit(&self, text: &'static str, action: AtCommit) {
        *self.at_commit.lock().expect("a lock") = Some((text, action));
    }

    pub fn cut(&self) {
        self.mode.send_replace(Mode::Cut);
    }

    pub fn freeze(&self) {
        self.mode.send_replace(Mode::Frozen);
    }
}

async fn serve(listener: TcpListener, address: String, server: String, proxy: Proxy) {
    let mut listener = Some(listener);
    let mut mode = proxy.mode.subscribe();
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
                    tokio::spawn(connect(client, server.clone(), proxy.clone()));
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

async fn connect(client: TcpStream, server: String, proxy: Proxy) {
    let mut mode = proxy.mode.subscribe();
    if !mode.wait_for(|mode| *mode != Mode::Frozen).await.is_ok_and(|mode| *mode == Mode::Open) {
        return;
    }
    let Ok(server) = TcpStream::connect(server).await else {
        return;
    };
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let commit = AtomicU8::new(0);
    // When one direction ends, so does the other.
    tokio::select! {
        () = pass(from_client, to_server, &proxy, |bytes| {
            let contains = |text: &str| bytes.windows(text.len()).any(|window| window == text.as_bytes());
            let trap = proxy.at_commit.lock().expect("a lock");
            match (commit.load(Relaxed), &*trap) {
                (0, Some((text, _))) if contains(text) => commit.store(MARKED, Relaxed),
                // First the statement is prepared, then it is executed.
                (MARKED, _) if contains("COMMIT") => commit.store(PREPARED, Relaxed),
                (PREPARED, _) => commit.store(EXECUTED, Relaxed),
                _ => {}
            }
            true
        }) => {}
        () = pass(from_server, to_client, &proxy, |bytes| {
            proxy.received.fetch_add(bytes.len() as u64, Relaxed);
            if commit.load(Relaxed) != EXECUTED {
                return true;
            }
            let trap = proxy.at_commit.lock().expect("a lock").take();
            match trap.map(|(_, action)| action) {
                None => true,
                Some(AtCommit::Close) => false,
                Some(AtCommit::Cut) => {
                    proxy.cut();
                    false
                }
                Some(AtCommit::Freeze(other)) => {
                    other.freeze();
                    true
                }
            }
        }) => {}
    }
}

const MARKED: u8 = 1;
const PREPARED: u8 = 2;
const EXECUTED: u8 = 3;

/// Passes bytes on until the connection or the proxy ends, or `may_pass` returns false.
async fn pass(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, proxy: &Proxy, may_pass: impl Fn(&[u8]) -> bool) {
    let mut mode = proxy.mode.subscribe();
    let mut buffer = vec![0; 16 * 1024];
    loop {
        let read = tokio::select! {
            read = from.read(&mut buffer) => read,
            _ = is_cut(&mut mode) => return,
        };
        let Ok(length @ 1..) = read else {
            return;
        };
        let thawed = mode.wait_for(|mode| *mode != Mode::Frozen).await;
        if !thawed.is_ok_and(|mode| *mode == Mode::Open) {
            return;
        }
        if !may_pass(&buffer[..length]) {
            return;
        }
        if to.write_all(&buffer[..length]).await.is_err() {
            return;
        }
    }
}
