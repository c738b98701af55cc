//! `/api/category`

use axum::Json as Reply;
use http::StatusCode;
use kit::{
    CategoryId, Result,
    extract::{Json, Path, nullable},
    mysql,
    permissions::CATALOG_WRITE,
    staff::Staff,
    validate::Validator,
};
use products::category::{self, Category};
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::ToSchema;

#[derive(Serialize, ToSchema)]
pub struct Categories {
    items: Vec<Category>,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({ "name": "Audio", "parent_id": 1 }))]
pub struct NewCategory {
    #[schema(min_length = 1, max_length = 64, example = "Audio")]
    name: String,
    /// Null or omitted: a top-level category.
    parent_id: Option<CategoryId>,
}

/// The fields to change; those that are omitted stay as they are.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
#[schema(example = json!({ "name": "Audio and video" }))]
pub struct CategoryChange {
    #[schema(min_length = 1, max_length = 64)]
    name: Option<String>,
    /// Null makes it a top-level category.
    #[serde(deserialize_with = "nullable")]
    #[schema(value_type = Option<CategoryId>)]
    parent_id: Option<Option<CategoryId>>,
}

/// Get the category tree
///
/// All categories; each has its children in it.
#[utoipa::path(get, path = "/api/category", tag = "catalogue", responses((status = 200, body = Categories)))]
pub async fn tree() -> Result<Reply<Categories>> {
    Ok(Reply(Categories { items: category::tree(&mut mysql::connection().await?).await? }))
}

/// Create a category
///
/// The tree has at most five levels.
#[utoipa::path(
    post, operation_id = "create_category", path = "/api/category", tag = "catalogue", security(("bearer" = [])),
    request_body = NewCategory,
    responses((status = 201, body = Category), (status = 403, description = "`forbidden`"))
)]
pub async fn create(
    staff: Staff<CATALOG_WRITE>,
    Json(new): Json<NewCategory>,
) -> Result<(StatusCode, Reply<Category>)> {
    Validator::new().text("name", &new.name, 1, 64).finish()?;
    let created = mysql::transaction(async |tx| {
        let created = category::insert(tx, new.parent_id, &new.name).await?;
        let after = json!({ "parent_id": new.parent_id, "name": new.name });
        staff.record(tx, "category.create", created.id(), (), after).await?;
        Ok(created)
    });
    Ok((StatusCode::CREATED, Reply(created.await?)))
}

/// Rename or move a category
///
/// Its children move with it. It can't be moved below itself.
#[utoipa::path(
    put, operation_id = "update_category", path = "/api/category/{category_id}", tag = "catalogue", security(("bearer" = [])),
    params(("category_id" = CategoryId, Path)),
    request_body = CategoryChange,
    responses(
        (status = 200, body = Category),
        (status = 403, description = "`forbidden`"),
        (status = 404, description = "`not_found`"),
    )
)]
pub async fn update(
    staff: Staff<CATALOG_WRITE>,
    Path(category_id): Path<CategoryId>,
    Json(change): Json<CategoryChange>,
) -> Result<Reply<Category>> {
    if let Some(name) = &change.name {
        Validator::new().text("name", name, 1, 64).finish()?;
    }
    let changed = mysql::transaction(async |tx| {
        let (changed, before, after) =
            category::update(tx, category_id, change.parent_id, change.name.as_deref()).await?;
        staff.record(tx, "category.update", category_id, before, after).await?;
        Ok(changed)
    });
    changed.await.map(Reply)
}

/// Remove an empty category
///
/// A category that has products or children is `category_in_use`.
#[utoipa::path(
    delete, operation_id = "remove_category", path = "/api/category/{category_id}", tag = "catalogue", security(("bearer" = [])),
    params(("category_id" = CategoryId, Path)),
    responses(
        (status = 204),
        (status = 403, description = "`forbidden`"),
        (status = 404, description = "`not_found`"),
        (status = 409, description = "`category_in_use`"),
    )
)]
pub async fn remove(staff: Staff<CATALOG_WRITE>, Path(category_id): Path<CategoryId>) -> Result<StatusCode> {
    mysql::transaction(async |tx| {
        let removed = category::remove(tx, category_id).await?;
        staff.record(tx, "category.remove", category_id, removed, ()).await
    })
    .await?;
    Ok(StatusCode::NO_CONTENT)
}
