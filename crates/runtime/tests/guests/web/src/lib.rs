//! A function for the tests: the path says what it does, and the reply what it saw.

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::Duration;

use http_body_util::BodyExt;
use spin_sdk::http::{IntoResponse, Request};
use spin_sdk::redis::{RedisParameter, RedisResult};
use spin_sdk::{http_service, mysql, redis, time, variables};

mod calculator {
    wit_bindgen::generate!({
        inline: "
            package test:math@0.1.0;
            interface calculator { add: func(a: u32, b: u32) -> u32; }
            world user { import calculator; }
        ",
    });
    pub use test::math::calculator::add;
}

/// How many requests this instance has seen.
static SEEN: AtomicU32 = AtomicU32::new(0);
/// How many bodies ended with an error.
static BROKEN: AtomicU32 = AtomicU32::new(0);

#[http_service]
async fn handle(request: Request) -> impl IntoResponse {
    let seen = SEEN.fetch_add(1, Relaxed) + 1;
    let (parts, body) = request.into_parts();
    let body = body.collect().await.map(|body| body.to_bytes()).unwrap_or_else(|_| {
        BROKEN.fetch_add(1, Relaxed);
        Default::default()
    });
    let body = String::from_utf8_lossy(&body).into_owned();
    let path = parts.uri.path().to_string();
    let (what, argument) = path[1..].split_once('/').unwrap_or((&path[1..], ""));
    let number = argument.parse().unwrap_or(0);
    match what {
        "headers" => {
            let mut lines: Vec<_> = parts.headers.iter().map(|(k, v)| format!("{k}: {}", v.to_str().unwrap())).collect();
            lines.sort();
            format!("{} {}\n{}", parts.method, parts.uri, lines.join("\n"))
        }
        "seen" => seen.to_string(),
        "broken" => BROKEN.load(Relaxed).to_string(),
        "echo" => body,
        "large" => "x".repeat((number as usize) << 20),
        "print" => {
            for n in 0..number {
                println!("line {n} of {body}");
            }
            eprint!("no newline");
            String::new()
        }
        "add" => calculator::add(number as u32, 1).to_string(),
        "variable" => format!("{:?}", variables::get(argument).await),
        "environment" => format!("{:?}", std::env::vars().collect::<Vec<_>>()),
        "sleep" => {
            time::sleep(Duration::from_millis(number)).await;
            "slept".into()
        }
        "later" => {
            spin_sdk::wasip3::spawn(async move {
                time::sleep(Duration::from_millis(number)).await;
                println!("later");
            });
            "now".into()
        }
        "trap" => panic!("as asked"),
        "compute" => loop {
            std::hint::black_box(number);
        },
        "memory" => {
            let block = std::hint::black_box(vec![1u8; (number as usize) << 20]);
            block.len().to_string()
        }
        "mysql" => run_mysql(&body).await,
        "redis" => run_redis(&body).await,
        "http" => {
            let request = Request::get(body).body(spin_sdk::http::EmptyBody::new()).unwrap();
            match spin_sdk::http::send(request).await {
                Ok(response) => response.status().to_string(),
                Err(error) => format!("{error:?}"),
            }
        }
        _ => format!("? {path}"),
    }
}

/// The first line is the address, each other one `execute …`, `query …` or `sleep …` on that one connection.
async fn run_mysql(script: &str) -> String {
    let mut lines = script.lines();
    let connection = match mysql::Connection::open(lines.next().unwrap_or_default()).await {
        Ok(connection) => connection,
        Err(error) => return format!("open: {error:?}"),
    };
    let mut answers = Vec::new();
    for line in lines {
        let (verb, rest) = line.split_once(' ').unwrap();
        answers.push(match verb {
            "execute" => format!("{:?}", connection.execute(rest, vec![]).await),
            "query" => match connection.query(rest, vec![]).await {
                Ok(mut result) => {
                    let columns: Vec<_> = result.columns().iter().map(|c| format!("{} {:?}", c.name, c.data_type)).collect();
                    let mut rows = Vec::new();
                    while let Some(row) = result.rows().next().await {
                        rows.push(row);
                    }
                    format!("{columns:?} {rows:?} {:?}", result.result().await)
                }
                Err(error) => format!("query: {error:?}"),
            },
            "sleep" => {
                time::sleep(Duration::from_millis(rest.parse().unwrap())).await;
                String::new()
            }
            _ => unreachable!(),
        });
    }
    answers.join("\n")
}

/// The first line is the address, each other one a command.
async fn run_redis(script: &str) -> String {
    let mut lines = script.lines();
    let connection = match redis::Connection::open(lines.next().unwrap_or_default()).await {
        Ok(connection) => connection,
        Err(error) => return format!("open: {error:?}"),
    };
    let mut answers = Vec::new();
    for line in lines {
        let mut words = line.split(' ');
        let command = words.next().unwrap();
        let arguments = words.map(|word| RedisParameter::Binary(word.replace('~', " ").into_bytes()));
        let answer = connection.execute(command, arguments).await;
        answers.push(match answer {
            Ok(results) => results
                .iter()
                .map(|result| match result {
                    RedisResult::Binary(bytes) => String::from_utf8_lossy(bytes).into_owned(),
                    other => format!("{other:?}"),
                })
                .collect::<Vec<_>>()
                .join(" "),
            Err(error) => format!("{error:?}"),
        });
    }
    answers.join("\n")
}
