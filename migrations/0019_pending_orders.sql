-- A user's unpaid orders, which are counted when another one is placed.
ALTER TABLE orders ADD INDEX ix_orders_user_status (user_id, status, order_no);
