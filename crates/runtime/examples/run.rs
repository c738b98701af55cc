//! Runs a manifest until Ctrl-C:
//! `cargo run --profile tools -p runtime --example run -- spin.toml 127.0.0.1:3000 [CACHE]`

use runtime::Options;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| "warn".into()))
        .with_writer(std::io::stderr)
        .init();
    let mut args = std::env::args().skip(1);
    let manifest = args.next().ok_or("which manifest?")?.into();
    let listen = args.next().as_deref().unwrap_or("127.0.0.1:3000").parse()?;
    let cache = args.next().map(Into::into);
    let begun = std::time::Instant::now();
    let options = Options {
        manifest,
        listen,
        variables: Default::default(),
        cache,
        max_connections: None,
        max_connections_per_address: runtime::MAX_CONNECTIONS_PER_ADDRESS,
    };
    let app = runtime::start(options).await?;
    eprintln!("http://{} after {:?}", app.local_addr(), begun.elapsed());
    tokio::signal::ctrl_c().await?;
    app.stop().await;
    Ok(())
}
