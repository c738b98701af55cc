//! Health, readiness and the API documentation page.

use serde_json::json;

use crate::harness::Shop;

#[tokio::test]
async fn health_answers_200() {
    Shop::running().get("/health").await.is(200);
}

#[tokio::test]
async fn ready_names_the_databases() {
    let ready = Shop::running().get("/ready").await.is(200);
    assert_eq!((&ready["mysql"], &ready["redis"]), (&json!("ok"), &json!("ok")));
}

#[tokio::test]
async fn the_api_docs_load_nothing_from_elsewhere() {
    let reply = Shop::running().get("/api/docs").await;
    assert_eq!(reply.status, 200);
    let content_type = reply.header("content-type").unwrap_or_default();
    assert!(content_type.starts_with("text/html"), "{reply}");
    let page = String::from_utf8_lossy(&reply.body).to_lowercase();
    assert!(page.contains("<!doctype html") && page.contains("</html>"), "{reply}");
    for pattern in [
        "src=\"http",
        "src='http",
        "src=http",
        "src=\"//",
        "href=\"//",
        "@import",
        "url(http",
        "url(//",
        "fetch(\"http",
        "fetch('http",
        "import(\"http",
    ] {
        assert!(!page.contains(pattern), "the page loads something from elsewhere: {pattern}");
    }
    // `<a>` may lead elsewhere, `<link>` may not.
    for link in page.split("<link").skip(1) {
        let link = link.split('>').next().unwrap_or_default();
        assert!(!link.contains("http"), "{link}");
    }
    assert!(page.contains("openapi.json") || page.contains("/api/product"), "the page shows the API");
}
