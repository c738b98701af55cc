//! The category tree.

use axum::Json as Reply;
use http::StatusCode;
use kit::{
    Code, Problem, Result,
    check::Checks,
    extract::{Json, Path, nullable},
    mysql::{self, Connection, Transaction},
    params, row,
    staff::{CATALOG_WRITE, Staff},
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;

/// A promotion finds all categories above a product by this: see `ordering::categories`.
const MAX_DEPTH: usize = 5;

row! {
    #[derive(Debug, Clone)]
    struct CategoryRow { id: i64, parent_id: Option<i64>, name: String }
}

#[derive(Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Category {
    category_id: i64,
    name: String,
    #[schema(no_recursion)]
    children: Vec<Category>,
}

#[derive(Serialize, ToSchema)]
pub struct Categories {
    items: Vec<Category>,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewCategory {
    #[schema(min_length = 1, max_length = 64)]
    name: String,
    /// Null or left out: at the root.
    parent_id: Option<i64>,
}

/// What is to change; what is not named stays.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct CategoryChange {
    #[schema(min_length = 1, max_length = 64)]
    name: Option<String>,
    /// Null moves it to the root.
    #[serde(deserialize_with = "nullable")]
    #[schema(value_type = Option<i64>)]
    parent_id: Option<Option<i64>>,
}

const ALL: &str = "SELECT id, parent_id, name FROM categories ORDER BY id";
/// Whoever changes the tree locks it whole, so that two moves can't make a circle together.
const LOCK_ALL: &str = "SELECT id, parent_id, name FROM categories ORDER BY id FOR UPDATE";

async fn load(db: &mut Connection, sql: &str) -> Result<Vec<CategoryRow>> {
    Ok(db.query(sql, vec![]).await?)
}

/// The category's id and those of all below it. What is not there has nothing below it.
pub async fn with_descendants(category_id: i64) -> Result<Vec<i64>> {
    let rows = load(&mut mysql::connection().await?, ALL).await?;
    Ok(descendants(&rows, category_id))
}

fn descendants(rows: &[CategoryRow], category_id: i64) -> Vec<i64> {
    let mut found = vec![category_id];
    let mut next = 0;
    while let Some(&parent) = found.get(next) {
        found.extend(rows.iter().filter(|row| row.parent_id == Some(parent)).map(|row| row.id));
        next = next.saturating_add(1);
    }
    found
}

fn subtree(rows: &[CategoryRow], parent_id: Option<i64>) -> Vec<Category> {
    let below = rows.iter().filter(|row| row.parent_id == parent_id);
    below.map(|row| category(rows, row)).collect()
}

fn category(rows: &[CategoryRow], row: &CategoryRow) -> Category {
    Category { category_id: row.id, name: row.name.clone(), children: subtree(rows, Some(row.id)) }
}

/// Levels below and including a category.
fn height(rows: &[CategoryRow], category_id: i64) -> usize {
    let children = rows.iter().filter(|row| row.parent_id == Some(category_id));
    children.map(|row| height(rows, row.id)).max().unwrap_or_default().saturating_add(1)
}

/// Levels above and including a category.
fn depth(rows: &[CategoryRow], category_id: Option<i64>) -> usize {
    let row = category_id.and_then(|id| rows.iter().find(|row| row.id == id));
    row.map_or(0, |row| depth(rows, row.parent_id).saturating_add(1))
}

/// 422 unless a tree of so many levels may hang below `parent_id`.
fn check_parent(rows: &[CategoryRow], parent_id: Option<i64>, levels: usize) -> Result<()> {
    let exists = parent_id.is_none_or(|id| rows.iter().any(|row| row.id == id));
    let fits = depth(rows, parent_id).saturating_add(levels) <= MAX_DEPTH;
    let mut checks = Checks::new();
    checks.that(exists, "parent_id", "is no category");
    checks.that(fits, "parent_id", format!("would make the tree deeper than {MAX_DEPTH} levels")).done()
}

/// The category tree
#[utoipa::path(get, path = "/api/category", tag = "catalogue", responses((status = 200, body = Categories)))]
pub async fn tree() -> Result<Reply<Categories>> {
    let rows = load(&mut mysql::connection().await?, ALL).await?;
    Ok(Reply(Categories { items: subtree(&rows, None) }))
}

/// Add a category
#[utoipa::path(
    post, operation_id = "create_category", path = "/api/category", tag = "catalogue", security(("bearer" = [])),
    request_body = NewCategory,
    responses((status = 201, body = Category), (status = 403, description = "`forbidden`"))
)]
pub async fn create(
    staff: Staff<CATALOG_WRITE>,
    Json(new): Json<NewCategory>,
) -> Result<(StatusCode, Reply<Category>)> {
    const INSERT: &str = "INSERT INTO categories (parent_id, name) VALUES (?, ?)";
    Checks::new().text("name", &new.name, 1, 64).done()?;
    let category_id = mysql::transaction(async |tx| {
        check_parent(&load(tx, LOCK_ALL).await?, new.parent_id, 1)?;
        tx.execute(INSERT, params![new.parent_id, &new.name]).await?;
        let category_id = tx.last_insert_id().await?;
        staff.record(tx, "category.create", category_id, (), place(new.parent_id, &new.name)).await?;
        Ok(category_id)
    })
    .await?;
    Ok((StatusCode::CREATED, Reply(Category { category_id, name: new.name, children: vec![] })))
}

/// Rename or move a category
#[utoipa::path(
    put, operation_id = "update_category", path = "/api/category/{category_id}", tag = "catalogue", security(("bearer" = [])),
    params(("category_id" = i64, Path)),
    request_body = CategoryChange,
    responses(
        (status = 200, body = Category),
        (status = 403, description = "`forbidden`"),
        (status = 404, description = "`not_found`"),
    )
)]
pub async fn update(
    staff: Staff<CATALOG_WRITE>,
    Path(category_id): Path<i64>,
    Json(change): Json<CategoryChange>,
) -> Result<Reply<Category>> {
    const UPDATE: &str = "UPDATE categories SET parent_id = ?, name = ? WHERE id = ?";
    if let Some(name) = &change.name {
        Checks::new().text("name", name, 1, 64).done()?;
    }
    let changed = mysql::transaction(async |tx| {
        let rows = load(tx, LOCK_ALL).await?;
        let row = find(&rows, category_id)?;
        let parent_id = change.parent_id.unwrap_or(row.parent_id);
        if parent_id.is_some_and(|parent| descendants(&rows, category_id).contains(&parent)) {
            return Err(Problem::invalid("parent_id", "lies below the category itself"));
        }
        check_parent(&rows, parent_id, height(&rows, category_id))?;
        let name = change.name.as_deref().unwrap_or(&row.name);
        tx.execute(UPDATE, params![parent_id, name, category_id]).await?;
        let (before, after) = (place(row.parent_id, &row.name), place(parent_id, name));
        staff.record(tx, "category.update", category_id, before, after).await?;
        Ok(Category { category_id, name: name.to_owned(), children: subtree(&rows, Some(category_id)) })
    })
    .await?;
    Ok(Reply(changed))
}

/// Remove a category that nothing is in
#[utoipa::path(
    delete, operation_id = "remove_category", path = "/api/category/{category_id}", tag = "catalogue", security(("bearer" = [])),
    params(("category_id" = i64, Path)),
    responses(
        (status = 204),
        (status = 403, description = "`forbidden`"),
        (status = 404, description = "`not_found`"),
        (status = 409, description = "`category_in_use`"),
    )
)]
pub async fn remove(staff: Staff<CATALOG_WRITE>, Path(category_id): Path<i64>) -> Result<StatusCode> {
    mysql::transaction(async |tx| {
        let gone = remove_empty(tx, category_id).await?;
        staff.record(tx, "category.remove", category_id, place(gone.parent_id, &gone.name), ()).await
    })
    .await?;
    Ok(StatusCode::NO_CONTENT)
}

/// For the audit log.
fn place(parent_id: Option<i64>, name: &str) -> Value {
    json!({ "parent_id": parent_id, "name": name })
}

async fn remove_empty(tx: &mut Transaction, category_id: i64) -> Result<CategoryRow> {
    const PRODUCT: &str = "SELECT id FROM products WHERE category_id = ? LIMIT 1";
    const DELETE: &str = "DELETE FROM categories WHERE id = ?";
    let rows = load(tx, LOCK_ALL).await?;
    let row = find(&rows, category_id)?.clone();
    let in_use = |what: &str| Problem::new(Code::CategoryInUse, format!("The category still has {what}"));
    if rows.iter().any(|row| row.parent_id == Some(category_id)) {
        return Err(in_use("children"));
    }
    if tx.query_one::<(i64,)>(PRODUCT, params![category_id]).await?.is_some() {
        return Err(in_use("products"));
    }
    tx.execute(DELETE, params![category_id]).await?;
    Ok(row)
}

fn find(rows: &[CategoryRow], category_id: i64) -> Result<&CategoryRow> {
    rows.iter().find(|row| row.id == category_id).ok_or_else(|| Problem::not_found("category"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows() -> Vec<CategoryRow> {
        [(1, None), (2, Some(1)), (3, Some(2)), (4, None)]
            .map(|(id, parent_id)| CategoryRow { id, parent_id, name: id.to_string() })
            .into()
    }

    #[test]
    fn measures_the_tree() {
        let rows = rows();
        assert_eq!(descendants(&rows, 1), [1, 2, 3]);
        assert_eq!((height(&rows, 1), height(&rows, 3)), (3, 1));
        assert_eq!((depth(&rows, Some(3)), depth(&rows, None)), (3, 0));
        assert_eq!(subtree(&rows, None).len(), 2);
    }

    #[test]
    fn keeps_the_tree_from_growing_too_deep() {
        let rows = rows();
        assert!(check_parent(&rows, Some(3), 2).is_ok());
        assert!(check_parent(&rows, Some(3), 3).is_err());
        assert!(check_parent(&rows, Some(9), 1).is_err());
    }
}
