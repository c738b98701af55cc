//! What `spin.toml` says, and what is said of it.

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
async fn a_variable_without_a_value_is_named() {
    let error = failure(&with_variables()).await;
    assert_eq!(error, "the variable \"token\" has no value: set SPIN_VARIABLE_TOKEN");
}

#[tokio::test(flavor = "multi_thread")]
async fn hosts_that_are_not_granted_are_refused() {
    let app = start(&web("allowed_outbound_hosts = [\"redis://127.0.0.1:1\", \"mysql://127.0.0.1:1\"]")).await;
    let address = "mysql://u:p@127.0.0.1:2/db";
    let refused = send(&app, "POST", "/mysql", address).await.body;
    assert_eq!(refused, format!("open: ConnectionFailed(\"address {address} is not permitted\"))"));
    assert_eq!(send(&app, "POST", "/redis", "redis://127.0.0.1:2").await.body, "open: InvalidAddress");
    assert!(send(&app, "POST", "/http", "http://127.0.0.1:1/").await.body.contains("HttpRequestDenied"));
    // Granted, but nobody is there.
    assert!(send(&app, "POST", "/mysql", "mysql://u:p@127.0.0.1:1/db").await.body.contains("ConnectionFailed(\"Io("));
    assert!(send(&app, "POST", "/redis", "redis://127.0.0.1:1").await.body.contains("Other(\"Connection refused"));
}

#[tokio::test(flavor = "multi_thread")]
async fn mistakes_are_told_in_one_line() {
    let web = web("");
    let web = web.as_str();
    for (manifest, expected) in [
        (web.replace("[component.web]", "[component.web]\nfiles = [\"a\"]"), "unknown field `files`"),
        (web.replace("[component.web]", "[component.webb]"), "a trigger names the component \"web\""),
        (web.replace("@/web.wasm", "@/missing.wasm"), "missing.wasm is not built"),
        (web.replace("@/web.wasm", "@/calculator.wasm"), "matches none of the component's imports"),
        (web.replace("{ component = \"calculator\" }", "{ component = \"nobody\" }"), "\"nobody\", which isn't there"),
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
            "component \"web\": it doesn't handle messages",
        ),
        ("= oops".into(), "line 4"),
    ] {
        let error = failure(&manifest).await;
        assert!(error.contains(expected), "{expected} in {error}");
        assert!(!error.contains("secret@"), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_that_is_taken_is_named() {
    let app = start(&web("")).await;
    let folder = folder();
    let mut options = options(&folder, &web(""));
    options.listen = app.local_addr();
    let error = runtime::start(options).await.err().unwrap().to_string();
    assert!(error.starts_with(&format!("can't listen on {}", app.local_addr())), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn compiled_components_are_kept_for_this_user_alone() {
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

    // One that is damaged is made again. Another file: what is mapped of the first one must stay as it is.
    std::fs::remove_file(&files[0]).unwrap();
    std::fs::write(&files[0], "nonsense").unwrap();
    let app = runtime::start(options).await.unwrap();
    assert_eq!(get(&app, "/add/1").await.body, "2");
}
