//! The log: one line for each request, with its ids and, if it failed, the cause; and the lines of the workers, which have
//! the ids of the request that caused the job.

use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::{Call, DedicatedShop, Proxy, Servers, User, environment, eventually, unique};

/// The ids by which the lines of one request are found.
struct Trace {
    request_id: String,
    trace_id: String,
}

impl Trace {
    fn of(name: &str) -> Self {
        Self { request_id: format!("{name}-{}", unique()), trace_id: format!("{:0>32}", unique() + &unique()) }
    }

    fn send(&self, call: Call) -> Call {
        let traceparent = format!("00-{}-00f067aa0ba902b7-01", self.trace_id);
        call.header("x-request-id", &self.request_id).header("traceparent", traceparent)
    }

    /// The lines that have one of its ids; they must have both.
    fn lines<'a>(&self, log: &'a [Value]) -> Vec<&'a Value> {
        let is_one = |line: &&Value| line["request_id"] == self.request_id || line["trace_id"] == self.trace_id;
        let lines: Vec<_> = log.iter().filter(is_one).collect();
        for line in &lines {
            assert_eq!((&line["request_id"], &line["trace_id"]), (&json!(self.request_id), &json!(self.trace_id)));
        }
        lines
    }
}

/// All lines so far: waits for the line of one more request, which comes after them.
async fn log(shop: &DedicatedShop) -> Vec<Value> {
    let last = unique();
    shop.get("/health").header("x-request-id", &last).await.is(200);
    eventually("the log is written", Duration::from_secs(5), async || {
        let lines = shop.log();
        lines.iter().any(|line| line["request_id"] == last).then_some(lines)
    })
    .await
}

async fn messages(user: &User, count: usize) {
    eventually("the messages are there", Duration::from_secs(20), async || {
        let list = user.get("/api/user/message").await.is(200);
        (list["items"].as_array().map(Vec::len) == Some(count)).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_request_and_the_jobs_it_causes_have_the_same_ids_in_the_log() {
    let servers = Servers::start().await;
    let shop = DedicatedShop::on(&servers).variable("auto_ship", false).start().await;
    let (user, admin) = (shop.user().await, shop.admin().await);
    let product = shop.product(json!({})).await;
    let check_out = async |trace: &Trace| {
        user.add_to_cart(product, 1).await;
        let order = trace.send(user.post("/api/checkout").json(json!({}))).await.is(201);
        order["order_no"].as_str().expect("an order number").to_owned()
    };
    let [checkout, payment, shipping, unpaid] = ["checkout", "payment", "shipping", "unpaid"].map(Trace::of);
    let order = check_out(&checkout).await;
    payment.send(user.pay(&order)).await.is(200);
    messages(&user, 1).await;
    let shipment = json!({ "carrier": "SF Express", "tracking_no": "SF1234567890" });
    shipping.send(admin.post(&format!("/api/order/{order}/ship")).json(shipment)).await.is(200);
    messages(&user, 2).await;
    // The timer cancels this one, and that causes a message: a job of a job has the same ids.
    let expired = check_out(&unpaid).await;
    servers.expire_order(&expired).await;
    messages(&user, 3).await;

    for (trace, order, queues) in [
        (&checkout, &order, vec![]),
        (&payment, &order, vec!["notify"]),
        (&shipping, &order, vec!["notify"]),
        (&unpaid, &expired, vec!["timer", "notify"]),
    ] {
        let name = &trace.request_id;
        let log = eventually(&format!("{name}: the jobs are in the log"), Duration::from_secs(5), async || {
            let log = log(&shop).await;
            let has =
                |queue: &str| trace.lines(&log).iter().any(|line| line["job_id"].is_number() && line["queue"] == queue);
            queues.iter().all(|queue| has(queue)).then_some(log)
        })
        .await;
        let (of_jobs, of_request): (Vec<_>, Vec<_>) =
            trace.lines(&log).into_iter().partition(|line| line.get("job_id").is_some());
        assert_eq!(of_request.len(), 1, "{name} has one line of its own: {of_request:?}");
        assert_eq!(of_request[0]["level"], "info", "{}", of_request[0]);
        for line in of_jobs {
            assert!(line["job_id"].as_i64().is_some_and(|id| id > 0), "{line}");
            assert!(line["queue"].is_string(), "{line}");
            assert_eq!((&line["order_no"], &line["attempt"]), (&json!(order), &json!(1)), "{line}");
        }
    }
}

#[tokio::test]
async fn a_malformed_traceparent_is_replaced_by_a_new_trace_id() {
    let shop = DedicatedShop::builder().start().await;
    let trace_id = "4bf92f3577b34da6a3ce929d0e0e4736";
    let mut seen = vec![trace_id.to_owned()];
    for traceparent in [
        String::new(),
        "x".repeat(300),
        trace_id.to_owned(),
        format!("00-{trace_id}-00f067aa0ba902b7"),
        format!("00-{trace_id}-00f067aa0ba902b7-01-more"),
        format!("ff-{trace_id}-00f067aa0ba902b7-01"),
        format!("00-{}-00f067aa0ba902b7-01", trace_id.to_uppercase()),
        format!("00-{}-00f067aa0ba902b7-01", &trace_id[1..]),
        format!("00-{trace_id}-00f067aa0ba902b-01"),
        format!("00-{trace_id}-0000000000000000-01"),
        format!("00-{}-00f067aa0ba902b7-01", "0".repeat(32)),
        format!("00-{trace_id}-00f067aa0ba902b7-0x"),
        "00-\"}{\"level\":\"error-00f067aa0ba902b7-01".to_owned(),
    ] {
        let id = unique();
        shop.get("/health").header("x-request-id", &id).header("traceparent", &traceparent).await.is(200);
        let log = log(&shop).await;
        let line = log.iter().find(|line| line["request_id"] == id).expect("the request's line");
        let new = line["trace_id"].as_str().unwrap_or_default().to_owned();
        let is_hex = new.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
        assert!(new.len() == 32 && is_hex && new != "0".repeat(32), "{traceparent}: {line}");
        assert!(!seen.contains(&new), "{traceparent}: not a new one: {line}");
        seen.push(new);
    }
}

#[tokio::test]
async fn a_5xx_is_one_error_line_with_its_cause_and_a_4xx_one_info_line() {
    let mysql = Proxy::to(&environment("MALL_MYSQL_URL")).await;
    let shop = DedicatedShop::builder().mysql(mysql.url()).start().await;
    let user = shop.user().await;
    let product = shop.product(json!({ "stock": 1 })).await;
    let order = user.new_order(&[(product, 1)]).await;
    let login = json!({ "username": user.username, "password": "not the password" });
    let mut refusals = Vec::new();
    for (call, status) in [
        (shop.get("/nothing"), 404),
        (shop.get("/api/cart"), 401),
        (shop.post("/api/user/login").json(login.clone()), 401),
        (user.post("/api/order").text("application/json", "{"), 400),
        (user.get("/api/order/nothing"), 404),
        (user.place_order(&[(product, 1)]), 409),
        (user.place_order(&[(product, 0)]), 422),
        (user.post("/api/product").json(json!({ "name": "Tea", "price_cents": 1, "stock": 1 })), 403),
    ] {
        let trace = Trace::of("refused");
        trace.send(call).await.is(status);
        refusals.push((trace, status));
    }
    mysql.cut();
    let mut failures = Vec::new();
    for call in [
        user.get("/api/order"),
        user.get(&format!("/api/order/{order}")),
        user.place_order(&[(product, 1)]),
        user.pay(&order),
        shop.post("/api/user/login").json(login),
    ] {
        let trace = Trace::of("failed");
        trace.send(call).await.is(503);
        failures.push(trace);
    }

    let log = log(&shop).await;
    for (trace, status) in refusals {
        let lines = trace.lines(&log);
        assert!(lines.len() <= 1, "more than one line of a {status}: {lines:?}");
        for line in lines {
            assert_eq!((&line["level"], &line["status"]), (&json!("info"), &json!(status)), "{line}");
        }
    }
    for trace in failures {
        let lines = trace.lines(&log);
        assert_eq!(lines.len(), 1, "one line of a 503: {lines:?}");
        let line = lines[0];
        assert_eq!((&line["level"], &line["status"]), (&json!("error"), &json!(503)), "{line}");
        assert!(line["cause"].as_str().is_some_and(|cause| !cause.is_empty()), "{line}");
    }
}
