//! The settings in `spin.toml`, and the messages about mistakes in it.

use std::os::unix::fs::PermissionsExt;
use std::time::Instant;

use crate::support::*;

const VARIABLES: &str = r#"
[variables]
host = { default = "127.0.0.1:1" }
greeting = { default = "hello" }
token = { required = true, secret = true }
"#;

fn with_variables() -> String {
    format!(
        "{VARIABLES}{}",
        web("allowed_outbound_hosts = [\"redis://{{ host }}\"]\n\
             environment = { MOOD = \"fine\" }\n\
             variables = { greeting = \"{{ greeting }}, {{ token }}!\", empty = \"\" }")
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_component_sees_its_variables_and_no_others() {
    let folder = folder();
    let mut options = options(&folder, &with_variables());
    options.variables.insert("token".into(), "secret".into());
    let app = runtime::start(options).await.unwrap();
    assert_eq!(get(&app, "/variable/greeting").await.body, "Ok(\"hello, secret!\")");
    assert_eq!(get(&app, "/variable/empty").await.body, "Ok(\"\")");
    let undefined = get(&app, "/variable/token").await.body;
    assert!(undefined.contains("Undefined") && undefined.contains("token"), "{undefined}");
    assert!(get(&app, "/variable/Token").await.body.contains("InvalidName"));
    assert_eq!(get(&app, "/environment").await.body, "[(\"MOOD\", \"fine\")]");
}

#[tokio::test(flavor = "multi_thread")]
async fn triggers_and_build_can_be_inline_tables() {
    let redis = Server::redis();
    let folder = folder();
    let mut options = options(
        &folder,
        r#"
        [trigger]
        http = [
            { route = "/seen", component = "web" },
            { route = "/variable/...", component = "web" },
        ]
        redis = [
            { address = "redis://{{ cache_auth }}{{ cache_host }}/1", channel = "one", component = "worker" },
            { address = "redis://{{ cache_auth }}{{ cache_host }}/1", channel = "two", component = "worker" },
        ]

        [variables]
        cache_host = { required = true }
        cache_auth = { default = "" }
        host = { default = "127.0.0.1:3306" }
        user = { default = "shop" }
        password = { default = "" }

        [component.web]
        source = "@/web.wasm"
        build = { command = "cargo build", watch = ["src/**/*.rs", "Cargo.toml"] }
        dependencies = { "test:math/calculator@0.1.0" = { component = "calculator" } }
        variables = { connection = "{{ host }}\n{{ user }}\n{{ password }}\n" }

        [component.worker]
        source = "@/worker.wasm"
        build = { command = "cargo build", workdir = "functions/worker", watch = [] }
        variables = { redis = "redis://{{ cache_host }}" }

        [component.calculator]
        source = "@/calculator.wasm"
        "#,
    );
    options.variables.insert("cache_host".into(), format!("127.0.0.1:{}", redis.port));
    // A value is not a template, whatever it contains.
    options.variables.insert("password".into(), "{{ user }} }}{{\\n\"%:@/".into());
    let app = runtime::start(options).await.unwrap();
    assert_eq!(get(&app, "/seen").await.body, "1");
    assert_eq!(get(&app, "/other").await.status, 404);
    let subscribed = redis_command(redis.port, "PUBSUB NUMSUB one two");
    assert_eq!(subscribed.matches(":1\r\n").count(), 2, "{subscribed}");
    let expected = "127.0.0.1:3306\nshop\n{{ user }} }}{{\\n\"%:@/\n";
    assert_eq!(get(&app, "/variable/connection").await.body, format!("Ok({expected:?})"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_variable_is_named() {
    let error = failure(&with_variables()).await;
    assert_eq!(error, "the variable \"token\" has no value: set SPIN_VARIABLE_TOKEN");
}

#[tokio::test(flavor = "multi_thread")]
async fn hosts_that_are_not_allowed_are_refused() {
    let app = start(&web("allowed_outbound_hosts = [\"redis://127.0.0.1:1\", \"mysql://127.0.0.1:1\"]")).await;
    let refused = send(&app, "POST", "/mysql", "mysql://u:p@127.0.0.1:2/db").await.body;
    assert_eq!(refused, "open: ConnectionFailed(\"the address is not permitted\"))");
    assert_eq!(send(&app, "POST", "/redis", "redis://127.0.0.1:2").await.body, "open: InvalidAddress");
    assert!(send(&app, "POST", "/http", "http://127.0.0.1:1/").await.body.contains("HttpRequestDenied"));
    // Allowed, but nothing listens there.
    assert!(send(&app, "POST", "/mysql", "mysql://u:p@127.0.0.1:1/db").await.body.contains("ConnectionFailed(\"Io("));
    assert!(send(&app, "POST", "/redis", "redis://127.0.0.1:1").await.body.contains("Other(\"Connection refused"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mistake_is_reported_in_one_line() {
    let web = web("");
    let web = web.as_str();
    for (manifest, expected) in [
        (web.replace("[component.web]", "[component.web]\nfiles = [\"a\"]"), "unknown field `files`"),
        (web.replace("[component.web]", "[component.webb]"), "a trigger refers to the component \"web\""),
        (web.replace("@/web.wasm", "@/missing.wasm"), "missing.wasm is not built"),
        (web.replace("@/web.wasm", "@/calculator.wasm"), "matches none of the component's imports"),
        (web.replace("{ component = \"calculator\" }", "{ component = \"other\" }"), "\"other\", which is not defined"),
        (web.replace("/...", "/a/:/b"), "the route"),
        (
            web.replace("source = \"@/web.wasm\"", "source = \"@/web.wasm\"\nvariables = { a = \"{{ b }}\" }"),
            "unknown variable \"b\"",
        ),
        (
            web.replace(
                "source = \"@/web.wasm\"",
                "source = \"@/web.wasm\"\nallowed_outbound_hosts = [\"redis://a/b\"]",
            ),
            "must not have a path",
        ),
        (
            "[[trigger.redis]]\nchannel = \"c\"\ncomponent = \"web\"\naddress = \"redis://secret@x:y\"\n".to_string()
                + web,
            "the Redis trigger on \"c\": its address",
        ),
        (
            "[[trigger.redis]]\nchannel = \"c\"\ncomponent = \"web\"\naddress = \"redis://127.0.0.1:1\"\n".to_string()
                + web,
            "component \"web\": it has no handler for Redis messages",
        ),
        ("= oops".into(), "line 4"),
    ] {
        let error = failure(&manifest).await;
        assert!(error.contains(expected), "{expected} in {error}");
        assert!(!error.contains("secret@"), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_in_use_is_named() {
    let app = start(&web("")).await;
    let folder = folder();
    let mut options = options(&folder, &web(""));
    options.listen = app.local_addr();
    let error = runtime::start(options).await.err().unwrap().to_string();
    assert!(error.starts_with(&format!("can't listen on {}", app.local_addr())), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn compiled_components_are_cached_and_private_to_this_user() {
    let folder = folder();
    let mut options = options(&folder, &web(""));
    let cache = folder.0.path().join("compiled");
    options.cache = Some(cache.clone());
    runtime::start(options.clone()).await.unwrap().stop().await;
    let mode = |path: &std::path::Path| path.metadata().unwrap().permissions().mode() & 0o777;
    let files: Vec<_> = cache.read_dir().unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!((files.len(), mode(&cache), mode(&files[0])), (1, 0o700, 0o600));

    let begun = Instant::now();
    let app = runtime::start(options.clone()).await.unwrap();
    assert!(begun.elapsed().as_millis() < 500, "{:?}", begun.elapsed());
    assert_eq!(get(&app, "/add/1").await.body, "2");
    app.stop().await;

    // A damaged one is compiled again. It is another file, since the first one is mapped and must not change.
    std::fs::remove_file(&files[0]).unwrap();
    std::fs::write(&files[0], "nonsense").unwrap();
    let app = runtime::start(options).await.unwrap();
    assert_eq!(get(&app, "/add/1").await.body, "2");
}
