use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Line {
    /// Everything passes.
    Open,
    /// Connections are closed, new ones refused.
    Cut,
    /// Connections stand and are accepted, but nothing passes.
    Frozen,
}

/// A line to a database that can be cut and mended, so that only the shop of one test notices.
pub struct Proxy {
    url: String,
    line: watch::Sender<Line>,
}

impl Proxy {
    /// Before the server of this URL.
    pub async fn before(url: &str) -> Self {
        let (scheme, rest) = url.split_once("://").expect("a URL");
        let (login, place) = rest.rsplit_once('@').map_or(("", rest), |(login, place)| (login, place));
        let (authority, path) = place.split_once('/').unwrap_or((place, ""));
        let port = if scheme.starts_with("redis") { 6379 } else { 3306 };
        let server = if authority.contains(':') { authority.to_owned() } else { format!("{authority}:{port}") };
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address").to_string();
        let login = if login.is_empty() { String::new() } else { format!("{login}@") };
        let (line, seen) = watch::channel(Line::Open);
        tokio::spawn(serve(listener, address.clone(), server, seen));
        Self { url: format!("{scheme}://{login}{address}/{path}"), line }
    }

    pub fn url(&self) -> &str {
        &self.url
    }

    pub fn mend(&self) {
        self.line.send_replace(Line::Open);
    }

    pub fn cut(&self) {
        self.line.send_replace(Line::Cut);
    }

    pub fn freeze(&self) {
        self.line.send_replace(Line::Frozen);
    }
}

async fn serve(listener: TcpListener, address: String, server: String, mut line: watch::Receiver<Line>) {
    let mut listener = Some(listener);
    let lines = line.clone();
    loop {
        let Some(open) = &listener else {
            if line.wait_for(|line| *line != Line::Cut).await.is_err() {
                return;
            }
            listener = TcpListener::bind(&address).await.ok();
            continue;
        };
        tokio::select! {
            accepted = open.accept() => {
                if let Ok((client, _)) = accepted {
                    tokio::spawn(connect(client, server.clone(), lines.clone()));
                }
            }
            gone = is_cut(&mut line) => {
                if gone.is_err() {
                    return;
                }
                listener = None;
            }
        }
    }
}

/// Waits for the cut; an error when the proxy is no longer needed.
async fn is_cut(line: &mut watch::Receiver<Line>) -> Result<(), watch::error::RecvError> {
    line.wait_for(|line| *line == Line::Cut).await.map(drop)
}

async fn connect(client: TcpStream, server: String, mut line: watch::Receiver<Line>) {
    if !line.wait_for(|line| *line != Line::Frozen).await.is_ok_and(|line| *line == Line::Open) {
        return;
    }
    let Ok(server) = TcpStream::connect(server).await else {
        return;
    };
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    tokio::join!(pass(from_client, to_server, line.clone()), pass(from_server, to_client, line),);
}

async fn pass(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut line: watch::Receiver<Line>) {
    let mut buffer = vec![0; 16 * 1024];
    loop {
        let read = tokio::select! {
            read = from.read(&mut buffer) => read,
            _ = is_cut(&mut line) => return,
        };
        let Ok(length @ 1..) = read else {
            return;
        };
        let thawed = line.wait_for(|line| *line != Line::Frozen).await;
        if !thawed.is_ok_and(|line| *line == Line::Open) {
            return;
        }
        if to.write_all(&buffer[..length]).await.is_err() {
            return;
        }
    }
}
