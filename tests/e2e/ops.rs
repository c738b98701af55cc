//! Health, readiness and the page of the API.

use serde_json::json;

use crate::harness::Shop;

#[tokio::test]
async fn health_is_fine_while_the_function_runs() {
    Shop::running().get("/health").await.is(200);
}

#[tokio::test]
async fn ready_names_what_the_shop_stands_on() {
    let ready = Shop::running().get("/ready").await.is(200);
    assert_eq!((&ready["mysql"], &ready["redis"]), (&json!("ok"), &json!("ok")));
}

#[tokio::test]
async fn the_page_of_the_api_works_without_the_network() {
    let reply = Shop::running().get("/api/docs").await;
    assert_eq!(reply.status, 200);
    let content_type = reply.header("content-type").unwrap_or_default();
    assert!(content_type.starts_with("text/html"), "{reply}");
    let page = String::from_utf8_lossy(&reply.body).to_lowercase();
    assert!(page.contains("<!doctype html") && page.contains("</html>"), "{reply}");
    for outside in [
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
        assert!(!page.contains(outside), "the page loads something from outside: {outside}");
    }
    // A link may lead outside; what a page needs may not come from there.
    for link in page.split("<link").skip(1) {
        let link = link.split('>').next().unwrap_or_default();
        assert!(!link.contains("http"), "{link}");
    }
    assert!(page.contains("openapi.json") || page.contains("/api/product"), "it shows the API");
}
