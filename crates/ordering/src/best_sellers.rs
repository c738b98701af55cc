//! Best sellers.

use kit::{Result, Timestamp, mysql::Connection, params};
use products::{Product, Reader};

const PERIOD_SECONDS: i64 = 7 * 24 * 60 * 60;

/// The products that sold best in the last seven days.
pub async fn hot_products(db: &mut Connection, limit: u32, reader: Reader) -> Result<Vec<Product>> {
    const SOLD: &str = "
        SELECT i.product_id, SUM(i.quantity) AS rank_by
        FROM orders o JOIN order_items i ON i.order_no = o.order_no
        WHERE o.paid_at >= ? AND o.status IN ('paid', 'shipped', 'completed')
        GROUP BY i.product_id";
    let since = Timestamp::now().plus_seconds(PERIOD_SECONDS.saturating_neg());
    products::ranked_by(db, SOLD, params![since], limit, reader).await
}
