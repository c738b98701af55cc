//! `openapi.json` is put together from what each function says of itself. To write it anew:
//! `BLESS=1 cargo openapi`.

use std::{collections::BTreeMap, path::Path};

use kit::{Code, ProblemBody};
use utoipa::{
    OpenApi,
    openapi::{
        self, Components, ContentBuilder, HeaderBuilder, ObjectBuilder, Ref, RefOr, Response, ResponseBuilder, Schema,
        path::{Operation, Parameter},
        schema::{ArrayItems, Type},
        security::{HttpAuthScheme, HttpBuilder, SecurityScheme},
    },
};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "wasmall",
        description = "The back end of an online shop. Money is in minor units, time is RFC 3339 in UTC, \
                       errors are RFC 9457 problem details with a stable `code`.",
        contact(name = "The wasmall contributors")
    ),
    servers((url = "/", description = "The shop that serves this document")),
    components(schemas(ProblemBody, Code)),
    tags(
        (name = "accounts", description = "Sign up, sign in, sign out"),
        (name = "staff", description = "For the shop's staff"),
        (name = "catalogue", description = "Products and categories"),
        (name = "cart", description = "The cart"),
        (name = "orders", description = "From the cart to a paid order"),
        (name = "promotions", description = "Discounts, for everybody or by coupon code"),
        (name = "flash sale", description = "Ten thousand buyers, fifty units, fifty orders"),
        (name = "operation", description = "Health, metrics and this description"),
    )
)]
struct Whole;

/// Each function's description of itself.
fn parts() -> [(&'static str, openapi::OpenApi); 15] {
    [
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
        ("accounting", accounting::Api::openapi()),
        ("promotions", promotions::Api::openapi()),
        ("seckill", seckill::Api::openapi()),
        ("ops", ops::Api::openapi()),
    ]
}

fn whole() -> openapi::OpenApi {
    let mut whole = Whole::openapi();
    for (function, mut part) in parts() {
        // Functions have handlers of the same names.
        operations(&mut part).for_each(|o| o.operation_id = o.operation_id.take().map(|id| format!("{function}_{id}")));
        whole.merge(part);
    }
    let components = whole.components.get_or_insert_with(Components::new);
    let bearer = SecurityScheme::Http(HttpBuilder::new().scheme(HttpAuthScheme::Bearer).bearer_format("JWT").build());
    components.add_security_scheme("bearer", bearer);
    correct(components);
    for item in whole.paths.paths.values_mut() {
        item.get.iter_mut().for_each(|operation| complete(operation, false));
        let writes = [&mut item.post, &mut item.put, &mut item.delete].into_iter().flatten();
        writes.for_each(|operation| complete(operation, true));
    }
    whole
}

/// Corrects what utoipa derives: it copies the items of a page instead of referring to their schema, and takes a field
/// that may be omitted for one whose default is null.
fn correct(components: &mut Components) {
    let known = components.schemas.clone();
    let objects = components.schemas.values_mut().filter_map(|schema| match schema {
        RefOr::T(Schema::Object(object)) => Some(object),
        _ => None,
    });
    for property in objects.flat_map(|object| object.properties.values_mut()) {
        match property {
            RefOr::T(Schema::Array(array)) => {
                if let ArrayItems::RefOrSchema(items) = &mut array.items
                    && let RefOr::T(Schema::Object(_)) = **items
                    && let Some((name, _)) = known.iter().find(|(_, schema)| *schema == &**items)
                {
                    **items = Ref::from_schema_name(name).into();
                }
            }
            RefOr::T(Schema::Object(object)) => object.default = object.default.take().filter(|value| !value.is_null()),
            RefOr::T(Schema::OneOf(one_of)) => one_of.default = one_of.default.take().filter(|value| !value.is_null()),
            _ => {}
        }
    }
}

fn operations(whole: &mut openapi::OpenApi) -> impl Iterator<Item = &mut Operation> {
    let items = whole.paths.paths.values_mut();
    items.flat_map(|item| [&mut item.get, &mut item.post, &mut item.put, &mut item.delete]).flatten()
}

/// What doesn't count as a write.
const UNCOUNTED: [&str; 2] = ["checkout_quote", "login_logout"];

/// Says what goes without saying in the functions: that an operation needs no token, what the common headers mean, the
/// usual errors, and that every error has a body.
fn complete(operation: &mut Operation, is_write: bool) {
    operation.security.get_or_insert_default();
    for parameter in operation.parameters.iter_mut().flatten() {
        if let RefOr::T(parameter) = parameter {
            describe_header(parameter);
        }
    }
    let operational = operation.tags.as_ref().is_some_and(|tags| tags.contains(&"operation".to_owned()));
    let signed_in = operation.security.as_ref().is_some_and(|all| all.len() == 1);
    let mut usual = vec![];
    if operation.request_body.is_some() {
        usual.extend([
            ("400", "`malformed_json`"),
            ("408", "`request_timeout`"),
            ("413", "`body_too_large`"),
            ("415", "`unsupported_media_type`"),
            ("422", "`invalid`"),
        ]);
    }
    if signed_in {
        usual.push(("401", "`unauthenticated`, `token_expired`"));
    }
    let is_counted = !operation.operation_id.as_ref().is_some_and(|id| UNCOUNTED.contains(&id.as_str()));
    if signed_in && is_write && is_counted {
        usual.push(("429", "`rate_limited`"));
    }
    let parameters = operation.parameters.iter().flatten();
    if parameters.into_iter().any(|p| matches!(p, RefOr::T(p) if p.name == "Idempotency-Key")) {
        usual.push(("422", "`invalid`, `idempotency_mismatch`"));
    }
    if !operational {
        usual.push(("503", if is_write { "`unavailable`, `outcome_unknown`" } else { "`unavailable`" }));
    }
    let responses = &mut operation.responses.responses;
    for (status, description) in usual {
        let is_given = responses.contains_key(status) && !description.contains("idempotency");
        if !is_given {
            responses.insert(status.to_owned(), Response::new(description).into());
        }
    }
    for (status, response) in responses.iter_mut() {
        if let RefOr::T(response) = response
            && response.description.is_empty()
        {
            let status = status.parse().ok().and_then(|status| http::StatusCode::from_u16(status).ok());
            response.description = status.and_then(|status| status.canonical_reason()).unwrap_or_default().to_owned();
        }
    }
    for (status, response) in responses.iter_mut().filter(|(status, _)| status.as_str() >= "400") {
        if let RefOr::T(response) = response {
            let content = ContentBuilder::new().schema(Some(Ref::from_schema_name("Problem"))).build();
            let description = std::mem::take(&mut response.description);
            let mut problem =
                ResponseBuilder::new().description(description).content("application/problem+json", content);
            if matches!(status.as_str(), "429" | "503") {
                let seconds = ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(1)).examples([1]);
                let header = HeaderBuilder::new().description(Some("Seconds until another try")).schema(Some(seconds));
                problem = problem.header("Retry-After", header.build());
            }
            *response = problem.build();
        }
    }
}

/// Describes a header that means the same everywhere.
fn describe_header(parameter: &mut Parameter) {
    let (description, schema) = match parameter.name.as_str() {
        "Idempotency-Key" => (
            "Makes it safe to send the request again: within 24 hours, the same key with the same body gets the first \
             reply, with `Idempotency-Replayed: true`. A new key for each intention, 1 to 64 printable ASCII characters.",
            text().max_length(Some(64)).pattern(Some("^[ -~]+$")).examples(["first-order"]),
        ),
        "If-None-Match" => (
            "The `ETag` of an earlier reply, or several, separated by commas: if one is current, the reply is 304.",
            text(),
        ),
        _ => return,
    };
    parameter.description = Some(description.to_owned());
    parameter.schema = Some(schema.build().into());
}

fn text() -> ObjectBuilder {
    ObjectBuilder::new().schema_type(Type::String).min_length(Some(1))
}

#[test]
fn openapi_json_is_up_to_date() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("openapi.json");
    let generated = whole().to_pretty_json().unwrap() + "\n";
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(&path, &generated).unwrap();
    }
    let served = std::fs::read_to_string(&path).unwrap();
    assert!(generated == served, "functions/ops/openapi.json is not up to date: BLESS=1 cargo openapi");
}

/// Otherwise the document has one of the two, and is wrong about the other.
#[test]
fn functions_that_name_the_same_schema_mean_the_same() {
    let mut known = BTreeMap::new();
    let mut conflicts = Vec::new();
    for (function, part) in parts() {
        for (name, schema) in part.components.into_iter().flat_map(|components| components.schemas) {
            match known.get(&name) {
                Some((_, first)) if *first == schema => {}
                Some((other, _)) => conflicts.push(format!("{name}: {other}, {function}")),
                None => drop(known.insert(name, (function, schema))),
            }
        }
    }
    assert!(conflicts.is_empty(), "rename one with `#[schema(as = …)]`: {conflicts:#?}");
}

#[test]
fn every_request_body_has_an_example() {
    let whole = serde_json::to_value(whole()).unwrap();
    let mut missing = Vec::new();
    for (path, item) in whole["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let Some(content) = operation.pointer("/requestBody/content") else { continue };
            let schema = &content["application/json"]["schema"];
            // An optional body is one of a schema and null.
            let reference = schema["$ref"]
                .as_str()
                .or_else(|| schema["oneOf"].as_array()?.iter().find_map(|one| one["$ref"].as_str()));
            let example =
                reference.and_then(|reference| whole.pointer(&format!("{}/example", reference.strip_prefix('#')?)));
            if example.is_none() {
                missing.push(format!("{method} {path}"));
            }
        }
    }
    assert!(missing.is_empty(), "{missing:#?}");
}
