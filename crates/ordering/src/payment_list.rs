//! Reading payments.

use kit::{
    OrderNo, PaymentNo, Problem, Result, Timestamp, UserId,
    mysql::{self, Connection, FromRow, Row},
    pagination::{Page, PageQuery},
    params,
};
use serde::Serialize;
use utoipa::ToSchema;

use crate::payment::Payment;

/// A page of the payments of a user's order, newest first; 404 if the order is another user's.
pub async fn of_order(
    db: &mut Connection,
    user_id: UserId,
    order_no: &OrderNo,
    page: &PageQuery,
) -> Result<Page<Payment>> {
    // The order's row is there even if it has no payment.
    const OWNED: &str = "SELECT 1 FROM orders WHERE order_no = ? AND user_id = ?";
    let owned = db.query_one::<(i64,)>(OWNED, params![order_no, user_id]).await?;
    owned.ok_or_else(|| Problem::not_found("order"))?;
    let payments = list_all(db, &Filter { order_no: Some(order_no), ..Filter::default() }, page).await?;
    Ok(Page { items: payments.items.into_iter().map(|one| one.payment).collect(), next_cursor: payments.next_cursor })
}

/// A user's payment; 404 if it is another user's.
pub async fn find(db: &mut Connection, user_id: UserId, payment_no: &PaymentNo) -> Result<Payment> {
    let sql = format!(
        "SELECT {} FROM payments p JOIN orders o ON o.order_no = p.order_no
         WHERE p.payment_no = ? AND o.user_id = ?",
        Payment::COLUMNS
    );
    let payment = db.query_one(&sql, params![payment_no, user_id]).await?;
    payment.ok_or_else(|| Problem::not_found("payment"))
}

/// A payment of any user, and where the customer goes afterwards; 404 if there is none.
pub async fn find_any(db: &mut Connection, payment_no: &PaymentNo) -> Result<(Payment, Option<String>)> {
    let sql = format!("SELECT p.return_url, {} FROM payments p WHERE p.payment_no = ?", Payment::COLUMNS);
    let found = db.query_one::<Returning>(&sql, params![payment_no]).await?;
    let Returning { payment, return_url } = found.ok_or_else(|| Problem::not_found("payment"))?;
    Ok((payment, return_url))
}

struct Returning {
    payment: Payment,
    return_url: Option<String>,
}

impl FromRow for Returning {
    fn from_row(row: &mut Row) -> std::result::Result<Self, mysql::Error> {
        Ok(Returning { return_url: row.take("return_url")?, payment: Payment::from_row(row)? })
    }
}

/// Which payments to list; all if nothing is set.
#[derive(Debug, Default)]
pub struct Filter<'a> {
    pub order_no: Option<&'a OrderNo>,
    pub provider: Option<&'a str>,
    /// Made at this time or later.
    pub from: Option<Timestamp>,
    /// Made before this time.
    pub to: Option<Timestamp>,
}

/// A payment as the staff see it.
#[derive(Debug, Serialize, ToSchema)]
pub struct StaffPayment {
    pub user_id: UserId,
    #[serde(flatten)]
    pub payment: Payment,
}

impl FromRow for StaffPayment {
    fn from_row(row: &mut Row) -> std::result::Result<Self, mysql::Error> {
        Ok(StaffPayment { user_id: row.take("user_id")?, payment: Payment::from_row(row)? })
    }
}

/// A page of the payments of all users, newest first.
pub async fn list_all(db: &mut Connection, filter: &Filter<'_>, page: &PageQuery) -> Result<Page<StaffPayment>> {
    let limit = page.limit()?;
    let mut conditions = vec!["TRUE"];
    let mut values = Vec::new();
    if let Some((before, before_no)) = page.cursor::<(i64, PaymentNo)>()? {
        conditions.push("(p.created_at < ? OR (p.created_at = ? AND p.payment_no < ?))");
        values.extend(params![before, before, &before_no]);
    }
    if let Some(order_no) = filter.order_no {
        conditions.push("p.order_no = ?");
        values.extend(params![order_no]);
    }
    if let Some(provider) = filter.provider {
        conditions.push("p.provider = ?");
        values.extend(params![provider]);
    }
    if let Some(from) = filter.from {
        conditions.push("p.created_at >= ?");
        values.extend(params![from]);
    }
    if let Some(to) = filter.to {
        conditions.push("p.created_at < ?");
        values.extend(params![to]);
    }
    let sql = format!(
        "SELECT o.user_id, {} FROM payments p JOIN orders o ON o.order_no = p.order_no
         WHERE {} ORDER BY p.created_at DESC, p.payment_no DESC LIMIT ?",
        Payment::COLUMNS,
        conditions.join(" AND ")
    );
    values.extend(params![i64::from(limit).saturating_add(1)]);
    let payments = db.query::<StaffPayment>(&sql, values).await?;
    Ok(Page::new(payments, limit, |one: &StaffPayment| (one.payment.created_at.0, one.payment.payment_no.clone())))
}
