//! MySQL as components see it.

use std::time::{Duration, Instant};

use runtime::App;

use crate::support::*;

async fn mysql(app: &App, script: impl AsRef<str>) -> Vec<String> {
    send(app, "POST", "/mysql", script.as_ref()).await.body.lines().map(String::from).collect()
}

fn allowed(server: &Server) -> String {
    web(&format!("allowed_outbound_hosts = [\"mysql://127.0.0.1:{}\"]", server.port))
}

#[tokio::test(flavor = "multi_thread")]
async fn values_errors_and_sessions_are_as_in_spin() {
    let mut server = Server::mysql();
    let app = start(&allowed(&server)).await;
    types(&app, &server.mysql_url()).await;
    errors(&app, &server.mysql_url()).await;
    sessions(&app, &server.mysql_url()).await;
    connections(&app, &mut server).await;
}

async fn types(app: &App, url: &str) {
    let table = "CREATE TABLE v (a BIGINT, b BIGINT UNSIGNED, c INT, d BOOLEAN)";
    let made = mysql(app, format!("{url}\nexecute {table}\nexecute INSERT INTO v VALUES (-5, 5, 7, true)")).await;
    assert_eq!(made, ["Ok(())", "Ok(())"]);
    for (expression, expected) in [
        ("MAX(a)", "Int64(-5)"),
        ("MAX(b)", "Uint64(5)"),
        ("MAX(c)", "Int32(7)"),
        ("MAX(d)", "Int8(1)"),
        ("1.5e0", "Floating64(1.5)"),
        ("NULL", "DbNull"),
        ("'ü'", "Str(\"ü\")"),
        ("CAST('a' AS BINARY)", "Binary([97])"),
        ("'a' COLLATE utf8mb4_bin", "Binary([97])"),
        ("COUNT(*)", "Int64(1)"),
    ] {
        let answer = mysql(app, format!("{url}\nquery SELECT {expression} AS x FROM v")).await;
        assert!(answer[0].ends_with(&format!("[[{expected}]] Ok(())")), "{expression}: {answer:?}");
    }
    for expression in ["CAST(1.5 AS DECIMAL(3,1))", "NOW()", "CURRENT_DATE", "SUM(1)"] {
        let answer = mysql(app, format!("{url}\nquery SELECT {expression} AS x\nquery SELECT 1 AS y")).await;
        assert!(answer[0].contains("x Other"), "{answer:?}");
        assert!(answer[0].contains("[] Err(ValueConversionFailed(\"Cannot convert value"), "{answer:?}");
        // The connection can still be used.
        assert!(answer[1].ends_with("Ok(())"), "{answer:?}");
    }
    let rows = mysql(app, format!("{url}\nquery SELECT seq AS n FROM seq_1_to_2000")).await;
    assert_eq!(rows[0].matches("64(").count(), 2000);
}

async fn errors(app: &App, url: &str) {
    let answers = mysql(
        app,
        format!(
            "{url}\nexecute CREATE TABLE u (id INT PRIMARY KEY, j JSON) COLLATE utf8mb4_bin\nexecute INSERT INTO u VALUES (1, '{{}}')\n\
             execute INSERT INTO u VALUES (1, '{{}}')\nquery SELECT nothing FROM nowhere\nexecute SELEC\nquery UPDATE u SET id = 2\nexecute SELECT ?"
        ),
    )
    .await;
    assert_eq!(answers[..2], ["Ok(())", "Ok(())"]);
    assert!(answers[2].contains("QueryFailed(\"Server(ServerError { code: 1062,"), "{}", answers[2]);
    assert_eq!(answers[3], "query: Other(\"async error: channel closed\"))");
    assert!(answers[4].contains("code: 1064"), "{}", answers[4]);
    assert_eq!(answers[5], "[] [] Ok(())");
    assert!(answers[6].contains("QueryFailed(\"Driver("), "{}", answers[6]);
    let wrong_user = mysql(app, &url.replace("mall:", "nobody:")).await;
    assert!(wrong_user[0].contains("ConnectionFailed(\"Server(ServerError { code: 1045"), "{}", wrong_user[0]);
}

async fn sessions(app: &App, url: &str) {
    let id = format!("{url}\nquery SELECT CONNECTION_ID() AS id, @@autocommit AS a, DATABASE() AS d, @mine AS m");
    let begun = format!(
        "{id}\nexecute SET autocommit=0\nexecute SET @mine = 1\nexecute CREATE TABLE IF NOT EXISTS t (id INT)\nexecute INSERT INTO t VALUES (1)"
    );
    let first = mysql(app, &begun).await;
    assert!(first.iter().skip(1).all(|line| line == "Ok(())"), "{first:?}");
    // The same connection, reset. It may not be back in the pool at once, and others may lie above it then.
    let mut at_once = 0;
    let second = loop {
        at_once += 1;
        assert!(at_once < 10, "{} was not reused", first[0]);
        let answers = (0..at_once).map(|_| mysql(app, format!("{id}\nquery SELECT id FROM t")));
        let answers = futures::future::join_all(answers).await;
        if let Some(same) = answers.into_iter().find(|answer| answer[0] == first[0]) {
            break same;
        }
    };
    assert!(second[0].contains("Str(\"shop\"), DbNull"), "{}", second[0]);
    assert!(second[1].ends_with(" [] Ok(())"), "{}", second[1]);
    // A connection whose database was changed is not used again.
    let changed = mysql(app, format!("{id}\nexecute USE other")).await;
    assert_eq!(changed[1], "Ok(())");
    for _ in 0..5 {
        let third = mysql(app, &id).await;
        assert!(third[0].contains("Str(\"shop\")") && third[0] != changed[0], "{}", third[0]);
    }
}

async fn connections(app: &App, server: &mut Server) {
    let url = server.mysql_url();
    // A pooled connection that the server has closed.
    let killed = mysql(app, format!("{url}\nexecute KILL CONNECTION_ID()\nquery SELECT 1 AS x")).await;
    assert!(killed[0].contains("QueryFailed"), "{killed:?}");
    let idle =
        futures::future::join_all((0..5).map(|_| mysql(app, format!("{url}\nquery SELECT SLEEP(0.1) AS x")))).await;
    assert!(idle.iter().all(|answer| answer[0].ends_with("Ok(())")), "{idle:?}");
    server.stop();
    let begun = Instant::now();
    let gone = mysql(app, &url).await;
    assert!(gone[0].contains("ConnectionFailed"), "{gone:?}");
    assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
    server.start_mysql();
    let back = mysql(app, format!("{url}\nquery SELECT 1 AS x")).await;
    assert!(back[0].ends_with("Ok(())"), "{back:?}");
}
