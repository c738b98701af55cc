//! Best sellers.

use kit::{ProductId, Result, Timestamp, mysql::Connection, params};

const PERIOD_SECONDS: i64 = 7 * 24 * 60 * 60;

/// The products that sold best in the last seven days, the best-selling first. Reads all orders of that time.
pub async fn hot_products(db: &mut Connection) -> Result<Vec<ProductId>> {
    const SOLD: &str = "
        SELECT i.product_id, SUM(i.quantity) AS rank_by
        FROM orders o JOIN order_items i ON i.order_no = o.order_no
        WHERE o.paid_at >= ? AND o.status IN ('paid', 'shipped', 'completed')
        GROUP BY i.product_id";
    let since = Timestamp::now().plus_seconds(PERIOD_SECONDS.saturating_neg());
    products::ranked_by(db, SOLD, params![since]).await
}
