//! The category tree.

use kit::{
    CategoryId, Code, Problem, Result,
    mysql::{Connection, Transaction},
    params, row,
    validate::Validator,
};
use serde::Serialize;
use utoipa::ToSchema;

/// The query of [`crate::ProductSummary`] selects this many levels.
const MAX_DEPTH: usize = 5;

row! {
    /// A category without its children.
    #[derive(Debug, Clone, Serialize)]
    pub struct CategoryRow {
        #[serde(skip)]
        pub id: CategoryId,
        pub parent_id: Option<CategoryId>,
        pub name: String,
    }
}

#[derive(Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Category {
    category_id: CategoryId,
    #[schema(example = "Audio")]
    name: String,
    #[schema(no_recursion)]
    children: Vec<Category>,
}

impl Category {
    pub fn id(&self) -> CategoryId {
        self.category_id
    }
}

async fn load(db: &mut Connection) -> Result<Vec<CategoryRow>> {
    let sql = format!("SELECT {} FROM categories ORDER BY id", CategoryRow::COLUMNS);
    Ok(db.query(&sql, vec![]).await?)
}

/// Every change of the tree locks all of it, so that two concurrent moves can't form a cycle.
async fn lock(tx: &mut Transaction) -> Result<Vec<CategoryRow>> {
    let sql = format!("SELECT {} FROM categories ORDER BY id FOR UPDATE", CategoryRow::COLUMNS);
    Ok(tx.query(&sql, vec![]).await?)
}

/// The whole tree.
pub async fn tree(db: &mut Connection) -> Result<Vec<Category>> {
    Ok(subtree(&load(db).await?, None))
}

/// The ids of a category and of all below it. For an unknown category it is only its id.
pub async fn with_descendants(db: &mut Connection, category_id: CategoryId) -> Result<Vec<CategoryId>> {
    Ok(descendants(&load(db).await?, category_id))
}

/// 422 unless the category exists. Its row is locked, so that it can't be removed before the transaction ends.
pub(crate) async fn check_exists(tx: &mut Transaction, category_id: Option<CategoryId>) -> Result<()> {
    const CATEGORY: &str = "SELECT id FROM categories WHERE id = ? LOCK IN SHARE MODE";
    let Some(id) = category_id else { return Ok(()) };
    match tx.query_one::<(CategoryId,)>(CATEGORY, params![id]).await? {
        Some(_) => Ok(()),
        None => Err(Problem::invalid("category_id", "does not exist")),
    }
}

/// The first of these categories that does not exist.
pub async fn first_missing(db: &mut Connection, ids: &[CategoryId]) -> Result<Option<CategoryId>> {
    let rows = if ids.is_empty() { Vec::new() } else { load(db).await? };
    Ok(ids.iter().copied().find(|id| !rows.iter().any(|row| row.id == *id)))
}

/// Adds a category; 422 for a parent that does not exist or is too deep.
pub async fn insert(tx: &mut Transaction, parent_id: Option<CategoryId>, name: &str) -> Result<Category> {
    const INSERT: &str = "INSERT INTO categories (parent_id, name) VALUES (?, ?)";
    check_parent(&lock(tx).await?, parent_id, 1)?;
    tx.execute(INSERT, params![parent_id, name]).await?;
    Ok(Category { category_id: tx.last_insert_id().await?, name: name.to_owned(), children: vec![] })
}

/// Renames or moves a category; `None` leaves a value as it is. Returns the category, and its row before and after.
pub async fn update(
    tx: &mut Transaction,
    category_id: CategoryId,
    parent_id: Option<Option<CategoryId>>,
    name: Option<&str>,
) -> Result<(Category, CategoryRow, CategoryRow)> {
    const UPDATE: &str = "UPDATE categories SET parent_id = ?, name = ? WHERE id = ?";
    let rows = lock(tx).await?;
    let before = find(&rows, category_id)?.clone();
    let after = CategoryRow {
        id: category_id,
        parent_id: parent_id.unwrap_or(before.parent_id),
        name: name.unwrap_or(&before.name).to_owned(),
    };
    if after.parent_id.is_some_and(|parent| descendants(&rows, category_id).contains(&parent)) {
        return Err(Problem::invalid("parent_id", "must not be the category itself or below it"));
    }
    check_parent(&rows, after.parent_id, height(&rows, category_id))?;
    tx.execute(UPDATE, params![after.parent_id, &after.name, category_id]).await?;
    let category = Category { category_id, name: after.name.clone(), children: subtree(&rows, Some(category_id)) };
    Ok((category, before, after))
}

/// Removes an empty category; 409 `category_in_use` if it has products or children.
pub async fn remove(tx: &mut Transaction, category_id: CategoryId) -> Result<CategoryRow> {
    const PRODUCT: &str = "SELECT id FROM products WHERE category_id = ? LIMIT 1";
    const DELETE: &str = "DELETE FROM categories WHERE id = ?";
    let rows = lock(tx).await?;
    let row = find(&rows, category_id)?.clone();
    let in_use = |what: &str| Problem::new(Code::CategoryInUse, format!("The category still has {what}"));
    if rows.iter().any(|row| row.parent_id == Some(category_id)) {
        return Err(in_use("child categories"));
    }
    if tx.query_one::<(i64,)>(PRODUCT, params![category_id]).await?.is_some() {
        return Err(in_use("products"));
    }
    tx.execute(DELETE, params![category_id]).await?;
    Ok(row)
}

fn find(rows: &[CategoryRow], category_id: CategoryId) -> Result<&CategoryRow> {
    rows.iter().find(|row| row.id == category_id).ok_or_else(|| Problem::not_found("category"))
}

fn descendants(rows: &[CategoryRow], category_id: CategoryId) -> Vec<CategoryId> {
    let mut found = vec![category_id];
    let mut next = 0;
    while let Some(&parent) = found.get(next) {
        found.extend(rows.iter().filter(|row| row.parent_id == Some(parent)).map(|row| row.id));
        next = next.saturating_add(1);
    }
    found
}

fn subtree(rows: &[CategoryRow], parent_id: Option<CategoryId>) -> Vec<Category> {
    let children = rows.iter().filter(|row| row.parent_id == parent_id);
    let category = |row: &CategoryRow| Category {
        category_id: row.id,
        name: row.name.clone(),
        children: subtree(rows, Some(row.id)),
    };
    children.map(category).collect()
}

/// The number of levels below and including a category.
fn height(rows: &[CategoryRow], category_id: CategoryId) -> usize {
    let children = rows.iter().filter(|row| row.parent_id == Some(category_id));
    children.map(|row| height(rows, row.id)).max().unwrap_or_default().saturating_add(1)
}

/// The number of levels above and including a category.
fn depth(rows: &[CategoryRow], category_id: Option<CategoryId>) -> usize {
    let row = category_id.and_then(|id| rows.iter().find(|row| row.id == id));
    row.map_or(0, |row| depth(rows, row.parent_id).saturating_add(1))
}

/// 422 unless a tree of `levels` levels may be put below `parent_id`.
fn check_parent(rows: &[CategoryRow], parent_id: Option<CategoryId>, levels: usize) -> Result<()> {
    let exists = parent_id.is_none_or(|id| rows.iter().any(|row| row.id == id));
    let fits = depth(rows, parent_id).saturating_add(levels) <= MAX_DEPTH;
    let mut validator = Validator::new();
    validator.require(exists, "parent_id", "does not exist");
    validator.require(fits, "parent_id", format!("would make the tree deeper than {MAX_DEPTH} levels")).finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: i64) -> CategoryId {
        number.try_into().unwrap()
    }

    fn rows() -> Vec<CategoryRow> {
        [(1, None), (2, Some(1)), (3, Some(2)), (4, None)]
            .map(|(number, parent)| CategoryRow { id: id(number), parent_id: parent.map(id), name: number.to_string() })
            .into()
    }

    #[test]
    fn measures_the_tree() {
        let rows = rows();
        assert_eq!(descendants(&rows, id(1)), [1, 2, 3].map(id));
        assert_eq!((height(&rows, id(1)), height(&rows, id(3))), (3, 1));
        assert_eq!((depth(&rows, Some(id(3))), depth(&rows, None)), (3, 0));
        assert_eq!(subtree(&rows, None).len(), 2);
    }

    #[test]
    fn the_tree_does_not_grow_too_deep() {
        let rows = rows();
        assert!(check_parent(&rows, Some(id(3)), 2).is_ok());
        assert!(check_parent(&rows, Some(id(3)), 3).is_err());
        assert!(check_parent(&rows, Some(id(9)), 1).is_err());
    }
}
