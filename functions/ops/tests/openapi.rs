//! `openapi.json` is what the functions say of themselves. To write it anew: `BLESS=1 cargo test --package ops`.

use std::path::Path;

use kit::{Code, ProblemBody};
use utoipa::{
    OpenApi,
    openapi::{
        self, Components, ContentBuilder, Ref, Response, ResponseBuilder,
        path::Operation,
        security::{HttpAuthScheme, HttpBuilder, SecurityScheme},
    },
};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "wasmall",
        description = "The back end of an online shop. Money is in minor units, time is RFC 3339 in UTC, \
                       errors are RFC 9457 problem details with a stable `code`."
    ),
    components(schemas(ProblemBody, Code)),
    tags(
        (name = "accounts", description = "Sign up, sign in, sign out"),
        (name = "staff", description = "For who works for the shop"),
        (name = "catalogue", description = "Products and categories"),
        (name = "cart", description = "The cart"),
        (name = "orders", description = "From the cart to a paid order"),
        (name = "promotions", description = "What is taken off, for everybody or for a code"),
        (name = "flash sale", description = "Ten thousand buyers, fifty units, fifty orders"),
        (name = "operation", description = "For who runs the shop"),
    )
)]
struct Whole;

fn whole() -> openapi::OpenApi {
    let mut whole = Whole::openapi();
    for (function, mut part) in [
        ("register", register::Api::openapi()),
        ("login", login::Api::openapi()),
        ("catalog", catalog::Api::openapi()),
        ("cart", cart::Api::openapi()),
        ("checkout", checkout::Api::openapi()),
        ("orders", orders::Api::openapi()),
        ("pay", pay::Api::openapi()),
        ("refund", refund::Api::openapi()),
        ("account", account::Api::openapi()),
        ("oidc", oidc::Api::openapi()),
        ("admin", admin::Api::openapi()),
        ("promotions", promotions::Api::openapi()),
        ("seckill", seckill::Api::openapi()),
        ("ops", ops::Api::openapi()),
    ] {
        // Functions have handlers of the same names.
        operations(&mut part).for_each(|o| o.operation_id = o.operation_id.take().map(|id| format!("{function}_{id}")));
        whole.merge(part);
    }
    let bearer = SecurityScheme::Http(HttpBuilder::new().scheme(HttpAuthScheme::Bearer).bearer_format("JWT").build());
    whole.components.get_or_insert_with(Components::new).add_security_scheme("bearer", bearer);
    operations(&mut whole).for_each(complete);
    whole
}

fn operations(whole: &mut openapi::OpenApi) -> impl Iterator<Item = &mut Operation> {
    let items = whole.paths.paths.values_mut();
    items.flat_map(|item| [&mut item.get, &mut item.post, &mut item.put, &mut item.delete]).flatten()
}

/// Adds the errors that go without saying, and gives every error its body.
fn complete(operation: &mut Operation) {
    let operational = operation.tags.as_ref().is_some_and(|tags| tags.contains(&"operation".to_owned()));
    let signed_in = operation.security.as_ref().is_some_and(|all| all.len() == 1);
    let mut usual = vec![];
    if operation.request_body.is_some() {
        usual.extend([
            ("400", "`malformed_json`"),
            ("413", "`body_too_large`"),
            ("415", "`unsupported_media_type`"),
            ("422", "`invalid`"),
        ]);
    }
    if signed_in {
        usual.push(("401", "`unauthenticated`, `token_expired`"));
    }
    let parameters = operation.parameters.iter().flatten();
    if parameters.into_iter().any(|p| matches!(p, openapi::RefOr::T(p) if p.name == "Idempotency-Key")) {
        usual.push(("422", "`invalid`, `idempotency_mismatch`"));
    }
    if !operational {
        usual.push(("503", "`unavailable`"));
    }
    let responses = &mut operation.responses.responses;
    for (status, description) in usual {
        let said = responses.contains_key(status) && !description.contains("idempotency");
        if !said {
            responses.insert(status.to_owned(), Response::new(description).into());
        }
    }
    for (status, response) in responses.iter_mut() {
        if let openapi::RefOr::T(response) = response
            && response.description.is_empty()
        {
            let status = status.parse().ok().and_then(|status| http::StatusCode::from_u16(status).ok());
            response.description = status.and_then(|status| status.canonical_reason()).unwrap_or_default().to_owned();
        }
    }
    for (_, response) in responses.iter_mut().filter(|(status, _)| status.as_str() >= "400") {
        if let openapi::RefOr::T(response) = response {
            let content = ContentBuilder::new().schema(Some(Ref::from_schema_name("Problem"))).build();
            let description = std::mem::take(&mut response.description);
            *response =
                ResponseBuilder::new().description(description).content("application/problem+json", content).build();
        }
    }
}

#[test]
fn the_description_is_the_one_that_is_served() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("openapi.json");
    let said = whole().to_pretty_json().unwrap() + "\n";
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(&path, &said).unwrap();
    }
    let served = std::fs::read_to_string(&path).unwrap();
    assert!(said == served, "functions/ops/openapi.json is not up to date: BLESS=1 cargo test --package ops");
}
