-- A user's orders of one status: found without reading those of other users or with another status.
ALTER TABLE orders ADD INDEX ix_orders_user_status (user_id, status, order_no);
