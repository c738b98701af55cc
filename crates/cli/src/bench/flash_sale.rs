//! A flash sale: purchases accepted and refused per second, how fast tickets become orders, and how many purchases a
//! native client and a native service make with the same script.

use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, bail};
use hyper::Method;
use load::{
    flash_sale::{admin_token, token},
    http::{Client, request},
    plan::{Flow, Outcome, Plan, Work},
    table::{self, Row},
};
use mysql_async::{Conn, prelude::Queryable};
use serde_json::json;

use super::{
    Arguments,
    subject::{Load, Subject},
};
use crate::{database, servers, temporary_shop::TemporaryShop, tick};

const SHOPPERS: i64 = 20_000;
const PLENTY: i64 = 10_000_000;

/// Inserts shoppers directly: they never sign in, so their passwords need no hash. Returns the first of their ids, which
/// are consecutive, and how many they are.
pub async fn insert_shoppers(mysql: &mut Conn) -> anyhow::Result<(i64, i64)> {
    let first: i64 = database::one(mysql, "SELECT MAX(id) + 1 FROM users", ()).await?;
    let ids: Vec<i64> = (first..first + SHOPPERS).collect();
    for ids in ids.chunks(1000) {
        let rows: Vec<_> = ids.iter().map(|id| format!("({id}, 'shopper-{id}', '', 'user', 0)")).collect();
        let sql =
            format!("INSERT INTO users (id, username, password_hash, role, created_at) VALUES {}", rows.join(","));
        mysql.query_drop(sql).await?;
    }
    Ok((first, SHOPPERS))
}

/// Sets up a sale that runs for an hour, through the API.
pub async fn create(client: &mut Client, admin: &str, product: i64, stock: i64) -> anyhow::Result<i64> {
    const HOUR: Duration = Duration::from_secs(3600);
    let time = |time: SystemTime| humantime::format_rfc3339_millis(time).to_string();
    let now = SystemTime::now();
    let sale = json!({ "product_id": product, "stock": stock, "price_cents": 1, "per_user_limit": 1000,
                       "starts_at": time(now), "ends_at": time(now + HOUR) });
    let made = client.json(request(Method::POST, "/api/seckill/init", Some(admin), Some(&sale))).await?;
    made["activity_id"].as_i64().context("a sale without an id")
}

/// Sets up a sale in Redis alone: its tickets are not booked, so that booking takes no time from what is measured.
async fn create_in_redis(redis: &mut redis::aio::MultiplexedConnection, activity: i64) -> anyhow::Result<()> {
    let mut command = redis::cmd("HSET");
    command.arg(format!("{{sk:{activity}}}:sale")).arg("starts").arg(0).arg("ends").arg(i64::MAX / 2);
    command.arg("left").arg(PLENTY).arg("limit").arg(1000).arg("stock").arg(PLENTY);
    Ok(command.query_async(redis).await?)
}

pub async fn run(scratch: &TemporaryShop, arguments: &Arguments) -> anyhow::Result<()> {
    let connections = 64;
    let unlimited = [("seckill_rate", "1000000"), ("seckill_burst", "1000000")];
    let shop = Subject::shop_with(scratch, &unlimited).await?;
    let native = Subject::native(scratch).await?;
    let spin = Subject::spin_with(scratch, &unlimited).await?;
    let secret = scratch.variables.get("jwt_secret").context("no secret")?;
    let mut mysql = database::connect(&scratch.databases.mysql).await?;
    let mut redis = servers::connect_redis(&scratch.databases.redis).await?;
    // The shoppers' ids follow that of the last user, so there must be one.
    super::shoppers::sign_in(shop.address, 1).await?;
    let (first, _) = insert_shoppers(&mut mysql).await?;
    let tokens = (first..first + SHOPPERS).map(|user| token(secret, user)).collect::<anyhow::Result<Vec<_>>>()?;
    let products = super::shoppers::stock_up(scratch).await?;
    let mut client = Client::connect(shop.address).await?;
    let admin = admin_token(secret, first)?;
    let (sold_out, product) = (create(&mut client, &admin, products[1], 1).await?, products[0]);
    let mut unbooked_sales = PLENTY..;
    let (for_client, for_native) = (PLENTY - 1, PLENTY - 2);
    create_in_redis(&mut redis, for_client).await?;
    create_in_redis(&mut redis, for_native).await?;

    let purchase = |subject: &Subject, activity, status| Work::Http {
        address: subject.address,
        flow: Flow::FlashSale { activity, status },
        shoppers: tokens.clone(),
        products: vec![],
    };
    let health = |subject: &Subject| Work::Http {
        address: subject.address,
        flow: Flow::Health,
        shoppers: vec![],
        products: vec![],
    };
    let plan = |work: Work, pause| Plan {
        work,
        connections,
        warm_up: Duration::from_millis(500),
        duration: Duration::from_secs_f64(arguments.seconds()),
        pause,
    };
    let mut rows = Vec::new();
    // Buys the only unit.
    client
        .send(request(
            Method::POST,
            "/api/seckill",
            tokens.first().map(String::as_str),
            Some(&json!({ "activity_id": sold_out })),
        ))
        .await?;
    let mut accepted = Outcome::default();
    for round in 0..arguments.rounds() {
        let sale = unbooked_sales.next().context("no number")?;
        create_in_redis(&mut redis, sale).await?;
        let mut outcomes = vec![
            ("GET /health", Load::start(&plan(health(&shop), Duration::ZERO))?.finish().await?),
            ("accepted", Load::start(&plan(purchase(&shop, sale, 202), Duration::ZERO))?.finish().await?),
            ("sold out", Load::start(&plan(purchase(&shop, sold_out, 409), Duration::ZERO))?.finish().await?),
            (
                "yardstick: the script, native client",
                Load::start(&plan(
                    Work::RedisBuy { url: scratch.databases.redis.to_url(), activity: for_client },
                    Duration::ZERO,
                ))?
                .finish()
                .await?,
            ),
            (
                "yardstick: native axum, the script",
                Load::start(&plan(purchase(&native, for_native, 202), Duration::ZERO))?.finish().await?,
            ),
        ];
        if let Some(spin) = &spin {
            let sale = unbooked_sales.next().context("no number")?;
            create_in_redis(&mut redis, sale).await?;
            outcomes.push(("spin up: GET /health", Load::start(&plan(health(spin), Duration::ZERO))?.finish().await?));
            outcomes.push((
                "spin up: accepted",
                Load::start(&plan(purchase(spin, sale, 202), Duration::ZERO))?.finish().await?,
            ));
        }
        accepted = outcomes[1].1.clone();
        for (place, (name, outcome)) in outcomes.into_iter().enumerate() {
            if round == 0 {
                rows.push((name, vec![outcome]));
            } else if let Some((_, all)) = rows.get_mut(place) {
                all.push(outcome);
            }
        }
    }
    // Paced to four fifths of that throughput.
    let pause =
        Duration::from_secs_f64(connections as f64 / (accepted.per_second * 0.8)).saturating_sub(accepted.p50 / 2);
    let sale = unbooked_sales.next().context("no number")?;
    create_in_redis(&mut redis, sale).await?;
    let paced = Load::start(&plan(purchase(&shop, sale, 202), pause))?.finish().await?;
    rows.push(("accepted, at a measured pace", vec![paced]));
    let sale = create(&mut client, &admin, product, PLENTY).await?;
    let both = Load::start(&plan(purchase(&shop, sale, 202), Duration::ZERO))?.finish().await?;
    rows.push(("accepted, while tickets become orders", vec![both]));

    let rows: Vec<_> = rows.into_iter().map(|(name, rounds)| Row { name: name.to_owned(), rounds }).collect();
    println!(
        "\nflash sale, {connections} connections, {} × {} s each, interleaved",
        arguments.rounds(),
        arguments.seconds()
    );
    table::print(&rows);
    println!();
    for (name, of, target) in [
        ("accepted", "yardstick: native axum, the script", "at least 60 %"),
        ("accepted", "yardstick: the script, native client", "no target"),
        ("sold out", "GET /health", "at least 70 %"),
        ("spin up: accepted", "spin up: GET /health", "at least 50 %"),
    ] {
        table::compare(&rows, name, of, target);
    }
    let sale = create(&mut client, &admin, product, PLENTY).await?;
    booking(scratch, &mut mysql, &mut redis, sale, first).await?;
    for subject in [Some(shop), Some(native), spin].into_iter().flatten() {
        subject.stop();
    }
    Ok(())
}

/// How fast tickets become orders when the shop does nothing else.
async fn booking(
    scratch: &TemporaryShop,
    mysql: &mut Conn,
    redis: &mut redis::aio::MultiplexedConnection,
    sale: i64,
    first: i64,
) -> anyhow::Result<()> {
    const RECENT: &str = "SELECT MAX(created_at) > (UNIX_TIMESTAMP(NOW(3)) - 3) * 1000 FROM seckill_tickets";
    const BOOKED: &str = "SELECT COUNT(*) FROM seckill_tickets WHERE activity_id = ?";
    const TICKETS: i64 = 20_000;
    // Tickets from before are booked first: this waits until none has been for 3 s.
    let patience = Duration::from_secs(120);
    let begun = Instant::now();
    while database::one::<Option<i64>>(mysql, RECENT, ()).await? == Some(1) {
        if begun.elapsed() > patience {
            bail!("the tickets did not become orders within {} s", patience.as_secs());
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    let mut tickets = redis::pipe();
    for number in 0..TICKETS {
        let key = format!("{{sk:{sale}}}:stream");
        let user = first + number % SHOPPERS;
        tickets
            .cmd("XADD")
            .arg(key)
            .arg("*")
            .arg("ticket")
            .arg(format!("{sale:x}.{number}"))
            .arg("user")
            .arg(user)
            .ignore();
    }
    tickets.query_async::<()>(redis).await?;
    let begun = Instant::now();
    tick::wake_workers(&scratch.project, &scratch.databases.redis).await?;
    while database::one::<i64>(mysql, BOOKED, (sale,)).await? < TICKETS {
        if begun.elapsed() > patience {
            bail!("the tickets did not become orders within {} s", patience.as_secs());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let rate = TICKETS as f64 / begun.elapsed().as_secs_f64();
    println!("\n{TICKETS} tickets became orders, {rate:.0} a second (at least 2000)");
    Ok(())
}
